SELECT collection, mode, fetched, inserted, updated, unchanged, deleted, calls FROM cloudsync_refresh('salesforce');
SELECT collection, mode, fetched, inserted, updated, unchanged, deleted, calls FROM cloudsync_refresh('stripe');
SELECT collection, mode, fetched, inserted, updated, unchanged, deleted, calls FROM cloudsync_refresh('zendesk');

SELECT 'account' AS what, id, name, is_deleted FROM salesforce.accounts WHERE name LIKE 'Renamed%'
UNION ALL SELECT 'lead', id, name, is_deleted FROM salesforce.leads WHERE is_deleted
UNION ALL SELECT 'customer', id, name, is_deleted FROM stripe.customers WHERE is_deleted OR name = 'Newly Signed Up';

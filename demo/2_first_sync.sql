\echo Commits batch by batch: interrupted, the next run goes on where this one stopped.
CALL cloudsync_sync('salesforce');
CALL cloudsync_sync('stripe');
CALL cloudsync_sync('zendesk');
CALL cloudsync_sync('hubspot');
CALL cloudsync_sync('intercom');

SELECT server, collection, status, mode, fetched, inserted, calls, elapsed
FROM cloudsync.runs ORDER BY 1, 2;

CREATE EXTENSION cloudsync;
CREATE EXTENSION pg_cron;

\echo The standard way: a server, a user mapping, and the collections wanted as foreign tables.
CREATE SERVER salesforce FOREIGN DATA WRAPPER cloudsync
    OPTIONS (source 'salesforce', login_url :'salesforce_url');
CREATE USER MAPPING FOR CURRENT_USER SERVER salesforce
    OPTIONS (client_id 'sim-client', client_secret 'sim-secret', refresh_token 'sim-refresh');
CREATE SCHEMA salesforce_live;
IMPORT FOREIGN SCHEMA salesforce LIMIT TO (accounts, contacts, leads, opportunities, tasks)
    FROM SERVER salesforce INTO salesforce_live;

\echo The same in one call, for four more apps:
SELECT collection, live_table, local_table
FROM cloudsync_connect('stripe', 'stripe', '{"api_key": "sk_test_sim"}',
    jsonb_build_object('base_url', :'stripe_url',
                       'collections', '["customers", "charges", "invoices", "subscriptions"]'::jsonb));
SELECT collection, live_table, local_table
FROM cloudsync_connect('zendesk', 'zendesk', '{"email": "agent@sim.example", "api_token": "sim-token"}',
    jsonb_build_object('base_url', :'zendesk_url', 'subdomain', 'sim',
                       'collections', '["organizations", "users", "tickets", "ticket_comments"]'::jsonb));
SELECT collection, live_table, local_table
FROM cloudsync_connect('hubspot', 'hubspot', '{"access_token": "pat-na1-simulated"}',
    jsonb_build_object('base_url', :'hubspot_url',
                       'collections', '["companies", "contacts", "deals", "email_campaigns", "email_events"]'::jsonb));
SELECT collection, live_table, local_table
FROM cloudsync_connect('intercom', 'intercom', '{"access_token": "sim-intercom-token"}',
    jsonb_build_object('base_url', :'intercom_url',
                       'collections', '["users", "conversations", "conversation_parts"]'::jsonb));

SELECT collection, status, message FROM cloudsync_check('salesforce');

\echo A live table asks the app at once, by one call:
SELECT name, industry, annual_revenue FROM salesforce_live.accounts ORDER BY system_modstamp DESC LIMIT 3;

SELECT server, cloudsync_schedule(server, '* * * * *') AS job
FROM unnest(ARRAY['salesforce', 'stripe', 'hubspot', 'intercom']) AS server;
\echo Zendesk allows ten exports a minute, so less often there:
SELECT cloudsync_schedule('zendesk', '*/5 * * * *');
SELECT jobid, schedule, command FROM cron.job ORDER BY 1;

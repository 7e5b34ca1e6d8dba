SELECT server, cloudsync_schedule(server, '* * * * *') AS job
FROM unnest(ARRAY['salesforce', 'stripe', 'zendesk', 'hubspot', 'intercom']) AS server;
SELECT jobid, schedule, command FROM cron.job ORDER BY 1;

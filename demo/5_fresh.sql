SELECT jobid, status, return_message, end_time - start_time AS took FROM cron.job_run_details ORDER BY runid;
SELECT name FROM salesforce.accounts WHERE name LIKE 'Renamed%';
SELECT server, collection, state, rows, freshness, last_error, schedule FROM cloudsync.status ORDER BY 1, 2;
SELECT server, day, sum(calls) AS calls, max(quota_used) AS quota_used, max(quota_limit) AS quota_limit
FROM cloudsync.api_usage GROUP BY 1, 2 ORDER BY 1, 2;

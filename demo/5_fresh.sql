SELECT jobid, status, return_message, end_time - start_time AS took FROM cron.job_run_details ORDER BY runid;
SELECT name FROM salesforce.accounts WHERE name LIKE 'Renamed%';
SELECT * FROM cloudsync.status ORDER BY server, collection;
SELECT * FROM cloudsync.api_usage;

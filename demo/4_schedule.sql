SELECT cloudsync_schedule('salesforce', '* * * * *') AS salesforce_job,
       cloudsync_schedule('stripe', '* * * * *') AS stripe_job;
SELECT jobid, schedule, command FROM cron.job ORDER BY 1;

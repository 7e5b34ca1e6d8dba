-- Nothing that calls out, writes or tells of runs is for everybody; what can be connected is.
REVOKE ALL ON FUNCTION cloudsync_refresh(text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION cloudsync_reconcile(text, text) FROM PUBLIC;
REVOKE ALL ON PROCEDURE cloudsync_sync(text, text[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION cloudsync_connect(text, text, jsonb, jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION cloudsync_disconnect(text, boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION cloudsync_check(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION cloudsync_reset(text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION cloudsync_set_credential(text, text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION cloudsync_schedule(text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION cloudsync_unschedule(text) FROM PUBLIC;
GRANT SELECT ON cloudsync.sources, cloudsync.collections TO PUBLIC;

COMMENT ON FUNCTION cloudsync_fdw_handler() IS 'Callbacks of the foreign-data wrapper.';
COMMENT ON FUNCTION cloudsync_fdw_validator(text[], oid) IS 'Checks options of servers, user mappings, foreign tables and columns.';
COMMENT ON FUNCTION cloudsync_refresh(text, text) IS 'Brings local tables of a server up to date in the caller''s transaction; all selected collections without the second argument.';
COMMENT ON FUNCTION cloudsync_reconcile(text, text) IS 'Reads a collection completely and marks rows that are not in it as deleted.';
COMMENT ON PROCEDURE cloudsync_sync(text, text[]) IS 'Brings local tables of a server up to date, committing batch by batch; goes on where an interrupted run stopped.';
COMMENT ON FUNCTION cloudsync_connect(text, text, jsonb, jsonb) IS 'Makes server, user mapping, schemas, foreign tables and local tables in one call.';
COMMENT ON FUNCTION cloudsync_disconnect(text, boolean) IS 'Drops a server and all that belongs to it; its local tables only if wanted.';
COMMENT ON FUNCTION cloudsync_check(text) IS 'Tries the credentials of a server, then each selected collection.';
COMMENT ON FUNCTION cloudsync_reset(text, text) IS 'Forgets the checkpoint of a collection, so that its next refresh reads everything.';
COMMENT ON FUNCTION cloudsync_set_credential(text, text, text) IS 'Sets a credential in the caller''s user mapping without a copy in a log.';
COMMENT ON FUNCTION cloudsync_schedule(text, text) IS 'Makes a pg_cron job that CALLs cloudsync_sync for the server.';
COMMENT ON FUNCTION cloudsync_unschedule(text) IS 'Ends the pg_cron job of a server.';
COMMENT ON FUNCTION cloudsync_job_name(text) IS 'Name of the pg_cron job of a server.';
COMMENT ON FUNCTION cloudsync_next_occurrence(text, timestamptz) IS 'When a schedule of pg_cron is due next.';
COMMENT ON FUNCTION cloudsync_list_sources() IS 'Rows of cloudsync.sources.';
COMMENT ON FUNCTION cloudsync_list_collections() IS 'Rows of cloudsync.collections.';

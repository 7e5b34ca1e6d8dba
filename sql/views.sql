-- What can be connected, and how the refreshes go. Every view begins with what names a row.
CREATE VIEW cloudsync.sources AS
    SELECT source, title, kind, auth_fields, settings, docs, user_defined FROM cloudsync_list_sources();
COMMENT ON VIEW cloudsync.sources IS 'Cloud apps that can be connected.';
COMMENT ON COLUMN cloudsync.sources.source IS 'Name for CREATE SERVER .. OPTIONS (source ''..'').';
COMMENT ON COLUMN cloudsync.sources.title IS 'Name of the app.';
COMMENT ON COLUMN cloudsync.sources.kind IS 'object (rows change) or event (rows are only added).';
COMMENT ON COLUMN cloudsync.sources.auth_fields IS 'Options of the user mapping.';
COMMENT ON COLUMN cloudsync.sources.settings IS 'Options of the server beside the general ones.';
COMMENT ON COLUMN cloudsync.sources.docs IS 'The vendor''s API reference.';
COMMENT ON COLUMN cloudsync.sources.user_defined IS 'Made with cloudsync_define_source, not built in.';

CREATE VIEW cloudsync.collections AS
    SELECT source, collection, kind, key, cursor, deletes, unsupported, docs, user_defined
      FROM cloudsync_list_collections();
COMMENT ON VIEW cloudsync.collections IS 'Collections of the cloud apps.';
COMMENT ON COLUMN cloudsync.collections.source IS 'Name of the app, as in cloudsync.sources.';
COMMENT ON COLUMN cloudsync.collections.collection IS 'Name of the collection and of its tables.';
COMMENT ON COLUMN cloudsync.collections.kind IS 'object (rows change) or event (rows are only added).';
COMMENT ON COLUMN cloudsync.collections.key IS 'Columns of the primary key.';
COMMENT ON COLUMN cloudsync.collections.cursor IS 'How changes are found.';
COMMENT ON COLUMN cloudsync.collections.deletes IS 'How deletions are found.';
COMMENT ON COLUMN cloudsync.collections.unsupported IS 'Why the app cannot serve it; NULL when it can.';
COMMENT ON COLUMN cloudsync.collections.docs IS 'Where the vendor documents it, or what is odd about it.';
COMMENT ON COLUMN cloudsync.collections.user_defined IS 'Of a source made with cloudsync_define_source.';

CREATE VIEW cloudsync.runs AS
    SELECT (r.outcome).server, (r.outcome).collection, r.run_id, (r.outcome).status, (r.outcome).mode,
           (r.outcome).started_at, (r.outcome).elapsed, (r.outcome).fetched, (r.outcome).inserted, (r.outcome).updated,
           (r.outcome).unchanged, (r.outcome).stale, (r.outcome).deleted, (r.outcome).rejected, (r.outcome).calls,
           (r.outcome).bytes, (r.outcome).sqlstate, (r.outcome).message, (r.outcome).hint
      FROM cloudsync.run_log r;
COMMENT ON VIEW cloudsync.runs IS 'History of refreshes, one row a collection and run.';
COMMENT ON COLUMN cloudsync.runs.server IS 'Name of the foreign server.';
COMMENT ON COLUMN cloudsync.runs.collection IS 'Name of the collection.';
COMMENT ON COLUMN cloudsync.runs.run_id IS 'Order of the runs.';
COMMENT ON COLUMN cloudsync.runs.status IS 'ok, partial, deferred, failed or skipped.';
COMMENT ON COLUMN cloudsync.runs.mode IS 'full, incremental, resumed or backfill.';
COMMENT ON COLUMN cloudsync.runs.started_at IS 'When the run began.';
COMMENT ON COLUMN cloudsync.runs.elapsed IS 'How long it took.';
COMMENT ON COLUMN cloudsync.runs.fetched IS 'Records the app gave.';
COMMENT ON COLUMN cloudsync.runs.inserted IS 'New rows.';
COMMENT ON COLUMN cloudsync.runs.updated IS 'Rows replaced by a newer version.';
COMMENT ON COLUMN cloudsync.runs.unchanged IS 'Records equal to the stored row.';
COMMENT ON COLUMN cloudsync.runs.stale IS 'Records older than the stored row.';
COMMENT ON COLUMN cloudsync.runs.deleted IS 'Rows marked is_deleted.';
COMMENT ON COLUMN cloudsync.runs.rejected IS 'Records that could not be stored.';
COMMENT ON COLUMN cloudsync.runs.calls IS 'API calls made.';
COMMENT ON COLUMN cloudsync.runs.bytes IS 'Bytes of reply bodies.';
COMMENT ON COLUMN cloudsync.runs.sqlstate IS 'SQLSTATE of the failure.';
COMMENT ON COLUMN cloudsync.runs.message IS 'What happened.';
COMMENT ON COLUMN cloudsync.runs.hint IS 'What to do about it.';

CREATE VIEW cloudsync.api_usage AS
    SELECT (r.outcome).server, (r.outcome).collection,
           pg_catalog.date_trunc('day', (r.outcome).started_at)::pg_catalog.date AS day,
           sum((r.outcome).calls)::bigint AS calls, sum((r.outcome).bytes)::bigint AS bytes,
           max(r.quota_used) AS quota_used, max(r.quota_limit) AS quota_limit
      FROM cloudsync.run_log r
     GROUP BY 1, 2, 3;
COMMENT ON VIEW cloudsync.api_usage IS 'API calls of refreshes by day, against the quota that the app tells.';
COMMENT ON COLUMN cloudsync.api_usage.server IS 'Name of the foreign server.';
COMMENT ON COLUMN cloudsync.api_usage.collection IS 'Name of the collection.';
COMMENT ON COLUMN cloudsync.api_usage.day IS 'Day, in the session''s time zone.';
COMMENT ON COLUMN cloudsync.api_usage.calls IS 'API calls made.';
COMMENT ON COLUMN cloudsync.api_usage.bytes IS 'Bytes of reply bodies.';
COMMENT ON COLUMN cloudsync.api_usage.quota_used IS 'Calls of the day''s quota used by everybody, as the app last told; NULL when it does not.';
COMMENT ON COLUMN cloudsync.api_usage.quota_limit IS 'The day''s quota, as the app last told.';

-- pg_cron may be absent, and its table has other columns in other versions, so it is looked at by a function.
CREATE FUNCTION cloudsync.schedule_of(server text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found text;
BEGIN
    IF to_regclass('cron.job') IS NULL THEN
        RETURN NULL;
    END IF;
    EXECUTE 'SELECT schedule FROM cron.job WHERE jobname::text = $1 AND active LIMIT 1'
       INTO found USING @extschema@.cloudsync_job_name(server);
    RETURN found;
EXCEPTION WHEN insufficient_privilege THEN
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION cloudsync.schedule_of(text) IS 'Schedule of a server''s pg_cron job; NULL when there is none.';

CREATE FUNCTION cloudsync.next_run(server text) RETURNS timestamptz
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT (@extschema@.cloudsync_next_occurrence(cloudsync.schedule_of(server), (now() AT TIME ZONE zone) AT TIME ZONE 'UTC')
            AT TIME ZONE 'UTC') AT TIME ZONE zone
      FROM coalesce(nullif(current_setting('cron.timezone', true), ''), 'GMT') AS zone
$$;
COMMENT ON FUNCTION cloudsync.next_run(text) IS 'When pg_cron runs a server''s job next; NULL when there is none.';

CREATE VIEW cloudsync.status AS
    WITH selected AS (
        SELECT DISTINCT s.srvname::text AS server,
               coalesce((SELECT o.option_value FROM pg_catalog.pg_options_to_table(t.ftoptions) o
                          WHERE o.option_name = 'collection'), c.relname::text) AS collection
          FROM pg_catalog.pg_foreign_table t
          JOIN pg_catalog.pg_class c ON c.oid = t.ftrelid
          JOIN pg_catalog.pg_foreign_server s ON s.oid = t.ftserver
          JOIN pg_catalog.pg_foreign_data_wrapper w ON w.oid = s.srvfdw
         WHERE w.fdwname = 'cloudsync'
    ), last_run AS (
        SELECT DISTINCT ON ((r.outcome).server, (r.outcome).collection)
               (r.outcome).server, (r.outcome).collection, (r.outcome).status, (r.outcome).sqlstate,
               (r.outcome).message, (r.outcome).hint
          FROM cloudsync.run_log r
         ORDER BY (r.outcome).server, (r.outcome).collection, r.run_id DESC
    ), known AS (
        SELECT server, collection FROM selected
        UNION SELECT server, collection FROM cloudsync.collection_state
        UNION SELECT server, collection FROM last_run
    )
    SELECT k.server, k.collection,
           CASE WHEN s.running_pid IS NOT NULL AND a.pid IS NOT NULL THEN 'running'
                WHEN s.running_pid IS NOT NULL THEN 'interrupted'
                WHEN v.deferred_until > pg_catalog.now() THEN 'deferred'
                WHEN l.status IS NULL THEN 'new'
                ELSE l.status END AS state,
           coalesce(s.rows_stored, 0) AS rows,
           s.synced_at, pg_catalog.now() - s.synced_at AS freshness,
           s.checkpoint ->> 'cursor' AS cursor,
           s.running_since, s.running_fetched,
           l.sqlstate AS last_sqlstate, CASE WHEN l.sqlstate IS NOT NULL THEN l.message END AS last_error,
           l.hint AS last_hint, v.deferred_until,
           cloudsync.schedule_of(k.server) AS schedule,
           cloudsync.next_run(k.server) AS next_run_at
      FROM known k
      LEFT JOIN cloudsync.collection_state s USING (server, collection)
      LEFT JOIN last_run l USING (server, collection)
      LEFT JOIN cloudsync.server_state v ON v.server = k.server
      LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = s.running_pid AND a.backend_start <= s.running_since
     WHERE EXISTS (SELECT FROM pg_catalog.pg_foreign_server f WHERE f.srvname = k.server);
COMMENT ON VIEW cloudsync.status IS 'One row a collection: state, rows, freshness, last error and what to do about it.';
COMMENT ON COLUMN cloudsync.status.server IS 'Name of the foreign server.';
COMMENT ON COLUMN cloudsync.status.collection IS 'Name of the collection.';
COMMENT ON COLUMN cloudsync.status.state IS 'ok, partial, deferred, failed, skipped, running, interrupted, or new.';
COMMENT ON COLUMN cloudsync.status.rows IS 'Rows stored since the last reset, deleted ones included.';
COMMENT ON COLUMN cloudsync.status.synced_at IS 'End of the last refresh that went well.';
COMMENT ON COLUMN cloudsync.status.freshness IS 'Time since then.';
COMMENT ON COLUMN cloudsync.status.cursor IS 'Up to when changes are stored, by the app''s clock.';
COMMENT ON COLUMN cloudsync.status.running_since IS 'Start of the run that is under way.';
COMMENT ON COLUMN cloudsync.status.running_fetched IS 'Records that run has stored so far.';
COMMENT ON COLUMN cloudsync.status.last_sqlstate IS 'SQLSTATE of the last run, when it failed.';
COMMENT ON COLUMN cloudsync.status.last_error IS 'What happened.';
COMMENT ON COLUMN cloudsync.status.last_hint IS 'What to do about it.';
COMMENT ON COLUMN cloudsync.status.deferred_until IS 'No call is made before this instant.';
COMMENT ON COLUMN cloudsync.status.schedule IS 'Schedule of the pg_cron job that runs it; NULL when there is none.';
COMMENT ON COLUMN cloudsync.status.next_run_at IS 'When that job runs next.';

-- A server that is dropped takes what is remembered of it along; another of the same name begins anew.
CREATE FUNCTION cloudsync.forget_dropped_servers() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM cloudsync.collection_state s USING pg_event_trigger_dropped_objects() d
     WHERE d.object_type = 'server' AND d.object_name = s.server;
    DELETE FROM cloudsync.server_state s USING pg_event_trigger_dropped_objects() d
     WHERE d.object_type = 'server' AND d.object_name = s.server;
    DELETE FROM cloudsync.access_tokens s USING pg_event_trigger_dropped_objects() d
     WHERE d.object_type = 'server' AND d.object_name = s.server;
    DELETE FROM cloudsync.seen_keys s USING pg_event_trigger_dropped_objects() d
     WHERE d.object_type = 'server' AND d.object_name = s.server;
    DELETE FROM cloudsync.rejected_records s USING pg_event_trigger_dropped_objects() d
     WHERE d.object_type = 'server' AND d.object_name = s.server;
END
$$;
COMMENT ON FUNCTION cloudsync.forget_dropped_servers() IS 'Forgets the checkpoints of servers that are dropped.';
CREATE EVENT TRIGGER cloudsync_forget ON sql_drop EXECUTE FUNCTION cloudsync.forget_dropped_servers();
COMMENT ON EVENT TRIGGER cloudsync_forget IS 'Forgets the checkpoints of servers that are dropped.';

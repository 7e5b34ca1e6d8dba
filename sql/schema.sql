-- What cloudsync remembers. Rows are written by the extension's functions only, in the transaction that writes the
-- user's rows where they account for them, so a crash repeats work and never loses it.
CREATE SCHEMA cloudsync;
COMMENT ON SCHEMA cloudsync IS 'What cloudsync remembers and shows: checkpoints, runs, status. The synced tables live in schemas of their own.';
GRANT USAGE ON SCHEMA cloudsync TO PUBLIC;

CREATE TYPE cloudsync.outcome AS (
    server       text,
    collection   text,
    status       text,
    mode         text,
    fetched      bigint,
    inserted     bigint,
    updated      bigint,
    unchanged    bigint,
    stale        bigint,
    deleted      bigint,
    rejected     bigint,
    calls        bigint,
    bytes        bigint,
    started_at   timestamptz,
    elapsed      interval,
    sqlstate     text,
    message      text,
    hint         text
);
COMMENT ON TYPE cloudsync.outcome IS 'How one refresh of one collection went.';
COMMENT ON COLUMN cloudsync.outcome.server IS 'Name of the foreign server.';
COMMENT ON COLUMN cloudsync.outcome.collection IS 'Name of the collection, as in cloudsync.collections.';
COMMENT ON COLUMN cloudsync.outcome.status IS 'ok, partial (rows stored, then a failure), deferred (quota; goes on later), failed, or skipped.';
COMMENT ON COLUMN cloudsync.outcome.mode IS 'full, incremental, resumed (a full read that went on where an earlier one was interrupted), or backfill.';
COMMENT ON COLUMN cloudsync.outcome.fetched IS 'Records the app gave: inserted + updated + unchanged + stale + rejected.';
COMMENT ON COLUMN cloudsync.outcome.inserted IS 'New rows.';
COMMENT ON COLUMN cloudsync.outcome.updated IS 'Rows replaced by a newer version, deletions and restorations included.';
COMMENT ON COLUMN cloudsync.outcome.unchanged IS 'Records equal to the stored row, or given twice; nothing was written for them.';
COMMENT ON COLUMN cloudsync.outcome.stale IS 'Records older than the stored row; nothing was written for them.';
COMMENT ON COLUMN cloudsync.outcome.deleted IS 'Rows marked is_deleted by this run.';
COMMENT ON COLUMN cloudsync.outcome.rejected IS 'Records that could not be stored; they are kept in cloudsync.rejected_records.';
COMMENT ON COLUMN cloudsync.outcome.calls IS 'API calls made. Calls that serve several collections at once count for the first of them.';
COMMENT ON COLUMN cloudsync.outcome.bytes IS 'Bytes of reply bodies, after decompression.';
COMMENT ON COLUMN cloudsync.outcome.started_at IS 'When the run began.';
COMMENT ON COLUMN cloudsync.outcome.elapsed IS 'How long it took.';
COMMENT ON COLUMN cloudsync.outcome.sqlstate IS 'SQLSTATE of the failure; NULL after a success.';
COMMENT ON COLUMN cloudsync.outcome.message IS 'What happened, or a note on how the run went.';
COMMENT ON COLUMN cloudsync.outcome.hint IS 'What to do about a failure.';

CREATE TABLE cloudsync.collection_state (
    server          text   NOT NULL,
    collection      text   NOT NULL,
    checkpoint      jsonb,                    -- where the last complete refresh ended; NULL before the first
    position        jsonb,                    -- where an interrupted full refresh goes on
    marks_missing   boolean NOT NULL DEFAULT false, -- the open full refresh notes keys in seen_keys
    described       jsonb,                    -- columns as the app describes them
    described_at    timestamptz,
    synced_at       timestamptz,              -- end of the last refresh that went well
    rows_stored     bigint NOT NULL DEFAULT 0, -- inserted since the last reset
    running_pid     integer,                  -- set while CALL cloudsync_sync works on it
    running_since   timestamptz,
    running_fetched bigint,
    PRIMARY KEY (server, collection)
);
COMMENT ON TABLE cloudsync.collection_state IS 'Checkpoint of every collection of every server.';
COMMENT ON COLUMN cloudsync.collection_state.server IS 'Name of the foreign server.';
COMMENT ON COLUMN cloudsync.collection_state.collection IS 'Name of the collection.';
COMMENT ON COLUMN cloudsync.collection_state.checkpoint IS 'Where the last complete refresh ended; NULL before the first. Its member "cursor" is the position in time.';
COMMENT ON COLUMN cloudsync.collection_state.position IS 'Where an interrupted full refresh goes on; NULL when none is open.';
COMMENT ON COLUMN cloudsync.collection_state.marks_missing IS 'Whether the open full refresh notes the keys it sees, to mark the rows that are gone at its end.';
COMMENT ON COLUMN cloudsync.collection_state.described IS 'Columns as the app describes them (sources with discovery).';
COMMENT ON COLUMN cloudsync.collection_state.described_at IS 'When the app was last asked for that description.';
COMMENT ON COLUMN cloudsync.collection_state.synced_at IS 'End of the last refresh that went well.';
COMMENT ON COLUMN cloudsync.collection_state.rows_stored IS 'Rows inserted since the last reset.';
COMMENT ON COLUMN cloudsync.collection_state.running_pid IS 'Backend that works on the collection, while CALL cloudsync_sync does.';
COMMENT ON COLUMN cloudsync.collection_state.running_since IS 'When that run began.';
COMMENT ON COLUMN cloudsync.collection_state.running_fetched IS 'Records that run has stored so far.';

CREATE TABLE cloudsync.run_log (
    run_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    outcome     cloudsync.outcome NOT NULL,
    quota_used  bigint,
    quota_limit bigint
);
CREATE INDEX run_log_collection ON cloudsync.run_log (((outcome).server), ((outcome).collection), run_id DESC);
COMMENT ON TABLE cloudsync.run_log IS 'History of refreshes; shown by cloudsync.runs.';
COMMENT ON COLUMN cloudsync.run_log.run_id IS 'Order of the runs.';
COMMENT ON COLUMN cloudsync.run_log.outcome IS 'How the run went.';
COMMENT ON COLUMN cloudsync.run_log.quota_used IS 'Calls of the day''s quota that were used up after the run, as the app told.';
COMMENT ON COLUMN cloudsync.run_log.quota_limit IS 'The day''s quota, as the app told.';

CREATE TABLE cloudsync.server_state (
    server              text PRIMARY KEY,
    refused_credentials bigint,         -- fingerprint of the credentials that the app refused
    refused_at          timestamptz,
    refused_message     text,
    deferred_until      timestamptz,
    deferred_message    text
);
COMMENT ON TABLE cloudsync.server_state IS 'Stops that concern a whole server: refused credentials, spent quotas.';
COMMENT ON COLUMN cloudsync.server_state.server IS 'Name of the foreign server.';
COMMENT ON COLUMN cloudsync.server_state.refused_credentials IS 'Fingerprint of the credentials that the app refused; no call is made until they change.';
COMMENT ON COLUMN cloudsync.server_state.refused_at IS 'When it refused them.';
COMMENT ON COLUMN cloudsync.server_state.refused_message IS 'The app''s words.';
COMMENT ON COLUMN cloudsync.server_state.deferred_until IS 'No call is made before this instant, because a quota is spent.';
COMMENT ON COLUMN cloudsync.server_state.deferred_message IS 'The app''s words.';

CREATE TABLE cloudsync.access_tokens (
    server       text   NOT NULL,
    mapping_user text   NOT NULL,
    credentials  bigint NOT NULL,
    token        text   NOT NULL,
    base_url     text,
    expires_at   timestamptz NOT NULL,
    refresh_token text,  -- what the app put in place of the mapping's, when the mapping was not committed yet
    PRIMARY KEY (server, mapping_user)
);
REVOKE ALL ON cloudsync.access_tokens FROM PUBLIC;
COMMENT ON TABLE cloudsync.access_tokens IS 'Short-lived access tokens, shared by the sessions of a server. Secret: readable by the extension''s owner only, never dumped.';
COMMENT ON COLUMN cloudsync.access_tokens.server IS 'Name of the foreign server.';
COMMENT ON COLUMN cloudsync.access_tokens.mapping_user IS 'Role of the user mapping; empty for PUBLIC.';
COMMENT ON COLUMN cloudsync.access_tokens.credentials IS 'Fingerprint of the credentials it was made from.';
COMMENT ON COLUMN cloudsync.access_tokens.token IS 'The token.';
COMMENT ON COLUMN cloudsync.access_tokens.base_url IS 'Address of the API, when the token answer names it.';
COMMENT ON COLUMN cloudsync.access_tokens.refresh_token IS 'What the app put in place of the mapping''s refresh token before the mapping was committed.';
COMMENT ON COLUMN cloudsync.access_tokens.expires_at IS 'When it is renewed at the latest.';

CREATE TABLE cloudsync.rejected_records (
    rejected_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    server      text NOT NULL,
    collection  text NOT NULL,
    raw         text NOT NULL,
    reason      text NOT NULL,
    rejected_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX rejected_records_collection ON cloudsync.rejected_records (server, collection);
COMMENT ON TABLE cloudsync.rejected_records IS 'Records that could not become rows, as the app sent them.';
COMMENT ON COLUMN cloudsync.rejected_records.rejected_id IS 'Order of arrival.';
COMMENT ON COLUMN cloudsync.rejected_records.server IS 'Name of the foreign server.';
COMMENT ON COLUMN cloudsync.rejected_records.collection IS 'Name of the collection.';
COMMENT ON COLUMN cloudsync.rejected_records.raw IS 'The record as the app sent it.';
COMMENT ON COLUMN cloudsync.rejected_records.reason IS 'Why it could not be stored.';
COMMENT ON COLUMN cloudsync.rejected_records.rejected_at IS 'When it came.';

-- Read with the caller's rights, so each caller sees the keys of servers it may use.
CREATE TABLE cloudsync.seen_keys (
    server     text NOT NULL,
    collection text NOT NULL,
    key        text NOT NULL,
    PRIMARY KEY (server, collection, key)
);
COMMENT ON TABLE cloudsync.seen_keys IS 'Keys that an open complete listing has shown; rows without theirs are marked deleted at its end.';
COMMENT ON COLUMN cloudsync.seen_keys.server IS 'Name of the foreign server.';
COMMENT ON COLUMN cloudsync.seen_keys.collection IS 'Name of the collection.';
COMMENT ON COLUMN cloudsync.seen_keys.key IS 'Values of the primary key, joined by commas.';
ALTER TABLE cloudsync.seen_keys ENABLE ROW LEVEL SECURITY;
CREATE POLICY usable_servers ON cloudsync.seen_keys FOR SELECT USING (EXISTS (
    SELECT FROM pg_catalog.pg_foreign_server s
     WHERE s.srvname = seen_keys.server AND pg_catalog.has_server_privilege(s.oid, 'USAGE')));
GRANT SELECT ON cloudsync.seen_keys TO PUBLIC;

-- Written by cloudsync_define_source only, which validates. A server refers to its source by name, in an option.
CREATE TABLE cloudsync.defined_sources (
    source     text PRIMARY KEY,
    definition jsonb NOT NULL,
    defined_by text  NOT NULL,
    defined_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE cloudsync.defined_sources IS 'Sources of a user''s own, as cloudsync_define_source took them.';
COMMENT ON COLUMN cloudsync.defined_sources.source IS 'Name for CREATE SERVER .. OPTIONS (source ''..'').';
COMMENT ON COLUMN cloudsync.defined_sources.definition IS 'The source file.';
COMMENT ON COLUMN cloudsync.defined_sources.defined_by IS 'Role that defined it first; its members and superusers may replace and drop it.';
COMMENT ON COLUMN cloudsync.defined_sources.defined_at IS 'When it was defined last.';

SELECT pg_catalog.pg_extension_config_dump('cloudsync.collection_state', '');
SELECT pg_catalog.pg_extension_config_dump('cloudsync.defined_sources', '');
SELECT pg_catalog.pg_extension_config_dump('cloudsync.seen_keys', '');
SELECT pg_catalog.pg_extension_config_dump('cloudsync.run_log_run_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('cloudsync.rejected_records_rejected_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('cloudsync.run_log', '');
SELECT pg_catalog.pg_extension_config_dump('cloudsync.server_state', '');
SELECT pg_catalog.pg_extension_config_dump('cloudsync.rejected_records', '');

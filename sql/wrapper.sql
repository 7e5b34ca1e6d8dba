-- The foreign-data wrapper that servers name.
CREATE FOREIGN DATA WRAPPER cloudsync HANDLER cloudsync_fdw_handler VALIDATOR cloudsync_fdw_validator;
COMMENT ON FOREIGN DATA WRAPPER cloudsync IS 'Reads collections of cloud apps; see cloudsync.sources.';

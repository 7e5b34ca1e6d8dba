//! cloudsync: every collection of a cloud app as a foreign table and as a local table kept fresh.
pgrx::pg_module_magic!();

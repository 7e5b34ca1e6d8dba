//! Runs our own SQL: every statement is a constant or built with quoted identifiers, every value is a parameter.

use crate::report::{fail, Report};
use pgrx::datum::DatumWithOid;
use pgrx::spi::{SpiError, SpiHeapTupleData};
use pgrx::{pg_sys, FromDatum, IntoDatum, PgSqlErrorCode, Spi};

fn broken(sql: &str, error: SpiError) -> Report {
    fail(PgSqlErrorCode::ERRCODE_INTERNAL_ERROR, format!("internal statement failed: {error}"), sql, "")
}

/// Runs a statement and reads its rows.
pub fn rows<T>(
    sql: &str,
    args: &[DatumWithOid<'_>],
    mut read: impl FnMut(&Row<'_>) -> Result<T, Report>,
) -> Result<Vec<T>, Report> {
    Spi::connect_mut(|client| {
        let table = client.update(sql, None, args).map_err(|e| broken(sql, e))?;
        let mut out = Vec::with_capacity(table.len());
        for tuple in table {
            out.push(read(&Row { sql, tuple: &tuple })?);
        }
        Ok(out)
    })
}

/// Runs a statement and reads its first row, if it has one.
pub fn row<T>(
    sql: &str,
    args: &[DatumWithOid<'_>],
    read: impl FnMut(&Row<'_>) -> Result<T, Report>,
) -> Result<Option<T>, Report> {
    Ok(rows(sql, args, read)?.into_iter().next())
}

/// Runs a statement and gives the first column of its first row.
pub fn value<T: FromDatum + IntoDatum>(sql: &str, args: &[DatumWithOid<'_>]) -> Result<Option<T>, Report> {
    Ok(row(sql, args, |row| row.get::<T>(1))?.flatten())
}

/// Runs a statement; gives the number of rows it concerned.
pub fn run(sql: &str, args: &[DatumWithOid<'_>]) -> Result<usize, Report> {
    Spi::connect_mut(|client| client.update(sql, None, args).map(|table| table.len()).map_err(|e| broken(sql, e)))
}

/// One row of a result.
pub struct Row<'a> {
    sql: &'a str,
    tuple: &'a SpiHeapTupleData<'a>,
}

impl Row<'_> {
    /// Column number `at`, counted from 1.
    pub fn get<T: FromDatum + IntoDatum>(&self, at: usize) -> Result<Option<T>, Report> {
        self.tuple.get(at).map_err(|e| broken(self.sql, e))
    }

    pub fn text(&self, at: usize) -> Result<String, Report> {
        Ok(self.get::<String>(at)?.unwrap_or_default())
    }
}

/// Acts as another role until dropped; for our own tables only, whose owner is the extension's.
pub struct ActAs {
    user: pg_sys::Oid,
    context: i32,
}

impl ActAs {
    pub fn extension_owner() -> Result<Self, Report> {
        let found = row(
            "SELECT extowner, extversion FROM pg_catalog.pg_extension WHERE extname OPERATOR(pg_catalog.=) 'cloudsync'",
            &[],
            |row| Ok((row.get::<pg_sys::Oid>(1)?.unwrap_or(pg_sys::InvalidOid), row.text(2)?)),
        )?;
        let Some((owner, version)) = found else {
            return Err(fail(
                PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
                "extension \"cloudsync\" is not installed in this database",
                "",
                "Run CREATE EXTENSION cloudsync.",
            ));
        };
        if version != env!("CARGO_PKG_VERSION") {
            return Err(fail(
                PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, // 55000
                format!(
                    "extension \"cloudsync\" is at version {version}, its library at {}",
                    env!("CARGO_PKG_VERSION")
                ),
                "",
                "Run ALTER EXTENSION cloudsync UPDATE, and reconnect.",
            ));
        }
        let mut before = ActAs { user: pg_sys::InvalidOid, context: 0 };
        // SAFETY: both calls only read or set two session variables; Drop puts the old ones back, and an abort does too.
        unsafe {
            pg_sys::GetUserIdAndSecContext(&mut before.user, &mut before.context);
            pg_sys::SetUserIdAndSecContext(owner, before.context | pg_sys::SECURITY_LOCAL_USERID_CHANGE as i32);
        }
        Ok(before)
    }
}

impl Drop for ActAs {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe { pg_sys::SetUserIdAndSecContext(self.user, self.context) };
    }
}

/// Our own bookkeeping, done with the extension owner's rights whoever calls.
pub fn as_owner<T>(work: impl FnOnce() -> Result<T, Report>) -> Result<T, Report> {
    let _role = ActAs::extension_owner()?;
    work()
}

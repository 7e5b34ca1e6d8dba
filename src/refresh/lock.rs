//! Makes sure that one session at a time works on a collection, and one at a time renews a token.
//!
//! The function form locks for its transaction; the procedure form commits in between, so it locks for the session and
//! gives the lock back itself, also when it is cancelled.

use crate::report::Report;
use pgrx::pg_sys;

/// The advisory lock number of a name.
fn number(kind: &str, server: &str, rest: &str) -> i64 {
    xxhash_rust::xxh3::xxh3_64(format!("cloudsync\u{1f}{kind}\u{1f}{server}\u{1f}{rest}").as_bytes()) as i64
}

/// The tag of a one-number advisory lock, as pg_advisory_lock makes it.
fn tag(number: i64) -> pg_sys::LOCKTAG {
    // SAFETY: reads a session constant.
    let database = unsafe { pg_sys::MyDatabaseId };
    pg_sys::LOCKTAG {
        locktag_field1: database.to_u32(),
        locktag_field2: (number as u64 >> 32) as u32,
        locktag_field3: number as u32,
        locktag_field4: 1,
        locktag_type: pg_sys::LockTagType::LOCKTAG_ADVISORY as u8,
        locktag_lockmethodid: pg_sys::USER_LOCKMETHOD as u8,
    }
}

/// A held lock; dropping it gives a session's lock back.
pub struct Lock {
    tag: pg_sys::LOCKTAG,
    session: bool,
}

impl Drop for Lock {
    fn drop(&mut self) {
        if self.session {
            // SAFETY: the lock is held by this session; releasing it needs no transaction.
            unsafe { pg_sys::LockRelease(&self.tag, pg_sys::ExclusiveLock as i32, true) };
        }
    }
}

/// Takes the lock of a collection, or gives `None` at once when another session has it.
pub fn collection(server: &str, collection: &str, session: bool) -> Option<Lock> {
    let tag = tag(number("refresh", server, collection));
    // SAFETY: a plain lock request that does not wait.
    let got = unsafe { pg_sys::LockAcquire(&tag, pg_sys::ExclusiveLock as i32, session, true) };
    match got {
        pg_sys::LockAcquireResult::LOCKACQUIRE_OK => Some(Lock { tag, session }),
        // Held by this very session: a refresh inside a refresh (a trigger, an exception block) must not run twice.
        pg_sys::LockAcquireResult::LOCKACQUIRE_ALREADY_HELD if session => {
            // SAFETY: counted once more by the request above.
            unsafe { pg_sys::LockRelease(&tag, pg_sys::ExclusiveLock as i32, true) };
            None
        }
        pg_sys::LockAcquireResult::LOCKACQUIRE_ALREADY_HELD => Some(Lock { tag, session }),
        _ => None,
    }
}

/// Waits for the right to renew a token; held until the transaction ends.
pub fn wait_for_token_lock(server: &str, mapping_user: &str) -> Result<(), Report> {
    let tag = tag(number("token", server, mapping_user));
    // SAFETY: a plain lock request; waiting honours interrupts.
    unsafe { pg_sys::LockAcquire(&tag, pg_sys::ExclusiveLock as i32, false, false) };
    Ok(())
}

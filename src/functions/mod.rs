//! The SQL functions: each checks its arguments, does one thing, and returns rows.

pub mod connect;
pub mod define;
pub mod lists;
pub mod maintain;
pub mod refresh;
pub mod schedule;

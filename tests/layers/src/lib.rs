//! Compiles `manifest`, `http` and `extract` in a crate that does not depend on pgrx.
//!
//! That is the proof that these layers know nothing of Postgres, and it lets their tests run in seconds.

//! Keeps local tables fresh.

pub mod backfill;
pub mod context;
pub mod ending;
pub mod fields;
pub mod lock;
pub mod prepare;
pub mod reconcile;
pub mod run;
pub mod state;
pub mod statements;
pub mod subtransaction;
pub mod tables;
pub mod write;

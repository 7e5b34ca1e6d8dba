//! Keeps local tables fresh.

pub mod lock;
pub mod reconcile;
pub mod run;
pub mod state;
pub mod subtransaction;
pub mod tables;
pub mod write;

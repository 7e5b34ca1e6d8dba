//! Keeps local tables fresh.

pub mod context;
pub mod ending;
pub mod lock;
pub mod prepare;
pub mod reconcile;
pub mod run;
pub mod state;
pub mod statements;
pub mod subtransaction;
pub mod tables;
pub mod write;

//! What apps with plain REST APIs share: records in a book, the control API's data calls on it, and small helpers for
//! pages, instants, credentials and rates. An app may do any of it in its own way.

pub mod auth;
mod book;
pub mod crud;
pub mod page;
#[cfg(test)]
pub mod probe;
pub mod rate;
mod record;
pub mod time;

pub use book::Book;
pub use record::{Kind, Record, Stamp, When};

//! Compiles `manifest`, `http` and `extract` in a crate that does not depend on pgrx.
//!
//! That is the proof that these layers know nothing of Postgres, and it lets their tests run in seconds.

#[path = "../../../src/error.rs"]
pub mod error;
#[path = "../../../src/extract/mod.rs"]
pub mod extract;
#[path = "../../../src/http/mod.rs"]
pub mod http;
#[path = "../../../src/manifest/mod.rs"]
pub mod manifest;
#[path = "../../../src/secret.rs"]
pub mod secret;

pub mod source_pages;

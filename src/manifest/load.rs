//! Finds the built-in source files, fills in their defaults and refuses what makes no sense.
//!
//! Layer: manifest. Knows nothing of Postgres.

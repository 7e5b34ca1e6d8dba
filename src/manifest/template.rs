//! Fills `{name}` and `{name?}` in addresses, headers and parameters.
//!
//! Layer: manifest. Knows nothing of Postgres.

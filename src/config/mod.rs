//! Settings in two layers: text with the source it came from (`table`, `source`), then meaning (`settings`): types that
//! cannot be wrong. The environment is read in this room only.
//!
//! The table in `table` is the one source of parsing, `--help`, docs/configuration.md and "did you mean".

mod settings;

pub use settings::*;

//! Settings in two layers: text with the source it came from (`table`, `source`), then meaning (`settings`): types that
//! cannot be wrong. The environment is read in this room only.
//!
//! The table in `table` is the one source of parsing, `--help`, docs/configuration.md and "did you mean".

mod secret_file;
mod settings;

pub use secret_file::KeyFileError;
pub use settings::*;

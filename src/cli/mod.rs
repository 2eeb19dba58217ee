//! The command line: one file a command. Builds things and starts them; no logic.

pub mod serve;

use std::process::ExitCode;

/// Runs the command that the arguments name.
#[must_use]
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}

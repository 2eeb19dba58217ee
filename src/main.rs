//! The thin binary: everything it does is in the library's `cli` room.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    vestibule::cli::main()
}

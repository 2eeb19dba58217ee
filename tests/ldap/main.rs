//! Signing in with a directory: against a real slapd where `VESTIBULE_TEST_SLAPD` names one, and against a server that
//! misbehaves at the protocol.

mod active_directory;
#[path = "../support/app.rs"]
mod app;
#[path = "../support/browser.rs"]
mod browser;
mod check;
mod entry;
mod form;
mod groups;
mod hostile;
mod house;
mod names;
mod program;
mod protocol;
mod recheck;
mod servers;
mod slapd;

//! Signing in with a directory: against a real slapd where `VESTIBULE_TEST_SLAPD` names one, and against a server that
//! misbehaves at the protocol.

mod check;
mod entry;
mod form;
mod hostile;
mod house;
mod recheck;
mod servers;
mod slapd;

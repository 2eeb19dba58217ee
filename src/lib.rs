//! Vestibule: a reverse-proxy authentication gateway.
//!
//! The rooms and the arrows between them are told in `docs/architecture.md`; `tests/architecture.rs` holds the code to
//! them. In short: `cli` builds things and starts them, `gateway` carries requests, `sign_in` lets people in,
//! `directory`, `session` and `identity` hold the rules, `store` holds the SQL.
#![forbid(unsafe_code)]

pub mod cli;
pub mod clock;
pub mod config;
pub mod console;
pub mod directory;
pub mod gateway;
pub mod identity;
pub mod jose;
pub mod ops;
pub mod pages;
pub mod person;
pub mod seal;
pub mod session;
pub mod sign_in;
pub mod store;
pub mod telemetry;
pub mod trust;

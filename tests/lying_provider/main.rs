//! The provider that lies: each check of a sign-in has the token or answer that breaks it. A lie passes its test only if
//! there is no session afterwards and the upstream saw nothing.

#[path = "../support/app.rs"]
mod app;
#[path = "../support/browser.rs"]
mod browser;
#[path = "../support/database.rs"]
mod database;
mod house;
#[path = "../support/keys.rs"]
mod keys;
mod provider;

mod callback;
mod endpoints;
mod entry;
mod id_token;
mod logout;
mod secrets;
mod works;

//! What must hold on the wire: raw bytes on a real socket, an app that writes down every byte it sees. An attack test
//! passes only if the app saw nothing of it.

#[path = "../support/database.rs"]
mod database;

mod answers;
mod app;
mod bodies;
mod client;
mod console;
mod console_actions;
mod console_house;
mod console_lists;
mod console_people;
mod endings;
mod frames;
mod http2;
mod identity;
mod message;
mod pairs;
mod reading;
mod sharing;
mod support;
mod timers;
mod tls;
mod upstreams;

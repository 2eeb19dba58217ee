//! The program on a PostgreSQL server of its own: where `VESTIBULE_TEST_POSTGRES_BIN` names the folder of its programs.

mod program;
mod server;

mod connecting;
mod moving;

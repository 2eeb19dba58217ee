//! What the gateway tells operators: the log, the access log, audit events, metrics. A leaf: every room may use it.
//!
//! The endpoints that show it are in `ops`.

//! Tests of the real binary through real sockets: one file for each promise.
//!
//! They run in parallel on free ports, each gateway with a folder of its own. They need etcd,
//! nginx and the Python packages of `requirements.txt`: `make test` installs them.

// Helpers panic as tests do; the lints' exception for tests covers only `#[test]` functions.
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::too_many_lines)]

mod support;

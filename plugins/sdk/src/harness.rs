//! Runs one plugin in a test, with no server.

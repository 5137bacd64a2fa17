//! What a request means before any plugin sees it: pure functions on paths, hosts, framing and client
//! addresses, shared by the proxy and by explain. Nothing here does I/O or knows Pingora.
pub mod forwarded;
pub mod framing;
pub mod host;
pub mod internal;
pub mod onward;
pub mod path;
pub mod readings;
pub mod websocket;

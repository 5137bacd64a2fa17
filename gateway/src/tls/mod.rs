//! TLS towards clients, as far as it needs no connection: which certificate a server name gets, and
//! what is demanded of clients. The handshake itself is in `proxy/handshake.rs`.
//!
//! Each certificate has an OpenSSL context of its own, chosen before TLS begins ([`hello`]). So
//! session tickets of one name mean nothing to another, and client certificates are per name.

mod context;
mod files;
pub mod hello;
mod policy;
mod store;
#[cfg(test)]
#[allow(unreachable_pub, dead_code)]
#[path = "../../../t/support/certificates.rs"]
pub(crate) mod test_certificates;
#[cfg(test)]
mod tests;

pub use context::{MinVersion, Secure, Settings};
pub use files::{FileError, Files, PemFiles};
pub use policy::{OwnPolicy, Policy};
pub use store::{CertStore, Closed, Entry, Found, Match};

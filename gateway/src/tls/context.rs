//! The OpenSSL context of one certificate: versions, ciphers, session tickets, client certificates.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use openssl::error::ErrorStack;
use openssl::ssl::{
    AlpnError, SslContext, SslContextBuilder, SslMethod, SslMode, SslOptions, SslSessionCacheMode, SslVerifyMode,
    SslVersion, select_next_proto,
};
use openssl::x509::store::X509StoreBuilder;

use super::Policy;
use crate::resource::{ClientAuth, Invalid, Pair};

/// For TLS 1.2: forward secrecy and authenticated encryption only. TLS 1.3 has nothing else.
const CIPHERS: &str = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:\
                       ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";
/// With the hybrid that holds against quantum computers where OpenSSL has it (3.5 and later).
const GROUPS: [&str; 2] = ["X25519MLKEM768:X25519:P-256:P-384", "X25519:P-256:P-384"];
/// What may be negotiated by ALPN, in the order of our preference.
const PROTOCOLS: &[u8] = b"\x02h2\x08http/1.1";
/// Longest chain of a client certificate.
const CLIENT_CHAIN: u32 = 8;
/// How long the keys of session tickets are used. OpenSSL makes new ones with each context.
pub(super) const TICKET_KEYS: Duration = Duration::from_secs(12 * 60 * 60);

/// The lowest version of TLS that is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MinVersion {
    /// TLS 1.2.
    #[default]
    Tls12,
    /// TLS 1.3.
    Tls13,
}

/// What holds for every certificate.
#[derive(Debug, Default)]
pub struct Settings {
    /// The lowest version of TLS that is spoken.
    pub min_version: MinVersion,
    /// For certificates that say nothing of client certificates themselves.
    pub policy: ArcSwap<Policy>,
}

/// A context, and what it was made for.
pub struct Secure {
    /// For OpenSSL.
    pub context: SslContext,
    /// What is demanded of clients.
    pub policy: Arc<Policy>,
    pub(super) made: Instant,
}

impl Secure {
    pub(super) fn new(pair: &Pair, policy: Arc<Policy>, min_version: MinVersion) -> Result<Self, Invalid> {
        let context = build(pair, &policy, min_version)
            .map_err(|e| Invalid::at("cert", format!("OpenSSL does not take it: {}", first_reason(&e))))?;
        Ok(Self { context, policy, made: Instant::now() })
    }
}

impl std::fmt::Debug for Secure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secure").field("policy", &self.policy).finish_non_exhaustive()
    }
}

fn build(pair: &Pair, policy: &Policy, min_version: MinVersion) -> Result<SslContext, ErrorStack> {
    let mut context = SslContextBuilder::new(SslMethod::tls_server())?;
    context.set_min_proto_version(Some(match min_version {
        MinVersion::Tls12 => SslVersion::TLS1_2,
        MinVersion::Tls13 => SslVersion::TLS1_3,
    }))?;
    context.set_cipher_list(CIPHERS)?;
    if context.set_groups_list(GROUPS[0]).is_err() {
        context.set_groups_list(GROUPS[1])?;
    }
    context.set_options(SslOptions::NO_COMPRESSION | SslOptions::NO_RENEGOTIATION);
    // Without RELEASE_BUFFERS an idle connection keeps 32 KiB.
    context.set_mode(
        SslMode::RELEASE_BUFFERS
            | SslMode::AUTO_RETRY
            | SslMode::ENABLE_PARTIAL_WRITE
            | SslMode::ACCEPT_MOVING_WRITE_BUFFER,
    );
    context.set_alpn_select_callback(|_, offered| select_next_proto(PROTOCOLS, offered).ok_or(AlpnError::ALERT_FATAL));

    context.set_certificate(pair.leaf())?;
    context.set_private_key(&pair.key)?;
    for issuer in &pair.chain[1..] {
        context.add_extra_chain_cert(issuer.clone())?;
    }
    context.check_private_key()?;

    // Tickets only: a cache of sessions would be a lock and memory for each handshake.
    context.set_session_cache_mode(SslSessionCacheMode::OFF);
    context.set_session_id_context(policy.id())?;
    if policy.auth != ClientAuth::None {
        let mut store = X509StoreBuilder::new()?;
        for ca in &policy.cas {
            store.add_cert(ca.clone())?;
            context.add_client_ca(ca)?;
        }
        context.set_verify_cert_store(store.build())?;
        context.set_verify_depth(CLIENT_CHAIN);
    }
    context.set_verify(match policy.auth {
        ClientAuth::None => SslVerifyMode::NONE,
        ClientAuth::Request => SslVerifyMode::PEER,
        ClientAuth::Require => SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT,
    });
    Ok(context.build())
}

/// OpenSSL's first word on what is wrong.
fn first_reason(errors: &ErrorStack) -> String {
    errors.errors().iter().find_map(openssl::error::Error::reason).unwrap_or("unknown reason").to_owned()
}

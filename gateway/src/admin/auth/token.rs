//! The tokens of a login: JWTs signed with HMAC-SHA-256 and no other way.
//!
//! The signature is checked before a byte of the token is interpreted, and the header is compared
//! with the one algorithm there is, never used to choose one. That is why no JWT library is here:
//! its work is choosing, and its software backend brings an RSA with an open advisory
//! (RUSTSEC-2023-0071).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The header, in the old gateway's spelling.
const HEADER: &str = r#"{"typ":"JWT","alg":"HS256"}"#;
/// Longer ones are not ours.
const MAX_LENGTH: usize = 4096;

/// What a token says. Times are fractional seconds since 1970, as the old gateway wrote them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Claims {
    /// When it ends.
    pub(super) exp: f64,
    /// Whose it is.
    pub(super) username: String,
    /// When it was made. The old gateway's tokens have none.
    #[serde(default)]
    pub(super) iat: f64,
    /// Makes two logins of one instant two tokens.
    #[serde(default)]
    pub(super) jti: String,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
}

/// A token that was verified.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Verified {
    /// What it says.
    pub(super) claims: Claims,
    /// Names it where it is revoked: the digest of what its signature covers, so that another
    /// spelling of the signature would not be another token.
    pub(super) id: String,
}

/// Makes a token of a login that was begun then.
pub(super) fn sign(secret: &[u8], username: &str, begun: f64, lifetime: Duration) -> String {
    let claims = Claims {
        exp: begun + lifetime.as_secs_f64(),
        username: username.to_owned(),
        iat: begun,
        jti: hex::encode(rand::random::<[u8; 16]>()),
    };
    let claims = serde_json::to_vec(&claims).expect("texts and finite numbers are JSON");
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(HEADER), URL_SAFE_NO_PAD.encode(claims));
    let signature = URL_SAFE_NO_PAD.encode(mac(secret, &signed).finalize().into_bytes());
    format!("{signed}.{signature}")
}

/// Verifies signature, algorithm and expiry. `None` for any token that is not ours and live.
pub(super) fn verify(secret: &[u8], token: &str) -> Option<Verified> {
    if token.len() > MAX_LENGTH {
        return None;
    }
    let (signed, signature) = token.rsplit_once('.')?;
    let (header, claims) = signed.split_once('.')?;
    let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
    mac(secret, signed).verify_slice(&signature).ok()?;

    let header: Header = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
    let claims: Claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    // An `exp` that is not a number never compares as later.
    let live = header.alg == "HS256" && claims.exp.is_finite() && claims.exp > now();
    live.then(|| Verified { claims, id: hex::encode(Sha256::digest(signed)) })
}

/// Seconds since 1970.
pub(in crate::admin) fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

fn mac(secret: &[u8], signed: &str) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
    mac.update(signed.as_bytes());
    mac
}

//! One-time codes of an authenticator app (RFC 6238): six digits, thirty seconds, HMAC-SHA-1, which
//! is what the apps know. A code is good once.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use totp_rs::{Builder, Secret, Totp};

pub(in crate::admin) use crate::resource::key::TOTP;

const ISSUER: &str = "ws-cloud-gateway";

/// An authenticator as stored.
#[derive(Clone, Serialize, Deserialize)]
pub(in crate::admin) struct StoredTotp {
    /// The secret, encrypted.
    pub(in crate::admin) secret: String,
    /// Whether its user has shown that the app has it; until then logins do not ask for codes.
    #[serde(default)]
    pub(in crate::admin) confirmed: bool,
    /// The step of the last code that was used: neither it nor an earlier one is good again.
    #[serde(default)]
    pub(in crate::admin) last_step: u64,
}

/// A new secret, in the letters that apps take.
pub(in crate::admin) fn generate() -> String {
    Secret::from(rand::random::<[u8; 20]>()).to_base32()
}

/// What an app makes its entry of, as a QR code.
pub(in crate::admin) fn url(user: &str, secret: &str) -> String {
    let user = utf8_percent_encode(user, NON_ALPHANUMERIC);
    format!("otpauth://totp/{ISSUER}:{user}?secret={secret}&issuer={ISSUER}")
}

/// The step of a code, if it is one of now and later than `last_step`. One step of difference
/// between the clocks is allowed.
pub(in crate::admin) fn step(secret: &str, code: &str, now: f64, last_step: u64) -> Option<u64> {
    let totp: Totp = Builder::new().with_secret(Secret::try_from_base32(secret).ok()?).build().ok()?;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    totp.check(code, now as u64).filter(|step| *step > last_step)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "12345678901234567890", the secret of the RFC's appendix B.
    const RFC: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

    #[test]
    fn codes_are_those_of_the_rfc() {
        for (time, code) in [(59.0, "287082"), (1_111_111_109.0, "081804"), (2_000_000_000.0, "279037")] {
            assert!(step(RFC, code, time, 0).is_some(), "{code}");
            assert!(step(RFC, code, time + 30.0, 0).is_some(), "the clock may be a step off");
            assert_eq!(step(RFC, code, time + 90.0, 0), None, "{code}");
        }
        for none in ["", "287 082", "28708", "2870820", "abcdef", "000000"] {
            assert_eq!(step(RFC, none, 59.0, 0), None, "{none}");
        }
    }

    #[test]
    fn a_code_is_good_once_and_so_are_those_before_it() {
        let used = step(RFC, "287082", 59.0, 0).unwrap();
        assert_eq!(step(RFC, "287082", 59.0, used), None);
        assert_eq!(step(RFC, "287082", 80.0, used), None);
        assert!(step(RFC, "287082", 59.0, used - 1).is_some());
    }

    #[test]
    fn a_new_secret_is_one() {
        let secret = generate();
        assert_eq!(secret.len(), 32);
        assert_ne!(secret, generate());
        assert_eq!(url("a b@c", "X"), "otpauth://totp/ws-cloud-gateway:a%20b%40c?secret=X&issuer=ws-cloud-gateway");
    }
}

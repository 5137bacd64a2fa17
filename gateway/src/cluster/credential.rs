//! What a gateway shows another: that it knows the secret of the store, that the call is for that very
//! gateway, and that it was made just now.
//!
//! It is for one method, target, receiver and half a minute. Who sees it on the way can repeat the same
//! question to the same gateway for as long, and nothing else.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// The header that carries it: `<sender>;<seconds since 1970>;<code>`.
pub const HEADER: &str = "x-gateway-credential";
/// How far its time may be from now, either way.
const WINDOW: u64 = 30;

/// The call it is for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call<'a> {
    /// The name of the gateway that is asked.
    pub(super) to: &'a str,
    /// The method.
    pub(super) method: &'a str,
    /// Path and query.
    pub(super) target: &'a str,
}

/// Makes one.
pub(super) fn make(secret: &[u8], from: &str, call: &Call<'_>, now: u64) -> String {
    let code = code(secret, from, call, now).finalize().into_bytes();
    format!("{from};{now};{}", hex::encode(code))
}

/// Whether this is one for the call, made just now.
pub(super) fn verify(secret: &[u8], credential: &str, call: &Call<'_>, now: u64) -> Result<(), &'static str> {
    const MALFORMED: &str = "the credential is malformed";
    let mut parts = credential.split(';');
    let (Some(from), Some(time), Some(code), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err(MALFORMED);
    };
    let time: u64 = time.parse().map_err(|_| MALFORMED)?;
    let given = hex::decode(code).map_err(|_| MALFORMED)?;
    // In constant time, and before anything else is said of it.
    self::code(secret, from, call, time).verify_slice(&given).map_err(|_| "the credential is not for this call")?;
    if time.abs_diff(now) > WINDOW {
        return Err("the credential is too old, or the clocks of the gateways differ");
    }
    Ok(())
}

fn code(secret: &[u8], from: &str, call: &Call<'_>, time: u64) -> Hmac<Sha256> {
    let mut code = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
    // None of them has a line break, so no two calls are written alike.
    for part in ["gateway to gateway, 1", from, call.to, call.method, call.target, &time.to_string()] {
        code.update(part.as_bytes());
        code.update(b"\n");
    }
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
    const CALL: Call<'static> = Call { to: "b", method: "GET", target: "/admin/v2/figures?scope=self" };
    const NOW: u64 = 1_700_000_000;

    #[test]
    fn it_is_good_for_its_call_and_half_a_minute() {
        let made = make(SECRET, "a", &CALL, NOW);
        for now in [NOW - 30, NOW, NOW + 30] {
            assert_eq!(verify(SECRET, &made, &CALL, now), Ok(()), "{now}");
        }
        for now in [NOW - 31, NOW + 31, 0, u64::MAX] {
            assert!(verify(SECRET, &made, &CALL, now).unwrap_err().contains("too old"), "{now}");
        }
    }

    #[test]
    fn it_is_good_for_no_other_call_secret_time_or_sender() {
        let made = make(SECRET, "a", &CALL, NOW);
        for other in [
            Call { to: "c", ..CALL },
            Call { method: "PUT", ..CALL },
            Call { target: "/admin/v2/figures?scope=self&raw=true", ..CALL },
            Call { target: "/admin/v2/log-level", ..CALL },
        ] {
            assert!(verify(SECRET, &made, &other, NOW).is_err(), "{other:?}");
        }
        assert!(verify(b"another secret of the same kind!", &made, &CALL, NOW).is_err());
        let code = made.rsplit_once(';').unwrap().1;
        for forged in [
            format!("a;{};{code}", NOW + 1),
            format!("x;{NOW};{code}"),
            format!("a;{NOW};"),
            format!("a;{NOW};{}", "0".repeat(64)),
            format!("a;{NOW};{}", &code[..62]),
            format!("a;{NOW};{code};"),
            format!("a;-1;{code}"),
            String::new(),
            ";;".into(),
        ] {
            assert!(verify(SECRET, &forged, &CALL, NOW).is_err(), "{forged}");
        }
    }
}

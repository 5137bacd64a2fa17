//! ID tokens (OpenID Connect Core, section 3.1.3.7): signed by the provider, for us, for this login,
//! and of now. RS256 and ES256; which of them is the key's to say.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::ecdsa::EcdsaSig;
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use openssl::sign::Verifier;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::Refused;
use crate::admin::auth::now;
use crate::config::OidcConfig;

/// Longer ones are no ID tokens.
const MAX_LENGTH: usize = 32 << 10;
/// Keys that are tried for a token that names none.
const MAX_KEYS: usize = 16;
/// How far the clocks may be apart, in seconds.
const SKEW: f64 = 60.0;

/// A key of the provider (RFC 7517). Others than these are not read.
#[derive(Debug, Deserialize)]
pub(super) struct Key {
    #[serde(default)]
    kid: Option<String>,
    #[serde(default, rename = "use")]
    purpose: Option<String>,
    #[serde(flatten)]
    material: Material,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "kty")]
enum Material {
    #[serde(rename = "RSA")]
    Rsa { n: String, e: String },
    #[serde(rename = "EC")]
    Ec { crv: String, x: String, y: String },
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    /// What must be understood, and is not.
    #[serde(default)]
    crit: Option<Value>,
}

/// The claims of a token, once it is found to be good.
pub(super) fn verify(token: &str, keys: &[Key], config: &OidcConfig, nonce: &str) -> Result<Value, Refused> {
    let malformed = || Refused::Token("it is malformed");
    if token.len() > MAX_LENGTH {
        return Err(malformed());
    }
    let (signed, signature) = token.rsplit_once('.').ok_or_else(malformed)?;
    let (header, claims) = signed.split_once('.').ok_or_else(malformed)?;
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| malformed());
    let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| malformed())?;
    let signature = decode(signature)?;
    let is_meant = |key: &&Key| {
        key.purpose.as_deref().is_none_or(|purpose| purpose == "sig")
            && key.material.algorithm() == header.alg
            && (header.kid.is_none() || key.kid == header.kid)
    };
    let mut meant = keys.iter().filter(is_meant).take(MAX_KEYS);
    if header.crit.is_some() || !meant.any(|key| key.material.has_signed(signed.as_bytes(), &signature)) {
        return Err(Refused::Token("its signature is of none of the provider's keys"));
    }
    let claims: Value = serde_json::from_slice(&decode(claims)?).map_err(|_| malformed())?;
    check(&claims, config, nonce)?;
    Ok(claims)
}

fn check(claims: &Value, config: &OidcConfig, nonce: &str) -> Result<(), Refused> {
    if claims["iss"] != config.issuer.as_str() {
        return Err(Refused::Token("it is of another provider"));
    }
    let is_for_us = match &claims["aud"] {
        Value::String(one) => *one == config.client_id,
        // Of several, one must be said to be meant.
        Value::Array(all) => {
            all.iter().any(|one| one == config.client_id.as_str())
                && (all.len() == 1 || claims["azp"] == config.client_id.as_str())
        }
        _ => false,
    };
    if !is_for_us || claims.get("azp").is_some_and(|azp| azp != config.client_id.as_str()) {
        return Err(Refused::Token("it is for another client"));
    }
    if claims["nonce"] != nonce {
        return Err(Refused::Token("it is of another login"));
    }
    let time = |name: &str| claims[name].as_f64();
    // A time that is missing is never later.
    if !time("exp").is_some_and(|exp| exp + SKEW > now()) || time("iat").is_none_or(|iat| iat - SKEW > now()) {
        return Err(Refused::Token("it is not of now; are the clocks right?"));
    }
    Ok(())
}

impl Material {
    /// The one algorithm a key is used with.
    fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa { .. } => "RS256",
            Self::Ec { .. } => "ES256",
        }
    }

    fn has_signed(&self, signed: &[u8], signature: &[u8]) -> bool {
        let verified = match self {
            Self::Rsa { n, e } => rsa(n, e, signed, signature),
            Self::Ec { crv, x, y } if crv == "P-256" => ec(x, y, signed, signature),
            Self::Ec { .. } => Ok(false),
        };
        // What OpenSSL cannot read is no signature.
        verified.unwrap_or(false)
    }
}

fn rsa(n: &str, e: &str, signed: &[u8], signature: &[u8]) -> Result<bool, ErrorStack> {
    let key = Rsa::from_public_components(number(n)?, number(e)?)?;
    if key.size() < 256 {
        return Ok(false);
    }
    let key = PKey::from_rsa(key)?;
    let mut verifier = Verifier::new(MessageDigest::sha256(), &key)?;
    verifier.verify_oneshot(signature, signed)
}

fn ec(x: &str, y: &str, signed: &[u8], signature: &[u8]) -> Result<bool, ErrorStack> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    // Checks that the point is on the curve.
    let key = EcKey::from_public_key_affine_coordinates(&group, &*number(x)?, &*number(y)?)?;
    let Some((r, s)) = signature.split_at_checked(32).filter(|_| signature.len() == 64) else { return Ok(false) };
    let signature = EcdsaSig::from_private_components(BigNum::from_slice(r)?, BigNum::from_slice(s)?)?;
    signature.verify(&Sha256::digest(signed), &key)
}

/// A number as keys have it; one that cannot be read is nobody's.
fn number(text: &str) -> Result<BigNum, ErrorStack> {
    BigNum::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use openssl::ec::EcKeyRef;
    use openssl::pkey::Private;
    use serde_json::json;

    use super::*;

    fn coordinates(key: &EcKeyRef<Private>) -> (String, String) {
        let (mut x, mut y) = (BigNum::new().unwrap(), BigNum::new().unwrap());
        let mut context = openssl::bn::BigNumContext::new().unwrap();
        key.public_key().affine_coordinates(key.group(), &mut x, &mut y, &mut context).unwrap();
        let part = |number: BigNum| URL_SAFE_NO_PAD.encode(number.to_vec_padded(32).unwrap());
        (part(x), part(y))
    }

    fn config() -> OidcConfig {
        serde_json::from_value(json!({
            "issuer": "https://i", "client_id": "c", "redirect_url": "https://g/admin/v2/oidc/callback",
            "default_role": "viewer",
        }))
        .unwrap()
    }

    #[test]
    fn a_key_on_the_curve_signs_with_its_own_algorithm_only() {
        let key = EcKey::generate(&EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap()).unwrap();
        let (x, y) = coordinates(&key);
        let keys = |crv: &str, y: &str| -> Vec<Key> {
            vec![serde_json::from_value(json!({"kty": "EC", "crv": crv, "x": x, "y": y, "kid": "1"})).unwrap()]
        };
        let token = |header: Value| {
            let claims = json!({"iss": "https://i", "aud": "c", "sub": "s", "nonce": "n", "iat": 1, "exp": 4e9});
            let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
            let signed = format!("{header}.{claims}");
            let signature = EcdsaSig::sign(&Sha256::digest(&signed), &key).unwrap();
            let [r, s] = [signature.r(), signature.s()].map(|part| part.to_vec_padded(32).unwrap());
            format!("{signed}.{}", URL_SAFE_NO_PAD.encode([r, s].concat()))
        };
        let good = token(json!({"alg": "ES256", "kid": "1"}));
        assert_eq!(verify(&good, &keys("P-256", &y), &config(), "n").unwrap()["sub"], "s");
        assert!(verify(&token(json!({"alg": "ES256"})), &keys("P-256", &y), &config(), "n").is_ok());
        for (header, crv, y) in [
            (json!({"alg": "ES256", "kid": "2"}), "P-256", y.as_str()),
            (json!({"alg": "RS256", "kid": "1"}), "P-256", &y),
            (json!({"alg": "es256", "kid": "1"}), "P-256", &y),
            (json!({"alg": "ES256", "crit": ["b64"]}), "P-256", &y),
            (json!({"alg": "ES256", "kid": "1"}), "P-521", &y),
            // Not on the curve.
            (json!({"alg": "ES256", "kid": "1"}), "P-256", &x),
            (json!({"alg": "ES256", "kid": "1"}), "P-256", "!"),
        ] {
            let refused = verify(&token(header.clone()), &keys(crv, y), &config(), "n").unwrap_err();
            assert_eq!(refused, Refused::Token("its signature is of none of the provider's keys"), "{header}");
        }
        for malformed in ["", "a", "a.b", "a.b.c", &good[1..], &format!("{good}{}", "A".repeat(MAX_LENGTH))] {
            assert!(verify(malformed, &keys("P-256", &y), &config(), "n").is_err());
        }
    }
}

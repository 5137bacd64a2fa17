//! API tokens: those of the configuration, and those made by the API, of which the store has a
//! digest only.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use utoipa::ToSchema;

use super::principal::Principal;
use super::rights::{Rights, Role, Services};
use crate::config::TokenConfig;

/// Tokens: `gw/tokens/<id>`.
pub(in crate::admin) const TOKENS: &str = "gw/tokens/";
/// What every token of ours begins with, so that leaked ones can be searched for.
const MARK: &str = "wsgw_";
const ID: usize = 16;
const SECRET: usize = 64;

/// A token of the configuration.
pub(super) struct Configured {
    digest: [u8; 32],
    principal: Principal,
}

impl Configured {
    pub(super) fn of(token: &str, config: &TokenConfig) -> Self {
        let principal = match &config.may {
            None => Principal::ApiToken,
            // Registering is all there is to be allowed.
            Some(_) => Principal::Registrar(Arc::new(Services(config.services.clone()))),
        };
        Self { digest: Sha256::digest(token).into(), principal }
    }
}

/// Compares with every configured token, and by digests, so that the time says nothing.
pub(super) fn configured(tokens: &[Configured], token: &[u8]) -> Option<Principal> {
    let digest: [u8; 32] = Sha256::digest(token).into();
    let mut found = None;
    for known in tokens {
        if known.digest.ct_eq(&digest).into() {
            found = Some(&known.principal);
        }
    }
    found.cloned()
}

/// What a token may be used for, when that is less than its role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::admin) enum Scope {
    /// Registering nodes, and nothing else.
    Register,
}

/// A token as stored. Times are seconds since 1970.
#[derive(Clone, Serialize, Deserialize)]
pub(in crate::admin) struct StoredToken {
    /// What people call it.
    pub(in crate::admin) name: String,
    pub(in crate::admin) role: Role,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::admin) services: Option<Services>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::admin) scope: Option<Scope>,
    /// The SHA-256 of the whole token, in hexadecimal.
    pub(in crate::admin) digest: String,
    pub(in crate::admin) last_four: String,
    pub(in crate::admin) creator: String,
    pub(in crate::admin) created: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::admin) expires: Option<f64>,
}

impl StoredToken {
    /// Whether a token is this one and has not ended.
    pub(super) fn admits(&self, token: &str, now: f64) -> bool {
        let digest = digest(token);
        let same: bool = digest.as_bytes().ct_eq(self.digest.as_bytes()).into();
        // A time that is no number is never later.
        same && self.expires.is_none_or(|expires| expires > now)
    }

    /// Who comes with it.
    pub(super) fn principal(&self, id: &str) -> Principal {
        match self.scope {
            Some(Scope::Register) => {
                Principal::Registrar(Arc::new(self.services.clone().unwrap_or_else(|| Services(vec!["*".into()]))))
            }
            None => Principal::Token {
                id: id.to_owned(),
                name: format!("the API token {:?}", self.name),
                rights: Rights { role: self.role, services: self.services.clone() },
            },
        }
    }
}

/// A new token: its id, and itself.
pub(in crate::admin) fn generate() -> (String, String) {
    let id = hex::encode(rand::random::<[u8; ID / 2]>());
    let token = format!("{MARK}{id}_{}", hex::encode(rand::random::<[u8; SECRET / 2]>()));
    (id, token)
}

/// The digest of a token, in hexadecimal.
pub(in crate::admin) fn digest(token: &str) -> String {
    hex::encode(Sha256::digest(token))
}

/// The id in a token, if it has the form of ours.
pub(super) fn id(token: &str) -> Option<&str> {
    let (id, secret) = token.strip_prefix(MARK)?.split_once('_')?;
    let is_hex = |text: &str, length| text.len() == length && text.bytes().all(|b| b.is_ascii_hexdigit());
    (is_hex(id, ID) && is_hex(secret, SECRET)).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(token: &str, expires: Option<f64>) -> StoredToken {
        StoredToken {
            name: "ci".into(),
            role: Role::Editor,
            services: None,
            scope: None,
            digest: digest(token),
            last_four: String::new(),
            creator: "admin".into(),
            created: 0.0,
            expires,
        }
    }

    #[test]
    fn a_token_is_found_by_its_id_and_known_by_all_of_it() {
        let (name, token) = generate();
        assert_eq!(id(&token), Some(&*name));
        assert!(stored(&token, None).admits(&token, 1.0));
        let mut other = token.clone();
        other.replace_range(other.len() - 1.., if token.ends_with('0') { "1" } else { "0" });
        assert_eq!(id(&other), Some(&*name));
        assert!(!stored(&token, None).admits(&other, 1.0));
        for none in ["", "wsgw_", "wsgw_a_b", &token[1..], &token[..token.len() - 1], &format!("{token}0")] {
            assert_eq!(id(none), None, "{none}");
        }
    }

    #[test]
    fn a_token_ends() {
        let (_, token) = generate();
        assert!(stored(&token, Some(2.0)).admits(&token, 1.0));
        assert!(!stored(&token, Some(2.0)).admits(&token, 2.0));
        assert!(!stored(&token, Some(f64::NAN)).admits(&token, 2.0));
    }

    #[test]
    fn a_token_for_registrations_is_nothing_else() {
        let mut token = stored("x", None);
        token.scope = Some(Scope::Register);
        token.services = Some(Services(vec!["shop".into()]));
        let principal = token.principal("1");
        assert!(!principal.is_full() && principal.may_register("shop") && !principal.may_register("other"));
    }
}

//! Who may call the Admin API: logins with a password, their tokens, and configured API tokens.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

mod accounts;
mod known;
mod lockout;
mod password;
mod rights;
mod token;

pub use accounts::{first_start, reset_password};
pub(super) use rights::{Rights, Role, Services};

use crate::config::{AccountConfig, AdminConfig, TokenConfig};
use crate::store::{Lease, Op, SharedStore, StoreError};
use known::{Known, REVOKED};
use lockout::Lockout;
use password::{Secret, Verifier};

/// Ten years, in seconds: a token that ends later was not made by us.
const LONGEST_REVOCATION: f64 = 315_360_000.0;

/// Who calls.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Principal {
    /// A user who logged in.
    User {
        /// The account.
        name: String,
        /// What `/admin/user/info` answers, beside the name.
        info: Map<String, Value>,
        /// Names the token in `gw/revoked/`.
        token_id: String,
        /// When the token ends, in seconds since 1970.
        token_ends: f64,
    },
    /// The holder of a configured API token.
    ApiToken,
    /// The holder of an API token that may do nothing but register nodes of these services.
    Registrar(Arc<Services>),
}

impl Principal {
    /// For the log.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::User { name, .. } => name,
            Self::ApiToken => "an API token",
            Self::Registrar(_) => "an API token for registrations",
        }
    }

    /// What it may do with the API; registering nodes is apart.
    pub(super) fn rights(&self) -> Rights {
        match self {
            Self::User { .. } | Self::ApiToken => Rights::ALL,
            Self::Registrar(services) => Rights { role: Role::Viewer, services: Some(Services::clone(services)) },
        }
    }

    /// Whether it may use all of the API, and not only register nodes.
    pub(super) fn is_full(&self) -> bool {
        !matches!(self, Self::Registrar(_))
    }

    /// Whether it may register nodes of a service.
    pub(super) fn may_register(&self, service: &str) -> bool {
        match self {
            Self::Registrar(services) => services.cover(service),
            Self::User { .. } | Self::ApiToken => true,
        }
    }
}

/// Why a call was not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Denied {
    /// No token at all.
    NoToken,
    /// A token that is not one of ours, has ended or was revoked.
    BadToken,
    /// A good token of an account that is gone.
    UnknownUser,
    /// Neither the store nor the configuration says what a good token is.
    Unavailable,
}

/// Why a login failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LoginFailed {
    /// The name or the password is wrong, or too many were.
    Wrong,
    /// The accounts cannot be read.
    Unavailable,
}

struct ApiToken {
    digest: [u8; 32],
    principal: Principal,
}

impl ApiToken {
    fn of(token: &str, config: &TokenConfig) -> Self {
        let principal = match &config.may {
            None => Principal::ApiToken,
            // Registering is all there is to be allowed.
            Some(_) => Principal::Registrar(Arc::new(Services(config.services.clone()))),
        };
        Self { digest: Sha256::digest(token).into(), principal }
    }
}

/// Checks credentials.
pub(super) struct Auth {
    store: SharedStore,
    prefix: String,
    accounts: BTreeMap<String, AccountConfig>,
    secret: Option<Vec<u8>>,
    lifetime: Duration,
    api_tokens: Vec<ApiToken>,
    known: Known,
    verifier: Verifier,
    lockout: Lockout,
}

impl Auth {
    /// Must be called within a tokio runtime.
    pub(super) fn new(store: SharedStore, prefix: &str, config: &AdminConfig) -> Self {
        Self {
            known: Known::follow(&store, prefix),
            store,
            prefix: prefix.to_owned(),
            accounts: config.account.clone(),
            secret: config.jwt_secret.clone().map(String::into_bytes).filter(|secret| !secret.is_empty()),
            lifetime: config.token_lifetime,
            api_tokens: config
                .tokens
                .iter()
                .filter(|(token, _)| !token.is_empty())
                .map(|(token, config)| ApiToken::of(token, config))
                .collect(),
            verifier: Verifier::new(),
            lockout: Lockout::default(),
        }
    }

    /// Checks the credentials of a call: `X-Api-Token`, and if that is none of ours, `X-Token`.
    pub(super) async fn authenticate(&self, headers: &HeaderMap) -> Result<Principal, Denied> {
        if let Some(principal) = headers.get("x-api-token").and_then(|token| self.api_token(token.as_bytes())) {
            return Ok(principal);
        }
        let token = headers.get("x-token").ok_or(Denied::NoToken)?;
        let token = token.to_str().map_err(|_| Denied::BadToken)?;
        // Without the store's word no one knows which tokens were revoked.
        if !self.known.ready().await {
            return Err(Denied::Unavailable);
        }
        let secret = self.signing_secret().ok_or(Denied::Unavailable)?;
        let token = token::verify(&secret, token).ok_or(Denied::BadToken)?;
        if self.known.is_revoked(&token.id) {
            return Err(Denied::BadToken);
        }
        let name = token.claims.username;
        let info = match self.known.user(&name) {
            Some(user) if token.claims.iat < user.tokens_from => return Err(Denied::BadToken),
            Some(user) => user.info,
            None => self.accounts.get(&name).ok_or(Denied::UnknownUser)?.info.clone(),
        };
        Ok(Principal::User { name, info, token_id: token.id, token_ends: token.claims.exp })
    }

    /// Makes a token for who knows the password.
    pub(super) async fn login(&self, name: &str, password: String, from: IpAddr) -> Result<String, LoginFailed> {
        if !self.lockout.attempt(name, from) {
            return Err(LoginFailed::Wrong);
        }
        if !self.known.ready().await {
            return Err(LoginFailed::Unavailable);
        }
        let secret = self.signing_secret().ok_or(LoginFailed::Unavailable)?;
        // An account of the store wins over one of the configuration: its password was set later.
        let stored = self.known.user(name).map(|user| Secret::Hash(user.password_hash));
        let expected = stored.or_else(|| Some(Secret::configured(&self.accounts.get(name)?.password)));
        if !self.verifier.verify(expected, password).await {
            return Err(LoginFailed::Wrong);
        }
        self.lockout.succeeded(name, from);
        Ok(token::sign(&secret, name, self.lifetime))
    }

    /// Ends a login, on every gateway. An API token has none.
    pub(super) async fn logout(&self, principal: &Principal) -> Result<(), StoreError> {
        let Principal::User { token_id, token_ends, .. } = principal else { return Ok(()) };
        self.known.revoke_here(token_id, *token_ends);
        let left = Duration::from_secs_f64((token_ends - token::now()).clamp(1.0, LONGEST_REVOCATION));
        let lease = self.store.grant_lease(left).await?;
        let key = format!("{}{REVOKED}{token_id}", self.prefix);
        let put = Op::Put { key, value: "{}".into(), lease: Lease::Attach(lease) };
        self.store.txn(Vec::new(), vec![put]).await.map(drop)
    }

    fn signing_secret(&self) -> Option<Vec<u8>> {
        self.secret.clone().or_else(|| self.known.secret())
    }

    /// Compares with every token, and by digests, so that the time says nothing.
    fn api_token(&self, token: &[u8]) -> Option<Principal> {
        let digest: [u8; 32] = Sha256::digest(token).into();
        let mut found = None;
        for known in &self.api_tokens {
            if known.digest.ct_eq(&digest).into() {
                found = Some(&known.principal);
            }
        }
        found.cloned()
    }
}

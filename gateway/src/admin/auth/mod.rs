//! Who may call the Admin API, and what: logins with a password, their tokens and sessions, API
//! tokens, and the rights of each. `login.rs` is how one begins and ends, this how it is known again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method};
use serde_json::{Map, Value};

mod accounts;
mod api_token;
mod audit;
mod failures;
mod known;
mod lockout;
mod login;
mod password;
mod principal;
mod rights;
mod session;
mod token;
mod totp;

pub(super) use accounts::{USERS, User, hash, info, json, role_of};
pub use accounts::{first_start, reset_password};
pub(super) use api_token::{Scope, StoredToken, TOKENS, digest, generate as generate_token};
pub(super) use audit::{AUDIT, Entry};
pub(super) use login::{Attempt, LoginFailed, Renewed};
pub(super) use password::generate as generate_password;
pub(super) use principal::{Login, Principal};
pub(super) use rights::{Rights, Role, Services};
pub(super) use token::now;
pub(super) use totp::{StoredTotp, TOTP, generate as generate_totp, step as totp_step, url as totp_url};

use super::AdminDeps;
use super::Open;
use crate::config::AccountConfig;
use crate::store::{Guard, Op, Revision, SharedStore, StoreError};
use api_token::Configured;
use audit::Audit;
use failures::Failures;
use known::Known;
use lockout::Lockout;
use password::Verifier;

/// Why a call was not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Denied {
    /// No token at all.
    NoToken,
    /// A token that is not one of ours, has ended or was revoked.
    BadToken,
    /// A good token of an account that is gone.
    UnknownUser,
    /// A session's cookie on a call that another site's page could have made.
    Forged,
    /// Neither the store nor the configuration says what a good token is.
    Unavailable,
}

/// What is known of a user, from the store or the configuration.
struct Account {
    rights: Rights,
    info: Map<String, Value>,
    /// Logins from before this are void.
    logins_from: f64,
}

/// Checks credentials.
pub(super) struct Auth {
    store: SharedStore,
    prefix: String,
    accounts: BTreeMap<String, AccountConfig>,
    secret: Option<Vec<u8>>,
    lifetime: Duration,
    session_lifetime: Duration,
    origins: Vec<String>,
    /// Whether another party may still say who users are.
    takes_foreign: bool,
    api_tokens: Vec<Configured>,
    open: Open,
    known: Known,
    verifier: Verifier,
    lockout: Lockout,
    failures: Arc<Failures>,
    audit: Audit,
}

impl Auth {
    /// Must be called within a tokio runtime.
    pub(super) fn new(deps: &AdminDeps) -> Self {
        let (config, prefix, store) = (&deps.config, deps.data_prefix.as_str(), Arc::clone(&deps.store));
        let failures = Arc::new(Failures::default());
        let configured = config.tokens.iter().filter(|(token, _)| !token.is_empty());
        Self {
            known: Known::follow(&store, prefix),
            audit: Audit::new(&store, prefix, Arc::clone(&failures)),
            store,
            prefix: prefix.to_owned(),
            accounts: config.account.clone(),
            secret: config.jwt_secret.clone().map(String::into_bytes).filter(|secret| !secret.is_empty()),
            lifetime: config.token_lifetime,
            session_lifetime: config.session_lifetime,
            origins: config.cors_origins.clone(),
            takes_foreign: config.oidc.is_some(),
            api_tokens: configured.map(|(token, config)| Configured::of(token, config)).collect(),
            open: Arc::clone(&deps.open),
            verifier: Verifier::new(),
            lockout: Lockout::default(),
            failures,
        }
    }

    /// Checks the credentials of a call: an API token (`X-Api-Token`, `Authorization: Bearer`), and
    /// if that is none of ours, `X-Token`, then the cookie of a session.
    pub(super) async fn authenticate(&self, method: &Method, headers: &HeaderMap) -> Result<Principal, Denied> {
        let mut denied = Denied::NoToken;
        let api_token = headers.get("x-api-token").map(HeaderValue::as_bytes);
        for token in [api_token, bearer(headers)].into_iter().flatten() {
            match self.api_token(token).await {
                Ok(principal) => return Ok(principal),
                Err(Denied::NoToken) => {}
                Err(why) => denied = why,
            }
        }
        if let Some(token) = headers.get("x-token") {
            return self.login_token(token.to_str().map_err(|_| Denied::BadToken)?).await;
        }
        for id in session::ids(headers) {
            match self.session(id).await {
                Ok((principal, csrf)) if session::is_own_call(method, headers, &self.origins, &csrf) => {
                    return Ok(principal);
                }
                Ok(_) => denied = Denied::Forged,
                Err(why) => denied = why,
            }
        }
        Err(denied)
    }

    /// `NoToken` is a token that has not even the form of ours.
    async fn api_token(&self, token: &[u8]) -> Result<Principal, Denied> {
        if let Some(principal) = api_token::configured(&self.api_tokens, token) {
            return Ok(principal);
        }
        let token = std::str::from_utf8(token).map_err(|_| Denied::NoToken)?;
        let id = api_token::id(token).ok_or(Denied::NoToken)?;
        self.ready().await?;
        let stored = self.known.token(id).filter(|stored| stored.admits(token, now()));
        Ok(stored.ok_or(Denied::BadToken)?.principal(id))
    }

    async fn login_token(&self, token: &str) -> Result<Principal, Denied> {
        self.ready().await?;
        let secret = self.signing_secret().ok_or(Denied::Unavailable)?;
        let token = token::verify(&secret, token).ok_or(Denied::BadToken)?;
        if self.known.is_revoked(&token.id) {
            return Err(Denied::BadToken);
        }
        let name = token.claims.username;
        let account = self.account(&name).ok_or(Denied::UnknownUser)?;
        if token.claims.iat < account.logins_from {
            return Err(Denied::BadToken);
        }
        let login = Login::Token { id: token.id, ends: token.claims.exp };
        Ok(Principal::User { name, info: account.info, rights: account.rights, login })
    }

    async fn session(&self, id: &str) -> Result<(Principal, principal::Csrf), Denied> {
        self.ready().await?;
        let digest = session::digest(id);
        let stored = self.known.session(&digest).filter(|session| session.expires > now()).ok_or(Denied::BadToken)?;
        if self.known.is_revoked(&digest) {
            return Err(Denied::BadToken);
        }
        let (name, csrf) = (stored.user.clone(), session::csrf(id));
        let is_foreign = stored.foreign.is_some();
        let login = Login::Session { digest, csrf: csrf.clone(), ends: stored.expires, is_foreign };
        let (rights, info) = match &stored.foreign {
            Some(_) if !self.takes_foreign => return Err(Denied::BadToken),
            Some(foreign) => (foreign.rights(), info(&name, foreign.role)),
            None => {
                let account = self.account(&name).ok_or(Denied::BadToken)?;
                if stored.created < account.logins_from {
                    return Err(Denied::BadToken);
                }
                (account.rights, account.info)
            }
        };
        Ok((Principal::User { name, info, rights, login }, csrf))
    }

    /// Without the store's word no one knows which logins have ended.
    async fn ready(&self) -> Result<(), Denied> {
        if self.known.ready().await { Ok(()) } else { Err(Denied::Unavailable) }
    }

    /// An account of the store wins over one of the configuration: it was made later.
    fn account(&self, name: &str) -> Option<Account> {
        if let Some(user) = self.known.user(name) {
            return Some(Account { rights: user.rights(), info: user.info, logins_from: user.tokens_from });
        }
        let info = self.accounts.get(name)?.info.clone();
        Some(Account { rights: Rights { role: role_of(&info), services: None }, info, logins_from: 0.0 })
    }

    /// What a user may do.
    pub(super) fn rights_of(&self, name: &str) -> Option<Rights> {
        self.account(name).map(|account| account.rights)
    }

    /// The accounts of the configuration.
    pub(super) fn configured(&self) -> &BTreeMap<String, AccountConfig> {
        &self.accounts
    }

    /// Whether a user's logins ask for a code.
    pub(super) fn has_totp(&self, name: &str) -> bool {
        self.known.has_totp(name)
    }

    /// Decrypts what lies under a key.
    pub(super) fn open(&self, place: &str, sealed: &str) -> Result<String, String> {
        (self.open)(place, sealed)
    }

    /// Changes who may what, and tells the record of it in the same transaction. It holds here at
    /// once, elsewhere when the watch brings it.
    pub(super) async fn change(
        &self,
        guards: Vec<Guard>,
        mut ops: Vec<Op>,
        entry: Option<&Entry>,
    ) -> Result<Revision, StoreError> {
        let changed = ops.clone();
        ops.extend(entry.map(|entry| self.audit.op(entry)));
        let revision = self.store.txn(guards, ops).await?;
        self.known.written(&changed);
        Ok(revision)
    }

    fn signing_secret(&self) -> Option<Vec<u8>> {
        self.secret.clone().or_else(|| self.known.secret())
    }
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let (scheme, token) = headers.get(http::header::AUTHORIZATION)?.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then_some(token)
}

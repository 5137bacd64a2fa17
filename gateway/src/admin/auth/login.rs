//! How a login begins and ends: with a password, and a code where the user has an authenticator.

use std::net::IpAddr;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};

use super::accounts::{USERS, User};
use super::audit::Entry;
use super::known::REVOKED;
use super::password::Secret;
use super::principal::{Csrf, Login, Principal};
use super::rights::Role;
use super::session::{self, Foreign, SESSIONS, StoredSession};
use super::totp::{self, StoredTotp, TOTP};
use super::{Auth, token};
use crate::store::{Guard, Kv, Lease, Op, StoreError};

/// Ten years, in seconds: a token that ends later was not made by us.
const LONGEST_REVOCATION: f64 = 315_360_000.0;
/// Sessions of a user; a further one ends the oldest.
const MAX_SESSIONS: usize = 32;

/// Why a login failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::admin) enum LoginFailed {
    /// The name, the password or the code is wrong, or too many were.
    Wrong,
    /// The password is right, and a code is needed too.
    CodeNeeded,
    /// Too many log in at the same time; nothing was looked at.
    Busy,
    /// The accounts cannot be read, or the session not be stored.
    Unavailable,
}

/// Someone who wants to log in.
pub(in crate::admin) struct Attempt<'a> {
    pub(in crate::admin) name: &'a str,
    pub(in crate::admin) password: String,
    pub(in crate::admin) code: Option<&'a str>,
    pub(in crate::admin) from: IpAddr,
}

/// A session that has just begun. The only time that its id is here.
pub(in crate::admin) struct Session {
    id: String,
    pub(in crate::admin) csrf: Csrf,
    lifetime: Duration,
}

impl Session {
    /// What gives it to the browser; over TLS only, when that is known or the call says so.
    pub(in crate::admin) fn cookie(&self, call: &HeaderMap, is_secure: bool) -> HeaderValue {
        session::cookie(Some(&self.id), self.lifetime, is_secure || session::is_secure(call))
    }
}

impl Auth {
    /// Makes a token for who knows the password: the old login, which cannot ask for a code and so
    /// refuses those who have an authenticator.
    pub(in crate::admin) async fn login(
        &self,
        name: &str,
        password: String,
        from: IpAddr,
    ) -> Result<String, LoginFailed> {
        let begun = token::now();
        self.check_password(name, password, from).await?;
        let secret = self.signing_secret().ok_or(LoginFailed::Unavailable)?;
        if self.known.has_totp(name) {
            self.count_failure(name, from, false);
            return Err(LoginFailed::Wrong);
        }
        self.lockout.succeeded(name, from);
        self.audit.record(Entry::of(name, "password", from, "login").saying("a token of the old API"));
        Ok(token::sign(&secret, name, begun, self.lifetime))
    }

    /// Begins a session.
    pub(in crate::admin) async fn begin_session(&self, attempt: Attempt<'_>) -> Result<Session, LoginFailed> {
        let Attempt { name, password, code, from } = attempt;
        let begun = token::now();
        let verified = self.check_password(name, password, from).await?;
        let shown = match self.check_code(name, code).await {
            Ok(shown) => shown,
            Err(failed) => {
                if failed == LoginFailed::Wrong {
                    self.count_failure(name, from, false);
                }
                return Err(failed);
            }
        };
        self.lockout.succeeded(name, from);
        let unchanged = self.still(name, verified.as_deref()).await?;
        self.store_session(name, None, begun, vec![unchanged], &Entry::of(name, shown, from, "login")).await
    }

    /// Begins a session of a user whom another party has named.
    pub(in crate::admin) async fn begin_foreign_session(
        &self,
        name: &str,
        role: Role,
        from: IpAddr,
    ) -> Result<Session, LoginFailed> {
        let entry = Entry::of(name, "OpenID provider", from, "login");
        self.store_session(name, Some(Foreign { role, services: None }), token::now(), Vec::new(), &entry).await
    }

    /// Demands that an account stays as it is, which must be with the hash that was verified; none is one of the
    /// configuration. The times of sessions and passwords do not tell which came first when clocks differ.
    async fn still(&self, name: &str, verified: Option<&str>) -> Result<Guard, LoginFailed> {
        let key = format!("{}{USERS}{name}", self.prefix);
        let kv = self.store.get(&key).await.map_err(|e| {
            log::error!("admin: an account cannot be read: {e}");
            LoginFailed::Unavailable
        })?;
        let hash = |kv: &Kv| serde_json::from_slice::<User>(&kv.value).unwrap_or_default().password_hash;
        if kv.as_ref().map(hash).as_deref() != verified {
            return Err(LoginFailed::Wrong);
        }
        Ok(kv.map_or(Guard::Absent(key.clone()), |kv| Guard::ModRevision(key, kv.mod_revision)))
    }

    /// Stores a new session, and what the record says of it. It is as old as the look at the password it
    /// was begun with: one that is changed while a login waits its turn must end that login too.
    async fn store_session(
        &self,
        user: &str,
        foreign: Option<Foreign>,
        created: f64,
        guards: Vec<Guard>,
        entry: &Entry,
    ) -> Result<Session, LoginFailed> {
        let session = Session { id: session::generate(), csrf: Csrf(String::new()), lifetime: self.session_lifetime };
        let session = Session { csrf: session::csrf(&session.id), ..session };
        let expires = created + self.session_lifetime.as_secs_f64();
        let stored = StoredSession { user: user.to_owned(), created, expires, foreign };
        let stored = async {
            let lease = Lease::Attach(self.store.grant_lease(self.session_lifetime).await?);
            let value = super::json(&stored)?.into();
            let put = Op::Put { key: self.session_key(&session::digest(&session.id)), value, lease };
            let earlier = self.known.sessions_of(user);
            let surplus = (earlier.len() + 1).saturating_sub(MAX_SESSIONS).min(MAX_SESSIONS);
            let ends = earlier[..surplus].iter().map(|digest| Op::delete(self.session_key(digest)));
            self.change(guards, ends.chain([put]).collect(), Some(entry)).await
        };
        stored.await.map_err(|e| {
            log::error!("admin: a session could not be stored: {e}");
            LoginFailed::Unavailable
        })?;
        Ok(session)
    }

    /// Refuses a password that is not the account's. Counts as a failure until `lockout.succeeded`. Returns the hash
    /// that was verified, where the account is in the store.
    pub(in crate::admin) async fn check_password(
        &self,
        name: &str,
        password: String,
        from: IpAddr,
    ) -> Result<Option<String>, LoginFailed> {
        // Before the attempt is counted: nobody is locked out by a crowd.
        let place = self.verifier.admit().ok_or(LoginFailed::Busy)?;
        if !self.lockout.attempt(name, from) {
            self.count_failure(name, from, true);
            return Err(LoginFailed::Wrong);
        }
        if !self.known.ready().await {
            return Err(LoginFailed::Unavailable);
        }
        // An account of the store wins over one of the configuration: its password was set later.
        let stored = self.known.user(name).map(|user| user.password_hash);
        let expected = stored.clone().map(Secret::Hash);
        let expected = expected.or_else(|| Some(Secret::configured(&self.accounts.get(name)?.password)));
        if self.verifier.verify(place, expected, password).await {
            return Ok(stored);
        }
        self.count_failure(name, from, false);
        Err(LoginFailed::Wrong)
    }

    /// As [`Auth::check_password`], where nothing else decides.
    pub(in crate::admin) async fn confirm_password(
        &self,
        name: &str,
        password: String,
        from: IpAddr,
    ) -> Result<(), LoginFailed> {
        self.check_password(name, password, from).await?;
        self.lockout.succeeded(name, from);
        Ok(())
    }

    /// Checks and uses up a code, where one is needed. Returns what the user has shown.
    async fn check_code(&self, name: &str, code: Option<&str>) -> Result<&'static str, LoginFailed> {
        if !self.known.has_totp(name) {
            return Ok("password");
        }
        let code = code.ok_or(LoginFailed::CodeNeeded)?;
        let place = format!("{TOTP}{name}");
        let key = format!("{}{place}", self.prefix);
        let unavailable = |e: String| {
            log::error!("admin: the authenticator of an account cannot be used: {e}");
            LoginFailed::Unavailable
        };
        let kv = self.store.get(&key).await.map_err(|e| unavailable(e.to_string()))?;
        // Taken away at this moment; the watch will bring it.
        let Some(kv) = kv else { return Ok("password") };
        let mut stored: StoredTotp = serde_json::from_slice(&kv.value).map_err(|_| unavailable("not valid".into()))?;
        let secret = (self.open)(&place, &stored.secret).map_err(unavailable)?;
        let step = totp::step(&secret, code, token::now(), stored.last_step).ok_or(LoginFailed::Wrong)?;
        stored.last_step = step;
        let put = Op::put(key.clone(), super::json(&stored).map_err(|e| unavailable(e.to_string()))?);
        match self.store.txn(vec![Guard::ModRevision(key, kv.mod_revision)], vec![put]).await {
            Ok(_) => Ok("password and code"),
            // Someone else has just used it.
            Err(StoreError::Conflict) => Err(LoginFailed::Wrong),
            Err(e) => Err(unavailable(e.to_string())),
        }
    }

    /// Ends a login, on every gateway. An API token has none.
    pub(in crate::admin) async fn logout(&self, principal: &Principal, from: IpAddr) -> Result<(), StoreError> {
        let Principal::User { login, .. } = principal else { return Ok(()) };
        let entry = Entry::by(principal, from, "logout");
        match login {
            Login::Token { id, ends } => {
                self.known.revoke_here(id, *ends);
                let left = Duration::from_secs_f64((ends - token::now()).clamp(1.0, LONGEST_REVOCATION));
                let lease = Lease::Attach(self.store.grant_lease(left).await?);
                let put = Op::Put { key: format!("{}{REVOKED}{id}", self.prefix), value: "{}".into(), lease };
                self.change(Vec::new(), vec![put], Some(&entry)).await?;
            }
            Login::Session { digest, ends, .. } => {
                self.known.revoke_here(digest, *ends);
                self.change(Vec::new(), vec![Op::delete(self.session_key(digest))], Some(&entry)).await?;
            }
        }
        Ok(())
    }

    /// Ends all sessions of a user, on every gateway. `false` when there are none.
    pub(in crate::admin) async fn end_sessions(&self, user: &str, entry: &Entry) -> Result<bool, StoreError> {
        let ends = self.session_ends(user);
        if ends.is_empty() {
            return Ok(false);
        }
        self.change(Vec::new(), ends, Some(entry)).await.map(|_| true)
    }

    /// What ends the sessions of a user, as a part of a transaction.
    pub(in crate::admin) fn session_ends(&self, user: &str) -> Vec<Op> {
        self.known.sessions_of(user).iter().take(90).map(|digest| Op::delete(self.session_key(digest))).collect()
    }

    /// A cookie that takes the session's place.
    pub(in crate::admin) fn no_cookie(call: &HeaderMap) -> HeaderValue {
        session::cookie(None, Duration::ZERO, session::is_secure(call))
    }

    /// Whether a call comes from a page of this gateway, as far as the browser says.
    pub(in crate::admin) fn is_same_origin(&self, call: &HeaderMap) -> bool {
        session::is_same_origin(call, &self.origins)
    }

    /// A login after a change of password, of the kind the caller has.
    pub(in crate::admin) async fn renew(&self, principal: &Principal, from: IpAddr) -> Result<Renewed, LoginFailed> {
        let Principal::User { name, login, .. } = principal else { return Ok(Renewed::Nothing) };
        match login {
            Login::Token { .. } => {
                let secret = self.signing_secret().ok_or(LoginFailed::Unavailable)?;
                Ok(Renewed::Token(token::sign(&secret, name, token::now(), self.lifetime)))
            }
            Login::Session { .. } => {
                let entry = Entry::of(name, "new password", from, "login");
                Ok(Renewed::Session(self.store_session(name, None, token::now(), Vec::new(), &entry).await?))
            }
        }
    }

    /// What was typed as a name is told of only if there is such an account: it may be a password.
    fn count_failure(&self, name: &str, from: IpAddr, is_locked: bool) {
        let is_known = self.known.has_user(name) || self.accounts.contains_key(name);
        self.failures.count(is_known.then_some(name), from, is_locked);
    }

    /// A login that failed at another party, whoever it was for.
    pub(in crate::admin) fn count_foreign_failure(&self, from: IpAddr) {
        self.failures.count(None, from, false);
    }

    fn session_key(&self, digest: &str) -> String {
        format!("{}{SESSIONS}{digest}", self.prefix)
    }
}

/// What takes the place of a login that ended with the password it was made with.
pub(in crate::admin) enum Renewed {
    Nothing,
    Token(String),
    Session(Session),
}

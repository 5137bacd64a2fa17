//! Logins by an OpenID Connect provider: the authorization code flow with PKCE. The browser is sent
//! to the provider and comes back with a code, for which the provider tells us, and not the browser,
//! who the user is.
//!
//! The library for this brings an RSA with an open advisory (RUSTSEC-2023-0071); what it would do is
//! little: three calls, and the check of a signature, which OpenSSL does.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

mod id_token;
mod pending;
mod provider;

use super::auth::Role;
use crate::config::{OidcConfig, OidcRole};
use pending::Pending;
use provider::Provider;

/// How often trouble with the provider is logged.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);
/// What stands for itself in a query or a form.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Why no one was logged in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    /// The browser brings what we did not give it, or too late.
    #[error("this login was not begun here, took too long, or was used already; begin again")]
    Unknown,
    /// The provider says no.
    #[error("the provider refused the login: {0}")]
    Denied(String),
    /// The provider does not answer, or not as it should.
    #[error("the provider cannot be used: {0}")]
    Provider(String),
    /// What it says of the user is not valid.
    #[error("the provider's ID token is not valid: {0}")]
    Token(&'static str),
    /// The user is known, and may not.
    #[error("you may not log in here: {0}")]
    NotAllowed(&'static str),
}

/// Where the browser goes, and what it must bring back.
pub(super) struct Begun {
    pub(super) location: String,
    /// The value of the cookie that ties the login to the browser.
    pub(super) binding: String,
}

/// Who the provider says has logged in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) role: Role,
}

/// What the browser brings back from the provider.
pub(super) struct Returned<'a> {
    pub(super) state: &'a str,
    pub(super) code: &'a str,
    /// Who says that it comes from there (RFC 9207).
    pub(super) issuer: Option<&'a str>,
    /// The cookie.
    pub(super) binding: &'a str,
}

/// The provider, and the logins under way.
pub(super) struct Oidc {
    config: OidcConfig,
    provider: Provider,
    pending: Pending,
    complained: Mutex<Option<Instant>>,
}

impl Oidc {
    pub(super) fn new(config: OidcConfig) -> Self {
        Self { provider: Provider::new(&config), pending: Pending::default(), complained: Mutex::default(), config }
    }

    /// Begins a login.
    pub(super) async fn begin(&self) -> Result<Begun, Refused> {
        let endpoints = self.provider.endpoints().await?;
        let (begun, state) = self.pending.begin();
        let query = form(&[
            ("response_type", "code"),
            ("client_id", &self.config.client_id),
            ("redirect_uri", &self.config.redirect_url),
            ("scope", &self.config.scopes.join(" ")),
            ("state", &state),
            ("nonce", &begun.nonce),
            ("code_challenge", &begun.challenge()),
            ("code_challenge_method", "S256"),
        ]);
        let joint = if endpoints.authorization.contains('?') { '&' } else { '?' };
        Ok(Begun { location: format!("{}{joint}{query}", endpoints.authorization), binding: begun.binding })
    }

    /// Ends it, once, whatever comes of it.
    pub(super) async fn finish(&self, returned: Returned<'_>) -> Result<User, Refused> {
        let begun = self.pending.take(returned.state, returned.binding).ok_or(Refused::Unknown)?;
        if returned.issuer.is_some_and(|issuer| issuer != self.config.issuer) {
            return Err(Refused::Token("it is of another provider"));
        }
        let token = self.provider.redeem(returned.code, &begun.verifier).await?;
        let keys = self.provider.keys().await?;
        let claims = id_token::verify(&token, &keys, &self.config, &begun.nonce)?;
        self.user(&claims)
    }

    /// The provider refused; the login is over.
    pub(super) fn abandon(&self, state: &str, binding: &str) -> Result<(), Refused> {
        self.pending.take(state, binding).map(drop).ok_or(Refused::Unknown)
    }

    /// Tells the operator what is wrong with the provider, now and then.
    pub(super) fn complain(&self, why: &Refused) {
        let mut complained = self.complained.lock().unwrap_or_else(PoisonError::into_inner);
        if complained.is_none_or(|at| at.elapsed() >= COMPLAIN_EVERY) {
            *complained = Some(Instant::now());
            log::warn!("admin: logins by OpenID Connect fail: {why}");
        }
    }

    fn user(&self, claims: &Value) -> Result<User, Refused> {
        let config = &self.config;
        let email = claims["email"].as_str().filter(|_| claims["email_verified"] == true);
        let email = email.filter(|email| email.len() <= 254 && !email.chars().any(char::is_control));
        if !config.allowed_emails.is_empty() || !config.allowed_domains.is_empty() {
            let email = email.ok_or(Refused::NotAllowed("the provider has verified no address of yours"))?;
            let domain = email.rsplit_once('@').map_or("", |(_, domain)| domain);
            let has = |list: &[String], text: &str| list.iter().any(|listed| listed.eq_ignore_ascii_case(text));
            if !has(&config.allowed_emails, email) && !has(&config.allowed_domains, domain) {
                return Err(Refused::NotAllowed("your address is not on the list"));
            }
        }
        let subject = claims["sub"].as_str().filter(|sub| !sub.is_empty() && sub.len() <= 255);
        let subject = subject.ok_or(Refused::Token("it has no subject"))?;
        let role = self.role(&claims[&config.role_claim]).ok_or(Refused::NotAllowed("none of your roles is for it"))?;
        // No account here can have such a name.
        let name = format!("oidc:{}", email.unwrap_or(subject));
        Ok(User { name: name.chars().filter(|c| !c.is_control()).collect(), role })
    }

    fn role(&self, claim: &Value) -> Option<Role> {
        let named = |value: &Value| value.as_str().and_then(|name| self.config.roles.get(name)).copied();
        let found = match claim {
            Value::Array(names) => names.iter().filter_map(named).max(),
            one => named(one),
        };
        found.or(self.config.default_role).map(|role| match role {
            OidcRole::Viewer => Role::Viewer,
            OidcRole::Editor => Role::Editor,
            OidcRole::Admin => Role::Admin,
        })
    }
}

/// Fields as a query or a form has them.
fn form(fields: &[(&str, &str)]) -> String {
    let fields = fields.iter().map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, PLAIN)));
    fields.collect::<Vec<_>>().join("&")
}

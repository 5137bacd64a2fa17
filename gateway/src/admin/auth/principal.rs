//! Who calls: a user who logged in, or the holder of a token; and what follows from that.

use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::rights::{Rights, Role, Services};

/// Who calls.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::admin) enum Principal {
    /// A user who logged in.
    User {
        /// The account.
        name: String,
        /// What `/admin/user/info` answers, beside the name.
        info: Map<String, Value>,
        /// What the account may do.
        rights: Rights,
        /// How it shows who it is.
        login: Login,
    },
    /// The holder of a configured API token.
    ApiToken,
    /// The holder of an API token of the store.
    Token {
        /// Names it in `gw/tokens/`.
        id: String,
        /// What people call it.
        name: String,
        /// What it may do.
        rights: Rights,
    },
    /// The holder of an API token that may do nothing but register nodes of these services.
    Registrar(Arc<Services>),
}

/// What a login is known by.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::admin) enum Login {
    /// A signed token, sent as `X-Token`.
    Token {
        /// Names it in `gw/revoked/`.
        id: String,
        /// When it ends, in seconds since 1970.
        ends: f64,
    },
    /// A cookie.
    Session {
        /// Names it in `gw/sessions/`.
        digest: String,
        /// What calls that change something must show beside the cookie.
        csrf: Csrf,
        /// When it ends, in seconds since 1970.
        ends: f64,
        /// Whether another party says who the user is: there is no account here.
        is_foreign: bool,
    },
}

/// A session's token against forged calls; not shown by `Debug`.
#[derive(Clone, PartialEq)]
pub(in crate::admin) struct Csrf(pub(in crate::admin) String);

impl fmt::Debug for Csrf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Csrf")
    }
}

impl Principal {
    /// For log and records.
    pub(in crate::admin) fn name(&self) -> &str {
        match self {
            Self::User { name, .. } | Self::Token { name, .. } => name,
            Self::ApiToken => "an API token",
            Self::Registrar(_) => "an API token for registrations",
        }
    }

    /// What kind of credential it came with.
    pub(in crate::admin) fn credential(&self) -> &'static str {
        match self {
            Self::User { login: Login::Token { .. }, .. } => "login token",
            Self::User { login: Login::Session { .. }, .. } => "session",
            Self::ApiToken => "configured API token",
            Self::Token { .. } => "API token",
            Self::Registrar(_) => "registration token",
        }
    }

    /// What it may do with the API; registering nodes is apart.
    pub(in crate::admin) fn rights(&self) -> Rights {
        match self {
            Self::ApiToken => Rights::ALL,
            Self::User { rights, .. } | Self::Token { rights, .. } => rights.clone(),
            Self::Registrar(services) => Rights { role: Role::Viewer, services: Some(Services::clone(services)) },
        }
    }

    /// Whether it may use all of the API, and not only register nodes.
    pub(in crate::admin) fn is_full(&self) -> bool {
        !matches!(self, Self::Registrar(_))
    }

    /// Whether it may register nodes of a service.
    pub(in crate::admin) fn may_register(&self, service: &str) -> bool {
        match self {
            Self::Registrar(services) => services.cover(service),
            Self::ApiToken => true,
            Self::User { rights, .. } | Self::Token { rights, .. } => rights.may_edit(service),
        }
    }
}

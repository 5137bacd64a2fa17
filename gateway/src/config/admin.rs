//! The Admin API, and health and metrics.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::OidcConfig;

/// The Admin API.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdminConfig {
    /// Its own address; `null` turns it off.
    pub listen: Option<SocketAddr>,
    /// Whether the old paths `/admin` and `/dashboard` are answered on the data ports too.
    pub on_gateway_ports: bool,
    /// Where other gateways of the store reach it, such as `http://10.0.0.1:12000`; `listen` when absent,
    /// unless that is an address of this machine only, or of all its networks.
    pub advertise: Option<String>,
    /// Who may reach it, as addresses or CIDRs.
    pub allow: Vec<IpNet>,
    /// Origins that browsers may call it from.
    pub cors_origins: Vec<String>,
    /// How long a login lasts.
    #[serde(with = "humantime_serde")]
    pub token_lifetime: Duration,
    /// How long a session of the panel lasts.
    #[serde(with = "humantime_serde")]
    pub session_lifetime: Duration,
    /// Who else says who a user of the panel is.
    pub oidc: Option<OidcConfig>,
    /// The secret logins are signed with; made at the first start when absent.
    #[serde(skip_serializing)]
    pub jwt_secret: Option<String>,
    /// Accounts of the old configuration, beside those of the store.
    #[serde(skip_serializing)]
    pub account: BTreeMap<String, AccountConfig>,
    /// API tokens (`X-Api-Token`) of the old configuration.
    #[serde(skip_serializing)]
    pub tokens: BTreeMap<String, TokenConfig>,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self {
            listen: Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 12_000)),
            on_gateway_ports: false,
            advertise: None,
            allow: vec!["127.0.0.1/32".parse().expect("a valid network"), "::1/128".parse().expect("a valid network")],
            cors_origins: Vec::new(),
            token_lifetime: Duration::from_secs(7 * 24 * 60 * 60),
            session_lifetime: Duration::from_secs(12 * 60 * 60),
            oidc: None,
            jwt_secret: None,
            account: BTreeMap::new(),
            tokens: BTreeMap::new(),
        }
    }
}

impl std::fmt::Debug for AdminConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AdminConfig").field("listen", &self.listen).field("allow", &self.allow).finish_non_exhaustive()
    }
}

/// An account of the old configuration.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct AccountConfig {
    /// The password: an argon2id hash (`$argon2id$…`), or plain as in the old configuration.
    pub password: String,
    /// What `/admin/user/info` answers, beside the user name.
    pub info: serde_json::Map<String, serde_json::Value>,
}

impl std::fmt::Debug for AccountConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccountConfig").finish_non_exhaustive()
    }
}

/// What is said of an API token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct TokenConfig {
    /// What the token is for.
    pub desc: String,
    /// What it may do, and nothing else; absent = everything.
    pub may: Option<Vec<Right>>,
    /// The services it may do that for; `team-*` means all whose names begin with `team-`.
    pub services: Vec<String>,
}

/// What a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Right {
    /// Register nodes, keep them alive, and remove them.
    Register,
}

/// Health and metrics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StatusConfig {
    /// The address of `/healthz`, `/readyz`, `/metrics` and `/nginx_status`; `null` turns it off.
    pub listen: Option<SocketAddr>,
    /// Most routes (and services) with a label of their own in `/metrics`; the rest share `other`.
    pub max_labels: usize,
}

impl Default for StatusConfig {
    fn default() -> Self {
        Self { listen: Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 12_001)), max_labels: 200 }
    }
}

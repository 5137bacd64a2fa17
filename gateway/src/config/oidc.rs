//! Logins to the panel by an OpenID Connect provider.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// An OpenID Connect provider that says who a user of the panel is.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OidcConfig {
    /// The provider, as it names itself; `/.well-known/openid-configuration` is below it.
    pub issuer: String,
    /// What it knows this gateway by.
    pub client_id: String,
    /// The secret that goes with that; a public client has none.
    #[serde(default, skip_serializing)]
    pub client_secret: Option<String>,
    /// Where it sends the browser back to: this gateway's `/admin/v2/oidc/callback`, as the browser
    /// sees it.
    pub redirect_url: String,
    /// What it is asked for.
    #[serde(default = "scopes")]
    pub scopes: Vec<String>,
    /// The claim that has a user's groups or roles: a text, or a list of them.
    #[serde(default = "role_claim")]
    pub role_claim: String,
    /// What each of them is here. A user with several gets the highest.
    #[serde(default)]
    pub roles: BTreeMap<String, OidcRole>,
    /// The role of users with none of them; without it they are refused.
    #[serde(default)]
    pub default_role: Option<OidcRole>,
    /// Who may log in, by verified address; with `allowed_domains` empty too, everyone.
    #[serde(default)]
    pub allowed_emails: Vec<String>,
    /// Who may log in, by the domain of the verified address.
    #[serde(default)]
    pub allowed_domains: Vec<String>,
    /// A PEM file of CAs to trust the provider by, in place of the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
}

impl std::fmt::Debug for OidcConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OidcConfig").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

/// A role of the Admin API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OidcRole {
    /// Reads configuration and state.
    Viewer,
    /// Changes configuration.
    Editor,
    /// Changes who may do what, too.
    Admin,
}

impl OidcConfig {
    /// What is wrong with it: a field, and the reason.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        if !is_safe(&self.issuer) {
            return Err(("issuer", "must begin with https:// (http:// only on this machine)".into()));
        }
        if self.client_id.is_empty() {
            return Err(("client_id", "is empty".into()));
        }
        if !is_safe(&self.redirect_url) || !self.redirect_url.ends_with("/admin/v2/oidc/callback") {
            let reason = "must be https://<this gateway>/admin/v2/oidc/callback (http:// only on this machine)";
            return Err(("redirect_url", reason.into()));
        }
        if !self.scopes.iter().any(|scope| scope == "openid") {
            return Err(("scopes", "must have openid among them".into()));
        }
        if self.roles.is_empty() && self.default_role.is_none() {
            return Err(("roles", "no one would get a role; name some, such as {ops: admin}, or default_role".into()));
        }
        Ok(())
    }
}

/// Whether what is sent to a URL cannot be read on the way.
pub(crate) fn is_safe(url: &str) -> bool {
    let Ok(uri) = url.parse::<http::Uri>() else { return false };
    let is_near = |host: &str| {
        let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
        host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
    };
    match (uri.scheme_str(), uri.host()) {
        (Some("https"), Some(_)) => true,
        (Some("http"), Some(host)) => is_near(host),
        _ => false,
    }
}

fn scopes() -> Vec<String> {
    ["openid", "email", "profile"].map(str::to_owned).into()
}

fn role_claim() -> String {
    "roles".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_named() {
        let good = serde_json::json!({
            "issuer": "https://login.example.com", "client_id": "gateway",
            "redirect_url": "https://g.example.com/admin/v2/oidc/callback", "default_role": "viewer",
        });
        for (field, value) in [
            ("issuer", "http://login.example.com"),
            ("issuer", "ftp://localhost"),
            ("issuer", "http://localhost.evil.com"),
            ("client_id", ""),
            ("redirect_url", "https://g.example.com/"),
            ("redirect_url", "http://g.example.com/admin/v2/oidc/callback"),
        ] {
            let mut config = good.clone();
            config[field] = value.into();
            let config: OidcConfig = serde_json::from_value(config).unwrap();
            assert_eq!(config.check().unwrap_err().0, field, "{value}");
        }
        for near in ["http://localhost:1", "http://127.0.0.1", "http://[::1]:80/x"] {
            assert!(is_safe(near), "{near}");
        }
        let mut config: OidcConfig = serde_json::from_value(good).unwrap();
        assert_eq!(config.check(), Ok(()));
        config.default_role = None;
        assert_eq!(config.check().unwrap_err().0, "roles");
        config.client_secret = Some("canary".into());
        assert!(!format!("{config:?}").contains("canary"));
        assert!(!serde_json::to_string(&config).unwrap().contains("canary"));
    }
}

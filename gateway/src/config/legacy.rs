//! The configuration file of the first ws-cloud-gateway, `conf/app.json`, read into ours.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::{AccountConfig, CheckKind, Config, HealthcheckConfig, StoreKind, TokenConfig};

/// The fields of `app.json`. `appName`, `env` and `plugins` no longer mean anything: the plugins
/// are those compiled in.
#[derive(Deserialize)]
struct AppJson {
    etcd: Etcd,
    #[serde(default)]
    admin: Admin,
    #[serde(default)]
    tokens: BTreeMap<String, TokenConfig>,
    healthcheck: Option<Healthcheck>,
}

#[derive(Deserialize)]
struct Etcd {
    http_host: OneOrMore,
    data_prefix: String,
    user: Option<String>,
    password: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

#[derive(Deserialize, Default)]
struct Admin {
    jwt_secret: Option<String>,
    #[serde(default)]
    account: BTreeMap<String, AccountConfig>,
}

/// lua-resty-healthcheck's settings are passed on verbatim by the old gateway; those of its HTTP
/// checks are accepted and, for the `tcp` type, mean nothing there either.
#[derive(Deserialize, Default)]
struct Healthcheck {
    #[serde(default)]
    active: Active,
}

/// With the defaults of lua-resty-healthcheck 2.0.0, which differ from the values the old gateway
/// shipped.
#[derive(Deserialize, Default)]
struct Active {
    #[serde(rename = "type")]
    kind: Option<String>,
    timeout: Option<f64>,
    concurrency: Option<usize>,
    #[serde(default)]
    healthy: Healthy,
    #[serde(default)]
    unhealthy: Unhealthy,
}

#[derive(Deserialize, Default)]
struct Healthy {
    interval: Option<f64>,
    successes: Option<u32>,
}

#[derive(Deserialize, Default)]
struct Unhealthy {
    interval: Option<f64>,
    tcp_failures: Option<u32>,
}

/// The file's content when it is an old one: a JSON object with `etcd.http_host` or `appName`,
/// which the new form does not have.
pub(super) fn recognise(text: &str) -> Option<Value> {
    let value: Value = serde_json::from_str(text).ok()?;
    (value.get("appName").is_some() || value.pointer("/etcd/http_host").is_some()).then_some(value)
}

/// Translates an old file.
pub(super) fn convert(value: Value) -> Result<Config, String> {
    let old: AppJson = serde_json::from_value(value).map_err(|e| format!("not a usable app.json: {e}"))?;
    let mut config = Config::default();
    config.store.kind = StoreKind::Etcd;
    config.store.data_prefix = old.etcd.data_prefix;
    config.store.etcd.endpoints = match old.etcd.http_host {
        OneOrMore::One(host) => vec![host],
        OneOrMore::More(hosts) => hosts,
    };
    config.store.etcd.user = old.etcd.user;
    config.store.etcd.password = old.etcd.password;
    config.admin.jwt_secret = old.admin.jwt_secret;
    config.admin.account = old.admin.account;
    config.admin.tokens = old.tokens;
    config.healthcheck = old.healthcheck.map(|check| healthcheck(&check.active)).transpose()?;
    Ok(config)
}

fn healthcheck(old: &Active) -> Result<HealthcheckConfig, String> {
    match old.kind.as_deref() {
        Some("tcp") => {}
        other => {
            return Err(format!(
                "healthcheck.active.type: \"{}\" is not supported, only \"tcp\" is",
                other.unwrap_or("http (the old default)")
            ));
        }
    }
    let mut check = HealthcheckConfig::default();
    check.active.kind = CheckKind::Tcp;
    check.active.timeout = old.timeout.unwrap_or(1.0);
    check.active.concurrency = old.concurrency.unwrap_or(10);
    check.active.healthy.interval = old.healthy.interval.unwrap_or(0.0);
    check.active.healthy.successes = old.healthy.successes.unwrap_or(2);
    check.active.unhealthy.interval = old.unhealthy.interval.unwrap_or(0.0);
    check.active.unhealthy.tcp_failures = old.unhealthy.tcp_failures.unwrap_or(2);
    Ok(check)
}

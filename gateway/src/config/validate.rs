//! Checks of values that have the right type, and must still make sense together.

use std::net::SocketAddr;
use std::time::Duration;

use super::{CheckKind, ClientAuthConfig, Config, StoreKind};

/// What the old gateway shipped, and everybody knows.
const KNOWN_JWT_SECRET: &str = "ws-cloud-gateway-1024";
const KNOWN_TOKEN: &str = "e09d6153f1c15395397be3639d144794";
const KNOWN_PASSWORDS: [&str; 2] = ["admin", "editor"];

type Problem = (String, String);

pub(super) fn validate(config: &Config) -> Result<(), Problem> {
    store(config)?;
    listeners(config)?;
    tls(config)?;
    limits(config)?;
    tokens(config)?;
    edge(config)?;
    tracing(config)?;
    known_secrets(config)
}

fn problem(field: &str, reason: impl Into<String>) -> Problem {
    (field.to_owned(), reason.into())
}

/// Whether keys may begin with this.
pub fn is_data_prefix(prefix: &str) -> bool {
    prefix.starts_with('/') && prefix.ends_with('/') && !prefix.contains("//")
}

fn store(config: &Config) -> Result<(), Problem> {
    let prefix = &config.store.data_prefix;
    if !is_data_prefix(prefix) {
        return Err(problem(
            "store.data_prefix",
            format!("\"{prefix}\" must begin and end with `/`, without `//`, such as /my/cloud/"),
        ));
    }
    if config.store.expiry_window > Duration::from_secs(3600) {
        return Err(problem("store.expiry_window", "must be at most 1h, such as 30s; 0s turns it off"));
    }
    if config.store.kind == StoreKind::Etcd {
        let etcd = &config.store.etcd;
        if etcd.endpoints.is_empty() {
            return Err(problem("store.etcd.endpoints", "name at least one endpoint, such as http://127.0.0.1:2379"));
        }
        if let Some(bad) = etcd.endpoints.iter().find(|e| !e.starts_with("http://") && !e.starts_with("https://")) {
            return Err(problem("store.etcd.endpoints", format!("\"{bad}\" must begin with http:// or https://")));
        }
        if etcd.user.is_some() != etcd.password.is_some() {
            return Err(problem("store.etcd.user", "user and password go together; give both or none"));
        }
    }
    Ok(())
}

fn listeners(config: &Config) -> Result<(), Problem> {
    if config.listeners.http.is_empty() && config.listeners.h2c.is_empty() && config.tls.listen.is_empty() {
        return Err(problem("listeners", "give at least one address under http, h2c or tls.listen"));
    }
    let mut taken: Vec<(&str, SocketAddr)> = Vec::new();
    let data = config.data_addresses();
    let admin = config.admin.listen.map(|a| ("admin.listen", a));
    let status = config.status.listen.map(|a| ("status.listen", a));
    for (field, address) in data.chain(admin).chain(status).filter(|(_, a)| a.port() != 0) {
        let overlaps = |other: SocketAddr| {
            other.port() == address.port()
                && other.is_ipv4() == address.is_ipv4()
                && (other.ip() == address.ip() || other.ip().is_unspecified() || address.ip().is_unspecified())
        };
        if let Some((first, _)) = taken.iter().find(|(_, other)| overlaps(*other)) {
            return Err(problem(first, format!("{address} is also used by {field}; each needs a port of its own")));
        }
        taken.push((field, address));
    }
    Ok(())
}

fn tls(config: &Config) -> Result<(), Problem> {
    if config.secrets.key.is_some() && config.secrets.key_file.is_some() {
        return Err(problem("secrets.key_file", "give either this or secrets.key"));
    }
    let tls = &config.tls;
    let needs_ca = |auth: ClientAuthConfig| auth != ClientAuthConfig::None;
    if needs_ca(tls.client_auth) && tls.client_ca.is_none() {
        return Err(problem("tls.client_auth", "needs tls.client_ca, the CA that signs client certificates"));
    }
    for (i, certificate) in tls.certificates.iter().enumerate() {
        let has_ca = certificate.client_ca.is_some() || tls.client_ca.is_some();
        if certificate.client_auth.is_some_and(needs_ca) && !has_ca {
            let field = format!("tls.certificates[{i}].client_auth");
            return Err(problem(&field, "needs client_ca, the CA that signs client certificates"));
        }
    }
    if tls.certificates.iter().filter(|certificate| certificate.default).count() > 1 {
        return Err(problem("tls.certificates", "only one can be the default"));
    }
    Ok(())
}

fn limits(config: &Config) -> Result<(), Problem> {
    let client = &config.client;
    for (field, value) in [
        ("tls.handshake_timeout", config.tls.handshake_timeout),
        ("client.header_timeout", client.header_timeout),
        ("client.body_timeout", client.body_timeout),
        ("client.send_timeout", client.send_timeout),
        ("client.h2_idle_timeout", client.h2_idle_timeout),
        ("upstream.connect_timeout", config.upstream.connect_timeout),
        ("upstream.read_timeout", config.upstream.read_timeout),
        ("upstream.send_timeout", config.upstream.send_timeout),
        ("upstream.h2_ping_interval", config.upstream.h2_ping_interval),
        ("upgrade.timeout", config.upgrade.timeout),
    ] {
        if value == Duration::ZERO {
            return Err(problem(field, "must be greater than 0, such as 10s"));
        }
    }
    let resolver = &config.upstream.resolver;
    if resolver.min_ttl.is_zero() || resolver.timeout.is_zero() || resolver.max_ttl < resolver.min_ttl {
        return Err(problem(
            "upstream.resolver",
            "min_ttl and timeout must be greater than 0, and max_ttl at least min_ttl",
        ));
    }
    if let Some(bad) = resolver.servers.iter().find(|server| server.port() == 0) {
        return Err(problem("upstream.resolver.servers", format!("{bad} must have a port, such as 10.0.0.2:53")));
    }
    if client.max_header_size.0 < 1024 || client.max_header_size.0 > 1 << 20 {
        return Err(problem(
            "client.max_header_size",
            format!("{} is not between 1 KiB and 1 MiB", client.max_header_size),
        ));
    }
    if client.h2_max_streams == 0 || config.upstream.h2_max_streams == 0 {
        return Err(problem("h2_max_streams", "must be at least 1"));
    }
    if config.upstream.max_tries == 0 {
        return Err(problem("upstream.max_tries", "must be at least 1"));
    }
    if http::HeaderValue::from_str(&client.server_header).is_err() {
        return Err(problem("client.server_header", "is not a valid header value"));
    }
    if let Some(check) = &config.healthcheck {
        let active = &check.active;
        for (field, seconds) in [
            ("healthcheck.active.timeout", active.timeout),
            ("healthcheck.active.healthy.interval", active.healthy.interval),
            ("healthcheck.active.unhealthy.interval", active.unhealthy.interval),
        ] {
            if !(0.0..=86_400.0).contains(&seconds) || (field.ends_with("timeout") && seconds == 0.0) {
                return Err(problem(field, format!("{seconds} is not a sensible number of seconds")));
            }
        }
        if !(0.0..=1.0).contains(&active.jitter) {
            return Err(problem("healthcheck.active.jitter", "must be from 0 to 1, such as 0.1"));
        }
        if active.port == Some(0) {
            return Err(problem("healthcheck.active.port", "must be from 1 to 65535"));
        }
        if let Some(path) = active.path.as_ref().filter(|_| active.kind == CheckKind::Http)
            && (!path.starts_with('/') || path.bytes().any(|b| !b.is_ascii_graphic()))
        {
            return Err(problem("healthcheck.active.path", format!("\"{path}\" is no path, such as /healthz")));
        }
        if active.host.as_deref().is_some_and(|host| host.is_empty() || host.contains(|c: char| !c.is_ascii_graphic()))
        {
            return Err(problem("healthcheck.active.host", "must be a host name, such as app.example.com"));
        }
        if active.concurrency == 0 || active.healthy.successes == 0 || active.unhealthy.tcp_failures == 0 {
            return Err(problem("healthcheck.active", "concurrency, successes and tcp_failures must be at least 1"));
        }
    }
    if config.admin.cors_origins.iter().any(|origin| origin == "*" || origin == "null") {
        return Err(problem(
            "admin.cors_origins",
            "`*` and `null` are not accepted; name each origin, such as https://panel.example.com",
        ));
    }
    if config.admin.advertise.as_deref().is_some_and(|url| !is_base_url(url)) {
        let cure = "must be where other gateways reach this one's Admin API, such as http://10.0.0.1:12000";
        return Err(problem("admin.advertise", cure));
    }
    Ok(())
}

/// Whether this is a scheme, a host and perhaps a port, and nothing else.
fn is_base_url(url: &str) -> bool {
    let Ok(url) = url.parse::<http::Uri>() else { return false };
    let has_host = url.authority().is_some_and(|at| !at.host().is_empty() && !at.as_str().contains('@'));
    has_host
        && matches!(url.scheme_str(), Some("http" | "https"))
        && matches!(url.path(), "" | "/")
        && url.query().is_none()
}

/// A token whose limits are half said must not become one without limits.
fn tokens(config: &Config) -> Result<(), Problem> {
    let lifetime = config.admin.session_lifetime;
    if lifetime < Duration::from_secs(60) || lifetime > Duration::from_secs(30 * 86_400) {
        return Err(problem("admin.session_lifetime", "must be from 1m to 30d, such as 12h"));
    }
    if let Some(Err((field, reason))) = config.admin.oidc.as_ref().map(super::OidcConfig::check) {
        return Err(problem(&format!("admin.oidc.{field}"), reason));
    }
    for token in config.admin.tokens.values() {
        let wrong = |reason: &str| Err(problem("admin.tokens", format!("the token \"{}\": {reason}", token.desc)));
        match &token.may {
            None if token.services.is_empty() => {}
            None => return wrong("services without may; say may: [register], or leave both out for a full token"),
            Some(may) if may.is_empty() => return wrong("may is empty; say may: [register], or remove the token"),
            Some(_) if token.services.is_empty() => {
                return wrong("name the services it may register, such as services: [demo1, \"team-*\"]");
            }
            Some(_) => {}
        }
        let misplaced = |name: &&String| {
            name.is_empty()
                || name.trim_end_matches('*').len() + 1 < name.len()
                || name.trim_end_matches('*').contains('*')
        };
        if let Some(name) = token.services.iter().find(misplaced) {
            return wrong(&format!(
                "the service \"{name}\" must be a name, or the beginning of names with one * after it"
            ));
        }
    }
    Ok(())
}

fn edge(config: &Config) -> Result<(), Problem> {
    let ports = || config.data_addresses().map(|(_, address)| address.port());
    if let Some(port) = config.client.proxy_protocol.ports.iter().find(|port| !ports().any(|p| p == **port)) {
        return Err(problem(
            "client.proxy_protocol.ports",
            format!("{port} is no port of `listeners` or `tls.listen`"),
        ));
    }
    if config.client.proxy_protocol.from.is_empty() && !config.client.proxy_protocol.ports.is_empty() {
        return Err(problem(
            "client.proxy_protocol.from",
            "name the peers that send PROXY headers, such as 10.0.0.0/8",
        ));
    }
    let overload = &config.overload;
    if overload.max_memory.is_some_and(|size| size.0 < 32 << 20) {
        return Err(problem("overload.max_memory", "must be at least 32 MiB, or null"));
    }
    if overload.retry_after.subsec_nanos() != 0 || overload.retry_after == Duration::ZERO {
        return Err(problem("overload.retry_after", "must be whole seconds, such as 1s"));
    }
    Ok(())
}

fn tracing(config: &Config) -> Result<(), Problem> {
    let tracing = &config.telemetry.tracing;
    // Before it is named: it would be shown in logs, and sent to nobody.
    if tracing.endpoint.as_ref().is_some_and(|endpoint| endpoint.contains('@')) {
        return Err(problem("telemetry.tracing.endpoint", "takes no user and password; headers may carry a key"));
    }
    if let Some(endpoint) = &tracing.endpoint
        && (!(endpoint.starts_with("http://") || endpoint.starts_with("https://"))
            || endpoint.parse::<http::Uri>().is_err())
    {
        return Err(problem(
            "telemetry.tracing.endpoint",
            format!("\"{endpoint}\" is no address, such as http://127.0.0.1:4318"),
        ));
    }
    if !(0.0..=1.0).contains(&tracing.sample) {
        return Err(problem("telemetry.tracing.sample", "must be from 0 to 1, such as 0.01"));
    }
    if tracing.service_name.is_empty() {
        return Err(problem("telemetry.tracing.service_name", "must not be empty"));
    }
    if tracing.timeout.is_zero() || tracing.timeout > Duration::from_secs(60) {
        return Err(problem("telemetry.tracing.timeout", "must be greater than 0 and at most 60s, such as 5s"));
    }
    if !(1..=1 << 20).contains(&tracing.queue) {
        return Err(problem("telemetry.tracing.queue", "must be from 1 to 1048576"));
    }
    for (name, value) in &tracing.headers {
        let is_header = http::HeaderName::try_from(name).is_ok() && http::HeaderValue::try_from(value).is_ok();
        if !is_header {
            return Err(problem("telemetry.tracing.headers", format!("\"{name}\" is no header, or its value is none")));
        }
    }
    Ok(())
}

/// A secret that everybody knows is none. On loopback the old examples still work.
fn known_secrets(config: &Config) -> Result<(), Problem> {
    let loopback = config.admin.listen.is_none_or(|a| a.ip().is_loopback()) && !config.admin.on_gateway_ports;
    if loopback {
        return Ok(());
    }
    let cure = "a value that was shipped with the old gateway is only accepted while the Admin API listens on loopback; choose another";
    if config.admin.jwt_secret.as_deref() == Some(KNOWN_JWT_SECRET) {
        return Err(problem("admin.jwt_secret", cure));
    }
    if config.admin.tokens.contains_key(KNOWN_TOKEN) {
        return Err(problem("admin.tokens", cure));
    }
    if config.admin.account.values().any(|a| KNOWN_PASSWORDS.contains(&a.password.as_str())) {
        return Err(problem("admin.account", cure));
    }
    Ok(())
}

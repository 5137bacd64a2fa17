//! From the configuration file to the options of each part.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use http::HeaderValue;

use crate::config::{
    AccessLogConfig, CheckKind, ClientAuthConfig, Config, ErrorLogConfig, EscapedSlashes, HealthcheckConfig, LogFormat,
    OtlpProtocol, OverloadConfig, StoreKind, TlsVersion, TracingConfig, UnderscoreHeaders,
};
use crate::explain::ExplainOptions;
use crate::pipeline::Registry;
use crate::proxy::{ConnectionOptions, EdgeOptions, Internal, Overload, ProxyHeaders, ProxyOptions};
use crate::request::forwarded::TrustedProxies;
use crate::request::framing;
use crate::request::path::{self, PathRules};
use crate::resource::ClientAuth;
use crate::secret::Secrets;
use crate::snapshot::{CheckDefaults, Checker, ServiceDefaults};
use crate::telemetry::tracing::{self, Tracer, TracingOptions};
use crate::telemetry::{AccessOptions, ErrorLogOptions, Lines, Output};
use crate::tls;
use crate::upstream::health::{Check, GrpcProbe, HttpProbe, Probe};
use crate::upstream::{PeerOptions, ResolveOptions, RetryPolicy, UpstreamOptions};

pub(super) fn error_log(config: &ErrorLogConfig) -> ErrorLogOptions {
    ErrorLogOptions {
        level: config.level.into(),
        json: config.format == LogFormat::Json,
        output: output(&config.output),
    }
}

pub(super) fn access_log(config: &AccessLogConfig) -> AccessOptions {
    AccessOptions {
        lines: Lines::Requests,
        output: output(&config.output),
        rotate_size: config.rotate_size.0,
        rotate_keep: config.rotate_keep,
        queue: config.queue,
    }
}

pub(super) fn admin_log(config: &Config) -> AccessOptions {
    let log = &config.log.admin;
    let is_on = config.admin.listen.is_some() || config.admin.on_gateway_ports;
    AccessOptions {
        lines: Lines::AdminCalls,
        output: if is_on { output(&log.output) } else { Output::Off },
        rotate_size: log.rotate_size.0,
        rotate_keep: log.rotate_keep,
        queue: log.queue,
    }
}

fn output(name: &str) -> Output {
    match name {
        "off" => Output::Off,
        "stdout" => Output::Stdout,
        "stderr" => Output::Stderr,
        file => Output::File(PathBuf::from(file)),
    }
}

fn rules(config: &Config) -> PathRules {
    PathRules {
        merge_slashes: config.routing.merge_slashes,
        escaped_slashes: match config.routing.escaped_slashes {
            EscapedSlashes::Keep => path::EscapedSlashes::Keep,
            EscapedSlashes::Reject => path::EscapedSlashes::Reject,
            EscapedSlashes::Decode => path::EscapedSlashes::Decode,
        },
    }
}

pub(crate) fn checker(config: &Config, registry: Registry, secrets: Arc<Secrets>, files: &tls::Files) -> Checker {
    Checker::new(registry, rules(config), config.upstream.deny.clone(), own_addresses(config))
        .with_certificates(secrets, Arc::clone(files.settings()))
}

/// Addresses no node may have: the gateway's own (a route to admin or status is a way around their
/// guards, one to a data port a loop), and those of etcd.
fn own_addresses(config: &Config) -> Vec<SocketAddr> {
    let mut own: Vec<SocketAddr> = config.admin.listen.into_iter().chain(config.status.listen).collect();
    own.extend(config.data_addresses().map(|(_, address)| address));
    if config.store.kind == StoreKind::Etcd {
        for endpoint in &config.store.etcd.endpoints {
            let address = endpoint.split_once("://").map_or(endpoint.as_str(), |(_, address)| address);
            // Once, at the start: a name that does not resolve now guards nothing.
            own.extend(address.trim_end_matches('/').to_socket_addrs().into_iter().flatten());
        }
    }
    own
}

pub(super) fn services(config: &Config) -> ServiceDefaults {
    let upstream = &config.upstream;
    ServiceDefaults {
        peer: PeerOptions {
            connect: upstream.connect_timeout,
            read: upstream.read_timeout,
            send: upstream.send_timeout,
            idle: upstream.idle_timeout,
            h2_max_streams: upstream.h2_max_streams,
            h2_ping_interval: upstream.h2_ping_interval,
            ..PeerOptions::default()
        },
        upstream: UpstreamOptions {
            max_tries: upstream.max_tries as usize,
            retry: RetryPolicy {
                within: upstream.retry_within,
                budget: upstream.retry_budget,
                ..RetryPolicy::default()
            },
            first_byte: upstream.first_byte_timeout,
            total: upstream.total_timeout,
            eject_time: upstream.eject_time,
            ..UpstreamOptions::default()
        },
        check: check(config.healthcheck.as_ref()),
    }
}

pub(super) fn resolver(config: &Config) -> ResolveOptions {
    let resolver = &config.upstream.resolver;
    ResolveOptions {
        servers: resolver.servers.clone(),
        min_ttl: resolver.min_ttl,
        max_ttl: resolver.max_ttl,
        timeout: resolver.timeout,
    }
}

fn check(config: Option<&HealthcheckConfig>) -> CheckDefaults {
    let Some(config) = config else { return CheckDefaults::default() };
    let active = &config.active;
    let probe = match active.kind {
        CheckKind::Tcp => Probe::Tcp,
        CheckKind::Http => Probe::Http(HttpProbe {
            path: active.path.clone().unwrap_or_else(|| "/".to_owned()),
            host: active.host.clone(),
            statuses: active.healthy.http_statuses.clone(),
        }),
        CheckKind::Grpc => {
            Probe::Grpc(GrpcProbe { service: active.path.clone().unwrap_or_default(), host: active.host.clone() })
        }
    };
    CheckDefaults {
        on: true,
        check: Check {
            probe,
            port: active.port,
            timeout: Duration::from_secs_f64(active.timeout),
            interval: Duration::from_secs_f64(active.healthy.interval),
            unhealthy_interval: Duration::from_secs_f64(active.unhealthy.interval),
            jitter: active.jitter,
            successes: active.healthy.successes,
            failures: active.unhealthy.tcp_failures,
            single: false,
        },
    }
}

pub(super) fn proxy(
    config: &Config,
    internal: Option<Internal>,
    certificates: Arc<tls::Files>,
    tracer: Option<Arc<Tracer>>,
) -> anyhow::Result<ProxyOptions> {
    Ok(ProxyOptions {
        rules: rules(config),
        trusted_proxies: TrustedProxies::new(config.client.trusted_proxies.clone()),
        underscores: underscores(config),
        max_requests_per_connection: config.client.max_requests_per_connection,
        min_body_rate: config.client.min_body_rate.0,
        max_body_size: config.client.max_body_size.0,
        server_header: HeaderValue::from_str(&config.client.server_header).context("client.server_header")?,
        send_timeout: config.client.send_timeout,
        internal,
        certificates,
        tracer,
    })
}

/// How traces are exported, if they are.
pub(super) fn tracing(config: &TracingConfig) -> Option<TracingOptions> {
    Some(TracingOptions {
        endpoint: config.endpoint.clone()?,
        protocol: match config.protocol {
            OtlpProtocol::Http => tracing::Protocol::Http,
            OtlpProtocol::Grpc => tracing::Protocol::Grpc,
        },
        sample: config.sample,
        service_name: config.service_name.clone(),
        headers: config.headers.clone(),
        timeout: config.timeout,
        ca_file: config.ca_file.clone(),
        queue: config.queue,
    })
}

fn underscores(config: &Config) -> framing::Underscores {
    match config.client.underscore_headers {
        UnderscoreHeaders::Drop => framing::Underscores::Drop,
        UnderscoreHeaders::Allow => framing::Underscores::Allow,
        UnderscoreHeaders::Reject => framing::Underscores::Reject,
    }
}

pub(super) fn explain(config: &Config) -> ExplainOptions {
    ExplainOptions {
        rules: rules(config),
        trusted_proxies: TrustedProxies::new(config.client.trusted_proxies.clone()),
        underscores: underscores(config),
        max_body_size: config.client.max_body_size.0,
        admin_on_gateway_ports: config.admin.on_gateway_ports,
    }
}

pub(super) fn overload(config: &OverloadConfig) -> Overload {
    Overload::new(config.max_in_flight, config.retry_after.as_secs())
}

/// Of `files` open files, some are kept for connections to nodes, logs and the store.
pub(super) fn edge(config: &Config, files: usize) -> EdgeOptions {
    let client = &config.client;
    EdgeOptions {
        header_timeout: client.header_timeout,
        max_header_size: usize::try_from(client.max_header_size.0).unwrap_or(usize::MAX),
        body_timeout: client.body_timeout,
        send_timeout: client.send_timeout,
        keepalive_timeout: client.keepalive_timeout,
        h2_idle_timeout: client.h2_idle_timeout,
        h2_max_streams: client.h2_max_streams,
        ports: config.data_addresses().map(|(_, address)| address.port()).collect(),
        connections: ConnectionOptions {
            max_total: files / 4 * 3,
            max_per_listener: client.max_connections,
            max_per_ip: client.max_connections_per_ip,
        },
        max_requests_per_connection: client.max_requests_per_connection,
        proxy_headers: ProxyHeaders {
            from: TrustedProxies::new(client.proxy_protocol.from.clone()),
            ports: client.proxy_protocol.ports.iter().copied().collect(),
        },
        trusted_proxies: TrustedProxies::new(client.trusted_proxies.clone()),
        tls_ports: config.tls.listen.iter().map(std::net::SocketAddr::port).collect(),
        h2c_ports: config.listeners.h2c.iter().map(std::net::SocketAddr::port).collect(),
        server_header: client.server_header.clone(),
    }
}

/// What holds for every certificate.
fn tls_settings(config: &Config) -> Arc<tls::Settings> {
    let min_version = match config.tls.min_version {
        TlsVersion::Tls12 => tls::MinVersion::Tls12,
        TlsVersion::Tls13 => tls::MinVersion::Tls13,
    };
    Arc::new(tls::Settings { min_version, ..tls::Settings::default() })
}

/// The certificates from files. The first is the default when none says that it is.
pub(crate) fn certificate_files(config: &Config) -> anyhow::Result<tls::Files> {
    let settings = tls_settings(config);
    let config = &config.tls;
    let has_default = config.certificates.iter().any(|certificate| certificate.default);
    let files = config.certificates.iter().enumerate().map(|(i, certificate)| tls::PemFiles {
        cert: certificate.cert.clone(),
        key: certificate.key.clone(),
        hosts: certificate.hosts.clone(),
        default: certificate.default || (i == 0 && !has_default),
        client_ca: certificate.client_ca.clone(),
        client_auth: certificate.client_auth.map(client_auth),
    });
    tls::Files::open(settings, files.collect(), config.client_ca.clone(), client_auth(config.client_auth))
        .context("tls")
}

fn client_auth(auth: ClientAuthConfig) -> ClientAuth {
    match auth {
        ClientAuthConfig::None => ClientAuth::None,
        ClientAuthConfig::Request => ClientAuth::Request,
        ClientAuthConfig::Require => ClientAuth::Require,
    }
}

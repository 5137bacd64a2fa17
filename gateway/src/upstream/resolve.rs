//! Resolves the host names of nodes in the background and keeps them fresh.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;

use super::names::{Names, Retry};

/// Names resolved at the same time.
const CONCURRENCY: usize = 16;
/// How often a question is put before it counts as failed.
const ATTEMPTS: usize = 2;
/// The longest wait before a name that cannot be resolved is asked for again.
const RETRY_LAST: Duration = Duration::from_secs(30);
/// What the system's own configuration is read from.
const SYSTEM: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];

/// How names are resolved.
#[derive(Debug, Clone)]
pub struct ResolveOptions {
    /// The name servers; those of /etc/resolv.conf, with its search list, when empty.
    pub servers: Vec<SocketAddr>,
    /// An answer is used for at least this long.
    pub min_ttl: Duration,
    /// And at most.
    pub max_ttl: Duration,
    /// How long a name server may take.
    pub timeout: Duration,
}

/// Keeps the names resolved. Ends when the future is dropped.
pub async fn resolve(names: Arc<Names>, options: ResolveOptions) {
    let mut servers = Servers::new(options.clone());
    let mut running = FuturesUnordered::new();
    let mut waiting: Vec<Arc<str>> = Vec::new();
    loop {
        let (due, next) = names.due(Instant::now());
        waiting.extend(due);
        while running.len() < CONCURRENCY
            && let Some(name) = waiting.pop()
        {
            let resolver = servers.present();
            let options = &options;
            running.push(async move {
                let answer = ask(resolver, &name, options).await;
                (name, answer)
            });
        }
        let wake = next.unwrap_or_else(|| Instant::now() + RETRY_LAST);
        tokio::select! {
            Some((name, answer)) = running.next() => names.note(&name, answer),
            () = names.asked.notified() => {}
            () = tokio::time::sleep_until(wake.into()) => {}
        }
    }
}

type Answer = Result<(BTreeSet<IpAddr>, Instant), (String, Retry)>;

async fn ask(resolver: Result<Arc<TokioResolver>, String>, name: &str, options: &ResolveOptions) -> Answer {
    let retry = Retry { first: options.min_ttl, last: RETRY_LAST.max(options.min_ttl) };
    // A search list makes several questions of one.
    let patience = options.timeout * 4 * u32::try_from(ATTEMPTS).unwrap_or(1);
    let lookup = async { resolver?.lookup_ip(name).await.map_err(|e| explain(&e)) };
    let found = tokio::time::timeout(patience, lookup).await;
    let found = found.unwrap_or_else(|_| Err("the name servers do not answer".into())).map_err(|e| (e, retry))?;
    let addresses: BTreeSet<IpAddr> = found.iter().map(|ip| ip.to_canonical()).collect();
    if addresses.is_empty() {
        return Err(("the name has no address".into(), retry));
    }
    let ttl = found.as_lookup().answers().iter().map(|record| record.ttl).min().unwrap_or(0);
    let ttl = Duration::from_secs(ttl.into()).clamp(options.min_ttl, options.max_ttl);
    Ok((addresses, Instant::now() + ttl))
}

/// The same words for the same trouble, so that it is told once.
fn explain(error: &NetError) -> String {
    log::debug!("resolver: {error}");
    if error.is_nx_domain() {
        "there is no such name".into()
    } else if error.is_no_records_found() {
        "the name has no address, or the name server failed".into()
    } else if matches!(error, NetError::Timeout) {
        "the name servers do not answer".into()
    } else {
        let text = error.to_string();
        text.chars().take(200).collect()
    }
}

/// The resolver, made anew when what it was made from has changed.
struct Servers {
    options: ResolveOptions,
    resolver: Option<Arc<TokioResolver>>,
    seen: [Option<SystemTime>; 2],
}

impl Servers {
    fn new(options: ResolveOptions) -> Self {
        Self { options, resolver: None, seen: [None; 2] }
    }

    fn present(&mut self) -> Result<Arc<TokioResolver>, String> {
        let seen = SYSTEM.map(|path| std::fs::metadata(path).and_then(|file| file.modified()).ok());
        if let Some(resolver) = self.resolver.as_ref().filter(|_| seen == self.seen) {
            return Ok(Arc::clone(resolver));
        }
        let resolver = Arc::new(build(&self.options).map_err(|e| format!("no resolver: {e}"))?);
        self.seen = seen;
        self.resolver = Some(Arc::clone(&resolver));
        Ok(resolver)
    }
}

fn build(options: &ResolveOptions) -> Result<TokioResolver, NetError> {
    let mut builder = if options.servers.is_empty() {
        TokioResolver::builder_tokio()?
    } else {
        let servers = options.servers.iter().map(|server| {
            let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
            connections.iter_mut().for_each(|connection| connection.port = server.port());
            NameServerConfig::new(server.ip(), true, connections)
        });
        let config = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
    };
    let knobs = builder.options_mut();
    knobs.timeout = options.timeout;
    knobs.attempts = ATTEMPTS;
    // Answers are kept by `Names`, for their own time.
    knobs.cache_size = 0;
    builder.build()
}

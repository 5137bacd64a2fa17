//! `register`: keeps a node registered for a service that has no client of its own, and takes it
//! away when this process, or the command it runs, ends.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail, ensure};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use ws_cloud_gateway_client::{self as client, Gateways, Registry, State};

use super::say_error;
use crate::config::{self, StoreKind};
use crate::registration::{MAX_TTL, MIN_TTL, Refused, Registrar, Registration};
use crate::resource::Node;
use crate::server;
use crate::store::StoreError;
use crate::store::etcd::{EtcdOptions, EtcdStore};
use child::{Child, End, Signals};

mod child;

/// Between two looks whether the service accepts connections.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

#[derive(Debug, clap::Args)]
pub(super) struct RegisterArgs {
    /// The service.
    #[arg(long)]
    service: String,
    /// Where it listens, as ip:port.
    #[arg(long, value_name = "ADDRESS")]
    upstream: String,
    /// Its share of the requests.
    #[arg(long, default_value_t = 1)]
    weight: u32,
    /// How long the node stays when this process dies. From 1s to 1h.
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    ttl: Duration,
    /// Take the place of a node that an operator set.
    #[arg(long)]
    replace: bool,
    /// Register at once, without waiting until the address accepts connections.
    #[arg(long)]
    no_wait: bool,
    /// How long the command goes on between SIGTERM (when the node is taken away) and its own end.
    #[arg(long, default_value = "0s", value_parser = humantime::parse_duration, requires = "command")]
    drain: Duration,
    #[command(flatten)]
    target: Target,
    /// The user of --etcd; the password is taken from ETCD_PASSWORD.
    #[arg(long, requires = "etcd")]
    user: Option<String>,
    /// What the keys in --etcd begin with.
    #[arg(long, value_name = "PREFIX", default_value = "/my/cloud/")]
    data_prefix: String,
    /// A file with the API token for --gateway, instead of GATEWAY_TOKEN.
    #[arg(long, value_name = "FILE", requires = "gateway")]
    token_file: Option<PathBuf>,
    /// A command to run: its node is there as long as it runs, and its exit code is passed on.
    #[arg(last = true)]
    command: Vec<String>,
}

/// Where the node is registered.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Target {
    /// Straight in the etcd that a gateway's configuration file names.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Straight in etcd, by one or more URLs.
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    etcd: Vec<String>,
    /// With a gateway's Admin API, by one or more URLs such as http://10.0.0.1:12000. The API token
    /// is taken from GATEWAY_TOKEN.
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    gateway: Vec<String>,
}

pub(super) fn run(args: &RegisterArgs) -> anyhow::Result<ExitCode> {
    ensure!((MIN_TTL..=MAX_TTL).contains(&args.ttl), "--ttl must be from 1s to 1h");
    Node::parse(&registration(&args.node()).value()).map_err(|e| anyhow!("{e}"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // Within the runtime: connections are made in it.
        if args.target.gateway.is_empty() {
            let registry = args.store()?;
            keep(args, registry).await
        } else {
            let gateways = Gateways::new(&args.target.gateway, &args.token()?)?;
            keep(args, gateways).await
        }
    })
}

impl RegisterArgs {
    fn node(&self) -> client::Node {
        client::Node::new(&self.service, &self.upstream).weight(self.weight).ttl(self.ttl).replace(self.replace)
    }

    fn token(&self) -> anyhow::Result<String> {
        let token = match &self.token_file {
            Some(file) => std::fs::read_to_string(file)
                .with_context(|| format!("--token-file {} cannot be read", file.display()))?,
            None => std::env::var("GATEWAY_TOKEN").context("set GATEWAY_TOKEN, or give --token-file")?,
        };
        Ok(token.trim().to_owned())
    }

    fn store(&self) -> anyhow::Result<InStore> {
        if let Some(file) = &self.target.config {
            let config = config::load(file)?;
            if config.store.kind == StoreKind::Embedded {
                let url = config.admin.listen.map_or("http://host:12000".into(), |address| format!("http://{address}"));
                bail!("{} has an embedded store, which belongs to its gateway; use --gateway {url}", file.display());
            }
            return Ok(InStore(Registrar::new(server::store::open(&config.store)?, &config.store.data_prefix)));
        }
        let prefix = &self.data_prefix;
        ensure!(config::is_data_prefix(prefix), "--data-prefix {prefix} must begin and end with `/`, without `//`");
        let password =
            self.user.as_ref().map(|_| std::env::var("ETCD_PASSWORD").context("set ETCD_PASSWORD for --user"));
        let options = EtcdOptions {
            endpoints: self.target.etcd.clone(),
            user: self.user.clone(),
            password: password.transpose()?,
            ..EtcdOptions::default()
        };
        Ok(InStore(Registrar::new(Arc::new(EtcdStore::connect(options).context("--etcd")?), prefix)))
    }
}

/// Runs until a signal or the command's end.
async fn keep(args: &RegisterArgs, registry: impl Registry) -> anyhow::Result<ExitCode> {
    let node = args.node();
    let mut signals = Signals::new()?;
    let mut child = Child::spawn(&args.command)?;
    if !args.no_wait {
        tokio::select! {
            () = ready(&node.upstream) => {}
            end = child.end(&mut signals) => return match end? {
                End::Ended(code) => Ok(code),
                End::Asked(signal) => child.stop(signal, &mut signals).await,
            },
        }
    }
    let mut registration = match client::Registration::start(registry, node.clone()).await {
        Ok(registration) => registration,
        Err(e) => {
            child.stop(child::TERMINATE, &mut signals).await?;
            return Err(e).with_context(|| format!("{} of {} is not registered", node.upstream, node.service));
        }
    };
    tell(&node, &registration.state());
    let end = loop {
        tokio::select! {
            end = child.end(&mut signals) => break end,
            state = registration.changed() => tell(&node, &state),
        }
    };
    close(registration, &node).await;
    let signal = match end? {
        End::Ended(code) => return Ok(code),
        End::Asked(signal) => signal,
    };
    // Who asks twice is in a hurry.
    if let Ok(End::Ended(code)) = timeout(args.drain, child.end(&mut signals)).await.unwrap_or(Ok(End::Asked(signal))) {
        return Ok(code);
    }
    child.stop(signal, &mut signals).await
}

/// Waits until the service accepts connections.
async fn ready(upstream: &str) {
    let mut told = false;
    while !matches!(timeout(Duration::from_secs(1), TcpStream::connect(upstream)).await, Ok(Ok(_))) {
        if !std::mem::replace(&mut told, true) {
            say_error(&format!("waiting until {upstream} accepts connections"));
        }
        sleep(LOOK_AGAIN).await;
    }
}

fn tell(node: &client::Node, state: &State) {
    let (upstream, service) = (&node.upstream, &node.service);
    match state {
        State::Registered => say_error(&format!("{upstream} of {service} is registered")),
        State::Failing(e) => say_error(&format!("{upstream} of {service} is not registered, trying again: {e}")),
    }
}

async fn close(registration: client::Registration, node: &client::Node) {
    let (upstream, service) = (&node.upstream, &node.service);
    match registration.close().await {
        Ok(()) => say_error(&format!("{upstream} of {service} is removed")),
        Err(e) => say_error(&format!("{upstream} of {service} goes when its time to live ends: {e}")),
    }
}

/// Registers straight in the store, by the rules of the Admin API.
struct InStore(Registrar);

fn registration(node: &client::Node) -> Registration {
    let mut registration = Registration::new(&node.service, &node.upstream);
    registration.weight = node.weight;
    registration.ttl = node.ttl;
    registration.replace = node.replace;
    registration
}

#[client::async_trait]
impl Registry for InStore {
    async fn register(&self, node: &client::Node) -> Result<(), client::Error> {
        self.0.register(&registration(node)).await.map(drop).map_err(|e| error(&e))
    }

    async fn remove(&self, node: &client::Node) -> Result<(), client::Error> {
        self.0.remove(&node.service, &node.upstream).await.map_err(|e| error(&e))
    }
}

fn error(refused: &Refused) -> client::Error {
    let text = refused.to_string();
    match refused {
        Refused::Permanent(_)
        | Refused::TooMany(_)
        | Refused::Store(StoreError::Denied(_) | StoreError::Invalid(_)) => client::Error::Refused(text),
        Refused::NotRegistered(_) | Refused::Store(_) => client::Error::Unavailable(text),
    }
}

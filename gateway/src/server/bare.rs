//! The data plane by itself, with no sockets, store or admin: what fuzzing drives.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context as _, anyhow};
use pingora::server::configuration::ServerConf;
use pingora_proxy::http_proxy;
use ws_cloud_plugin_sdk::{Env, Factory};

use super::options;
use crate::config::Config;
use crate::explain::Explainer;
use crate::pipeline::Registry;
use crate::proxy::{Edge, Handshakes, Proxy};
use crate::secret::Secrets;
use crate::snapshot::{Change, Checker, CompileOptions, Compiler, Handle, Publish as _, SharedCompiler};
use crate::telemetry::{AccessLog, Metrics};

/// What tells whether objects would be taken.
///
/// # Errors
/// When the plugins' names clash.
pub fn checker(config: &Config, factories: Vec<Factory>) -> anyhow::Result<Checker> {
    let registry = Registry::new(factories, &config.plugins.ignore).map_err(|e| anyhow!(e))?;
    let certificates = options::certificate_files(config)?;
    Ok(options::checker(config, registry, Arc::new(Secrets::default()), &certificates))
}

/// A compiler as `config` wants it, that publishes to the handle.
///
/// # Errors
/// When the plugins' names clash.
pub fn compiler(
    config: &Config,
    factories: Vec<Factory>,
    handle: &Arc<Handle>,
    env: impl Fn(&'static str) -> Env + Send + Sync + 'static,
) -> anyhow::Result<Compiler> {
    let options = CompileOptions {
        names: Arc::default(),
        checker: Arc::new(checker(config, factories)?),
        services: options::services(config),
        metrics: Metrics::new(config.status.max_labels),
        env: Box::new(env),
    };
    Ok(Compiler::new(options, Arc::clone(handle)))
}

/// What takes connections, with these objects live.
///
/// # Errors
/// When the configuration is not valid.
pub fn edge(
    config: &Config,
    factories: Vec<Factory>,
    objects: Vec<Change>,
    env: impl Fn(&'static str) -> Env + Send + Sync + 'static,
) -> anyhow::Result<Arc<Edge>> {
    Ok(plane(config, factories, objects, env)?.0)
}

/// The same, and what explains its requests.
///
/// # Errors
/// When the configuration is not valid.
pub fn plane(
    config: &Config,
    factories: Vec<Factory>,
    objects: Vec<Change>,
    env: impl Fn(&'static str) -> Env + Send + Sync + 'static,
) -> anyhow::Result<(Arc<Edge>, Arc<Explainer>)> {
    let handle = Arc::new(Handle::default());
    let mut compiler = SharedCompiler::new(compiler(config, factories, &handle, env)?);
    compiler.replace(1, &mut objects.into_iter());
    let explainer = Arc::new(Explainer::new(options::explain(config), compiler));
    let metrics = Metrics::new(config.status.max_labels);
    let access = Arc::new(AccessLog::open(&options::access_log(&config.log.access)).context("log.access.output")?);
    let certificates = Arc::new(options::certificate_files(config)?);
    let overload = Arc::new(options::overload(&config.overload));
    let proxy = Proxy::new(
        options::proxy(config, None, Arc::clone(&certificates), None)?,
        Arc::clone(&handle),
        Arc::clone(&metrics),
        Arc::clone(&access),
        Arc::new(AtomicBool::new(false)),
        Arc::clone(&overload),
    );
    let handshakes = Handshakes::new(handle, certificates, config.tls.handshake_timeout, Arc::clone(&metrics));
    let proxy = http_proxy(&Arc::new(ServerConf::default()), proxy);
    let edge = Edge::new(proxy, options::edge(config, usize::MAX), handshakes, overload, metrics, access);
    Ok((Arc::new(edge), explainer))
}

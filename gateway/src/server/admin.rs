//! Starts the Admin API and the status listener, and gives them what they ask for.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::extract::Request;
use axum::middleware::Next;
use log::LevelFilter;
use pingora::upstreams::peer::HttpPeer;
use serde_json::{Value, json};
use tokio::net::UnixListener;

use super::{Parts, certificates, health};
use crate::admin::{
    Admin, AdminDeps, Limits, LiveDeps, PeerSource, PluginInfo, StatusDeps, Unexplained, first_start, handed_over,
    serve, status_router,
};
use crate::explain;
use crate::proxy::Internal;
use crate::request::forwarded::TrustedProxies;
use crate::telemetry::ErrorLog;

/// How long until the first start is tried again with a store that is away.
const RETRY: Duration = Duration::from_secs(2);

/// The Admin API, when it is to be answered anywhere, and its first account.
pub(super) fn make(parts: &Arc<Parts>, live: LiveDeps) -> Option<Arc<Admin>> {
    let config = &parts.config;
    if config.admin.listen.is_none() && !config.admin.on_gateway_ports {
        return None;
    }
    create_accounts(parts);
    Some(Admin::new(admin_deps(parts, live)))
}

/// Opens admin and status to those who may reach them.
pub(super) fn listen(parts: &Arc<Parts>, admin: Option<Arc<Admin>>) -> anyhow::Result<()> {
    let config = &parts.config;
    let retired = &parts.ending.retired;
    // Both listen before either answers: who finds one there finds the other.
    let listen = |address: Option<_>| address.map(|a| anyhow::Ok((a, parts.sockets.listener(a)?))).transpose();
    let status = listen(config.status.listen)?;
    let own = listen(config.admin.listen)?;
    if let Some((address, listener)) = status {
        let router = status_router(status_deps(parts), PeerSource::Socket);
        tokio::spawn(serve(listener, router, Limits::default(), retired.subscribe()));
        log::info!("status on http://{address}");
    }
    if let (Some((address, listener)), Some(admin)) = (own, admin) {
        let limits = Limits { allow: Some(config.admin.allow.clone()), ..Limits::default() };
        let router = while_the_store_is_here(parts, admin.router(PeerSource::Socket));
        tokio::spawn(serve(listener, router, limits, retired.subscribe()));
        log::info!("admin on http://{address}");
    }
    Ok(())
}

/// The admin's own socket, when it is to be answered on the data ports.
pub(super) fn internal(parts: &Arc<Parts>, admin: Option<&Arc<Admin>>) -> anyhow::Result<Option<Internal>> {
    let config = &parts.config;
    let Some(admin) = admin.filter(|_| config.admin.on_gateway_ports) else { return Ok(None) };
    // A folder only this user can enter; the socket in it trusts who the data plane says is asking.
    let folder =
        tempfile::Builder::new().prefix("ws-cloud-gateway-").tempdir().context("cannot make a private folder")?;
    let path = folder.path().join("admin.sock");
    let listener = UnixListener::bind(&path).with_context(|| format!("cannot listen on {}", path.display()))?;
    let router = while_the_store_is_here(parts, Arc::clone(admin).router(PeerSource::Header));
    let serving = serve(listener, router, Limits::default(), parts.ending.stopped.subscribe());
    tokio::spawn(async move {
        serving.await;
        drop(folder);
    });
    let path = path.to_str().context("the path of the private folder is not UTF-8")?;
    let peer = HttpPeer::new_uds(path, false, String::new()).map_err(|e| anyhow::anyhow!("{e}"))?;
    Ok(Some(Internal { peer, allow: TrustedProxies::new(config.admin.allow.clone()) }))
}

/// During an upgrade the embedded store is for a moment neither this process's nor the other's to
/// use; callers are asked to come back.
fn while_the_store_is_here(parts: &Parts, router: Router) -> Router {
    let Some(store) = parts.embedded.clone() else { return router };
    router.layer(axum::middleware::from_fn(move |request: Request, next: Next| {
        let elsewhere = store.is_elsewhere();
        async move {
            if !elsewhere {
                return next.run(request).await;
            }
            handed_over(request.uri().path())
        }
    }))
}

/// Makes the first account, or makes it when the store is back: serving requests waits for neither.
fn create_accounts(parts: &Arc<Parts>) {
    let parts = Arc::clone(parts);
    tokio::spawn(async move {
        while !try_create(&parts).await {
            tokio::time::sleep(RETRY).await;
        }
    });
}

#[allow(clippy::print_stdout)]
async fn try_create(parts: &Parts) -> bool {
    let config = &parts.config;
    match first_start(&parts.store, &config.store.data_prefix, &config.admin).await {
        Ok(Some(password)) => {
            println!("admin password: {password}");
            true
        }
        Ok(None) => true,
        Err(e) => {
            log::warn!("the admin account could not be looked for yet: {e}");
            false
        }
    }
}

fn admin_deps(parts: &Arc<Parts>, live: LiveDeps) -> AdminDeps {
    let checker = Arc::clone(&parts.checker);
    let plugins = checker.registry().factories().map(|factory| PluginInfo {
        name: factory.name.into(),
        description: factory.description.into(),
        version: factory.version.into(),
        priority: factory.priority,
        phases: factory.phases.iter_names().map(|(name, _)| name.to_lowercase()).collect(),
        schema: Some(factory.schema().to_value()),
    });
    // The first gateway lists resolving a service's nodes as a plugin.
    let discovery = PluginInfo {
        name: "discovery".into(),
        description: "服务发现插件".into(),
        version: "v1.0".into(),
        ..PluginInfo::default()
    };
    let (status, adviser) = (Arc::clone(parts), Arc::clone(parts));
    let (secrets, keys) = (Arc::clone(&parts.secrets), Arc::clone(&parts.secrets));
    let errors = parts.errors.clone();
    let explainer = Arc::clone(&parts.explainer);
    let (metrics, calls) = (Arc::clone(&parts.metrics), Arc::clone(&parts.admin_calls));
    AdminDeps {
        store: Arc::clone(&parts.store),
        data_prefix: parts.config.store.data_prefix.clone(),
        plugins: std::iter::once(discovery).chain(plugins).collect(),
        check: Arc::new(move |key, value| checker.check(key, value)),
        advise: Arc::new(move |key, value| adviser.checker.advise(&adviser.handle.load(), key, value)),
        seal: Arc::new(move |place, plain| secrets.seal(place, plain.as_bytes()).map_err(|e| e.to_string())),
        open: Arc::new(move |place, sealed| {
            let plain = keys.open(place, sealed).map_err(|e| e.to_string())?;
            String::from_utf8(plain).map_err(|_| "it is not text".to_owned())
        }),
        status: Arc::new(move || report(&status)),
        log_level: Arc::new(move |level| log_level(&errors, level)),
        explain: Arc::new(move |question| {
            let explainer = Arc::clone(&explainer);
            Box::pin(async move { explainer.answer(question).await.map_err(unexplained) })
        }),
        ended: Arc::new(move |surface, call| {
            metrics.admin.observe(
                surface,
                call.method.unwrap_or_default(),
                call.status.unwrap_or_default(),
                call.response_time,
            );
            calls.record(call);
        }),
        config: parts.config.admin.clone(),
        server_header: parts.config.client.server_header.clone(),
        live,
    }
}

fn unexplained(reason: explain::Unexplained) -> Unexplained {
    match reason {
        explain::Unexplained::Invalid(invalid) => Unexplained::Invalid(invalid),
        explain::Unexplained::Busy => Unexplained::Busy,
        explain::Unexplained::Failed => Unexplained::Failed,
    }
}

fn log_level(errors: &ErrorLog, level: Option<&str>) -> Result<String, String> {
    if let Some(level) = level {
        let filter: LevelFilter =
            level.parse().map_err(|_| format!("\"{level}\" is not one of off, error, warn, info, debug, trace"))?;
        errors.set_level(filter);
        log::info!("log level set to {filter}");
    }
    Ok(errors.level().to_string().to_lowercase())
}

fn report(parts: &Parts) -> Value {
    let snapshot = parts.handle.load_full();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": parts.started.elapsed().as_secs(),
        "ready": parts.is_ready(),
        "draining": parts.draining.load(Ordering::Relaxed),
        "store": parts.config.store.kind,
        "config": parts.status.to_json(),
        "routes": snapshot.route_count(),
        "services": snapshot.upstreams().count(),
        "nodes_out": health::nodes_out(&snapshot),
        "certificates": certificates::report(parts),
        "rejected": &*snapshot.rejected,
        "warnings": &*snapshot.warnings,
    })
}

fn status_deps(parts: &Arc<Parts>) -> StatusDeps {
    let (ready, metrics, stub) = (Arc::clone(parts), Arc::clone(parts), Arc::clone(parts));
    StatusDeps {
        ready: Arc::new(move || {
            let is_ready = ready.is_ready();
            let status = if is_ready { "ready" } else { "not ready" };
            let rejected = ready.handle.load().rejected.len();
            (is_ready, json!({"status": status, "config": ready.status.to_json(), "rejected": rejected}))
        }),
        metrics: Arc::new(move || scrape(&metrics)),
        nginx_status: Arc::new(move || stub.metrics.nginx_status()),
        nginx_status_allow: parts.config.admin.allow.clone(),
        server_header: parts.config.client.server_header.clone(),
    }
}

fn scrape(parts: &Parts) -> String {
    let config = &parts.metrics.config;
    config.stored_revision.store(parts.status.stored_revision(), Ordering::Relaxed);
    config.applied_revision.store(parts.status.applied_revision(), Ordering::Relaxed);
    let snapshot = parts.handle.load_full();
    config.rejected_objects.store(snapshot.rejected.len() as u64, Ordering::Relaxed);
    config.routes.store(snapshot.route_count() as u64, Ordering::Relaxed);
    config.services.store(snapshot.upstreams().count() as u64, Ordering::Relaxed);
    drop(snapshot);
    config.kept_beyond_lease.store(parts.status.kept_beyond_lease() as u64, Ordering::Relaxed);
    config.set_connected(parts.status.connected());
    let mut text = String::new();
    if let Err(e) = parts.metrics.encode(&mut text) {
        log::error!("the metrics could not be written: {e}");
    }
    text
}

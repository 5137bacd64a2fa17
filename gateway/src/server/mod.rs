//! The composition root: store, control, data plane, admin and status wired together, and the life
//! of the process from the first bind to the last log line.

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use futures::FutureExt as _;
use pingora::listeners::ListenerConfig;
use pingora::protocols::l4::stream::L4BufferSettings;
use pingora::server::configuration::ServerConf;
use pingora::server::{RunArgs, Server};
use pingora::services::listening::Service;
use pingora_proxy::http_proxy;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use ws_cloud_plugin_sdk::Factory;

use crate::admin::Admin;
use crate::config::Config;
use crate::control::{Control, ControlOptions, ControlStatus};
use crate::demo;
use crate::explain::Explainer;
use crate::pipeline::Registry;
use crate::proxy::{Edge, Handshakes, Internal, Overload, Proxy};
use crate::secret::Secrets;
use crate::snapshot::{Checker, CompileOptions, Compiler, Handle, SharedCompiler};
use crate::store::SharedStore;
use crate::store::embedded::EmbeddedStore;
use crate::telemetry::tracing::Tracer;
use crate::telemetry::{AccessLog, ErrorLog, Metrics, error_log};
use crate::tls;
use crate::upstream::MAX_TRIES;
use crate::upstream::{Names, resolve};
use command::RuntimeDir;
use listening::{Listening, WhenStopped};
use shutdown::{Ending, Signals};
use sockets::Sockets;
use upgrade::Program;
use watchdog::Heartbeats;

mod admin;
pub mod bare;
mod certificates;
mod command;
mod demo_hint;
mod files;
mod health;
mod listening;
mod live;
mod memory;
mod notify;
mod options;
mod plugin_env;
mod reload;
pub(crate) mod secrets;
mod shutdown;
mod sockets;
mod state;
pub mod store;
mod tracing;
mod upgrade;
mod watchdog;

pub use command::{Command, tell};
pub(crate) use options::{certificate_files, checker};
pub use upgrade::Predecessor;

/// Per-connection buffers. Pingora's default of 64 KiB each way costs 62 KB an idle connection
/// (trap T17). What reads brings its own buffer, except OpenSSL, which asks for five bytes at first.
const READ_BUFFER: usize = 0;
const TLS_READ_BUFFER: usize = 2048;
const WRITE_BUFFER: usize = 1460;

/// How long the data plane may take to listen.
const LISTENS: Duration = Duration::from_secs(20);

/// How the process is started.
#[derive(Default)]
pub struct RunOptions {
    /// The file the configuration is from, to read it again.
    pub config_file: PathBuf,
    /// The process this one takes over from.
    pub predecessor: Option<Arc<Predecessor>>,
    /// With demo upstreams and data.
    pub demo: bool,
}

/// How long a start waits for the host names of nodes.
const NAMES_WAIT: Duration = Duration::from_secs(2);

/// What the parts share.
struct Parts {
    config: Config,
    started: Instant,
    metrics: Arc<Metrics>,
    access: Arc<AccessLog>,
    /// The access log of the Admin API.
    admin_calls: Arc<AccessLog>,
    errors: ErrorLog,
    checker: Arc<Checker>,
    handle: Arc<Handle>,
    explainer: Arc<Explainer>,
    store: SharedStore,
    status: Arc<ControlStatus>,
    draining: Arc<AtomicBool>,
    overload: Arc<Overload>,
    /// Certificates from files.
    certificates: Arc<tls::Files>,
    secrets: Arc<Secrets>,
    /// Whether the data plane accepts connections.
    listening: AtomicBool,
    sockets: Sockets,
    ending: Ending,
    config_file: PathBuf,
    /// The configuration with what reloads changed since the start. Marked as changed at every
    /// reload, for those who read files that it names.
    reloads: watch::Sender<Arc<Config>>,
    /// The embedded store, when that is the store.
    embedded: Option<Arc<EmbeddedStore>>,
    program: Program,
    /// Held while a successor starts.
    upgrading: Mutex<()>,
    heartbeats: Heartbeats,
    demo: bool,
    /// Why the process ends though nobody asked it to.
    failure: Mutex<Option<anyhow::Error>>,
}

/// Runs the gateway until it is told to end.
///
/// # Errors
/// When it cannot start: a port in use, a store file that cannot be opened, and the like.
pub fn run(config: Config, factories: Vec<Factory>, run: &RunOptions) -> anyhow::Result<()> {
    let errors = error_log::init(&options::error_log(&config.log.error)).context("log.error.output")?;
    log_panics();
    let result = serve(config, factories, run, errors.clone());
    // The error goes to stderr by way of main; what was logged before it must come first.
    errors.shutdown(Duration::from_secs(2));
    result
}

fn serve(config: Config, factories: Vec<Factory>, run: &RunOptions, errors: ErrorLog) -> anyhow::Result<()> {
    let program = Program::of_this_process().context("cannot tell which program this is")?;
    let inherited = run.predecessor.as_ref().map(|p| p.take_sockets()).unwrap_or_default();
    let sockets = Sockets::bind(&sockets::addresses(&config), inherited)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("control")
        .enable_all()
        .build()
        .context("cannot start the control threads")?;
    let signals = runtime.block_on(async { Signals::listen() }).context("cannot listen to signals")?;
    let ending = Ending::default();

    let access = Arc::new(AccessLog::open(&options::access_log(&config.log.access)).context("log.access.output")?);
    let metrics = Metrics::new(config.status.max_labels);
    metrics.watch_drops("access_log", access.drops());
    let admin_calls = Arc::new(AccessLog::open(&options::admin_log(&config)).context("log.admin.output")?);
    metrics.watch_drops("admin_access_log", admin_calls.drops());
    metrics.watch_drops("error_log", errors.drops());

    let tracing = tracing::start(&config.telemetry.tracing, &metrics, &runtime)?;
    let registry = Registry::new(factories, &config.plugins.ignore).map_err(|e| anyhow!(e))?.measured_by(&metrics);
    let certificates = options::certificate_files(&config)?;
    let secrets = Arc::new(secrets::load_or_make(&config)?);
    let checker = Arc::new(options::checker(&config, registry, Arc::clone(&secrets), &certificates));
    let handle = Arc::new(Handle::default());
    let (store, embedded) =
        runtime.block_on(async { store::open_or_await(&config.store, run.predecessor.is_some()) })?;
    if run.demo {
        runtime.block_on(start_demo(&store, &config, ending.stopped.subscribe()))?;
    }
    let names = Arc::new(Names::default());
    runtime.spawn(resolve(Arc::clone(&names), options::resolver(&config)));
    let (mut control, status, compiler) = control(&config, &checker, &handle, &metrics, &store, &names, &runtime);
    status.tell(&metrics.events);
    let prober = Arc::default();
    control.probe_lapsed(health::probe_lapsed(Arc::clone(&handle), Arc::clone(&names), Arc::clone(&prober)));
    let explainer = Arc::new(Explainer::new(options::explain(&config), compiler));
    let parts = Arc::new(Parts {
        started: Instant::now(),
        draining: Arc::default(),
        overload: Arc::new(options::overload(&config.overload)),
        listening: AtomicBool::new(false),
        sockets,
        ending,
        config_file: run.config_file.clone(),
        reloads: watch::Sender::new(Arc::new(config.clone())),
        certificates: Arc::new(certificates),
        secrets,
        embedded,
        program,
        upgrading: Mutex::new(()),
        heartbeats: Heartbeats::default(),
        demo: run.demo,
        failure: Mutex::new(None),
        config,
        metrics,
        access,
        admin_calls,
        errors,
        checker,
        handle,
        explainer,
        store,
        status,
    });
    signals.start(&parts, &runtime);

    let key_checked = runtime.spawn(secrets::hold_against_store(Arc::clone(&parts)));
    let (ready, is_ready) = std::sync::mpsc::channel();
    runtime.spawn(control.run(
        move || {
            // Nobody waits any more when the start has failed meanwhile.
            ready.send(()).ok();
        },
        parts.ending.retired.subscribe(),
    ));
    // The data plane binds when there is something to serve, or it is known that there is nothing.
    is_ready.recv().context("control ended before it was ready")?;
    if parts.status.connected() {
        // A store that answers says at once; one that is away is not waited for.
        runtime.block_on(key_checked)?.map_err(|mismatch| anyhow!(mismatch))?;
    }
    if run.predecessor.is_some() {
        await_something_to_serve(&parts)?;
    }
    runtime.block_on(names.settled(NAMES_WAIT));
    let admin = runtime.block_on(async { admin::make(&parts, live::start(&parts)) });
    let internal = runtime.block_on(async { admin::internal(&parts, admin.as_ref()) })?;
    health::start(&parts, prober, &runtime);
    runtime.spawn(watchdog::feed(Arc::clone(&parts)));
    memory::watch(&parts, &runtime);
    certificates::start(&parts, &runtime);
    let becoming = runtime.spawn(become_ready(Arc::clone(&parts), admin, run.predecessor.clone()));
    data_plane(&parts, internal, tracing.tracer.clone())?;

    log::info!("stopping");
    parts.ending.stop();
    if let Some(Ok(Some(runtime_dir))) = runtime.block_on(async { becoming.now_or_never() }) {
        runtime_dir.close();
    }
    runtime.block_on(tracing.end());
    runtime.shutdown_timeout(Duration::from_secs(5));
    parts.access.shutdown(Duration::from_secs(2));
    parts.admin_calls.shutdown(Duration::from_secs(2));
    log::info!("stopped");
    let failure = parts.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
    failure.map_or(Ok(()), Err)
}

/// A successor takes connections from one that serves, so it must have something to serve as well.
fn await_something_to_serve(parts: &Parts) -> anyhow::Result<()> {
    let deadline = Instant::now() + LISTENS;
    while !parts.status.ready() {
        if Instant::now() > deadline {
            bail!("no configuration can be served: neither the store nor the copy on disk (snapshot.dir) gives one");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn control(
    config: &Config,
    checker: &Arc<Checker>,
    handle: &Arc<Handle>,
    metrics: &Arc<Metrics>,
    store: &SharedStore,
    names: &Arc<Names>,
    runtime: &Runtime,
) -> (Control, Arc<ControlStatus>, SharedCompiler) {
    let environments = plugin_env::Environments {
        store: Arc::clone(store),
        data_prefix: config.store.data_prefix.clone(),
        secrets: config.plugins.secrets.clone(),
        metrics: Arc::clone(metrics),
        runtime: runtime.handle().clone(),
    };
    let compiler = SharedCompiler::new(Compiler::new(
        CompileOptions {
            checker: Arc::clone(checker),
            services: options::services(config),
            names: Arc::clone(names),
            metrics: Arc::clone(metrics),
            env: Box::new(move |plugin| environments.of(plugin)),
        },
        Arc::clone(handle),
    ));
    let options = ControlOptions {
        data_prefix: config.store.data_prefix.clone(),
        empty_hold: config.store.empty_hold,
        expiry_window: config.store.expiry_window,
        store_wait: config.snapshot.store_wait,
        snapshot_dir: config.snapshot.enabled.then(|| config.snapshot.dir.clone()),
        stale: names.changes(),
    };
    let (control, status) = Control::new(Arc::clone(store), Box::new(compiler.clone()), options);
    (control, status, compiler)
}

/// Waits until the data plane accepts connections, opens admin and status, and tells those who wait.
/// When it cannot the process ends: Pingora itself would live on without its ports (trap T4).
async fn become_ready(
    parts: Arc<Parts>,
    admin: Option<Arc<Admin>>,
    predecessor: Option<Arc<Predecessor>>,
) -> Option<RuntimeDir> {
    let deadline = Instant::now() + LISTENS;
    while !parts.listening.load(Ordering::Relaxed) {
        if Instant::now() > deadline {
            parts.fail(anyhow!("the data plane does not listen"));
            return None;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let runtime_dir = RuntimeDir::open(&parts, predecessor.is_some()).await;
    if let Err(e) = admin::listen(&parts, admin) {
        parts.fail(e);
        return runtime_dir;
    }
    log::info!("ready");
    match predecessor {
        // It tells the service manager, which does not know this process yet.
        Some(predecessor) => predecessor.tell_ready(),
        None => notify::ready("serving"),
    }
    if parts.demo {
        tell_demo(&parts.config);
    }
    runtime_dir
}

/// Runs Pingora on this thread until a signal ends it.
fn data_plane(parts: &Arc<Parts>, internal: Option<Internal>, tracer: Option<Arc<Tracer>>) -> anyhow::Result<()> {
    let config = &parts.config;
    let threads = match config.workers {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        n => n,
    };
    let conf = ServerConf {
        threads,
        listener_tasks_per_fd: threads,
        work_stealing: false,
        upstream_keepalive_pool_size: config.upstream.keepalive_pool_size.div_ceil(threads),
        max_retries: MAX_TRIES,
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let proxy = Proxy::new(
        options::proxy(config, internal, Arc::clone(&parts.certificates), tracer)?,
        Arc::clone(&parts.handle),
        Arc::clone(&parts.metrics),
        Arc::clone(&parts.access),
        Arc::clone(&parts.draining),
        Arc::clone(&parts.overload),
    );
    let handshakes = Handshakes::new(
        Arc::clone(&parts.handle),
        Arc::clone(&parts.certificates),
        config.tls.handshake_timeout,
        Arc::clone(&parts.metrics),
    );
    let edge = Edge::new(
        http_proxy(&server.configuration, proxy),
        options::edge(config, files::raise_limit()),
        handshakes,
        Arc::clone(&parts.overload),
        Arc::clone(&parts.metrics),
        Arc::clone(&parts.access),
    );
    let mut service = Service::new("gateway".into(), edge);
    for (_, address) in config.data_addresses() {
        let read = if config.tls.listen.contains(&address) { TLS_READ_BUFFER } else { READ_BUFFER };
        let buffers = L4BufferSettings::new(read, WRITE_BUFFER);
        service.add_listener(ListenerConfig::tcp(address.to_string()).l4_buffer(buffers));
        log::info!("listening on {address}");
    }
    let sockets = parts.sockets.for_pingora(config.data_addresses().map(|(_, address)| address))?;
    server.add_service(Listening { service, sockets, parts: Arc::clone(parts) });
    let stopped = WhenStopped(parts.ending.stopped.subscribe());
    server.run(RunArgs { shutdown_signal: Box::new(stopped) });
    Ok(())
}

async fn start_demo(store: &SharedStore, config: &Config, mut stopped: watch::Receiver<bool>) -> anyhow::Result<()> {
    store::seed(store, &config.store.data_prefix, demo::demo_data()).await.context("cannot store the demo data")?;
    let addresses = demo::DemoAddresses::default();
    check_demo_ports(&addresses)?;
    tokio::spawn(async move {
        let end = async move { drop(stopped.wait_for(|stop| *stop).await) };
        if let Err(e) = demo::run(addresses, end).await {
            log::error!("the demo upstreams ended: {e}");
        }
    });
    Ok(())
}

fn check_demo_ports(addresses: &demo::DemoAddresses) -> anyhow::Result<()> {
    for address in addresses.http.iter().chain([&addresses.grpc]) {
        TcpListener::bind(address).with_context(|| format!("cannot listen on {address} (demo upstream)"))?;
    }
    Ok(())
}

#[allow(clippy::print_stdout)]
fn tell_demo(config: &Config) {
    println!("{}", demo_hint::try_this(config));
}

/// A panic is a line in the error log, like everything else; what it ends is up to who called.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(|l| format!("{}:{}", l.file(), l.line())).unwrap_or_default();
        log::error!("panic at {place}: {}", panic.payload_as_str().unwrap_or("no message"));
    }));
}

impl Parts {
    /// Ends the process for this reason.
    fn fail(&self, reason: anyhow::Error) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
        self.ending.stop();
    }

    /// Opens the files of all logs anew, after something may have moved them away.
    fn reopen_logs(&self) {
        self.access.reopen();
        self.admin_calls.reopen();
        self.errors.reopen();
    }

    fn is_ready(&self) -> bool {
        self.status.ready() && self.listening.load(Ordering::Relaxed) && !self.draining.load(Ordering::Relaxed)
    }
}

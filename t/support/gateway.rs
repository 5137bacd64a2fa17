//! The gateway's binary, started with a configuration and a data folder of its own.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::http1::{Request, Response};
use super::process::Process;
use super::{Etcd, eventually, eventually_some, free_address, merge};

/// The API token in every test's configuration.
pub const TOKEN: &str = "integration-test-token-5b0ad1c3";

/// The binary under test: another one than cargo's when `GATEWAY_BINARY` names it.
pub fn binary() -> PathBuf {
    std::env::var_os("GATEWAY_BINARY").map_or_else(|| env!("CARGO_BIN_EXE_ws-cloud-gateway").into(), PathBuf::from)
}

/// The address of nodes that are never asked.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9);

/// The name of a service that no other test has.
fn marker() -> String {
    // Two gateways of a test may share a store.
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("applied-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A gateway. Killed when dropped; its output is shown when the test fails.
pub struct Gateway {
    /// The HTTP/1.1 port.
    pub http: SocketAddr,
    /// The HTTP/2 port.
    pub h2c: SocketAddr,
    pub admin: SocketAddr,
    pub status: SocketAddr,
    binary: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    /// Most open files, when that is limited.
    files: Option<u32>,
    process: Option<Process>,
    dir: TempDir,
    services: AtomicUsize,
}

impl Gateway {
    /// A gateway on the embedded store.
    pub async fn start() -> Self {
        Self::with(json!({})).await
    }

    /// A gateway whose configuration differs from the tests' default in these fields.
    pub async fn with(config: Value) -> Self {
        let mut gateway = Self::prepare(config);
        gateway.boot().await;
        gateway
    }

    /// A gateway on etcd.
    pub async fn on(etcd: &Etcd) -> Self {
        Self::on_with(etcd, json!({})).await
    }

    pub async fn on_with(etcd: &Etcd, config: Value) -> Self {
        let mut gateway = Self::prepare_on(etcd, config);
        gateway.boot().await;
        gateway
    }

    pub fn prepare_on(etcd: &Etcd, config: Value) -> Self {
        let mut all = json!({"store": {"kind": "etcd", "etcd": {"endpoints": [etcd.endpoint()]}}});
        merge(&mut all, config);
        Self::prepare(all)
    }

    /// As [`Gateway::with`], not yet started. Health checks are off unless asked for: their
    /// connections would disturb tests that count.
    pub fn prepare(config: Value) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (http, h2c, admin, status) = (free_address(), free_address(), free_address(), free_address());
        let mut all = json!({
            "listeners": {"http": [http], "h2c": [h2c]},
            "admin": {"listen": admin, "tokens": {TOKEN: {"desc": "tests"}}},
            "status": {"listen": status},
            "store": {"embedded": {"path": dir.path().join("data/store.redb")}},
            "snapshot": {"dir": dir.path().join("data/snapshot")},
            "log": {"access": {"output": dir.path().join("access.log")}},
            "healthcheck": null,
            "workers": 2,
        });
        merge(&mut all, config);
        // JSON is YAML too.
        std::fs::write(dir.path().join("gateway.yaml"), serde_json::to_string_pretty(&all).unwrap()).unwrap();
        Self {
            http,
            h2c,
            admin,
            status,
            binary: binary(),
            arguments: Vec::new(),
            environment: Vec::new(),
            files: None,
            process: None,
            dir,
            services: AtomicUsize::new(0),
        }
    }

    /// Runs another binary than the standard one.
    pub fn running(mut self, binary: PathBuf) -> Self {
        self.binary = binary;
        self
    }

    /// Adds a command line argument.
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Lets it have so many open files.
    pub fn with_files(mut self, files: u32) -> Self {
        self.files = Some(files);
        self
    }

    /// Sets an environment variable for it.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Starts it and waits until it is ready.
    pub async fn boot(&mut self) {
        self.spawn();
        self.ready().await;
    }

    /// Starts it.
    pub fn spawn(&mut self) {
        let mut command = match self.files {
            None => Command::new(&self.binary),
            Some(files) => {
                let mut shell = Command::new("sh");
                shell.arg("-c").arg(format!("ulimit -n {files} && exec \"$0\" \"$@\"")).arg(&self.binary);
                shell
            }
        };
        command.arg("run").arg("-c").arg(self.config()).args(&self.arguments).current_dir(self.dir.path());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        self.process = Some(Process::spawn("gateway", self.dir.path(), &mut command));
    }

    /// Waits until it says that it is ready, and listens on every port.
    pub async fn ready(&mut self) {
        let started = std::time::Instant::now();
        loop {
            if let Ok(response) = Request::get("/readyz").try_send(self.status).await
                && response.status == 200
                && self.listens().await
            {
                return;
            }
            let ended = self.process.as_mut().unwrap().has_ended();
            assert!(ended.is_none(), "the gateway has ended: {ended:?}");
            assert!(started.elapsed() < super::PATIENCE, "the gateway does not become ready");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn listens(&self) -> bool {
        for port in [self.http, self.h2c, self.admin] {
            if TcpStream::connect(port).await.is_err() {
                return false;
            }
        }
        true
    }

    pub fn config(&self) -> PathBuf {
        self.dir.path().join("gateway.yaml")
    }

    /// What is in its configuration file.
    pub fn read_config(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.config()).unwrap()).unwrap()
    }

    pub fn write_config(&self, config: &Value) {
        std::fs::write(self.config(), serde_json::to_string_pretty(config).unwrap()).unwrap();
    }

    /// The process that serves now, which an upgrade may have started.
    pub fn pid_in_charge(&self) -> u32 {
        let file = self.dir.path().join("data/run/gateway.pid");
        std::fs::read_to_string(file).unwrap().trim().parse().unwrap()
    }

    /// All processes of this gateway that run: several during an upgrade.
    pub fn pids(&self) -> Vec<u32> {
        let config = self.config().to_string_lossy().into_owned();
        let pids = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
            let entry = entry.ok()?;
            let command = std::fs::read_to_string(entry.path().join("cmdline")).ok()?;
            let is_ours = command.split('\0').any(|argument| argument == config) && command.contains("\0run\0");
            entry.file_name().to_str()?.parse().ok().filter(|_| is_ours)
        });
        pids.collect()
    }

    /// Runs another command of the binary with this gateway's configuration.
    pub async fn command(&self, name: &str) -> std::process::Output {
        let mut command = tokio::process::Command::new(&self.binary);
        let output = command.arg(name).arg("-c").arg(self.config()).current_dir(self.dir.path()).output();
        super::in_time(name, output).await.unwrap()
    }

    /// Sends its process a signal by name.
    pub fn signal(&self, name: &str) {
        self.process.as_ref().expect("the gateway runs").signal(name);
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    #[track_caller]
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("the gateway runs")
    }

    pub fn pid(&self) -> u32 {
        self.process.as_ref().unwrap().pid()
    }

    pub fn rss_kib(&self) -> u64 {
        self.process.as_ref().unwrap().rss_kib()
    }

    pub fn kill(&mut self) {
        self.process().kill();
    }

    /// Ends it with SIGTERM and returns how it ended.
    pub async fn stop(&mut self) -> ExitStatus {
        self.process().signal("TERM");
        self.process().ended().await
    }

    /// Ends it as `kill -9` does, and starts it again on the same data.
    pub async fn restart(&mut self) {
        self.kill();
        self.boot().await;
    }

    /// A GET on the HTTP/1.1 port.
    pub async fn get(&self, target: &str) -> Response {
        Request::get(target).send(self.http).await
    }

    pub async fn send(&self, request: Request) -> Response {
        request.send(self.http).await
    }

    /// Calls the old Admin API with the API token.
    pub async fn call_admin(&self, path: &str, body: &Value) -> Response {
        Request::new("POST", path)
            .header("X-Api-Token", TOKEN)
            .header("Content-Type", "application/json")
            .body(body.to_string())
            .send(self.admin)
            .await
    }

    pub async fn get_admin(&self, path: &str) -> Response {
        Request::get(path).header("X-Api-Token", TOKEN).send(self.admin).await
    }

    /// Creates a route; `more` is laid over its fields.
    pub async fn route(&self, prefix: &str, service: &str, more: Value) {
        let saved = self.call_admin("/admin/routes/save", &route(prefix, service, more)).await;
        assert_eq!((saved.status, saved.text().as_str()), (200, "ok"), "route {prefix}");
    }

    /// Creates or replaces a node.
    pub async fn node(&self, service: &str, address: SocketAddr, weight: u32) {
        let mut node = node(service, address, weight);
        node["key"] = "any: replace".into();
        let saved = self.call_admin("/admin/services/save", &node).await;
        assert_eq!((saved.status, saved.text().as_str()), (200, "ok"), "node {address}");
    }

    /// Creates or replaces the settings of a service.
    pub async fn service(&self, name: &str, settings: Value) {
        let put = self.put("services", name, &settings).await;
        assert!(matches!(put.status, 200 | 201), "service {name}: {}", put.text());
    }

    /// Creates or replaces an object, whatever is there.
    pub async fn put(&self, kind: &str, name: &str, object: &Value) -> Response {
        let path = format!("/admin/v2/{kind}/{name}");
        let is_there = self.get_admin(&path).await.status == 200;
        let condition = if is_there { "If-Match" } else { "If-None-Match" };
        let put = Request::new("PUT", &path).header("X-Api-Token", TOKEN).header(condition, "*");
        put.body(object.to_string()).send(self.admin).await
    }

    /// Creates a route to a service with these nodes, and waits until it is served.
    pub async fn serve(&self, prefix: &str, nodes: &[SocketAddr]) {
        self.serve_with(prefix, nodes, json!({})).await;
    }

    pub async fn serve_with(&self, prefix: &str, nodes: &[SocketAddr], more: Value) {
        let service = format!("service-{}", self.services.fetch_add(1, Ordering::Relaxed));
        for node in nodes {
            self.node(&service, *node, 1).await;
        }
        self.route(prefix, &service, more).await;
        self.applied().await;
    }

    /// Waits until what was written so far is served. Changes go live in the order they were made,
    /// so one more node, once the metrics show it, tells it of all before; no request is made that
    /// an upstream of the test would see.
    pub async fn applied(&self) {
        let marker = marker();
        self.node(&marker, NOWHERE, 1).await;
        self.knows(&marker).await;
    }

    /// As [`Gateway::applied`], for what was written to etcd.
    pub async fn applied_from(&self, etcd: &Etcd) {
        let marker = marker();
        put_node(etcd, &marker, NOWHERE).await;
        self.knows(&marker).await;
    }

    async fn knows(&self, service: &str) {
        let label = format!("service=\"{service}\"");
        eventually("the gateway applies what was written", || async { self.metrics().await.contains(&label) }).await;
    }

    /// Everything it has written to stdout and stderr.
    pub fn output(&self) -> String {
        self.process.as_ref().map(Process::output).unwrap_or_default()
    }

    pub fn access_log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("access.log")).unwrap_or_default()
    }

    /// Waits for the access log's line of a request, found by a text in it.
    pub async fn log_line(&self, text: &str) -> String {
        eventually_some(&format!("the access log shows {text}"), || async {
            let log = self.access_log();
            let complete = &log[..log.rfind('\n').map_or(0, |end| end + 1)];
            complete.lines().find(|line| line.contains(text)).map(str::to_owned)
        })
        .await
    }

    pub async fn metrics(&self) -> String {
        Request::get("/metrics").send(self.status).await.expect(200).text()
    }

    /// The sum of a metric's values over all labels that contain `labels`.
    pub async fn metric(&self, name: &str, labels: &str) -> f64 {
        sum(&self.metrics().await, name, labels)
    }
}

impl Drop for Gateway {
    /// Ends the processes that upgrades have started; nobody else knows them.
    fn drop(&mut self) {
        let own = self.process.as_ref().map(Process::pid);
        for pid in self.pids().into_iter().filter(|pid| Some(*pid) != own) {
            drop(Command::new("kill").args(["-9", &pid.to_string()]).status());
        }
    }
}

/// The sum of the samples of a metric whose labels contain a text.
pub fn sum(metrics: &str, name: &str, labels: &str) -> f64 {
    metrics
        .lines()
        .filter(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])) && line.contains(labels)
        })
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

/// A route as the old panel sends a new one.
pub fn route(prefix: &str, service: &str, more: Value) -> Value {
    let mut route = json!({
        "key": "", "prefix": prefix, "hosts": [], "service_name": service, "protocol": "http", "status": 1,
        "plugins": ["discovery"], "props": {}, "remark": "",
    });
    merge(&mut route, more);
    route
}

/// A node as the old panel sends a new one.
pub fn node(service: &str, address: SocketAddr, weight: u32) -> Value {
    json!({"key": "", "service_name": service, "upstream": address.to_string(), "weight": weight, "status": 1})
}

/// Lower-case hexadecimal MD5.
pub fn md5(text: &str) -> String {
    use md5::{Digest, Md5};
    hex::encode(Md5::digest(text.as_bytes()))
}

/// The key of a route below the data prefix.
pub fn route_key(prefix: &str) -> String {
    format!("routes/{}", md5(prefix))
}

/// The key of a node below the data prefix.
pub fn node_key(service: &str, address: SocketAddr) -> String {
    format!("discovery/{service}.{}", md5(&format!("{service}{address}")))
}

/// Writes a route into etcd as the old gateway did.
pub async fn put_route(etcd: &Etcd, route: &Value) {
    let mut route = route.clone();
    let key = route_key(route["prefix"].as_str().unwrap());
    route["key"] = key["routes/".len()..].into();
    etcd.put(&key, &route).await;
}

/// Writes a service into etcd, with these nodes and a route to it.
pub async fn put_service(etcd: &Etcd, prefix: &str, service: &str, settings: &Value, nodes: &[SocketAddr]) {
    etcd.put(&format!("gw/services/{service}"), settings).await;
    for node in nodes {
        put_node(etcd, service, *node).await;
    }
    put_route(etcd, &route(prefix, service, json!({}))).await;
}

/// Writes a node into etcd as the old gateway did.
pub async fn put_node(etcd: &Etcd, service: &str, address: SocketAddr) {
    etcd.put(&node_key(service, address), &node(service, address, 1)).await;
}

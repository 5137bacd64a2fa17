//! A real etcd for one test: free ports, a data directory of its own, killed when dropped.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::store::etcd::EtcdOptions;

const PROGRAM: &str = "/usr/bin/etcd";

pub(in crate::store) struct EtcdServer {
    dir: TempDir,
    port: u16,
    peer_port: u16,
    scheme: &'static str,
    extra: Vec<String>,
    cluster: String,
    process: Option<Child>,
}

impl EtcdServer {
    pub(in crate::store) fn start() -> Self {
        Self::start_with(&[])
    }

    pub(in crate::store) fn start_with(extra: &[String]) -> Self {
        assert!(
            Path::new(PROGRAM).exists(),
            "{PROGRAM} is missing, and the store is only tested against the real one: apt-get install etcd-server"
        );
        let scheme = if extra.iter().any(|arg| arg.starts_with("--cert-file")) { "https" } else { "http" };
        let mut server = Self {
            dir: tempfile::tempdir().unwrap(),
            port: 0,
            peer_port: 0,
            scheme,
            extra: extra.to_vec(),
            cluster: String::new(),
            process: None,
        };
        // Between choosing a port and etcd taking it somebody else may.
        for _ in 0..5 {
            server.port = free_port();
            server.peer_port = free_port();
            server.cluster = format!("{}={}", server.name(), server.peer_url());
            if server.try_start() {
                return server;
            }
            server.wipe();
        }
        panic!("etcd does not start: {}", server.log());
    }

    /// The members of one cluster.
    pub(in crate::store) fn start_cluster(size: usize) -> Vec<Self> {
        for _ in 0..5 {
            let member = |_| Self {
                dir: tempfile::tempdir().unwrap(),
                port: free_port(),
                peer_port: free_port(),
                scheme: "http",
                extra: Vec::new(),
                cluster: String::new(),
                process: None,
            };
            let mut members: Vec<_> = (0..size).map(member).collect();
            let urls: Vec<_> = members.iter().map(|m| format!("{}={}", m.name(), m.peer_url())).collect();
            for member in &mut members {
                member.cluster = urls.join(",");
            }
            // A member listens only once there is a majority, so all are started first.
            members.iter_mut().for_each(Self::spawn);
            if members.iter_mut().all(Self::listens) {
                return members;
            }
        }
        panic!("the cluster does not start");
    }

    /// Starts it again after `kill`.
    pub(in crate::store) fn restart(&mut self) {
        for _ in 0..10 {
            if self.try_start() {
                return;
            }
        }
        panic!("etcd does not start again: {}", self.log());
    }

    /// kill -9.
    pub(in crate::store) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    pub(in crate::store) fn freeze(&self) {
        self.signal("-STOP");
    }

    pub(in crate::store) fn thaw(&self) {
        self.signal("-CONT");
    }

    pub(in crate::store) fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Deletes its data.
    pub(in crate::store) fn wipe(&mut self) {
        self.kill();
        if self.data_dir().exists() {
            std::fs::remove_dir_all(self.data_dir()).unwrap();
        }
    }

    pub(in crate::store) fn port(&self) -> u16 {
        self.port
    }

    pub(in crate::store) fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.port)
    }

    pub(in crate::store) fn options(&self) -> EtcdOptions {
        EtcdOptions { endpoints: vec![self.url()], ..EtcdOptions::default() }
    }

    fn try_start(&mut self) -> bool {
        self.spawn();
        self.listens()
    }

    fn spawn(&mut self) {
        let log = std::fs::File::create(self.dir.path().join("log")).unwrap();
        let (client, peer) = (self.url(), self.peer_url());
        let process = Command::new(PROGRAM)
            .arg("--data-dir")
            .arg(self.data_dir())
            .args(["--name", &self.name(), "--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &self.cluster, "--logger=zap", "--log-level=warn"])
            .args(&self.extra)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.process = Some(process);
    }

    fn listens(&mut self) -> bool {
        let process = self.process.as_mut().expect("a started etcd");
        let give_up = Instant::now() + Duration::from_secs(30);
        while Instant::now() < give_up {
            if process.try_wait().unwrap().is_some() {
                return false;
            }
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }

    fn name(&self) -> String {
        format!("member{}", self.peer_port)
    }

    fn peer_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.peer_port)
    }

    fn signal(&self, signal: &str) {
        let pid = self.process.as_ref().expect("a running etcd").id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for EtcdServer {
    fn drop(&mut self) {
        self.kill();
    }
}

pub(in crate::store) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

//! The real etcd server, in a process of its own.

use std::net::SocketAddr;
use std::process::Command;

use etcd_client::{
    AlarmAction, AlarmOptions, AlarmType, Client, CompactionOptions, DeleteOptions, PutOptions, Txn, TxnOp,
};
use serde_json::Value;
use tempfile::TempDir;

use super::process::Process;
use super::{eventually, free_address};

/// The data prefix the tests use: the old gateway's.
pub const PREFIX: &str = "/my/cloud/";

/// An etcd member with a cluster of its own.
pub struct Etcd {
    pub address: SocketAddr,
    peer: SocketAddr,
    dir: TempDir,
    arguments: &'static [&'static str],
    process: Process,
}

impl Etcd {
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    /// One with more arguments.
    pub async fn with(arguments: &'static [&'static str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (address, peer) = (free_address(), free_address());
        let process = spawn(&dir, address, peer, arguments);
        let etcd = Self { address, peer, dir, arguments, process };
        etcd.answering().await;
        etcd
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A client. Each call has its own, since a killed server leaves nothing to rely on.
    pub async fn client(&self) -> Client {
        Client::connect([self.endpoint()], None).await.unwrap()
    }

    async fn answering(&self) {
        eventually("etcd answers", || async {
            let asked = async { self.client().await.get("x", None).await.is_ok() };
            tokio::time::timeout(std::time::Duration::from_secs(2), asked).await.unwrap_or(false)
        })
        .await;
    }

    /// Writes an object under a key below the prefix.
    pub async fn put(&self, key: &str, value: &Value) {
        self.put_text(key, &value.to_string()).await;
    }

    /// Writes any bytes under a key below the prefix, and returns the revision.
    pub async fn put_text(&self, key: &str, value: &str) -> i64 {
        let response = self.client().await.put(format!("{PREFIX}{key}"), value, None).await.unwrap();
        response.header().unwrap().revision()
    }

    pub async fn put_bytes(&self, key: &str, value: Vec<u8>) {
        self.client().await.put(format!("{PREFIX}{key}"), value, None).await.unwrap();
    }

    /// Writes an object that ends with a lease; returns the lease.
    pub async fn put_leased(&self, key: &str, value: &Value, ttl: i64) -> i64 {
        let mut client = self.client().await;
        let lease = client.lease_grant(ttl, None).await.unwrap().id();
        let options = PutOptions::new().with_lease(lease);
        client.put(format!("{PREFIX}{key}"), value.to_string(), Some(options)).await.unwrap();
        lease
    }

    pub async fn revoke(&self, lease: i64) {
        self.client().await.lease_revoke(lease).await.unwrap();
    }

    pub async fn get(&self, key: &str) -> Option<String> {
        let response = self.client().await.get(format!("{PREFIX}{key}"), None).await.unwrap();
        response.kvs().first().map(|kv| kv.value_str().unwrap().to_owned())
    }

    pub async fn delete(&self, key: &str) {
        self.client().await.delete(format!("{PREFIX}{key}"), None).await.unwrap();
    }

    /// Deletes every key.
    pub async fn wipe(&self) {
        self.wipe_family("").await;
    }

    /// Deletes every key of a family, at once.
    pub async fn wipe_family(&self, family: &str) {
        let options = DeleteOptions::new().with_prefix();
        self.client().await.delete(format!("{PREFIX}{family}"), Some(options)).await.unwrap();
    }

    /// Forgets all history up to now.
    pub async fn compact(&self) {
        let mut client = self.client().await;
        let now = client.get("x", None).await.unwrap().header().unwrap().revision();
        client.compact(now, Some(CompactionOptions::new().with_physical())).await.unwrap();
    }

    /// Writes many objects at once, at most 128.
    pub async fn put_all(&self, objects: &[(String, Value)]) {
        let mut client = self.client().await;
        let puts = objects.iter().map(|(key, value)| TxnOp::put(format!("{PREFIX}{key}"), value.to_string(), None));
        client.txn(Txn::new().and_then(puts.collect::<Vec<_>>())).await.unwrap();
    }

    /// Writes beside everything else until etcd refuses to: NOSPACE.
    pub async fn fill(&self) {
        let mut client = self.client().await;
        for i in 0..10_000 {
            if client.put(format!("/filler/{i}"), vec![b'x'; 1 << 20], None).await.is_err() {
                return;
            }
        }
        panic!("etcd cannot be filled");
    }

    /// Makes room again, as an operator would.
    pub async fn make_room(&self) {
        let mut client = self.client().await;
        let options = DeleteOptions::new().with_prefix();
        client.delete("/filler/", Some(options)).await.unwrap();
        self.compact().await;
        client.defragment().await.unwrap();
        let alarms = client.alarm(AlarmAction::Get, AlarmType::Nospace, None).await.unwrap();
        for alarm in alarms.alarms() {
            let mut options = AlarmOptions::new();
            options.with_member(alarm.member_id());
            client.alarm(AlarmAction::Deactivate, AlarmType::Nospace, Some(options)).await.unwrap();
        }
    }

    pub fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts again after [`Etcd::kill`], on the same data.
    pub async fn restart(&mut self) {
        self.process = spawn(&self.dir, self.address, self.peer, self.arguments);
        self.answering().await;
    }

    /// Starts again after [`Etcd::kill`], with nothing in it, as after a lost disk.
    pub async fn restart_empty(&mut self) {
        std::fs::remove_dir_all(self.dir.path().join("data")).unwrap();
        self.restart().await;
    }
}

fn spawn(dir: &TempDir, address: SocketAddr, peer: SocketAddr, arguments: &[&str]) -> Process {
    let (client, peer) = (format!("http://{address}"), format!("http://{peer}"));
    Process::spawn(
        "etcd",
        dir.path(),
        Command::new("etcd")
            .arg("--data-dir")
            .arg(dir.path().join("data"))
            .args(["--name", "t", "--log-level", "warn"])
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("t={peer}")])
            .args(arguments),
    )
}

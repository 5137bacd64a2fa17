//! The example services of `etc/examples/register/`, run as they are: each registers itself
//! straight in a real etcd, comes back after etcd lost its data, and leaves when it stops.
//!
//! The one in Go needs etcd's client from the network; it is tried by hand.

use std::path::PathBuf;
use std::process::Command;

use serde_json::json;

use crate::support::gateway::{node_key, put_route, route};
use crate::support::process::Process;
use crate::support::{Etcd, Gateway, eventually, free_address};

fn example(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../etc/examples/register").join(file)
}

async fn serves(gateway: &Gateway, status: u16) {
    eventually(&format!("requests get {status}"), || async { gateway.get("/d").await.status == status }).await;
}

async fn registers_itself(mut command: Command, says: &str) {
    let mut etcd = Etcd::start().await;
    let address = free_address();
    let demo = route("/d", "demo1", json!({}));
    put_route(&etcd, &demo).await;
    let gateway = Gateway::on(&etcd).await;
    // The first endpoint is not there.
    command
        .env("ETCD", format!("http://127.0.0.1:9,{}", etcd.endpoint()))
        .env("UPSTREAM", address.to_string())
        .env("TTL", "3");
    let mut service = Process::spawn("service", gateway.dir(), &mut command);
    serves(&gateway, 200).await;
    assert_eq!(gateway.get("/d").await.text(), says);

    let key = node_key("demo1", address);
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    assert!(etcd.get(&key).await.is_some(), "it beats: {}", service.output());
    etcd.kill();
    etcd.restart_empty().await;
    eventually("it registers again", || async { etcd.get(&key).await.is_some() }).await;
    put_route(&etcd, &demo).await;
    serves(&gateway, 200).await;

    service.signal("TERM");
    service.ended().await;
    assert_eq!(etcd.get(&key).await, None, "{}", service.output());
    serves(&gateway, 502).await;
}

/// Whether a program is installed. Where it is not, its example is not run.
fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        eprintln!("{program} is not installed; its example was not run");
    }
    found
}

#[tokio::test]
async fn a_service_in_python_registers_itself() {
    let mut command = Command::new("python3");
    command.arg("-u").arg(example("python/register.py"));
    registers_itself(command, "hello from python\n").await;
}

#[tokio::test]
async fn a_service_in_node_registers_itself() {
    if has("node") {
        let mut command = Command::new("node");
        command.arg(example("node/register.mjs"));
        registers_itself(command, "hello from node\n").await;
    }
}

#[tokio::test]
async fn a_service_in_java_registers_itself() {
    if has("javac") {
        let mut command = Command::new("java");
        command.arg(example("java/Register.java"));
        registers_itself(command, "hello from java\n").await;
    }
}

//! `register`: a node that is there as long as a process or the command it runs.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::json;

use crate::registration::{REGISTRAR, with_registrar};
use crate::support::gateway::{binary, node_key, put_node, put_route, route};
use crate::support::process::Process;
use crate::support::{Etcd, Gateway, Upstream, eventually, free_address};

/// `register` for a service `demo1`, straight in etcd.
fn in_etcd(etcd: &Etcd, upstream: &str) -> Command {
    let mut command = Command::new(binary());
    command.args(["register", "--service", "demo1", "--upstream", upstream, "--etcd", &etcd.endpoint()]);
    command
}

/// The same with a gateway.
fn with_gateway(gateway: &Gateway, upstream: &str) -> Command {
    let url = format!("http://{}", gateway.admin);
    let mut command = Command::new(binary());
    command
        .args(["register", "--service", "demo1", "--upstream", upstream, "--gateway", &url])
        .env("GATEWAY_TOKEN", REGISTRAR);
    command
}

fn start(dir: &Path, command: &mut Command) -> Process {
    Process::spawn("register", dir, command)
}

fn ended(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

async fn serves(gateway: &Gateway, status: u16) {
    eventually(&format!("requests get {status}"), || async { gateway.get("/d").await.status == status }).await;
}

/// A gateway on etcd with a route to `demo1`.
async fn gateway_on_etcd() -> (Etcd, Gateway) {
    let etcd = Etcd::start().await;
    put_route(&etcd, &route("/d", "demo1", json!({}))).await;
    let gateway = Gateway::on(&etcd).await;
    serves(&gateway, 502).await;
    (etcd, gateway)
}

#[tokio::test]
async fn sigterm_takes_the_node_away() {
    let (etcd, gateway) = gateway_on_etcd().await;
    let upstream = Upstream::saying("served").await;
    let mut register = start(gateway.dir(), in_etcd(&etcd, &upstream.address.to_string()).args(["--ttl", "1h"]));
    serves(&gateway, 200).await;
    let stored: serde_json::Value =
        serde_json::from_str(&etcd.get(&node_key("demo1", upstream.address)).await.unwrap()).unwrap();
    for field in ["key", "service_name", "upstream", "weight", "status", "time"] {
        assert!(stored.get(field).is_some(), "{field} in {stored}");
    }
    register.signal("TERM");
    assert!(register.ended().await.success(), "{}", register.output());
    assert_eq!(etcd.get(&node_key("demo1", upstream.address)).await, None);
    serves(&gateway, 502).await;
}

#[tokio::test]
async fn the_configuration_file_says_which_etcd() {
    let (etcd, gateway) = gateway_on_etcd().await;
    let upstream = Upstream::saying("served").await;
    let mut command = Command::new(binary());
    command.args(["register", "--service", "demo1", "--upstream", &upstream.address.to_string(), "-c"]);
    let mut register = start(gateway.dir(), command.arg(gateway.config()));
    serves(&gateway, 200).await;
    register.signal("INT");
    assert!(register.ended().await.success());
    assert_eq!(etcd.get(&node_key("demo1", upstream.address)).await, None);
}

#[tokio::test]
async fn a_gateway_with_an_embedded_store_takes_registrations_over_http() {
    let gateway = Gateway::with(with_registrar()).await;
    gateway.route("/d", "demo1", json!({})).await;
    serves(&gateway, 502).await;
    let upstream = Upstream::saying("served").await;
    let upstream = upstream.address.to_string();
    let mut register = start(gateway.dir(), with_gateway(&gateway, &upstream).args(["--ttl", "1h", "--weight", "7"]));
    serves(&gateway, 200).await;
    assert_eq!(gateway.get_admin("/admin/services/list").await.json()[0]["weight"], 7);
    register.signal("TERM");
    assert!(register.ended().await.success(), "{}", register.output());
    serves(&gateway, 502).await;

    // The file of such a gateway does not do: the store belongs to its process.
    let output = Command::new(binary())
        .args(["register", "--service", "demo1", "--upstream", &upstream, "-c"])
        .arg(gateway.config())
        .output();
    let (code, err) = ended(&output.unwrap());
    assert_eq!(code, Some(1));
    assert!(err.contains("embedded store") && err.contains(&format!("--gateway http://{}", gateway.admin)), "{err}");
}

#[tokio::test]
async fn a_killed_register_leaves_a_node_for_its_time_to_live_only() {
    let (etcd, gateway) = gateway_on_etcd().await;
    let upstream = Upstream::saying("served").await;
    let mut register = start(gateway.dir(), in_etcd(&etcd, &upstream.address.to_string()).args(["--ttl", "4s"]));
    serves(&gateway, 200).await;
    // It beats: longer than the time to live.
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(gateway.get("/d").await.status, 200);
    register.kill();
    serves(&gateway, 502).await;
}

#[tokio::test]
async fn a_node_outlives_restarts_of_etcd_even_with_its_data_lost() {
    let (mut etcd, gateway) = gateway_on_etcd().await;
    let upstream = Upstream::saying("served").await;
    let _register = start(gateway.dir(), in_etcd(&etcd, &upstream.address.to_string()).args(["--ttl", "3s"]));
    serves(&gateway, 200).await;
    let key = node_key("demo1", upstream.address);
    etcd.kill();
    etcd.restart().await;
    // Longer than the time to live: only heartbeats can have kept it.
    tokio::time::sleep(Duration::from_secs(5)).await;
    eventually("the node is there after a restart", || async { etcd.get(&key).await.is_some() }).await;
    etcd.kill();
    etcd.restart_empty().await;
    eventually("the node is there after a loss of data", || async { etcd.get(&key).await.is_some() }).await;
    // As after an operator's `etcdctl del`.
    etcd.delete(&key).await;
    eventually("the node is there after its deletion", || async { etcd.get(&key).await.is_some() }).await;
}

#[tokio::test]
async fn an_etcd_that_is_away_at_the_start_is_waited_for() {
    let (mut etcd, gateway) = gateway_on_etcd().await;
    let upstream = Upstream::saying("served").await;
    etcd.kill();
    let register = start(gateway.dir(), &mut in_etcd(&etcd, &upstream.address.to_string()));
    eventually("it says why it waits", || async { register.output().contains("trying again") }).await;
    etcd.restart().await;
    let key = node_key("demo1", upstream.address);
    eventually("the node is there", || async { etcd.get(&key).await.is_some() }).await;
}

#[tokio::test]
async fn the_command_has_a_node_as_long_as_it_runs_and_passes_its_exit_code_on() {
    let (etcd, gateway) = gateway_on_etcd().await;
    let upstream = Upstream::saying("served").await;
    let wait = gateway.dir().join("end");
    let script = format!("while [ ! -e {} ]; do sleep 0.05; done; exit 42", wait.display());
    let mut command = in_etcd(&etcd, &upstream.address.to_string());
    let mut register = start(gateway.dir(), command.args(["--ttl", "1h", "--", "sh", "-c", &script]));
    serves(&gateway, 200).await;
    std::fs::write(&wait, "").unwrap();
    assert_eq!(register.ended().await.code(), Some(42), "{}", register.output());
    assert_eq!(etcd.get(&node_key("demo1", upstream.address)).await, None, "the node went first");
}

#[tokio::test]
async fn signals_reach_the_command_after_its_node_is_gone() {
    let (etcd, gateway) = gateway_on_etcd().await;
    let upstream = Upstream::saying("served").await;
    let (hup, term) = (gateway.dir().join("hup"), gateway.dir().join("term"));
    let script = format!(
        "trap 'echo > {}' HUP; trap 'echo > {}; exit 7' TERM; while :; do sleep 0.05; done",
        hup.display(),
        term.display()
    );
    let mut command = in_etcd(&etcd, &upstream.address.to_string());
    let mut register = start(gateway.dir(), command.args(["--drain", "1h", "--", "sh", "-c", &script]));
    serves(&gateway, 200).await;
    register.signal("HUP");
    eventually("the command got SIGHUP", || async { hup.exists() }).await;
    assert_eq!(gateway.get("/d").await.status, 200);

    register.signal("TERM");
    serves(&gateway, 502).await;
    assert!(!term.exists(), "it drains first");
    register.signal("TERM");
    assert_eq!(register.ended().await.code(), Some(7), "{}", register.output());
    assert!(term.exists());
}

#[tokio::test]
async fn a_command_that_a_signal_ended_is_told_as_a_shell_does() {
    let etcd = Etcd::start().await;
    let output = in_etcd(&etcd, "127.0.0.1:9").args(["--", "sh", "-c", "kill -9 $$"]).output().unwrap();
    assert_eq!(output.status.code(), Some(137));
    let output = in_etcd(&etcd, "127.0.0.1:9").args(["--", "no-such-command"]).output().unwrap();
    let (code, err) = ended(&output);
    assert!(code == Some(1) && err.contains("no-such-command"), "{code:?} {err}");
}

#[tokio::test]
async fn a_node_is_registered_once_its_service_accepts_connections() {
    let (etcd, gateway) = gateway_on_etcd().await;
    let address = free_address();
    let key = node_key("demo1", address);
    let register = start(gateway.dir(), &mut in_etcd(&etcd, &address.to_string()));
    eventually("it waits", || async { register.output().contains("waiting until") }).await;
    assert_eq!(etcd.get(&key).await, None);
    let _listener = tokio::net::TcpListener::bind(address).await.unwrap();
    eventually("the node is there", || async { etcd.get(&key).await.is_some() }).await;

    let other = free_address();
    let _register = Process::spawn("unwaited", gateway.dir(), in_etcd(&etcd, &other.to_string()).arg("--no-wait"));
    eventually("it does not wait", || async { etcd.get(&node_key("demo1", other)).await.is_some() }).await;
}

#[tokio::test]
async fn an_operators_node_is_not_replaced_unless_asked() {
    let etcd = Etcd::start().await;
    let upstream = Upstream::saying("served").await;
    put_node(&etcd, "demo1", upstream.address).await;
    let (key, address) = (node_key("demo1", upstream.address), upstream.address.to_string());
    let before = etcd.get(&key).await;
    let ran = tempfile::tempdir().unwrap();
    let (code, err) = ended(&in_etcd(&etcd, &address).args(["--", "sleep", "3600"]).output().unwrap());
    assert_eq!(code, Some(1));
    assert!(err.contains("permanent node that an operator set"), "{err}");
    assert_eq!(etcd.get(&key).await, before);

    let mut register = start(ran.path(), in_etcd(&etcd, &address).arg("--replace"));
    eventually("it is replaced", || async { etcd.get(&key).await != before }).await;
    register.signal("TERM");
    assert!(register.ended().await.success());
    assert_eq!(etcd.get(&key).await, None);
}

#[tokio::test]
async fn what_cannot_be_registered_is_said_at_once() {
    let gateway = Gateway::with(with_registrar()).await;
    let url = format!("http://{}", gateway.admin);
    let call = |arguments: &[&str], token: Option<&str>| {
        let mut command = Command::new(binary());
        command.arg("register").args(arguments).env_remove("GATEWAY_TOKEN");
        if let Some(token) = token {
            command.env("GATEWAY_TOKEN", token);
        }
        ended(&command.output().unwrap())
    };
    let node = ["--service", "demo1", "--upstream", "127.0.0.1:9", "--no-wait"];
    let with = |more: &[&'static str]| [&node[..], more].concat();
    for (arguments, token, code, reason) in [
        (with(&[]), None, 2, "--gateway"),
        (with(&["--etcd", "http://127.0.0.1:1", "--gateway", "http://127.0.0.1:1"]), None, 2, "cannot be used with"),
        (with(&["--gateway", "http://127.0.0.1:1"]), None, 1, "GATEWAY_TOKEN"),
        (with(&["--gateway", "127.0.0.1:1"]), Some("t"), 1, "begin with http://"),
        (with(&["--etcd", "http://127.0.0.1:1", "--data-prefix", "x"]), None, 1, "begin and end with `/`"),
        (with(&["--etcd", "http://127.0.0.1:1", "--ttl", "2h"]), None, 1, "from 1s to 1h"),
        (with(&["--etcd", "http://127.0.0.1:1", "--ttl", "soon"]), None, 2, "--ttl"),
        (
            vec!["--service", "a/b", "--upstream", "127.0.0.1:9", "--etcd", "http://127.0.0.1:1"],
            None,
            1,
            "service_name",
        ),
        (vec!["--service", "a", "--upstream", "0.0.0.0:9", "--etcd", "http://127.0.0.1:1"], None, 1, "upstream"),
    ] {
        let (found, err) = call(&arguments, token);
        assert!(found == Some(code) && err.contains(reason), "{arguments:?}: {found:?} {err}");
    }
    for (service, upstream, token, reason) in [
        ("demo1", "127.0.0.1:9", "wrong", "answered 401"),
        ("other", "127.0.0.1:9", REGISTRAR, "may not register nodes of \"other\""),
        ("demo1", &gateway.admin.to_string(), REGISTRAR, "upstream: "),
    ] {
        let arguments = ["--service", service, "--upstream", upstream, "--no-wait", "--gateway", &url];
        let (code, err) = call(&arguments, Some(token));
        assert!(code == Some(1) && err.contains(reason), "{arguments:?}: {code:?} {err}");
        assert!(!err.contains(token), "the token is not shown: {err}");
    }
    // Nor on the command line of the process: it comes from the environment or a file.
    let file = gateway.dir().join("token");
    std::fs::write(&file, format!("{REGISTRAR}\n")).unwrap();
    let mut command = Command::new(binary());
    command.arg("register").args(node).args(["--gateway", &url, "--token-file"]).arg(&file);
    let register = start(gateway.dir(), command.env_remove("GATEWAY_TOKEN"));
    eventually("the file's token is taken", || async { register.output().contains("is registered") }).await;
    assert_eq!(gateway.get_admin("/admin/services/list").await.json()[0]["upstream"], "127.0.0.1:9");
}

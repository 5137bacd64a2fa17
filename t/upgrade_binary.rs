//! `ws-cloud-gateway upgrade`: what the new process takes over, and what is said when it does not.
//! That no request fails meanwhile is shown in `faults/upgrade.rs`.

use std::process::Output;

use serde_json::{Value, json};

use crate::support::gateway::node;
use crate::support::tls::TlsGateway;
use crate::support::{Etcd, Gateway, Request, Upstream, eventually};

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

async fn upgraded(gateway: &Gateway) -> u32 {
    let before = gateway.pid_in_charge();
    let output = gateway.command("upgrade").await;
    assert!(output.status.success(), "{}", text(&output));
    let after = gateway.pid_in_charge();
    assert!(text(&output).contains(&format!("process {before} hands over to process {after}")), "{}", text(&output));
    assert_ne!(before, after);
    after
}

async fn ends_alone(gateway: &Gateway, pid: u32) {
    eventually("the old process ends", || async { gateway.pids() == [pid] }).await;
}

#[tokio::test]
async fn the_new_process_has_all_ports_and_the_embedded_store() {
    let mut gateway = Gateway::start().await;
    let upstream = Upstream::saying("x").await;
    gateway.serve("/before/*", &[upstream.address]).await;
    let successor = upgraded(&gateway).await;
    assert_eq!(Request::get("/readyz").send(gateway.status).await.status, 200);
    gateway.get("/before/a").await.expect(200);
    // While the store changes hands, callers are asked to come back.
    eventually("the admin can write again", || async {
        let response = gateway.call_admin("/admin/services/save", &node("n", upstream.address, 1)).await;
        assert!(response.status == 200 || response.header("retry-after") == Some("1"), "{response:?}");
        response.status == 200
    })
    .await;
    gateway.serve("/after/*", &[upstream.address]).await;
    gateway.get("/after/a").await.expect(200);
    assert_eq!(gateway.process().ended().await.code(), Some(0), "the old one ends by itself");
    ends_alone(&gateway, successor).await;
    gateway.get("/before/a").await.expect(200);
}

#[tokio::test]
async fn tls_ports_are_taken_over_too() {
    let gateway = TlsGateway::start(&["a.example"]).await;
    let upstream = Upstream::saying("x").await;
    gateway.serve("/*", &[upstream.address]).await;
    let client = gateway.client("a.example");
    assert_eq!(client.get("/one").await.unwrap().status, 200);
    let successor = upgraded(&gateway).await;
    ends_alone(&gateway, successor).await;
    assert_eq!(client.get("/two").await.unwrap().status, 200);
    let http2 = client.alpn(&["h2"]).get("/three").await.unwrap();
    assert_eq!((http2.status, http2.protocol.as_str()), (200, "h2"));
}

#[tokio::test]
async fn on_etcd_the_new_process_follows_changes() {
    let etcd = Etcd::start().await;
    let gateway = Gateway::on(&etcd).await;
    let upstream = Upstream::saying("x").await;
    gateway.serve("/before/*", &[upstream.address]).await;
    upgraded(&gateway).await;
    gateway.get("/before/a").await.expect(200);
    gateway.serve("/after/*", &[upstream.address]).await;
    gateway.get("/after/a").await.expect(200);
}

#[tokio::test]
async fn an_empty_gateway_can_be_upgraded_too() {
    let gateway = Gateway::start().await;
    upgraded(&gateway).await;
    assert_eq!(Request::get("/readyz").send(gateway.status).await.status, 200);
}

#[tokio::test]
async fn an_upgrade_takes_a_new_configuration_with_it() {
    let gateway = Gateway::start().await;
    let mut config = gateway.read_config();
    let more = crate::support::free_address();
    config["listeners"]["http"].as_array_mut().unwrap().push(json!(more));
    gateway.write_config(&config);
    let reloaded = gateway.command("reload").await;
    assert!(text(&reloaded).contains("needs a restart or `upgrade`: listeners.http"), "{}", text(&reloaded));
    upgraded(&gateway).await;
    assert_eq!(Request::get("/nothing").send(more).await.status, 404);
    assert_eq!(gateway.get("/nothing").await.status, 404);
}

/// The reason, which is also in the log of the process that goes on.
async fn refused(gateway: &Gateway, reason: &str) {
    let before = gateway.pid_in_charge();
    let output = gateway.command("upgrade").await;
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains(reason), "{}", text(&output));
    assert_eq!(gateway.pid_in_charge(), before);
    assert_eq!(gateway.pids(), [before]);
    assert_eq!(gateway.get("/nothing").await.status, 404, "it still serves");
    eventually("the log says so", || async { gateway.output().contains("not upgraded, this process goes on") }).await;
}

#[tokio::test]
async fn a_configuration_that_cannot_start_leaves_the_old_process_serving() {
    let gateway = Gateway::start().await;
    let good = gateway.read_config();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let change = |field: &str, value: Value| {
        let mut config = good.clone();
        config[field] = value;
        config
    };
    let address = taken.local_addr().unwrap();
    gateway.write_config(&change("status", json!({"listen": address})));
    refused(&gateway, &format!("the new process failed: cannot listen on {address} (status.listen)")).await;
    gateway.write_config(&change("store", json!({"embedded": {"path": "/proc/none/store.redb"}})));
    refused(&gateway, "/proc/none").await;
    gateway.write_config(&good);
    upgraded(&gateway).await;
}

#[tokio::test]
async fn a_file_that_is_wrong_is_refused_by_the_command_itself() {
    let gateway = Gateway::start().await;
    std::fs::write(gateway.config(), "log: {error: {level: loud}}").unwrap();
    let output = gateway.command("upgrade").await;
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("loud"), "{}", text(&output));
    assert_eq!(gateway.get("/nothing").await.status, 404);
}

#[tokio::test]
async fn without_a_copy_on_disk_the_embedded_store_cannot_change_hands() {
    let gateway = Gateway::with(json!({"snapshot": {"enabled": false}})).await;
    refused(&gateway, "snapshot.enabled").await;
}

#[tokio::test]
async fn sigusr2_upgrades_as_well() {
    let gateway = Gateway::start().await;
    let before = gateway.pid_in_charge();
    gateway.signal("USR2");
    eventually("another process is in charge", || async { gateway.pid_in_charge() != before }).await;
    assert_eq!(gateway.get("/nothing").await.status, 404);
}

#[tokio::test]
async fn a_command_without_a_gateway_says_so() {
    let gateway = Gateway::prepare(json!({}));
    for command in ["upgrade", "reload"] {
        let output = gateway.command(command).await;
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output).contains("no gateway runs here"), "{}", text(&output));
    }
}

#[tokio::test]
async fn what_belongs_to_the_process_is_private_and_goes_with_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut gateway = Gateway::start().await;
    let dir = gateway.dir().join("data/run");
    assert_eq!(std::fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(gateway.pid_in_charge(), gateway.process().pid());
    gateway.stop().await;
    assert_eq!(std::fs::read_dir(dir).unwrap().count(), 0);
}

#[tokio::test]
async fn a_second_gateway_does_not_take_the_folder_of_the_first() {
    let first = Gateway::start().await;
    let second = Gateway::with(json!({"runtime_dir": first.dir().join("data/run")})).await;
    let said = "another gateway runs with runtime_dir";
    eventually("it says so", || async { second.output().contains(said) }).await;
    assert_eq!(first.pid_in_charge(), first.pids()[0]);
    assert!(first.command("reload").await.status.success());
}

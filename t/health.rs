//! Nodes are watched: by probes over tcp, http and grpc, and by what requests show.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Value, json};

use crate::support::gateway::{put_node, put_route, route};
use crate::support::python::Server;
use crate::support::upstream::{ok, read_request, respond};
use crate::support::{Client, Etcd, Gateway, Upstream, eventually, h2c};

/// A gateway with a route `/s/*` to a service that is declared so, and has these nodes.
async fn serving(service: Value, nodes: &[SocketAddr]) -> (Etcd, Gateway) {
    serving_with(json!({}), service, nodes).await
}

async fn serving_with(config: Value, service: Value, nodes: &[SocketAddr]) -> (Etcd, Gateway) {
    let etcd = Etcd::start().await;
    put_route(&etcd, &route("/s/*", "s", json!({}))).await;
    for node in nodes {
        put_node(&etcd, "s", *node).await;
    }
    etcd.put("gw/services/s", &service).await;
    let gateway = Gateway::on_with(&etcd, config).await;
    (etcd, gateway)
}

async fn is_up(gateway: &Gateway, node: SocketAddr) -> bool {
    gateway.metric("gateway_upstream_node_up", &format!("\"{node}\"")).await > 0.5
}

async fn goes_down(gateway: &Gateway, node: SocketAddr) {
    eventually(&format!("{node} is down"), || async { !is_up(gateway, node).await }).await;
}

async fn comes_up(gateway: &Gateway, node: SocketAddr) {
    eventually(&format!("{node} is up"), || async { is_up(gateway, node).await }).await;
}

/// Waits for a text in the log, which is written beside what it tells of.
async fn says(gateway: &Gateway, text: &str) {
    eventually(&format!("the log says {text:?}"), || async { gateway.output().contains(text) }).await;
}

/// What the status says of a node that requests do not go to.
async fn out(gateway: &Gateway, node: SocketAddr) -> Option<Value> {
    let status = gateway.get_admin("/admin/v2/status").await.expect(200).json();
    let nodes = status["nodes_out"]["nodes"].as_array().unwrap().clone();
    nodes.into_iter().find(|out| out["node"] == node.to_string())
}

/// An upstream whose answer's status may be set, for `/health` and for all other paths.
struct Sick {
    upstream: Upstream,
    health: Arc<AtomicU16>,
    others: Arc<AtomicU16>,
}

impl Sick {
    async fn start() -> Self {
        let (health, others) = (Arc::new(AtomicU16::new(200)), Arc::new(AtomicU16::new(200)));
        let (of_health, of_others) = (health.clone(), others.clone());
        let upstream = Upstream::answering(move |seen| {
            let status = if seen.target.starts_with("/health") { &of_health } else { &of_others };
            respond(status.load(Ordering::SeqCst), &[], "x")
        })
        .await;
        Self { upstream, health, others }
    }

    fn address(&self) -> SocketAddr {
        self.upstream.address
    }
}

/// Probes as often as a test likes.
fn quick(more: Value) -> Value {
    let mut check = json!({"interval": "100ms", "unhealthy_interval": "100ms", "failures": 2, "successes": 2});
    crate::support::merge(&mut check, more);
    json!({"health": {"active": check}})
}

#[tokio::test]
async fn an_http_check_takes_out_a_node_that_takes_connections_but_is_not_well() {
    let (sick, well) = (Sick::start().await, Sick::start().await);
    let service = quick(json!({"type": "http", "path": "/health?deep=1", "host": "app.example.com"}));
    let (_etcd, gateway) = serving(service, &[sick.address(), well.address()]).await;
    comes_up(&gateway, sick.address()).await;
    eventually("it is probed", || async { sick.upstream.count() > 1 }).await;
    let probe = sick.upstream.last();
    assert_eq!((probe.method.as_str(), probe.target.as_str()), ("GET", "/health?deep=1"));
    assert_eq!(probe.header("host"), Some("app.example.com"));
    assert_eq!(probe.header("connection"), Some("close"));
    assert!(probe.header("user-agent").unwrap().starts_with("ws-cloud-gateway-health/"), "{probe:?}");

    sick.health.store(500, Ordering::SeqCst);
    goes_down(&gateway, sick.address()).await;
    let out = out(&gateway, sick.address()).await.unwrap();
    assert_eq!(out["unhealthy"]["reason"], "status 500", "{out}");
    says(&gateway, "is unhealthy, 2 http probes failed: status 500").await;
    let before = sick.upstream.seen().iter().filter(|seen| seen.target == "/s/x").count();
    for _ in 0..10 {
        gateway.get("/s/x").await.expect(200);
    }
    let after = sick.upstream.seen().iter().filter(|seen| seen.target == "/s/x").count();
    assert_eq!(after, before, "no request goes to it");

    // A redirect is an answer; it is not followed.
    sick.health.store(301, Ordering::SeqCst);
    comes_up(&gateway, sick.address()).await;
    let metrics = gateway.metrics().await;
    let count = |name: &str, label: &str| crate::support::gateway::sum(&metrics, name, label);
    assert!(count("gateway_upstream_probes_total", "result=\"failure\"") >= 2.0, "{metrics}");
    assert!(count("gateway_upstream_node_changes_total", "to=\"unhealthy\"") >= 1.0, "{metrics}");
    assert!(count("gateway_upstream_node_changes_total", "to=\"healthy\"") >= 1.0, "{metrics}");
}

#[tokio::test]
async fn a_check_has_a_port_and_expected_statuses_of_its_own() {
    // The node itself knows no /ready; another port of it does, and says 418.
    let (node, other) = (Upstream::saying("node").await, Upstream::answering(|_| respond(418, &[], "")).await);
    let plain = Upstream::saying("plain").await;
    let check = json!({"type": "http", "path": "/ready", "port": other.address.port(), "statuses": [418]});
    let (etcd, gateway) = serving(quick(check), &[node.address, plain.address]).await;
    eventually("the other port is asked", || async { other.count() > 5 }).await;
    assert_eq!((node.count(), plain.count()), (0, 0), "and no other");
    assert!(is_up(&gateway, node.address).await && is_up(&gateway, plain.address).await);
    let check = json!({"type": "http", "path": "/ready", "port": other.address.port(), "statuses": [200]});
    etcd.put("gw/services/s", &quick(check)).await;
    goes_down(&gateway, node.address).await;
    // Without a check nothing says any more that they are not well.
    etcd.put("gw/services/s", &json!({"health": {"active": {"enabled": false}}})).await;
    comes_up(&gateway, node.address).await;
}

#[tokio::test]
async fn a_single_node_is_probed_when_its_service_asks_and_used_all_the_same() {
    let sick = Sick::start().await;
    sick.health.store(503, Ordering::SeqCst);
    let (_etcd, gateway) = serving(quick(json!({"type": "http", "path": "/health"})), &[sick.address()]).await;
    goes_down(&gateway, sick.address()).await;
    gateway.get("/s/x").await.expect(200);
}

#[tokio::test]
async fn the_files_check_may_be_http_for_all_services() {
    let (sick, well) = (Sick::start().await, Sick::start().await);
    sick.health.store(500, Ordering::SeqCst);
    let file = json!({"healthcheck": {"active": {
        "type": "http", "path": "/health", "healthy": {"interval": 0.1}, "unhealthy": {"interval": 0.1},
    }}});
    let (_etcd, gateway) = serving_with(file, json!({}), &[sick.address(), well.address()]).await;
    goes_down(&gateway, sick.address()).await;
    assert!(is_up(&gateway, well.address()).await);
    sick.health.store(204, Ordering::SeqCst);
    comes_up(&gateway, sick.address()).await;
}

/// Tells the server what to say of a name.
async fn set_grpc(server: SocketAddr, name: &str, status: &str) {
    let message = format!("{name}={status}");
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap());
    frame.put_slice(message.as_bytes());
    let client = h2c::connect(server).await;
    let request = http::Request::post(format!("http://{server}/t.Control/Set"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap();
    let (response, mut body) = client.ready().await.unwrap().send_request(request, false).unwrap();
    body.send_data(Bytes::from(frame), true).unwrap();
    assert_eq!(h2c::read(response).await.grpc().0, "0");
}

#[tokio::test]
async fn a_grpc_check_asks_the_standard_health_service() {
    let (first, second) = (Server::start("health/server.py").await, Server::start("health/server.py").await);
    for server in [&first, &second] {
        set_grpc(server.address, "app.Orders", "SERVING").await;
        set_grpc(server.address, "", "NOT_SERVING").await;
    }
    let check = quick(json!({"type": "grpc", "path": "app.Orders", "timeout": "5s"}));
    let (etcd, gateway) = serving(check, &[first.address, second.address]).await;
    let passed = || async { gateway.metric("gateway_upstream_probes_total", "result=\"success\"").await };
    eventually("both are probed", || async { passed().await >= 4.0 }).await;
    assert!(is_up(&gateway, first.address).await && is_up(&gateway, second.address).await);
    set_grpc(first.address, "app.Orders", "NOT_SERVING").await;
    goes_down(&gateway, first.address).await;
    let reason = |gateway| async move { out(gateway, first.address).await.unwrap()["unhealthy"]["reason"].clone() };
    assert_eq!(reason(&gateway).await, "grpc health NOT_SERVING");
    assert!(is_up(&gateway, second.address).await);
    set_grpc(first.address, "app.Orders", "SERVING").await;
    comes_up(&gateway, first.address).await;
    // A name nobody knows is no health.
    etcd.put("gw/services/s", &quick(json!({"type": "grpc", "path": "app.Unknown", "timeout": "5s"}))).await;
    goes_down(&gateway, second.address).await;
    goes_down(&gateway, first.address).await;
    assert_eq!(reason(&gateway).await, "grpc status NOT_FOUND");
}

fn passive(rules: &Value) -> Value {
    json!({"health": {"passive": rules}})
}

async fn ejected(gateway: &Gateway, cause: &str) -> f64 {
    gateway.metric("gateway_upstream_node_ejected", &format!("cause=\"{cause}\"")).await
}

#[tokio::test]
async fn a_node_that_answers_500_is_left_out_longer_each_time_and_comes_back_when_well() {
    let (sick, well) = (Sick::start().await, Sick::start().await);
    let rules = passive(&json!({"consecutive_errors": 3, "eject_time": "300ms"}));
    let (_etcd, gateway) = serving(rules, &[sick.address(), well.address()]).await;
    sick.others.store(500, Ordering::SeqCst);
    eventually("it is left out", || async {
        gateway.get("/s/x").await;
        ejected(&gateway, "errors").await > 0.5
    })
    .await;
    assert!(!is_up(&gateway, sick.address()).await && is_up(&gateway, well.address()).await);
    says(&gateway, "3 errors in a row, the last: status 500").await;
    // It takes connections all the while; only requests that go well take it back.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(ejected(&gateway, "errors").await > 0.5);
    eventually("it is left out again and again", || async {
        gateway.get("/s/x").await;
        let out = out(&gateway, sick.address()).await.unwrap();
        assert_eq!(out["ejected"]["cause"], "errors", "{out}");
        out["ejected"]["times_in_a_row"].as_u64().unwrap() >= 3
    })
    .await;
    sick.others.store(200, Ordering::SeqCst);
    eventually("it is back", || async {
        gateway.get("/s/x").await;
        is_up(&gateway, sick.address()).await
    })
    .await;
    let before = sick.upstream.count();
    for _ in 0..10 {
        gateway.get("/s/x").await.expect(200);
    }
    assert_eq!(sick.upstream.count(), before + 5, "with its whole share");
}

#[tokio::test]
async fn no_more_nodes_are_left_out_than_may_be() {
    let mut nodes = Vec::new();
    for _ in 0..4 {
        let node = Sick::start().await;
        node.others.store(500, Ordering::SeqCst);
        nodes.push(node);
    }
    let addresses: Vec<SocketAddr> = nodes.iter().map(Sick::address).collect();
    let rules = passive(&json!({"consecutive_errors": 2, "eject_time": "10s", "max_ejected": 0.5}));
    let (_etcd, gateway) = serving(rules, &addresses).await;
    for _ in 0..60 {
        gateway.get("/s/x").await.expect(500);
    }
    assert!((ejected(&gateway, "errors").await - 2.0).abs() < 0.5);
}

#[tokio::test]
async fn a_slow_node_is_left_out() {
    let slow = Upstream::scripted(|stream, _| async move {
        let mut client = Client::over(stream);
        while read_request(&mut client).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(300)).await;
            drop(client.send(&ok("slow")).await);
        }
    })
    .await;
    let (first, second) = (Upstream::saying("quick").await, Upstream::saying("quick").await);
    let rules = passive(&json!({"latency_factor": 3, "min_requests": 5, "window": "1m", "eject_time": "1m"}));
    let (_etcd, gateway) = serving(rules, &[first.address, slow.address, second.address]).await;
    eventually("it is left out", || async {
        gateway.get("/s/x").await.expect(200);
        ejected(&gateway, "latency").await > 0.5
    })
    .await;
    assert!(!is_up(&gateway, slow.address).await);
    for _ in 0..10 {
        assert_eq!(gateway.get("/s/x").await.expect(200).text(), "quick");
    }
}

//! How requests are spread over a service's nodes, and what happens when nodes fail.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::json;

use crate::support::gateway::{node, node_key, put_node, put_route, route};
use crate::support::load::Load;
use crate::support::nginx::Nginx;
use crate::support::{Client, Etcd, Gateway, Request, Upstream, eventually, free_address};

/// How many of `n` requests each upstream gets.
async fn shares(gateway: &Gateway, path: &str, n: usize) -> BTreeMap<String, usize> {
    let mut shares = BTreeMap::new();
    for _ in 0..n {
        let response = gateway.get(path).await.expect(200);
        *shares.entry(response.json()["upstream"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    shares
}

#[tokio::test]
async fn nodes_get_their_share_by_weight_evenly_interleaved() {
    let gateway = Gateway::with(json!({"workers": 1})).await;
    let (a, b, c) = (Upstream::echo().await, Upstream::echo().await, Upstream::echo().await);
    for (upstream, weight) in [(&a, 5), (&b, 1), (&c, 0)] {
        gateway.node("weighted", upstream.address, weight).await;
    }
    gateway.route("/w/*", "weighted", json!({})).await;
    gateway.applied().await;
    let shares = shares(&gateway, "/w/", 60).await;
    assert_eq!(shares.get(&a.address.to_string()), Some(&50), "{shares:?}");
    assert_eq!(shares.get(&b.address.to_string()), Some(&10), "{shares:?}");
    assert_eq!(c.count(), 0, "weight 0 means none");
}

#[tokio::test]
async fn a_node_that_is_off_gets_nothing() {
    let gateway = Gateway::start().await;
    let (on, off) = (Upstream::echo().await, Upstream::echo().await);
    gateway.serve("/s/*", &[on.address, off.address]).await;
    let mut object = node("service-0", off.address, 1);
    object["status"] = 0.into();
    object["key"] = "any: replace".into();
    gateway.call_admin("/admin/services/save", &object).await.expect(200);
    gateway.applied().await;
    let before = off.count();
    shares(&gateway, "/s/", 10).await;
    assert_eq!(off.count(), before);
}

#[tokio::test]
async fn without_a_usable_node_the_answer_is_502() {
    let gateway = Gateway::start().await;
    let unused = Upstream::echo().await;
    gateway.node("zero", unused.address, 0).await;
    gateway.route("/zero/*", "zero", json!({})).await;
    gateway.route("/none/*", "none", json!({})).await;
    gateway.applied().await;
    for path in ["/zero/x", "/none/x"] {
        let response = gateway.get(path).await.expect(502);
        assert!(response.body.len() < 200, "{path}: {}", response.text());
    }
    assert_eq!(unused.count(), 0, "weight 0 means none, also when it is the only one");
}

#[tokio::test]
async fn the_last_node_may_go_and_come_back() {
    let gateway = Gateway::start().await;
    let upstream = Upstream::echo().await;
    gateway.serve("/s/*", &[upstream.address]).await;
    for _ in 0..3 {
        let key = node_key("service-0", upstream.address)["discovery/".len()..].to_owned();
        gateway.call_admin("/admin/services/remove", &json!({"key": key})).await.expect(200);
        gateway.applied().await;
        gateway.get("/s/x").await.expect(502);
        gateway.node("service-0", upstream.address, 1).await;
        gateway.applied().await;
        gateway.get("/s/x").await.expect(200);
    }
}

#[tokio::test]
async fn a_services_name_is_not_a_prefix_of_another() {
    let etcd = Etcd::start().await;
    let (demo1, demo10) = (Upstream::echo().await, Upstream::echo().await);
    put_node(&etcd, "demo1", demo1.address).await;
    put_node(&etcd, "demo10", demo10.address).await;
    put_node(&etcd, "demo1.admin", demo10.address).await;
    put_route(&etcd, &route("/d/*", "demo1", json!({}))).await;
    let gateway = Gateway::on(&etcd).await;
    shares(&gateway, "/d/", 12).await;
    assert_eq!((demo1.count(), demo10.count()), (12, 0));
}

#[tokio::test]
async fn a_refused_connection_is_tried_on_another_node() {
    let gateway = Gateway::start().await;
    let (alive, dead) = (Upstream::echo().await, free_address());
    gateway.serve("/s/*", &[dead, alive.address]).await;
    for i in 0..20 {
        gateway.get(&format!("/s/{i}")).await.expect(200);
        // Nothing was sent yet, so any method may be tried again.
        gateway.send(Request::new("POST", "/s/post").body("once")).await.expect(200);
    }
    assert_eq!(alive.count(), 40, "none came twice");
}

#[tokio::test]
async fn no_node_is_tried_twice_for_a_request() {
    let gateway = Gateway::start().await;
    let (first, second) = (free_address(), free_address());
    gateway.serve("/s/*", &[first, second]).await;
    gateway.get("/s/x").await.expect(502);
    let line: serde_json::Value = serde_json::from_str(&gateway.log_line("/s/x").await).unwrap();
    let mut tried: Vec<_> = line["upstream"].as_str().unwrap().split(", ").map(str::to_owned).collect();
    tried.sort();
    let mut both = [first.to_string(), second.to_string()];
    both.sort();
    assert_eq!(tried, both);
}

#[tokio::test]
async fn a_request_that_reached_a_node_is_not_sent_to_another() {
    let gateway = Gateway::start().await;
    // Reads the request, and hangs up without an answer.
    let rude = || async {
        Upstream::scripted(|stream, _| async move {
            let mut client = Client::over(stream);
            drop(crate::support::upstream::read_request(&mut client).await);
        })
        .await
    };
    let (first, second) = (rude().await, rude().await);
    gateway.serve("/s/*", &[first.address, second.address]).await;
    gateway.send(Request::new("POST", "/s/pay").body("100 EUR")).await.expect(502);
    assert_eq!(first.connections() + second.connections(), 1, "a payment is made once");
}

#[tokio::test]
async fn a_slow_node_is_a_504() {
    let gateway = Gateway::with(json!({"upstream": {"read_timeout": "300ms"}})).await;
    let silent = Upstream::scripted(|stream, _| async move {
        let mut client = Client::over(stream);
        client.until_closed().await;
    })
    .await;
    gateway.serve("/s/*", &[silent.address]).await;
    gateway.get("/s/x").await.expect(504);
}

#[tokio::test]
async fn a_routes_own_timeout_counts() {
    let gateway = Gateway::start().await;
    let silent = Upstream::scripted(|stream, _| async move {
        let mut client = Client::over(stream);
        client.until_closed().await;
    })
    .await;
    gateway.serve_with("/s/*", &[silent.address], json!({"timeouts": {"read": "300ms"}})).await;
    gateway.get("/s/x").await.expect(504);
}

#[tokio::test]
async fn connections_to_a_node_are_used_again() {
    let gateway = Gateway::with(json!({"workers": 1})).await;
    let upstream = Upstream::echo().await;
    gateway.serve("/s/*", &[upstream.address]).await;
    for _ in 0..50 {
        gateway.get("/s/x").await.expect(200);
    }
    assert_eq!(upstream.connections(), 1);
}

async fn two_nodes() -> (Gateway, Nginx, Nginx) {
    let gateway = Gateway::start().await;
    let (first, second) = (Nginx::start().await, Nginx::start().await);
    gateway.serve("/s/*", &[first.address, second.address]).await;
    (gateway, first, second)
}

/// R2 of THREATS.md: kill -9 of one of two nodes, twice, under 500 requests a second.
#[tokio::test(flavor = "multi_thread")]
async fn killing_one_of_two_nodes_loses_no_get() {
    let (gateway, mut first, mut second) = two_nodes().await;
    let load = Load::start(gateway.http, &Request::get("/s/x"), 500);
    load.reach(700).await;
    first.kill();
    load.reach(1_700).await;
    first.restart().await;
    // The ejected node must be back before the other one goes.
    let address = first.address.to_string();
    eventually("the node that came back is used again", || async { gateway.get("/s/x").await.text() == address }).await;
    let sent = load.sent();
    second.kill();
    load.reach(sent + 1_000).await;
    second.restart().await;
    load.reach((sent + 2_000).max(4_000)).await;
    load.stop().await.assert_no_failures(4_000);
}

/// R3: a frozen node delays, and loses nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_node_loses_nothing() {
    let (gateway, first, _second) = two_nodes().await;
    let load = Load::start(gateway.http, &Request::get("/s/x"), 200);
    load.reach(200).await;
    first.signal("STOP");
    load.reach(260).await;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    first.signal("CONT");
    load.reach(800).await;
    load.stop().await.assert_no_failures(800);
}

#[tokio::test]
async fn active_checks_take_a_dead_node_out_and_bring_it_back() {
    let quick = json!({"active": {"healthy": {"interval": 0.1}, "unhealthy": {"interval": 0.1, "tcp_failures": 2}}});
    let gateway = Gateway::with(json!({"healthcheck": quick})).await;
    let (mut sick, well) = (Nginx::start().await, Nginx::start().await);
    gateway.serve("/s/*", &[sick.address, well.address]).await;
    let up = |address: SocketAddr| {
        let gateway = &gateway;
        async move { gateway.metric("gateway_upstream_node_up", &format!("\"{address}\"")).await }
    };
    let sick_one = sick.address;
    eventually("both are up", || async { up(sick_one).await + up(well.address).await > 1.5 }).await;
    sick.kill();
    eventually("the dead node is down", || async { up(sick_one).await < 0.5 }).await;
    assert!(up(well.address).await > 0.5);
    sick.restart().await;
    eventually("it is up again", || async { up(sick_one).await > 0.5 }).await;
    let address = sick_one.to_string();
    eventually("and is used", || async { gateway.get("/s/x").await.text() == address }).await;
}

#[tokio::test]
async fn when_every_node_is_down_they_are_tried_all_the_same() {
    let quick = json!({"active": {"healthy": {"interval": 0.1}, "unhealthy": {"interval": 3600.0, "tcp_failures": 1}}});
    let gateway = Gateway::with(json!({"healthcheck": quick})).await;
    let (mut first, mut second) = (Nginx::start().await, Nginx::start().await);
    gateway.serve("/s/*", &[first.address, second.address]).await;
    first.kill();
    second.kill();
    let down = || async { gateway.metric("gateway_upstream_node_up", "service-0").await < 0.5 };
    eventually("both are down", down).await;
    gateway.get("/s/x").await.expect(502);
    // No probe is due for an hour: only trying shows that they are back.
    first.restart().await;
    second.restart().await;
    eventually("they answer", || async { gateway.get("/s/x").await.status == 200 }).await;
}

#[tokio::test]
async fn an_operators_word_on_a_node_does_not_touch_its_key() {
    let etcd = Etcd::start().await;
    let (kept, drained) = (Upstream::echo().await, Upstream::echo().await);
    put_node(&etcd, "s", kept.address).await;
    put_node(&etcd, "s", drained.address).await;
    put_route(&etcd, &route("/s/*", "s", json!({}))).await;
    let gateway = Gateway::on(&etcd).await;
    let key = node_key("s", drained.address);
    let stored = etcd.get(&key).await;
    etcd.put(&format!("gw/nodes/{}", &key["discovery/".len()..]), &json!({"state": "drain"})).await;
    gateway.applied_from(&etcd).await;
    let before = drained.count();
    shares(&gateway, "/s/", 10).await;
    assert_eq!(drained.count(), before);
    assert_eq!(etcd.get(&key).await, stored);
}

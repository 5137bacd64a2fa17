//! Leases that end together take no service down that still answers.

use std::net::SocketAddr;

use serde_json::json;

use crate::support::gateway::{node, node_key, put_route, route};
use crate::support::{Etcd, Gateway, Upstream, eventually};

/// A gateway with a route to these nodes, each registered under a lease of its own.
async fn serving(nodes: &[SocketAddr], ttl: i64) -> (Etcd, Gateway, Vec<i64>) {
    let etcd = Etcd::start().await;
    put_route(&etcd, &route("/s/*", "s", json!({}))).await;
    let gateway = Gateway::on(&etcd).await;
    let mut leases = Vec::new();
    for address in nodes {
        leases.push(register(&etcd, *address, ttl).await);
    }
    for address in nodes {
        eventually("the node is known", || async { knows(&gateway, *address).await }).await;
    }
    (etcd, gateway, leases)
}

async fn register(etcd: &Etcd, address: SocketAddr, ttl: i64) -> i64 {
    etcd.put_leased(&node_key("s", address), &node("s", address, 1), ttl).await
}

async fn knows(gateway: &Gateway, node: SocketAddr) -> bool {
    gateway.metrics().await.contains(&format!("gateway_upstream_node_up{{service=\"s\",node=\"{node}\"}}"))
}

async fn kept(gateway: &Gateway) -> f64 {
    gateway.metric("gateway_nodes_beyond_lease", "").await
}

async fn upstreams(count: usize) -> Vec<Upstream> {
    let mut upstreams = Vec::new();
    for _ in 0..count {
        upstreams.push(Upstream::saying("served").await);
    }
    upstreams
}

#[tokio::test]
async fn nodes_that_answer_are_kept_when_nobody_renews_their_leases() {
    let mut nodes = upstreams(3).await;
    let addresses: Vec<SocketAddr> = nodes.iter().map(|node| node.address).collect();
    let (etcd, gateway, _) = serving(&addresses, 3).await;
    // Who renewed them is dead. The first may go alone; then it is more than half.
    eventually("the store has none of them", || async {
        let mut left = 0;
        for address in &addresses {
            left += usize::from(etcd.get(&node_key("s", *address)).await.is_some());
        }
        left == 0
    })
    .await;
    eventually("they are kept", || async { kept(&gateway).await > 1.5 }).await;
    for _ in 0..10 {
        gateway.get("/s/x").await.expect(200);
    }
    eventually("the log says so", || async { gateway.output().contains("is kept beyond its lease") }).await;
    let status = gateway.get_admin("/admin/v2/status").await.expect(200).json();
    assert!(status["config"]["kept_beyond_lease"].as_u64().unwrap() >= 2, "{status}");

    // One that stops is gone.
    let mut known = Vec::new();
    for address in &addresses {
        if knows(&gateway, *address).await {
            known.push(*address);
        }
    }
    let stopped = known[0];
    nodes.retain(|node| node.address != stopped);
    eventually("the one that stopped is gone", || async { !knows(&gateway, stopped).await }).await;
    gateway.get("/s/x").await.expect(200);

    // One that is registered again is as before.
    let before = kept(&gateway).await;
    let back = *known.last().unwrap();
    register(&etcd, back, 600).await;
    eventually("it is not kept any more", || async { kept(&gateway).await < before - 0.5 }).await;
    assert!(knows(&gateway, back).await);
}

#[tokio::test]
async fn a_node_that_takes_its_leave_goes_at_once() {
    let nodes = upstreams(5).await;
    let addresses: Vec<SocketAddr> = nodes.iter().map(|node| node.address).collect();
    let (etcd, gateway, leases) = serving(&addresses, 600).await;
    etcd.revoke(leases[2]).await;
    eventually("it is gone", || async { !knows(&gateway, addresses[2]).await }).await;
    assert!(kept(&gateway).await < 0.5);
    for address in [0, 1, 3, 4].map(|i| addresses[i]) {
        assert!(knows(&gateway, address).await);
    }
}

#[tokio::test]
async fn a_service_that_stops_altogether_is_gone() {
    let nodes = upstreams(3).await;
    let addresses: Vec<SocketAddr> = nodes.iter().map(|node| node.address).collect();
    let (etcd, gateway, leases) = serving(&addresses, 600).await;
    drop(nodes);
    for lease in leases {
        etcd.revoke(lease).await;
    }
    for address in addresses {
        eventually("it is gone", || async { !knows(&gateway, address).await }).await;
    }
    gateway.get("/s/x").await.expect(502);
    assert!(kept(&gateway).await < 0.5);
}

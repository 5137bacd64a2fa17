//! How a service chooses among its nodes, what it gives each at most, and how new ones start.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::support::gateway::{node_key, put_node, put_route, route};
use crate::support::http1::Response;
use crate::support::upstream::{ok, read_request};
use crate::support::{Client, Etcd, Gateway, Request, Upstream, eventually, h2c, in_time};

/// A service `s` with these settings and nodes, under `/s/`.
async fn declare(etcd: &Etcd, settings: &Value, nodes: &[SocketAddr]) {
    etcd.put("gw/services/s", settings).await;
    for node in nodes {
        put_node(etcd, "s", *node).await;
    }
    put_route(etcd, &route("/s/*", "s", json!({}))).await;
}

async fn gateway_with(settings: Value, nodes: &[SocketAddr]) -> (Etcd, Gateway) {
    let etcd = Etcd::start().await;
    declare(&etcd, &settings, nodes).await;
    let gateway = Gateway::on(&etcd).await;
    (etcd, gateway)
}

async fn served_by(gateway: &Gateway, request: Request) -> String {
    gateway.send(request).await.expect(200).json()["upstream"].as_str().unwrap().to_owned()
}

fn with_session(number: usize) -> Request {
    Request::get("/s/x").header("Cookie", &format!("theme=dark; session=user-{number}; last=1"))
}

/// Which node serves which session.
async fn sessions(gateway: &Gateway) -> BTreeMap<usize, String> {
    let mut served = BTreeMap::new();
    for number in 0..40 {
        served.insert(number, served_by(gateway, with_session(number)).await);
    }
    served
}

/// An upstream that takes requests and answers them when it is let.
struct Held {
    upstream: Upstream,
    answers: Arc<Semaphore>,
    begun: Arc<AtomicUsize>,
}

impl Held {
    async fn start() -> Self {
        let (answers, begun) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
        let (let_go, count) = (answers.clone(), begun.clone());
        let upstream = Upstream::scripted(move |stream, _| {
            let (answers, begun) = (let_go.clone(), count.clone());
            async move {
                let mut client = Client::over(stream);
                while read_request(&mut client).await.is_ok() {
                    begun.fetch_add(1, Ordering::SeqCst);
                    answers.acquire().await.unwrap().forget();
                    if client.send(&ok("held")).await.is_err() {
                        return;
                    }
                }
            }
        })
        .await;
        Self { upstream, answers, begun }
    }

    async fn has_begun(&self, requests: usize) {
        eventually("the node has the request", || async { self.begun.load(Ordering::SeqCst) >= requests }).await;
    }

    fn answer(&self, requests: usize) {
        self.answers.add_permits(requests);
    }
}

/// Sends a request that ends later.
fn send(to: SocketAddr) -> tokio::task::JoinHandle<Response> {
    tokio::spawn(async move { Request::get("/s/x").send(to).await })
}

#[track_caller]
fn assert_at_its_limit(response: Response) {
    let response = response.expect(503);
    assert_eq!(response.header("retry-after"), Some("1"));
    assert_eq!(response.text(), "the service is at its limit\n");
}

#[tokio::test]
async fn a_session_stays_at_its_node_through_every_gateway() {
    let nodes = [Upstream::echo().await, Upstream::echo().await, Upstream::echo().await, Upstream::echo().await];
    let settings = json!({"balancer": "hash", "hash": {"on": "cookie", "name": "session"}});
    let (etcd, gateway) = gateway_with(settings, &nodes.each_ref().map(|node| node.address)).await;
    let other = Gateway::on(&etcd).await;
    let before = sessions(&gateway).await;
    assert_eq!(before, sessions(&other).await);
    assert_eq!(before.values().collect::<BTreeSet<_>>().len(), 4, "all nodes serve some: {before:?}");

    // One node goes: its sessions move, no other does.
    let gone = nodes[1].address;
    etcd.delete(&node_key("s", gone)).await;
    gateway.applied_from(&etcd).await;
    let after = sessions(&gateway).await;
    for (number, node) in &before {
        assert_eq!(*node != gone.to_string(), after[number] == *node, "session {number}");
    }

    // Without the cookie there is nothing to stay with.
    let mut without = BTreeSet::new();
    for _ in 0..6 {
        without.insert(served_by(&gateway, Request::get("/s/x")).await);
    }
    assert_eq!(without.len(), 3);
}

#[tokio::test]
async fn a_key_may_be_in_the_query_or_a_header() {
    let nodes = [Upstream::echo().await, Upstream::echo().await, Upstream::echo().await];
    let addresses = nodes.each_ref().map(|node| node.address);
    let by_query = json!({"balancer": "hash", "hash": {"on": "query", "name": "user"}});
    let (etcd, gateway) = gateway_with(by_query, &addresses).await;
    let mut used = BTreeSet::new();
    for user in 0..20 {
        let plain = served_by(&gateway, Request::get(&format!("/s/a?user=n{user}"))).await;
        let escaped = served_by(&gateway, Request::get(&format!("/s/b?x=1&user=%6E{user}"))).await;
        assert_eq!(plain, escaped);
        used.insert(plain);
    }
    assert_eq!(used.len(), 3);

    let by_header = json!({"balancer": "hash", "hash": {"on": "header", "name": "X-User"}});
    etcd.put("gw/services/s", &by_header).await;
    gateway.applied_from(&etcd).await;
    let of_ann = || Request::get("/s/x").header("x-user", "ann");
    let first = served_by(&gateway, of_ann()).await;
    for _ in 0..6 {
        assert_eq!(served_by(&gateway, of_ann()).await, first);
    }
}

/// One of two nodes takes its time; how many of 200 requests, eight at a time, it gets.
async fn share_of_a_slow_node(balancer: &str) -> usize {
    let fast = Upstream::echo().await;
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let slow = Upstream::scripted(move |stream, _| {
        let count = counted.clone();
        async move {
            let mut client = Client::over(stream);
            while read_request(&mut client).await.is_ok() {
                count.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(300)).await;
                if client.send(&ok("slow")).await.is_err() {
                    return;
                }
            }
        }
    })
    .await;
    let (_etcd, gateway) = gateway_with(json!({"balancer": balancer}), &[fast.address, slow.address]).await;
    let to = gateway.http;
    let mut clients = JoinSet::new();
    for _ in 0..8 {
        clients.spawn(async move {
            for _ in 0..25 {
                Request::get("/s/x").send(to).await.expect(200);
            }
        });
    }
    in_time("200 requests", clients.join_all()).await;
    count.load(Ordering::SeqCst)
}

#[tokio::test(flavor = "multi_thread")]
async fn least_requests_spares_a_slow_node() {
    let slow = share_of_a_slow_node("least_requests").await;
    assert!(slow < 60, "the slow node got {slow} of 200");
}

#[tokio::test(flavor = "multi_thread")]
async fn ewma_spares_a_slow_node() {
    let slow = share_of_a_slow_node("ewma").await;
    assert!(slow < 40, "the slow node got {slow} of 200");
}

#[tokio::test]
async fn a_service_at_its_limit_is_a_503_with_retry_after() {
    let node = Held::start().await;
    let (_etcd, gateway) = gateway_with(json!({"limits": {"requests": 1}}), &[node.upstream.address]).await;
    let first = send(gateway.http);
    node.has_begun(1).await;
    for _ in 0..3 {
        assert_at_its_limit(gateway.get("/s/x").await);
    }
    assert!(gateway.metric("gateway_upstream_limited_total", "service=\"s\"").await > 2.5);
    node.answer(2);
    first.await.unwrap().expect(200);
    // The place is given back once the exchange has ended, which may be after its client has read the response.
    eventually("the place is free again", || async { gateway.get("/s/x").await.status == 200 }).await;
    assert_eq!(node.begun.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_grpc_call_over_the_limit_is_unavailable() {
    let node = Held::start().await;
    let (etcd, gateway) = gateway_with(json!({"limits": {"requests": 1}}), &[node.upstream.address]).await;
    put_route(&etcd, &route("/t.Service/*", "s", json!({"protocol": "grpc"}))).await;
    gateway.applied_from(&etcd).await;
    let first = send(gateway.http);
    node.has_begun(1).await;
    let refused = h2c::call(gateway.h2c, "/t.Service/Call", b"x").await;
    assert_eq!(refused.grpc(), ("14".into(), "the service is at its limit".into()));
    node.answer(1);
    first.await.unwrap().expect(200);
}

#[tokio::test]
async fn a_full_node_is_passed_over() {
    let (held, free) = (Held::start().await, Upstream::echo().await);
    // One waits for a place that is given back just after its client has the response.
    let settings = json!({"limits": {"connections": 1, "pending": 1}, "timeouts": {"connect": "60s"}});
    let (_etcd, gateway) = gateway_with(settings, &[held.upstream.address, free.address]).await;
    // One of two goes to the node that holds it.
    let (first, second) = (send(gateway.http), send(gateway.http));
    held.has_begun(1).await;
    for _ in 0..10 {
        served_by(&gateway, Request::get("/s/x")).await;
    }
    held.answer(1);
    first.await.unwrap().expect(200);
    second.await.unwrap().expect(200);
    assert_eq!(held.begun.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn as_many_requests_wait_as_may() {
    let node = Held::start().await;
    let settings = json!({"limits": {"requests": 1, "pending": 2}, "timeouts": {"connect": "60s"}});
    let (_etcd, gateway) = gateway_with(settings, &[node.upstream.address]).await;
    let pending = || async { gateway.metric("gateway_upstream_pending", "service=\"s\"").await };
    let first = send(gateway.http);
    node.has_begun(1).await;
    let waiting = [send(gateway.http), send(gateway.http)];
    eventually("two wait", || async { pending().await > 1.5 }).await;
    assert_at_its_limit(gateway.get("/s/x").await);
    assert_eq!(node.begun.load(Ordering::SeqCst), 1, "the node was spared");
    node.answer(3);
    first.await.unwrap().expect(200);
    for waiting in waiting {
        in_time("a request that waited", waiting).await.unwrap().expect(200);
    }
    eventually("nobody waits", || async { pending().await < 0.5 }).await;
}

#[tokio::test]
async fn who_waits_too_long_is_refused() {
    let node = Held::start().await;
    let settings = json!({"limits": {"requests": 1, "pending": 5}, "timeouts": {"connect": "300ms"}});
    let (_etcd, gateway) = gateway_with(settings, &[node.upstream.address]).await;
    let first = send(gateway.http);
    node.has_begun(1).await;
    let began = Instant::now();
    assert_at_its_limit(gateway.get("/s/x").await);
    assert!(began.elapsed() >= Duration::from_millis(300));
    node.answer(1);
    first.await.unwrap().expect(200);
}

async fn share_of_a_new_node(settings: Value) -> (Etcd, Gateway, [Upstream; 2], usize) {
    let nodes = [Upstream::echo().await, Upstream::echo().await];
    let (etcd, gateway) = gateway_with(settings, &[nodes[0].address]).await;
    put_node(&etcd, "s", nodes[1].address).await;
    gateway.applied_from(&etcd).await;
    for _ in 0..100 {
        gateway.get("/s/x").await.expect(200);
    }
    let share = nodes[1].count();
    (etcd, gateway, nodes, share)
}

#[tokio::test]
async fn a_node_that_is_added_starts_slowly() {
    let (etcd, gateway, nodes, share) = share_of_a_new_node(json!({"slow_start": "1h"})).await;
    assert!(share < 25, "the new node got {share} of 100");
    // With a shorter time it is up soon.
    etcd.put("gw/services/s", &json!({"slow_start": "1s"})).await;
    gateway.applied_from(&etcd).await;
    eventually("it has its whole share", || async {
        let before = nodes[1].count();
        for _ in 0..20 {
            gateway.get("/s/x").await.expect(200);
        }
        nodes[1].count() - before == 10
    })
    .await;
}

#[tokio::test]
async fn nodes_start_at_once_where_no_slow_start_is_set_and_at_the_gateways_start() {
    let (.., share) = share_of_a_new_node(json!({})).await;
    assert!((49..=51).contains(&share), "the new node got {share} of 100");
    let nodes = [Upstream::echo().await, Upstream::echo().await];
    let (_etcd, gateway) = gateway_with(json!({"slow_start": "1h"}), &nodes.each_ref().map(|node| node.address)).await;
    for _ in 0..20 {
        gateway.get("/s/x").await.expect(200);
    }
    assert_eq!(nodes[0].count(), nodes[1].count());
}

//! Fed from a real etcd, and started without it. What happens to it while it is used: `faults`.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::gateway::{node, node_key, put_node, put_route, route, route_key};
use crate::support::load::Load;
use crate::support::{Etcd, Gateway, Request, Upstream, eventually};

/// The old gateway's demo data, as `make init` wrote it: exactly these keys.
const DEMO_ROUTES: &str = include_str!("../etc/demo/init_route.json");
const DEMO_NODES: &str = include_str!("../etc/demo/init_discovery.json");

/// An etcd with a route to one upstream.
async fn seeded() -> (Etcd, Upstream) {
    let etcd = Etcd::start().await;
    let upstream = Upstream::saying("served").await;
    put_route(&etcd, &route("/s/*", "s", json!({}))).await;
    put_node(&etcd, "s", upstream.address).await;
    (etcd, upstream)
}

async fn add_route(etcd: &Etcd, gateway: &Gateway, prefix: &str) {
    put_route(etcd, &route(&format!("{prefix}/*"), "s", json!({}))).await;
    eventually(&format!("{prefix} is served"), || async { gateway.get(&format!("{prefix}/x")).await.status == 200 })
        .await;
}

#[tokio::test]
async fn the_old_demo_data_is_served_unchanged() {
    let etcd = Etcd::start().await;
    let mut demo: Vec<(String, Value)> = Vec::new();
    for route in serde_json::from_str::<Vec<Value>>(DEMO_ROUTES).unwrap() {
        let mut route = route;
        // As the old gateway's JSON library stored empty lists.
        for field in ["hosts", "props"] {
            if route[field].as_array().is_some_and(Vec::is_empty)
                || route[field].as_object().is_some_and(serde_json::Map::is_empty)
            {
                route[field] = json!({});
            }
        }
        demo.push((route_key(route["prefix"].as_str().unwrap()), route));
    }
    // The same nodes, on the ports of this test's upstreams.
    let (first, second, other) = (Upstream::echo().await, Upstream::echo().await, Upstream::echo().await);
    for (service, upstream) in [("demo1", &first), ("demo1", &second), ("demo2", &other)] {
        demo.push((node_key(service, upstream.address), node(service, upstream.address, 1)));
    }
    assert_eq!(serde_json::from_str::<Vec<Value>>(DEMO_NODES).unwrap().len(), 5);
    for (key, value) in &demo {
        etcd.put(key, value).await;
    }
    let gateway = Gateway::on(&etcd).await;
    for _ in 0..6 {
        let rewritten = gateway.get("/openapi/demo1/hello?a=b").await.expect(200).json();
        assert_eq!(rewritten["target"], "/openapi/hello?a=b");
        assert!(rewritten["headers"].to_string().contains("x-trace-id"), "{rewritten}");
    }
    assert_eq!((first.count(), second.count()), (3, 3));
    assert_eq!(gateway.get("/innerapi/demo1/hello").await.expect(200).json()["target"], "/innerapi/demo1/hello");
    assert_eq!(gateway.get("/openapi/demo2/hello").await.expect(200).json()["upstream"], other.address.to_string());
    for (key, value) in &demo {
        assert_eq!(etcd.get(key).await.map(|text| serde_json::from_str::<Value>(&text).unwrap()).as_ref(), Some(value));
    }
}

#[tokio::test]
async fn a_node_that_registers_itself_comes_and_goes_with_its_lease() {
    let (etcd, _upstream) = seeded().await;
    put_route(&etcd, &route("/self/*", "self", json!({}))).await;
    let gateway = Gateway::on(&etcd).await;
    gateway.get("/self/x").await.expect(502);
    let itself = Upstream::saying("myself").await;
    // As services write it: no weight, no status, no key.
    let value = json!({"service_name": "self", "upstream": itself.address.to_string()});
    let lease = etcd.put_leased(&node_key("self", itself.address), &value, 60).await;
    eventually("the node is used", || async { gateway.get("/self/x").await.status == 200 }).await;
    etcd.revoke(lease).await;
    eventually("the node is gone", || async { gateway.get("/self/x").await.status == 502 }).await;
}

#[tokio::test]
async fn a_route_deleted_in_etcd_is_gone() {
    let (etcd, _upstream) = seeded().await;
    let gateway = Gateway::on(&etcd).await;
    gateway.get("/s/x").await.expect(200);
    add_route(&etcd, &gateway, "/t").await;
    etcd.delete(&route_key("/s/*")).await;
    eventually("the route is gone", || async { gateway.get("/s/x").await.status == 404 }).await;
}

/// Waits until the gateway says that it does not believe an emptiness.
async fn doubted(gateway: &Gateway) {
    eventually("the emptiness is warned about", || async {
        gateway.output().contains("the store lost its whole configuration")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_etcd_that_lost_its_disk_is_doubted() {
    let (mut etcd, _upstream) = seeded().await;
    let gateway = Gateway::on(&etcd).await;
    let load = Load::start(gateway.http, &Request::get("/s/x"), 200);
    etcd.kill();
    etcd.restart_empty().await;
    doubted(&gateway).await;
    load.reach(load.sent() + 200).await;
    load.stop().await.assert_no_failures(200);
}

/// R5: serves from the disk within a second, changes made meanwhile arrive with the store.
#[tokio::test]
async fn a_restart_without_the_store_serves_from_the_disk() {
    let (mut etcd, _upstream) = seeded().await;
    let mut gateway = Gateway::on(&etcd).await;
    add_route(&etcd, &gateway, "/t").await;
    saved(&gateway, "/t/*").await;
    etcd.kill();
    gateway.restart().await;
    gateway.get("/s/x").await.expect(200);
    gateway.get("/t/x").await.expect(200);
    let ready = Request::get("/readyz").send(gateway.status).await.expect(200);
    assert!(ready.text().contains("stale"), "readyz tells of it: {}", ready.text());
    etcd.restart().await;
    add_route(&etcd, &gateway, "/after").await;
}

/// Waits until the copy on disk has a text.
async fn saved(gateway: &Gateway, text: &str) {
    let file = gateway.dir().join("data/snapshot/current.json");
    eventually("the copy on disk is up to date", || async {
        std::fs::read_to_string(&file).is_ok_and(|copy| copy.contains(text))
    })
    .await;
}

#[tokio::test]
async fn a_corrupt_copy_on_disk_gives_way_to_the_one_before() {
    let (mut etcd, _upstream) = seeded().await;
    let mut gateway = Gateway::on(&etcd).await;
    saved(&gateway, "/s/*").await;
    add_route(&etcd, &gateway, "/t").await;
    saved(&gateway, "/t/*").await;
    etcd.kill();
    let dir = gateway.dir().join("data/snapshot");
    let current = dir.join("current.json");
    let whole = std::fs::read_to_string(&current).unwrap();
    for broken in [whole.replace("/t/*", "/u/*"), whole[..whole.len() / 2].to_owned(), String::new(), "\0\0\0".into()] {
        gateway.kill();
        std::fs::write(&current, broken).unwrap();
        gateway.boot().await;
        gateway.get("/s/x").await.expect(200);
        assert!(gateway.output().contains("current.json is not used"), "{}", gateway.output());
    }
}

#[tokio::test]
async fn a_first_start_without_a_store_waits_for_it() {
    let (mut etcd, _upstream) = seeded().await;
    etcd.kill();
    let mut gateway = Gateway::prepare_on(&etcd, json!({}));
    gateway.spawn();
    eventually("it is alive", || async {
        Request::get("/healthz").try_send(gateway.status).await.is_ok_and(|r| r.status == 200)
    })
    .await;
    let ready = Request::get("/readyz").send(gateway.status).await;
    assert_eq!(ready.status, 503, "not ready: {}", ready.text());
    etcd.restart().await;
    gateway.ready().await;
    gateway.get("/s/x").await.expect(200);
}

/// T12: of two endpoints one is dead.
#[tokio::test]
async fn a_dead_endpoint_beside_a_live_one_does_not_matter() {
    let (etcd, _upstream) = seeded().await;
    let dead = format!("http://{}", crate::support::free_address());
    for endpoints in [[dead.clone(), etcd.endpoint()], [etcd.endpoint(), dead]] {
        let gateway = Gateway::on_with(&etcd, json!({"store": {"etcd": {"endpoints": endpoints}}})).await;
        gateway.get("/s/x").await.expect(200);
        for i in 0..10 {
            gateway.route(&format!("/r{i}/*"), "s", json!({"key": "any: replace"})).await;
        }
        gateway.applied().await;
        gateway.get("/r9/x").await.expect(200);
    }
}

#[tokio::test]
async fn two_gateways_on_one_etcd_see_the_same() {
    let (etcd, _upstream) = seeded().await;
    let (first, second) = tokio::join!(Gateway::on(&etcd), Gateway::on(&etcd));
    first.route("/new/*", "s", json!({})).await;
    eventually("the other one has it", || async { second.get("/new/x").await.status == 200 }).await;
    // Both know the same tokens and accounts; a key from one side is removed on the other.
    let key = route_key("/new/*")["routes/".len()..].to_owned();
    second.call_admin("/admin/routes/remove", &json!({"key": key})).await.expect(200);
    eventually("and loses it", || async { first.get("/new/x").await.status == 404 }).await;
}

/// The freshness promise, with patience: one write at a time, each visible soon.
#[tokio::test]
async fn a_change_after_quiet_is_served_at_once() {
    let (etcd, _upstream) = seeded().await;
    let gateway = Gateway::on(&etcd).await;
    let mut slowest = Duration::ZERO;
    for i in 0..10 {
        put_route(&etcd, &route(&format!("/n{i}"), "s", json!({}))).await;
        let started = std::time::Instant::now();
        while gateway.get(&format!("/n{i}")).await.status != 200 {
            assert!(started.elapsed() < Duration::from_secs(10), "route {i}");
        }
        slowest = slowest.max(started.elapsed());
    }
    assert!(slowest < Duration::from_secs(3), "{slowest:?}");
}

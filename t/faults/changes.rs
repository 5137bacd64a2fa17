//! Changes: storms of them (R1), and ones that are not valid (R6).

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{Row, Scale, load};
use crate::support::gateway::{node, node_key, put_node, put_route, route, route_key};
use crate::support::nginx::Nginx;
use crate::support::{Etcd, Gateway, eventually};

const ROUTES: usize = 2000;

/// 1,000 changes a second, in batches of 100, of routes and of nodes in use.
pub async fn storm(scale: Scale) -> Row {
    let etcd = Etcd::start().await;
    let nodes = [Nginx::start().await, Nginx::start().await];
    put_node(&etcd, "s", nodes[0].address).await;
    put_route(&etcd, &route("/s/*", "s", json!({}))).await;
    let gateway = Gateway::on(&etcd).await;
    let change = |number: usize| {
        let prefix = format!("/r{}/*", number % ROUTES);
        let service = if (number / ROUTES).is_multiple_of(2) { "s" } else { "t" };
        (route_key(&prefix), route(&prefix, service, json!({"remark": format!("change {number}")})))
    };
    for batch in (0..ROUTES).collect::<Vec<_>>().chunks(100) {
        etcd.put_all(&batch.iter().map(|i| change(*i)).collect::<Vec<_>>()).await;
    }
    gateway.applied_from(&etcd).await;
    let load = load(scale, &gateway, "/s/x");
    sleep(scale.seconds(3.0, 0.5)).await;

    let rss = gateway.rss_kib();
    let (mut most, mut slowest) = (rss, Duration::ZERO);
    let length = scale.seconds(30.0, 3.0);
    let started = Instant::now();
    let mut made = ROUTES;
    let mut round: u32 = 0;
    while started.elapsed() < length {
        let mut batch: Vec<_> = (made..made + 98).map(change).collect();
        made += 98;
        // The route in use changes, and so do its nodes.
        batch.push((route_key("/s/*"), route("/s/*", "s", json!({"remark": format!("round {round}")}))));
        let weight = 1 + round % 3;
        batch.push((node_key("s", nodes[1].address), node("s", nodes[1].address, weight)));
        etcd.put_all(&batch).await;
        if round % 5 == 4 {
            etcd.delete(&node_key("s", nodes[1].address)).await;
        }
        if round % 10 == 9 {
            slowest = slowest.max(visible(&etcd, &gateway, round).await);
            most = most.max(gateway.rss_kib());
        }
        round += 1;
        sleep((Duration::from_millis(100) * round).saturating_sub(started.elapsed())).await;
    }
    let took = started.elapsed();
    slowest = slowest.max(visible(&etcd, &gateway, round).await);
    most = most.max(gateway.rss_kib());
    let outcome = load.stop().await;
    let grown = (most - rss) / 1024;
    let rate = f64::from(round) * 100.0 / took.as_secs_f64();
    Row::of(outcome)
        .lossless()
        .note(format!("{rate:.0} changes/s; RSS {} -> {} MiB", rss / 1024, most / 1024))
        .within(scale, "the last write is visible", slowest, Duration::from_secs(1))
        .bar("RSS grows by less than 64 MiB", grown < 64)
}

/// Writes one more route, and returns how long it takes to be served.
async fn visible(etcd: &Etcd, gateway: &Gateway, number: u32) -> Duration {
    let path = format!("/probe{number}");
    let started = Instant::now();
    put_route(etcd, &route(&path, "s", json!({}))).await;
    while gateway.get(&path).await.status != 200 {
        assert!(started.elapsed() < crate::support::PATIENCE, "{path} is not served");
        sleep(Duration::from_millis(5)).await;
    }
    started.elapsed()
}

const VICTIMS: usize = 20;

/// Values that no version of a route ever had, beside the ones that bytes are mutated to.
const BROKEN: [&str; 14] = [
    "",
    "\0",
    "null",
    "[]",
    "\"text\"",
    "{",
    "{}",
    "{\"prefix\": 5}",
    "{\"prefix\": \"\"}",
    "{\"prefix\": \"no slash\", \"status\": 1}",
    "{\"prefix\": \"/v0/../*\", \"status\": 1, \"hosts\": [\"a/b\"]}",
    "{\"prefix\": \"/v0/*\", \"status\": 1, \"plugins\": [\"nobody-has-this\"]}",
    "{\"prefix\": \"/v0/*\", \"status\": 1, \"protocol\": \"carrier pigeon\"}",
    "{\"prefix\": \"/v0/*\", \"status\": 1, \"plugins\": [\"rewrite\"], \"props\": {\"rewrite_url_regex\": \"(\"}}",
];

/// Mutated values, straight into etcd.
pub async fn invalid(scale: Scale) -> Row {
    let etcd = Etcd::start().await;
    let nginx = Nginx::start().await;
    put_node(&etcd, "s", nginx.address).await;
    put_node(&etcd, "v", nginx.address).await;
    put_route(&etcd, &route("/s/*", "s", json!({}))).await;
    let victims: Vec<String> = (0..VICTIMS).map(|i| format!("/v{i}/*")).collect();
    for prefix in &victims {
        put_route(&etcd, &route(prefix, "v", json!({}))).await;
    }
    let mut gateway = Gateway::on(&etcd).await;
    let load = load(scale, &gateway, "/s/x");

    // Each of these is wrong, so what was live must stay so, and it must be told.
    let rejected = || async { gateway.metric("gateway_config_rejected_objects", "").await };
    let mut kept = true;
    for broken in BROKEN {
        etcd.put_text(&route_key("/v0/*"), broken).await;
        eventually(&format!("{broken:?} is told of"), || async { rejected().await == 1.0 }).await;
        kept &= gateway.get("/v0/x").await.status == 200;
        put_route(&etcd, &route("/v0/*", "v", json!({}))).await;
        eventually("nothing is rejected any more", || async { rejected().await == 0.0 }).await;
    }

    let seed = rand::random();
    let mut random = StdRng::seed_from_u64(seed);
    let good = [
        (
            route_key(&victims[0]),
            route(&victims[0], "v", json!({"hosts": ["*.a.test"], "plugins": ["discovery", "tracing"]})),
        ),
        (node_key("v", nginx.address), node("v", nginx.address, 1)),
        ("gw/services/v".to_owned(), json!({"timeouts": {"read": "1s"}})),
        (format!("gw/nodes/{}", &node_key("v", nginx.address)["discovery/".len()..]), json!({"weight": 3})),
    ];
    let count = scale.count(10_000, 500);
    for i in 0..count {
        let (key, value) = &good[i % good.len()];
        let key = if i % good.len() == 0 { route_key(&victims[i % VICTIMS]) } else { key.clone() };
        etcd.put_bytes(&key, mutated(value, &mut random)).await;
    }
    // All the gateway says of it now is about what is broken now.
    for prefix in &victims {
        put_route(&etcd, &route(prefix, "v", json!({}))).await;
    }
    for (key, value) in &good[1..] {
        etcd.put(key, value).await;
    }
    eventually("all is well again", || async { rejected().await == 0.0 && gateway.get("/v19/x").await.status == 200 })
        .await;
    let panics = gateway.output().matches("panicked").count();
    let outcome = load.stop().await;
    let crashed = gateway.process().has_ended().is_some();
    Row::of(outcome)
        .lossless()
        .note(format!("{count} values, seed {seed}"))
        .bar("what was live stays", kept)
        .bar("no crash, no panic", !crashed && panics == 0)
}

/// A value with a few wounds.
fn mutated(value: &Value, random: &mut StdRng) -> Vec<u8> {
    let mut value = value.clone();
    // Half of the wounds are to the meaning, half to the bytes.
    if random.random() {
        let fields = value.as_object_mut().unwrap();
        let names: Vec<String> = fields.keys().cloned().collect();
        let name = &names[random.random_range(0..names.len())];
        let strange = [
            Value::Null,
            json!(-1),
            json!(1e300),
            json!(u64::MAX),
            json!(true),
            json!(""),
            json!("\u{0}\u{feff}\u{202e}/../*"),
            json!("x".repeat(70_000)),
            json!([]),
            json!({}),
            json!([[], {}, null, 7, "a", "*", "(((((a*)*)*)*)*"]),
            json!({"a": {"b": {"c": []}}}),
            serde_json::from_str(&format!("{}{}", "[".repeat(100), "]".repeat(100))).unwrap(),
        ];
        fields.insert(name.clone(), strange[random.random_range(0..strange.len())].clone());
        return value.to_string().into_bytes();
    }
    let mut bytes = value.to_string().into_bytes();
    for _ in 0..random.random_range(1..4) {
        if bytes.is_empty() {
            break;
        }
        let at = random.random_range(0..bytes.len());
        match random.random_range(0..6) {
            0 => bytes[at] = random.random(),
            1 => bytes.truncate(at),
            2 => drop(bytes.remove(at)),
            3 => bytes.insert(at, b"{}[]\",:\\\0\xff0-"[random.random_range(0..12)]),
            4 => bytes.extend_from_within(at..),
            _ => bytes[at] ^= 1 << random.random_range(0..8),
        }
    }
    bytes
}

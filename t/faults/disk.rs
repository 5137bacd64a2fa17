//! A full disk (R11): requests are served, no write is acknowledged that is lost, and all is well
//! again when there is room.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::time::sleep;

use super::{Row, Scale, load};
use crate::support::gateway::{put_node, put_route, route};
use crate::support::nginx::Nginx;
use crate::support::tmpfs::Tmpfs;
use crate::support::{Etcd, Gateway, eventually};

/// In place of a row where a file system cannot be mounted.
fn skipped() -> Row {
    Row::default().note("skipped: mounting a file system takes root")
}

/// The embedded store and the access log on a disk that fills up.
pub async fn of_store_and_log(scale: Scale) -> Row {
    let mut gateway = Gateway::prepare(json!({"log": {"access": {"output": "data/access.log"}}}));
    let Some(disk) = Tmpfs::mount(&gateway.dir().join("data"), 16) else { return skipped() };
    gateway.boot().await;
    let nginx = Nginx::start().await;
    gateway.serve("/s/*", &[nginx.address]).await;
    let load = load(scale, &gateway, "/s/x");
    sleep(scale.seconds(2.0, 0.5)).await;

    disk.fill();
    let mut writes = Writes::default();
    // The store's file may have room within.
    for i in 0..2000 {
        if writes.refused.len() == 5 {
            break;
        }
        writes.save(&gateway, &format!("/full{i}/*")).await;
    }
    eventually("lines of the access log are dropped and counted", || async {
        gateway.metric("gateway_access_log_dropped_total", "").await > 0.0
    })
    .await;
    sleep(scale.seconds(5.0, 0.5)).await;
    let refused = writes.refused.clone();

    disk.make_room();
    eventually("writes are taken again", || async { save(&gateway, "/room/*").await.0 == 200 }).await;
    for i in 0..10 {
        writes.save(&gateway, &format!("/again{i}/*")).await;
    }
    let log = gateway.dir().join("data/access.log");
    let length = std::fs::metadata(&log).map_or(0, |file| file.len());
    eventually("lines are logged again", || async { std::fs::metadata(&log).is_ok_and(|file| file.len() > length) })
        .await;
    let outcome = load.stop().await;

    gateway.restart().await;
    let missing = writes.missing(&gateway).await;
    Row::of(outcome)
        .lossless()
        .note(format!("{} writes acknowledged", writes.acknowledged.len()))
        .note(format!("refused: {}", refused.first().map_or("none", String::as_str)))
        .bar("a write is refused while full", !refused.is_empty() && refused.iter().all(|text| text.starts_with('5')))
        .bar(format!("every acknowledged write is there ({missing} are not)"), missing == 0)
}

/// Writes, by what was said to them.
#[derive(Default)]
struct Writes {
    acknowledged: Vec<String>,
    refused: Vec<String>,
}

impl Writes {
    async fn save(&mut self, gateway: &Gateway, prefix: &str) {
        match save(gateway, prefix).await {
            (200, _) => self.acknowledged.push(prefix.to_owned()),
            (status, text) => self.refused.push(format!("{status} {text}")),
        }
    }

    /// How many of the acknowledged writes the store does not have.
    async fn missing(&self, gateway: &Gateway) -> usize {
        let stored = gateway.get_admin("/admin/routes/list").await.expect(200).text();
        self.acknowledged.iter().filter(|prefix| !stored.contains(&format!("\"{prefix}\""))).count()
    }
}

async fn save(gateway: &Gateway, prefix: &str) -> (u16, String) {
    let body = route(prefix, "service-0", json!({"remark": "x".repeat(16 * 1024)}));
    let response = gateway.call_admin("/admin/routes/save", &body).await;
    (response.status, response.text())
}

/// The copies on a disk that fills up: the ones that are there stay whole.
pub async fn of_snapshot(scale: Scale) -> Row {
    let mut etcd = Etcd::start().await;
    let nginx = Nginx::start().await;
    put_node(&etcd, "s", nginx.address).await;
    put_route(&etcd, &route("/s/*", "s", json!({}))).await;
    let mut gateway = Gateway::prepare_on(&etcd, json!({}));
    let Some(disk) = Tmpfs::mount(&gateway.dir().join("data"), 4) else { return skipped() };
    gateway.boot().await;
    let copy = gateway.dir().join("data/snapshot/current.json");
    let copied = |text: &str| std::fs::read_to_string(&copy).is_ok_and(|copy| copy.contains(text));
    eventually("there is a copy", || async { copied("/s/*") }).await;
    let load = load(scale, &gateway, "/s/x");
    disk.fill();
    put_route(&etcd, &route("/t/*", "s", json!({"remark": "x".repeat(100_000)}))).await;
    eventually("that the copy cannot be written is told", || async {
        gateway.output().contains("the snapshot cannot be written")
    })
    .await;
    let live = gateway.get("/t/x").await.status == 200;
    let whole = copied("/s/*") && !copied("/t/*");
    if scale.is_soak() {
        disk.make_room();
        let since = Instant::now();
        // A full disk is left alone for half a minute.
        while !copied("/t/*") && since.elapsed() < Duration::from_secs(60) {
            sleep(Duration::from_millis(200)).await;
        }
    }
    let again = !scale.is_soak() || copied("/t/*");
    let row = Row::of(load.stop().await).lossless();
    etcd.kill();
    gateway.kill();
    gateway.boot().await;
    let served = gateway.get("/s/x").await.status == 200;
    row.bar("a change is live though the copy cannot be written", live)
        .bar("the copy before it stays whole", whole)
        .bar("and is written when there is room", again)
        .bar("a start without etcd serves it", served)
}

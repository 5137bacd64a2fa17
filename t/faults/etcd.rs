//! Faults of etcd (R4, R5, R7): requests are served through all of them, and changes arrive after.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::time::sleep;

use super::{Row, Scale, load};
use crate::support::gateway::{put_node, put_route, route, route_key};
use crate::support::nginx::Nginx;
use crate::support::tcp_proxy::TcpProxy;
use crate::support::{Etcd, Gateway, Request, eventually, merge};

/// How soon the gateway must know what is new once etcd is back.
const CATCH_UP: Duration = Duration::from_secs(5);

/// A gateway on etcd with a route to a node.
struct Cluster {
    gateway: Gateway,
    etcd: Etcd,
    nginx: Nginx,
}

impl Cluster {
    async fn start(config: serde_json::Value) -> Self {
        Self::on(Etcd::start().await, config).await
    }

    async fn on(etcd: Etcd, config: serde_json::Value) -> Self {
        let nginx = Nginx::start().await;
        seed(&etcd, &nginx).await;
        let gateway = Gateway::on_with(&etcd, config).await;
        Self { gateway, etcd, nginx }
    }

    async fn lost(&self) {
        eventually("the loss is noticed", || async { self.gateway.metric("gateway_store_connected", "").await == 0.0 })
            .await;
        let ready = Request::get("/readyz").send(self.gateway.status).await.expect(200);
        assert!(ready.text().contains("stale"), "readyz tells of it: {}", ready.text());
    }

    /// Writes a route, and returns how long it takes to be served.
    async fn catches_up(&self) -> Duration {
        let started = Instant::now();
        put_route(&self.etcd, &route("/after/*", "s", json!({}))).await;
        eventually("what is new is served", || async { self.gateway.get("/after/x").await.status == 200 }).await;
        started.elapsed()
    }

    /// Waits until the copy on disk has a text.
    async fn saved(&self, text: &str) {
        let file = self.gateway.dir().join("data/snapshot/current.json");
        eventually("the copy on disk is up to date", || async {
            std::fs::read_to_string(&file).is_ok_and(|copy| copy.contains(text))
        })
        .await;
    }
}

async fn seed(etcd: &Etcd, nginx: &Nginx) {
    put_node(etcd, "s", nginx.address).await;
    put_route(etcd, &route("/s/*", "s", json!({}))).await;
}

pub async fn killed(scale: Scale) -> Row {
    let mut cluster = Cluster::start(json!({})).await;
    let load = load(scale, &cluster.gateway, "/s/x");
    sleep(scale.seconds(3.0, 0.5)).await;
    cluster.etcd.kill();
    cluster.lost().await;
    sleep(scale.seconds(40.0, 1.0)).await;
    cluster.etcd.restart().await;
    let took = cluster.catches_up().await;
    Row::of(load.stop().await).lossless().within(scale, "caught up", took, CATCH_UP)
}

pub async fn frozen(scale: Scale) -> Row {
    let cluster = Cluster::start(json!({})).await;
    let load = load(scale, &cluster.gateway, "/s/x");
    sleep(scale.seconds(2.0, 0.5)).await;
    cluster.etcd.signal("STOP");
    let frozen = Instant::now();
    // Trap T11: without keep-alive nobody would ever know.
    cluster.lost().await;
    sleep(scale.seconds(10.0, 0.0).saturating_sub(frozen.elapsed())).await;
    cluster.etcd.signal("CONT");
    let took = cluster.catches_up().await;
    Row::of(load.stop().await).lossless().within(scale, "caught up", took, CATCH_UP)
}

pub async fn stuttering(scale: Scale) -> Row {
    let cluster = Cluster::start(json!({})).await;
    let load = load(scale, &cluster.gateway, "/s/x");
    let end = Instant::now() + scale.seconds(20.0, 2.0);
    while Instant::now() < end {
        for signal in ["STOP", "CONT"] {
            cluster.etcd.signal(signal);
            sleep(Duration::from_millis(300)).await;
        }
    }
    let took = cluster.catches_up().await;
    Row::of(load.stop().await).lossless().within(scale, "caught up", took, CATCH_UP)
}

pub async fn restarting(scale: Scale) -> Row {
    let mut cluster = Cluster::start(json!({})).await;
    let load = load(scale, &cluster.gateway, "/s/x");
    for round in 0..scale.count(12, 2) {
        cluster.etcd.kill();
        sleep(Duration::from_millis(300)).await;
        cluster.etcd.restart().await;
        put_route(&cluster.etcd, &route(&format!("/round{round}/*"), "s", json!({}))).await;
        // Half of the rounds do not give the gateway the time to find its way back.
        if round % 2 == 1 {
            cluster.etcd.compact().await;
            sleep(Duration::from_millis(500)).await;
        }
    }
    let took = cluster.catches_up().await;
    cluster.gateway.get("/round0/x").await.expect(200);
    Row::of(load.stop().await).lossless().within(scale, "caught up", took, CATCH_UP)
}

pub async fn full(scale: Scale) -> Row {
    let cluster = Cluster::on(Etcd::with(&["--quota-backend-bytes", "16777216"]).await, json!({})).await;
    let load = load(scale, &cluster.gateway, "/s/x");
    cluster.etcd.fill().await;
    let refused = cluster.gateway.call_admin("/admin/routes/save", &route("/refused/*", "s", json!({}))).await;
    sleep(scale.seconds(5.0, 0.2)).await;
    let still = cluster.gateway.get("/s/x").await.status;
    let stored = cluster.etcd.get(&route_key("/refused/*")).await;
    cluster.etcd.make_room().await;
    let accepted = cluster.gateway.call_admin("/admin/routes/save", &route("/accepted/*", "s", json!({}))).await;
    let took = cluster.catches_up().await;
    Row::of(load.stop().await)
        .lossless()
        .note(format!("a write while full: {} {}", refused.status, refused.text()))
        .bar("a write is refused while full", refused.status >= 500 && stored.is_none() && still == 200)
        .bar("and taken when there is room", accepted.status == 200)
        .within(scale, "caught up", took, CATCH_UP)
}

pub async fn compacted(scale: Scale) -> Row {
    let etcd = Etcd::start().await;
    let network = TcpProxy::to(etcd.address).await;
    let endpoint = format!("http://{}", network.address);
    let cluster = Cluster::on(etcd, json!({"store": {"etcd": {"endpoints": [endpoint]}}})).await;
    put_route(&cluster.etcd, &route("/gone/*", "s", json!({}))).await;
    eventually("the route is served", || async { cluster.gateway.get("/gone/x").await.status == 200 }).await;
    let load = load(scale, &cluster.gateway, "/s/x");
    network.go_silent();
    cluster.etcd.delete(&route_key("/gone/*")).await;
    for i in 0..50 {
        cluster.etcd.put("unrelated", &json!(i)).await;
    }
    cluster.etcd.compact().await;
    cluster.lost().await;
    sleep(scale.seconds(5.0, 0.0)).await;
    network.pass();
    let took = cluster.catches_up().await;
    let gone = cluster.gateway.get("/gone/x").await.status == 404;
    Row::of(load.stop().await).lossless().bar("what was deleted meanwhile is gone", gone).within(
        scale,
        "caught up",
        took,
        CATCH_UP,
    )
}

pub async fn wiped(scale: Scale) -> Row {
    let hold = scale.seconds(30.0, 4.0);
    let mut config = json!({});
    if hold < Duration::from_secs(30) {
        merge(&mut config, json!({"store": {"empty_hold": format!("{}ms", hold.as_millis())}}));
    }
    let cluster = Cluster::start(config).await;
    let load = load(scale, &cluster.gateway, "/s/x");
    cluster.etcd.wipe().await;
    eventually("the emptiness is doubted", || async {
        cluster.gateway.output().contains("the store lost its whole configuration")
    })
    .await;
    sleep(hold / 2).await;
    seed(&cluster.etcd, &cluster.nginx).await;
    let took = cluster.catches_up().await;
    let row = Row::of(load.stop().await).lossless().within(scale, "caught up", took, CATCH_UP);
    eventually("the doubt is over", || async { cluster.gateway.output().contains("entries came back") }).await;
    // Once more, and this time it is meant.
    cluster.etcd.wipe().await;
    let emptied = Instant::now();
    tokio::time::timeout(hold + crate::support::PATIENCE, async {
        while cluster.gateway.get("/s/x").await.status == 200 {
            sleep(Duration::from_millis(100)).await;
        }
    })
    .await
    .unwrap();
    let after = emptied.elapsed();
    row.note(format!("an emptiness was believed after {after:.1?}"))
        .bar(format!("not before {hold:.0?}"), after + Duration::from_millis(200) >= hold)
}

/// R5: a gateway that starts while etcd is away serves what it last knew.
pub async fn absent(scale: Scale) -> Row {
    from_disk(scale, None).await
}

pub async fn corrupt(scale: Scale) -> Row {
    from_disk(scale, Some("{\"torn")).await
}

/// Restarts a gateway of 1,000 routes while etcd is away, with this in place of its newest copy.
async fn from_disk(scale: Scale, copy: Option<&str>) -> Row {
    let mut cluster = Cluster::start(json!({})).await;
    let name = |i: usize| format!("/r{i}/*");
    let routes: Vec<_> = (0..1000).map(|i| (route_key(&name(i)), route(&name(i), "s", json!({})))).collect();
    for batch in routes.chunks(100) {
        cluster.etcd.put_all(batch).await;
    }
    cluster.saved("/r999/*").await;
    // Now the copy before this one has all of them as well.
    put_route(&cluster.etcd, &route("/last/*", "s", json!({}))).await;
    cluster.saved("/last/*").await;
    cluster.etcd.kill();
    let mut starts = Vec::new();
    for _ in 0..scale.count(5, 1) {
        cluster.gateway.kill();
        if let Some(copy) = copy {
            std::fs::write(cluster.gateway.dir().join("data/snapshot/current.json"), copy).unwrap();
        }
        let started = Instant::now();
        cluster.gateway.spawn();
        eventually("the copy is served", || async {
            Request::get("/r999/x").try_send(cluster.gateway.http).await.is_ok_and(|response| response.status == 200)
        })
        .await;
        starts.push(started.elapsed());
    }
    cluster.gateway.ready().await;
    let load = load(scale, &cluster.gateway, "/s/x");
    sleep(scale.seconds(3.0, 0.5)).await;
    cluster.etcd.restart().await;
    let took = cluster.catches_up().await;
    let slowest = starts.iter().max().copied().unwrap_or_default();
    Row::of(load.stop().await).lossless().within(scale, "1,000 routes served", slowest, Duration::from_secs(1)).within(
        scale,
        "caught up",
        took,
        CATCH_UP,
    )
}

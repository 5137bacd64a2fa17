//! `kill -9` of the gateway itself (R9, R10).

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{Row, Scale};
use crate::support::gateway::{TOKEN, route};
use crate::support::load::Outcome;
use crate::support::{Client, Etcd, Gateway, Request, eventually};

const WRITERS: usize = 4;

pub async fn on_embedded(scale: Scale) -> Row {
    during_writes(scale, Gateway::start().await).await
}

pub async fn on_etcd(scale: Scale) -> Row {
    let etcd = Etcd::start().await;
    let gateway = Gateway::on(&etcd).await;
    during_writes(scale, gateway).await
}

/// Kills it while routes are saved, again and again: what was acknowledged is there, and what is
/// there is whole.
async fn during_writes(scale: Scale, mut gateway: Gateway) -> Row {
    let mut acknowledged: Vec<String> = Vec::new();
    let (mut sent, mut slowest) = (0, Duration::ZERO);
    let mut broken = Vec::new();
    for round in 0..scale.count(50, 6) {
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            writers.spawn(save_until_refused(gateway.admin, format!("/w{round}-{writer}")));
        }
        // Each round dies at another moment.
        sleep(Duration::from_millis(50 + 37 * (round as u64 % 11))).await;
        gateway.kill();
        for (tried, saved) in writers.join_all().await {
            sent += tried;
            acknowledged.extend(saved);
        }
        let started = Instant::now();
        gateway.spawn();
        eventually("the Admin API answers again", || async { stored(&gateway).await.is_some() }).await;
        slowest = slowest.max(started.elapsed());
        gateway.ready().await;
    }
    let stored = stored(&gateway).await.unwrap();
    for object in &stored {
        let prefix = object["prefix"].as_str().unwrap_or_default();
        if object["remark"] != remark(prefix) || object["service_name"] != "s" || object["status"] != 1 {
            broken.push(object.to_string());
        }
    }
    let has = |prefix: &str| stored.iter().any(|object| object["prefix"] == prefix);
    let lost = acknowledged.iter().filter(|prefix| !has(prefix)).count();
    let rejected = gateway.metric("gateway_config_rejected_objects", "").await;
    let outcome = Outcome { sent, answered_200: acknowledged.len(), ..Outcome::default() };
    Row::of(outcome)
        .note(format!("{} writes acknowledged, {} there", acknowledged.len(), stored.len()))
        .bar(format!("every acknowledged write is there ({lost} are not)"), lost == 0 && !acknowledged.is_empty())
        .bar(format!("none is torn ({} are)", broken.len()), broken.is_empty() && rejected == 0.0)
        .within(scale, "it is back", slowest, Duration::from_secs(2))
}

/// Saves one route after the other; returns how many were tried, and which were acknowledged.
async fn save_until_refused(admin: std::net::SocketAddr, name: String) -> (usize, Vec<String>) {
    let mut saved = Vec::new();
    let Ok(mut client) = Client::try_connect(admin).await else { return (0, saved) };
    for i in 0.. {
        let prefix = format!("{name}-{i}/*");
        let body = route(&prefix, "s", json!({"remark": remark(&prefix)}));
        let request = Request::new("POST", "/admin/routes/save")
            .header("Host", &admin.to_string())
            .header("X-Api-Token", TOKEN)
            .header("Content-Type", "application/json")
            .body(body.to_string());
        if client.send(&request.to_bytes()).await.is_err() {
            return (i, saved);
        }
        match client.response_to("POST").await {
            Ok(response) if response.status == 200 => saved.push(prefix),
            _ => return (i + 1, saved),
        }
    }
    unreachable!("it ends when it is killed")
}

/// Something long that tells which route it belongs to.
fn remark(prefix: &str) -> String {
    prefix.repeat(200)
}

async fn stored(gateway: &Gateway) -> Option<Vec<Value>> {
    let request = Request::get("/admin/routes/list").header("X-Api-Token", TOKEN);
    let response = request.try_send(gateway.admin).await.ok().filter(|response| response.status == 200)?;
    serde_json::from_slice(&response.body).ok()
}

//! Clients that cost more than they ask (R12, R13), and many that ask for long (R17).

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{Row, Scale, load};
use crate::support::nginx::Nginx;
use crate::support::{Client, Gateway};

async fn serving(config: serde_json::Value) -> (Gateway, Nginx) {
    let gateway = Gateway::with(config).await;
    let nginx = Nginx::start().await;
    gateway.serve("/s/*", &[nginx.address]).await;
    (gateway, nginx)
}

/// Headers that never end, a little every now and then.
pub async fn slowloris(scale: Scale) -> Row {
    let timeout = scale.seconds(10.0, 1.0).min(Duration::from_secs(10));
    let config = json!({"client": {"header_timeout": format!("{}ms", timeout.as_millis())}});
    let (gateway, _nginx) = serving(config).await;
    let count = scale.count(1000, 100);
    let rss = gateway.rss_kib();
    let load = load(scale, &gateway, "/s/x");
    let mut attackers = JoinSet::new();
    let to = gateway.http;
    for _ in 0..count {
        attackers.spawn(async move {
            let mut client = Client::connect(to).await;
            drop(client.send(b"GET /s/x HTTP/1.1\r\nHost: a\r\n").await);
            let started = Instant::now();
            let (limit, pause) = (timeout + crate::support::PATIENCE, timeout / 5);
            while started.elapsed() < limit {
                if tokio::time::timeout(pause, client.until_closed()).await.is_ok() {
                    return started.elapsed();
                }
                drop(client.send(b"X-A: b\r\n").await);
            }
            limit
        });
    }
    sleep(timeout / 2).await;
    let held = gateway.rss_kib().saturating_sub(rss) / count as u64;
    let slowest = attackers.join_all().await.into_iter().max().unwrap_or_default();
    Row::of(load.stop().await)
        .lossless()
        .note(format!("{count} connections, {held} KiB each"))
        .within(scale, "all are closed", slowest, timeout + Duration::from_secs(2))
        .bar("at most 32 KiB each", !scale.is_soak() || held <= 32)
}

/// Connections that have asked once and are kept.
pub async fn idle(scale: Scale) -> Row {
    let (gateway, _nginx) = serving(json!({"client": {"keepalive_timeout": "10m"}})).await;
    let count = scale.count(9000, 200);
    let before = gateway.rss_kib();
    let mut kept = Vec::new();
    while kept.len() < count {
        let mut opening = JoinSet::new();
        for _ in 0..100.min(count - kept.len()) {
            let to = gateway.http;
            opening.spawn(async move {
                let mut client = Client::connect(to).await;
                client.get("/s/x").await.unwrap().expect(200);
                client
            });
        }
        kept.extend(opening.join_all().await);
    }
    let after = gateway.rss_kib();
    let load = load(scale, &gateway, "/s/x");
    sleep(scale.seconds(10.0, 1.0)).await;
    let row = Row::of(load.stop().await).lossless();
    let mut closed = 0;
    for client in &mut kept {
        closed += usize::from(!client.get("/s/x").await.is_ok_and(|response| response.status == 200));
    }
    let each = after.saturating_sub(before) / count as u64;
    row.note(format!("{count} connections, {each} KiB each, {} MiB in all", after / 1024))
        .bar("none is closed", closed == 0)
        .bar("at most 16 KiB each, 256 MiB in all", !scale.is_soak() || (each <= 16 && after <= 256 * 1024))
}

/// A steady load for long: nothing grows.
pub async fn steady(scale: Scale) -> Row {
    let (mut gateway, _nginx) = serving(json!({})).await;
    let descriptors =
        |gateway: &mut Gateway| std::fs::read_dir(format!("/proc/{}/fd", gateway.process().pid())).unwrap().count();
    let load = load(scale, &gateway, "/s/x");
    let length = scale.seconds(480.0, 2.0);
    sleep(length / 4).await;
    let (rss, open, since) = (gateway.rss_kib(), descriptors(&mut gateway), Instant::now());
    let mut samples = Vec::new();
    while since.elapsed() < length * 3 / 4 {
        sleep(length / 100).await;
        samples.push((
            since.elapsed().as_secs_f64() / 3600.0,
            f64::from(u32::try_from(gateway.rss_kib()).unwrap()) / 1024.0,
        ));
    }
    let (last, still_open) = (gateway.rss_kib(), descriptors(&mut gateway));
    Row::of(load.stop().await)
        .lossless()
        .note(format!("RSS {} -> {} KiB, {:.1} MiB/h; {open} -> {still_open} descriptors", rss, last, slope(&samples)))
        .bar("RSS grows by less than 2 MiB", !scale.is_soak() || last < rss + 2048)
        .bar("descriptors do not grow", still_open <= open + 20)
}

/// The slope of the line through points that fits best.
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = f64::from(u32::try_from(points.len()).unwrap());
    let (x, y) = points.iter().fold((0.0, 0.0), |(x, y), point| (x + point.0 / count, y + point.1 / count));
    let (mut over, mut under) = (0.0, 0.0);
    for point in points {
        over += (point.0 - x) * (point.1 - y);
        under += (point.0 - x) * (point.0 - x);
    }
    if under == 0.0 { 0.0 } else { over / under }
}

//! Faults of upstream nodes (R2, R3): what the other nodes can answer is answered.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{Row, Scale, load};
use crate::support::load::Load;
use crate::support::nginx::Nginx;
use crate::support::upstream::{Mortal, ok, read_request};
use crate::support::{Client, Gateway, Request, Upstream, eventually, free_address, h2c};

/// How long a node is gone.
const OUTAGE: Duration = Duration::from_millis(1500);

/// A gateway in front of two nginx, with a route `/s/*` to them.
async fn pair(timeouts: serde_json::Value) -> (Gateway, [Nginx; 2]) {
    let gateway = Gateway::start().await;
    let nodes = [Nginx::start().await, Nginx::start().await];
    gateway.serve_with("/s/*", &nodes.each_ref().map(|node| node.address), timeouts).await;
    (gateway, nodes)
}

pub async fn killed(scale: Scale) -> Row {
    let (gateway, mut nodes) = pair(json!({})).await;
    let load = load(scale, &gateway, "/s/x");
    for _ in 0..scale.count(3, 1) {
        for node in &mut nodes {
            sleep(OUTAGE / 2).await;
            node.kill();
            sleep(OUTAGE).await;
            node.restart().await;
        }
    }
    Row::of(load.stop().await).lossless()
}

/// What may not be repeated: each POST is delivered at most once, and fails only if it was at the
/// node that died.
pub async fn killed_over_posts(scale: Scale) -> Row {
    let gateway = Gateway::start().await;
    let delivered: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
    let mut nodes = Vec::new();
    for _ in 0..2 {
        let delivered = delivered.clone();
        let count = move |target: &str| *delivered.lock().unwrap().entry(target.to_owned()).or_default() += 1;
        nodes.push(Mortal::start(Duration::from_millis(20), count).await);
    }
    let addresses: Vec<SocketAddr> = nodes.iter().map(|node| node.address).collect();
    gateway.serve("/s/*", &addresses).await;
    let load = Load::of(gateway.http, scale.rate(), |i| Request::new("POST", &format!("/s/{i}")).body("order"));
    let mut in_flight = 0;
    for _ in 0..scale.count(3, 1) {
        for node in &mut nodes {
            sleep(OUTAGE / 2).await;
            in_flight += load.in_flight();
            node.die().await;
            sleep(OUTAGE).await;
            node.revive().await;
        }
    }
    let outcome = load.stop().await;
    let delivered = delivered.lock().unwrap();
    let twice = delivered.values().filter(|times| **times > 1).count();
    // Whoever was told 200 had it delivered; there may be one or two that were sent as we counted.
    let lost = outcome.answered_200.saturating_sub(delivered.len());
    let failures = outcome.failures();
    Row::of(outcome)
        .note(format!("{in_flight} were in flight when nodes died"))
        .bar("no more failed than were in flight", failures <= in_flight + 5)
        .bar(format!("none delivered twice ({twice} were)"), twice == 0)
        .bar(format!("none answered that was not delivered ({lost} were)"), lost == 0)
}

pub async fn frozen(scale: Scale) -> Row {
    let row = freeze(scale, json!({})).await.lossless();
    let longest = row.outcome.longest();
    row.within(scale, "the slowest answered", longest, Duration::from_secs(3))
}

/// With a timeout the frozen node is found out, and another one asked.
pub async fn frozen_with_timeout(scale: Scale) -> Row {
    let row = freeze(scale, json!({"timeouts": {"read": "500ms"}})).await.lossless();
    let p99 = row.outcome.p99();
    row.within(scale, "99 of 100 answered", p99, Duration::from_secs(1))
}

async fn freeze(scale: Scale, timeouts: serde_json::Value) -> Row {
    let (gateway, nodes) = pair(timeouts).await;
    let load = load(scale, &gateway, "/s/x");
    for _ in 0..scale.count(3, 1) {
        sleep(Duration::from_secs(1)).await;
        nodes[0].signal("STOP");
        sleep(Duration::from_secs(2)).await;
        nodes[0].signal("CONT");
    }
    sleep(Duration::from_secs(1)).await;
    Row::of(load.stop().await)
}

pub async fn refusing(scale: Scale) -> Row {
    let gateway = Gateway::start().await;
    let good = Nginx::start().await;
    gateway.serve("/s/*", &[good.address, free_address(), free_address()]).await;
    let load = load(scale, &gateway, "/s/x");
    // Longer than a node is left out at length.
    sleep(scale.seconds(15.0, 2.0)).await;
    Row::of(load.stop().await).lossless()
}

/// What is not HTTP, or not what HTTP allows.
const GARBAGE: [&[u8]; 9] = [
    b"",
    b"\r\n\r\n\r\n\r\n",
    b"SSH-2.0-OpenSSH_9.2\r\n",
    b"\x16\x03\x01\x00\x05hello",
    b"HTTP/1.1 abc OK\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\nbody",
    b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 9\r\n\r\nbody",
    b"HTTP/1.1 200 OK\r\nna me: x\r\nContent-Length: 4\r\n\r\nbody",
    b"\x00\xff\xfe\x00 200 \x00\r\n\r\n",
];

/// Answers each connection with the next piece of garbage.
async fn babbling() -> Upstream {
    let next = Arc::new(AtomicUsize::new(0));
    Upstream::scripted(move |stream, _| {
        let next = next.clone();
        async move {
            let mut client = Client::over(stream);
            if read_request(&mut client).await.is_ok() {
                let index = next.fetch_add(1, Ordering::Relaxed) % GARBAGE.len();
                drop(client.send(GARBAGE[index]).await);
            }
        }
    })
    .await
}

pub async fn babbling_among_good(scale: Scale) -> Row {
    let gateway = Gateway::start().await;
    let (good, bad) = (Nginx::start().await, babbling().await);
    gateway.serve("/s/*", &[good.address, bad.address]).await;
    gateway.serve("/bad/*", &[bad.address]).await;
    let load = load(scale, &gateway, "/s/x");
    let mut statuses = Vec::new();
    for _ in 0..scale.count(20, 2) * GARBAGE.len() {
        statuses.push(gateway.get("/bad/x").await.status);
    }
    sleep(scale.seconds(5.0, 1.0)).await;
    let outcome = load.stop().await;
    statuses.sort_unstable();
    statuses.dedup();
    Row::of(outcome)
        .lossless()
        .bar(format!("nothing but garbage is a 502 (was {statuses:?})"), statuses == [502])
        .note(format!("{} connections to the node", bad.connections()))
}

/// Says 100 bytes and ends after 50, in each of HTTP's framings.
async fn cutting() -> Upstream {
    Upstream::scripted(|stream, number| async move {
        let mut client = Client::over(stream);
        if read_request(&mut client).await.is_err() {
            return;
        }
        let half = "x".repeat(50);
        let answer = match number % 2 {
            0 => format!("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{half}"),
            _ => format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n32\r\n{half}\r\n"),
        };
        drop(client.send(answer.as_bytes()).await);
    })
    .await
}

/// A response that was cut must not look whole to the client.
pub async fn closing_mid_body(scale: Scale) -> Row {
    let (gateway, _nodes) = pair(json!({})).await;
    let bad = cutting().await;
    gateway.serve("/cut/*", &[bad.address]).await;
    let load = load(scale, &gateway, "/s/x");
    let (mut whole, mut asked) = (0, 0);
    for _ in 0..scale.count(200, 20) {
        asked += 2;
        whole += usize::from(Request::get("/cut/x").try_send(gateway.http).await.is_ok());
        whole += usize::from(http2_is_whole(&gateway).await);
    }
    let outcome = load.stop().await;
    Row::of(outcome).lossless().bar(format!("none of {asked} cut responses looks whole ({whole} do)"), whole == 0)
}

async fn http2_is_whole(gateway: &Gateway) -> bool {
    let client = h2c::connect(gateway.h2c).await;
    let request = http::Request::get("http://a.test/cut/x").body(()).unwrap();
    let (response, _) = client.ready().await.unwrap().send_request(request, true).unwrap();
    let Ok(response) = response.await else { return false };
    let mut body = response.into_body();
    while let Some(chunk) = body.data().await {
        let Ok(chunk) = chunk else { return false };
        drop(body.flow_control().release_capacity(chunk.len()));
    }
    true
}

/// Answers a byte at a time.
async fn dripping(pause: Duration) -> Upstream {
    Upstream::scripted(move |stream, _| async move {
        let mut client = Client::over(stream);
        while read_request(&mut client).await.is_ok() {
            for byte in ok("drop by drop") {
                if client.send(&[byte]).await.is_err() {
                    return;
                }
                sleep(pause).await;
            }
        }
    })
    .await
}

pub async fn slow(scale: Scale) -> Row {
    let (gateway, _nodes) = pair(json!({})).await;
    let bad = dripping(scale.seconds(0.1, 0.03)).await;
    gateway.serve("/slow/*", &[bad.address]).await;
    let load = load(scale, &gateway, "/s/x");
    let mut waiting = JoinSet::new();
    for _ in 0..scale.count(300, 50) {
        let request = Request::get("/slow/x");
        let to = gateway.http;
        waiting
            .spawn(async move { request.try_send(to).await.is_ok_and(|response| response.text() == "drop by drop") });
    }
    let started = Instant::now();
    let answers = waiting.join_all().await;
    let took = started.elapsed();
    let outcome = load.stop().await;
    eventually("nothing is in flight", || async { gateway.metric("gateway_requests_in_flight", "").await == 0.0 })
        .await;
    Row::of(outcome)
        .lossless()
        .note(format!("{} slow responses took {took:.1?}", answers.len()))
        .bar("every slow response arrives whole", answers.iter().all(|whole| *whole))
}

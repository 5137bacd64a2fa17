//! How long a request may take: the wait for the first byte of a response, and the whole exchange.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::time::sleep;

use crate::support::upstream::{ok, read_request};
use crate::support::{Client, Gateway, Request, Upstream, h2c};

/// Answers every request of a connection, with these waits: before the header, and before each of
/// the body's ten bytes.
async fn slow(header: Duration, byte: Duration) -> Upstream {
    Upstream::scripted(move |stream, _| async move {
        let mut client = Client::over(stream);
        while read_request(&mut client).await.is_ok() {
            sleep(header).await;
            if client.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n").await.is_err() {
                return;
            }
            for _ in 0..10 {
                sleep(byte).await;
                if client.send(b"x").await.is_err() {
                    return;
                }
            }
        }
    })
    .await
}

const AT_ONCE: Duration = Duration::ZERO;
const FOREVER: Duration = Duration::from_secs(3600);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[tokio::test]
async fn a_node_that_does_not_begin_to_answer_in_time_is_504() {
    let gateway = Gateway::start().await;
    let node = slow(FOREVER, AT_ONCE).await;
    gateway.serve_with("/*", &[node.address], json!({"timeouts": {"first_byte": "300ms"}})).await;
    let started = Instant::now();
    gateway.get("/").await.expect(504);
    assert_eq!(h2c::get(gateway.h2c, "a.test", "/").await.status, 504);
    // Far below the read timeout of 60 s.
    assert!(started.elapsed() < Duration::from_secs(30));
}

#[tokio::test]
async fn the_limit_of_the_first_byte_does_not_hurry_the_body() {
    let gateway = Gateway::start().await;
    let node = slow(AT_ONCE, ms(60)).await;
    gateway.serve_with("/*", &[node.address], json!({"timeouts": {"first_byte": "400ms"}})).await;
    for _ in 0..2 {
        let response = gateway.get("/").await.expect(200);
        assert_eq!(response.text(), "xxxxxxxxxx");
    }
}

#[tokio::test]
async fn an_upload_is_not_counted_as_waiting_for_the_first_byte() {
    let gateway = Gateway::start().await;
    let node = Upstream::saying("taken").await;
    gateway.serve_with("/*", &[node.address], json!({"timeouts": {"first_byte": "400ms"}})).await;
    let mut client = Client::connect(gateway.http).await;
    client.send(b"PUT / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 8\r\n\r\n").await.unwrap();
    for _ in 0..8 {
        sleep(ms(100)).await;
        client.send(b"y").await.unwrap();
    }
    assert_eq!(client.response_to("PUT").await.unwrap().status, 200);
}

#[tokio::test]
async fn another_node_is_asked_when_one_does_not_begin_to_answer() {
    let gateway = Gateway::start().await;
    let (silent, good) = (slow(FOREVER, AT_ONCE).await, Upstream::saying("good").await);
    let timeouts = json!({"timeouts": {"first_byte": "200ms"}, "retry": {"within": "30s"}});
    gateway.serve_with("/*", &[silent.address, good.address], timeouts).await;
    for i in 0..4 {
        assert_eq!(gateway.get(&format!("/{i}")).await.expect(200).text(), "good");
    }
    assert!(silent.connections() > 0, "the silent node was asked too");
}

#[tokio::test]
async fn a_whole_exchange_ends_at_its_limit_however_the_node_drips() {
    let gateway = Gateway::start().await;
    let node = slow(AT_ONCE, ms(300)).await;
    gateway.serve_with("/*", &[node.address], json!({"timeouts": {"total": "1s"}})).await;
    let mut client = Client::connect(gateway.http).await;
    client.send(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await.unwrap();
    let head = client.head().await.unwrap();
    assert!(head.first_line.contains("200"), "{}", head.first_line);
    let body = client.until_closed().await;
    assert!(body.len() < 10, "the response broke off after {} of 10 bytes", body.len());
}

/// The node falls silent after its first bytes: no piece comes that could be looked at.
#[tokio::test]
async fn a_whole_exchange_ends_at_its_limit_when_the_node_falls_silent() {
    let gateway = Gateway::start().await;
    let node = Upstream::scripted(|mut stream, _| async move {
        drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nxxx").await);
        sleep(FOREVER).await;
    })
    .await;
    gateway.serve_with("/*", &[node.address], json!({"timeouts": {"total": "700ms"}})).await;
    let started = Instant::now();
    let mut client = Client::connect(gateway.http).await;
    client.send(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await.unwrap();
    client.head().await.unwrap();
    assert_eq!(client.until_closed().await, b"xxx");
    assert!(started.elapsed() < Duration::from_secs(30), "60 s is the read timeout's");
}

#[tokio::test]
async fn all_tries_together_have_one_limit() {
    let gateway = Gateway::start().await;
    let nodes = [slow(FOREVER, AT_ONCE).await, slow(FOREVER, AT_ONCE).await, slow(FOREVER, AT_ONCE).await];
    let more = json!({"timeouts": {"first_byte": "500ms", "total": "700ms"}, "retry": {"within": "30s"}});
    gateway.serve_with("/*", &nodes.each_ref().map(|n| n.address), more).await;
    gateway.get("/").await.expect(504);
    let asked: usize = nodes.iter().map(Upstream::connections).sum();
    assert_eq!(asked, 2, "the third would have begun after a second");
}

#[tokio::test]
async fn a_service_sets_limits_and_a_route_of_it_may_set_others() {
    let gateway = Gateway::start().await;
    let node = slow(ms(600), AT_ONCE).await;
    gateway.service("slow", json!({"timeouts": {"first_byte": "200ms"}})).await;
    gateway.node("slow", node.address, 1).await;
    gateway.route("/hurried/*", "slow", json!({})).await;
    gateway.route("/patient/*", "slow", json!({"timeouts": {"first_byte": "30s"}})).await;
    gateway.applied().await;
    gateway.get("/hurried/").await.expect(504);
    gateway.get("/patient/").await.expect(200);
}

/// A client that stalls in its upload holds its node no longer than that either.
#[tokio::test]
async fn a_stalled_upload_ends_at_the_limit_of_the_whole_exchange() {
    let gateway = Gateway::start().await;
    let node = Upstream::saying("taken").await;
    gateway.serve_with("/*", &[node.address], json!({"timeouts": {"total": "600ms"}})).await;
    let started = Instant::now();
    let mut client = Client::connect(gateway.http).await;
    client.send(b"PUT / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 8\r\n\r\nabc").await.unwrap();
    // It is the client who is late.
    assert_eq!(client.response_to("PUT").await.unwrap().status, 408);
    assert!(started.elapsed() < Duration::from_secs(30), "60 s is the body timeout's");
    gateway.get("/").await.expect(200);
}

#[tokio::test]
async fn a_route_says_which_statuses_are_tried_again() {
    let gateway = Gateway::start().await;
    let failing = Upstream::answering(|_| crate::support::upstream::respond(503, &[], "no")).await;
    let good = Upstream::answering(|_| ok("good")).await;
    let nodes = [failing.address, good.address];
    gateway.serve_with("/a/*", &nodes, json!({"retry": {"on": ["connect", 503]}})).await;
    gateway.serve_with("/b/*", &nodes, json!({"retry": {"on": []}})).await;
    for _ in 0..4 {
        gateway.get("/a/").await.expect(200);
    }
    let statuses = [gateway.get("/b/").await.status, gateway.get("/b/").await.status];
    assert!(statuses.contains(&503), "{statuses:?}");
    // What may have had an effect is not sent twice for a status.
    let posts = [
        gateway.send(Request::new("POST", "/a/").body("x")).await.status,
        gateway.send(Request::new("POST", "/a/").body("x")).await.status,
    ];
    assert!(posts.contains(&503), "{posts:?}");
}

#[tokio::test]
async fn retries_stay_within_their_budget() {
    let gateway = Gateway::start().await;
    let failing = || Upstream::answering(|_| crate::support::upstream::respond(502, &[], "no"));
    let nodes = [failing().await, failing().await];
    gateway.serve_with("/*", &nodes.each_ref().map(|n| n.address), json!({"retry": {"budget": 0.1}})).await;
    for _ in 0..100 {
        gateway.get("/").await.expect(502);
    }
    let retries = nodes.iter().map(Upstream::count).sum::<usize>() - 100;
    // A tenth of the requests and ten that are always allowed; windows may turn meanwhile.
    assert!((10..=40).contains(&retries), "{retries} retries of 100 requests");
}

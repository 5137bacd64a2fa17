//! Many clients that are as slow as they can be: each is let go in time, costs little meanwhile, and nobody else waits.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::{Client, Gateway, Request, Upstream, eventually, h2c, in_time};

/// `make soak` has a thousand.
const CLIENTS: usize = 300;

async fn gateway(client: serde_json::Value, upstream: &Upstream) -> Gateway {
    let gateway = Gateway::with(json!({"client": client})).await;
    gateway.serve("/*", &[upstream.address]).await;
    for _ in 0..50 {
        gateway.get("/probe").await.expect(200);
    }
    gateway
}

/// Sends a beginning and then a byte now and then, until the gateway has enough. What it answered, and after how long.
async fn drip(to: SocketAddr, beginning: &[u8]) -> (Vec<u8>, Duration) {
    let started = Instant::now();
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.write_all(beginning).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let mut answer = Vec::new();
    let reading = reader.read_to_end(&mut answer);
    let writing = async {
        loop {
            tokio::time::sleep(Duration::from_millis(200)).await;
            if writer.write_all(b"a").await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        // A reset is an end too.
        _ = reading => {}
        () = writing => {}
    }
    (answer, started.elapsed())
}

/// R13 in short.
#[tokio::test(flavor = "multi_thread")]
async fn headers_that_drip_are_cut_off_after_their_time() {
    let upstream = Upstream::saying("x").await;
    let gateway = gateway(json!({"header_timeout": "2s"}), &upstream).await;
    let before = gateway.rss_kib();
    let beginnings = ["", "G", "GET /x HTTP/1.1\r\nHost: a\r\nX-Slow: ", "POST /x HTTP/1.1\r\nHost: a\r\n"];
    let clients = (0..CLIENTS).map(|i| {
        let to = if i % 2 == 0 { gateway.http } else { gateway.h2c };
        drip(to, beginnings[i / 2 % beginnings.len()].as_bytes())
    });
    let clients = tokio::spawn(join_all(clients.collect::<Vec<_>>()));
    let mut witness = Client::connect(gateway.http).await;
    let mut grown = 0;
    while !clients.is_finished() {
        in_time("another client", witness.get("/x")).await.unwrap().expect(200);
        grown = gateway.rss_kib().saturating_sub(before).max(grown);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for (answer, time) in clients.await.unwrap() {
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
        // Ten seconds later than it should, at the most: the machine is busy.
        assert!(time < Duration::from_secs(12), "{time:?}");
    }
    // R13 says 32 KiB each, of a release build; futures without optimisation are larger.
    assert!(grown < 64 * CLIENTS as u64, "grown by {grown} KiB");
    assert!(gateway.log_line("\"httpcode\":408").await.contains(r#""client":"127.0.0.1""#));
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_drip_or_stop_are_cut_off_after_their_time() {
    let upstream = Upstream::echo().await;
    let gateway = gateway(json!({"body_timeout": "1s", "min_body_rate": "100B"}), &upstream).await;
    let begin = "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 10000\r\n\r\nbegin";
    let drips = join_all((0..CLIENTS / 3).map(|_| drip(gateway.http, begin.as_bytes())));
    let stops = join_all((0..CLIENTS / 3).map(|_| async {
        let mut client = Client::connect(gateway.http).await;
        client.send(begin.as_bytes()).await.unwrap();
        client.until_closed().await
    }));
    let enough = async {
        // 10 bytes in 100 ms are enough.
        let mut client = Client::connect(gateway.http).await;
        client.send(b"POST /enough HTTP/1.1\r\nHost: a\r\nContent-Length: 800\r\n\r\n").await.unwrap();
        for _ in 0..40 {
            client.send(&[b'x'; 20]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
        client.response_to("POST").await.unwrap().expect(200).json()["body_length"].clone()
    };
    let (drips, stops, length) = in_time("all end", futures::future::join3(drips, stops, enough)).await;
    assert_eq!(length, 800);
    for answer in drips.into_iter().map(|(answer, _)| answer).chain(stops) {
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    }
    eventually("nothing is in flight", || async { gateway.metric("gateway_requests_in_flight", "").await == 0.0 })
        .await;
    assert!(upstream.seen().iter().all(|seen| seen.target != "/x"), "half a body is none");
    gateway.get("/probe").await.expect(200);
}

/// Over HTTP/2 too, where nothing else notices; and it is not the node that is to blame, or silent clients could have
/// every node taken out.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_never_comes_is_held_against_the_client_and_not_the_node() {
    let upstream = Upstream::echo().await;
    let gateway = Gateway::with(json!({"upstream": {"read_timeout": "1s"}})).await;
    gateway.serve("/*", &[upstream.address]).await;
    gateway.get("/probe").await.expect(200);
    let client = h2c::connect(gateway.h2c).await;
    let stalled = (0..20).map(|_| {
        let client = client.clone();
        async move {
            let request = http::Request::post("http://a/x").header("content-length", "1000").body(()).unwrap();
            let (response, mut stream) = client.ready().await.unwrap().send_request(request, false).unwrap();
            stream.send_data("half".into(), false).unwrap();
            h2c::read(response).await.status
        }
    });
    assert_eq!(in_time("all end", join_all(stalled)).await, [408; 20]);
    let mut client = Client::connect(gateway.http).await;
    client.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nhalf").await.unwrap();
    assert_eq!(client.response_to("POST").await.unwrap().status, 408);
    for _ in 0..5 {
        gateway.get("/probe").await.expect(200);
    }
    assert_eq!(gateway.metric("gateway_upstream_failures_total", "").await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_that_nobody_takes_are_given_up() {
    const READERS: usize = 50;
    let body: &'static str = "x".repeat(8 << 20).leak();
    let upstream = Upstream::answering(move |seen| {
        crate::support::upstream::ok(if seen.target == "/large" { body } else { "small" })
    })
    .await;
    let gateway = gateway(json!({"send_timeout": "2s"}), &upstream).await;
    let before = gateway.rss_kib();
    let readers = join_all((0..READERS).map(|_| async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut stream = socket.connect(gateway.http).await.unwrap();
        stream.write_all(&Request::get("/large").to_bytes()).await.unwrap();
        // A byte now and then, so that it is not silent.
        let mut byte = [0];
        for _ in 0..40 {
            if !matches!(stream.read(&mut byte).await, Ok(1)) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        stream
    }));
    let readers = tokio::time::timeout(crate::support::PATIENCE, readers).await.unwrap();
    eventually("all are given up", || async { gateway.metric("gateway_requests_in_flight", "").await == 0.0 }).await;
    let grown = gateway.rss_kib().saturating_sub(before);
    assert!(grown < 64 * 1024, "grown by {grown} KiB");
    gateway.get("/probe").await.expect(200);
    drop(readers);
}

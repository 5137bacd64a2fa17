//! Bodies pass as they come, however large, both ways.

use std::time::Duration;

use serde_json::json;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::support::upstream::{ok, read_request};
use crate::support::{Client, Gateway, Request, Upstream, eventually, in_time};

/// An upstream that begins a chunked response, and then sends each text it is handed as a chunk.
/// `None` ends the response.
async fn on_demand(content_type: &'static str) -> (Upstream, mpsc::UnboundedSender<Option<&'static str>>) {
    let (sender, receiver) = mpsc::unbounded_channel::<Option<&'static str>>();
    let receiver = std::sync::Arc::new(tokio::sync::Mutex::new(receiver));
    let upstream = Upstream::scripted(move |stream, _| {
        let receiver = receiver.clone();
        async move {
            let mut client = Client::over(stream);
            if read_request(&mut client).await.is_err() {
                return;
            }
            let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n\r\n");
            drop(client.send(head.as_bytes()).await);
            let mut receiver = receiver.lock().await;
            while let Some(Some(text)) = receiver.recv().await {
                if client.send(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes()).await.is_err() {
                    return;
                }
            }
            drop(client.send(b"0\r\n\r\n").await);
        }
    })
    .await;
    (upstream, sender)
}

#[tokio::test]
async fn server_sent_events_arrive_one_by_one() {
    let gateway = Gateway::start().await;
    let (upstream, events) = on_demand("text/event-stream").await;
    gateway.serve("/*", &[upstream.address]).await;
    let mut client = Client::connect(gateway.http).await;
    client.send(&Request::get("/events").to_bytes()).await.unwrap();
    let head = client.head().await.unwrap();
    assert_eq!(head.header("content-type"), Some("text/event-stream"), "the head came before any event");
    for event in ["data: one\n\n", "data: two\n\n", ": heartbeat\n\n"] {
        events.send(Some(event)).unwrap();
        // Nothing more is sent until this one is here.
        assert_eq!(client.chunk().await.unwrap().as_deref(), Some(event.as_bytes()));
    }
    events.send(None).unwrap();
    assert_eq!(client.chunk().await.unwrap(), None);
}

#[tokio::test]
async fn server_sent_events_arrive_one_by_one_over_http2() {
    let gateway = Gateway::start().await;
    let (upstream, events) = on_demand("text/event-stream").await;
    gateway.serve("/*", &[upstream.address]).await;
    let client = crate::support::h2c::connect(gateway.h2c).await;
    let request = http::Request::get("http://a.test/events").body(()).unwrap();
    let (response, _) = client.ready().await.unwrap().send_request(request, true).unwrap();
    let mut body = in_time("the head", response).await.unwrap().into_body();
    for event in ["data: one\n\n", "data: two\n\n"] {
        events.send(Some(event)).unwrap();
        let chunk = in_time("an event", body.data()).await.unwrap().unwrap();
        assert_eq!(&chunk[..], event.as_bytes());
    }
    events.send(None).unwrap();
    while let Some(chunk) = in_time("the end", body.data()).await {
        assert!(chunk.unwrap().is_empty(), "nothing came after the last event");
    }
}

#[tokio::test]
async fn an_upload_reaches_the_upstream_while_it_is_being_sent() {
    let gateway = Gateway::start().await;
    let (sender, mut pieces) = mpsc::unbounded_channel();
    let upstream = Upstream::scripted(move |stream, _| {
        let sender = sender.clone();
        async move {
            let mut client = Client::over(stream);
            let head = client.head().await.unwrap();
            assert_eq!(head.header("transfer-encoding"), Some("chunked"));
            while let Some(piece) = client.chunk().await.unwrap() {
                sender.send(String::from_utf8(piece).unwrap()).unwrap();
            }
            client.send(&ok("thanks")).await.unwrap();
        }
    })
    .await;
    gateway.serve("/*", &[upstream.address]).await;
    let mut client = Client::connect(gateway.http).await;
    client.send(b"POST /up HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
    for piece in ["one", "two", "three"] {
        client.send(format!("{:x}\r\n{piece}\r\n", piece.len()).as_bytes()).await.unwrap();
        assert_eq!(in_time("the piece", pieces.recv()).await.as_deref(), Some(piece));
    }
    client.send(b"0\r\n\r\n").await.unwrap();
    assert_eq!(client.response_to("POST").await.unwrap().expect(200).text(), "thanks");
}

#[tokio::test]
async fn a_client_that_expects_100_gets_it_before_its_body_is_due() {
    let gateway = Gateway::start().await;
    let upstream = Upstream::echo().await;
    gateway.serve("/*", &[upstream.address]).await;
    let mut client = Client::connect(gateway.http).await;
    client.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n").await.unwrap();
    let interim = client.head().await.unwrap();
    assert!(interim.first_line.starts_with("HTTP/1.1 100"), "{}", interim.first_line);
    client.send(b"hello").await.unwrap();
    let response = client.response_to("POST").await.unwrap().expect(200);
    assert_eq!((response.json()["body_length"].as_u64(), upstream.last().body.as_slice()), (Some(5), &b"hello"[..]));
    assert_eq!(response.interim, [0_u16; 0], "one 100 is enough");
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_and_no_more_of_it_is_read() {
    let gateway = Gateway::with(json!({"client": {"max_body_size": "1MiB"}})).await;
    let upstream = Upstream::echo().await;
    gateway.serve("/default/*", &[upstream.address]).await;
    gateway.serve_with("/small/*", &[upstream.address], json!({"max_body_size": 10})).await;
    gateway.serve_with("/any/*", &[upstream.address], json!({"max_body_size": 0})).await;
    let post = |path: &str, size: usize| Request::new("POST", path).body(vec![b'x'; size]);
    for (path, size, status) in
        [("/default/x", 1 << 20, 200), ("/small/x", 10, 200), ("/any/x", 5 << 20, 200), ("/small/x", 11, 413)]
    {
        let response = gateway.send(post(path, size)).await.expect(status);
        if status == 200 {
            assert_eq!(response.json()["body_length"], size, "{path}");
        }
    }
    // Announced: refused before a byte of it is sent.
    let mut client = Client::connect(gateway.http).await;
    client.send(b"POST /default/x HTTP/1.1\r\nHost: a\r\nContent-Length: 1048577\r\n\r\n").await.unwrap();
    assert_eq!(client.response_to("POST").await.unwrap().status, 413);
    // Not announced: refused when it gets too long.
    let mut client = Client::connect(gateway.http).await;
    client.send(b"POST /small/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
    client.send(b"6\r\nabcdef\r\n6\r\nghijkl\r\n").await.unwrap();
    assert_eq!(client.response_to("POST").await.unwrap().status, 413);
    assert!(upstream.seen().iter().all(|seen| seen.body_length != 11 && seen.body_length != 12));
}

/// Sends so many bytes of a body, and returns what is answered.
async fn upload(gateway: &Gateway, size: usize) -> crate::support::Response {
    let mut client = Client::connect(gateway.http).await;
    client.send(format!("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n").as_bytes()).await.unwrap();
    let block = vec![b'x'; 1 << 20];
    for _ in 0..size / block.len() {
        client.send(&block).await.unwrap();
    }
    client.response_to("POST").await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_upload_streams_through_in_little_memory() {
    const SIZE: usize = 300 << 20;
    let gateway = Gateway::with(json!({"client": {"max_body_size": "0B"}})).await;
    let upstream = Upstream::echo().await;
    gateway.serve("/*", &[upstream.address]).await;
    upload(&gateway, 1 << 20).await.expect(200);
    let before = gateway.rss_kib();
    assert_eq!(upload(&gateway, SIZE).await.expect(200).json()["body_length"], SIZE);
    let grown = gateway.rss_kib().saturating_sub(before);
    assert!(grown < 32 * 1024, "grown by {grown} KiB");
}

/// Sends 300 MiB as fast as the gateway takes them.
async fn large_download() -> Upstream {
    Upstream::scripted(|stream: TcpStream, _| async move {
        let mut client = Client::over(stream);
        while read_request(&mut client).await.is_ok() {
            let block = vec![b'x'; 1 << 20];
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 300 << 20);
            let mut sent = client.send(head.as_bytes()).await;
            for _ in 0..300 {
                if sent.is_err() {
                    return;
                }
                sent = client.send(&block).await;
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_download_streams_through_in_little_memory() {
    let gateway = Gateway::start().await;
    let upstream = large_download().await;
    gateway.serve("/*", &[upstream.address]).await;
    let before = gateway.rss_kib();
    let mut client = Client::connect(gateway.http).await;
    client.send(&Request::get("/x").to_bytes()).await.unwrap();
    let head = client.head().await.unwrap();
    assert_eq!(head.header("content-length"), Some("314572800"));
    for _ in 0..300 {
        assert_eq!(client.exactly(1 << 20).await.unwrap().len(), 1 << 20);
    }
    let grown = gateway.rss_kib().saturating_sub(before);
    assert!(grown < 32 * 1024, "grown by {grown} KiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_costs_little_memory() {
    let gateway = Gateway::start().await;
    let upstream = large_download().await;
    gateway.serve("/*", &[upstream.address]).await;
    let before = gateway.rss_kib();
    let mut idle = Vec::new();
    for _ in 0..10 {
        let mut client = Client::connect(gateway.http).await;
        client.send(&Request::get("/x").to_bytes()).await.unwrap();
        client.head().await.unwrap();
        idle.push(client);
    }
    eventually("all ten are stuck", || async { upstream.connections() == 10 }).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let grown = gateway.rss_kib().saturating_sub(before);
    assert!(grown < 32 * 1024, "grown by {grown} KiB");
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_request_upstream() {
    let gateway = Gateway::start().await;
    let (ended, mut is_ended) = mpsc::unbounded_channel();
    let upstream = Upstream::scripted(move |stream, _| {
        let ended = ended.clone();
        async move {
            let mut client = Client::over(stream);
            drop(read_request(&mut client).await);
            drop(client.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n").await);
            client.until_closed().await;
            ended.send(()).ok();
        }
    })
    .await;
    gateway.serve("/*", &[upstream.address]).await;
    let mut client = Client::connect(gateway.http).await;
    client.send(&Request::get("/x").to_bytes()).await.unwrap();
    client.head().await.unwrap();
    drop(client);
    in_time("the upstream is let go", is_ended.recv()).await.unwrap();
}

#[tokio::test]
async fn a_response_cut_short_is_seen_to_be() {
    let gateway = Gateway::start().await;
    let upstream = Upstream::scripted(|stream, _| async move {
        let mut client = Client::over(stream);
        let seen = read_request(&mut client).await.unwrap();
        let framing = if seen.target == "/length" { "Content-Length: 100" } else { "Transfer-Encoding: chunked" };
        drop(client.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n4\r\nhalf").as_bytes()).await);
    })
    .await;
    gateway.serve("/*", &[upstream.address]).await;
    for path in ["/length", "/chunked"] {
        let mut client = Client::connect(gateway.http).await;
        client.send(&Request::get(path).to_bytes()).await.unwrap();
        let response = client.response_to("GET").await;
        assert!(response.is_err(), "{path}: a whole response: {response:?}");
    }
}

#[tokio::test]
async fn every_kind_of_response_framing_arrives_whole() {
    let gateway = Gateway::start().await;
    let upstream = Upstream::scripted(|stream, _| async move {
        let mut client = Client::over(stream);
        let seen = read_request(&mut client).await.unwrap();
        let response = match seen.target.as_str() {
            "/none" => "HTTP/1.1 204 No Content\r\n\r\n",
            "/unchanged" => "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n",
            "/close" => "HTTP/1.0 200 OK\r\n\r\nto the end",
            "/zero" => "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            "/head" => "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n",
            _ => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n",
        };
        drop(client.send(response.as_bytes()).await);
    })
    .await;
    gateway.serve("/*", &[upstream.address]).await;
    for (method, path, status, body) in [
        ("GET", "/none", 204, ""),
        ("GET", "/unchanged", 304, ""),
        ("GET", "/close", 200, "to the end"),
        ("GET", "/zero", 200, ""),
        ("HEAD", "/head", 200, ""),
        ("GET", "/chunked", 200, "abcdefg"),
    ] {
        let response = Request::new(method, path).send(gateway.http).await.expect(status);
        assert_eq!(response.text(), body, "{path}");
    }
}

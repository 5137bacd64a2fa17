//! What an `Upgrade` may do: open a WebSocket, and nothing else.

use std::time::Duration;

use serde_json::json;
use tokio::time::timeout;

use crate::support::tunnel::{open, tunnel};
use crate::support::{Client, Gateway, Request, Upstream};

#[tokio::test]
async fn an_upgraded_session_passes_more_than_the_body_limit() {
    let gateway = Gateway::with(json!({"client": {"max_body_size": "1000B"}})).await;
    let upstream = tunnel().await;
    gateway.serve("/default/*", &[upstream.address]).await;
    gateway.serve_with("/ws", &[upstream.address], json!({"max_body_size": 1000})).await;
    for port in [gateway.http, gateway.h2c] {
        let mut client = open(port).await;
        let block = vec![b'z'; 10_000];
        for round in 0..20 {
            client.send(&block).await.unwrap();
            assert_eq!(client.exactly(block.len()).await.unwrap_or_else(|e| panic!("{round}: {e}")), block);
        }
    }
}

#[tokio::test]
async fn an_upgraded_session_may_be_silent_for_longer_than_a_request_body() {
    const SEVERAL_TIMEOUTS: Duration = Duration::from_millis(300);
    let short = json!({"client": {"body_timeout": "100ms"}, "upstream": {"read_timeout": "100ms"}});
    let gateway = Gateway::with(short).await;
    let upstream = tunnel().await;
    gateway.serve("/ws", &[upstream.address]).await;
    for port in [gateway.http, gateway.h2c] {
        let mut client = open(port).await;
        for _ in 0..3 {
            let something = timeout(SEVERAL_TIMEOUTS, client.some()).await;
            assert!(something.is_err(), "neither bytes nor an end: {something:?}");
            client.send(b"ping").await.unwrap();
            assert_eq!(client.exactly(4).await.unwrap(), b"ping");
        }
    }
}

#[tokio::test]
async fn an_upgrade_with_a_body_does_not_escape_the_body_limit() {
    let gateway = Gateway::with(json!({"client": {"max_body_size": "1000B"}})).await;
    let upstream = Upstream::echo().await;
    gateway.serve("/*", &[upstream.address]).await;
    for (method, protocol) in [("POST", "x"), ("POST", "websocket"), ("GET", "websocket"), ("PUT", "h2c")] {
        let head = format!(
            "{method} /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        );
        let mut client = Client::connect(gateway.http).await;
        client.send(format!("{head}Transfer-Encoding: chunked\r\n\r\n").as_bytes()).await.unwrap();
        client.send(&[b"7d0\r\n", &[b'x'; 2000][..], b"\r\n"].concat()).await.unwrap();
        assert_eq!(client.response_to(method).await.unwrap().status, 413, "{method} {protocol}, chunked");
        let mut client = Client::connect(gateway.http).await;
        client.send(format!("{head}Content-Length: 2000\r\n\r\n").as_bytes()).await.unwrap();
        assert_eq!(client.response_to(method).await.unwrap().status, 413, "{method} {protocol}, with a length");
    }
    assert!(upstream.seen().iter().all(|seen| seen.body_length <= 1000), "{:?}", upstream.seen());
    // Within the limit it is a plain request, whole.
    let mut client = Client::connect(gateway.http).await;
    let head =
        b"POST /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    client.send(&[&head[..], b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"].concat()).await.unwrap();
    assert_eq!(client.response_to("POST").await.unwrap().expect(200).json()["body_length"], 5);
    assert_eq!(client.get("/next").await.unwrap().expect(200).json()["target"], "/next", "the connection is in step");
}

#[tokio::test]
async fn an_upgrade_to_http2_is_never_forwarded() {
    let gateway = Gateway::start().await;
    let upstream = Upstream::echo().await;
    gateway.serve("/*", &[upstream.address]).await;
    for (method, upgrade) in [("GET", "h2c"), ("GET", "H2C"), ("GET", "h2c, websocket"), ("POST", "h2c"), ("GET", "x")]
    {
        let request = Request::new(method, "/x")
            .header("Connection", "Upgrade, HTTP2-Settings")
            .header("Upgrade", upgrade)
            .header("HTTP2-Settings", "AAMAAABkAAQAAP__");
        let mut client = Client::connect(gateway.http).await;
        client.send(&request.to_bytes()).await.unwrap();
        client.response_to(method).await.unwrap().expect(200);
        let seen = upstream.last();
        for name in ["upgrade", "http2-settings"] {
            assert_eq!(seen.header(name), None, "{method} {upgrade}");
        }
        let connection = seen.header("connection").unwrap_or_default().to_ascii_lowercase();
        assert!(!connection.contains("upgrade"), "{method} {upgrade}: {connection}");
        // What follows is a request, not a tunnel.
        client.get("/next").await.unwrap().expect(200);
        assert_eq!(upstream.last().target, "/next");
    }
}

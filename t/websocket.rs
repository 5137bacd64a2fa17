//! WebSocket, and the defect of the library beneath that ends a connection right after the upgrade.

use serde_json::json;

use crate::support::python::{self, Server};
use crate::support::{Client, Gateway, Upstream, eventually, in_time};

const UPGRADE: &[u8] = b"GET /ws/echo HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const SWITCHED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// A frame with a text, masked as clients must.
fn masked(text: &str) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = vec![0x81, 0x80 | u8::try_from(text.len()).unwrap()];
    frame.extend(mask);
    frame.extend(text.bytes().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// A frame with a text, as servers send it.
fn frame(text: &str) -> Vec<u8> {
    [&[0x81, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
}

/// The fastest server there can be: it greets in the same write as the 101, and then echoes bytes.
async fn fast_server() -> Upstream {
    Upstream::scripted(|stream, _| async move {
        let mut client = Client::over(stream);
        if client.head().await.is_err() {
            return;
        }
        drop(client.send(&[SWITCHED, &frame("hello")].concat()).await);
        while let Ok(bytes) = client.some().await {
            if client.send(&bytes).await.is_err() {
                return;
            }
        }
    })
    .await
}

/// T1: 138 of 4,000 upgrades failed without the work-around.
#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_upgrades_to_a_fast_server_all_live() {
    let gateway = Gateway::start().await;
    let upstream = fast_server().await;
    gateway.serve("/ws/*", &[upstream.address]).await;
    for port in [gateway.http, gateway.h2c] {
        for round in 0..30 {
            let sessions = (0..20).map(|i| async move {
                let mut client = Client::connect(port).await;
                client.send(UPGRADE).await.unwrap();
                let head = client.head().await.unwrap_or_else(|e| panic!("round {round}.{i}: no 101: {e}"));
                assert!(head.first_line.starts_with("HTTP/1.1 101"), "{}", head.first_line);
                assert_eq!(
                    client.exactly(7).await.unwrap_or_else(|e| panic!("round {round}.{i}: {e}")),
                    frame("hello")
                );
                let question = masked(&format!("question {i}"));
                client.send(&question).await.unwrap();
                assert_eq!(
                    client.exactly(question.len()).await.unwrap_or_else(|e| panic!("round {round}.{i}: {e}")),
                    question
                );
            });
            futures::future::join_all(sessions).await;
        }
    }
    assert_eq!(upstream.connections(), 1_200, "each upgrade has a connection of its own");
}

async fn python_echo(config: serde_json::Value) -> (Gateway, Server) {
    let server = Server::start("websocket/server.py").await;
    let gateway = Gateway::with(config).await;
    gateway.serve("/ws/*", &[server.address]).await;
    (gateway, server)
}

async fn case(gateway: &Gateway, name: &str) {
    for port in [gateway.http, gateway.h2c] {
        let said = python::run("websocket/client.py", vec![port.to_string(), name.into()]).await;
        assert_eq!(said.trim(), "ok", "{name}");
    }
}

#[tokio::test]
async fn texts_bytes_pings_and_subprotocols_pass() {
    let (gateway, _server) = python_echo(json!({})).await;
    case(&gateway, "echo").await;
}

#[tokio::test]
async fn a_message_of_5_mb_passes() {
    let (gateway, _server) = python_echo(json!({"client": {"max_body_size": "1MiB"}})).await;
    case(&gateway, "large").await;
}

#[tokio::test]
async fn hundreds_of_sessions_of_a_real_server_pass() {
    let (gateway, _server) = python_echo(json!({})).await;
    case(&gateway, "many").await;
}

#[tokio::test]
async fn an_idle_session_outlives_the_timeouts_of_requests() {
    let short = json!({
        "client": {"header_timeout": "1s", "body_timeout": "1s", "keepalive_timeout": "1s"},
        "upstream": {"read_timeout": "1s", "send_timeout": "1s", "idle_timeout": "1s"},
    });
    let (gateway, _server) = python_echo(short).await;
    case(&gateway, "idle").await;
}

#[tokio::test]
async fn a_refused_upgrade_is_passed_on() {
    let gateway = Gateway::start().await;
    let upstream = Upstream::answering(|_| crate::support::upstream::respond(403, &[], "no")).await;
    gateway.serve("/ws/*", &[upstream.address]).await;
    let mut client = Client::connect(gateway.http).await;
    client.send(UPGRADE).await.unwrap();
    assert_eq!(client.response_to("GET").await.unwrap().expect(403).text(), "no");
}

#[tokio::test]
async fn an_upgrade_goes_through_routing_and_plugins_like_any_request() {
    let gateway = Gateway::start().await;
    let upstream = Upstream::scripted(|stream, _| async move {
        let mut client = Client::over(stream);
        let head = client.head().await.unwrap();
        let traced = head.header("x-trace-id").is_some();
        let path = head.first_line.split(' ').nth(1).unwrap().to_owned();
        drop(client.send(&[SWITCHED, &frame(&format!("{path} {traced}"))].concat()).await);
        client.until_closed().await;
    })
    .await;
    let more = json!({
        "plugins": ["discovery", "tracing", "rewrite"],
        "props": {"rewrite_url_regex": "^/ws/", "rewrite_replace": "/socket/"},
    });
    gateway.serve_with("/ws/*", &[upstream.address], more).await;
    let mut client = Client::connect(gateway.http).await;
    client.send(UPGRADE).await.unwrap();
    let head = client.head().await.unwrap();
    assert!(head.header("x-trace-id").is_some(), "{head:?}");
    assert_eq!(head.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    let expected = frame("/socket/echo true");
    assert_eq!(client.exactly(expected.len()).await.unwrap(), expected);

    let mut client = Client::connect(gateway.http).await;
    client.send(&String::from_utf8_lossy(UPGRADE).replace("/ws/echo", "/none").into_bytes()).await.unwrap();
    assert_eq!(client.response_to("GET").await.unwrap().status, 404);
}

/// CVE-2026-2833: bytes that follow the request must not be passed on before the 101.
#[tokio::test]
async fn bytes_sent_before_the_switch_are_no_request() {
    let gateway = Gateway::start().await;
    let upstream = Upstream::answering(|_| crate::support::upstream::respond(200, &[], "not switched")).await;
    gateway.serve("/*", &[upstream.address]).await;
    let mut client = Client::connect(gateway.http).await;
    client.send(&[UPGRADE, b"GET /hidden HTTP/1.1\r\nHost: b\r\n\r\n"].concat()).await.unwrap();
    client.finish().await;
    client.until_closed().await;
    assert!(
        upstream.seen().iter().all(|seen| seen.target == "/ws/echo" || seen.header("x-real-ip").is_some()),
        "{:?}",
        upstream.seen()
    );
}

#[tokio::test]
async fn either_side_can_end_the_session() {
    let gateway = Gateway::start().await;
    let (upstream_side, mut ended) = tokio::sync::mpsc::unbounded_channel();
    let upstream = Upstream::scripted(move |stream, number| {
        let ended = upstream_side.clone();
        async move {
            let mut client = Client::over(stream);
            drop(client.head().await);
            drop(client.send(SWITCHED).await);
            if number == 0 {
                // Ends by itself.
                return;
            }
            client.until_closed().await;
            ended.send(()).ok();
        }
    })
    .await;
    gateway.serve("/ws/*", &[upstream.address]).await;
    let mut client = Client::connect(gateway.http).await;
    client.send(UPGRADE).await.unwrap();
    client.head().await.unwrap();
    assert!(client.until_closed().await.is_empty());

    let mut client = Client::connect(gateway.http).await;
    client.send(UPGRADE).await.unwrap();
    client.head().await.unwrap();
    drop(client);
    in_time("the server is told", ended.recv()).await.unwrap();
    eventually("nothing is in flight", || async { gateway.metric("gateway_requests_in_flight", "").await == 0.0 })
        .await;
    assert!(gateway.log_line("/ws/echo").await.contains("\"httpcode\":101"));
}

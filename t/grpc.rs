//! gRPC through the gateway: the official client and server, and frames where those hide something.

use std::time::Duration;

use bytes::Bytes;
use serde_json::json;

use crate::support::python::{self, Server};
use crate::support::{Client, Gateway, Request, Upstream, free_address, h2c, in_time};

const SERVER: &str = "grpc/server.py";

async fn gateway() -> (Gateway, Server) {
    let server = Server::start(SERVER).await;
    let gateway = Gateway::start().await;
    gateway.serve_with("/t.Service/*", &[server.address], json!({"protocol": "grpc"})).await;
    (gateway, server)
}

/// Runs a case of client.py against the gateway.
async fn case(gateway: &Gateway, name: &str) {
    let said = python::run("grpc/client.py", vec![gateway.h2c.to_string(), name.into()]).await;
    assert_eq!(said.trim(), "ok", "{name}");
}

/// The cases hold without the gateway too: what fails below is its fault.
#[tokio::test(flavor = "multi_thread")]
async fn the_cases_hold_without_a_gateway() {
    let server = Server::start(SERVER).await;
    for name in ["unary", "trailers", "status", "bidi_small", "slow_reader"] {
        let said = python::run("grpc/client.py", vec![server.address.to_string(), name.into()]).await;
        assert_eq!(said.trim(), "ok", "{name}");
    }
}

#[tokio::test]
async fn unary_calls_pass_with_metadata_status_and_trailers() {
    let (gateway, _server) = gateway().await;
    for name in ["unary", "trailers", "metadata", "status", "unknown_method"] {
        case(&gateway, name).await;
    }
}

#[tokio::test]
async fn streams_pass_in_all_three_kinds() {
    let (gateway, _server) = gateway().await;
    for name in ["server_stream", "client_stream", "bidi", "half_then_fail"] {
        case(&gateway, name).await;
    }
}

#[tokio::test]
async fn an_idle_stream_outlives_the_timeouts_of_requests() {
    let short = json!({
        "client": {"header_timeout": "1s", "body_timeout": "1s", "h2_idle_timeout": "1s"},
        "upstream": {"read_timeout": "1s", "send_timeout": "1s", "idle_timeout": "1s"},
    });
    let server = Server::start(SERVER).await;
    let gateway = Gateway::with(short).await;
    gateway.serve_with("/t.Service/*", &[server.address], json!({"protocol": "grpc"})).await;
    case(&gateway, "idle").await;
}

/// T16: bare Pingora ends the whole connection here.
#[tokio::test]
async fn thousands_of_small_messages_pass_both_ways() {
    let (gateway, _server) = gateway().await;
    for name in ["bidi_small", "client_stream_small", "slow_reader"] {
        case(&gateway, name).await;
    }
}

#[tokio::test]
async fn messages_of_20_mib_pass() {
    let (gateway, _server) = gateway().await;
    case(&gateway, "large").await;
}

#[tokio::test]
async fn many_calls_at_once_share_connections() {
    let (gateway, _server) = gateway().await;
    case(&gateway, "many_at_once").await;
}

#[tokio::test]
async fn a_cancelled_call_is_cancelled_at_the_server() {
    let (gateway, mut server) = gateway().await;
    case(&gateway, "cancel").await;
    server.says("called").await;
    server.says("cancelled").await;
}

#[tokio::test]
async fn a_deadline_reaches_the_server() {
    let (gateway, mut server) = gateway().await;
    case(&gateway, "deadline").await;
    server.says("deadline").await;
    server.says("cancelled").await;
}

#[tokio::test]
async fn the_gateways_own_errors_have_a_grpc_status() {
    let gateway = Gateway::start().await;
    gateway.serve_with("/t.Service/*", &[free_address()], json!({"protocol": "grpc"})).await;
    case(&gateway, "unavailable").await;
    let other = Gateway::start().await;
    case(&other, "no_route").await;
    // T2: on the wire, it is one HEADERS frame that ends the stream.
    for (gateway, status) in [(&gateway, "14"), (&other, "12")] {
        let response = h2c::call(gateway.h2c, "/t.Service/Unary", b"").await;
        assert_eq!((response.status, response.grpc().0.as_str()), (200, status));
        assert!(response.headers_only, "{response:?}");
        assert_eq!(response.headers["content-type"], "application/grpc");
        assert!(!response.grpc().1.is_empty(), "{response:?}");
        assert_eq!(response.headers["server"], "Ws-Cloud-Gateway");
    }
}

/// The rest of a call whose server dies is told by trailers, not by a reset.
#[tokio::test]
async fn a_server_that_dies_in_the_middle_is_unavailable() {
    let upstream = Upstream::scripted(|stream, _| async move {
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let (_request, mut respond) = connection.accept().await.unwrap().unwrap();
        let response = http::Response::builder().header("content-type", "application/grpc").body(()).unwrap();
        let mut body = respond.send_response(response, false).unwrap();
        body.send_data(h2c::frame(b"first"), false).unwrap();
        // Let it out, then be gone.
        let _cut = tokio::time::timeout(Duration::from_millis(300), connection.accept()).await;
    })
    .await;
    let gateway = Gateway::start().await;
    gateway.serve_with("/t.Service/*", &[upstream.address], json!({"protocol": "grpc"})).await;
    let (response, mut stream) = h2c::begin_call(h2c::connect(gateway.h2c).await, "/t.Service/X").await;
    stream.send_data(h2c::frame(b"x"), true).unwrap();
    let response = h2c::read(response).await;
    assert_eq!(&response.body[..], &h2c::frame(b"first")[..]);
    assert_eq!(response.grpc().0, "14", "{response:?}");
}

/// T16, frame by frame: a flood of tiny frames towards a server that does not read is bounded, and
/// does not end the gateway.
#[tokio::test(flavor = "multi_thread")]
async fn tiny_frames_towards_a_server_that_does_not_read_stay_bounded() {
    let upstream = Upstream::scripted(|stream, _| async move {
        let mut connection = h2::server::handshake(stream).await.unwrap();
        // Accepts, and never gives back any window.
        let mut held = Vec::new();
        while let Some(Ok(request)) = connection.accept().await {
            held.push(request);
        }
    })
    .await;
    let gateway = Gateway::start().await;
    gateway.serve_with("/t.Service/*", &[upstream.address], json!({"protocol": "grpc"})).await;
    let before = gateway.rss_kib();
    let (response, mut stream) = h2c::begin_call(h2c::connect(gateway.h2c).await, "/t.Service/X").await;
    let mut sent = 0;
    for _ in 0..200_000 {
        stream.reserve_capacity(64);
        // Flow control stops us, or the gateway ends the stream: both bound it.
        let granted =
            tokio::time::timeout(Duration::from_millis(500), futures::future::poll_fn(|cx| stream.poll_capacity(cx)))
                .await;
        match granted {
            Ok(Some(Ok(_))) if stream.send_data(Bytes::from_static(&[0; 64]), false).is_ok() => sent += 1,
            _ => break,
        }
    }
    assert!(sent >= 300, "a usual burst passes: {sent}");
    let grown = gateway.rss_kib().saturating_sub(before);
    assert!(grown < 64 * 1024, "grown by {grown} KiB after {sent} frames");
    drop(response);
    assert!(gateway.get("/other").await.status == 404);
}

/// T14: HTTP/1.1 has no trailers a gRPC client would see.
#[tokio::test]
async fn grpc_over_http1_is_refused() {
    let (gateway, _server) = gateway().await;
    for port in [gateway.http, gateway.h2c] {
        let request = Request::new("POST", "/t.Service/Unary")
            .header("Content-Type", "application/grpc")
            .header("TE", "trailers");
        let response = request.body(h2c::frame(b"x").to_vec()).send(port).await;
        assert_eq!(response.status, 505, "{}", response.text());
    }
}

#[tokio::test]
async fn grpc_calls_have_the_headers_and_the_log_line_of_other_requests() {
    let (gateway, server) = gateway().await;
    let (response, mut stream) = h2c::begin_call(h2c::connect(gateway.h2c).await, "/t.Service/Metadata").await;
    stream.send_data(h2c::frame(b""), true).unwrap();
    let response = h2c::read(response).await;
    assert_eq!(response.grpc().0, "0", "{response:?}");
    let seen = String::from_utf8_lossy(&response.body).into_owned();
    assert!(seen.contains("x-real-ip=127.0.0.1") && seen.contains("x-forwarded-for=127.0.0.1"), "{seen}");
    let line: serde_json::Value = serde_json::from_str(&gateway.log_line("t.Service/Metadata").await).unwrap();
    assert_eq!((&line["httpcode"], &line["upstream"]), (&json!(200), &json!(server.address.to_string())));
}

#[tokio::test]
async fn http1_and_http2_share_the_h2c_port() {
    let (gateway, _server) = gateway().await;
    let upstream = Upstream::saying("plain").await;
    gateway.serve("/both/*", &[upstream.address]).await;
    assert_eq!(Request::get("/both/x").send(gateway.h2c).await.expect(200).text(), "plain");
    assert_eq!(&h2c::get(gateway.h2c, "a.test", "/both/x").await.body[..], b"plain");
    let mut client = Client::connect(gateway.h2c).await;
    for _ in 0..3 {
        assert_eq!(client.get("/both/x").await.unwrap().text(), "plain", "keep-alive");
    }
}

/// A node that speaks no HTTP/2 is an error of the gateway's own, in time.
#[tokio::test]
async fn a_grpc_node_that_speaks_http1_is_unavailable() {
    let upstream = Upstream::saying("not h2").await;
    let gateway = Gateway::start().await;
    gateway.serve_with("/t.Service/*", &[upstream.address], json!({"protocol": "grpc"})).await;
    let response = in_time("an answer", h2c::call(gateway.h2c, "/t.Service/X", b"")).await;
    assert_eq!(response.grpc().0, "14", "{response:?}");
}

//! Over real connections: what a client may take, and how a stop ends it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::*;
use crate::admin::{Limits, serve};

struct Server {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

async fn start(router: Router, limits: Limits) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = watch::channel(false);
    let task = tokio::spawn(serve(listener, router, limits, stopped));
    Server { address, stop, task }
}

fn quick() -> Limits {
    Limits { header_timeout: Duration::from_millis(200), send_timeout: Duration::from_millis(200), ..Limits::default() }
}

/// Sends bytes and reads to the end.
async fn exchange(address: SocketAddr, bytes: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A reset after the answer is an end too.
    drop(stream.read_to_end(&mut answer).await);
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn an_answer_over_tcp_is_what_the_old_gateway_sent() {
    let server = start(Api::new().router, quick()).await;
    let answer = exchange(
        server.address,
        &format!("GET /admin/routes/list HTTP/1.1\r\nHost: localhost\r\nX-Api-Token: {API_TOKEN}\r\nConnection: close\r\n\r\n"),
    )
    .await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    for line in ["content-type: application/json", "content-length: 2", "server: Ws-Cloud-Gateway"] {
        assert!(head.to_lowercase().contains(&line.to_lowercase()), "{head}");
    }
    assert_eq!(body, "[]");
}

#[tokio::test]
async fn large_bodies_are_refused_said_or_not() {
    let api = Api::new();
    let server = start(api.router.clone(), quick()).await;
    let head = format!("POST /admin/routes/save HTTP/1.1\r\nHost: localhost\r\nX-Api-Token: {API_TOKEN}\r\n");
    let answer = exchange(server.address, &format!("{head}Content-Length: 1048577\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.ends_with(&page("413 Request Entity Too Large")), "{answer}");
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000)).repeat(17);
    let answer = exchange(server.address, &format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunk}")).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    // The largest allowed one passes; the old gateway saw bodies over 16 KiB as empty.
    let route = json!({"prefix": "/a", "remark": "x".repeat(900_000)}).to_string();
    let answer =
        exchange(server.address, &format!("{head}Connection: close\r\nContent-Length: {}\r\n\r\n{route}", route.len()))
            .await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("ok"), "{answer}");
}

#[tokio::test]
async fn slow_and_large_headers_and_idle_connections_are_ended() {
    let server = start(Api::new().router, quick()).await;
    for bytes in ["", "GET /admin/", "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"] {
        let begun = Instant::now();
        exchange(server.address, bytes).await;
        assert!(begun.elapsed() < Duration::from_secs(5), "{bytes:?}");
    }
    let large = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(200_000));
    let answer = exchange(server.address, &large).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_ended() {
    let api = Api::new();
    for i in 0..100 {
        api.store.put(&format!("{P}routes/{i}"), &json!({"prefix": "/a", "remark": "x".repeat(200_000)}).to_string());
    }
    let limits = Limits { max_connections: 1, ..quick() };
    let server = start(api.router.clone(), limits).await;
    let call = format!("GET /admin/routes/list HTTP/1.1\r\nHost: localhost\r\nX-Api-Token: {API_TOKEN}\r\n\r\n");
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(call.as_bytes()).await.unwrap();
    // Its place is free again for another.
    eventually("the connection was ended", async || {
        exchange(server.address, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .await
            .starts_with("HTTP/1.1 404")
    })
    .await;
}

#[tokio::test]
async fn connections_over_the_limit_are_closed_and_foreign_ones_take_no_place() {
    let limits = Limits {
        max_connections: 1,
        allow: Some(vec!["192.0.2.0/24".parse().unwrap()]),
        header_timeout: Duration::from_secs(30),
        ..Limits::default()
    };
    let server = start(Api::new().router, limits).await;
    // We are foreign here: 16 connections are held, the next one is closed.
    let mut held = Vec::new();
    for _ in 0..16 {
        held.push(TcpStream::connect(server.address).await.unwrap());
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(exchange(server.address, "").await, "");
    held.pop();
    eventually("there is room again", async || {
        exchange(server.address, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .await
            .starts_with("HTTP/1.1 404")
    })
    .await;
}

#[tokio::test]
async fn a_stop_lets_running_calls_finish_and_ends_idle_connections() {
    let router = Router::new().route(
        "/slow",
        axum::routing::get(|| async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            "done"
        }),
    );
    let server = start(router, Limits::default()).await;
    let _idle = TcpStream::connect(server.address).await.unwrap();
    let call = tokio::spawn(exchange(server.address, "GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    tokio::time::sleep(Duration::from_millis(100)).await;
    server.stop.send(true).unwrap();
    assert!(call.await.unwrap().ends_with("done"));
    tokio::time::timeout(Duration::from_secs(6), server.task).await.unwrap().unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn the_internal_socket_serves_the_same_router() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("admin.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let (_stop, stopped) = watch::channel(false);
    let api = Api::on(MemoryStore::new(), config(), PeerSource::Header);
    tokio::spawn(serve(listener, api.router.clone(), Limits::default(), stopped));
    for (peer, status) in [("127.0.0.1", "200"), ("192.0.2.1", "403")] {
        let mut stream = tokio::net::UnixStream::connect(&path).await.unwrap();
        let call = format!(
            "GET /admin/routes/list HTTP/1.1\r\nHost: localhost\r\nX-Gateway-Peer: {peer}\r\nX-Api-Token: {API_TOKEN}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(call.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_comes_is_not_waited_for() {
    let api = Api::new();
    let body = Body::from_stream(futures::stream::pending::<Result<bytes::Bytes, std::io::Error>>());
    let mut request = request(Method::POST, "/admin/routes/save", &[("x-api-token", API_TOKEN)], "");
    *request.body_mut() = body;
    let answer = api.send(request).await;
    assert_eq!((answer.status.as_u16(), answer.body), (408, page("408 Request Time-out")));
}

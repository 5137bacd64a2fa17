//! Nodes that speak HTTP/2, in clear text and by ALPN, for clients of either version.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, Response};
use serde_json::json;
use tokio::net::TcpListener;

use crate::support::gateway::put_service;
use crate::support::nginx::Nginx;
use crate::support::pki::Ca;
use crate::support::{Client, Etcd, Gateway, Request, free_address, h2c};

/// A node that speaks HTTP/2 only, and answers with what it got. The first streams are refused.
struct Node {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

async fn node(refuse: usize) -> Node {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let (count, refuse) = (connections.clone(), Arc::new(AtomicUsize::new(refuse)));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            let refuse = refuse.clone();
            tokio::spawn(async move {
                let Ok(mut connection) = h2::server::handshake(stream).await else { return };
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    if refuse.load(Ordering::SeqCst) > 0 {
                        refuse.fetch_sub(1, Ordering::SeqCst);
                        respond.send_reset(Reason::REFUSED_STREAM);
                        continue;
                    }
                    tokio::spawn(answer(request, respond));
                }
            });
        }
    });
    Node { address, connections }
}

async fn answer(request: http::Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    let (head, mut body) = request.into_parts();
    let mut received = Vec::new();
    while let Some(Ok(chunk)) = body.data().await {
        drop(body.flow_control().release_capacity(chunk.len()));
        received.extend_from_slice(&chunk);
    }
    let response = Response::builder()
        .header("x-authority", head.uri.authority().map_or("", |a| a.as_str()))
        .header("x-scheme", head.uri.scheme_str().unwrap_or(""))
        .header("x-host", head.headers.get("host").map_or("", |h| h.to_str().unwrap()))
        .body(())
        .unwrap();
    let Ok(mut stream) = respond.send_response(response, false) else { return };
    for chunk in received.chunks(16_384) {
        stream.reserve_capacity(chunk.len());
        drop(stream.send_data(Bytes::copy_from_slice(chunk), false));
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("x-length", received.len().to_string().parse().unwrap());
    drop(stream.send_trailers(trailers));
}

async fn gateway(nodes: &[SocketAddr]) -> (Etcd, Gateway) {
    let etcd = Etcd::start().await;
    let gateway = Gateway::on(&etcd).await;
    put_service(&etcd, "/*", "h2", &json!({"protocol": "http2"}), nodes).await;
    gateway.applied_from(&etcd).await;
    (etcd, gateway)
}

#[tokio::test]
async fn clients_of_http1_reach_nodes_of_h2c_with_bodies_of_any_size() {
    let node = node(0).await;
    let (_etcd, gateway) = gateway(&[node.address]).await;
    let mut client = Client::connect(gateway.http).await;
    for size in [0, 5, 70_000, 3_000_000] {
        let body = vec![b'x'; size];
        let request = Request::new("POST", "/echo").header("Host", "a.test:8080").body(body.clone());
        client.send(&request.to_bytes()).await.unwrap();
        let response = client.response_to("POST").await.unwrap().expect(200);
        assert_eq!(response.body.len(), size);
        assert_eq!(response.header("x-scheme"), Some("http"));
        assert_eq!(response.header("x-authority"), Some("a.test"));
    }
    client
        .send(b"POST /echo HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(client.response_to("POST").await.unwrap().expect(200).text(), "abc");
    let one = b"GET / HTTP/1.0\r\nHost: a.test\r\n\r\n";
    let old = crate::support::http1::exchange(gateway.http, one).await;
    assert!(String::from_utf8_lossy(&old.bytes).starts_with("HTTP/1.1 200"), "{old:?}");
    // One may be on its way back to the pool when the next request comes.
    assert!(node.connections.load(Ordering::SeqCst) < 6, "connections are kept");
}

#[tokio::test]
async fn clients_of_http2_get_the_trailers_too() {
    let node = node(0).await;
    let (_etcd, gateway) = gateway(&[node.address]).await;
    let client = h2c::connect(gateway.h2c).await;
    let request = http::Request::post("http://a.test:8080/echo").body(()).unwrap();
    let (response, mut stream) = client.ready().await.unwrap().send_request(request, false).unwrap();
    stream.send_data(Bytes::from_static(b"hello"), true).unwrap();
    let response = h2c::read(response).await;
    assert_eq!((response.status, &*response.body), (200, b"hello".as_slice()));
    assert_eq!(response.trailers.get("x-length").unwrap(), "5");
}

#[tokio::test]
async fn a_refused_stream_and_a_dead_node_are_retried() {
    let (refusing, good) = (node(1).await, node(0).await);
    let (_etcd, gateway) = gateway(&[refusing.address, good.address, free_address()]).await;
    for _ in 0..6 {
        let request = Request::new("GET", "/echo").header("Host", "a.test");
        gateway.send(request).await.expect(200);
    }
}

#[tokio::test]
async fn over_tls_the_protocol_is_found_by_alpn() {
    let ca = Ca::new("good");
    let identity = ca.issue(&["api.internal"]);
    let listen = |h2: &'static str| {
        let identity = &identity;
        Nginx::serving(move |address, dir| {
            let (cert, key) = identity.write(dir, "node");
            format!(
                "server {{ listen {address} ssl {h2}; ssl_certificate {}; ssl_certificate_key {};
                   location / {{ return 200 $server_protocol; }} }}",
                cert.display(),
                key.display()
            )
        })
    };
    let (both, old) = (listen("http2").await, listen("").await);
    let etcd = Etcd::start().await;
    let gateway = Gateway::on(&etcd).await;
    let tls = json!({"ca": ca.pem(), "sni": "api.internal"});
    for (name, protocol, node) in [
        ("auto", "auto", both.address),
        ("auto-old", "auto", old.address),
        ("http1", "http1", both.address),
        ("http2", "http2", both.address),
    ] {
        let settings = json!({"protocol": protocol, "tls": tls});
        put_service(&etcd, &format!("/{name}"), name, &settings, &[node]).await;
    }
    gateway.applied_from(&etcd).await;
    for (path, says) in
        [("/auto", "HTTP/2.0"), ("/auto-old", "HTTP/1.1"), ("/http1", "HTTP/1.1"), ("/http2", "HTTP/2.0")]
    {
        for _ in 0..2 {
            assert_eq!(gateway.get(path).await.expect(200).text(), says, "{path}");
        }
    }
}

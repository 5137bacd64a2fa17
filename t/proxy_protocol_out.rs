//! The PROXY protocol towards nodes: they learn who the client is, and no other client is served
//! over such a connection.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::gateway::put_service;
use crate::support::nginx::Nginx;
use crate::support::pki::Ca;
use crate::support::python::{self, Server};
use crate::support::{Client, Etcd, Gateway, Response};

const SAYS: &str = "return 200 \"$connection $proxy_protocol_addr $proxy_protocol_port $server_protocol\";";

async fn serving(settings: Value, node: &Nginx) -> (Etcd, Gateway) {
    let etcd = Etcd::start().await;
    let gateway = Gateway::on(&etcd).await;
    put_service(&etcd, "/*", "p", &settings, &[node.address]).await;
    gateway.applied_from(&etcd).await;
    (etcd, gateway)
}

/// The connection's number, and the rest.
fn parts(response: Response) -> (String, String) {
    let text = response.expect(200).text();
    let (connection, rest) = text.split_once(' ').unwrap();
    (connection.to_owned(), rest.to_owned())
}

async fn two_clients_are_named(settings: Value, node: &Nginx, protocol: &str) {
    let (_etcd, gateway) = serving(settings, node).await;
    let mut connections = Vec::new();
    for _ in 0..2 {
        let stream = tokio::net::TcpStream::connect(gateway.http).await.unwrap();
        let port = stream.local_addr().unwrap().port();
        let mut client = Client::over(stream);
        let mut own = BTreeSet::new();
        for _ in 0..10 {
            let (connection, said) = parts(client.get("/x").await.unwrap());
            assert_eq!(said, format!("127.0.0.1 {port} {protocol}"));
            own.insert(connection);
        }
        // One may be on its way back to the pool when the next request comes.
        assert!(own.len() < 10, "connections are kept for their client: {own:?}");
        connections.push(own);
    }
    assert!(connections[0].is_disjoint(&connections[1]));
}

#[tokio::test]
async fn nodes_are_told_the_client_in_both_versions() {
    let node =
        Nginx::serving(|address, _| format!("server {{ listen {address} proxy_protocol; location / {{ {SAYS} }} }}"));
    let node = node.await;
    for version in ["v1", "v2"] {
        two_clients_are_named(json!({"proxy_protocol": version}), &node, "HTTP/1.1").await;
    }
}

#[tokio::test]
async fn the_header_comes_before_tls_and_before_http2() {
    let ca = Ca::new("good");
    let node = Nginx::serving(|address, dir| {
        let (cert, key) = ca.issue(&["api.internal"]).write(dir, "node");
        format!(
            "server {{ listen {address} ssl http2 proxy_protocol; ssl_certificate {}; ssl_certificate_key {};
               location / {{ {SAYS} }} }}",
            cert.display(),
            key.display()
        )
    })
    .await;
    for (protocol, says) in [("http1", "HTTP/1.1"), ("http2", "HTTP/2.0")] {
        let tls = json!({"ca": ca.pem(), "sni": "api.internal"});
        let settings = json!({"protocol": protocol, "proxy_protocol": "v2", "tls": tls});
        two_clients_are_named(settings, &node, says).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn websockets_carry_it_too() {
    let server = Server::start("websocket/server.py").await;
    let node = Nginx::serving(|address, _| {
        format!(
            "server {{ listen {address} proxy_protocol; location / {{ proxy_pass http://{}; proxy_http_version 1.1;
               proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; }} }}",
            server.address
        )
    })
    .await;
    let (_etcd, gateway) = serving(json!({"proxy_protocol": "v1"}), &node).await;
    let said = python::run("websocket/client.py", vec![gateway.http.to_string(), "echo".into()]).await;
    assert!(said.contains("ok"), "{said}");
}

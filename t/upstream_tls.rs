//! TLS towards nodes: who is trusted under which name, what is shown, and that kept connections
//! never lend one service's trust to another.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::support::gateway::{put_node, put_route, put_service, route};
use crate::support::nginx::Nginx;
use crate::support::pki::{Ca, Identity};
use crate::support::python::{self, Server};
use crate::support::{Client, Etcd, Gateway, Request, Upstream, eventually};

/// What a node says of the connection and the request.
const SAYS: &str = "$connection $server_protocol sni=$ssl_server_name client=$ssl_client_s_dn host=$http_host \
    proto=$http_x_forwarded_proto";

/// A node with this certificate. `more` goes into its server block.
async fn node(identity: &Identity, more: &str) -> Nginx {
    Nginx::serving(|address, dir| {
        let (cert, key) = identity.write(dir, "node");
        format!(
            "server {{ listen {address} ssl http2; ssl_certificate {}; ssl_certificate_key {};
               location / {{ return 200 \"{SAYS}\"; }} {more} }}",
            cert.display(),
            key.display()
        )
    })
    .await
}

/// A node that wants a certificate of `clients`, and the folder it reads that from.
async fn strict_node(ca: &Ca, clients: &Ca) -> (tempfile::TempDir, Nginx) {
    let dir = tempfile::tempdir().unwrap();
    let ca_file = dir.path().join("clients.pem");
    std::fs::write(&ca_file, clients.pem()).unwrap();
    let more = format!("ssl_client_certificate {}; ssl_verify_client on;", ca_file.display());
    let node = node(&ca.issue(&["api.internal"]), &more).await;
    (dir, node)
}

async fn ask(gateway: &Gateway, path: &str) -> String {
    gateway.send(Request::get(path).header("Host", "client.example")).await.expect(200).text()
}

/// A gateway with a service at `/<name>` for each of these settings, all of one node.
async fn serving(services: &[(&str, Value)], node: SocketAddr) -> (Etcd, Gateway) {
    let etcd = Etcd::start().await;
    let gateway = Gateway::on(&etcd).await;
    for (name, settings) in services {
        put_service(&etcd, &format!("/{name}"), name, settings, &[node]).await;
    }
    gateway.applied_from(&etcd).await;
    (etcd, gateway)
}

#[tokio::test]
async fn a_node_must_have_a_certificate_of_the_ca_for_the_name() {
    let (ca, other) = (Ca::new("good"), Ca::new("other"));
    let node = node(&ca.issue(&["api.internal", "127.0.0.9"]), "").await;
    let (_etcd, gateway) = serving(
        &[
            ("good", json!({"tls": {"ca": ca.pem(), "sni": "api.internal"}})),
            ("also", json!({"tls": {"ca": ca.pem(), "sni": "wrong.internal", "verify_name": "api.internal"}})),
            ("name", json!({"tls": {"ca": ca.pem(), "sni": "wrong.internal"}})),
            ("ca", json!({"tls": {"ca": other.pem(), "sni": "api.internal"}})),
            ("system", json!({"tls": {"sni": "api.internal"}})),
            ("address", json!({"tls": {"ca": ca.pem()}})),
            ("any", json!({"tls": {"verify": false}})),
        ],
        node.address,
    )
    .await;
    let said = ask(&gateway, "/good").await;
    assert!(said.contains("HTTP/1.1 sni=api.internal client= host=client.example proto=http"), "{said}");
    assert!(ask(&gateway, "/also").await.contains("sni=wrong.internal"));
    for refused in ["/name", "/ca", "/system", "/address"] {
        // Twice: the second could find a kept connection.
        for _ in 0..2 {
            gateway.get(refused).await.expect(502);
        }
    }
    assert!(ask(&gateway, "/any").await.contains("sni= "));
    let status = gateway.get_admin("/admin/v2/status").await.expect(200).text();
    assert!(status.contains("tls.verify is false"), "{status}");
}

#[tokio::test]
async fn a_node_without_a_name_must_have_a_certificate_for_its_address() {
    let ca = Ca::new("good");
    let (right, wrong) = (node(&ca.issue(&["127.0.0.1"]), "").await, node(&ca.issue(&["127.0.0.2"]), "").await);
    for (protocol, says) in [("http1", "HTTP/1.1"), ("http2", "HTTP/2.0")] {
        let settings = json!({"protocol": protocol, "tls": {"ca": ca.pem()}});
        let (etcd, gateway) = serving(&[("right", settings.clone())], right.address).await;
        put_service(&etcd, "/wrong", "wrong", &settings, &[wrong.address]).await;
        gateway.applied_from(&etcd).await;
        for _ in 0..3 {
            assert!(ask(&gateway, "/right").await.contains(says));
            gateway.get("/wrong").await.expect(502);
        }
    }
}

/// Pingora's pool does not look at the CA: without a key of its own the second service would be
/// served over the first one's verified connection.
#[tokio::test]
async fn a_kept_connection_of_one_service_is_never_used_by_another() {
    let (ca, other) = (Ca::new("good"), Ca::new("other"));
    let node = node(&ca.issue(&["api.internal"]), "").await;
    for protocol in ["http1", "http2"] {
        let tls = |pem: String| json!({"protocol": protocol, "tls": {"ca": pem, "sni": "api.internal"}});
        let (_etcd, gateway) = serving(
            &[("trusts", tls(ca.pem())), ("doubts", tls(other.pem())), ("trusts-too", tls(ca.pem()))],
            node.address,
        )
        .await;
        let connection = |said: String| said.split(' ').next().unwrap().to_owned();
        let (mut ours, mut others) = (Vec::new(), BTreeSet::new());
        for _ in 0..10 {
            ours.push(connection(ask(&gateway, "/trusts").await));
            gateway.get("/doubts").await.expect(502);
            others.insert(connection(ask(&gateway, "/trusts-too").await));
        }
        // A connection may be on its way back to the pool when the next request comes.
        assert!(ours.iter().collect::<BTreeSet<_>>().len() < 10, "connections are kept: {ours:?}");
        assert!(ours.iter().all(|connection| !others.contains(connection)), "{ours:?} {others:?}");
    }
}

#[tokio::test]
async fn another_ca_takes_effect_at_once_and_drops_kept_trust() {
    let (ca, other) = (Ca::new("good"), Ca::new("other"));
    let node = node(&ca.issue(&["api.internal"]), "").await;
    let tls = |pem: String| json!({"tls": {"ca": pem, "sni": "api.internal"}});
    let (etcd, gateway) = serving(&[("a", tls(ca.pem()))], node.address).await;
    ask(&gateway, "/a").await;
    etcd.put("gw/services/a", &tls(other.pem())).await;
    gateway.applied_from(&etcd).await;
    gateway.get("/a").await.expect(502);
}

/// `ca` replaces the system's authorities, it does not add to them.
#[tokio::test]
async fn the_systems_cas_count_only_without_one_of_ones_own() {
    let (system, own) = (Ca::new("system"), Ca::new("own"));
    let node = node(&system.issue(&["api.internal"]), "").await;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("system.pem"), system.pem()).unwrap();
    let etcd = Etcd::start().await;
    let mut gateway = Gateway::prepare_on(&etcd, json!({}))
        .env("SSL_CERT_FILE", &dir.path().join("system.pem").display().to_string());
    gateway.boot().await;
    put_service(&etcd, "/system", "system", &json!({"tls": {"sni": "api.internal"}}), &[node.address]).await;
    let own = json!({"tls": {"sni": "api.internal", "ca": own.pem()}});
    put_service(&etcd, "/own", "own", &own, &[node.address]).await;
    gateway.applied_from(&etcd).await;
    ask(&gateway, "/system").await;
    gateway.get("/own").await.expect(502);
}

#[tokio::test]
async fn a_client_certificate_is_shown_when_there_is_one() {
    let (ca, clients) = (Ca::new("good"), Ca::new("clients"));
    let (dir, node) = strict_node(&ca, &clients).await;
    let us = clients.issue(&["gateway-7"]);
    let (cert, key) = us.write(dir.path(), "us");
    let tls = |more: Value| {
        let mut tls = json!({"ca": ca.pem(), "sni": "api.internal"});
        crate::support::merge(&mut tls, more);
        json!({"tls": tls})
    };
    let file = |path: &std::path::Path| format!("file:{}", path.display());
    let (etcd, gateway) = serving(
        &[
            ("text", tls(json!({"cert": us.cert, "key": us.key}))),
            ("file", tls(json!({"cert": file(&cert), "key": file(&key)}))),
            ("none", tls(json!({}))),
        ],
        node.address,
    )
    .await;
    assert!(ask(&gateway, "/text").await.contains("client=CN=gateway-7"));
    assert!(ask(&gateway, "/file").await.contains("client=CN=gateway-7"));
    gateway.get("/none").await.expect(400);
    drop(etcd);
    let status = gateway.get_admin("/admin/v2/status").await.expect(200).text();
    assert!(!status.contains("PRIVATE") && !gateway.output().contains("PRIVATE"));
}

#[tokio::test]
async fn a_key_put_by_the_admin_api_is_encrypted_in_the_store() {
    let (ca, clients) = (Ca::new("good"), Ca::new("clients"));
    let (_dir, node) = strict_node(&ca, &clients).await;
    let us = clients.issue(&["gateway-7"]);
    let mut gateway = Gateway::start().await;
    let tls = json!({"ca": ca.pem(), "sni": "api.internal", "cert": us.cert, "key": us.key});
    gateway.service("a", json!({"tls": tls})).await;
    gateway.node("a", node.address, 1).await;
    gateway.route("/a", "a", json!({})).await;
    gateway.applied().await;
    assert!(ask(&gateway, "/a").await.contains("client=CN=gateway-7"));
    gateway.restart().await;
    assert!(ask(&gateway, "/a").await.contains("client=CN=gateway-7"));
    gateway.stop().await;
    let store = std::fs::read(gateway.dir().join("data/store.redb")).unwrap();
    let has = |text: &[u8]| store.windows(text.len()).any(|window| window == text);
    assert!(has(b"sealed:v1:") && !has(b"PRIVATE KEY"));
}

#[tokio::test]
async fn what_is_wrong_with_certificates_is_said_and_the_last_good_ones_stay() {
    let ca = Ca::new("good");
    let node = node(&ca.issue(&["api.internal"]), "").await;
    let good = json!({"tls": {"ca": ca.pem(), "sni": "api.internal"}});
    let (etcd, gateway) = serving(&[("a", good)], node.address).await;
    let (one, two) = (ca.issue(&["one"]), ca.issue(&["two"]));
    for (tls, reason) in [
        (json!({"ca": "no pem"}), "tls.ca: holds no certificate"),
        (json!({"ca": "file:/nowhere/ca.pem"}), "tls.ca: the file /nowhere/ca.pem cannot be read"),
        (json!({"cert": one.cert}), "tls.cert: cert and key go together"),
        (json!({"cert": one.cert, "key": two.key}), "tls.key: is not the key of the first certificate"),
        (json!({"cert": one.cert, "key": "no pem"}), "tls.key: holds no key"),
        (json!({"sni": "10.0.0.5"}), "tls.sni: \"10.0.0.5\" is no host name"),
    ] {
        etcd.put("gw/services/a", &json!({"tls": tls})).await;
        eventually(reason, || async {
            let status = gateway.get_admin("/admin/v2/status").await.expect(200).json();
            status["rejected"].to_string().replace("\\\"", "\"").contains(reason)
        })
        .await;
        ask(&gateway, "/a").await;
    }
    let old = ca.issue_for_days(&["old"], -1);
    let expired = json!({"tls": {"ca": ca.pem(), "sni": "api.internal", "cert": old.cert, "key": old.key}});
    etcd.put("gw/services/a", &expired).await;
    eventually("the expired certificate is warned of", || async {
        let status = gateway.get_admin("/admin/v2/status").await.expect(200).json();
        status["warnings"].to_string().contains("tls.cert: \\\"old\\\" has expired")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn websockets_pass_over_tls_hundreds_of_times() {
    const UPGRADE: &[u8] = b"GET /ws HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let behind = Upstream::scripted(|stream, _| async move {
        let mut client = Client::over(stream);
        if client.head().await.is_err() {
            return;
        }
        let switched = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
            Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nhello";
        drop(client.send(switched).await);
        while let Ok(bytes) = client.some().await {
            if client.send(&bytes).await.is_err() {
                return;
            }
        }
    })
    .await;
    let ca = Ca::new("good");
    let location = format!(
        "location = /ws {{ proxy_pass http://{}; proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade;
           proxy_set_header Connection upgrade; }}",
        behind.address
    );
    let node = node(&ca.issue(&["api.internal"]), &location).await;
    for protocol in ["http1", "http2"] {
        let settings = json!({"protocol": protocol, "tls": {"ca": ca.pem(), "sni": "api.internal"}});
        let (_etcd, gateway) = serving(&[("ws", settings)], node.address).await;
        for round in 0..10 {
            let sessions = (0..10).map(|i| {
                let to = gateway.http;
                async move {
                    let mut client = Client::connect(to).await;
                    client.send(UPGRADE).await.unwrap();
                    let head = client.head().await.unwrap_or_else(|e| panic!("{round}.{i}: no 101: {e}"));
                    assert!(head.first_line.starts_with("HTTP/1.1 101"), "{}", head.first_line);
                    assert_eq!(client.exactly(5).await.unwrap_or_else(|e| panic!("{round}.{i}: {e}")), b"hello");
                    client.send(b"and on").await.unwrap();
                    assert_eq!(client.exactly(6).await.unwrap_or_else(|e| panic!("{round}.{i}: {e}")), b"and on");
                }
            });
            futures::future::join_all(sessions).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_passes_over_tls() {
    let server = Server::start("grpc/server.py").await;
    let ca = Ca::new("good");
    let location = format!("client_max_body_size 0; location /t.Service/ {{ grpc_pass grpc://{}; }}", server.address);
    let node = node(&ca.issue(&["api.internal"]), &location).await;
    let etcd = Etcd::start().await;
    let gateway = Gateway::on(&etcd).await;
    etcd.put("gw/services/g", &json!({"tls": {"ca": ca.pem(), "sni": "api.internal"}})).await;
    put_node(&etcd, "g", node.address).await;
    put_route(&etcd, &route("/t.Service/*", "g", json!({"protocol": "grpc"}))).await;
    gateway.applied_from(&etcd).await;
    for name in ["unary", "trailers", "status", "server_stream", "client_stream", "bidi"] {
        let said = python::run("grpc/client.py", vec![gateway.h2c.to_string(), name.into()]).await;
        assert_eq!(said.trim(), "ok", "{name}");
    }
}

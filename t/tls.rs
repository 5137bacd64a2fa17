//! TLS towards clients: protocols, certificates by server name, what is refused.

use openssl::ssl::SslVersion;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::certificates::Issued;
use crate::support::tls::TlsGateway;
use crate::support::{Request, Upstream, eventually, in_time};

#[tokio::test]
async fn http1_and_http2_are_negotiated_by_alpn() {
    let gateway = TlsGateway::start(&["a.example"]).await;
    let upstream = Upstream::echo().await;
    gateway.serve("/*", &[upstream.address]).await;

    let client = gateway.client("a.example");
    let http1 = client.get("/one").await.unwrap();
    assert_eq!((http1.status, http1.protocol.as_str()), (200, "http/1.1"));
    let http2 = client.clone().alpn(&["h2", "http/1.1"]).get("/two").await.unwrap();
    assert_eq!((http2.status, http2.protocol.as_str()), (200, "h2"));
    let none = client.clone().alpn(&[]).get("/three").await.unwrap();
    assert_eq!((none.status, none.protocol.as_str()), (200, ""));
    for seen in upstream.seen() {
        assert_eq!(seen.header("x-forwarded-proto"), Some("https"), "{}", seen.target);
    }
    let refused = client.alpn(&["gopher"]).get("/").await.err().unwrap();
    assert!(refused.contains("no application protocol"), "{refused}");
}

#[tokio::test]
async fn the_certificate_is_chosen_by_server_name() {
    let certificates = json!([
        {"cert": "default.pem", "key": "default.key"},
        {"cert": "exact.pem", "key": "exact.key"},
        {"cert": "wildcard.pem", "key": "wildcard.key"},
        {"cert": "named.pem", "key": "named.key", "hosts": ["named.example"]},
    ]);
    let mut gateway = TlsGateway::prepare(&[], json!({"tls": {"certificates": certificates}}));
    let mut shown = std::collections::HashMap::new();
    for (name, hosts) in [
        ("default", &["default.example"][..]),
        ("exact", &["www.example.com", "example.com"]),
        ("wildcard", &["*.example.com"]),
        ("named", &["unused.example"]),
    ] {
        let issued = gateway.ca.host(hosts);
        gateway.put_pair(name, &issued);
        shown.insert(name, issued.fingerprint());
    }
    gateway.boot().await;
    for (host, expected) in [
        ("www.example.com", "exact"),
        ("WWW.EXAMPLE.COM", "exact"),
        ("api.example.com", "wildcard"),
        ("a.api.example.com", "default"),
        ("named.example", "named"),
        ("unused.example", "default"),
        ("unknown.example", "default"),
    ] {
        let connection = gateway.client(host).connect().await.unwrap();
        assert_eq!(connection.shown(), shown[expected], "{host}");
    }
    let nameless = gateway.client("x").without_server_name().connect().await.unwrap();
    assert_eq!(nameless.shown(), shown["default"]);
    let without_route = gateway.client("named.example").get("/").await.unwrap();
    assert_eq!((without_route.status, &without_route.shown), (404, &shown["named"]));
}

#[tokio::test]
async fn the_chain_is_sent_so_that_clients_need_only_the_root() {
    let mut gateway = TlsGateway::prepare(&["a.example"], json!({}));
    let between = gateway.ca.intermediate("between");
    let host = between.host(&["a.example"]);
    gateway.put_pair("host", &host);
    std::fs::write(gateway.file("host.pem"), host.chain_pem(&[&between])).unwrap();
    gateway.boot().await;
    let connection = gateway.client("a.example").connect().await.unwrap();
    assert_eq!(connection.chain_length(), 2);
    assert!(connection.is_trusted());
}

#[tokio::test]
async fn without_a_certificate_the_port_is_open_and_handshakes_fail_cleanly() {
    let gateway = TlsGateway::start(&[]).await;
    let refused = gateway.client("a.example").get("/").await.err().unwrap();
    assert!(refused.contains("unrecognized name"), "{refused}");
    let refused = gateway.client("").without_server_name().get("/").await.err().unwrap();
    assert!(refused.contains("handshake failure"), "{refused}");
}

#[tokio::test]
async fn a_pair_that_does_not_fit_is_an_error_at_the_start_that_names_the_file() {
    let mut gateway = TlsGateway::prepare(&["a.example"], json!({}));
    std::fs::write(gateway.file("host.key"), Issued::ca("other").key_pem()).unwrap();
    gateway.spawn();
    assert_eq!(gateway.process().ended().await.code(), Some(1));
    let output = gateway.process().output();
    assert!(output.contains("tls: host.key: is not the key of the certificate"), "{output}");
}

#[tokio::test]
async fn only_strong_versions_and_ciphers_are_spoken() {
    let gateway = TlsGateway::start(&["a.example"]).await;
    let upstream = Upstream::saying("hello").await;
    gateway.serve("/*", &[upstream.address]).await;
    let client = gateway.client("a.example");
    for version in [SslVersion::TLS1, SslVersion::TLS1_1] {
        assert!(client.clone().version(version).connect().await.is_err(), "{version:?}");
    }
    for (version, name) in [(SslVersion::TLS1_2, "TLSv1.2"), (SslVersion::TLS1_3, "TLSv1.3")] {
        let mut connection = client.clone().version(version).connect().await.unwrap();
        assert_eq!(connection.version(), name);
        assert_eq!(connection.get("/").await.unwrap().body, "hello");
    }
    let of_tls12 = client.version(SslVersion::TLS1_2);
    for weak in ["ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES256-SHA384", "AES128-GCM-SHA256", "NULL", "aNULL"] {
        assert!(of_tls12.clone().ciphers(&format!("{weak}:@SECLEVEL=0")).connect().await.is_err(), "{weak}");
    }
    for strong in ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"] {
        of_tls12.clone().ciphers(strong).connect().await.unwrap();
    }
}

#[tokio::test]
async fn a_minimum_of_tls_1_3_refuses_1_2() {
    let gateway = TlsGateway::with(&["a.example"], json!({"tls": {"min_version": "1.3"}})).await;
    let client = gateway.client("a.example");
    assert!(client.clone().version(SslVersion::TLS1_2).connect().await.is_err());
    assert_eq!(client.connect().await.unwrap().version(), "TLSv1.3");
}

#[tokio::test]
async fn who_speaks_plain_http_to_the_tls_port_is_told_so() {
    let gateway = TlsGateway::start(&["a.example"]).await;
    let told = Request::get("/").send(gateway.address).await;
    assert_eq!((told.status, told.text().trim()), (400, "this port speaks HTTPS, use https://"));
}

#[tokio::test]
async fn a_stalled_handshake_is_closed_at_its_deadline_and_garbage_at_once() {
    let gateway = TlsGateway::with(&["a.example"], json!({"tls": {"handshake_timeout": "1s"}})).await;
    let hello_begun: &[u8] = &[22, 3, 1, 2, 0, 1, 0];
    for (what, bytes) in [("silence", &b""[..]), ("a part of a hello", hello_begun)] {
        let mut stalled = TcpStream::connect(gateway.address).await.unwrap();
        stalled.write_all(bytes).await.unwrap();
        let mut rest = Vec::new();
        in_time(what, stalled.read_to_end(&mut rest)).await.ok();
        assert_eq!(rest, b"", "{what}");
    }
    // The hello is whole, and nothing comes after it.
    let silent = gateway.client("a.example").connect_and_stall().await;
    in_time("a stalled handshake ends", silent).await;
    for garbage in [vec![0; 600], vec![22, 3, 1, 0, 3, 9, 9, 9], vec![0xff; 5000]] {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        stream.write_all(&garbage).await.unwrap();
        let mut rest = Vec::new();
        in_time("garbage ends the connection", stream.read_to_end(&mut rest)).await.ok();
    }
    eventually("the handshakes are counted", || async {
        let metrics = gateway.metrics().await;
        metrics.contains("gateway_tls_handshakes_total{result=\"timeout\"} 3")
            && metrics.contains("gateway_tls_handshakes_total{result=\"failed\"} 3")
    })
    .await;
    gateway.client("a.example").connect().await.unwrap();
}

//! Behind a TCP load balancer the client's address is the one its PROXY header tells, for everything; and nobody
//! else can tell one.

use std::net::{IpAddr, SocketAddr};

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::http1::exchange;
use crate::support::{Client, Gateway, Request, Upstream, eventually, h2c};

const V1: &[u8] = b"PROXY TCP4 203.0.113.7 10.0.0.1 4711 80\r\n";
const UNKNOWN: &[u8] = b"PROXY UNKNOWN\r\n";

/// Version 2 with this command, for 203.0.113.7, with an extension.
fn v2(command: u8) -> Vec<u8> {
    let addresses = [203, 0, 113, 7, 10, 0, 0, 1, 0x12, 0x67, 0, 80, 1, 0, 2, b'h', b'2'];
    let length = u8::try_from(addresses.len()).unwrap();
    [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[command, 0x11, 0, length], &addresses].concat()
}

/// The load balancer is 127.0.0.1; all else on loopback are strangers.
async fn gateway(config: serde_json::Value) -> (Gateway, Upstream) {
    let mut all = json!({"client": {"proxy_protocol": {"from": ["127.0.0.1/32"]}, "header_timeout": "2s"}});
    crate::support::merge(&mut all, config);
    let gateway = Gateway::with(all).await;
    let upstream = Upstream::echo().await;
    let service = "behind";
    gateway.node(service, upstream.address, 1).await;
    gateway.route("/*", service, json!({})).await;
    gateway.applied().await;
    (gateway, upstream)
}

async fn get_with(header: &[u8], to: SocketAddr, target: &str) -> crate::support::Response {
    let mut client = Client::connect(to).await;
    client.send(header).await.unwrap();
    client.get(target).await.unwrap()
}

#[tokio::test]
async fn the_source_of_the_header_is_the_client_on_every_port_and_protocol() {
    let (gateway, upstream) = gateway(json!({})).await;
    let check = |client: &str, what: &str| {
        let seen = upstream.last();
        assert_eq!(seen.head.all("x-real-ip"), [client], "{what}");
        assert_eq!(seen.head.all("x-forwarded-for"), [client], "{what}");
    };
    for port in [gateway.http, gateway.h2c] {
        for (header, client) in [
            (V1.to_vec(), "203.0.113.7"),
            (v2(0x21), "203.0.113.7"),
            (UNKNOWN.to_vec(), "127.0.0.1"),
            (v2(0x20), "127.0.0.1"),
        ] {
            get_with(&header, port, "/x").await.expect(200);
            check(client, &format!("{header:?}"));
        }
    }
    let mut stream = TcpStream::connect(gateway.h2c).await.unwrap();
    stream.write_all(&v2(0x21)).await.unwrap();
    assert_eq!(h2c::get_on(h2c::over(stream).await, "a", "/h2").await.status, 200);
    check("203.0.113.7", "http/2");
    let line = gateway.log_line("\"/h2\"").await;
    assert!(line.contains(r#""client":"203.0.113.7""#), "{line}");
}

#[tokio::test]
async fn it_may_arrive_byte_by_byte_and_covers_all_requests_of_the_connection() {
    let (gateway, upstream) = gateway(json!({})).await;
    let mut client = Client::connect(gateway.http).await;
    for byte in v2(0x21) {
        client.send(&[byte]).await.unwrap();
    }
    for _ in 0..3 {
        client.get("/x").await.unwrap().expect(200);
        assert_eq!(upstream.last().head.all("x-real-ip"), ["203.0.113.7"]);
    }
}

#[tokio::test]
async fn a_load_balancer_without_a_header_is_turned_away() {
    let (gateway, upstream) = gateway(json!({})).await;
    for bytes in [
        &b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"PROXY TCP4 203.0.113.7 10.0.0.1 4711\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PROXY TCP4 203.0.113.7",
        &[b'P'; 4096],
        &v2(0x2f),
    ] {
        for port in [gateway.http, gateway.h2c] {
            let got = exchange(port, bytes).await;
            assert_eq!(got.bytes, b"", "{bytes:?}: nothing is said to who does not speak the protocol");
        }
    }
    assert_eq!(upstream.count(), 0);
    assert_eq!(gateway.metric("gateway_connections_refused_total", r#"reason="proxy_header""#).await, 12.0);
}

/// What a stranger says of itself is a malformed request, whatever its form.
#[tokio::test]
async fn nobody_else_is_believed() {
    let (gateway, upstream) = gateway(json!({})).await;
    let stranger: IpAddr = [127, 0, 0, 2].into();
    for header in [V1.to_vec(), v2(0x21), UNKNOWN.to_vec(), v2(0x20)] {
        for port in [gateway.http, gateway.h2c] {
            let mut client = Client::connect_from(stranger, port).await;
            client.send(&[&header[..], &Request::get("/x").to_bytes()].concat()).await.unwrap();
            let got = client.until_closed().await;
            assert!(got.starts_with(b"HTTP/1.1 400"), "{:?}", String::from_utf8_lossy(&got));
        }
    }
    assert_eq!(upstream.count(), 0);
    Client::connect_from(stranger, gateway.http).await.get("/x").await.unwrap().expect(200);
    assert_eq!(upstream.last().head.all("x-real-ip"), ["127.0.0.2"]);
}

#[tokio::test]
async fn other_ports_do_not_have_it() {
    let mut gateway = Gateway::prepare(json!({}));
    let config = std::fs::read_to_string(gateway.config()).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&config).unwrap();
    config["client"] = json!({"proxy_protocol": {"from": ["127.0.0.1/32"], "ports": [gateway.h2c.port()]}});
    std::fs::write(gateway.config(), config.to_string()).unwrap();
    gateway.boot().await;
    assert_eq!(gateway.get("/x").await.status, 404);
    let got = exchange(gateway.http, &[V1, &Request::get("/x").to_bytes()].concat()).await;
    assert_eq!(got.statuses, [400]);
    assert_eq!(get_with(V1, gateway.h2c, "/x").await.status, 404);
    assert_eq!(exchange(gateway.h2c, &Request::get("/x").to_bytes()).await.bytes, b"");
}

/// Rights come from addresses: those of load balancer and client both, and none from one that is not known.
#[tokio::test]
async fn the_header_lends_no_rights_to_the_admin() {
    let (gateway, _upstream) = gateway(json!({"admin": {"on_gateway_ports": true}})).await;
    const LOCAL: &[u8] = b"PROXY TCP4 127.0.0.1 10.0.0.1 4711 80\r\n";
    for (header, status) in [(V1, 403), (UNKNOWN, 403), (&v2(0x31)[..], 403), (LOCAL, 200), (&v2(0x20)[..], 200)] {
        let mut client = Client::connect(gateway.http).await;
        client.send(header).await.unwrap();
        let request = Request::get("/admin/routes/list")
            .header("Host", "127.0.0.1")
            .header("X-Api-Token", crate::support::gateway::TOKEN);
        client.send(&request.to_bytes()).await.unwrap();
        let got = client.response_to("GET").await;
        if header == v2(0x31) {
            assert!(got.is_err(), "version 3 is none");
        } else {
            assert_eq!(got.unwrap().status, status, "{header:?}");
        }
    }
}

#[tokio::test]
async fn a_header_that_does_not_come_is_not_waited_for() {
    let (gateway, _upstream) = gateway(json!({})).await;
    for beginning in [&b""[..], b"PROX", &v2(0x21)[..15]] {
        let mut client = Client::connect(gateway.http).await;
        client.send(beginning).await.unwrap();
        assert_eq!(client.until_closed().await, b"");
    }
    eventually("all are gone", || async { gateway.metric("gateway_connections_active", "").await == 0.0 }).await;
}

#[tokio::test]
async fn a_listed_proxy_behind_the_load_balancer_vouches_for_its_client() {
    let (gateway, upstream) = gateway(json!({"client": {"trusted_proxies": ["203.0.113.0/24"]}})).await;
    let mut client = Client::connect(gateway.http).await;
    client.send(V1).await.unwrap();
    client.send(&Request::get("/x").header("X-Forwarded-For", "198.51.100.9").to_bytes()).await.unwrap();
    client.response_to("GET").await.unwrap().expect(200);
    assert_eq!(upstream.last().head.all("x-real-ip"), ["198.51.100.9"]);
    assert_eq!(upstream.last().head.all("x-forwarded-for"), ["198.51.100.9, 203.0.113.7"]);
}

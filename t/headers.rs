//! What the gateway makes of headers, both ways.

use serde_json::json;

use crate::support::{Client, Gateway, Request, Upstream, h2c, upstream};

async fn gateway(config: serde_json::Value) -> (Gateway, Upstream) {
    let gateway = Gateway::with(config).await;
    let upstream = Upstream::echo().await;
    gateway.serve("/*", &[upstream.address]).await;
    (gateway, upstream)
}

#[tokio::test]
async fn the_upstream_gets_the_host_without_port_and_the_clients_address() {
    let (gateway, upstream) = gateway(json!({})).await;
    gateway.send(Request::get("/x").header("Host", "shop.test:8080")).await.expect(200);
    let seen = upstream.last();
    assert_eq!(seen.head.all("host"), ["shop.test"]);
    assert_eq!(seen.head.all("x-real-ip"), ["127.0.0.1"]);
    assert_eq!(seen.head.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(seen.head.all("x-forwarded-proto"), ["http"]);
}

#[tokio::test]
async fn an_http2_request_goes_upstream_with_the_same_headers() {
    let (gateway, upstream) = gateway(json!({})).await;
    assert_eq!(h2c::get(gateway.h2c, "shop.test:8080", "/x?y").await.status, 200);
    let seen = upstream.last();
    assert_eq!(seen.head.first_line, "GET /x?y HTTP/1.1");
    assert_eq!(seen.head.all("host"), ["shop.test"]);
    assert_eq!(seen.head.all("x-real-ip"), ["127.0.0.1"]);
}

#[tokio::test]
async fn accept_encoding_passes_as_the_client_sent_it() {
    let (gateway, upstream) = gateway(json!({})).await;
    gateway.get("/x").await.expect(200);
    assert_eq!(upstream.last().header("accept-encoding"), None);
    gateway.send(Request::get("/x").header("Accept-Encoding", "br;q=0.5")).await.expect(200);
    assert_eq!(upstream.last().header("accept-encoding"), Some("br;q=0.5"));
}

#[tokio::test]
async fn an_untrusted_client_cannot_claim_another_address() {
    let (gateway, upstream) = gateway(json!({})).await;
    let request = Request::get("/x")
        .header("X-Forwarded-For", "6.6.6.6, 7.7.7.7")
        .header("X-Real-IP", "6.6.6.6")
        .header("X-Forwarded-Proto", "https");
    gateway.send(request).await.expect(200);
    let seen = upstream.last();
    assert_eq!(seen.head.all("x-real-ip"), ["127.0.0.1"]);
    assert_eq!(seen.head.all("x-forwarded-proto"), ["http"]);
    let forwarded = seen.head.all("x-forwarded-for");
    assert!(forwarded.len() == 1 && forwarded[0].ends_with("127.0.0.1"), "{forwarded:?}");
}

#[tokio::test]
async fn a_trusted_proxy_vouches_for_the_client() {
    let (gateway, upstream) = gateway(json!({"client": {"trusted_proxies": ["127.0.0.0/8", "10.0.0.0/8"]}})).await;
    for (sent, client) in [
        ("203.0.113.7", "203.0.113.7"),
        ("6.6.6.6, 203.0.113.7, 10.1.2.3", "203.0.113.7"),
        ("203.0.113.7, 10.1.2.3:4711", "203.0.113.7"),
        ("2001:db8::1", "2001:db8::1"),
        ("6.6.6.6, nonsense", "127.0.0.1"),
    ] {
        let request = Request::get("/x").header("X-Forwarded-For", sent).header("X-Forwarded-Proto", "https");
        gateway.send(request).await.expect(200);
        let seen = upstream.last();
        assert_eq!(seen.head.all("x-real-ip"), [client], "{sent}");
        assert_eq!(seen.head.all("x-forwarded-for"), [format!("{sent}, 127.0.0.1")], "{sent}");
        assert_eq!(seen.head.all("x-forwarded-proto"), ["https"], "{sent}");
    }
}

#[tokio::test]
async fn hop_by_hop_headers_stay_on_their_hop() {
    let (gateway, upstream) = gateway(json!({})).await;
    let mut client = Client::connect(gateway.http).await;
    let request = "GET /x HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, X-Mine\r\nKeep-Alive: timeout=9\r\nX-Mine: 1\r\n\
                   TE: gzip\r\nProxy-Connection: keep-alive\r\nX-Other: 2\r\n\r\n";
    client.send(request.as_bytes()).await.unwrap();
    client.response_to("GET").await.unwrap().expect(200);
    let seen = upstream.last();
    for name in ["keep-alive", "x-mine", "te", "proxy-connection"] {
        assert_eq!(seen.header(name), None, "{name}");
    }
    assert_eq!(seen.header("x-other"), Some("2"));
}

#[tokio::test]
async fn a_client_cannot_have_the_gateways_headers_removed() {
    let (gateway, upstream) = gateway(json!({})).await;
    let mut client = Client::connect(gateway.http).await;
    let request = "GET /x HTTP/1.1\r\nHost: a\r\nConnection: X-Real-IP, X-Forwarded-For, Host\r\n\r\n";
    client.send(request.as_bytes()).await.unwrap();
    let status = client.response_to("GET").await.unwrap().status;
    if status == 200 {
        let seen = upstream.last();
        assert_eq!(seen.head.all("x-real-ip"), ["127.0.0.1"]);
        assert_eq!(seen.head.all("x-forwarded-for"), ["127.0.0.1"]);
        assert_eq!(seen.head.all("host"), ["a"]);
    } else {
        assert_eq!(status, 400);
    }
}

#[tokio::test]
async fn an_upgrade_to_h2c_is_not_forwarded() {
    let (gateway, upstream) = gateway(json!({})).await;
    let mut client = Client::connect(gateway.http).await;
    let request = "GET /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
                   HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n";
    client.send(request.as_bytes()).await.unwrap();
    client.response_to("GET").await.unwrap().expect(200);
    let seen = upstream.last();
    for name in ["upgrade", "http2-settings", "connection"] {
        assert_eq!(seen.header(name), None, "{name}: {:?}", seen.head);
    }
}

#[tokio::test]
async fn every_response_names_the_server() {
    let gateway = Gateway::start().await;
    let upstream = Upstream::answering(|_| upstream::respond(200, &[("Server", "secret/1.2.3")], "x")).await;
    gateway.serve("/ok/*", &[upstream.address]).await;
    gateway.route("/empty/*", "no-nodes", json!({})).await;
    gateway.serve("/refused/*", &[crate::support::free_address()]).await;
    for (path, status) in [("/ok/", 200), ("/none", 404), ("/empty/", 502), ("/refused/", 502), ("/a%00", 400)] {
        let response = gateway.get(path).await.expect(status);
        assert_eq!(response.head.all("server"), ["Ws-Cloud-Gateway"], "{path}");
        let over_h2 = h2c::get(gateway.h2c, "a.test", path).await;
        assert_eq!(
            (over_h2.status, over_h2.headers["server"].as_bytes()),
            (status, &b"Ws-Cloud-Gateway"[..]),
            "{path} over h2"
        );
        assert_eq!(over_h2.headers.get_all("server").iter().count(), 1, "{path} over h2");
    }
    let mut client = Client::connect(gateway.http).await;
    client.send(b"NONSENSE\r\n\r\n").await.unwrap();
    let answer = String::from_utf8_lossy(&client.until_closed().await).into_owned();
    assert!(answer.to_ascii_lowercase().contains("server: ws-cloud-gateway"), "{answer}");
    assert_eq!(Request::get("/readyz").send(gateway.status).await.header("server"), Some("Ws-Cloud-Gateway"));
    assert_eq!(gateway.get_admin("/admin/routes/list").await.header("server"), Some("Ws-Cloud-Gateway"));
}

#[tokio::test]
async fn the_servers_name_can_be_set() {
    let (gateway, _upstream) = gateway(json!({"client": {"server_header": "front"}})).await;
    assert_eq!(gateway.get("/x").await.header("server"), Some("front"));
    assert_eq!(gateway.get_admin("/admin/nothing").await.header("server"), Some("front"));
}

#[tokio::test]
async fn an_upstreams_headers_arrive_as_it_sent_them() {
    let gateway = Gateway::start().await;
    let headers = [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("X-UTF", "ü"), ("Location", "/elsewhere")];
    let upstream = Upstream::answering(move |_| upstream::respond(302, &headers, "")).await;
    gateway.serve("/*", &[upstream.address]).await;
    let response = gateway.get("/x").await.expect(302);
    assert_eq!(response.head.all("set-cookie"), ["a=1", "b=2"]);
    assert_eq!(response.header("location"), Some("/elsewhere"));
    assert_eq!(response.header("x-utf"), Some("ü"));
}

#[tokio::test]
async fn no_route_on_the_data_ports_reaches_the_admin_or_status_listener() {
    let gateway = Gateway::start().await;
    for (name, address) in [("admin", gateway.admin), ("status", gateway.status)] {
        let node = crate::support::gateway::node(name, address, 1);
        // Refused at once, or never used.
        let _saved = gateway.call_admin("/admin/services/save", &node).await;
        gateway.route(&format!("/{name}/*"), name, json!({})).await;
    }
    gateway.applied().await;
    for path in ["/admin/routes/list", "/status/metrics"] {
        let status = gateway.get(path).await.status;
        assert!(matches!(status, 502 | 503), "{path}: {status}");
    }
}

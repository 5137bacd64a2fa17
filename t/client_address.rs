//! Who the client is, is said by the connection, and by nobody whom the operator does not trust. A matrix of what
//! clients claim, over both protocols.

use std::net::IpAddr;

use serde_json::json;

use crate::support::{Client, Gateway, Request, Upstream, h2c};

/// What a client may claim to be: header and value.
const CLAIMS: &[(&str, &str)] = &[
    ("X-Forwarded-For", "6.6.6.6"),
    ("X-Forwarded-For", "6.6.6.6, 7.7.7.7"),
    ("X-Forwarded-For", "127.0.0.1"),
    ("X-Forwarded-For", "127.0.0.1, 127.0.0.1"),
    ("X-Forwarded-For", "::ffff:6.6.6.6"),
    ("X-Forwarded-For", "[::ffff:6.6.6.6]:80"),
    ("X-Forwarded-For", "6.6.6.6:1234"),
    ("X-Forwarded-For", "2001:db8::1"),
    ("X-Forwarded-For", "[2001:db8::1]"),
    ("X-Forwarded-For", " 6.6.6.6 "),
    ("X-Forwarded-For", "6.6.6.6,"),
    ("X-Forwarded-For", ",6.6.6.6"),
    ("X-Forwarded-For", ", ,"),
    ("X-Forwarded-For", "unknown"),
    ("X-Forwarded-For", "_hidden"),
    ("X-Forwarded-For", "0x06060606"),
    ("X-Forwarded-For", "101058054"),
    ("X-Forwarded-For", "06.06.06.06"),
    ("X-Forwarded-For", "6.6.6.6;7.7.7.7"),
    ("X-Forwarded-For", "6.6.6.6 7.7.7.7"),
    ("X-Forwarded-For", "for=6.6.6.6"),
    ("X-Forwarded-For", "\"6.6.6.6\""),
    ("X-FORWARDED-FOR", "6.6.6.6"),
    ("x-forwarded-for", "6.6.6.6"),
    ("X-Real-IP", "6.6.6.6"),
    ("x-real-ip", "6.6.6.6"),
    ("X-REAL-IP", "::1"),
    ("Forwarded", "for=6.6.6.6"),
    ("Forwarded", "for=\"[2001:db8::1]:80\";proto=https;by=127.0.0.1"),
    ("True-Client-IP", "6.6.6.6"),
    ("X-Client-IP", "6.6.6.6"),
    ("X-Cluster-Client-IP", "6.6.6.6"),
    ("CF-Connecting-IP", "6.6.6.6"),
    ("Fastly-Client-IP", "6.6.6.6"),
    ("X-Original-Forwarded-For", "6.6.6.6"),
    ("X-Forwarded", "for=6.6.6.6"),
    ("Forwarded-For", "6.6.6.6"),
    ("Client-IP", "6.6.6.6"),
    ("X-Gateway-Peer", "6.6.6.6"),
    ("X-Gateway-Peer", "127.0.0.1"),
    ("Via", "1.1 6.6.6.6"),
    ("X-Envoy-External-Address", "6.6.6.6"),
];

const STRANGER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 9));

/// Who the upstream and the log take for the client, of one that is no trusted proxy.
#[tokio::test]
async fn no_claim_of_a_stranger_is_believed() {
    assert!(CLAIMS.len() >= 40);
    for trusted in [json!([]), json!(["10.0.0.0/8", "127.0.0.1/32", "::1/128"])] {
        let gateway = Gateway::with(json!({
            "client": {"trusted_proxies": trusted},
            "admin": {"on_gateway_ports": true},
        }))
        .await;
        let upstream = Upstream::echo().await;
        gateway.serve("/*", &[upstream.address]).await;
        for (name, value) in CLAIMS {
            let mut client = Client::connect_from(STRANGER, gateway.http).await;
            client.send(&Request::get("/x").header(name, value).to_bytes()).await.unwrap();
            assert_eq!(client.response_to("GET").await.unwrap().status, 200, "{name}: {value}");
            let seen = upstream.last();
            assert_eq!(seen.head.all("x-real-ip"), ["127.0.0.9"], "{name}: {value}");
            assert_eq!(seen.head.all("x-gateway-peer"), Vec::<&str>::new(), "{name}: {value}");
            let forwarded = seen.head.all("x-forwarded-for");
            assert!(forwarded.len() == 1 && forwarded[0].ends_with("127.0.0.9"), "{name}: {value}: {forwarded:?}");
            // Nor does it open the admin, which only loopback's own address may call.
            let mut client = Client::connect_from(STRANGER, gateway.http).await;
            let request = Request::get("/admin/routes/list")
                .header("Host", "127.0.0.1")
                .header("X-Api-Token", crate::support::gateway::TOKEN)
                .header(name, value);
            client.send(&request.to_bytes()).await.unwrap();
            assert_eq!(client.response_to("GET").await.unwrap().status, 403, "{name}: {value}");
        }
        let logged = gateway.access_log();
        assert!(logged.lines().all(|line| !line.contains(r#""client":"6.6.6.6""#)), "{logged}");
    }
}

#[tokio::test]
async fn no_claim_over_http2_is_believed_either() {
    let gateway = Gateway::with(json!({"client": {"trusted_proxies": ["10.0.0.0/8"]}})).await;
    let upstream = Upstream::echo().await;
    gateway.serve("/*", &[upstream.address]).await;
    let client = h2c::connect(gateway.h2c).await;
    for (name, value) in CLAIMS {
        let request = http::Request::get("http://a/x").header(name.to_lowercase(), *value).body(()).unwrap();
        let (response, _) = client.clone().ready().await.unwrap().send_request(request, true).unwrap();
        assert_eq!(h2c::read(response).await.status, 200, "{name}: {value}");
        let seen = upstream.last();
        assert_eq!(seen.head.all("x-real-ip"), ["127.0.0.1"], "{name}: {value}");
        let forwarded = seen.head.all("x-forwarded-for");
        assert!(forwarded.len() == 1 && forwarded[0].ends_with("127.0.0.1"), "{name}: {value}: {forwarded:?}");
    }
}

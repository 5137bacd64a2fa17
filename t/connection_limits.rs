//! No client and no listener gets more connections than it may, and who gets none is told at once.

use std::net::IpAddr;

use serde_json::json;

use crate::support::{Client, Gateway, Request, Upstream, eventually, eventually_some, h2c};

async fn gateway(client: serde_json::Value) -> (Gateway, Upstream) {
    let gateway = Gateway::with(json!({"client": client})).await;
    let upstream = Upstream::saying("x").await;
    gateway.serve("/*", &[upstream.address]).await;
    // Those of the start have gone.
    eventually("nobody is connected", || async { gateway.metric("gateway_connections_active", "").await == 0.0 }).await;
    (gateway, upstream)
}

/// Connections that have had a response, as many as there may be.
async fn fill(to: std::net::SocketAddr, from: IpAddr, count: usize) -> Vec<Client> {
    let mut clients = Vec::new();
    for _ in 0..count {
        let mut client = Client::connect_from(from, to).await;
        client.get("/x").await.unwrap().expect(200);
        clients.push(client);
    }
    clients
}

async fn is_refused(mut client: Client) -> bool {
    // Closed at accept: the request may not even be sent.
    client.get("/x").await.is_err()
}

const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 2));
const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 3));

#[tokio::test]
async fn each_listener_has_its_own_limit() {
    let (gateway, _upstream) = gateway(json!({"max_connections": 3})).await;
    let mut clients = fill(gateway.http, A, 3).await;
    assert!(is_refused(Client::connect_from(B, gateway.http).await).await);
    let _others = fill(gateway.h2c, A, 3).await;
    assert!(is_refused(Client::connect_from(B, gateway.h2c).await).await);
    assert_eq!(gateway.metric("gateway_connections_refused_total", r#"reason="listener""#).await, 2.0);
    clients[0].get("/x").await.unwrap().expect(200);
    clients.pop();
    eventually_some("there is room again", || async { Client::connect(gateway.http).await.get("/x").await.ok() }).await;
}

#[tokio::test]
async fn each_address_has_its_own_limit() {
    let (gateway, _upstream) = gateway(json!({"max_connections_per_ip": 2})).await;
    let mut clients = fill(gateway.http, A, 2).await;
    for port in [gateway.http, gateway.h2c] {
        assert!(is_refused(Client::connect_from(A, port).await).await);
    }
    let _others = fill(gateway.http, B, 2).await;
    assert_eq!(gateway.metric("gateway_connections_refused_total", r#"reason="address""#).await, 2.0);
    clients[0].get("/x").await.unwrap().expect(200);
    clients.pop();
    eventually("there is room again", || async { !is_refused(Client::connect_from(A, gateway.http).await).await })
        .await;
}

#[tokio::test]
async fn trusted_proxies_and_load_balancers_bring_as_many_as_they_like() {
    let client = json!({
        "max_connections_per_ip": 1,
        "trusted_proxies": ["127.0.0.2/32"],
        "proxy_protocol": {"from": ["127.0.0.3/32"]},
    });
    let (gateway, _upstream) = gateway(client).await;
    let _trusted = fill(gateway.http, A, 3).await;
    // Those that come through a load balancer are counted by whom it names.
    let mut clients = Vec::new();
    for (client, refused) in [("203.0.113.1", false), ("203.0.113.2", false), ("203.0.113.1", true)] {
        let mut connection = Client::connect_from(B, gateway.http).await;
        let header = format!("PROXY TCP4 {client} 10.0.0.1 1 80\r\n");
        drop(connection.send(header.as_bytes()).await);
        assert_eq!(connection.get("/x").await.is_err(), refused, "{client}");
        clients.push(connection);
    }
}

#[tokio::test]
async fn a_connection_is_closed_after_as_many_requests_as_it_may_carry() {
    let (gateway, upstream) = gateway(json!({"max_requests_per_connection": 3})).await;
    for port in [gateway.http, gateway.h2c] {
        let mut client = Client::connect(port).await;
        for connection in ["keep-alive", "keep-alive", "close"] {
            assert_eq!(client.get("/x").await.unwrap().expect(200).header("connection"), Some(connection));
        }
        assert_eq!(client.until_closed().await, b"");
        // Pipelined ones too: the fourth is not begun.
        let mut client = Client::connect(port).await;
        drop(client.send(&Request::get("/x").to_bytes().repeat(5)).await);
        let got = String::from_utf8_lossy(&client.until_closed().await).into_owned();
        assert!(got.matches("HTTP/1.1 200").count() <= 3, "{got}");
    }
    assert!(upstream.count() <= 12, "{}", upstream.count());
}

#[tokio::test]
async fn an_http2_connection_ends_after_as_many_requests_as_it_may_carry() {
    let (gateway, _upstream) = gateway(json!({"max_requests_per_connection": 3})).await;
    let client = h2c::connect(gateway.h2c).await;
    let mut served = 0;
    while let Ok(ready) = client.clone().ready().await {
        let request = http::Request::get("http://a/x").body(()).unwrap();
        let Ok((response, _)) = ready.clone().send_request(request, true) else { break };
        assert_eq!(h2c::read(response).await.status, 200, "what was begun is finished");
        served += 1;
        assert!(served < 50, "it goes on for ever");
    }
    assert!(served >= 3, "{served}");
}

/// Accepting pauses while there is no file left; nothing breaks, and it goes on when there are.
#[tokio::test(flavor = "multi_thread")]
async fn more_clients_than_files_are_turned_away_without_harm() {
    let mut gateway = Gateway::prepare(json!({})).with_files(400);
    gateway.boot().await;
    let upstream = Upstream::saying("x").await;
    gateway.serve("/*", &[upstream.address]).await;
    let mut clients = Vec::new();
    for _ in 0..500 {
        clients.push(Client::connect(gateway.http).await);
    }
    eventually("some are turned away", || async {
        gateway.metric("gateway_connections_refused_total", r#"reason="files""#).await > 100.0
    })
    .await;
    // Those that are in are served: there are files left for the way to the node.
    assert_eq!(clients[0].get("/x").await.unwrap().status, 200);
    drop(clients);
    eventually_some("it serves on", || async { Client::connect(gateway.http).await.get("/x").await.ok() }).await;
    assert!(!gateway.process().has_crashed());
}

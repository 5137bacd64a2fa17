//! `admin.on_gateway_ports`: the admin beside the routes, for those it allows and nobody else.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::support::gateway::TOKEN;
use crate::support::{Gateway, Request, Upstream, h2c, merge};

const LIST: &str = "/admin/routes/list";

async fn old_style(more: Value) -> Gateway {
    let mut config = json!({"admin": {
        "on_gateway_ports": true,
        "account": {"editor": {"password": "plain", "info": {}}},
    }});
    merge(&mut config, more);
    Gateway::with(config).await
}

fn list() -> Request {
    Request::get(LIST).header("X-Api-Token", TOKEN)
}

fn login() -> String {
    json!({"username": "editor", "password": "plain"}).to_string()
}

#[tokio::test]
async fn an_allowed_client_logs_in_and_works_on_both_data_ports() {
    let gateway = old_style(json!({})).await;
    for port in [gateway.http, gateway.h2c] {
        let request = Request::new("POST", "/admin/login").header("Content-Type", "application/json").body(login());
        let token = request.send(port).await.expect(200).json()["token"].as_str().unwrap().to_owned();
        let listed = Request::get(LIST).header("X-Token", &token).send(port).await.expect(200);
        assert_eq!(listed.text(), "[]");
        Request::get(LIST).header("X-Token", "wrong").send(port).await.expect(401);
        Request::get(LIST).send(port).await.expect(401);
    }
}

#[tokio::test]
async fn an_allowed_client_logs_in_and_works_over_http2() {
    let gateway = old_style(json!({})).await;
    let send = |request: http::Request<()>, body: String| {
        let port = gateway.h2c;
        async move {
            let client = h2c::connect(port).await;
            let (response, mut stream) = client.ready().await.unwrap().send_request(request, false).unwrap();
            stream.send_data(Bytes::from(body), true).unwrap();
            h2c::read(response).await
        }
    };
    let uri = |path: &str| format!("http://{}{path}", gateway.h2c);
    let request = http::Request::post(uri("/admin/login")).header("content-type", "application/json");
    let answer = send(request.body(()).unwrap(), login()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer: Value = serde_json::from_slice(&answer.body).unwrap();
    let request = http::Request::get(uri(LIST)).header("x-token", answer["token"].as_str().unwrap());
    let listed = send(request.body(()).unwrap(), String::new()).await;
    assert_eq!((listed.status, &listed.body[..]), (200, &b"[]"[..]));
    let saved = json!({"key": "", "prefix": "/big/*", "service_name": "s", "protocol": "http", "status": 1,
        "plugins": ["discovery"], "props": {}, "remark": "r".repeat(100_000)});
    let request = http::Request::post(uri("/admin/routes/save")).header("x-api-token", TOKEN);
    assert_eq!(send(request.body(()).unwrap(), saved.to_string()).await.status, 200, "a large body");
    assert_eq!(send(http::Request::get(uri(LIST)).body(()).unwrap(), String::new()).await.status, 401);
}

/// A trusted proxy vouches for who its client is; it does not lend it its own rights.
#[tokio::test]
async fn a_foreign_client_of_a_trusted_proxy_is_refused() {
    let gateway = old_style(json!({"client": {"trusted_proxies": ["127.0.0.1/32"]}})).await;
    for port in [gateway.http, gateway.h2c] {
        list().send(port).await.expect(200);
        list().header("X-Forwarded-For", "127.0.0.1").send(port).await.expect(200);
        for forwarded in ["8.8.8.8", "127.0.0.1, 8.8.8.8", "8.8.8.8, 127.0.0.1"] {
            let refused = list().header("X-Forwarded-For", forwarded).send(port).await;
            assert_eq!(refused.status, 403, "{forwarded}");
            let refused = list().header("X-Forwarded-For", forwarded).header("X-Gateway-Peer", "127.0.0.1");
            assert_eq!(refused.send(port).await.status, 403, "{forwarded}, saying otherwise");
        }
        let foreign = Request::new("POST", "/admin/login").header("X-Forwarded-For", "8.8.8.8").body(login());
        foreign.send(port).await.expect(403);
        let dashboard = Request::get("/dashboard/").header("X-Forwarded-For", "8.8.8.8");
        dashboard.send(port).await.expect(403);
    }
}

#[tokio::test]
async fn what_a_client_says_in_x_gateway_peer_is_never_believed() {
    // Who is trusted for X-Forwarded-For is not trusted for this, and who is not allowed stays out.
    let strict = old_style(json!({"admin": {"allow": ["10.0.0.0/8"]}})).await;
    let open = old_style(json!({})).await;
    for (gateway, status) in [(&strict, 403), (&open, 200)] {
        for port in [gateway.http, gateway.h2c] {
            for claimed in ["10.0.0.1", "8.8.8.8", "127.0.0.1", "nonsense"] {
                let request = list().header("X-Gateway-Peer", claimed).header("x-gateway-peer", claimed);
                assert_eq!(request.send(port).await.status, status, "{claimed}");
            }
        }
    }
    for claimed in ["10.0.0.1", "8.8.8.8", "nonsense"] {
        list().header("X-Gateway-Peer", claimed).send(open.admin).await.expect(200);
    }
    // And no node is told it.
    let upstream = Upstream::echo().await;
    open.serve("/x", &[upstream.address]).await;
    open.send(Request::get("/x").header("X-Gateway-Peer", "8.8.8.8")).await.expect(200);
    assert_eq!(upstream.last().header("x-gateway-peer"), None);
}

#[tokio::test]
async fn routes_with_names_like_the_admins_are_served() {
    let gateway = old_style(json!({"admin": {"allow": ["10.0.0.0/8", "127.0.0.1/32"]}})).await;
    let upstream = Upstream::saying("served").await;
    gateway.serve("/*", &[upstream.address]).await;
    for path in ["/administration", "/administration/x", "/admin-ui", "/admin.html", "/dashboards", "/x/admin/y"] {
        assert_eq!(gateway.get(path).await.expect(200).text(), "served", "{path}");
    }
    // Spelled otherwise it is still the admin.
    for path in ["/admin/routes/list", "/%61dmin/routes/list", "/x/../admin/routes/list", "/admin", "/dashboard/"] {
        let response = gateway.get(path).await;
        assert_ne!(response.text(), "served", "{path}");
    }
}

//! Services register their nodes over HTTP, on both stores, and are gone when they stop beating.

use serde_json::{Value, json};

use crate::support::{Etcd, Gateway, Request, Response, Upstream, eventually};

/// A token that may register nodes of `demo1` and `team-*`.
pub const REGISTRAR: &str = "integration-test-registrar-9f31";

pub fn with_registrar() -> Value {
    let token = json!({"desc": "ci", "may": ["register"], "services": ["demo1", "team-*"]});
    json!({"admin": {"tokens": {REGISTRAR: token}}})
}

async fn call(gateway: &Gateway, method: &str, path: &str, body: &str) -> Response {
    Request::new(method, &format!("/admin/v2/registrations{path}"))
        .header("X-Api-Token", REGISTRAR)
        .body(body)
        .send(gateway.admin)
        .await
}

async fn serves(gateway: &Gateway, status: u16) {
    eventually(&format!("requests get {status}"), || async { gateway.get("/d").await.status == status }).await;
}

async fn a_node_lives_as_long_as_it_beats(gateway: Gateway) {
    let upstream = Upstream::saying("served").await;
    gateway.route("/d", "demo1", json!({})).await;
    serves(&gateway, 502).await;
    let node = format!("/demo1/{}", upstream.address);

    call(&gateway, "PUT", &node, r#"{"ttl": "4s"}"#).await.expect(201);
    serves(&gateway, 200).await;
    // Longer than the time to live, with a heartbeat each half second.
    for _ in 0..12 {
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        let beat = call(&gateway, "POST", &format!("{node}/heartbeat"), "").await;
        assert_eq!((beat.status, gateway.get("/d").await.status), (200, 200), "{}", beat.text());
    }
    serves(&gateway, 502).await;
    call(&gateway, "POST", &format!("{node}/heartbeat"), "").await.expect(404);

    call(&gateway, "PUT", &node, r#"{"ttl": "1h", "weight": 3}"#).await.expect(201);
    serves(&gateway, 200).await;
    let listed = call(&gateway, "GET", "?service=demo1", "").await.expect(200).json();
    assert_eq!((&listed["registrations"][0]["ttl"], &listed["registrations"][0]["weight"]), (&json!(3600), &json!(3)));
    assert!(listed["registrations"][0]["expires_in"].as_u64().is_some_and(|left| left > 3000), "{listed}");
    call(&gateway, "DELETE", &node, "").await.expect(204);
    serves(&gateway, 502).await;
}

#[tokio::test]
async fn a_node_lives_as_long_as_it_beats_on_the_embedded_store() {
    a_node_lives_as_long_as_it_beats(Gateway::with(with_registrar()).await).await;
}

#[tokio::test]
async fn a_node_lives_as_long_as_it_beats_on_etcd() {
    let etcd = Etcd::start().await;
    a_node_lives_as_long_as_it_beats(Gateway::on_with(&etcd, with_registrar()).await).await;
}

#[tokio::test]
async fn any_gateway_takes_the_heartbeat_of_a_node_that_another_registered() {
    let etcd = Etcd::start().await;
    let (one, two) = tokio::join!(Gateway::on_with(&etcd, with_registrar()), Gateway::on_with(&etcd, with_registrar()));
    call(&one, "PUT", "/team-a/127.0.0.1:9", "").await.expect(201);
    call(&two, "POST", "/team-a/127.0.0.1:9/heartbeat", "").await.expect(200);
    call(&two, "PUT", "/team-a/127.0.0.1:9", "").await.expect(200);
    call(&two, "DELETE", "/team-a/127.0.0.1:9", "").await.expect(204);
    call(&one, "POST", "/team-a/127.0.0.1:9/heartbeat", "").await.expect(404);
}

#[tokio::test]
async fn after_a_restart_each_node_gets_its_full_time() {
    let mut gateway = Gateway::with(with_registrar()).await;
    call(&gateway, "PUT", "/demo1/127.0.0.1:9", r#"{"ttl": "20m"}"#).await.expect(201);
    gateway.restart().await;
    let listed = call(&gateway, "GET", "", "").await.expect(200).json();
    assert!(listed["registrations"][0]["expires_in"].as_u64().is_some_and(|left| left > 19 * 60), "{listed}");
    call(&gateway, "POST", "/demo1/127.0.0.1:9/heartbeat", "").await.expect(200);
}

#[tokio::test]
async fn the_gateways_own_addresses_and_denied_networks_cannot_be_registered() {
    let gateway = Gateway::with(with_registrar()).await;
    for address in [gateway.admin.to_string(), gateway.status.to_string(), "169.254.169.254:80".into()] {
        let refused = call(&gateway, "PUT", &format!("/demo1/{address}"), "").await.expect(422).json();
        assert_eq!(refused["field"], "upstream", "{refused}");
    }
}

#[tokio::test]
async fn a_token_for_registrations_can_do_nothing_else() {
    let gateway = Gateway::with(with_registrar()).await;
    let call = async |method: &str, path: &str| {
        let body = r#"{"prefix":"/x","service_name":"demo1","upstream":"127.0.0.1:9","key":"x","level":"debug"}"#;
        Request::new(method, path).header("X-Api-Token", REGISTRAR).body(body).send(gateway.admin).await.status
    };
    for path in [
        "/admin/user/info",
        "/admin/logout",
        "/admin/plugins/list",
        "/admin/routes/list",
        "/admin/routes/save",
        "/admin/routes/remove",
        "/admin/services/list",
        "/admin/services/save",
        "/admin/services/remove",
        "/admin/v2/status",
        "/admin/v2/log-level",
        "/admin/v2/registrations/other/127.0.0.1:9",
        "/admin/v2/registrations/demo1%2F..%2Fother/127.0.0.1:9",
    ] {
        let (put, post) = (call("PUT", path).await, call("POST", path).await);
        assert!([403, 404, 405].contains(&put) && [403, 404, 405].contains(&post), "{path}: {put} {post}");
        assert!(put == 403 || post == 403, "{path}: {put} {post}");
    }
    assert_eq!(gateway.get_admin("/admin/routes/list").await.text(), "[]");
    assert_eq!(gateway.get_admin("/admin/services/list").await.text(), "[]");
}

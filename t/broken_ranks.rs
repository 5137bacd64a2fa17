//! A route that cannot be used keeps its place: what it guards is not served by its neighbour.

use serde_json::json;

use crate::support::gateway::put_node;
use crate::support::{Etcd, Gateway, Request, Upstream};

async fn open_and_broken() -> (Etcd, Gateway, Upstream) {
    let etcd = Etcd::start().await;
    let upstream = Upstream::saying("served").await;
    put_node(&etcd, "s", upstream.address).await;
    let gateway = Gateway::on(&etcd).await;
    (etcd, gateway, upstream)
}

async fn put(etcd: &Etcd, id: &str, prefix: &str, plugin: &str, more: serde_json::Value) {
    let mut route = json!({"prefix": prefix, "service_name": "s", "status": 1, "plugins": ["discovery", plugin]});
    crate::support::merge(&mut route, more);
    etcd.put(&format!("routes/{id}"), &route).await;
}

/// No such plugin here: the route that names it is broken.
const MISSING: &str = "key-auth";

async fn status(gateway: &Gateway, request: Request) -> u16 {
    gateway.send(request).await.status
}

#[tokio::test]
async fn a_broken_route_of_higher_priority_is_503_and_not_its_open_neighbour() {
    let (etcd, gateway, _upstream) = open_and_broken().await;
    put(&etcd, "a-open", "/p/*", "tracing", json!({"priority": 5})).await;
    put(&etcd, "z-guard", "/p/*", MISSING, json!({"priority": 10})).await;
    put(&etcd, "a-guard", "/low/*", MISSING, json!({"priority": 5})).await;
    put(&etcd, "z-open", "/low/*", "tracing", json!({"priority": 10})).await;
    put(&etcd, "catch-all", "/*", "tracing", json!({})).await;
    gateway.applied_from(&etcd).await;
    assert_eq!(gateway.get("/p/x").await.status, 503);
    assert_eq!(gateway.get("/low/x").await.expect(200).text(), "served", "of lower rank it hides nothing");
    let rejected = gateway.get_admin("/admin/v2/status").await.expect(200).json()["rejected"].to_string();
    assert!(rejected.contains("z-guard") && rejected.contains(MISSING), "{rejected}");
}

#[tokio::test]
async fn a_broken_route_keeps_its_methods_and_conditions() {
    let (etcd, gateway, _upstream) = open_and_broken().await;
    put(&etcd, "open", "/q/*", "tracing", json!({"methods": ["GET", "POST"]})).await;
    put(&etcd, "guard", "/q/*", MISSING, json!({"methods": ["GET"], "headers": {"x-tenant": "a"}})).await;
    put(&etcd, "writes", "/w/*", MISSING, json!({"methods": ["PUT", "DELETE"]})).await;
    put(&etcd, "host", "/h/*", MISSING, json!({"hosts": ["*.a.com"]})).await;
    put(&etcd, "catch-all", "/*", "tracing", json!({})).await;
    gateway.applied_from(&etcd).await;
    let tenant = |method: &str, tenant: &str| Request::new(method, "/q/x").header("X-Tenant", tenant);
    assert_eq!(status(&gateway, tenant("GET", "a")).await, 503, "what it guards");
    assert_eq!(status(&gateway, tenant("GET", "b")).await, 200, "and no more than that");
    assert_eq!(status(&gateway, tenant("POST", "a")).await, 200);
    for (method, expected) in [("PUT", 503), ("DELETE", 503), ("GET", 200)] {
        assert_eq!(status(&gateway, Request::new(method, "/w/x")).await, expected, "{method}");
    }
    for (host, expected) in [("x.a.com", 503), ("a.test", 200)] {
        assert_eq!(status(&gateway, Request::get("/h/x").header("Host", host)).await, expected, "{host}");
    }
}

#[tokio::test]
async fn the_rank_of_a_broken_route_is_read_also_where_another_field_is_wrong() {
    let (etcd, gateway, _upstream) = open_and_broken().await;
    put(&etcd, "open", "/p/*", "tracing", json!({"priority": 5})).await;
    for (id, wrong) in [
        ("protocol", json!({"protocol": "ftp"})),
        ("timeouts", json!({"timeouts": {"read": "0s"}})),
        ("unknown", json!({"props": "text"})),
        ("size", json!({"max_body_size": "lots"})),
    ] {
        let mut more = json!({"priority": 10, "headers": {"x-case": id}});
        crate::support::merge(&mut more, wrong);
        put(&etcd, id, "/p/*", "tracing", more).await;
    }
    gateway.applied_from(&etcd).await;
    for id in ["protocol", "timeouts", "unknown", "size"] {
        let request = Request::get("/p/x").header("X-Case", id);
        assert_eq!(status(&gateway, request).await, 503, "{id}");
    }
    assert_eq!(gateway.get("/p/x").await.status, 200);
}

//! Which route takes a request.

use serde_json::{Value, json};

use crate::support::gateway::{put_node, route};
use crate::support::{Etcd, Gateway, Request, Upstream, h2c};

/// A gateway whose upstream says which route was taken, by the service's name: each route has one
/// of its own.
async fn routed(routes: &[(&str, &str, Value)]) -> (Gateway, Vec<Upstream>) {
    routed_with(json!({}), routes).await
}

async fn routed_with(config: Value, routes: &[(&str, &str, Value)]) -> (Gateway, Vec<Upstream>) {
    let gateway = Gateway::with(config).await;
    let mut upstreams = Vec::new();
    for (name, prefix, more) in routes {
        let name: &'static str = name.to_string().leak();
        let upstream = Upstream::saying(name).await;
        gateway.node(name, upstream.address, 1).await;
        gateway.route(prefix, name, more.clone()).await;
        upstreams.push(upstream);
    }
    gateway.applied().await;
    (gateway, upstreams)
}

/// The route a request takes; its status when none does.
async fn taken(gateway: &Gateway, request: Request) -> String {
    let response = gateway.send(request).await;
    if response.status == 200 { response.text() } else { response.status.to_string() }
}

#[tokio::test]
async fn exact_before_longest_prefix_before_shorter() {
    let (gateway, _upstreams) = routed(&[
        ("all", "/*", json!({})),
        ("api", "/api/*", json!({})),
        ("users", "/api/users/*", json!({})),
        ("exact", "/api/users/me", json!({})),
        ("middle", "/img*", json!({})),
    ])
    .await;
    for (path, route) in [
        ("/", "all"),
        ("/other", "all"),
        ("/api", "all"),
        ("/api/", "api"),
        ("/api/x", "api"),
        ("/api/users", "api"),
        ("/api/users/", "users"),
        ("/api/users/1/2", "users"),
        ("/api/users/me", "exact"),
        ("/api/users/me/", "users"),
        ("/img", "middle"),
        ("/images/a.png", "all"),
        ("/img1", "middle"),
        ("/img/1", "middle"),
    ] {
        assert_eq!(taken(&gateway, Request::get(path)).await, route, "{path}");
    }
}

#[tokio::test]
async fn no_route_is_404_on_both_ports() {
    let (gateway, _upstreams) = routed(&[("a", "/a/*", json!({})), ("off", "/off/*", json!({"status": 0}))]).await;
    for path in ["/", "/a", "/b/1", "/off/1"] {
        assert_eq!(gateway.get(path).await.status, 404, "{path}");
        assert_eq!(h2c::get(gateway.h2c, "x.test", path).await.status, 404, "{path} over h2");
        assert_eq!(Request::get(path).send(gateway.h2c).await.status, 404, "{path} over HTTP/1.1 on the h2c port");
    }
}

#[tokio::test]
async fn hosts_match_without_port_and_case_and_fall_back_to_a_shorter_prefix() {
    let (gateway, _upstreams) = routed(&[
        ("any", "/api/*", json!({})),
        ("wild", "/api/v1/*", json!({"hosts": ["*.example.com"]})),
        ("shop", "/api/v1/*", json!({"hosts": ["shop.example.org", "example.net"]})),
        ("upper", "/upper/*", json!({"hosts": ["UPPER.Example.Com"]})),
    ])
    .await;
    for (host, path, route) in [
        ("shop.example.org", "/api/v1/x", "shop"),
        ("shop.example.org:8080", "/api/v1/x", "shop"),
        ("SHOP.Example.ORG", "/api/v1/x", "shop"),
        ("example.net", "/api/v1/x", "shop"),
        ("www.shop.example.org", "/api/v1/x", "any"),
        ("blog.example.com", "/api/v1/x", "wild"),
        ("a.b.example.com", "/api/v1/x", "wild"),
        ("example.com", "/api/v1/x", "any"),
        ("other.org", "/api/v1/x", "any"),
        ("upper.example.com:1", "/upper/x", "upper"),
        ("lower.example.com", "/upper/x", "404"),
    ] {
        assert_eq!(taken(&gateway, Request::get(path).header("Host", host)).await, route, "{host}{path}");
    }
    let over_h2 = h2c::get(gateway.h2c, "Shop.Example.org:99", "/api/v1/x").await;
    assert_eq!(&over_h2.body[..], b"shop");
}

#[tokio::test]
async fn methods_headers_and_query_decide_and_fall_back() {
    let (gateway, _upstreams) = routed(&[
        ("any", "/*", json!({})),
        ("write", "/things/*", json!({"methods": ["POST", "put"]})),
        ("beta", "/beta/*", json!({"headers": {"x-stage": "beta"}})),
        ("token", "/token/*", json!({"headers": {"authorization": {"prefix": "Bearer "}}})),
        ("anonymous", "/anon/*", json!({"headers": {"cookie": {"present": false}}})),
        ("number", "/page/*", json!({"query": {"page": {"regex": "^[0-9]+$"}}})),
    ])
    .await;
    let get = Request::get;
    for (request, route) in [
        (get("/things/1"), "any"),
        (Request::new("POST", "/things/1").body("x"), "write"),
        (Request::new("PUT", "/things/1").body("x"), "write"),
        (Request::new("DELETE", "/things/1"), "any"),
        (get("/beta/1"), "any"),
        (get("/beta/1").header("X-Stage", "beta"), "beta"),
        (get("/beta/1").header("X-Stage", "betamax"), "any"),
        (get("/token/1").header("Authorization", "Bearer abc"), "token"),
        (get("/token/1").header("Authorization", "Basic abc"), "any"),
        (get("/anon/1"), "anonymous"),
        (get("/anon/1").header("Cookie", "a=b"), "any"),
        (get("/page/?page=12"), "number"),
        (get("/page/?x=1&page=7"), "number"),
        (get("/page/?page=x"), "any"),
        (get("/page/"), "any"),
    ] {
        let shown = String::from_utf8_lossy(&request.to_bytes()).into_owned();
        assert_eq!(taken(&gateway, request).await, route, "{shown}");
    }
}

/// As an operator may write them into etcd: the keys do not matter, the values do.
#[tokio::test]
async fn hosts_then_priority_decide_between_routes_of_one_prefix() {
    let etcd = Etcd::start().await;
    let mut upstreams = Vec::new();
    for (name, more) in [
        ("exact", json!({"hosts": ["a.example.com"]})),
        ("near", json!({"hosts": ["*.b.example.com"]})),
        ("wild", json!({"hosts": ["*.example.com"], "priority": 100})),
        ("any", json!({"priority": 100})),
        ("low", json!({"hosts": ["same.test"], "priority": 1, "methods": ["GET"]})),
        ("high", json!({"hosts": ["same.test"], "priority": 2, "headers": {"x-high": "1"}})),
    ] {
        let upstream = Upstream::saying(name).await;
        put_node(&etcd, name, upstream.address).await;
        etcd.put(&format!("routes/{name}"), &route("/p/*", name, more)).await;
        upstreams.push(upstream);
    }
    let gateway = Gateway::on(&etcd).await;
    for (host, name) in [
        ("a.example.com", "exact"),
        ("x.b.example.com", "near"),
        ("b.example.com", "wild"),
        ("x.example.com", "wild"),
        ("example.com", "any"),
        ("same.test", "low"),
    ] {
        assert_eq!(taken(&gateway, Request::get("/p/x").header("Host", host)).await, name, "{host}");
    }
    let both = Request::get("/p/x").header("Host", "same.test").header("X-High", "1");
    assert_eq!(taken(&gateway, both).await, "high");
}

#[tokio::test]
async fn a_path_is_matched_and_forwarded_in_one_normal_form() {
    let (gateway, upstreams) =
        routed(&[("all", "/*", json!({})), ("closed", "/closed/*", json!({})), ("用户", "/用户/*", json!({}))]).await;
    // Every spelling, the route it takes and what the upstream sees.
    for (sent, route, forwarded) in [
        ("/closed/x", 1, "/closed/x"),
        ("/closed//x", 1, "/closed/x"),
        ("//closed/x", 1, "/closed/x"),
        ("/%63losed/x", 1, "/closed/x"),
        ("/%63%6c%6Fsed/x", 1, "/closed/x"),
        ("/./closed/x", 1, "/closed/x"),
        ("/open/../closed/x", 1, "/closed/x"),
        ("/open/%2e%2e/closed/x", 1, "/closed/x"),
        ("/open/.%2E/closed/x", 1, "/closed/x"),
        ("/closed/x/..", 1, "/closed/"),
        ("/closed/../open", 0, "/open"),
        ("/group%2Fproject", 0, "/group%2Fproject"),
        ("/a%5Cb", 0, "/a%5Cb"),
        ("/a%3Fb?c=%2e%2e", 0, "/a%3Fb?c=%2e%2e"),
        ("/%E7%94%A8%E6%88%B7/1", 2, "/%E7%94%A8%E6%88%B7/1"),
        ("/%e7%94%a8%e6%88%b7/1", 2, "/%E7%94%A8%E6%88%B7/1"),
        ("/a;b=c/d", 0, "/a;b=c/d"),
        ("/x;/../closed/x", 1, "/closed/x"),
        ("/closed/x?a=//../b", 1, "/closed/x?a=//../b"),
    ] {
        let response = gateway.get(sent).await;
        assert_eq!(response.status, 200, "{sent}: {}", response.text());
        let names = ["all", "closed", "用户"];
        assert_eq!(response.text(), names[route], "{sent}");
        assert_eq!(upstreams[route].last().target, forwarded, "{sent}");
    }
}

#[tokio::test]
async fn paths_that_mean_nothing_are_400() {
    let (gateway, upstreams) = routed(&[("all", "/*", json!({}))]).await;
    let before = upstreams[0].count();
    for path in ["/a%00b", "/a%", "/a%2", "/a%zz", "/%c0%ae%c0%ae/x%0", "/../../x", "/a/../../x"] {
        assert_eq!(gateway.get(path).await.status, 400, "{path}");
    }
    assert_eq!(upstreams[0].count(), before, "nothing of it reached the upstream");
}

/// A spelling that the upstream may read as a guarded path must not reach it through a looser route.
#[tokio::test]
async fn paths_that_others_could_read_as_another_route_are_400() {
    let (gateway, upstreams) = routed(&[("all", "/*", json!({})), ("closed", "/closed/*", json!({}))]).await;
    let before = upstreams[0].count();
    for path in [
        "/closed%2Fx",
        "/closed%5Cx",
        "/closed;a/x",
        "/%2563losed/x",
        "/open%2f..%2fclosed/x",
        "/open/..%2fclosed/x",
        "/open/..%5cclosed/x",
        "/open/..;/closed/x",
        "/open/%252e%252e/closed/x",
    ] {
        let response = gateway.get(path).await;
        assert_eq!(response.status, 400, "{path}: {}", response.text());
    }
    assert_eq!((upstreams[0].count(), upstreams[1].count()), (before, 0));
}

#[tokio::test]
async fn escaped_slashes_are_rejected_or_decoded_where_configured() {
    let (rejecting, _upstream) =
        routed_with(json!({"routing": {"escaped_slashes": "reject"}}), &[("all", "/*", json!({}))]).await;
    for path in ["/a%2Fb", "/a%2fb", "/a%5cb"] {
        assert_eq!(rejecting.get(path).await.status, 400, "{path}");
    }
    let (decoding, upstreams) = routed_with(
        json!({"routing": {"escaped_slashes": "decode"}}),
        &[("all", "/*", json!({})), ("closed", "/closed/*", json!({}))],
    )
    .await;
    assert_eq!(taken(&decoding, Request::get("/closed%2Fx")).await, "closed");
    assert_eq!(upstreams[1].last().target, "/closed/x");
    assert_eq!(taken(&decoding, Request::get("/open%2f..%2fclosed%2fx")).await, "closed");
}

#[tokio::test]
async fn slashes_are_kept_where_configured() {
    let (gateway, upstreams) =
        routed_with(json!({"routing": {"merge_slashes": false}}), &[("all", "/*", json!({}))]).await;
    gateway.get("/a//b").await.expect(200);
    assert_eq!(upstreams[0].last().target, "/a//b");
}

#[tokio::test]
async fn changes_go_live_without_a_restart() {
    let (gateway, _upstreams) = routed(&[("one", "/live/*", json!({}))]).await;
    let second = Upstream::saying("two").await;
    gateway.node("two", second.address, 1).await;
    gateway.route("/live/*", "two", json!({"key": "any: replace"})).await;
    gateway.applied().await;
    assert_eq!(taken(&gateway, Request::get("/live/x")).await, "two");

    let off = json!({"key": "any: replace", "status": 0});
    gateway.route("/live/*", "two", off).await;
    gateway.applied().await;
    assert_eq!(taken(&gateway, Request::get("/live/x")).await, "404");
}

#[tokio::test]
async fn a_route_with_neither_plugins_nor_service_is_404() {
    let (gateway, _upstreams) = routed(&[("kept", "/kept/*", json!({"plugins": []}))]).await;
    gateway.route("/nothing/*", "", json!({"plugins": []})).await;
    gateway.applied().await;
    assert_eq!(taken(&gateway, Request::get("/kept/x")).await, "kept", "a service is enough");
    assert_eq!(taken(&gateway, Request::get("/nothing/x")).await, "404");
}

//! What a call passes before it is handled: source filter, host, CORS; and the pages around.

use super::*;
use crate::admin::status::{StatusDeps, status_router};

fn from(ip: &str, path: &str) -> Request<Body> {
    let mut request = request(Method::GET, path, &[("x-api-token", API_TOKEN)], "");
    request.extensions_mut().insert(Connection(Some(ip.parse().unwrap())));
    request
}

#[tokio::test]
async fn only_the_allowed_networks_get_in() {
    let mut config = config();
    config.allow = ["127.0.0.1/32", "10.1.0.0/16", "::1/128", "fd00::/8"].map(|net| net.parse().unwrap()).into();
    let api = Api::on(MemoryStore::new(), config, PeerSource::Socket);
    for (ip, allowed) in [
        ("127.0.0.1", true),
        ("::1", true),
        ("::ffff:127.0.0.1", true),
        ("10.1.2.3", true),
        ("::ffff:10.1.2.3", true),
        ("fd12::1", true),
        ("127.0.0.2", false),
        ("10.2.0.1", false),
        ("::ffff:10.2.0.1", false),
        ("192.168.1.1", false),
        ("2001:db8::1", false),
        ("::127.0.0.1", false),
    ] {
        for path in ["/admin/routes/list", "/admin/login", "/dashboard/", "/"] {
            let answer = api.send(from(ip, path)).await;
            assert_eq!(answer.status == 403, !allowed, "{ip} {path}");
            if !allowed {
                assert_eq!(
                    (answer.body.as_str(), answer.header("server")),
                    (&*page("403 Forbidden"), Some("Ws-Cloud-Gateway"))
                );
            }
        }
        let answer = api.send(from(ip, "/admin/v2/status")).await;
        assert_eq!(
            answer.header("content-type"),
            Some(if allowed { "application/json" } else { "application/problem+json" })
        );
    }
}

#[tokio::test]
async fn no_header_speaks_for_the_address_of_a_connection() {
    let api = Api::new();
    for name in ["x-gateway-peer", "x-forwarded-for", "x-real-ip", "forwarded"] {
        let mut request = from("192.0.2.1", "/admin/routes/list");
        request.headers_mut().insert(name, LOCAL.parse().unwrap());
        assert_eq!(api.send(request).await.status, 403, "{name}");
    }
    let mut unknown = from(LOCAL, "/admin/routes/list");
    unknown.extensions_mut().remove::<Connection>();
    assert_eq!(api.send(unknown).await.status, 403);
}

#[tokio::test]
async fn behind_the_data_plane_the_header_speaks_and_nothing_else_does() {
    let api = Api::on(MemoryStore::new(), config(), PeerSource::Header);
    for (peers, status) in [
        (&["127.0.0.1"][..], 200),
        (&["127.0.0.1:5000"], 200),
        (&["::1"], 200),
        (&["[::1]:5000"], 200),
        (&["::ffff:127.0.0.1"], 200),
        (&["192.0.2.1"], 403),
        (&[], 403),
        (&[""], 403),
        (&["localhost"], 403),
        (&["127.0.0.1, 192.0.2.1"], 403),
        (&["192.0.2.1", "127.0.0.1"], 403),
        (&["127.0.0.1", "192.0.2.1"], 403),
    ] {
        let mut request = from(LOCAL, "/admin/routes/list");
        for peer in peers {
            request.headers_mut().append("x-gateway-peer", peer.parse().unwrap());
        }
        assert_eq!(api.send(request).await.status, status, "{peers:?}");
    }
}

#[tokio::test]
async fn a_name_that_was_made_to_resolve_to_this_machine_is_refused() {
    let mut config = config();
    config.allow.push("10.0.0.0/8".parse().unwrap());
    let api = Api::on(MemoryStore::new(), config, PeerSource::Socket);
    for (ip, host, refused) in [
        (LOCAL, Some("127.0.0.1:12000"), false),
        (LOCAL, Some("127.0.0.1"), false),
        (LOCAL, Some("[::1]:12000"), false),
        (LOCAL, Some("localhost:12000"), false),
        (LOCAL, Some("LOCALHOST"), false),
        (LOCAL, Some("panel.localhost"), false),
        (LOCAL, Some("panel.example.com"), false),
        (LOCAL, Some("Panel.Example.com:443"), false),
        (LOCAL, None, false),
        ("10.0.0.1", Some("gateway.corp:12000"), false),
        (LOCAL, Some("evil.com"), true),
        (LOCAL, Some("evil.com:12000"), true),
        (LOCAL, Some("127.0.0.1.evil.com"), true),
        (LOCAL, Some("localhost.evil.com"), true),
        (LOCAL, Some("notlocalhost"), true),
        (LOCAL, Some("xpanel.example.com"), true),
        (LOCAL, Some(""), true),
        ("::1", Some("evil.com"), true),
    ] {
        let mut request = from(ip, "/admin/routes/list");
        request.headers_mut().remove("host");
        if let Some(host) = host {
            request.headers_mut().insert("host", host.parse().unwrap());
        }
        assert_eq!(api.send(request).await.status == 403, refused, "{ip} {host:?}");
    }
    let mut absolute = from(LOCAL, "http://evil.com/admin/routes/list");
    absolute.headers_mut().insert("host", "127.0.0.1".parse().unwrap());
    assert_eq!(api.send(absolute).await.status, 403);
}

const LISTED: &str = "https://panel.example.com";

/// 5 kinds of call times 9 origins.
#[tokio::test]
async fn cross_origin_calls_are_answered_for_listed_origins_only() {
    let api = Api::new();
    let origins = [
        (Some(LISTED), true),
        (None, false),
        (Some("https://evil.com"), false),
        (Some("null"), false),
        (Some("*"), false),
        (Some("http://panel.example.com"), false),
        (Some("https://panel.example.com.evil.com"), false),
        (Some("https://panel.example.com:8443"), false),
        (Some("https://PANEL.example.com"), false),
    ];
    for (method, path, status) in [
        ("OPTIONS", "/admin/routes/save", 200),
        ("OPTIONS", "/adminfoo", 200),
        ("GET", "/admin/routes/list", 200),
        ("POST", "/admin/login", 500),
        ("GET", "/admin/nothing", 404),
    ] {
        for (origin, listed) in origins {
            let mut request = request(method.parse().unwrap(), path, &[("x-api-token", API_TOKEN)], "");
            if let Some(origin) = origin {
                request.headers_mut().insert("origin", origin.parse().unwrap());
                request.headers_mut().insert("access-control-request-method", "POST".parse().unwrap());
            }
            let answer = api.send(request).await;
            let what = format!("{method} {path} {origin:?}: {answer:?}");
            assert_eq!(answer.status, status, "{what}");
            assert_eq!(answer.header("access-control-allow-origin"), listed.then_some(LISTED), "{what}");
            assert_eq!(answer.header("access-control-allow-credentials"), listed.then_some("true"), "{what}");
            assert_eq!(answer.header("access-control-max-age"), listed.then_some("3600"), "{what}");
            assert_eq!(answer.header("vary"), Some("Origin"), "{what}");
            assert!(answer.headers.values().all(|value| value != "*"), "{what}");
            let methods = (listed && method == "OPTIONS").then_some("POST, GET, PUT, OPTIONS, DELETE, PATCH");
            assert_eq!(answer.header("access-control-allow-methods"), methods, "{what}");
            if method == "OPTIONS" {
                assert_eq!(
                    (answer.header("content-type"), answer.header("content-length")),
                    (Some("text/plain"), Some("0")),
                    "{what}"
                );
                assert_eq!(answer.body, "");
            }
        }
    }
}

#[tokio::test]
async fn two_origins_are_none() {
    let api = Api::new();
    let mut request = request(Method::GET, "/admin/routes/list", &[("x-api-token", API_TOKEN)], "");
    request.headers_mut().append("origin", LISTED.parse().unwrap());
    request.headers_mut().append("origin", "https://evil.com".parse().unwrap());
    assert_eq!(api.send(request).await.header("access-control-allow-origin"), None);
}

#[tokio::test]
async fn the_dashboard_has_its_place() {
    let api = Api::new();
    let get = async |path: &str| api.send(request(Method::GET, path, &[], "")).await;
    let answer = get("/dashboard/").await;
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(answer.header("content-security-policy").unwrap().contains("script-src 'self'"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    let answer = get("/dashboard").await;
    assert_eq!((answer.status.as_u16(), answer.header("location")), (301, Some("/dashboard/")));
    assert_eq!(get("/dashboard/static/../../etc/passwd").await.status, 404);
    assert_eq!(api.send(request(Method::POST, "/dashboard/", &[], "")).await.status, 405);
}

#[tokio::test]
async fn the_new_api_answers_in_json_and_with_problems() {
    let api = Api::new();
    assert_eq!(api.call(Method::GET, "/admin/v2/status", "").await.json(), json!({"version": "2.0.0", "rejected": []}));
    assert_eq!(api.call(Method::GET, "/admin/v2/log-level", "").await.json(), json!({"level": "info"}));
    assert_eq!(
        api.call(Method::PUT, "/admin/v2/log-level", r#"{"level":"debug"}"#).await.json(),
        json!({"level": "debug"})
    );
    assert_eq!(*api.level.lock().unwrap(), "debug");
    for (method, path, body, status, detail) in [
        ("PUT", "log-level", "{", 400, "expected"),
        ("PUT", "log-level", r#"{"lvl":"info"}"#, 400, "unknown field `lvl`"),
        ("PUT", "log-level", r#"{"level":"loud"}"#, 422, "\"loud\" is no level; expected info or debug"),
        ("POST", "log-level", "", 405, "method"),
        ("GET", "nothing", "", 404, "no such path"),
        ("PUT", "log-level", &"x".repeat((1 << 20) + 1), 413, "too large"),
    ] {
        let answer = api.call(method.parse().unwrap(), &format!("/admin/v2/{path}"), body).await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("content-type")),
            (status, Some("application/problem+json")),
            "{method} {path}"
        );
        let problem = answer.json();
        assert_eq!(problem["status"], status);
        assert!(problem["detail"].as_str().unwrap().contains(detail), "{problem}");
    }
}

#[tokio::test]
async fn the_status_listener_answers() {
    let ready = Arc::new(Mutex::new(true));
    let deps_ready = Arc::clone(&ready);
    let router = status_router(
        StatusDeps {
            ready: Arc::new(move || (*deps_ready.lock().unwrap(), json!({"stale_seconds": 3}))),
            metrics: Arc::new(|| "# EOF\n".into()),
            nginx_status: Arc::new(|| "Active connections: 1 \n".into()),
            nginx_status_allow: vec!["127.0.0.1/32".parse().unwrap()],
            server_header: "Ws-Cloud-Gateway".into(),
        },
        PeerSource::Socket,
    );
    let get = async |ip: &str, path: &str| Answer::of(router.clone().oneshot(from(ip, path)).await.unwrap()).await;
    assert_eq!(get("192.0.2.1", "/healthz").await.status, 200);
    let answer = get("192.0.2.1", "/readyz").await;
    assert_eq!(
        (answer.status.as_u16(), answer.json(), answer.header("server")),
        (200, json!({"stale_seconds": 3}), Some("Ws-Cloud-Gateway"))
    );
    *ready.lock().unwrap() = false;
    assert_eq!(get(LOCAL, "/readyz").await.status, 503);
    let answer = get(LOCAL, "/metrics").await;
    assert_eq!(
        (answer.body.as_str(), answer.header("content-type").unwrap().split(';').next()),
        ("# EOF\n", Some("application/openmetrics-text"))
    );
    assert_eq!(get(LOCAL, "/nginx_status").await.body, "Active connections: 1 \n");
    assert_eq!(get("192.0.2.1", "/nginx_status").await.body, page("403 Forbidden"));
    assert_eq!(get(LOCAL, "/admin/routes/list").await.status, 404);
}

//! The first gateway's two plugins, on the wire.

use std::collections::HashSet;

use serde_json::json;

use crate::support::{Gateway, Request, Upstream};

async fn rewriting(regex: &str, replace: &str) -> (Gateway, Upstream) {
    let gateway = Gateway::start().await;
    let upstream = Upstream::echo().await;
    let more = json!({
        "plugins": ["discovery", "rewrite"],
        "props": {"rewrite_url_regex": regex, "rewrite_replace": replace},
    });
    gateway.serve_with("/*", &[upstream.address], more).await;
    (gateway, upstream)
}

#[tokio::test]
async fn the_upstream_sees_the_rewritten_path() {
    for (regex, replace, sent, seen) in [
        ("^/openapi/(.*)/", "/openapi/", "/openapi/demo1/hello", "/openapi/hello"),
        ("^/openapi/(.*)/", "/openapi/", "/openapi/a/b/c/hello?x=1&y=%2F", "/openapi/hello?x=1&y=%2F"),
        ("^/openapi/(.*)/", "/openapi/", "/other/x", "/other/x"),
        ("^/([^/]+)/([^/]+)", "/$2/$1", "/a/b/c", "/b/a/c"),
        ("o", "0", "/foo/boo", "/f00/b00"),
        ("^/a/", "/用户/", "/a/1", "/%E7%94%A8%E6%88%B7/1"),
        ("^/a/", "/x y/", "/a/1?q=1", "/x%20y/1?q=1"),
        ("^/a/", "/b/", "/%61/1", "/b/1"),
        ("^/a/", "/b/", "/a/1%2F2", "/b/1%2F2"),
    ] {
        let (gateway, upstream) = rewriting(regex, replace).await;
        gateway.get(sent).await.expect(200);
        assert_eq!(upstream.last().target, seen, "{regex} -> {replace} on {sent}");
    }
}

#[tokio::test]
async fn a_rewrite_without_a_regex_changes_nothing() {
    let gateway = Gateway::start().await;
    let upstream = Upstream::echo().await;
    let more = json!({"plugins": ["discovery", "rewrite"]});
    gateway.serve_with("/*", &[upstream.address], more).await;
    gateway.get("/a/b?c").await.expect(200);
    assert_eq!(upstream.last().target, "/a/b?c");
}

#[tokio::test]
async fn nothing_a_rewrite_makes_can_split_the_request() {
    let (gateway, upstream) = rewriting("^/a/(.*)", "/b/$1").await;
    for sent in ["/a/x%0d%0aX-Evil:1", "/a/x%0aGET%20/evil", "/a/%20HTTP/1.1"] {
        let response = gateway.get(sent).await;
        if response.status == 200 {
            let seen = upstream.last();
            assert!(!seen.target.contains(['\r', '\n', ' ']), "{:?}", seen.target);
            assert_eq!(seen.header("x-evil"), None, "{sent}");
            assert!(seen.head.first_line.ends_with(" HTTP/1.1"), "{:?}", seen.head.first_line);
        } else {
            assert_eq!(response.status, 400, "{sent}");
        }
    }
}

async fn tracing() -> (Gateway, Upstream) {
    let gateway = Gateway::start().await;
    let upstream = Upstream::echo().await;
    gateway.serve_with("/*", &[upstream.address], json!({"plugins": ["discovery", "tracing"]})).await;
    (gateway, upstream)
}

#[tokio::test]
async fn a_request_without_a_trace_id_gets_one_that_is_echoed() {
    let (gateway, upstream) = tracing().await;
    let mut ids = HashSet::new();
    for _ in 0..50 {
        let response = gateway.get("/x").await.expect(200);
        let echoed = response.header("x-trace-id").expect("the id is echoed").to_owned();
        assert_eq!(upstream.last().header("x-trace-id"), Some(&*echoed));
        assert_eq!(echoed.len(), 36, "a uuid: {echoed}");
        ids.insert(echoed);
    }
    assert_eq!(ids.len(), 50, "no id comes twice");
}

#[tokio::test]
async fn a_request_keeps_the_trace_id_it_has() {
    let (gateway, upstream) = tracing().await;
    let response = gateway.send(Request::get("/x").header("X-Trace-Id", "abc-1")).await.expect(200);
    assert_eq!(upstream.last().head.all("x-trace-id"), ["abc-1"]);
    assert_eq!(response.head.all("x-trace-id"), ["abc-1"]);
    let line: serde_json::Value = serde_json::from_str(&gateway.log_line("abc-1").await).unwrap();
    assert_eq!(line["trace-id"], "abc-1");
}

#[tokio::test]
async fn trace_ids_do_not_repeat_after_a_restart() {
    let (mut gateway, _upstream) = tracing().await;
    let mut ids = HashSet::new();
    for _ in 0..3 {
        for _ in 0..20 {
            ids.insert(gateway.get("/x").await.expect(200).header("x-trace-id").unwrap().to_owned());
        }
        gateway.restart().await;
    }
    assert_eq!(ids.len(), 60);
}

/// Trace context and X-Trace-Id are the same trace, over both protocols and in the log.
#[tokio::test]
async fn a_trace_goes_on_through_the_gateway() {
    const SENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let gateway = Gateway::start().await;
    let upstream = Upstream::echo().await;
    gateway.serve_with("/*", &[upstream.address], json!({"plugins": ["discovery", "tracing"]})).await;
    let request = Request::get("/known").header("traceparent", SENT).header("tracestate", "vendor=1");
    let answer = gateway.send(request).await.expect(200);
    let seen = upstream.last();
    let parent = seen.header("traceparent").unwrap();
    assert_eq!((&parent[..36], &parent[52..]), (&SENT[..36], &SENT[52..]));
    assert_ne!(parent, SENT, "a span of its own");
    assert_eq!(seen.header("tracestate"), Some("vendor=1"));
    assert_eq!(answer.header("x-trace-id"), Some(&SENT[3..35]));
    let line = gateway.log_line("/known").await;
    assert!(line.contains(&format!(r#""trace-id":"{}""#, &SENT[3..35])), "{line}");

    assert_eq!(crate::support::h2c::get(gateway.h2c, "a", "/new").await.status, 200);
    let seen = upstream.last();
    let id = seen.header("x-trace-id").unwrap().replace('-', "");
    assert_eq!(seen.head.all("traceparent").len(), 1);
    assert_eq!(seen.header("traceparent").unwrap()[3..35], id);
}

//! Traces by OTLP: what a collector gets, and that nobody suffers from one that takes nothing.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::load::Load;
use crate::support::pki::Ca;
use crate::support::python::Server;
use crate::support::upstream::respond;
use crate::support::{Gateway, Request, Upstream, eventually, free_address, h2c};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

fn traceparent(sampled: bool) -> String {
    format!("00-{TRACE}-{PARENT}-0{}", u8::from(sampled))
}

/// A gateway that records this share of traces, at this collector.
async fn gateway(endpoint: &str, sample: f64, more: Value) -> Gateway {
    let mut tracing = json!({"endpoint": endpoint, "sample": sample, "timeout": "1s"});
    crate::support::merge(&mut tracing, more);
    Gateway::with(json!({"telemetry": {"tracing": tracing}})).await
}

async fn collector(kind: &'static str) -> (Server, String) {
    let server = Server::start_with("otlp/receiver.py", &[kind]).await;
    let endpoint = format!("http://{}", server.address);
    (server, endpoint)
}

/// The spans of requests whose path has this text, once there are as many.
async fn spans(server: &mut Server, count: usize) -> Vec<Value> {
    let mut spans = Vec::new();
    while spans.len() < count {
        spans.push(serde_json::from_str(&server.line().await).unwrap());
    }
    spans
}

fn of_kind<'a>(spans: &'a [Value], kind: &str) -> Vec<&'a Value> {
    spans.iter().filter(|span| span["kind"] == kind).collect()
}

fn traceparent_seen(upstream: &Upstream) -> [String; 3] {
    let value = upstream.last().header("traceparent").expect("a traceparent").to_owned();
    [&value[3..35], &value[36..52], &value[53..]].map(str::to_owned)
}

#[tokio::test]
async fn a_request_is_one_span_and_its_try_one_below() {
    let (mut server, endpoint) = collector("http").await;
    let headers = json!({"service_name": "edge-1", "headers": {"x-api-key": "secret-7"}});
    let gateway = gateway(&endpoint, 0.0, headers).await;
    let upstream = Upstream::saying("hello").await;
    gateway.serve("/a/*", &[upstream.address]).await;
    let request = Request::get("/a/x%20y?token=hidden")
        .header("Host", "shop.test:8080")
        .header("User-Agent", "tests/1")
        .header("traceparent", &traceparent(true))
        .header("tracestate", "vendor=1");
    gateway.send(request).await.expect(200);

    let spans = spans(&mut server, 2).await;
    let ([server_span], [client_span]) = (&of_kind(&spans, "server")[..], &of_kind(&spans, "client")[..]) else {
        panic!("{spans:#?}")
    };
    assert_eq!((&server_span["trace"], &client_span["trace"]), (&json!(TRACE), &json!(TRACE)));
    assert_eq!((&server_span["parent"], &client_span["parent"]), (&json!(PARENT), &server_span["span"]));
    assert_eq!(traceparent_seen(&upstream), [TRACE, client_span["span"].as_str().unwrap(), "01"]);
    assert_eq!(upstream.last().header("tracestate"), Some("vendor=1"));
    assert_eq!((&server_span["name"], &client_span["name"]), (&json!("GET /a/*"), &json!("GET")));
    assert_eq!((&server_span["status"], &client_span["status"]), (&json!("unset"), &json!("unset")));
    let time = |span: &Value, edge: &str| span[edge].as_u64().unwrap();
    assert!(time(server_span, "start") <= time(client_span, "start"));
    assert!(time(client_span, "start") <= time(client_span, "end"));
    assert!(time(client_span, "end") <= time(server_span, "end"));
    for (span, expected) in [
        (
            server_span,
            json!({
                "http.request.method": "GET",
                "url.path": "/a/x%20y",
                "url.scheme": "http",
                "http.route": "/a/*",
                "http.response.status_code": 200,
                "server.address": "shop.test",
                "server.port": 8080,
                "client.address": "127.0.0.1",
                "network.protocol.name": "http",
                "network.protocol.version": "1.1",
                "user_agent.original": "tests/1",
                "gateway.service": "service-0",
            }),
        ),
        (
            client_span,
            json!({
                "http.request.method": "GET",
                "http.response.status_code": 200,
                "server.address": "127.0.0.1",
                "server.port": upstream.address.port(),
                "network.peer.address": "127.0.0.1",
                "network.peer.port": upstream.address.port(),
            }),
        ),
    ] {
        for (key, value) in expected.as_object().unwrap() {
            assert_eq!(&span["attributes"][key], value, "{key} in {span:#?}");
        }
        assert!(!span.to_string().contains("hidden"), "queries may have secrets: {span:#?}");
        assert_eq!(span["resource"]["service.name"], "edge-1");
        assert_eq!(span["headers"]["x-api-key"], "secret-7");
        for absent in ["error.type", "http.request.resend_count"] {
            assert_eq!(span["attributes"].get(absent), None, "{absent}");
        }
    }
    assert!(!gateway.output().contains("secret-7"));
    eventually("both are counted", || async { gateway.metric("gateway_trace_spans_exported_total", "").await == 2.0 })
        .await;
}

#[tokio::test]
async fn a_request_that_is_tried_twice_has_two_spans_below_its_own() {
    let (mut server, endpoint) = collector("http").await;
    let gateway = gateway(&endpoint, 1.0, json!({})).await;
    let (alive, dead) = (Upstream::saying("hello").await, free_address());
    gateway.serve("/a/*", &[dead, alive.address]).await;
    // One of two begins with the node that is dead, which then is left out.
    for _ in 0..2 {
        gateway.send(Request::get("/a/x").header("tracestate", "of=nothing")).await.expect(200);
    }
    assert!(alive.seen().iter().all(|seen| seen.header("tracestate").is_none()), "it belongs to no trace");
    let spans = spans(&mut server, 5).await;
    let roots = of_kind(&spans, "server");
    assert_eq!(roots.len(), 2);
    let mut tries = Vec::new();
    for root in roots {
        assert_eq!(root["parent"], "");
        let below: Vec<_> = of_kind(&spans, "client").into_iter().filter(|s| s["parent"] == root["span"]).collect();
        assert!(below.iter().all(|span| span["trace"] == root["trace"]));
        tries.push(below);
    }
    tries.sort_by_key(Vec::len);
    assert_eq!(tries.iter().map(Vec::len).collect::<Vec<_>>(), [1, 2]);
    let failed: Vec<_> = tries[1].iter().filter(|span| span["status"] == "error").collect();
    let [failed] = failed[..] else { panic!("{tries:#?}") };
    assert_eq!(failed["attributes"]["error.type"], "connection_refused");
    assert_eq!(failed["attributes"]["server.port"], dead.port());
    assert_eq!(failed["attributes"].get("http.request.resend_count"), None);
    let again = tries[1].iter().find(|span| span["status"] != "error").unwrap();
    assert_eq!(again["attributes"]["http.request.resend_count"], 1);
    assert_eq!(again["attributes"]["http.response.status_code"], 200);
    assert_ne!(again["span"], failed["span"]);
}

#[tokio::test]
async fn what_goes_wrong_is_an_error_of_its_span() {
    let (mut server, endpoint) = collector("http").await;
    let gateway = gateway(&endpoint, 1.0, json!({})).await;
    let failing = Upstream::answering(|_| respond(503, &[], "no")).await;
    gateway.serve("/failing/*", &[failing.address]).await;
    gateway.get("/failing/x").await.expect(503);
    let failed = spans(&mut server, 2).await;
    assert!(failed.iter().all(|span| span["status"] == "error" && span["attributes"]["error.type"] == "503"));
    // Not the gateway's fault, and of no route.
    gateway.send(Request::new("BREW", "/nowhere")).await.expect(404);
    let lost = &spans(&mut server, 1).await[0];
    assert_eq!((&lost["status"], &lost["name"]), (&json!("unset"), &json!("HTTP")));
    assert_eq!(lost["attributes"]["http.request.method"], "_OTHER");
    assert_eq!(lost["attributes"]["http.request.method_original"], "BREW");
    assert_eq!(lost["attributes"].get("http.route"), None);
}

#[tokio::test]
async fn a_client_decides_whether_its_trace_is_recorded() {
    let (mut server, endpoint) = collector("http").await;
    let upstream = Upstream::saying("hello").await;
    let all = gateway(&endpoint, 1.0, json!({})).await;
    all.serve("/*", &[upstream.address]).await;
    all.send(Request::get("/1").header("traceparent", &traceparent(false))).await.expect(200);
    assert_eq!(traceparent_seen(&upstream), [TRACE, PARENT, "00"], "it passes as it is");
    let none = gateway(&endpoint, 0.0, json!({})).await;
    none.serve("/*", &[upstream.address]).await;
    // One that begins here and is not recorded: nodes are told so, and record nothing either.
    none.send(Request::get("/2").header("tracestate", "of=nothing")).await.expect(200);
    let [trace, _, flags] = traceparent_seen(&upstream);
    assert_eq!((flags.as_str(), trace.len(), upstream.last().header("tracestate")), ("00", 32, None));
    // More than one is none.
    let twice = Request::get("/3").header("traceparent", &traceparent(true)).header("traceparent", &traceparent(true));
    none.send(twice).await.expect(200);
    none.send(Request::get("/4").header("traceparent", &traceparent(true))).await.expect(200);
    // What comes first would have come before.
    let found = spans(&mut server, 2).await;
    assert_eq!(of_kind(&found, "server")[0]["attributes"]["url.path"], "/4");
    for (gateway, exported) in [(&all, 0.0), (&none, 2.0)] {
        assert_eq!(gateway.metric("gateway_trace_spans_exported_total", "").await, exported);
    }
}

#[tokio::test]
async fn the_id_in_the_log_is_the_traces() {
    let (mut server, endpoint) = collector("http").await;
    let gateway = gateway(&endpoint, 1.0, json!({})).await;
    let upstream = Upstream::saying("hello").await;
    gateway.serve_with("/*", &[upstream.address], json!({"plugins": ["discovery", "tracing"]})).await;
    gateway.get("/logged").await.expect(200);
    let line: Value = serde_json::from_str(&gateway.log_line("/logged").await).unwrap();
    let found = spans(&mut server, 2).await;
    assert_eq!(found[0]["trace"], line["trace-id"].as_str().unwrap().replace('-', ""));
    assert_eq!(traceparent_seen(&upstream)[1], of_kind(&found, "client")[0]["span"].as_str().unwrap());
    assert_eq!(of_kind(&found, "server")[0]["parent"], "");
}

#[tokio::test]
async fn a_collector_may_speak_grpc() {
    let (mut server, endpoint) = collector("grpc").await;
    let gateway = gateway(&endpoint, 1.0, json!({"protocol": "grpc", "headers": {"x-api-key": "k"}})).await;
    let upstream = Upstream::saying("hello").await;
    gateway.serve("/*", &[upstream.address]).await;
    assert_eq!(h2c::get(gateway.h2c, "a.test", "/x").await.status, 200);
    let found = spans(&mut server, 2).await;
    let root = of_kind(&found, "server")[0];
    assert_eq!(root["attributes"]["network.protocol.version"], "2");
    assert_eq!(root["headers"]["x-api-key"], "k");
}

/// Spans say who asked for what; nobody in between may read them, or take the collector's place.
#[tokio::test]
async fn a_collector_behind_tls_must_show_a_certificate_that_is_trusted() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, foreign) = (Ca::new("collectors"), Ca::new("others"));
    let (cert, key) = ours.issue(&["127.0.0.1", "localhost"]).write(dir.path(), "collector");
    let file = |name: &str, ca: &Ca| {
        let path = dir.path().join(name);
        std::fs::write(&path, ca.pem()).unwrap();
        path
    };
    let (ours, foreign) = (file("ours.pem", &ours), file("foreign.pem", &foreign));
    let upstream = Upstream::saying("hello").await;
    for (kind, protocol) in [("http", "http/protobuf"), ("grpc", "grpc")] {
        let files = [cert.to_str().unwrap(), key.to_str().unwrap()];
        let mut server = Server::start_with("otlp/receiver.py", &[kind, files[0], files[1]]).await;
        let endpoint = format!("https://localhost:{}", server.address.port());
        // Other authorities than the collector's, and the system's.
        for ca in [json!(foreign), json!(null)] {
            let gateway = gateway(&endpoint, 1.0, json!({"protocol": protocol, "ca_file": ca})).await;
            gateway.serve("/*", &[upstream.address]).await;
            gateway.get("/untrusted").await.expect(200);
            eventually("the spans are lost", || async {
                gateway.metric("gateway_trace_spans_dropped_total", "reason=\"export\"").await >= 2.0
            })
            .await;
        }
        let gateway = gateway(&endpoint, 1.0, json!({"protocol": protocol, "ca_file": ours})).await;
        gateway.serve("/*", &[upstream.address]).await;
        gateway.get("/trusted").await.expect(200);
        let found = spans(&mut server, 2).await;
        assert_eq!(of_kind(&found, "server")[0]["attributes"]["url.path"], "/trusted", "{kind}");
    }
}

#[tokio::test]
async fn what_was_recorded_last_is_sent_before_the_end() {
    let (mut server, endpoint) = collector("http").await;
    let mut gateway = gateway(&endpoint, 1.0, json!({})).await;
    let upstream = Upstream::saying("hello").await;
    gateway.serve("/*", &[upstream.address]).await;
    for _ in 0..5 {
        gateway.get("/x").await.expect(200);
    }
    assert!(gateway.stop().await.success());
    assert_eq!(of_kind(&spans(&mut server, 10).await, "server").len(), 5);
}

/// A collector that is away, and one that takes a message and says nothing for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_takes_nothing_hurts_nobody() {
    let (hanging, endpoint) = collector("hang").await;
    for endpoint in [endpoint, format!("http://{}", free_address())] {
        let mut gateway = gateway(&endpoint, 1.0, json!({"queue": 50})).await;
        let upstream = Upstream::saying("hello").await;
        gateway.serve("/*", &[upstream.address]).await;
        let load = Load::start(gateway.http, &Request::get("/x"), 500);
        load.reach(1_000).await;
        eventually("the loss is counted", || async {
            let metrics = gateway.metrics().await;
            let lost = |reason| crate::support::gateway::sum(&metrics, "gateway_trace_spans_dropped_total", reason);
            lost("export") > 0.0 && (lost("queue_full") > 0.0 || !endpoint.contains(&hanging.address.to_string()))
        })
        .await;
        load.stop().await.assert_no_failures(1_000);
        let said = gateway.output().matches("spans are not exported").count();
        assert_eq!(said, 1, "once, not for each message");
        let stopping = tokio::time::timeout(Duration::from_secs(20), gateway.stop()).await;
        assert!(stopping.expect("it ends all the same").success());
    }
}

#[tokio::test]
async fn without_a_collector_nothing_is_added() {
    let gateway = Gateway::start().await;
    let upstream = Upstream::saying("hello").await;
    gateway.serve("/*", &[upstream.address]).await;
    gateway.get("/x").await.expect(200);
    assert_eq!(upstream.last().header("traceparent"), None);
}

#[tokio::test]
async fn settings_that_make_no_sense_are_refused() {
    for (tracing, field) in [
        (json!({"endpoint": "127.0.0.1:4318"}), "telemetry.tracing.endpoint"),
        // It would be shown in logs, and sent to nobody.
        (json!({"endpoint": "http://user:canary@127.0.0.1:4318"}), "telemetry.tracing.endpoint"),
        (json!({"endpoint": "user:canary@127.0.0.1:4318"}), "telemetry.tracing.endpoint"),
        (json!({"sample": 1.5}), "telemetry.tracing.sample"),
        (json!({"timeout": "0s"}), "telemetry.tracing.timeout"),
        (json!({"queue": 0}), "telemetry.tracing.queue"),
        (json!({"headers": {"a b": "c"}}), "telemetry.tracing.headers"),
        (json!({"protocol": "thrift"}), "protocol"),
    ] {
        let gateway = Gateway::prepare(json!({"telemetry": {"tracing": tracing}}));
        let output = gateway.command("check").await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(field), "{field}: {said}");
        assert!(!said.contains("canary"), "{said}");
    }
}

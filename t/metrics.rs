//! Figures for Prometheus: all are there, as a strict reader wants them, and never too many.

use serde_json::{Value, json};

use crate::support::gateway::{TOKEN, node, node_key, put_service, route, route_key, sum};
use crate::support::load::Load;
use crate::support::{Client, Etcd, Gateway, Request, Upstream, eventually, free_address, python};

/// `/metrics` as Prometheus' own parser reads it.
async fn parsed(gateway: &Gateway) -> Value {
    serde_json::from_str(&python::run("metrics/parse.py", vec![gateway.status.to_string()]).await).unwrap()
}

#[tokio::test]
async fn figures_of_nodes_plugins_admin_and_process_are_there() {
    // Of one worker's runs of plugins it is certain that some are measured.
    let gateway = Gateway::with(json!({"workers": 1})).await;
    let (upstream, dead) = (Upstream::saying("x").await, free_address());
    gateway.serve_with("/a/*", &[upstream.address, dead], json!({"plugins": ["discovery", "tracing"]})).await;
    for _ in 0..200 {
        gateway.get("/a/x").await.expect(200);
    }
    Request::get("/admin/v2/status").send(gateway.admin).await.expect(401);
    Request::get("/dashboard/").send(gateway.admin).await;
    let at = |address: std::net::SocketAddr| format!("node=\"{address}\"");
    eventually("all is counted", || async {
        let metrics = gateway.metrics().await;
        let is = |name, labels: &str, value: f64| sum(&metrics, name, labels) == value;
        is("gateway_upstream_node_tries_total", &at(upstream.address), 200.0)
            && sum(&metrics, "gateway_upstream_node_errors_total", &at(dead)) >= 1.0
            && is("gateway_upstream_node_errors_total", &at(upstream.address), 0.0)
            && sum(&metrics, "gateway_upstream_retries_total", "service-0") >= 1.0
            && is("gateway_upstream_nodes", "service=\"service-0\",state=\"up\"", 1.0)
            && is("gateway_upstream_nodes", "service=\"service-0\",state=\"ejected\"", 1.0)
            && sum(&metrics, "gateway_plugin_duration_seconds_count", "plugin=\"tracing\",phase=\"request\"") >= 1.0
            && sum(&metrics, "gateway_plugin_duration_seconds_count", "plugin=\"tracing\",phase=\"response\"") >= 1.0
            && is("gateway_admin_requests_total", "surface=\"v2\",method=\"GET\",class=\"4xx\"", 1.0)
            && sum(&metrics, "gateway_admin_requests_total", "surface=\"old\",method=\"POST\",class=\"2xx\"") >= 3.0
            && is("gateway_admin_request_duration_seconds_count", "surface=\"dashboard\"", 1.0)
            && is("gateway_config_routes", "", 1.0)
            && sum(&metrics, "process_resident_memory_bytes", "") > 1e6
            && sum(&metrics, "process_cpu_seconds_total", "") > 0.0
    })
    .await;
    assert!(parsed(&gateway).await["families"].as_object().unwrap().len() > 40);
}

#[tokio::test]
async fn requests_in_flight_are_shown_by_node() {
    let gateway = Gateway::start().await;
    let silent = Upstream::scripted(|stream, _| async move {
        Client::over(stream).until_closed().await;
    })
    .await;
    gateway.serve("/*", &[silent.address]).await;
    let label = format!("node=\"{}\"", silent.address);
    let in_flight = || async { gateway.metric("gateway_upstream_node_requests_in_flight", &label).await };
    let mut client = Client::connect(gateway.http).await;
    client.send(&Request::get("/x").to_bytes()).await.unwrap();
    eventually("one is in flight", || async { in_flight().await == 1.0 }).await;
    drop(client);
    eventually("none is", || async { in_flight().await == 0.0 }).await;
}

/// Names and labels of what was there before; boards and alerts are made of them.
#[tokio::test]
async fn names_and_labels_do_not_change() {
    let gateway = Gateway::start().await;
    let upstream = Upstream::saying("x").await;
    gateway.serve("/*", &[upstream.address]).await;
    gateway.get("/x").await.expect(200);
    eventually("it is counted", || async { gateway.metric("gateway_requests_total", "2xx").await >= 1.0 }).await;
    let families = parsed(&gateway).await["families"].clone();
    for (name, kind, labels) in [
        ("gateway_requests", "counter", &["class", "route", "service"][..]),
        ("gateway_request_duration_seconds", "histogram", &["le", "route", "service"]),
        ("gateway_requests_in_flight", "gauge", &[]),
        ("gateway_requests_shed", "counter", &["reason"]),
        ("gateway_connections_active", "gauge", &[]),
        ("gateway_connections", "counter", &[]),
        ("gateway_connections_refused", "counter", &["reason"]),
        ("gateway_upstream_tries", "counter", &["service"]),
        ("gateway_upstream_failures", "counter", &["service"]),
        ("gateway_upstream_limited", "counter", &["service"]),
        ("gateway_upstream_pending", "gauge", &["service"]),
        ("gateway_upstream_node_up", "gauge", &["node", "service"]),
        ("gateway_config_stored_revision", "gauge", &[]),
        ("gateway_config_applied_revision", "gauge", &[]),
        ("gateway_config_lag_revisions", "gauge", &[]),
        ("gateway_config_rejected_objects", "gauge", &[]),
        ("gateway_config_stale_seconds", "gauge", &[]),
        ("gateway_store_connected", "gauge", &[]),
        ("gateway_access_log_dropped", "counter", &[]),
        ("gateway_error_log_dropped", "counter", &[]),
        ("gateway_metrics_over_budget", "counter", &[]),
        ("gateway_build_info", "gauge", &["version"]),
    ] {
        assert_eq!(families[name]["type"], kind, "{name}");
        assert_eq!(families[name]["labels"], json!(labels), "{name}");
    }
}

/// Most samples of a scrape with `status.max_labels` of 200, and most bytes.
const SAMPLES: u64 = 5_000;
const BYTES: u64 = 512 << 10;

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_routes_and_nodes_stay_within_the_budget_and_a_scrape_delays_no_request() {
    let etcd = Etcd::start().await;
    let upstream = Upstream::saying("x").await;
    put_service(&etcd, "/live/*", "live", &json!({}), &[upstream.address]).await;
    let mut objects = Vec::new();
    for n in 0..10_000_u16 {
        let service = format!("service-{}", n % 500);
        let address = ([10, 1, (n >> 8) as u8, (n & 0xff) as u8], 80).into();
        objects.push((node_key(&service, address), node(&service, address, 1)));
        let (prefix, service) = (format!("/r{n}/*"), if n < 1000 { "live" } else { &service });
        let key = route_key(&prefix);
        let mut route = route(&prefix, service, json!({}));
        route["key"] = key["routes/".len()..].into();
        objects.push((key, route));
    }
    for some in objects.chunks(100) {
        etcd.put_all(some).await;
    }
    let gateway = Gateway::on(&etcd).await;
    eventually("all is live", || async {
        let metrics = gateway.metrics().await;
        sum(&metrics, "gateway_config_routes", "") > 10_000.0 && sum(&metrics, "gateway_upstream_nodes", "") > 10_000.0
    })
    .await;
    // As many routes as there may be, and more, have seen something.
    let mut client = Client::connect(gateway.http).await;
    for n in 0..1000 {
        client.get(&format!("/r{n}/x")).await.unwrap().expect(200);
    }

    let load = Load::start(gateway.http, &Request::get("/live/x"), 500);
    load.reach(100).await;
    // Requests that ended while a scrape was going on.
    let mut served = 0;
    for _ in 0..20 {
        let before = load.sent();
        gateway.metrics().await;
        served += load.sent() - before;
    }
    load.stop().await.assert_no_failures(100);
    assert!(served > 0, "requests go on while figures are read");

    let found = parsed(&gateway).await;
    let samples: u64 = found["families"].as_object().unwrap().values().map(|f| f["samples"].as_u64().unwrap()).sum();
    let bytes = found["bytes"].as_u64().unwrap();
    println!("{samples} samples, {bytes} bytes, {served} requests during 20 scrapes");
    assert!(samples < SAMPLES && bytes < BYTES, "{samples} samples, {bytes} bytes");
    let metrics = gateway.metrics().await;
    assert!(sum(&metrics, "gateway_requests_total", "route=\"other\"") > 0.0, "what is beyond it is counted together");
    assert!(sum(&metrics, "gateway_metrics_over_budget_total", "") > 0.0);
    // Every node is in the sums, whatever is shown by itself.
    assert_eq!(sum(&metrics, "gateway_upstream_nodes", ""), 10_001.0);
    assert_eq!(metrics.lines().filter(|line| line.starts_with("gateway_upstream_node_up{")).count(), 200);
}

#[tokio::test]
async fn an_unknown_method_is_no_label() {
    let gateway = Gateway::start().await;
    for method in ["BREW", "X-\u{7f}", "LABEL"] {
        drop(Request::new(method, "/admin/v2/status").header("X-Api-Token", TOKEN).try_send(gateway.admin).await);
    }
    eventually("they are counted", || async {
        gateway.metric("gateway_admin_requests_total", "method=\"other\"").await >= 2.0
    })
    .await;
    assert!(!gateway.metrics().await.contains("BREW"));
}

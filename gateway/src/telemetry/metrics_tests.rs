use std::collections::BTreeMap;
use std::thread;

use super::*;

/// Samples by name and labels, with the format checked as a strict reader would.
fn scrape(metrics: &Arc<Metrics>) -> BTreeMap<String, f64> {
    let mut text = String::new();
    metrics.encode(&mut text).unwrap();
    let body = text.strip_suffix("# EOF\n").expect("an end");
    let (mut samples, mut family, mut seen) = (BTreeMap::new(), String::new(), Vec::new());
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# ") {
            let mut words = rest.splitn(3, ' ');
            let (keyword, name) = (words.next().unwrap(), words.next().unwrap());
            assert!(["HELP", "TYPE", "UNIT"].contains(&keyword), "{line}");
            if keyword == "HELP" {
                assert!(!seen.contains(&name.to_owned()), "{name} twice");
                seen.push(name.to_owned());
                name.clone_into(&mut family);
            }
            assert_eq!(name, family);
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        assert!(series.starts_with(&family) && series.starts_with("gateway_"), "{line} in {family}");
        assert_eq!(series.contains('{'), series.ends_with('}'), "{line}");
        assert!(samples.insert(series.to_owned(), value.parse().unwrap()).is_none(), "{series} twice");
    }
    samples
}

#[test]
fn a_request_is_counted_by_route_service_and_class() {
    let metrics = Metrics::new(10);
    let route = metrics.route("r1", "demo1");
    for status in [Some(200), Some(204), Some(301), Some(503), Some(99), Some(600), None] {
        route.observe(status, Duration::from_millis(3));
    }
    let samples = scrape(&metrics);
    let of = |class: &str| {
        samples.get(&format!("gateway_requests_total{{route=\"r1\",service=\"demo1\",class=\"{class}\"}}"))
    };
    assert_eq!(
        [of("1xx"), of("2xx"), of("3xx"), of("4xx"), of("5xx"), of("other")],
        [None, Some(&2.0), Some(&1.0), None, Some(&1.0), Some(&3.0)]
    );
    let bucket = |le: &str| {
        samples[&format!("gateway_request_duration_seconds_bucket{{le=\"{le}\",route=\"r1\",service=\"demo1\"}}")]
    };
    assert_eq!([bucket("0.0025"), bucket("0.005"), bucket("10.0"), bucket("+Inf")], [0.0, 7.0, 7.0, 7.0]);
    assert_eq!(samples["gateway_request_duration_seconds_count{route=\"r1\",service=\"demo1\"}"], 7.0);
    assert!((samples["gateway_request_duration_seconds_sum{route=\"r1\",service=\"demo1\"}"] - 0.021).abs() < 1e-9);
}

#[test]
fn all_names_are_there() {
    let metrics = Metrics::new(10);
    metrics.service("demo1").tried(true);
    metrics.service("demo1").tried(false);
    let panics = metrics.plugin_panics("rewrite");
    panics.fetch_add(1, Ordering::Relaxed);
    metrics.plugin_event("limit", "refused").fetch_add(4, Ordering::Relaxed);
    metrics.watch_drops("access_log", Arc::new(AtomicU64::new(9)));
    metrics.set_nodes(|each| {
        each(NodeFigures { service: "demo1", node: "127.0.0.1:1024", up: true, ejected: None });
        each(NodeFigures { service: "demo1", node: "[::1]:1025", up: false, ejected: Some("errors") });
    });
    metrics.set_health(|each| {
        let changes = [("healthy", 0), ("unhealthy", 1), ("ejected", 2), ("readmitted", 0)];
        each(HealthFigures { service: "demo1", probes: [("success", 5), ("failure", 0)], changes });
    });
    metrics.config.stored_revision.store(12, Ordering::Relaxed);
    metrics.config.applied_revision.store(10, Ordering::Relaxed);
    metrics.config.rejected_objects.store(3, Ordering::Relaxed);
    metrics.config.set_connected(true);
    let _request = metrics.begin_request();
    let samples = scrape(&metrics);
    let expected = [
        ("gateway_requests_in_flight", 1.0),
        ("gateway_connections_active", 0.0),
        ("gateway_connections_total", 0.0),
        ("gateway_upstream_tries_total{service=\"demo1\"}", 2.0),
        ("gateway_upstream_failures_total{service=\"demo1\"}", 1.0),
        ("gateway_upstream_node_up{service=\"demo1\",node=\"127.0.0.1:1024\"}", 1.0),
        ("gateway_upstream_node_up{service=\"demo1\",node=\"[::1]:1025\"}", 0.0),
        ("gateway_upstream_node_ejected{service=\"demo1\",node=\"[::1]:1025\",cause=\"errors\"}", 1.0),
        ("gateway_upstream_probes_total{service=\"demo1\",result=\"success\"}", 5.0),
        ("gateway_upstream_node_changes_total{service=\"demo1\",to=\"ejected\"}", 2.0),
        ("gateway_config_stored_revision", 12.0),
        ("gateway_config_applied_revision", 10.0),
        ("gateway_config_lag_revisions", 2.0),
        ("gateway_config_rejected_objects", 3.0),
        ("gateway_nodes_beyond_lease", 0.0),
        ("gateway_config_stale_seconds", 0.0),
        ("gateway_store_connected", 1.0),
        ("gateway_access_log_dropped_total", 9.0),
        ("gateway_plugin_panics_total{plugin=\"rewrite\"}", 1.0),
        ("gateway_plugin_events_total{plugin=\"limit\",event=\"refused\"}", 4.0),
        ("gateway_metrics_over_budget_total", 0.0),
        (concat!("gateway_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}"), 1.0),
    ];
    for (series, value) in expected {
        assert_eq!(samples.get(series), Some(&value), "{series} in {samples:#?}");
    }
}

#[test]
fn a_lost_store_makes_the_configuration_stale() {
    let config = ConfigMetrics::default();
    assert!(config.stale().is_some(), "not connected yet");
    config.set_connected(true);
    assert_eq!(config.stale(), None);
    config.set_connected(false);
    let first = config.stale().unwrap();
    thread::sleep(Duration::from_millis(2));
    config.set_connected(false);
    assert!(config.stale().unwrap() > first, "still the same loss");
}

#[test]
fn ten_thousand_routes_stay_within_the_budget() {
    let metrics = Metrics::new(1000);
    let routes: Vec<_> = (0..10_000).map(|n| metrics.route(&format!("route-{n}"), "demo")).collect();
    routes.iter().for_each(|route| route.observe(Some(200), Duration::from_millis(1)));
    let samples = scrape(&metrics);
    let requests = samples.iter().filter(|(series, _)| series.starts_with("gateway_requests_total{"));
    let (count, sum) = requests.fold((0, 0.0), |(count, sum), (_, value)| (count + 1, sum + value));
    assert_eq!((count, sum), (1001, 10_000.0));
    assert_eq!(samples["gateway_requests_total{route=\"other\",service=\"other\",class=\"2xx\"}"], 9000.0);
    assert_eq!(samples["gateway_metrics_over_budget_total"], 9000.0);
    assert!(size_of::<RouteMetrics>() <= 256);
}

#[test]
fn nodes_stay_within_the_budget() {
    let metrics = Metrics::new(5);
    metrics.set_nodes(|each| {
        (0..100).for_each(|n| each(NodeFigures { service: "demo", node: &format!("n{n}"), up: true, ejected: None }));
    });
    let samples = scrape(&metrics);
    assert_eq!(samples.keys().filter(|series| series.starts_with("gateway_upstream_node_up{")).count(), 5);
}

#[test]
fn hostile_label_values_stay_in_their_quotes() {
    let metrics = Metrics::new(5);
    let route = metrics.route("a\"} 1\ngateway_forged 7\\", "b\r\u{1b}");
    route.observe(Some(200), Duration::ZERO);
    let mut text = String::new();
    metrics.encode(&mut text).unwrap();
    let line = text.lines().find(|line| line.starts_with("gateway_requests_total{")).unwrap();
    assert_eq!(line, r#"gateway_requests_total{route="a\"} 1_gateway_forged 7\\",service="b__",class="2xx"} 1"#);
    assert!(!text.lines().any(|line| line.starts_with("gateway_forged")));
}

#[test]
fn what_begins_on_one_thread_may_end_on_another() {
    let metrics = Metrics::new(1);
    let guards: Vec<_> = thread::scope(|scope| {
        let begin = || scope.spawn(|| (0..100).map(|_| metrics.begin_request()).collect::<Vec<_>>());
        [begin(), begin(), begin()].into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!((metrics.requests_total(), metrics.in_flight()), (300, 300));
    thread::scope(|scope| scope.spawn(|| drop(guards)).join().unwrap());
    assert_eq!((metrics.requests_total(), metrics.in_flight()), (300, 0));
}

#[test]
fn nginx_status_is_as_nginx_writes_it() {
    let metrics = Metrics::new(1);
    let _connections: Vec<_> = (0..3).map(|_| metrics.begin_connection()).collect();
    drop(metrics.begin_connection());
    let _request = metrics.begin_request();
    drop(metrics.begin_request());
    assert_eq!(
        metrics.nginx_status(),
        "Active connections: 3 \nserver accepts handled requests\n 4 4 2 \nReading: 0 Writing: 1 Waiting: 2 \n"
    );
}

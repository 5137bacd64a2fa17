use std::collections::BTreeMap;
use std::sync::mpsc;
use std::thread;

use super::*;
use crate::telemetry::{Lost, Phase, Surface};

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
        assert!(series.starts_with(&family), "{line} in {family}");
        assert!(series.starts_with("gateway_") || series.starts_with("process_"), "{line}");
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
        let node = NodeFigures { service: "demo1", node: "127.0.0.1:1024", up: true, ..NodeFigures::default() };
        each(NodeFigures { in_flight: 3, picked: 9, failed: 2, ..node });
        each(NodeFigures { node: "[::1]:1025", up: false, ejected: Some("errors"), ..node });
    });
    metrics.set_health(|each| {
        let changes = [("healthy", 0), ("unhealthy", 1), ("ejected", 2), ("readmitted", 0)];
        each(HealthFigures { service: "demo1", probes: [("success", 5), ("failure", 0)], changes });
    });
    metrics.config.stored_revision.store(12, Ordering::Relaxed);
    metrics.config.applied_revision.store(10, Ordering::Relaxed);
    metrics.config.rejected_objects.store(3, Ordering::Relaxed);
    metrics.config.set_connected(true);
    metrics.service("demo1").retries.fetch_add(1, Ordering::Relaxed);
    metrics.plugin_times("rewrite").observe(Phase::Request, Duration::from_nanos(700));
    metrics.admin.observe(Surface::New, "GET", 200, Duration::from_millis(2));
    metrics.spans.took(8);
    metrics.spans.lost(Lost::Export, 6);
    metrics.config.routes.store(7, Ordering::Relaxed);
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
        ("gateway_upstream_nodes{service=\"demo1\",state=\"up\"}", 1.0),
        ("gateway_upstream_nodes{service=\"demo1\",state=\"down\"}", 0.0),
        ("gateway_upstream_nodes{service=\"demo1\",state=\"ejected\"}", 1.0),
        ("gateway_upstream_node_requests_in_flight{service=\"demo1\",node=\"127.0.0.1:1024\"}", 3.0),
        ("gateway_upstream_node_tries_total{service=\"demo1\",node=\"127.0.0.1:1024\"}", 9.0),
        ("gateway_upstream_node_errors_total{service=\"demo1\",node=\"127.0.0.1:1024\"}", 2.0),
        ("gateway_upstream_retries_total{service=\"demo1\"}", 1.0),
        ("gateway_plugin_duration_seconds_bucket{le=\"5e-7\",plugin=\"rewrite\",phase=\"request\"}", 0.0),
        ("gateway_plugin_duration_seconds_bucket{le=\"0.000001\",plugin=\"rewrite\",phase=\"request\"}", 1.0),
        ("gateway_admin_requests_total{surface=\"v2\",method=\"GET\",class=\"2xx\"}", 1.0),
        ("gateway_admin_request_duration_seconds_count{surface=\"v2\"}", 1.0),
        ("gateway_trace_spans_exported_total", 8.0),
        ("gateway_trace_spans_dropped_total{reason=\"queue_full\"}", 0.0),
        ("gateway_trace_spans_dropped_total{reason=\"export\"}", 6.0),
        ("gateway_config_routes", 7.0),
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
    for name in ["cpu_seconds_total", "resident_memory_bytes", "open_fds", "max_fds", "start_time_seconds", "threads"] {
        assert!(samples[&format!("process_{name}")] > 0.0, "{name}");
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
        (0..100).for_each(|n| {
            let service = format!("s{}", n / 10);
            each(NodeFigures {
                service: &service,
                node: &format!("n{n}"),
                up: true,
                in_flight: 1,
                ..Default::default()
            });
        });
    });
    let samples = scrape(&metrics);
    let of = |name: &str| -> Vec<f64> {
        let prefix = format!("gateway_{name}{{");
        samples.iter().filter(|(series, _)| series.starts_with(&prefix)).map(|(_, value)| *value).collect()
    };
    assert_eq!(of("upstream_node_up").len(), 5);
    let in_flight = of("upstream_node_requests_in_flight");
    assert_eq!((in_flight.len(), in_flight.iter().sum::<f64>()), (6, 100.0));
    let nodes = of("upstream_nodes");
    assert_eq!((nodes.len(), nodes.iter().sum::<f64>()), (6 * 3, 100.0));
}

/// As much as there can be of everything, on a gateway with the default budget.
#[test]
fn a_scrape_has_a_largest_size() {
    const BUDGET: usize = 200;
    let metrics = Metrics::new(BUDGET);
    let (mut routes, mut services, mut plugins) = (Vec::new(), Vec::new(), Vec::new());
    // Names as long as they come.
    let name = |n: usize| format!("{n:032}");
    for n in 0..10_000 {
        let route = metrics.route(&name(n), &name(n % 1000));
        (1..7).for_each(|class| route.observe(Some(class * 100), Duration::from_secs(60)));
        routes.push(route);
        services.push(metrics.service(&name(n)));
    }
    for n in 0..1000 {
        let plugin = metrics.plugin_times(&name(n));
        let phases = [Phase::Request, Phase::UpstreamPeer, Phase::UpstreamRequest, Phase::RequestBody];
        let phases = phases.into_iter().chain([Phase::Response, Phase::ResponseBody, Phase::Logging]);
        phases.for_each(|phase| plugin.observe(phase, Duration::from_secs(60)));
        let panics = metrics.plugin_panics(&name(n));
        plugins.push((plugin, panics, metrics.plugin_event(&name(n), &name(n))));
    }
    for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"] {
        for surface in [Surface::Old, Surface::New, Surface::Dashboard] {
            (1..7).for_each(|class| metrics.admin.observe(surface, method, class * 100, Duration::ZERO));
        }
    }
    metrics.set_nodes(move |each| {
        for n in 0..10_000 {
            let node = format!("[2001:db8:1111:2222:3333:4444:5555:{n:04}]:65535");
            let ejected = Some("error_ratio");
            each(NodeFigures { service: &name(n), node: &node, ejected, ..NodeFigures::default() });
        }
    });
    metrics.set_health(move |each| {
        for n in 0..1000 {
            let changes = [("healthy", 1), ("unhealthy", 1), ("ejected", 1), ("readmitted", 1)];
            each(HealthFigures { service: &name(n), probes: [("success", 1), ("failure", 1)], changes });
        }
    });
    metrics.set_certificates(move |each| (0..10_000).for_each(|n| each(&name(n), &name(n), 1)));
    let mut text = String::new();
    metrics.encode(&mut text).unwrap();
    let series = scrape(&metrics).len();
    assert!(series < 60 * BUDGET + 8_000, "{series} series");
    assert!(text.len() < 3 << 20, "{} bytes", text.len());
}

/// Whatever a scrape waits for: nothing that a request does waits for it, nor compiling.
#[test]
fn a_scrape_that_hangs_keeps_nobody_waiting() {
    let metrics = Metrics::new(10);
    let (entered, is_in) = mpsc::channel();
    let (go, may_go) = mpsc::channel();
    let may_go = Mutex::new(may_go);
    metrics.set_nodes(move |_| {
        entered.send(()).unwrap();
        may_go.lock().unwrap().recv().unwrap();
    });
    thread::scope(|scope| {
        let scraping = scope.spawn(|| scrape(&metrics));
        is_in.recv().unwrap();
        // From here until `go` the scrape is half way through.
        let (route, service, plugin) = (metrics.route("r", "s"), metrics.service("s"), metrics.plugin_times("p"));
        for _ in 0..1000 {
            let (_connection, _request) = (metrics.begin_connection(), metrics.begin_request());
            service.tried(true);
            plugin.observe(Phase::Request, Duration::ZERO);
            metrics.edge.shed(crate::telemetry::Shed::Memory);
            metrics.spans.lost(Lost::QueueFull, 1);
            route.observe(Some(200), Duration::ZERO);
        }
        assert!(!scraping.is_finished());
        assert_eq!(metrics.requests_total(), 1000);
        go.send(()).unwrap();
        scraping.join().unwrap();
    });
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

//! What the gateway says of itself: access log, error log, metrics, status.

use serde_json::{Value, json};

use crate::support::gateway::sum;
use crate::support::{Client, Gateway, Request, Upstream, eventually, free_address, h2c};

/// The old gateway's fields, in its order.
const FIELDS: [&str; 20] = [
    "@timestamp",
    "domain",
    "method",
    "upstream-cache-status",
    "uri",
    "origin-uri",
    "querystring",
    "protocol",
    "httpcode",
    "bytes",
    "referer",
    "useragent",
    "xff",
    "client",
    "upstream",
    "trace-id",
    "upstream-status",
    "upstream-time",
    "response-time",
    "service",
];

async fn served() -> (Gateway, Upstream) {
    let gateway = Gateway::start().await;
    let upstream = Upstream::saying("hello").await;
    let more = json!({
        "plugins": ["discovery", "tracing", "rewrite"],
        "props": {"rewrite_url_regex": "^/a/", "rewrite_replace": "/b/"},
    });
    gateway.serve_with("/a/*", &[upstream.address], more).await;
    (gateway, upstream)
}

fn fields(line: &str) -> Vec<String> {
    let object: serde_json::Map<String, Value> = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    object.keys().cloned().collect()
}

#[tokio::test]
async fn a_request_is_logged_with_the_old_fields_in_their_order() {
    let (gateway, upstream) = served().await;
    let request = Request::get("/a/x%20y?q=1&r")
        .header("Host", "Shop.test:80")
        .header("User-Agent", "tests/1")
        .header("Referer", "http://r.test/")
        .header("X-Forwarded-For", "6.6.6.6")
        .header("X-Trace-Id", "trace-1");
    gateway.send(request).await.expect(200);
    let line = gateway.log_line("trace-1").await;
    assert_eq!(fields(&line), FIELDS);
    let entry: Value = serde_json::from_str(&line).unwrap();
    for (field, expected) in [
        ("method", json!("GET")),
        ("upstream-cache-status", json!("-")),
        ("uri", json!("/b/x y")),
        ("querystring", json!("q=1&r")),
        ("protocol", json!("HTTP/1.1")),
        ("httpcode", json!(200)),
        ("bytes", json!(5)),
        ("referer", json!("http://r.test/")),
        ("useragent", json!("tests/1")),
        ("xff", json!("6.6.6.6")),
        ("client", json!("127.0.0.1")),
        ("upstream", json!(upstream.address.to_string())),
        ("trace-id", json!("trace-1")),
        ("upstream-status", json!("200")),
        ("service", json!("service-0")),
    ] {
        if field == "uri" {
            // Decoded as nginx's `$uri`, or as it went upstream.
            assert!(["/b/x y", "/b/x%20y"].contains(&entry[field].as_str().unwrap()), "{line}");
        } else {
            assert_eq!(entry[field], expected, "{field}: {line}");
        }
    }
    assert!(entry["domain"].as_str().unwrap().to_ascii_lowercase().starts_with("shop.test"), "{line}");
    assert!(entry["origin-uri"].as_str().unwrap().starts_with("/a/x"), "{line}");
    assert!(entry["response-time"].is_number() && entry["upstream-time"].is_string(), "{line}");
    assert!(entry["@timestamp"].as_str().unwrap().len() >= 20, "{line}");
}

#[tokio::test]
async fn every_end_of_a_request_is_logged() {
    let (gateway, _upstream) = served().await;
    gateway.serve("/dead/*", &[free_address()]).await;
    gateway.route("/empty/*", "nobody", json!({})).await;
    gateway.applied().await;
    for (path, status, upstream) in [
        ("/a/logged-200", 200, true),
        ("/logged-404", 404, false),
        ("/dead/logged-502", 502, true),
        ("/empty/logged-none", 502, false),
    ] {
        gateway.get(path).await.expect(status);
        let line = gateway.log_line(path.rsplit('/').next().unwrap()).await;
        assert_eq!(fields(&line), FIELDS);
        let entry: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(entry["httpcode"], status, "{line}");
        assert_eq!(entry["upstream"] != "-", upstream, "{line}");
    }
    assert_eq!(h2c::get(gateway.h2c, "a.test", "/a/logged-h2").await.status, 200);
    assert!(gateway.log_line("logged-h2").await.contains("HTTP/2"));
    // One that is refused before there is a route.
    gateway.send(Request::get("/logged-400").header("X_Real_IP", "6.6.6.6")).await.expect(400);
    assert!(gateway.log_line("logged-400").await.contains("400"));
}

#[tokio::test]
async fn a_call_of_the_admin_api_is_logged_with_its_old_fields() {
    let gateway = Gateway::with(json!({"admin": {"on_gateway_ports": true}})).await;
    let log = || std::fs::read_to_string(gateway.dir().join("logs/admin-access.log")).unwrap_or_default();
    let logged = async |text: &str| {
        let find = || async { log().lines().find(|line| line.contains(text)).map(str::to_owned) };
        let line = crate::support::eventually_some(&format!("{text} is logged"), find).await;
        serde_json::from_str::<serde_json::Map<String, Value>>(&line).unwrap()
    };
    let request = Request::get("/admin//v2/status?logged=1")
        .header("Host", "localhost:1")
        .header("User-Agent", "tests/1")
        .header("Referer", "http://r.test/")
        .header("X-Forwarded-For", "6.6.6.6")
        .header("X-Api-Token", crate::support::gateway::TOKEN);
    let answer = request.send(gateway.admin).await;
    let entry = logged("logged=1").await;
    let expected: Vec<_> =
        FIELDS.into_iter().filter(|field| !["origin-uri", "trace-id", "service"].contains(field)).collect();
    assert_eq!(entry.keys().collect::<Vec<_>>(), expected);
    for (field, value) in [
        ("domain", json!("localhost:1")),
        ("method", json!("GET")),
        ("upstream-cache-status", json!("-")),
        ("uri", json!("/admin/v2/status")),
        ("querystring", json!("logged=1")),
        ("protocol", json!("HTTP/1.1")),
        ("httpcode", json!(answer.status)),
        ("bytes", json!(answer.body.len())),
        ("referer", json!("http://r.test/")),
        ("useragent", json!("tests/1")),
        ("xff", json!("6.6.6.6")),
        ("client", json!("127.0.0.1")),
        ("upstream", json!("-")),
        ("upstream-status", json!("-")),
        ("upstream-time", json!("-")),
    ] {
        assert_eq!(entry[field], value, "{field}");
    }
    // What is refused, what comes over the data ports, and what a client did not wait for.
    Request::get("/admin/v2/status?refused=1").send(gateway.admin).await.expect(401);
    assert_eq!(logged("refused=1").await["httpcode"], 401);
    Request::get("/admin/v2/status?foreign=1").header("Host", "evil.test").send(gateway.admin).await.expect(403);
    assert_eq!(logged("foreign=1").await["httpcode"], 403);
    Request::get("/dashboard/?other-port=1").send(gateway.http).await;
    assert_eq!(logged("other-port=1").await["client"], "127.0.0.1");
    assert!(!gateway.access_log().contains("other-port=1"), "once, in the log it belongs to");
    let mut client = Client::connect(gateway.admin).await;
    client.send(b"POST /admin/login?left=1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{").await.unwrap();
    drop(client);
    logged("left=1").await;
    let output = log();
    assert!(!output.contains(crate::support::gateway::TOKEN), "no header with a secret is in it");
    // Opened anew after something moved it away.
    let (now, moved) = (gateway.dir().join("logs/admin-access.log"), gateway.dir().join("logs/moved.log"));
    std::fs::rename(now, moved).unwrap();
    gateway.signal("USR1");
    eventually("the next line is in a new file", || async {
        Request::get("/dashboard/?after=1").send(gateway.admin).await;
        log().contains("after=1")
    })
    .await;
}

#[tokio::test]
async fn the_admins_access_log_may_be_off_or_elsewhere() {
    for output in ["off", "stdout"] {
        let gateway = Gateway::with(json!({"log": {"admin": {"output": output}}})).await;
        Request::get("/dashboard/?to-stdout").send(gateway.admin).await;
        if output == "stdout" {
            eventually("it is on stdout", || async { gateway.output().contains("to-stdout") }).await;
        }
        assert!(!gateway.dir().join("logs/admin-access.log").exists());
    }
}

#[tokio::test]
async fn nothing_a_client_sends_breaks_a_line() {
    let (gateway, _upstream) = served().await;
    let long = "L".repeat(50_000);
    let nasty =
        ["\"}{\"", "\\", "a\tb", "\u{2028}", "\u{1f600}", "\x1b[2J".trim_start_matches('\x1b'), "<script>", &long];
    for (i, text) in nasty.iter().enumerate() {
        for field in ["User-Agent", "Referer", "X-Forwarded-For", "X-Trace-Id"] {
            let request = Request::get(&format!("/a/nasty-{i}-{field}?q=%22%0a%22'")).header(field, text);
            let mut bytes = request.to_bytes();
            // And bytes that are no UTF-8.
            if text.len() == 1 {
                bytes = String::from_utf8_lossy(&bytes).replace('\\', "\\\u{fffd}").into_bytes();
            }
            let mut client = Client::connect(gateway.http).await;
            client.send(&bytes).await.unwrap();
            client.response_to("GET").await.unwrap();
            gateway.log_line(&format!("nasty-{i}-{field}")).await;
        }
    }
    let mut client = Client::connect(gateway.http).await;
    client.send(b"GET /a/nasty-bytes HTTP/1.1\r\nHost: a\r\nUser-Agent: \xff\xfe\xe2\x80\r\n\r\n").await.unwrap();
    client.response_to("GET").await.unwrap();
    gateway.log_line("nasty-bytes").await;
    let log = gateway.access_log();
    for line in log.lines() {
        assert_eq!(fields(line), FIELDS);
        assert!(line.len() < 30_000, "a line is bounded: {}", line.len());
    }
    assert!(!log.contains('\u{2028}') && !log.contains('\x1b'), "nothing in it moves a terminal or splits a line");
}

#[tokio::test]
async fn secrets_are_in_no_log() {
    let gateway = Gateway::with(json!({"log": {"error": {"level": "debug"}}})).await;
    let upstream = Upstream::saying("hello").await;
    gateway.serve("/*", &[upstream.address]).await;
    const CANARY: &str = "canary-7f3a9";
    let mut request = Request::get("/canary");
    for header in ["Authorization", "Cookie", "X-Api-Token", "X-Token", "X-API-KEY", "Proxy-Authorization"] {
        request = request.header(header, CANARY);
    }
    gateway.send(request.clone()).await.expect(200);
    request.send(gateway.admin).await;
    let login = json!({"username": "admin", "password": CANARY}).to_string();
    Request::new("POST", "/admin/login").body(login).send(gateway.admin).await;
    gateway.log_line("/canary").await;
    assert!(!gateway.access_log().contains(CANARY));
    let leaks: Vec<_> = gateway
        .output()
        .lines()
        .filter(|l| l.contains(CANARY))
        .map(|l| l.chars().take(200).collect::<String>())
        .collect();
    assert!(leaks.is_empty(), "{leaks:#?}");
    assert!(!gateway.output().contains(crate::support::gateway::TOKEN), "the configuration's tokens stay in it");
}

#[tokio::test]
async fn the_access_log_is_rotated_and_nothing_is_lost() {
    let gateway = Gateway::with(json!({"log": {"access": {"rotate_size": "20KiB", "rotate_keep": 50}}})).await;
    let upstream = Upstream::saying("hello").await;
    gateway.serve("/*", &[upstream.address]).await;
    let mut client = Client::connect(gateway.http).await;
    for i in 0..300 {
        client.get(&format!("/rotated-{i}-")).await.unwrap().expect(200);
    }
    let all = || {
        let files = std::fs::read_dir(gateway.dir()).unwrap().flatten().map(|entry| entry.path());
        let logs: Vec<_> =
            files.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("access.log")).collect();
        let text: String = logs.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
        (logs.len(), text)
    };
    eventually("all 300 are logged", || async { all().1.matches("origin-uri\":\"/rotated-").count() >= 300 }).await;
    let (files, text) = all();
    assert!(files > 2, "{files} files");
    for i in 0..300 {
        assert!(text.contains(&format!("/rotated-{i}-")), "request {i}");
    }
}

#[tokio::test]
async fn the_access_log_may_go_to_stdout_or_nowhere() {
    for (output, logged) in [("stdout", true), ("off", false)] {
        let gateway = Gateway::with(json!({"log": {"access": {"output": output}}})).await;
        gateway.get("/to-stdout").await.expect(404);
        if logged {
            eventually("it is on stdout", || async { gateway.output().contains("/to-stdout") }).await;
            let output = gateway.output();
            let line = output.lines().find(|line| line.contains("/to-stdout")).unwrap();
            assert_eq!(fields(line), FIELDS);
        } else {
            assert!(!gateway.output().contains("/to-stdout"));
        }
    }
}

#[tokio::test]
async fn the_error_log_can_be_json() {
    let gateway = Gateway::with(json!({"log": {"error": {"format": "json", "level": "debug"}}})).await;
    gateway.serve("/dead/*", &[free_address()]).await;
    gateway.get("/dead/x").await.expect(502);
    let output = gateway.output();
    let lines: Vec<_> = output.lines().filter(|line| !line.starts_with("admin password: ")).collect();
    assert!(!lines.is_empty());
    for line in lines {
        serde_json::from_str::<Value>(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    }
}

#[tokio::test]
async fn the_level_of_the_error_log_can_be_changed_while_running() {
    let gateway = Gateway::start().await;
    let put = |level: &str| {
        Request::new("PUT", "/admin/v2/log-level")
            .header("X-Api-Token", crate::support::gateway::TOKEN)
            .body(json!({"level": level}).to_string())
    };
    put("trace").send(gateway.admin).await.expect(200);
    assert_eq!(gateway.get_admin("/admin/v2/log-level").await.expect(200).json()["level"], "trace");
    let before = gateway.output().len();
    gateway.serve("/x/*", &[free_address()]).await;
    gateway.get("/x/1").await.expect(502);
    eventually("more is said", || async {
        gateway.output()[before..].to_lowercase().contains("debug")
            || gateway.output()[before..].to_lowercase().contains("trace")
    })
    .await;
    assert_eq!(put("loud").send(gateway.admin).await.status, 422);
}

#[tokio::test]
async fn metrics_count_what_happens() {
    let (gateway, _upstream) = served().await;
    gateway.serve("/dead/*", &[free_address()]).await;
    for _ in 0..5 {
        gateway.get("/a/x").await.expect(200);
    }
    gateway.get("/dead/x").await.expect(502);
    eventually("the requests are counted", || async {
        let metrics = gateway.metrics().await;
        sum(&metrics, "gateway_requests_total", "2xx") >= 5.0 && sum(&metrics, "gateway_requests_total", "5xx") >= 1.0
    })
    .await;
    let metrics = gateway.metrics().await;
    for name in [
        "gateway_requests_total",
        "gateway_request_duration_seconds_bucket",
        "gateway_request_duration_seconds_count",
        "gateway_upstream_tries_total",
        "gateway_upstream_failures_total",
        "gateway_requests_in_flight",
        "gateway_config_stored_revision",
        "gateway_config_applied_revision",
        "gateway_config_lag_revisions",
        "gateway_config_rejected_objects",
        "gateway_access_log_dropped_total",
        "gateway_admin_access_log_dropped_total",
        "gateway_store_connected",
        "gateway_connections_active",
        "gateway_build_info",
    ] {
        assert!(metrics.lines().any(|line| line.starts_with(name)), "{name} is missing:\n{metrics}");
    }
    assert!(sum(&metrics, "gateway_upstream_failures_total", "") >= 1.0);
    assert!(metrics.ends_with("# EOF\n"), "OpenMetrics has an end");
    assert_eq!(sum(&metrics, "gateway_config_lag_revisions", ""), 0.0);
}

#[tokio::test]
async fn labels_have_a_budget() {
    let gateway = Gateway::with(json!({"status": {"max_labels": 5}})).await;
    let upstream = Upstream::saying("x").await;
    gateway.node("s", upstream.address, 1).await;
    for i in 0..30 {
        gateway.route(&format!("/r{i}/*"), "s", json!({})).await;
    }
    gateway.applied().await;
    for i in 0..30 {
        gateway.get(&format!("/r{i}/x")).await.expect(200);
    }
    eventually("all are counted", || async { gateway.metric("gateway_requests_total", "2xx").await >= 30.0 }).await;
    let metrics = gateway.metrics().await;
    let series =
        metrics.lines().filter(|line| line.starts_with("gateway_requests_total{") && line.contains("2xx")).count();
    assert!(series <= 6, "{series} series");
}

#[tokio::test]
async fn requests_in_flight_return_to_none() {
    let gateway = Gateway::start().await;
    let silent = Upstream::scripted(|stream, _| async move {
        Client::over(stream).until_closed().await;
    })
    .await;
    gateway.serve("/*", &[silent.address]).await;
    let mut client = Client::connect(gateway.http).await;
    client.send(&Request::get("/x").to_bytes()).await.unwrap();
    eventually("one is in flight", || async { gateway.metric("gateway_requests_in_flight", "").await == 1.0 }).await;
    drop(client);
    eventually("none is", || async { gateway.metric("gateway_requests_in_flight", "").await == 0.0 }).await;
}

#[tokio::test]
async fn health_and_the_old_status_page_are_on_the_status_port_only() {
    let gateway = Gateway::start().await;
    Request::get("/healthz").send(gateway.status).await.expect(200);
    Request::get("/readyz").send(gateway.status).await.expect(200);
    let page = Request::get("/nginx_status").send(gateway.status).await.expect(200).text();
    assert!(page.starts_with("Active connections: ") && page.contains("server accepts handled requests"), "{page}");
    for path in ["/healthz", "/readyz", "/metrics", "/nginx_status"] {
        assert_eq!(gateway.get(path).await.status, 404, "{path} on the data port");
    }
}

#[tokio::test]
async fn the_status_api_needs_a_login() {
    let gateway = Gateway::start().await;
    let problem = Request::get("/admin/v2/status").send(gateway.admin).await.expect(401);
    assert_eq!(problem.header("content-type"), Some("application/problem+json"));
    gateway.get_admin("/admin/v2/status").await.expect(200).json();
}

/// A disk that takes no more must cost log lines, not requests.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_cannot_be_written_drops_lines_and_counts_them() {
    let gateway = Gateway::with(json!({"log": {"access": {"output": "/dev/full", "queue": 100}}})).await;
    let upstream = Upstream::saying("x").await;
    gateway.serve("/*", &[upstream.address]).await;
    let load = crate::support::load::Load::start(gateway.http, &Request::get("/x"), 500);
    load.reach(1_000).await;
    load.stop().await.assert_no_failures(1_000);
    eventually("the loss is counted", || async { gateway.metric("gateway_access_log_dropped_total", "").await > 0.0 })
        .await;
}

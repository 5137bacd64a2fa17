//! Under more load than it may take the gateway refuses what is new, finishes what was begun, and recovers.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use serde_json::json;
use tokio::sync::Semaphore;

use crate::support::upstream::{ok, read_request};
use crate::support::{Client, Gateway, Request, Upstream, eventually, h2c, in_time};

/// Answers a request when it is let.
async fn held() -> (Upstream, Arc<Semaphore>) {
    let go = Arc::new(Semaphore::new(0));
    let let_go = go.clone();
    let upstream = Upstream::scripted(move |stream, _| {
        let go = go.clone();
        async move {
            let mut client = Client::over(stream);
            while read_request(&mut client).await.is_ok() {
                go.acquire().await.unwrap().forget();
                drop(client.send(&ok("done")).await);
            }
        }
    })
    .await;
    (upstream, let_go)
}

async fn in_flight(gateway: &Gateway, count: f64) {
    eventually(&format!("{count} requests are in flight"), || async {
        gateway.metric("gateway_requests_in_flight", "").await == count
    })
    .await;
}

#[tokio::test]
async fn requests_beyond_those_in_flight_are_503_with_retry_after() {
    let gateway = Gateway::with(json!({
        "overload": {"max_in_flight": 3, "retry_after": "7s"},
        "admin": {"on_gateway_ports": true},
    }))
    .await;
    let (upstream, go) = held().await;
    gateway.serve("/*", &[upstream.address]).await;
    gateway.serve_with("/echo.*", &[upstream.address], json!({"protocol": "grpc"})).await;
    let begin = || {
        let address = gateway.http;
        tokio::spawn(async move { Request::get("/held").send(address).await })
    };
    let begun = [begin(), begin(), begin()];
    in_flight(&gateway, 3.0).await;

    let mut client = Client::connect(gateway.http).await;
    for _ in 0..2 {
        let refused = client.get("/x").await.unwrap().expect(503);
        assert_eq!(refused.header("retry-after"), Some("7"));
        assert_eq!(refused.text(), "too many requests; try again later\n");
    }
    let refused = h2c::get(gateway.h2c, "a", "/x").await;
    assert_eq!((refused.status, refused.headers["retry-after"].as_bytes()), (503, &b"7"[..]));
    let refused = h2c::call(gateway.h2c, "/echo.Echo/Say", b"x").await;
    assert_eq!(refused.grpc().0, "14", "UNAVAILABLE: {refused:?}");
    assert_eq!(gateway.metric("gateway_requests_shed_total", r#"reason="in_flight""#).await, 4.0);
    let line = gateway.log_line(r#""uri":"/x""#).await;
    assert!(line.contains(r#""httpcode":503"#), "{line}");
    // Operators are not shut out, on any port.
    let request = Request::get("/admin/routes/list")
        .header("Host", "127.0.0.1")
        .header("X-Api-Token", crate::support::gateway::TOKEN);
    request.send(gateway.http).await.expect(200);
    request.send(gateway.admin).await.expect(200);

    go.add_permits(100);
    for request in begun {
        assert_eq!(in_time("what was begun", request).await.unwrap().expect(200).text(), "done");
    }
    client.get("/x").await.unwrap().expect(200);
}

/// R18 in small: with twice the clients it can serve, the node is as busy as ever, and then all is well again.
#[tokio::test(flavor = "multi_thread")]
async fn twice_the_load_takes_nothing_from_what_is_served() {
    const CAPACITY: usize = 8;
    let gateway = Gateway::with(json!({"overload": {"max_in_flight": CAPACITY}})).await;
    let upstream = Upstream::scripted(|stream, _| async move {
        let mut client = Client::over(stream);
        while read_request(&mut client).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
            drop(client.send(&ok("done")).await);
        }
    })
    .await;
    gateway.serve("/*", &[upstream.address]).await;
    // So many clients, each at once with its next request, for a while.
    let load = |clients: usize| {
        let address = gateway.http;
        async move {
            let one = || async move {
                let (mut client, mut good, mut shed) = (Client::connect(address).await, 0, 0);
                let started = std::time::Instant::now();
                while started.elapsed() < Duration::from_secs(2) {
                    match client.get("/x").await.unwrap().status {
                        200 => good += 1,
                        503 => {
                            shed += 1;
                            tokio::time::sleep(Duration::from_millis(5)).await;
                        }
                        other => panic!("{other}"),
                    }
                }
                (good, shed)
            };
            let ends = join_all((0..clients).map(|_| one())).await;
            ends.iter().fold((0, 0), |(good, shed), end| (good + end.0, shed + end.1))
        }
    };
    let (peak, _) = load(CAPACITY).await;
    let (goodput, shed) = load(2 * CAPACITY).await;
    assert!(shed > 0, "the limit was never reached");
    assert!(goodput * 10 >= peak * 7, "{goodput} of {peak}");
    in_flight(&gateway, 0.0).await;
    gateway.get("/x").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_runs_out_for_new_requests_first_and_comes_back() {
    // As much as it has, and a little.
    let probe = Gateway::start().await;
    let base = own_memory(&probe).max(24 << 20);
    drop(probe);
    let limit = base + (24 << 20);
    let gateway = Gateway::with(json!({
        "overload": {"max_memory": limit},
        "client": {"max_body_size": "0B"},
    }))
    .await;
    let upstream = Upstream::saying("x").await;
    gateway.serve("/*", &[upstream.address]).await;
    let mut witness = Client::connect(gateway.http).await;
    witness.get("/x").await.unwrap().expect(200);

    // Open connections with half a header each: what they hold is memory, and nothing is in flight.
    let mut hoarders = Vec::new();
    let hoard = format!("GET /x HTTP/1.1\r\nHost: a\r\nX-Hoard: {}", "x".repeat(60 * 1024));
    while gateway.metric("gateway_connections_refused_total", r#"reason="memory""#).await == 0.0 {
        assert!(hoarders.len() < 4_000, "memory is not watched: {} MiB", own_memory(&gateway) >> 20);
        for _ in 0..20 {
            let mut hoarder = Client::connect(gateway.http).await;
            drop(hoarder.send(hoard.as_bytes()).await);
            hoarders.push(hoarder);
        }
    }
    // The witness was there before.
    let refused = witness.get("/x").await.unwrap().expect(503);
    assert_eq!((refused.header("retry-after"), refused.header("connection")), (Some("1"), Some("close")));
    eventually("the log says so", || async { gateway.output().contains("new requests and connections are refused") })
        .await;
    Request::get("/readyz").send(gateway.status).await.expect(200);
    gateway.get_admin("/admin/routes/list").await.expect(200);
    drop(hoarders);
    eventually("it serves again", || async {
        matches!(Client::connect(gateway.http).await.get("/x").await, Ok(response) if response.status == 200)
    })
    .await;
}

/// Resident memory without what is mapped from files.
fn own_memory(gateway: &Gateway) -> u64 {
    let statm = std::fs::read_to_string(format!("/proc/{}/statm", gateway.pid())).unwrap();
    let fields: Vec<u64> = statm.split(' ').map(|field| field.trim().parse().unwrap()).collect();
    (fields[1] - fields[2]) * 4096
}

//! What is going on can be watched: events as they happen, and requests as they are answered.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::gateway::{TOKEN, put_node, put_route, route};
use crate::support::sse::{Event, Stream};
use crate::support::upstream::{ok, respond};
use crate::support::{Etcd, Gateway, Request, Upstream, eventually, free_address, h2c};

async fn listen(gateway: &Gateway, path: &str) -> Stream {
    Stream::open(gateway.admin, Request::get(path).header("X-Api-Token", TOKEN)).await
}

async fn events(gateway: &Gateway) -> Stream {
    listen(gateway, "/admin/v2/events").await
}

async fn requests(gateway: &Gateway, query: &str) -> Stream {
    listen(gateway, &format!("/admin/v2/requests?{query}")).await
}

fn is_config(event: &Event, kind: &str, id: &str) -> bool {
    event.name == "config" && event.data["kind"] == kind && event.data["object"] == id
}

/// A service whose nodes are probed often.
fn probed() -> Value {
    let check =
        json!({"type": "tcp", "interval": "100ms", "unhealthy_interval": "100ms", "failures": 2, "successes": 1});
    json!({"health": {"active": check}})
}

#[tokio::test]
async fn a_change_is_told_when_it_is_live_and_when_it_is_rejected() {
    let etcd = Etcd::start().await;
    let gateway = Gateway::on(&etcd).await;
    let mut events = events(&gateway).await;
    put_route(&etcd, &route("/a/*", "s", json!({}))).await;
    let id = crate::support::gateway::md5("/a/*");
    let told = events.until("the route is live", |event| is_config(event, "routes", &id)).await;
    assert_eq!((&told.data["change"], &told.data["applied"]), (&json!("put"), &json!(true)), "{told:?}");
    assert_eq!(told.id, Some(told.data["id"].to_string()), "it has a number");
    assert!(told.data["revision"].as_u64().unwrap() > 0 && told.data["time"].is_string(), "{told:?}");

    // Written beside the Admin API, which would have refused it.
    let broken = route("/a/*", "s", json!({"plugins": ["rewrite"], "props": {"rewrite_url_regex": "("}}));
    put_route(&etcd, &broken).await;
    let told = events.until("the broken route is rejected", |event| is_config(event, "routes", &id)).await;
    assert_eq!((&told.data["applied"], &told.data["serving"]), (&json!(false), &json!("last_good")), "{told:?}");
    assert!(told.data["reason"].as_str().unwrap().contains("rewrite"), "{told:?}");

    etcd.delete(&format!("routes/{id}")).await;
    let told = events.until("the route is gone", |event| is_config(event, "routes", &id)).await;
    assert_eq!((&told.data["change"], &told.data["applied"]), (&json!("deleted"), &json!(true)), "{told:?}");
}

#[tokio::test]
async fn a_node_that_dies_and_comes_back_is_told_with_the_reason() {
    let etcd = Etcd::start().await;
    let (well, dead) = (Upstream::saying("well").await, free_address());
    etcd.put("gw/services/s", &probed()).await;
    put_node(&etcd, "s", well.address).await;
    let gateway = Gateway::on(&etcd).await;
    let mut events = events(&gateway).await;
    put_node(&etcd, "s", dead).await;
    let is_of = |event: &Event, to: &str| {
        event.name == "node" && event.data["node"] == dead.to_string() && event.data["to"] == to
    };
    let told = events.until("it is unhealthy", |event| is_of(event, "unhealthy")).await;
    assert_eq!((&told.data["service"], &told.data["from"]), (&json!("s"), &json!("healthy")), "{told:?}");
    assert!(told.data["why"].as_str().unwrap().contains("connection refused"), "{told:?}");
    let state = gateway.get_admin("/admin/v2/state/services/s").await.expect(200).json();
    let node = state["nodes"].as_array().unwrap().iter().find(|n| n["node"] == dead.to_string()).unwrap().clone();
    assert_eq!((&node["state"], &node["last_check"]["passed"]), (&json!("unhealthy"), &json!(false)), "{state}");
    assert!(node["why"].as_str().unwrap().contains("connection refused"), "{state}");
    assert_eq!((&state["nodes_total"], &state["nodes_up"]), (&json!(2), &json!(1)), "{state}");

    let listener = tokio::net::TcpListener::bind(dead).await.unwrap();
    events.until("it is healthy again", |event| is_of(event, "healthy")).await;
    drop(listener);
}

#[tokio::test]
async fn a_node_that_refuses_a_request_is_told_as_ejected() {
    let gateway = Gateway::start().await;
    let (well, dead) = (Upstream::saying("well").await, free_address());
    gateway.serve("/s/*", &[well.address, dead]).await;
    let mut events = events(&gateway).await;
    for _ in 0..4 {
        gateway.get("/s/x").await.expect(200);
    }
    let told = events.until("it is ejected", |event| event.name == "node").await;
    assert_eq!((&told.data["node"], &told.data["to"]), (&json!(dead.to_string()), &json!("ejected")), "{told:?}");
    let state = gateway.get_admin("/admin/v2/state/services").await.expect(200).json();
    let service = state["services"].as_array().unwrap().iter().find(|s| s["name"] == "service-0").unwrap().clone();
    let node = |address: SocketAddr| {
        service["nodes"].as_array().unwrap().iter().find(|n| n["node"] == address.to_string()).unwrap().clone()
    };
    assert_eq!(node(dead)["ejection"]["cause"], "refused", "{state}");
    let of_well = node(well.address);
    assert_eq!((&of_well["state"], &of_well["total"]["requests"]), (&json!("healthy"), &json!(4)), "{state}");
    assert!(of_well["total"]["p99_ms"].as_f64().unwrap() > 0.0, "{state}");
    assert!(node(dead)["total"]["errors"].as_u64().unwrap() > 0, "{state}");
}

#[tokio::test]
async fn a_node_that_is_drained_is_shown_until_its_requests_are_done() {
    let gateway = Gateway::start().await;
    let (busy, other) = (
        Upstream::scripted(|stream, _| async move {
            // It takes the request and never answers.
            let _open = stream;
            std::future::pending::<()>().await;
        })
        .await,
        Upstream::saying("other").await,
    );
    gateway.serve("/s/*", &[busy.address]).await;
    let mut waiting = crate::support::Client::connect(gateway.http).await;
    waiting.send(&Request::get("/s/x").header("Host", "a").to_bytes()).await.unwrap();
    eventually("the node has it", || async { busy.connections() == 1 }).await;
    gateway.node("service-0", other.address, 1).await;
    gateway.node("service-0", busy.address, 0).await;
    gateway.applied().await;
    let state = || async { gateway.get_admin("/admin/v2/state/services/service-0").await.expect(200).json() };
    let resting = state().await["resting"].clone();
    assert_eq!(resting, json!([{"node": busy.address.to_string(), "why": "weight", "in_flight": 1}]));
    drop(waiting);
    eventually("its request is done", || async { state().await["resting"][0]["in_flight"] == 0 }).await;
}

#[tokio::test]
async fn a_listener_goes_on_where_it_was() {
    let gateway = Gateway::start().await;
    let mut first = events(&gateway).await;
    gateway.node("a", free_address(), 1).await;
    let seen = first.next().await;
    drop(first);
    gateway.node("b", free_address(), 1).await;
    gateway.applied().await;
    let again = Request::get("/admin/v2/events")
        .header("X-Api-Token", TOKEN)
        .header("Last-Event-ID", seen.id.as_ref().unwrap());
    let mut again = Stream::open(gateway.admin, again).await;
    let next = again.next().await;
    let number = |event: &Event| event.id.as_ref().unwrap().parse::<u64>().unwrap();
    assert_eq!(number(&next), number(&seen) + 1, "{next:?}");
    if !next.data["object"].as_str().is_some_and(|name| name.starts_with("b.")) {
        again
            .until("the other node", |event| event.data["object"].as_str().is_some_and(|name| name.starts_with("b.")))
            .await;
    }

    let long_ago = Request::get("/admin/v2/events").header("X-Api-Token", TOKEN).header("Last-Event-ID", "1");
    let missed = Stream::open(gateway.admin, long_ago).await.next().await;
    assert_eq!(missed.name, "missed", "{missed:?}");
}

#[tokio::test]
async fn a_reader_that_does_not_read_holds_up_nobody() {
    let gateway = Gateway::start().await;
    let upstream = Upstream::echo().await;
    gateway.serve("/s/*", &[upstream.address]).await;
    let mut slow_events = events(&gateway).await;
    let mut slow_requests = requests(&gateway, "rate=500").await;
    let mut quick = requests(&gateway, "rate=500&path=/s/last").await;
    // More than the queue and the socket's buffers hold.
    let header = "x".repeat(4000);
    for n in 0..1500 {
        gateway.send(Request::get(&format!("/s/{n}")).header("X-Long", &header)).await.expect(200);
    }
    for n in 0..400_u16 {
        gateway.node("busy", SocketAddr::from(([127, 0, 9, 1], n % 100 + 1)), 1 + u32::from(n)).await;
    }
    gateway.applied().await;
    gateway.get("/s/last").await.expect(200);
    let seen = quick.until("the quick one sees it", |event| event.name == "request").await;
    assert_eq!(seen.data["received"]["target"], "/s/last");
    // And is told how much it was not shown, once it reads.
    let dropped = slow_requests.until("the slow one is told", |event| event.name == "dropped").await;
    assert!(dropped.data["count"].as_u64().unwrap() > 0, "{dropped:?}");
    slow_events.next().await;
}

#[tokio::test]
async fn a_request_is_shown_as_received_and_as_sent() {
    let gateway = Gateway::start().await;
    let upstream = Upstream::answering(|_| respond(201, &[("X-From", "node")], "created")).await;
    let more = json!({
        "plugins": ["discovery", "rewrite", "tracing"],
        "props": {"rewrite_url_regex": "^/s/", "rewrite_replace": "/inner/"},
    });
    gateway.serve_with("/s/*", &[upstream.address], more).await;
    let mut watched = requests(&gateway, "").await;
    let request = Request::new("POST", "/s/x?a=1&b=2").header("Host", "Shop.example.com").header("X-MiXed", "Kept");
    gateway.send(request.body("hello")).await.expect(201);
    let shown = watched.next().await;
    assert_eq!(shown.name, "request");
    let shown = shown.data;
    let header = |head: &Value, name: &str| {
        let headers = head["headers"].as_array().unwrap().clone();
        headers
            .into_iter()
            .find(|pair| pair[0].as_str().unwrap().eq_ignore_ascii_case(name))
            .map(|pair| pair[1].clone())
    };
    let (received, sent) = (&shown["received"], &shown["sent"]);
    assert_eq!((&received["method"], &received["target"]), (&json!("POST"), &json!("/s/x?a=1&b=2")), "{shown}");
    assert_eq!((&sent["method"], &sent["target"]), (&json!("POST"), &json!("/inner/x?a=1&b=2")), "{shown}");
    assert_eq!(upstream.last().target, "/inner/x?a=1&b=2");
    let names: Vec<_> = received["headers"].as_array().unwrap().iter().map(|pair| pair[0].clone()).collect();
    assert!(names.contains(&json!("X-MiXed")), "as it was written: {shown}");
    assert_eq!(header(received, "x-forwarded-for"), None, "{shown}");
    assert_eq!(header(sent, "x-forwarded-for"), Some(json!("127.0.0.1")), "{shown}");
    assert_eq!(header(sent, "x-trace-id").as_ref(), Some(&shown["trace_id"]), "{shown}");
    assert_eq!((&shown["client"], &shown["host"]), (&json!("127.0.0.1"), &json!("shop.example.com")), "{shown}");
    assert_eq!(
        (&shown["route"], &shown["service"]),
        (&json!(crate::support::gateway::md5("/s/*")), &json!("service-0"))
    );
    assert_eq!((&shown["status"], &shown["bytes"]), (&json!(201), &json!(7)), "{shown}");
    assert_eq!(header(&shown["response"], "x-from"), Some(json!("node")), "{shown}");
    let tries = shown["tries"].as_array().unwrap();
    assert_eq!(
        (tries.len(), &tries[0]["node"], &tries[0]["status"]),
        (1, &json!(upstream.address.to_string()), &json!(201))
    );
    let time = |name: &str| shown["timings"][name].as_f64().unwrap();
    assert!(time("total_ms") >= time("first_byte_ms") && time("first_byte_ms") >= time("upstream_ms"), "{shown}");
}

#[tokio::test]
async fn failed_tries_are_shown_with_the_reason_and_refusals_too() {
    let gateway = Gateway::start().await;
    let (well, dead) = (Upstream::saying("well").await, free_address());
    gateway.serve("/s/*", &[dead, well.address]).await;
    let mut watched = requests(&gateway, "").await;
    for _ in 0..2 {
        gateway.get("/s/x").await.expect(200);
    }
    let shown = watched.until("two tries", |event| event.data["tries"].as_array().is_some_and(|t| t.len() == 2)).await;
    let tries = &shown.data["tries"];
    assert_eq!((&tries[0]["node"], &tries[0]["status"]), (&json!(dead.to_string()), &Value::Null), "{shown:?}");
    assert_eq!((&tries[0]["error"], &tries[1]["status"]), (&json!("ConnectRefused"), &json!(200)), "{shown:?}");

    gateway.get("/nowhere").await.expect(404);
    let shown = watched.until("the refusal", |event| event.data["status"] == 404).await;
    assert_eq!((&shown.data["route"], &shown.data["sent"]), (&Value::Null, &Value::Null), "{shown:?}");
}

#[tokio::test]
async fn what_lets_someone_in_is_shown_nowhere() {
    const CANARY: &str = "canary-5d1f";
    let gateway = Gateway::start().await;
    let upstream = Upstream::answering(|_| {
        let set = format!("sid={CANARY}; Path=/");
        let there = format!("https://u:{CANARY}@example.com/cb?code=1&access_token={CANARY}#id_token={CANARY}");
        respond(302, &[("Set-Cookie", &set), ("Location", &there), ("X-Refresh-Token", CANARY)], "")
    })
    .await;
    let more =
        json!({"plugins": ["discovery", "rewrite"], "props": {"rewrite_url_regex": "^/s/", "rewrite_replace": "/i/"}});
    gateway.serve_with("/s/*", &[upstream.address], more).await;
    let mut watched = requests(&gateway, "").await;
    let target = format!("/s/x?shown=1&token={CANARY}&API-KEY={CANARY}&%70assword={CANARY}&client_secret={CANARY}");
    let mut request = Request::get(&target);
    for (name, value) in [
        ("Authorization", format!("Bearer {CANARY}")),
        ("Proxy-Authorization", format!("Basic {CANARY}")),
        ("Cookie", format!("a={CANARY}")),
        ("X-Token", CANARY.to_owned()),
        ("X-Api-Token", CANARY.to_owned()),
        ("x-goog-api-key", CANARY.to_owned()),
        ("X-Amz-Security-Token", CANARY.to_owned()),
        ("Referer", format!("http://a/b?x=1&session_id={CANARY}")),
        ("X-Original-URL", format!("/a?x=1;secret={CANARY}")),
    ] {
        request = request.header(name, &value);
    }
    gateway.send(request).await.expect(302);
    let shown = watched.next().await.data;
    let text = shown.to_string();
    assert!(!text.contains(CANARY), "{text}");
    assert!(text.contains("shown=1") && text.contains("[redacted]"), "{text}");
    assert!(upstream.last().target.contains(CANARY), "only what is shown loses them");
    // Over HTTP/2 as well.
    h2c::get(gateway.h2c, "a", &format!("/s/y?token={CANARY}")).await;
    let shown = watched.next().await.data.to_string();
    assert!(shown.contains("/s/y?token=[redacted]") && !shown.contains(CANARY), "{shown}");
}

#[tokio::test]
async fn each_filter_shows_what_matches_and_nothing_else() {
    let gateway = Gateway::start().await;
    let upstream = Upstream::answering(|seen| {
        if seen.target.ends_with("/bad") {
            return respond(503, &[], "");
        }
        if seen.target.ends_with("/slow") {
            std::thread::sleep(Duration::from_millis(150));
        }
        ok("fine")
    })
    .await;
    gateway.serve_with("/a/*", &[upstream.address], json!({"plugins": ["discovery", "tracing"]})).await;
    gateway.serve("/b/*", &[upstream.address]).await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let route = crate::support::gateway::md5("/a/*");
    let mut cases = Vec::new();
    for (query, expected) in [
        ("method=post", "/b/post"),
        ("path=/b/b", "/b/bad"),
        ("status=5xx", "/b/bad"),
        ("status=404", "/none"),
        ("min_latency_ms=100", "/a/slow"),
        (&format!("route={route}&min_latency_ms=100"), "/a/slow"),
        ("service=service-1&method=POST", "/b/post"),
        (&format!("trace_id={trace}"), "/a/traced"),
        ("client=127.0.0.0/8&path=/b/post", "/b/post"),
    ] {
        cases.push((query.to_owned(), expected, requests(&gateway, query).await));
    }
    let mut nobody = vec![
        requests(&gateway, "client=10.0.0.0/8").await,
        requests(&gateway, "service=other").await,
        requests(&gateway, "trace_id=other").await,
    ];
    gateway.get("/a/slow").await.expect(200);
    gateway.get("/b/bad").await.expect(503);
    gateway.get("/none").await.expect(404);
    gateway.send(Request::new("POST", "/b/post").body("x")).await.expect(200);
    let traced = Request::get("/a/traced").header("Traceparent", &format!("00-{trace}-00f067aa0ba902b7-01"));
    gateway.send(traced).await.expect(200);
    for (query, expected, stream) in &mut cases {
        let shown = stream.next().await;
        assert_eq!(shown.data["received"]["target"], **expected, "{query}");
    }
    for stream in cases.iter_mut().map(|(.., stream)| stream).chain(&mut nobody) {
        let more = stream.within(Duration::from_millis(50)).await;
        assert!(more.is_empty(), "{more:?}");
    }
}

#[tokio::test]
async fn nothing_is_copied_when_nobody_watches() {
    let gateway = Gateway::start().await;
    let upstream = Upstream::echo().await;
    gateway.serve("/s/*", &[upstream.address]).await;
    let watched = requests(&gateway, "").await;
    drop(watched);
    // The gateway learns of it when it writes, or reads the end of the connection.
    let number = |shown: &Event| shown.data["id"].as_u64().unwrap();
    eventually("the one that left is gone", || async {
        let mut one = requests(&gateway, "path=/s/probe").await;
        let mut seen = Vec::new();
        for _ in 0..2 {
            gateway.get("/s/nobody-wants-this").await.expect(200);
            gateway.get("/s/probe").await.expect(200);
            seen.push(number(&one.next().await));
        }
        // Numbers are given to what is copied: none in between.
        seen[1] == seen[0] + 1
    })
    .await;
    let first = {
        let mut one = requests(&gateway, "path=/s/a").await;
        gateway.get("/s/a").await.expect(200);
        number(&one.next().await)
    };
    for _ in 0..50 {
        gateway.get("/s/b").await.expect(200);
    }
    let mut one = requests(&gateway, "path=/s/a").await;
    gateway.get("/s/a").await.expect(200);
    assert_eq!(number(&one.next().await), first + 1);
}

#[tokio::test]
async fn streams_need_a_login_and_end_when_the_gateway_stops() {
    let mut gateway = Gateway::start().await;
    for path in [
        "/admin/v2/events",
        "/admin/v2/requests",
        "/admin/v2/state/services",
        "/admin/v2/gateways",
        "/admin/v2/figures",
    ] {
        Request::get(path).send(gateway.admin).await.expect(401);
        Request::get(path).header("X-Token", "wrong").send(gateway.admin).await.expect(401);
    }
    let mut events = events(&gateway).await;
    gateway.process().signal("TERM");
    while let Ok(Some(_)) = events.try_next().await {}
    assert!(gateway.process().ended().await.success());
}

#[tokio::test]
async fn streams_pass_the_data_ports_too() {
    let gateway = Gateway::with(json!({"admin": {"on_gateway_ports": true}})).await;
    let listen = Request::get("/admin/v2/events").header("X-Api-Token", TOKEN);
    let mut events = Stream::open(gateway.http, listen).await;
    gateway.node("a", free_address(), 1).await;
    events.until("the node", |event| event.name == "config" && event.data["kind"] == "nodes").await;
}

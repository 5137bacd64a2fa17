//! What is going on: streams of events and requests, gateways and figures.

use std::time::Duration;

use futures::StreamExt as _;
use http::HeaderValue;

use super::*;
use crate::admin::LiveDeps;
use crate::cluster::{Cluster, Report};
use crate::telemetry::{Events, Figures, Filter, Point, Series, Tap};

pub(super) fn deps(store: &Arc<MemoryStore>) -> LiveDeps {
    let events = Arc::<Events>::default();
    let report = || Report { hostname: "here".into(), stored_revision: 9, applied_revision: 7, ..Report::default() };
    let point = Point { at: 0, figures: Figures { requests: 3, ..Figures::default() } };
    LiveDeps {
        cluster: Cluster::new(Arc::clone(store) as _, P, Arc::new(report), Arc::clone(&events)),
        events,
        tap: Arc::<Tap>::default(),
        services: Arc::new(|name| {
            let all = vec![json!({"name": "a"}), json!({"name": "b"})];
            all.into_iter().filter(|one| name.is_none_or(|name| one["name"] == name)).collect()
        }),
        figures: Arc::new(move |of_nodes, since| {
            let names = if of_nodes { ["n", "s"] } else { ["r", "s"] };
            let point = Point { at: since + 10, ..point };
            vec![Series { names: names.map(str::to_owned), points: vec![point] }]
        }),
    }
}

/// A stream, once its head has come.
async fn stream(api: &Api, path: &str, headers: &[(&str, &str)]) -> axum::body::BodyDataStream {
    let mut all = vec![("x-api-token", API_TOKEN)];
    all.extend(headers);
    let response = api.router.clone().oneshot(request(Method::GET, path, &all, "")).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    response.into_body().into_data_stream()
}

/// The next event: its lines by their field, data read.
async fn next(stream: &mut axum::body::BodyDataStream) -> (String, String, Value) {
    let bytes = stream.next().await.unwrap().unwrap();
    let text = std::str::from_utf8(&bytes).unwrap().to_owned();
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_default().trim_start_matches(": ").to_owned()
    };
    (field("event"), field("id"), serde_json::from_str(&field("data")).unwrap())
}

#[tokio::test]
async fn events_are_streamed_and_gone_on_with() {
    let api = Api::new();
    let mut first = stream(&api, "/admin/v2/events", &[]).await;
    api.live.events.tell("node", json!({"service": "s", "to": "unhealthy"}));
    api.live.events.tell("node", json!({"service": "s", "to": "healthy"}));
    let (kind, id, data) = next(&mut first).await;
    assert_eq!((kind.as_str(), id.parse::<u64>().ok()), ("node", data["id"].as_u64()));
    assert_eq!((&data["type"], &data["to"]), (&json!("node"), &json!("unhealthy")));
    assert!(data["time"].as_str().unwrap().ends_with('Z'), "{data}");
    drop(first);
    let mut again = stream(&api, "/admin/v2/events", &[("last-event-id", &id)]).await;
    assert_eq!(next(&mut again).await.2["to"], "healthy");
    let mut missed = stream(&api, "/admin/v2/events", &[("last-event-id", "1")]).await;
    let (kind, before, _) = next(&mut missed).await;
    assert_eq!(kind, "missed");
    assert_eq!(next(&mut missed).await.1.parse::<u64>().unwrap(), before.parse::<u64>().unwrap() + 1);
    let wrong = request(Method::GET, "/admin/v2/events", &[("x-api-token", API_TOKEN), ("last-event-id", "x")], "");
    assert_eq!(api.send(wrong).await.status, 400);
}

#[tokio::test]
async fn one_listener_too_many_is_refused_and_others_are_not_disturbed() {
    let api = Api::new();
    let mut streams = Vec::new();
    for _ in 0..64 {
        streams.push(stream(&api, "/admin/v2/events", &[]).await);
    }
    let refused = api.call(Method::GET, "/admin/v2/events", "").await;
    assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (503, Some("1")));
    // Nobody reads them; who tells of something does not notice.
    (0..1000).for_each(|n| api.live.events.tell("node", json!({"n": n})));
    drop(streams);
    drop(stream(&api, "/admin/v2/events", &[]).await);
}

#[tokio::test(start_paused = true)]
async fn a_stream_lives_on_by_heartbeats_and_ends_with_its_login() {
    let api = Api::new();
    let token = api.login().await;
    let call = request(Method::GET, "/admin/v2/events", &[("x-token", &token)], "");
    let mut events = api.router.clone().oneshot(call).await.unwrap().into_body().into_data_stream();
    for _ in 0..10 {
        assert_eq!(&events.next().await.unwrap().unwrap()[..], b":\n\n");
    }
    let out = request(Method::POST, "/admin/logout", &[("x-token", &token)], "");
    assert_eq!(api.send(out).await.status, 200);
    let ends = async { while events.next().await.is_some() {} };
    tokio::time::timeout(Duration::from_secs(60), ends).await.expect("the stream ends within a minute");
}

#[tokio::test]
async fn requests_are_watched_as_long_as_the_stream_is_there() {
    let api = Api::new();
    assert!(!api.live.tap.is_on());
    let requests = stream(&api, "/admin/v2/requests?status=5xx&rate=5", &[]).await;
    assert!(api.live.tap.is_on());
    drop(requests);
    assert!(!api.live.tap.is_on());
    for (query, status) in
        [("status=6xx", 422), ("rate=0", 422), ("client=x", 422), ("unknown=1", 400), ("rate=x", 400)]
    {
        let refused = api.call(Method::GET, &format!("/admin/v2/requests?{query}"), "").await;
        assert_eq!(refused.status.as_u16(), status, "{query}: {}", refused.body);
    }
    assert!(!api.live.tap.is_on());
    let _watchers: Vec<_> = (0..16).map(|_| api.live.tap.watch(Filter::default()).unwrap()).collect();
    assert_eq!(api.call(Method::GET, "/admin/v2/requests", "").await.status, 503);
}

#[tokio::test]
async fn services_gateways_and_figures_are_shown() {
    let api = Api::new();
    let get = async |path: &str| api.call(Method::GET, path, "").await;
    let all = get("/admin/v2/state/services").await.json();
    assert_eq!(all["services"].as_array().unwrap().len(), 2);
    assert_eq!(get("/admin/v2/state/services/b").await.json()["name"], "b");
    assert_eq!(get("/admin/v2/state/services/c").await.status, 404);
    let own = format!("/admin/v2/state/services?gateway={}", api.live.cluster.id());
    assert_eq!(get(&own).await.json(), all);
    let gone = get("/admin/v2/state/services/b?gateway=gone").await;
    assert!(gone.status == 404 && gone.body.contains("there is no gateway"), "{}", gone.body);
    assert_eq!(get("/admin/v2/state/services?gatewy=x").await.status, 400);
    let gateways = get("/admin/v2/gateways").await.json();
    let own = &gateways["gateways"][0];
    assert_eq!((&own["self"], &own["lag"], &own["hostname"]), (&json!(true), &json!(2), &json!("here")), "{own}");
    let figures = get("/admin/v2/figures?by=node").await.json();
    assert_eq!((&figures["series"][0]["id"], &figures["series"][0]["total"]["requests"]), (&json!("n"), &json!(3)));
    assert_eq!(figures["gateways"][0]["missing"], Value::Null);
    assert_eq!(get("/admin/v2/figures?by=host").await.status, 400);
    assert_eq!(get("/admin/v2/figures?step=7").await.status, 422);
}

/// An API whose cluster has a secret.
async fn clustered() -> (Api, Vec<u8>) {
    let api = Api::new();
    let cluster = Arc::clone(&api.live.cluster);
    tokio::spawn(Arc::clone(&cluster).follow());
    let (stay, stopped) = tokio::sync::watch::channel(false);
    tokio::spawn(cluster.keep(stopped));
    std::mem::forget(stay);
    let key = format!("{P}gw/secrets/peer");
    let mut secret = Vec::new();
    eventually("the secret is known", async || {
        use crate::store::Store as _;
        let Some(stored) = api.store.get(&key).await.unwrap() else { return false };
        let stored: Value = serde_json::from_slice(&stored.value).unwrap();
        secret = hex::decode(stored["secret"].as_str().unwrap()).unwrap();
        let made = credential(&api, &secret, "/admin/v2/figures", 0);
        ask(&api, Method::GET, "/admin/v2/figures", &made).await == 200
    })
    .await;
    (api, secret)
}

/// A credential made now, or so many seconds from now.
fn credential(api: &Api, secret: &[u8], target: &str, shift: i64) -> String {
    use hmac::{Hmac, KeyInit as _, Mac as _};
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let time = now.checked_add_signed(shift).unwrap();
    let mut code = Hmac::<sha2::Sha256>::new_from_slice(secret).unwrap();
    code.update(format!("gateway to gateway, 1\nother\n{}\nGET\n{target}\n{time}\n", api.live.cluster.id()).as_bytes());
    format!("other;{time};{}", hex::encode(code.finalize().into_bytes()))
}

async fn ask(api: &Api, method: Method, target: &str, credential: &str) -> u16 {
    let mut call = request(method, target, &[], r#"{"level":"debug"}"#);
    call.headers_mut().insert("x-gateway-credential", HeaderValue::from_str(credential).unwrap());
    api.send(call).await.status.as_u16()
}

#[tokio::test]
async fn a_gateway_is_let_in_for_figures_and_states_and_nothing_else() {
    let (api, secret) = clustered().await;
    let good = |target: &str| credential(&api, &secret, target, 0);
    let raw = "/admin/v2/figures?by=route&scope=self&raw=true";
    for target in [raw, "/admin/v2/state/services", "/admin/v2/state/services/a"] {
        assert_eq!(ask(&api, Method::GET, target, &good(target)).await, 200, "{target}");
    }
    // Signed as it should be, for what it is not for.
    for (method, target) in [
        (Method::GET, "/admin/v2/status"),
        (Method::GET, "/admin/v2/gateways"),
        (Method::GET, "/admin/v2/requests"),
        (Method::GET, "/admin/v2/state/servicesx"),
        (Method::GET, "/admin/v2/services/a"),
        (Method::GET, "/admin/v2/figures/x"),
        (Method::PUT, "/admin/v2/log-level"),
        (Method::POST, "/admin/v2/figures"),
        (Method::DELETE, "/admin/v2/services/a"),
    ] {
        assert_eq!(ask(&api, method.clone(), target, &good(target)).await, 403, "{method} {target}");
    }
    assert_eq!(ask(&api, Method::GET, "/admin/routes/list", &good("/admin/routes/list")).await, 401, "the old API");
    assert_eq!(*api.level.lock().unwrap(), "info");
}

#[tokio::test]
async fn forged_replayed_and_redirected_credentials_are_refused() {
    let (api, secret) = clustered().await;
    let target = "/admin/v2/figures?by=route&scope=self&raw=true";
    let good = credential(&api, &secret, target, 0);
    let (elsewhere, _) = clustered().await;
    for (what, forged) in [
        ("another secret", credential(&api, &[7; 32], target, 0)),
        ("an empty secret", credential(&api, b"", target, 0)),
        ("replayed after the window", credential(&api, &secret, target, -31)),
        ("made ahead", credential(&api, &secret, target, 40)),
        ("for another gateway", credential(&elsewhere, &secret, target, 0)),
        ("for another target", credential(&api, &secret, "/admin/v2/figures", 0)),
        ("another time", good.replacen(';', ";1", 1)),
        ("cut", good[..good.len() - 2].to_owned()),
        ("none", String::new()),
        ("words", "let me in".to_owned()),
    ] {
        assert_eq!(ask(&api, Method::GET, target, &forged).await, 401, "{what}: {forged}");
    }
    assert_eq!(ask(&api, Method::GET, target, &good).await, 200);
}

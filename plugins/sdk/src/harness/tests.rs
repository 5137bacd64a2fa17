use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::json;

use super::*;
use crate::{
    BodyMode, BoxFuture, Environment, Flow, KeyChange, Outcome, Phases, RequestCtx, RequestHead, RequestState,
    ResponseHead, UpstreamChoice,
};

#[derive(Debug, Default, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Config {
    answer: Option<u16>,
    answer_waiting: Option<u16>,
    buffer: Option<usize>,
    refuse_body: bool,
    grow_body: bool,
    keep_length: bool,
    exclude: Option<SocketAddr>,
    prefer: Option<SocketAddr>,
}

/// Writes down every call, in the state of the request.
struct Recorder<const PRIORITY: i32>(Config);

#[derive(Debug, Clone, Default)]
struct Calls(Vec<String>);

impl<const P: i32> Recorder<P> {
    fn record(state: &mut RequestState, what: &str) {
        if state.get::<Calls>().is_none() {
            state.insert(Calls::default());
        }
        state.get_mut::<Calls>().unwrap().0.push(format!("{P} {what}"));
    }

    fn piece(body: Option<&Bytes>, end: bool) -> String {
        format!("{:?}{}", body.map_or("-", |b| std::str::from_utf8(b).unwrap()), if end { " end" } else { "" })
    }
}

fn answer(status: Option<u16>) -> Flow {
    status.map_or(Flow::Continue, |status| Response::new(StatusCode::from_u16(status).unwrap()).into())
}

impl<const P: i32> Plugin for Recorder<P> {
    const NAME: &'static str = if P > 5 { "high" } else { "low" };
    const VERSION: &'static str = "v1.0";
    const DESCRIPTION: &'static str = "writes down every call";
    const PRIORITY: i32 = P;
    const PHASES: Phases = Phases::all();
    type Config = Config;

    fn new(config: Config) -> Result<Self, ConfigError> {
        Ok(Self(config))
    }

    fn start(&self, env: &Env) {
        env.counter("started").add(1);
    }

    fn request_body_mode(&self) -> BodyMode {
        self.0.buffer.map_or(BodyMode::Stream, BodyMode::Buffer)
    }

    fn response_body_mode(&self) -> BodyMode {
        self.0.buffer.map_or(BodyMode::Stream, BodyMode::Buffer)
    }

    fn request_filter(&self, request: &mut RequestCtx<'_>) -> Flow {
        Self::record(request.state, "request");
        request.head.append_header(HeaderName::from_static("x-seen"), HeaderValue::from(P));
        answer(self.0.answer)
    }

    fn request_filter_async<'a>(&'a self, request: &'a mut RequestCtx<'_>) -> BoxFuture<'a, Flow> {
        Box::pin(async {
            tokio::task::yield_now().await;
            Self::record(request.state, "request async");
            answer(self.0.answer_waiting)
        })
    }

    fn upstream_peer(&self, request: &mut RequestCtx<'_>, choice: &mut UpstreamChoice) {
        Self::record(request.state, &format!("peer {}", choice.attempt));
        self.0.exclude.into_iter().for_each(|node| choice.exclude(node));
        self.0.prefer.into_iter().for_each(|node| choice.prefer(node));
    }

    fn upstream_request_filter(&self, state: &mut RequestState, upstream: &mut dyn RequestHead) {
        Self::record(state, "upstream request");
        upstream.append_header(HeaderName::from_static("x-sent"), HeaderValue::from(P));
    }

    fn request_body_filter(
        &self,
        state: &mut RequestState,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
    ) -> Result<(), Box<Response>> {
        Self::record(state, &format!("request body {}", Self::piece(body.as_ref(), end_of_stream)));
        if self.0.refuse_body { Err(Box::new(Response::new(StatusCode::IM_A_TEAPOT))) } else { Ok(()) }
    }

    fn response_filter(&self, state: &mut RequestState, response: &mut dyn ResponseHead) {
        Self::record(state, &format!("response {}", response.status().as_u16()));
        if self.0.grow_body && !self.0.keep_length {
            response.remove_header(&header::CONTENT_LENGTH);
        }
    }

    fn response_body_filter(&self, state: &mut RequestState, body: &mut Option<Bytes>, end_of_stream: bool) {
        Self::record(state, &format!("response body {}", Self::piece(body.as_ref(), end_of_stream)));
        if end_of_stream && self.0.grow_body {
            *body = Some(Bytes::from([body.take().unwrap_or_default(), Bytes::from_static(b"!")].concat()));
        }
    }

    fn logging(&self, state: &mut RequestState, outcome: &Outcome) {
        Self::record(state, &format!("logging {} {}", outcome.status.unwrap().as_u16(), outcome.body_bytes));
    }
}

type High = Recorder<10>;
type Low = Recorder<1>;

fn harness(low: Value, high: Value) -> Harness {
    Harness::new::<Low>(low).unwrap().with::<High>(high).unwrap()
}

fn calls(out: &Exchange) -> Vec<&str> {
    out.state.get::<Calls>().unwrap().0.iter().map(String::as_str).collect()
}

#[tokio::test]
async fn phases_run_in_order_and_plugins_by_priority() {
    let harness = harness(json!({"buffer": 10}), json!({})).chunk_size(2);
    let out = harness.upstream_answers(|_| Response::text(StatusCode::OK, "xyz")).post("/a?b", "abc").send().await;
    assert_eq!(
        calls(&out),
        [
            "10 request",
            "10 request async",
            "1 request",
            "1 request async",
            "10 peer 1",
            "1 peer 1",
            "10 upstream request",
            "1 upstream request",
            r#"10 request body "ab""#,
            r#"10 request body "c""#,
            r#"10 request body "-" end"#,
            r#"1 request body "abc" end"#,
            "10 response 200",
            "1 response 200",
            r#"10 response body "xy""#,
            r#"10 response body "z""#,
            r#"10 response body "-" end"#,
            r#"1 response body "xyz" end"#,
            "10 logging 200 3",
            "1 logging 200 3",
        ]
    );
    let upstream = out.upstream();
    assert_eq!((upstream.method.as_str(), &*upstream.target, upstream.text()), ("POST", "/a?b", "abc"));
    assert_eq!(upstream.headers.get_all("x-seen").iter().collect::<Vec<_>>(), ["10", "1"]);
    assert_eq!(upstream.headers.get_all("x-sent").iter().collect::<Vec<_>>(), ["10", "1"]);
    assert_eq!(out.text(), "xyz");
}

#[tokio::test]
async fn an_answer_ends_the_phase_and_is_filtered_and_logged() {
    for (field, filters) in [("answer", &["10 request"][..]), ("answer_waiting", &["10 request", "10 request async"])] {
        let out = harness(json!({}), json!({field: 403})).get("/").send().await;
        let after = ["10 response 403", "1 response 403", "10 logging 403 0", "1 logging 403 0"];
        assert_eq!(calls(&out), [filters, &after].concat());
        assert_eq!((out.status().as_u16(), out.answered_by, out.reached_upstream()), (403, Some("high"), false));
    }
}

#[tokio::test]
async fn buffers_have_limits() {
    let out = harness(json!({"buffer": 2}), json!({})).post("/", "abc").send().await;
    assert_eq!((out.status(), out.reached_upstream()), (StatusCode::PAYLOAD_TOO_LARGE, false));

    let out = harness(json!({"buffer": 2}), json!({})).get("/").send().await;
    assert_eq!((out.status(), out.text()), (StatusCode::BAD_GATEWAY, ""));

    let out = harness(json!({"buffer": 19}), json!({})).get("/").send().await;
    assert_eq!((out.status(), out.text()), (StatusCode::OK, "hello from upstream"));
}

#[tokio::test]
async fn a_body_filter_may_refuse() {
    let out = harness(json!({"refuse_body": true}), json!({})).post("/", "abc").send().await;
    assert_eq!((out.status(), out.answered_by), (StatusCode::IM_A_TEAPOT, Some("low")));
}

#[tokio::test]
async fn a_body_may_grow_when_its_length_is_not_announced() {
    let out = harness(json!({"grow_body": true}), json!({})).get("/").send().await;
    assert_eq!((out.text(), out.header("content-length")), ("hello from upstream!", None));

    let broken = harness(json!({"grow_body": true, "keep_length": true}), json!({}));
    let panicked = tokio::spawn(async move { broken.get("/").send().await }).await.unwrap_err().into_panic();
    assert_eq!(
        panicked.downcast_ref::<String>().unwrap(),
        "a plugin made the body 20 bytes long and left `Content-Length: \"19\"`: remove it in response_filter"
    );
}

#[tokio::test]
async fn plugins_narrow_the_choice_of_a_node() {
    let [a, b, c] = [1, 2, 3].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    let harness = |settings| harness(settings, json!({})).nodes([a, b, c]);
    let check = async |harness: Harness, node| {
        assert_eq!(harness.get("/").send().await.upstream().node, node);
    };
    check(harness(json!({})), a).await;
    check(harness(json!({"exclude": a})), b).await;
    check(harness(json!({"prefer": c})), c).await;
    check(harness(json!({"prefer": "127.0.0.1:9"})), a).await;
    check(harness(json!({"prefer": c})).failing_tries(1), a).await;

    let out = harness(json!({"exclude": a})).failing_tries(1).get("/").send().await;
    assert_eq!((out.upstream().node, out.choice.attempt, out.choice.excluded()), (c, 2, &[a][..]));
    let out = harness(json!({})).failing_tries(3).get("/").send().await;
    assert_eq!((out.status(), out.reached_upstream()), (StatusCode::BAD_GATEWAY, false));
}

#[tokio::test]
async fn a_plugin_starts_once() {
    let harness = harness(json!({}), json!({}));
    assert_eq!(harness.environment_of("low").count("started"), 0);
    harness.get("/").send().await;
    harness.get("/").send().await;
    assert_eq!(
        (harness.environment_of("low").count("started"), harness.environment_of("high").count("started")),
        (1, 1)
    );
}

#[test]
fn paths_come_in_decoded_and_go_out_encoded() {
    let check = |raw, seen: &str, sent: &str| {
        assert_eq!((path::normalise(raw).as_str(), path::encode(seen, None).as_str()), (seen, sent));
    };
    check("/a", "/a", "/a");
    check("/%61%2f%E7%94%A8", "/a%2F用", "/a%2F%E7%94%A8");
    check("/a%25b", "/a%25b", "/a%25b");
    assert_eq!(path::encode("/a b?c#d%zz\r\n", Some("x=%2f")), "/a%20b%3Fc%23d%25zz%0D%0A?x=%2f");
}

#[tokio::test]
async fn keys_can_be_watched() {
    let env = TestEnvironment::new();
    let keys = env.keys();
    keys.put("a/1", Bytes::from_static(b"one")).await.unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let task = keys.watch({
        let seen = seen.clone();
        Box::new(move |KeyChange { key, value }| seen.lock().unwrap().push((key, value.is_some())))
    });
    keys.put("a/2", Bytes::from_static(b"two")).await.unwrap();
    keys.delete("a/1").await.unwrap();
    keys.delete("never").await.unwrap();
    drop(task);
    keys.put("a/3", Bytes::new()).await.unwrap();
    assert_eq!(*seen.lock().unwrap(), [("a/1".to_owned(), true), ("a/2".to_owned(), true), ("a/1".to_owned(), false)]);
    let listed: Vec<_> = keys.list("a/").await.unwrap().into_iter().map(|(key, _)| key).collect();
    assert_eq!((listed, keys.get("a/2").await.unwrap()), (vec!["a/2".into(), "a/3".into()], Some("two".into())));

    env.set_store_available(false);
    assert_eq!(keys.get("a/2").await.unwrap_err().to_string(), "the store is unavailable: the test took it away");
}

#[tokio::test]
async fn tasks_stop_and_the_clock_stands() {
    let env = TestEnvironment::new();
    let (tx, mut rx) = tokio::sync::mpsc::channel::<()>(1);
    let task = env.spawn(Box::pin(async move {
        std::future::pending::<()>().await;
        drop(tx);
    }));
    drop(task);
    assert_eq!(rx.recv().await, None, "the task was dropped");

    let before = env.now();
    env.advance(Duration::from_secs(60));
    assert_eq!(env.now().duration_since(before).unwrap(), Duration::from_secs(60));
    env.set_secret("key", "value");
    assert_eq!(
        (env.secret("key"), env.for_another_plugin().secret("key")),
        (Some("value".into()), Some("value".into()))
    );
}

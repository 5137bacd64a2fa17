//! Explaining over a compiler of its own, with plugins that do what they are told.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Deserialize;
use ws_cloud_plugin_sdk::http::{HeaderName, HeaderValue, StatusCode};
use ws_cloud_plugin_sdk::{
    self as sdk, BoxFuture, ConfigError, Env, Factory, Flow, Phases, RequestCtx, RequestHead, RequestState,
    UpstreamChoice, schemars,
};

use super::*;
use crate::pipeline::Registry;
use crate::snapshot::{Checker, CompileOptions, Compiler, Handle, Publish as _, ServiceDefaults};
use crate::telemetry::Metrics;
use crate::upstream::UpstreamOptions;

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    act: String,
    #[serde(default)]
    burst: u32,
}

/// Does what it is told; a limiter that has nothing to give when told nothing.
struct Obedient {
    config: Config,
    taken: AtomicU64,
}

const X_SEEN: HeaderName = HeaderName::from_static("x-seen");
const X_API_TOKEN: HeaderName = HeaderName::from_static("x-api-token");

impl sdk::Plugin for Obedient {
    const NAME: &'static str = "obedient";
    const VERSION: &'static str = "v1.0";
    const DESCRIPTION: &'static str = "does what it is told";
    const PRIORITY: i32 = 1;
    const PHASES: Phases =
        Phases::REQUEST.union(Phases::REQUEST_ASYNC).union(Phases::UPSTREAM_PEER).union(Phases::UPSTREAM_REQUEST);
    type Config = Config;

    fn new(config: Config) -> Result<Self, ConfigError> {
        Ok(Self { config, taken: AtomicU64::new(0) })
    }

    fn request_filter(&self, request: &mut RequestCtx<'_>) -> Flow {
        match self.config.act.as_str() {
            "panic" => panic!("as told"),
            "block" => std::thread::sleep(std::time::Duration::from_secs(5)),
            "answer" => return sdk::Response::text(StatusCode::IM_A_TEAPOT, "no coffee").into(),
            "limit" if self.config.burst == 0 => {
                let is_preview = request.is_preview();
                let taken = if is_preview {
                    self.taken.load(Ordering::Relaxed)
                } else {
                    self.taken.fetch_add(1, Ordering::Relaxed)
                };
                request.head.insert_header(X_SEEN, taken.into());
            }
            "secret" => {
                request.head.insert_header(http::header::AUTHORIZATION, HeaderValue::from_static("hush"));
                request.head.insert_header(X_API_TOKEN, HeaderValue::from_static("hush"));
            }
            _ => {}
        }
        Flow::Continue
    }

    fn request_filter_async<'a>(&'a self, _: &'a mut RequestCtx<'_>) -> BoxFuture<'a, Flow> {
        match self.config.act.as_str() {
            "wait" => Box::pin(std::future::pending()),
            _ => Box::pin(std::future::ready(Flow::Continue)),
        }
    }

    fn upstream_peer(&self, _: &mut RequestCtx<'_>, choice: &mut UpstreamChoice) {
        if self.config.act == "avoid" {
            choice.exclude("127.0.0.1:1".parse().unwrap());
        }
    }

    fn upstream_request_filter(&self, _: &mut RequestState, upstream: &mut dyn RequestHead) {
        if self.config.act == "panic late" {
            panic!("as told, late");
        }
        if self.config.act == "secret" {
            upstream.append_header(http::header::AUTHORIZATION, HeaderValue::from_static("more"));
        }
        upstream.insert_header(X_SEEN, HeaderValue::from_static("late"));
    }
}

fn explainer(objects: &[(&str, Value)]) -> Arc<Explainer> {
    let registry = Registry::new(vec![Factory::of::<Obedient>()], &[]).unwrap();
    let rules = PathRules::default();
    let options = CompileOptions {
        checker: Arc::new(Checker::new(registry, rules, Vec::new(), Vec::new())),
        services: ServiceDefaults { upstream: UpstreamOptions::default(), ..ServiceDefaults::default() },
        names: Arc::default(),
        metrics: Metrics::new(100),
        env: Box::new(|_| Env::new(Arc::new(sdk::harness::TestEnvironment::new()))),
    };
    let mut compiler = SharedCompiler::new(Compiler::new(options, Arc::new(Handle::default())));
    let change = |(key, value): &(&str, Value)| Change {
        key: (*key).to_owned(),
        value: Some(value.to_string().into()),
        revision: 7,
    };
    compiler.replace(7, &mut objects.iter().map(change));
    let options = ExplainOptions {
        rules,
        trusted_proxies: TrustedProxies::default(),
        underscores: Underscores::Drop,
        max_body_size: 100,
        admin_on_gateway_ports: false,
    };
    Arc::new(Explainer::new(options, compiler))
}

/// A route to two nodes, with the plugin told so.
fn told(act: &str) -> Arc<Explainer> {
    let node = |port: u16| json!({"service_name": "s", "upstream": format!("127.0.0.1:{port}"), "weight": 1});
    explainer(&[
        (
            "routes/r",
            json!({"prefix": "/*", "service_name": "s", "status": 1, "plugins": ["obedient"], "props": {"obedient": {"act": act}}}),
        ),
        ("discovery/s.1", node(1)),
        ("discovery/s.2", node(2)),
    ])
}

async fn ask(explainer: &Arc<Explainer>, question: Value) -> Explanation {
    explainer.explain(&Asked::parse(question).unwrap(), None).await.unwrap()
}

#[tokio::test]
async fn a_hook_that_panics_is_the_500_it_would_be() {
    let out = ask(&told("panic"), json!({"url": "/a"})).await;
    assert_eq!((out.outcome, out.status), (Outcome::Refused, Some(500)));
    assert_eq!(out.plugins[0].effects.panics.as_deref(), Some("as told"));
    let out = ask(&told("panic late"), json!({"url": "/a"})).await;
    assert_eq!((out.outcome, out.status), (Outcome::Refused, Some(500)));
}

#[tokio::test]
async fn a_hook_that_does_not_come_back_ends_the_explanation_there() {
    for act in ["wait", "block"] {
        let out = ask(&told(act), json!({"url": "/a"})).await;
        assert_eq!((out.outcome, out.plugins[0].effects.timed_out), (Outcome::Unknown, true), "{act}");
        assert_eq!((out.route.as_deref(), out.service.unwrap().nodes.len()), (Some("r"), 2), "the rest is told");
    }
}

#[tokio::test]
async fn a_place_is_kept_until_the_hook_comes_back() {
    let explainer = told("block");
    let all = (0..AT_A_TIME).map(|_| ask(&explainer, json!({"url": "/a"})));
    futures::future::join_all(all).await;
    let asked = Asked::parse(json!({"url": "/a"})).unwrap();
    assert_eq!(explainer.explain(&asked, None).await.unwrap_err(), Unexplained::Busy);
}

#[tokio::test]
async fn an_answer_of_a_plugin_is_shown_and_the_service_is_not_asked() {
    let out = ask(&told("answer"), json!({"url": "/a"})).await;
    assert_eq!((out.outcome, out.status), (Outcome::Answered, Some(418)));
    assert_eq!(out.plugins[0].effects.response.as_ref().unwrap().body, "no coffee");
    assert!(out.upstream.is_none());
}

#[tokio::test]
async fn a_limiter_looks_and_takes_nothing() {
    let explainer = told("limit");
    for _ in 0..3 {
        let out = ask(&explainer, json!({"url": "/a"})).await;
        assert_eq!(out.plugins[0].effects.headers.set["x-seen"], ["0"]);
        assert_eq!(out.plugins[0].effects.upstream_headers.set["x-seen"], ["late"]);
    }
}

#[tokio::test]
async fn settings_are_shown_with_their_defaults() {
    let out = ask(&told("limit"), json!({"url": "/a"})).await;
    assert_eq!(out.plugins[0].settings, json!({"act": "limit", "burst": 0}));
    assert_eq!(out.plugins[0].phases, ["request", "request_async", "upstream_peer", "upstream_request"]);
}

#[tokio::test]
async fn a_node_that_a_plugin_rules_out_is_not_chosen() {
    for _ in 0..3 {
        let out = ask(&told("avoid"), json!({"url": "/a"})).await;
        assert_eq!(out.plugins[0].effects.excludes, ["127.0.0.1:1".parse().unwrap()]);
        assert_eq!(out.service.unwrap().choice.unwrap().nodes, ["127.0.0.1:2".parse().unwrap()]);
    }
}

#[tokio::test]
async fn a_secret_that_a_plugin_adds_is_not_shown_and_one_that_was_sent_is() {
    let out = ask(&told("secret"), json!({"url": "/a", "headers": {"Authorization": "mine", "Cookie": "a=b"}})).await;
    let headers = out.upstream.unwrap().headers;
    assert_eq!(
        (&headers["authorization"], &headers["cookie"]),
        (&vec!["(hidden)".to_owned(); 2], &vec!["a=b".to_owned()])
    );
    assert_eq!(out.plugins[0].effects.headers.set["authorization"], ["(hidden)"]);
}

#[tokio::test]
async fn a_secret_of_a_plugin_stays_hidden_in_what_a_later_hook_does() {
    let out = ask(&told("secret"), json!({"url": "/a"})).await;
    assert_eq!(out.plugins[0].effects.headers.set["x-api-token"], ["(hidden)"]);
    assert_eq!(out.plugins[0].effects.upstream_headers.set["authorization"], ["(hidden)", "(hidden)"]);
    let shown = serde_json::to_string(&out).unwrap();
    assert!(!shown.contains("hush"), "{shown}");
}

#[tokio::test]
async fn more_headers_than_a_map_holds_are_refused() {
    let headers: serde_json::Map<String, Value> = (0..40_000).map(|i| (format!("h{i}"), "".into())).collect();
    match told("").answer(json!({"url": "/a", "headers": headers})).await {
        Err(Unexplained::Invalid(invalid)) => assert_eq!(invalid.path, "headers"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_is_broken_is_named() {
    let route = |service: &str| json!({"prefix": format!("/{service}/*"), "service_name": service, "status": 1});
    let mut objects = vec![
        ("routes/a", route("a")),
        ("routes/b", json!({"prefix": "/b/*", "status": 1, "protocol": "ftp"})),
        ("gw/services/a", json!({"balancer": "dice"})),
    ];
    let explainer_of = explainer(&objects);
    for (url, reason) in
        [("/a/x", "the declaration of the route's service is broken"), ("/b/x", "the route's declaration is broken")]
    {
        let out = ask(&explainer_of, json!({"url": url})).await;
        assert_eq!((out.status, out.reason.as_deref()), (Some(503), Some(reason)), "{url}");
    }
    let out = ask(&explainer_of, json!({"url": "/b/x"})).await;
    assert!(out.candidates[0].broken && out.candidates[0].rejected.as_ref().unwrap().contains("ftp"));
    objects[2] = ("gw/plugins/obedient", json!({"config": {}}));
    let out = ask(&explainer(&objects), json!({"url": "/a/x"})).await;
    assert_eq!(out.reason.as_deref(), Some("a plugin that covers all routes is broken"));
}

#[tokio::test]
async fn a_mended_service_or_plugin_opens_what_it_had_closed() {
    let explainer = explainer(&[
        ("routes/a", json!({"prefix": "/*", "service_name": "a", "status": 1})),
        ("discovery/a.1", json!({"service_name": "a", "upstream": "127.0.0.1:1"})),
        ("gw/services/a", json!({"balancer": "dice"})),
        ("gw/plugins/obedient", json!({"config": {}})),
    ]);
    let ask = async |change: Value| explainer.answer(json!({"url": "/x", "change": change})).await.unwrap();
    let answer = ask(json!({"path": "services/a", "value": {"balancer": "random"}})).await;
    assert_eq!(answer["reason"], "a plugin that covers all routes is broken");
    let answer = ask(json!({"path": "global-plugins/obedient", "value": null})).await;
    assert_eq!(answer["reason"], "the declaration of the route's service is broken");
    assert_eq!(answer["without_change"]["reason"], "a plugin that covers all routes is broken");
}

#[tokio::test]
async fn a_wrong_question_names_its_field() {
    let explainer = told("");
    for (question, field) in [
        (json!({}), ""),
        (json!({"url": "a"}), "url"),
        (json!({"url": "ftp://a/b"}), "url"),
        (json!({"url": "http://user@a/b"}), "url"),
        (json!({"url": "/a", "methd": "GET"}), "methd"),
        (json!({"url": "/a", "method": "a b"}), "method"),
        (json!({"url": "/a", "headers": {"a b": "c"}}), "headers.a b"),
        (json!({"url": "/a", "headers": {"a": "c\nd"}}), "headers.a"),
        (json!({"url": "/a", "client_ip": "here"}), "client_ip"),
        (json!({"url": "/a", "headers": {"a": "x".repeat(70_000)}}), "headers"),
        (json!({"url": "/a", "change": {"path": "routes/r"}}), "change"),
        (json!({"url": "/a", "change": {"path": "routes/", "value": {}}}), "change.path"),
        (json!({"url": "/a", "change": {"path": "routes/r", "value": {"status": 1}}}), "change.value"),
        (
            json!({"url": "/a", "change": {"path": "routes/r", "value": {"prefix": "/(", "hosts": ["a b"]}}}),
            "change.value.hosts[0]",
        ),
    ] {
        match explainer.answer(question.clone()).await {
            Err(Unexplained::Invalid(invalid)) => assert_eq!(invalid.path, field, "{question}: {invalid}"),
            other => panic!("{question}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_url_is_read_as_a_client_would_send_it() {
    for (url, host, path, query) in [
        ("/a?b#c", "", "/a", Some("b")),
        ("http://A.test:80", "a.test", "/", None),
        ("https://a.test?x=1", "a.test", "/", Some("x=1")),
        ("HTTP://[::1]:80/%61//b", "[::1]", "/a/b", None),
    ] {
        let request = ask(&told(""), json!({"url": url})).await.request;
        let is_tls = url.starts_with("https");
        assert_eq!(
            (&*request.host, request.path.as_deref(), request.query.as_deref(), request.tls),
            (host, Some(path), query, is_tls)
        );
    }
    let out = ask(&told(""), json!({"url": "https://a.test/", "client_ip": "::ffff:10.0.0.1"})).await;
    let headers = out.upstream.unwrap().headers;
    assert_eq!(
        (&headers["x-forwarded-proto"], &headers["x-real-ip"]),
        (&vec!["https".to_owned()], &vec!["10.0.0.1".to_owned()])
    );
}

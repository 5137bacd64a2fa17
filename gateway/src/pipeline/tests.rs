//! Order, panics, buffering and settings.

use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde_json::{Value, json};
use ws_cloud_plugin_sdk::{BoxFuture, ConfigError, Factory, Plugin};

use super::*;
use crate::telemetry::Metrics;

macro_rules! test_plugin {
    ($type:ident, $name:literal, $priority:literal, $phases:expr) => {
        struct $type(String);
        impl Plugin for $type {
            const NAME: &'static str = $name;
            const VERSION: &'static str = "v1";
            const DESCRIPTION: &'static str = "test";
            const PRIORITY: i32 = $priority;
            const PHASES: Phases = $phases;
            const LEGACY_PROPS: &'static [&'static str] = &[concat!($name, "_act")];
            type Config = Value;
            fn new(config: Value) -> Result<Self, ConfigError> {
                let flat = config.get(concat!($name, "_act"));
                let act = config.get("act").or(flat).and_then(Value::as_str).unwrap_or_default();
                if act == "refuse" { Err(ConfigError::at("act", "may not be refuse")) } else { Ok(Self(act.into())) }
            }
            fn request_filter(&self, request: &mut RequestCtx<'_>) -> Flow {
                let path = format!("{}/{}", request.path(), Self::NAME);
                request.state.set_path(path);
                match self.0.as_str() {
                    "panic" => panic!("as told"),
                    "deny" => Response::new(StatusCode::FORBIDDEN).into(),
                    _ => Flow::Continue,
                }
            }
            fn request_filter_async<'a>(&'a self, _: &'a mut RequestCtx<'_>) -> BoxFuture<'a, Flow> {
                Box::pin(async {
                    tokio::task::yield_now().await;
                    if self.0 == "panic later" {
                        panic!("as told, later")
                    }
                    Flow::Continue
                })
            }
            fn request_body_mode(&self) -> BodyMode {
                if self.0 == "buffer" { BodyMode::Buffer(8) } else { BodyMode::Stream }
            }
            fn request_body_filter(
                &self,
                _: &mut RequestState,
                body: &mut Option<Bytes>,
                _: bool,
            ) -> Result<(), Box<Response>> {
                if let Some(b) = body {
                    *b = Bytes::from(format!("[{}]", String::from_utf8_lossy(b)));
                }
                Ok(())
            }
        }
    };
}

test_plugin!(First, "first", 10, Phases::REQUEST);
test_plugin!(Beta, "beta", 5, Phases::REQUEST.union(Phases::REQUEST_BODY));
test_plugin!(Alpha, "alpha", 5, Phases::REQUEST.union(Phases::REQUEST_ASYNC));

struct Head(HeaderMap);
impl RequestHead for Head {
    fn method(&self) -> &Method {
        &Method::GET
    }
    fn headers(&self) -> &HeaderMap {
        &self.0
    }
    fn insert_header(&mut self, name: HeaderName, value: HeaderValue) {
        self.0.insert(name, value);
    }
    fn append_header(&mut self, name: HeaderName, value: HeaderValue) {
        self.0.append(name, value);
    }
    fn remove_header(&mut self, name: &HeaderName) -> Option<HeaderValue> {
        self.0.remove(name)
    }
}

fn registry() -> Registry {
    Registry::new(vec![Factory::of::<First>(), Factory::of::<Beta>(), Factory::of::<Alpha>()], &["gone".into()])
        .unwrap()
}

fn pipeline(plugins: &[(&str, &str)]) -> Pipeline {
    let registry = registry();
    Pipeline::new(plugins.iter().map(|(name, act)| registry.build(name, json!({ "act": act })).unwrap()))
}

fn state() -> RequestState {
    RequestState::new(Arc::default(), IpAddr::V4(Ipv4Addr::LOCALHOST), String::new(), None)
}

fn run(pipeline: &Pipeline) -> (Result<Flow, Panicked>, String) {
    let (mut head, mut state) = (Head(HeaderMap::new()), state());
    let flow = futures::executor::block_on(pipeline.request_filter_async(&mut RequestCtx::new(&mut head, &mut state)));
    (flow, state.path().to_owned())
}

#[test]
fn plugins_run_by_priority_then_name_whatever_the_order_of_the_list() {
    for names in [["first", "beta", "alpha"], ["alpha", "beta", "first"], ["beta", "first", "alpha"]] {
        assert_eq!(run(&pipeline(&names.map(|n| (n, "")))).1, "/first/alpha/beta");
    }
}

#[test]
fn an_answer_ends_the_phase() {
    let (flow, path) = run(&pipeline(&[("first", "deny"), ("beta", "")]));
    assert!(matches!(flow, Ok(Flow::Respond(r)) if r.status == 403));
    assert_eq!(path, "/first");
}

#[test]
fn a_panic_is_contained_and_named() {
    let (flow, _) = run(&pipeline(&[("first", "panic")]));
    assert_eq!(flow.unwrap_err(), Panicked { plugin: "first", message: "as told".into() });
    let (flow, _) = run(&pipeline(&[("alpha", "panic later")]));
    assert_eq!(flow.unwrap_err(), Panicked { plugin: "alpha", message: "as told, later".into() });
}

#[test]
fn a_few_runs_are_measured_and_those_with_all_their_plugins() {
    let metrics = Metrics::new(10);
    let registry = registry().measured_by(&metrics);
    let pipeline = Pipeline::new(["first", "beta"].map(|name| registry.build(name, json!({})).unwrap()));
    // On a thread of its own, for the counter is the thread's.
    std::thread::scope(|scope| scope.spawn(|| (0..10_000).for_each(|_| drop(run(&pipeline)))).join().unwrap());
    let mut text = String::new();
    metrics.encode(&mut text).unwrap();
    for plugin in ["first", "beta"] {
        let series = format!("gateway_plugin_duration_seconds_count{{plugin=\"{plugin}\",phase=\"request\"}} ");
        let count = text.lines().find_map(|line| line.strip_prefix(series.as_str())).unwrap();
        assert_eq!(count, (10_000 / 127).to_string(), "{plugin}");
    }
    assert!(!text.contains("phase=\"response\""), "no plugin is in that phase");
}

#[test]
fn a_routes_own_settings_come_before_the_global_ones() {
    assert_eq!(pipeline(&[("first", "deny"), ("first", "")]).instances().len(), 1);
    assert!(matches!(run(&pipeline(&[("first", "deny"), ("first", "")])).0, Ok(Flow::Respond(_))));
}

#[test]
fn a_buffered_body_is_seen_whole_and_only_up_to_its_limit() {
    let pass = |pipeline: &Pipeline, chunks: &[&'static str]| {
        let (mut state, mut buffers, mut out) = (state(), BodyBuffers::default(), String::new());
        for (i, chunk) in chunks.iter().enumerate() {
            let mut body = Some(Bytes::from_static(chunk.as_bytes()));
            pipeline.request_body_filter(&mut state, &mut body, i + 1 == chunks.len(), &mut buffers)?;
            out += &body.map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default();
        }
        Ok::<_, BodyRefused>(out)
    };
    assert_eq!(pass(&pipeline(&[("beta", "")]), &["ab", "cd"]).unwrap(), "[ab][cd]");
    assert_eq!(pass(&pipeline(&[("beta", "buffer")]), &["ab", "cd"]).unwrap(), "[abcd]");
    assert!(matches!(pass(&pipeline(&[("beta", "buffer")]), &["abcdef", "ghi"]), Err(BodyRefused::TooLarge)));
}

#[test]
fn settings_are_found_under_the_name_and_under_old_flat_names() {
    let registry = registry();
    let settings = |props: Value| registry.settings("first", props.as_object().unwrap());
    assert_eq!(settings(json!({"first": {"act": "a"}, "beta": {"act": "b"}})), json!({"act": "a"}));
    assert_eq!(settings(json!({"first_act": "a", "beta_act": "b"})), json!({"first_act": "a"}));
    assert_eq!(settings(json!({"first_act": ""})), json!({}));
    assert_eq!(settings(json!({})), json!({}));
}

#[test]
fn errors_name_the_plugin_and_the_field() {
    let registry = registry();
    assert_eq!(
        registry.build("first", json!({"act": "refuse"})).unwrap_err().to_string(),
        "props.first.act: may not be refuse"
    );
    let unknown = registry.build("frist", json!({})).unwrap_err().to_string();
    assert_eq!(
        unknown,
        "plugins: this gateway has no plugin \"frist\" (it has alpha, beta, first); add the name to plugins.ignore if it may be left out"
    );
    assert!(registry.is_inert("gone") && registry.is_inert("discovery") && !registry.is_inert("frist"));
}

#[test]
fn names_are_unique() {
    assert!(Registry::new(vec![Factory::of::<First>(), Factory::of::<First>()], &[]).unwrap_err().contains("first"));
}

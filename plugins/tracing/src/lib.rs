#![doc = include_str!("../README.md")]

use uuid::{NoContext, Timestamp, Uuid};
use ws_cloud_plugin_sdk::http::{HeaderMap, HeaderName, HeaderValue};
use ws_cloud_plugin_sdk::serde::Deserialize;
use ws_cloud_plugin_sdk::trace_context::{TRACEPARENT, TRACESTATE, TraceParent};
use ws_cloud_plugin_sdk::{ConfigError, Flow, Phases, Plugin, RequestCtx, RequestState, ResponseHead, schemars};

const X_TRACE_ID: HeaderName = HeaderName::from_static("x-trace-id");

/// A longer id from a client is replaced: it would be copied into every log on the way.
const MAX_LEN: usize = 128;

/// The settings.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(crate = "ws_cloud_plugin_sdk::serde", deny_unknown_fields, default)]
pub struct Config {
    /// What is done about W3C trace context.
    traceparent: Mode,
    /// Whether services are asked to record the traces that begin here.
    sampled: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { traceparent: Mode::Always, sampled: true }
    }
}

/// What is done about the headers `traceparent` and `tracestate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(crate = "ws_cloud_plugin_sdk::serde", rename_all = "lowercase")]
enum Mode {
    /// The client's trace goes on with a span of ours as the parent; without one, a trace begins.
    Always,
    /// What the client sends passes as it is.
    Off,
}

/// The plugin.
#[derive(Debug)]
pub struct Tracing {
    config: Config,
}

impl Plugin for Tracing {
    const NAME: &'static str = "tracing";
    const VERSION: &'static str = "v1.0";
    const DESCRIPTION: &'static str = "链路跟踪插件";
    // Before all that may answer a request, so that a refusal has an id too.
    const PRIORITY: i32 = 12_000;
    const PHASES: Phases = Phases::REQUEST.union(Phases::RESPONSE);

    type Config = Config;

    fn new(config: Config) -> Result<Self, ConfigError> {
        Ok(Self { config })
    }

    fn request_filter(&self, request: &mut RequestCtx<'_>) -> Flow {
        let carries_on = self.config.traceparent == Mode::Always;
        let sent = if carries_on { TraceParent::of(request.head.headers()) } else { None };
        let sent_id = sane_id(request.head.headers()).cloned();
        let is_new = sent_id.is_none();
        // One id under two names, unless the client itself gave them different ones.
        let (id, parent) = match (sent_id, sent) {
            (Some(id), Some(parent)) => (id, parent),
            (Some(id), None) if !carries_on => {
                request.state.trace_id = Some(id);
                return Flow::Continue;
            }
            (Some(id), None) => {
                let trace = Uuid::try_parse_ascii(id.as_bytes()).ok().filter(|uuid| !uuid.is_nil());
                (id, TraceParent::begin(trace.unwrap_or_else(fresh).as_u128(), self.config.sampled))
            }
            (None, Some(parent)) => (digits(parent.trace), parent),
            (None, None) => {
                let trace = fresh();
                (hyphenated(trace), TraceParent::begin(trace.as_u128(), self.config.sampled))
            }
        };
        if is_new {
            request.head.insert_header(X_TRACE_ID, id.clone());
        }
        if carries_on {
            if sent.is_none() {
                // It belongs to a traceparent that was not valid, or was not there.
                request.head.remove_header(&TRACESTATE);
            }
            request.head.insert_header(TRACEPARENT, parent.to_value(rand::random()));
        }
        request.state.trace_id = Some(id);
        Flow::Continue
    }

    fn response_filter(&self, state: &mut RequestState, response: &mut dyn ResponseHead) {
        if let Some(id) = &state.trace_id {
            response.insert_header(X_TRACE_ID, id.clone());
        }
    }
}

/// The client's own id, if there is exactly one and it is fit for logs.
fn sane_id(headers: &HeaderMap) -> Option<&HeaderValue> {
    let mut ids = headers.get_all(X_TRACE_ID).iter();
    let (Some(id), None) = (ids.next(), ids.next()) else { return None };
    let bytes = id.as_bytes();
    let sane = (1..=MAX_LEN).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic);
    sane.then_some(id)
}

/// `NoContext`, not `Uuid::now_v7()`: the latter takes a lock that all threads share. The 74
/// random bits come from the thread's own generator, which the operating system seeds.
fn fresh() -> Uuid {
    Uuid::new_v7(Timestamp::now(NoContext))
}

fn hyphenated(id: Uuid) -> HeaderValue {
    let mut buffer = Uuid::encode_buffer();
    HeaderValue::from_str(id.hyphenated().encode_lower(&mut buffer)).expect("a uuid is visible ASCII")
}

/// As a trace is written everywhere else, so that it is found by what was seen there.
fn digits(trace: u128) -> HeaderValue {
    let mut buffer = Uuid::encode_buffer();
    HeaderValue::from_str(Uuid::from_u128(trace).simple().encode_lower(&mut buffer)).expect("digits are visible ASCII")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use ws_cloud_plugin_sdk::harness::Harness;
    use ws_cloud_plugin_sdk::serde_json::json;

    use super::*;

    fn tracing() -> Harness {
        Harness::new::<Tracing>(json!({})).unwrap()
    }

    #[tokio::test]
    async fn a_request_gets_an_id_that_everyone_sees() {
        let out = tracing().get("/").send().await;
        let id = out.trace_id().unwrap();
        assert_eq!(Uuid::parse_str(id).unwrap().get_version_num(), 7);
        assert_eq!((id.len(), out.upstream().header("x-trace-id"), out.header("x-trace-id")), (36, Some(id), Some(id)));
    }

    #[tokio::test]
    async fn an_id_of_the_client_is_kept_if_it_is_sane() {
        let longest = "x".repeat(128);
        for id in ["1", "b7ad6b71-6920-3331", "00-4bf92f35/\\\"~!", &longest] {
            let out = tracing().get("/").header("X-Trace-Id", id).send().await;
            assert_eq!((out.trace_id(), out.upstream().header("x-trace-id")), (Some(id), Some(id)));
            assert_eq!(out.header("x-trace-id"), Some(id));
        }
        let too_long = "x".repeat(129);
        for id in ["", " ", "a b", "a\tb", "用户", &too_long] {
            let out = tracing().get("/").header("X-Trace-Id", id).send().await;
            assert!(Uuid::parse_str(out.trace_id().unwrap()).is_ok(), "{id:?}");
            assert_eq!(out.upstream().header("x-trace-id"), out.trace_id());
        }
    }

    #[tokio::test]
    async fn of_several_ids_none_is_believed() {
        let out = tracing().get("/").header("X-Trace-Id", "a").header("X-Trace-Id", "b").send().await;
        assert!(Uuid::parse_str(out.trace_id().unwrap()).is_ok());
        assert_eq!(out.upstream().headers.get_all("x-trace-id").iter().count(), 1);
    }

    #[test]
    fn ids_never_repeat_between_threads() {
        let make = || (0..10_000).map(|_| hyphenated(fresh())).collect::<Vec<_>>();
        let threads: Vec<_> = (0..8).map(|_| std::thread::spawn(make)).collect();
        let ids: HashSet<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        assert_eq!(ids.len(), 80_000);
    }

    #[test]
    fn unknown_settings_are_refused() {
        let refused = Harness::new::<Tracing>(json!({"header": "x"})).unwrap_err();
        assert_eq!(refused.to_string(), "header: unknown field `header`, expected `traceparent` or `sampled`");
    }

    const SENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    /// Trace, parent and flags.
    fn parts(traceparent: &str) -> (&str, &str, &str) {
        assert_eq!((traceparent.len(), &traceparent[..3]), (55, "00-"), "{traceparent}");
        (&traceparent[3..35], &traceparent[36..52], &traceparent[53..])
    }

    #[tokio::test]
    async fn a_trace_of_the_client_goes_on_under_a_span_of_ours() {
        for (sent, flags) in [(SENT.to_owned(), "01"), (SENT.replace("-01", "-00"), "00")] {
            let out = tracing().get("/").header("traceparent", &sent).header("tracestate", "a=1,b=2").send().await;
            let (trace, parent, seen) = parts(out.upstream().header("traceparent").unwrap());
            assert_eq!((trace, seen), ("4bf92f3577b34da6a3ce929d0e0e4736", flags));
            assert_ne!(parent, "00f067aa0ba902b7");
            assert_eq!(out.upstream().header("tracestate"), Some("a=1,b=2"));
            assert_eq!((out.trace_id(), out.upstream().header("x-trace-id")), (Some(trace), Some(trace)));
        }
    }

    #[tokio::test]
    async fn without_a_valid_one_a_trace_begins_with_the_id_there_is() {
        for (config, flags) in [(json!({}), "01"), (json!({"sampled": false}), "00")] {
            for sent in ["", "00-x", &SENT.replace("00-4", "ff-4"), &SENT.to_uppercase()] {
                let request = Harness::new::<Tracing>(config.clone()).unwrap();
                let request = request.get("/").header("traceparent", sent).header("tracestate", "a=1");
                let out = request.send().await;
                let (trace, _, seen) = parts(out.upstream().header("traceparent").unwrap());
                assert_eq!((trace, seen), (&*out.trace_id().unwrap().replace('-', ""), flags), "{sent}");
                assert_eq!(out.upstream().header("tracestate"), None, "it was of another trace");
            }
        }
        let id = "0190a5a4-7f3c-7d0a-9b1e-2f6c8a4d5e70";
        for (sent, same) in [(id, true), ("my own id", false), ("00000000-0000-0000-0000-000000000000", false)] {
            let out = tracing().get("/").header("X-Trace-Id", sent).send().await;
            let (trace, _, _) = parts(out.upstream().header("traceparent").unwrap());
            assert_eq!(trace == sent.replace('-', ""), same, "{sent}: {trace}");
        }
    }

    #[tokio::test]
    async fn two_ids_of_the_client_are_both_kept() {
        let out = tracing().get("/").header("traceparent", SENT).header("X-Trace-Id", "mine").send().await;
        assert_eq!((out.trace_id(), out.upstream().header("x-trace-id")), (Some("mine"), Some("mine")));
        assert_eq!(parts(out.upstream().header("traceparent").unwrap()).0, &SENT[3..35]);
    }

    #[tokio::test]
    async fn off_means_that_trace_context_passes_as_it_is() {
        for sent in [None, Some(SENT), Some("nonsense")] {
            let off = Harness::new::<Tracing>(json!({"traceparent": "off"})).unwrap();
            let mut request = off.get("/");
            if let Some(sent) = sent {
                request = request.header("traceparent", sent).header("tracestate", "a=1");
            }
            let out = request.send().await;
            assert_eq!(out.upstream().header("traceparent"), sent);
            assert_eq!(out.upstream().header("tracestate"), sent.map(|_| "a=1"));
            assert_eq!(Uuid::parse_str(out.trace_id().unwrap()).unwrap().get_version_num(), 7);
        }
    }
}

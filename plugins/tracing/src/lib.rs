#![doc = include_str!("../README.md")]

use uuid::{NoContext, Timestamp, Uuid};
use ws_cloud_plugin_sdk::http::{HeaderMap, HeaderName, HeaderValue};
use ws_cloud_plugin_sdk::serde::Deserialize;
use ws_cloud_plugin_sdk::{ConfigError, Flow, Phases, Plugin, RequestCtx, RequestState, ResponseHead, schemars};

const X_TRACE_ID: HeaderName = HeaderName::from_static("x-trace-id");

/// A longer id from a client is replaced: it would be copied into every log on the way.
const MAX_LEN: usize = 128;

/// The settings: there are none.
#[derive(Debug, Default, Deserialize, schemars::JsonSchema)]
#[serde(crate = "ws_cloud_plugin_sdk::serde", deny_unknown_fields)]
pub struct Config {}

/// The plugin.
#[derive(Debug)]
pub struct Tracing;

impl Plugin for Tracing {
    const NAME: &'static str = "tracing";
    const VERSION: &'static str = "v1.0";
    const DESCRIPTION: &'static str = "链路跟踪插件";
    // Before all that may answer a request, so that a refusal has an id too.
    const PRIORITY: i32 = 12_000;
    const PHASES: Phases = Phases::REQUEST.union(Phases::RESPONSE);

    type Config = Config;

    fn new(_config: Config) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    fn request_filter(&self, request: &mut RequestCtx<'_>) -> Flow {
        let id = match sane_id(request.head.headers()) {
            Some(id) => id.clone(),
            None => {
                let id = fresh_id();
                request.head.insert_header(X_TRACE_ID, id.clone());
                id
            }
        };
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
fn fresh_id() -> HeaderValue {
    let mut buffer = Uuid::encode_buffer();
    let id = Uuid::new_v7(Timestamp::now(NoContext)).hyphenated().encode_lower(&mut buffer);
    HeaderValue::from_str(id).expect("a uuid is visible ASCII")
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
        let make = || (0..10_000).map(|_| fresh_id().as_bytes().to_vec()).collect::<Vec<_>>();
        let threads: Vec<_> = (0..8).map(|_| std::thread::spawn(make)).collect();
        let ids: HashSet<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        assert_eq!(ids.len(), 80_000);
    }

    #[test]
    fn unknown_settings_are_refused() {
        let refused = Harness::new::<Tracing>(json!({"header": "x"})).unwrap_err();
        assert_eq!(refused.to_string(), "header: unknown field `header`, there are no fields");
    }
}

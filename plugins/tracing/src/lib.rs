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

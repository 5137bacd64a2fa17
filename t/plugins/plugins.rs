//! The plugins of this gateway, beside the standard ones.

use ws_cloud_gateway::Gateway;
use ws_cloud_gateway::sdk::http::HeaderMap;
use ws_cloud_gateway::sdk::serde::Deserialize;
use ws_cloud_gateway::sdk::{
    BodyMode, BoxFuture, Bytes, ConfigError, Factory, Flow, Outcome, Phases, Plugin, RequestCtx, RequestHead,
    RequestState, Response, ResponseHead, UpstreamChoice, schemars,
};
use ws_cloud_plugin_example::Example;

pub fn gateway() -> Gateway {
    Gateway::standard()
        .with(Factory::of::<Example>())
        .with(Factory::of::<Gather>())
        .with(Factory::of::<Panic>())
        .with(Factory::of::<Whoami>())
}

/// Holds request and response bodies back until they are whole, and marks them.
struct Gather(usize);

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(crate = "ws_cloud_gateway::sdk::serde", deny_unknown_fields)]
struct GatherConfig {
    /// The largest body, in bytes.
    max_body: usize,
}

impl Plugin for Gather {
    const NAME: &'static str = "gather";
    const VERSION: &'static str = "v1.0";
    const DESCRIPTION: &'static str = "gathers bodies";
    const PRIORITY: i32 = 1;
    const PHASES: Phases = Phases::REQUEST_BODY.union(Phases::RESPONSE).union(Phases::RESPONSE_BODY);
    type Config = GatherConfig;

    fn new(config: GatherConfig) -> Result<Self, ConfigError> {
        Ok(Self(config.max_body))
    }

    fn request_body_mode(&self) -> BodyMode {
        BodyMode::Buffer(self.0)
    }

    fn response_body_mode(&self) -> BodyMode {
        BodyMode::Buffer(self.0)
    }

    fn response_filter(&self, _state: &mut RequestState, response: &mut dyn ResponseHead) {
        response.remove_header(&ws_cloud_gateway::sdk::http::header::CONTENT_LENGTH);
    }

    fn response_body_filter(&self, _state: &mut RequestState, body: &mut Option<Bytes>, _end: bool) {
        let whole = body.take().unwrap_or_default();
        *body = Some([b"<", &whole[..], b">"].concat().into());
    }
}

/// Answers with what is known of the client's TLS.
struct Whoami;

impl Plugin for Whoami {
    const NAME: &'static str = "whoami";
    const VERSION: &'static str = "v1.0";
    const DESCRIPTION: &'static str = "says who the client is";
    const PRIORITY: i32 = 3;
    const PHASES: Phases = Phases::REQUEST;
    type Config = PanicConfig;

    fn new(_: PanicConfig) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    fn request_filter(&self, ctx: &mut RequestCtx<'_>) -> Flow {
        let certificate = ctx.client_certificate().map(|c| {
            let names = [&c.dns_names[..], &c.email_addresses, &c.uris].concat().join(" ");
            format!("{} by {} as {names}, {}", c.subject, c.issuer, c.fingerprint)
        });
        let text = format!("{} {:?} {certificate:?}", ctx.is_tls(), ctx.server_name());
        Response::text(ws_cloud_gateway::sdk::http::StatusCode::OK, text).into()
    }
}

/// Panics in the phase that the request's header `X-Panic` names.
struct Panic;

#[derive(Clone)]
struct In(String);

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(crate = "ws_cloud_gateway::sdk::serde", deny_unknown_fields)]
struct PanicConfig {}

fn named(headers: &HeaderMap) -> String {
    headers.get("x-panic").and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

fn panic_in(state: &RequestState, phase: &str) {
    if state.get::<In>().is_some_and(|named| named.0 == phase) {
        panic!("told to, in {phase}");
    }
}

impl Plugin for Panic {
    const NAME: &'static str = "panic";
    const VERSION: &'static str = "v1.0";
    const DESCRIPTION: &'static str = "panics";
    const PRIORITY: i32 = 2;
    const PHASES: Phases = Phases::all();
    type Config = PanicConfig;

    fn new(_: PanicConfig) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    fn request_filter(&self, request: &mut RequestCtx<'_>) -> Flow {
        let phase = In(named(request.head.headers()));
        request.state.insert(phase);
        panic_in(request.state, "request");
        Flow::Continue
    }

    fn request_filter_async<'a>(&'a self, request: &'a mut RequestCtx<'_>) -> BoxFuture<'a, Flow> {
        Box::pin(async move {
            panic_in(request.state, "request_async");
            Flow::Continue
        })
    }

    fn upstream_peer(&self, request: &mut RequestCtx<'_>, _choice: &mut UpstreamChoice) {
        panic_in(request.state, "upstream_peer");
    }

    fn upstream_request_filter(&self, state: &mut RequestState, _upstream: &mut dyn RequestHead) {
        panic_in(state, "upstream_request");
    }

    fn request_body_filter(
        &self,
        state: &mut RequestState,
        _body: &mut Option<Bytes>,
        _end: bool,
    ) -> Result<(), Box<Response>> {
        panic_in(state, "request_body");
        Ok(())
    }

    fn response_filter(&self, state: &mut RequestState, _response: &mut dyn ResponseHead) {
        panic_in(state, "response");
    }

    fn response_body_filter(&self, state: &mut RequestState, _body: &mut Option<Bytes>, _end: bool) {
        panic_in(state, "response_body");
    }

    fn logging(&self, state: &mut RequestState, _outcome: &Outcome) {
        panic_in(state, "logging");
    }
}

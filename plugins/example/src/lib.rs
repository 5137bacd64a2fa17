#![doc = include_str!("../README.md")]

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ws_cloud_plugin_sdk::http::{HeaderName, HeaderValue, StatusCode, header};
use ws_cloud_plugin_sdk::serde::Deserialize;
use ws_cloud_plugin_sdk::serde_json::json;
use ws_cloud_plugin_sdk::{
    BodyMode, BoxFuture, Bytes, ConfigError, Counter, Env, Flow, KeyValue, Outcome, Phases, Plugin, RequestCtx,
    RequestHead, RequestState, Response, ResponseHead, Task, UpstreamChoice, schemars,
};

// Names are made once: `from_static` costs nothing at run time.
const X_EXAMPLE: HeaderName = HeaderName::from_static("x-example");
const X_ATTEMPT: HeaderName = HeaderName::from_static("x-attempt");

/// The settings. Schema, form and docs are made from these comments: say unit and default.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(crate = "ws_cloud_plugin_sdk::serde", deny_unknown_fields, default)]
pub struct Config {
    /// What is done with a request that breaks a rule. Default: `enforce`.
    pub mode: Mode,
    /// The value of `X-Example` on requests and responses. Default: `hello`.
    pub greeting: String,
    /// Words a request body must not contain. Default: none.
    pub forbidden: Vec<String>,
    /// The largest request body that is searched for them, in bytes; a larger one is answered 413.
    /// 1 to 10485760, default 65536.
    #[schemars(range(min = 1, max = 10_485_760))]
    pub max_body: usize,
    /// Text to add at the end of every plain text response. Default: none.
    pub footer: Option<String>,
    /// A node no request is sent to, such as `10.0.0.1:8080`. Default: none.
    pub avoid: Option<SocketAddr>,
}

/// What is done with a request that breaks a rule. A closed set is an enum, never a string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(crate = "ws_cloud_plugin_sdk::serde", rename_all = "snake_case")]
pub enum Mode {
    /// It is refused.
    Enforce,
    /// It is counted and passes.
    Observe,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mode: Mode::Enforce,
            greeting: "hello".to_owned(),
            forbidden: Vec::new(),
            max_body: 64 << 10,
            footer: None,
            avoid: None,
        }
    }
}

/// The plugin: what requests need, prepared from the settings.
#[derive(Debug)]
pub struct Example {
    config: Config,
    greeting: HeaderValue,
    // Set by `start`, which has only `&self`. A plugin that is merely built for a dry run has none.
    live: OnceLock<Live>,
}

/// What exists only while the configuration is live. Dropping it stops its tasks.
struct Live {
    keys: Arc<dyn KeyValue>,
    refused: Counter,
    served: Counter,
    closed: Arc<AtomicBool>,
    _tasks: [Task; 2],
}

/// Kept with a request from one phase to the next; found by its type, so keep the type private.
#[derive(Debug, Clone, Default)]
struct Visit {
    attempt: u32,
    adds_footer: bool,
}

impl Plugin for Example {
    const NAME: &'static str = "example";
    const VERSION: &'static str = "v1.0";
    const DESCRIPTION: &'static str = "示例插件";
    // Higher runs first. Access control is at 2000 to 3000, rewriting at 1000.
    const PRIORITY: i32 = 2_000;
    // Name only what you implement: a phase that is missing here is never called, one that is
    // named costs a call. This is all of them.
    const PHASES: Phases = Phases::all();

    type Config = Config;

    /// Checks and prepares: whatever is compiled, parsed or allocated here is not per request.
    fn new(config: Config) -> Result<Self, ConfigError> {
        // Name the field and say what would be right.
        if !(1..=10 << 20).contains(&config.max_body) {
            return Err(ConfigError::at("max_body", format!("{} is not in 1..=10485760", config.max_body)));
        }
        if let Some(at) = config.forbidden.iter().position(String::is_empty) {
            return Err(ConfigError::at(format!("forbidden[{at}]"), "an empty word is in every body"));
        }
        let greeting = HeaderValue::from_str(&config.greeting)
            .map_err(|_| ConfigError::at("greeting", format!("{:?} cannot be a header value", config.greeting)))?;
        Ok(Self { config, greeting, live: OnceLock::new() })
    }

    /// The configuration is live: tasks, counters and the store are to be had from here on.
    fn start(&self, env: &Env) {
        let keys = env.keys();
        let closed = Arc::new(AtomicBool::new(false));
        // The key `closed` closes the doors on every gateway of the cluster within moments. What
        // requests look at is an atomic, not the store.
        let watch = keys.watch({
            let closed = closed.clone();
            Box::new(move |change| {
                if change.key == "closed" {
                    closed.store(change.value.is_some(), Ordering::Relaxed);
                }
            })
        });
        let served = env.counter("served");
        let report = env.spawn(report(keys.clone(), served.clone()));
        let refused = env.counter("refused");
        // `start` is called once, so the cell is empty.
        self.live.get_or_init(|| Live { keys, refused, served, closed, _tasks: [watch, report] });
    }

    /// Bodies are searched whole. A plugin that can work chunk by chunk should: `BodyMode::Stream`.
    fn request_body_mode(&self) -> BodyMode {
        if self.config.forbidden.is_empty() { BodyMode::Stream } else { BodyMode::Buffer(self.config.max_body) }
    }

    /// First: the route is known, nothing has been sent. Headers set here go upstream.
    fn request_filter(&self, request: &mut RequestCtx<'_>) -> Flow {
        request.head.insert_header(X_EXAMPLE, self.greeting.clone());
        request.state.insert(Visit::default());
        if self.live.get().is_some_and(|live| live.closed.load(Ordering::Relaxed)) {
            let closed = Response::text(StatusCode::SERVICE_UNAVAILABLE, "closed for maintenance\n")
                .with_header(header::RETRY_AFTER, HeaderValue::from_static("60"));
            return self.refuse(request.state, closed);
        }
        Flow::Continue
    }

    /// For what must be waited for. It costs an allocation: leave the phase out if you can.
    fn request_filter_async<'a>(&'a self, request: &'a mut RequestCtx<'_>) -> BoxFuture<'a, Flow> {
        Box::pin(async move {
            match self.is_banned(request.state.client_ip).await {
                false => Flow::Continue,
                true => self.refuse(request.state, Response::text(StatusCode::FORBIDDEN, "banned\n")),
            }
        })
    }

    /// Before each try: rule nodes out, or prefer one.
    fn upstream_peer(&self, request: &mut RequestCtx<'_>, choice: &mut UpstreamChoice) {
        if let Some(visit) = request.state.get_mut::<Visit>() {
            visit.attempt = choice.attempt;
        }
        if let Some(node) = self.config.avoid {
            choice.exclude(node);
        }
    }

    /// On each try: what only the upstream shall see.
    fn upstream_request_filter(&self, state: &mut RequestState, upstream: &mut dyn RequestHead) {
        if let Some(visit) = state.get::<Visit>() {
            upstream.insert_header(X_ATTEMPT, visit.attempt.into());
        }
    }

    /// The body, whole or in pieces as `request_body_mode` says; a piece may be empty, or absent.
    fn request_body_filter(
        &self,
        state: &mut RequestState,
        body: &mut Option<Bytes>,
        _end_of_stream: bool,
    ) -> Result<(), Box<Response>> {
        let Some(word) = body.as_ref().and_then(|body| self.forbidden_word(body)) else { return Ok(()) };
        let answer = Response::json(StatusCode::UNPROCESSABLE_ENTITY, &json!({ "forbidden": word }));
        match self.refuse(state, answer) {
            Flow::Respond(answer) => Err(answer),
            Flow::Continue => Ok(()),
        }
    }

    /// The head of any response, also of one that a plugin or the gateway made.
    fn response_filter(&self, state: &mut RequestState, response: &mut dyn ResponseHead) {
        response.insert_header(X_EXAMPLE, self.greeting.clone());
        let headers = response.headers();
        let is_text = headers.get(header::CONTENT_TYPE).is_some_and(|v| v.as_bytes().starts_with(b"text/plain"));
        let adds_footer = self.config.footer.is_some() && is_text && !headers.contains_key(header::CONTENT_ENCODING);
        if adds_footer {
            // The body will be longer than announced.
            response.remove_header(&header::CONTENT_LENGTH);
        }
        if let Some(visit) = state.get_mut::<Visit>() {
            visit.adds_footer = adds_footer;
        }
    }

    /// The upstream's body, in pieces: nothing is held back.
    fn response_body_filter(&self, state: &mut RequestState, body: &mut Option<Bytes>, end_of_stream: bool) {
        let adds_footer = state.get::<Visit>().is_some_and(|visit| visit.adds_footer);
        if let (true, true, Some(footer)) = (end_of_stream, adds_footer, &self.config.footer) {
            let last = body.take().unwrap_or_default();
            *body = Some([&last, footer.as_bytes()].concat().into());
        }
    }

    /// Last, whatever happened. Do not wait, do not block.
    fn logging(&self, _state: &mut RequestState, outcome: &Outcome) {
        if let (Some(live), Some(_)) = (self.live.get(), outcome.status) {
            live.served.add(1);
        }
    }
}

impl Example {
    /// Counts a broken rule, and answers with `response` or lets the request pass. One that is only
    /// explained is not counted.
    fn refuse(&self, state: &RequestState, response: Response) -> Flow {
        if let Some(live) = self.live.get().filter(|_| !state.is_preview()) {
            live.refused.add(1);
        }
        match self.config.mode {
            Mode::Enforce => response.into(),
            Mode::Observe => Flow::Continue,
        }
    }

    /// Whether the store has a key `banned/<ip>`. Without the store everybody is banned: a plugin
    /// that guards something must not open the door when it cannot ask.
    async fn is_banned(&self, ip: IpAddr) -> bool {
        let Some(live) = self.live.get() else { return false };
        !matches!(live.keys.get(&format!("banned/{ip}")).await, Ok(None))
    }

    fn forbidden_word(&self, body: &[u8]) -> Option<&str> {
        let contains = |word: &&String| body.windows(word.len()).any(|window| window == word.as_bytes());
        self.config.forbidden.iter().find(contains).map(String::as_str)
    }
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live").field("closed", &self.closed).finish_non_exhaustive()
    }
}

/// Background work: writes once a minute how many requests this gateway has served.
async fn report(keys: Arc<dyn KeyValue>, served: Counter) {
    let mut minute = tokio::time::interval(Duration::from_secs(60));
    loop {
        minute.tick().await;
        // The store may be away; the next minute comes.
        drop(keys.put("served", served.get().to_string().into()).await);
    }
}

#[cfg(test)]
mod tests;

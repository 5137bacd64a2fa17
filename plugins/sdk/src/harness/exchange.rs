//! What happened to a request.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};

use crate::{RequestState, Response, UpstreamChoice};

/// A request that has been through all phases.
#[derive(Debug)]
pub struct Exchange {
    /// What the client got.
    pub response: Response,
    /// The plugin that answered the request itself, if one did.
    pub answered_by: Option<&'static str>,
    /// What the choice of a node came to, over all tries: the number of tries, and the nodes that
    /// were preferred and excluded.
    pub choice: UpstreamChoice,
    /// The state at the end: trace id, path, what plugins kept with the request.
    pub state: RequestState,
    pub(super) upstream: Option<UpstreamRequest>,
}

/// The request as the upstream received it.
#[derive(Debug, Clone)]
pub struct UpstreamRequest {
    /// The method.
    pub method: Method,
    /// The path as plugins see it, decoded.
    pub path: String,
    /// Path and query as they are written in the request line: as the client sent them, or
    /// encoded anew when a plugin changed them.
    pub target: String,
    /// The headers. The gateway's own, such as `X-Forwarded-For`, are not there.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// The node that was picked.
    pub node: SocketAddr,
}

impl Exchange {
    pub(super) fn new(state: RequestState) -> Self {
        Self {
            response: Response::new(StatusCode::OK),
            answered_by: None,
            choice: UpstreamChoice::default(),
            state,
            upstream: None,
        }
    }

    /// The status the client got.
    pub fn status(&self) -> StatusCode {
        self.response.status
    }

    /// A header the client got; the first, when there are several.
    ///
    /// # Panics
    /// When it is not text.
    pub fn header(&self, name: &str) -> Option<&str> {
        text_of(&self.response.headers, name)
    }

    /// The body the client got, as text.
    ///
    /// # Panics
    /// When it is not UTF-8.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.response.body).expect("the body is not UTF-8")
    }

    /// The id that was given to the request.
    pub fn trace_id(&self) -> Option<&str> {
        self.state.trace_id.as_ref().map(|id| id.to_str().expect("the trace id is not text"))
    }

    /// Whether a complete request reached the upstream.
    pub fn reached_upstream(&self) -> bool {
        self.upstream.is_some()
    }

    /// The request that reached the upstream.
    ///
    /// # Panics
    /// When none did.
    pub fn upstream(&self) -> &UpstreamRequest {
        let Some(upstream) = &self.upstream else {
            let by = self.answered_by.unwrap_or("the gateway");
            panic!("no request reached the upstream: {by} answered {}", self.status())
        };
        upstream
    }
}

impl UpstreamRequest {
    /// A header; the first, when there are several.
    ///
    /// # Panics
    /// When it is not text.
    pub fn header(&self, name: &str) -> Option<&str> {
        text_of(&self.headers, name)
    }

    /// The body as text.
    ///
    /// # Panics
    /// When it is not UTF-8.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is not UTF-8")
    }
}

fn text_of<'m>(headers: &'m HeaderMap, name: &str) -> Option<&'m str> {
    headers.get(name).map(|value| value.to_str().unwrap_or_else(|_| panic!("{name} is not text: {value:?}")))
}

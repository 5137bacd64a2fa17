//! A request on its way through the phases, in the order of the gateway's callbacks.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use super::body::Stopped;
use super::exchange::{Exchange, UpstreamRequest};
use super::{Harness, body, path};
use crate::{
    BoxFuture, DynPlugin, Flow, Outcome, Phases, RequestCtx, RequestHead, RequestState, Response, UpstreamChoice,
};

const MAX_TRIES: u32 = 3;

/// A request to be sent through a [`Harness`].
#[derive(Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct Request<'h> {
    harness: &'h Harness,
    head: Head,
    target: String,
    client_ip: IpAddr,
    body: Bytes,
}

/// The head of a request, of the client's or for the upstream.
#[derive(Debug, Clone)]
pub(super) struct Head {
    method: Method,
    headers: HeaderMap,
}

impl<'h> Request<'h> {
    pub(super) fn new(harness: &'h Harness, method: Method, target: &str, client_ip: IpAddr) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("example.com"));
        let head = Head { method, headers };
        Self { harness, head, target: target.to_owned(), client_ip, body: Bytes::new() }
    }

    /// Adds a header, beside one of the same name. `Host` is `example.com` if not told.
    ///
    /// # Panics
    /// When name or value cannot be in a request.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let name: HeaderName = name.parse().unwrap_or_else(|_| panic!("{name:?} is no header name"));
        let value = HeaderValue::from_bytes(value.as_ref()).unwrap_or_else(|_| panic!("{name}: no header value"));
        if name == header::HOST {
            self.head.headers.insert(name, value);
        } else {
            self.head.headers.append(name, value);
        }
        self
    }

    /// The address of the client.
    pub fn client_ip(mut self, ip: impl Into<IpAddr>) -> Self {
        self.client_ip = ip.into();
        self
    }

    /// The body.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Sends the request through all phases.
    ///
    /// # Panics
    /// When a plugin changed the length of a response body and left its `Content-Length`: the
    /// gateway would break the connection.
    pub async fn send(self) -> Exchange {
        let mut run = self.run(|state| state);
        let mut head = self.head;

        let mut response = match run.request_filters(&mut head).await {
            Some(response) => response,
            None => run.proxy(&mut head, &self.target, &self.body),
        };
        run.response_filters(&mut response);
        run.logging(&response);
        run.exchange.response = response;
        run.exchange
    }

    /// Asks what would become of the request, as the gateway's explain does: the hooks of the request
    /// phases and of a first try run on a state that says [`RequestState::is_preview`], and nothing is
    /// sent. The response is the one that a plugin would answer.
    ///
    /// # Panics
    /// When a plugin moved a counter: a preview leaves no trace.
    pub async fn preview(self) -> Exchange {
        let mut run = self.run(RequestState::for_preview);
        let mut head = self.head;
        let before = self.harness.counts();
        match run.request_filters(&mut head).await {
            Some(response) => run.exchange.response = response,
            None => match run.connect(&mut head) {
                Ok(head) => run.exchange.upstream = Some(run.upstream_request(head, &self.target, Bytes::new())),
                Err(response) => run.exchange.response = *response,
            },
        }
        let after = self.harness.counts();
        assert_eq!(before, after, "a preview was counted: see RequestState::is_preview");
        run.exchange
    }

    fn run(&self, state: impl FnOnce(RequestState) -> RequestState) -> Run<'h> {
        self.harness.start();
        let (raw_path, query) = match self.target.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (&*self.target, None),
        };
        let new = RequestState::new(self.harness.route.clone(), self.client_ip, path::normalise(raw_path), query);
        Run { harness: self.harness, exchange: Exchange::new(state(new)), node: None }
    }
}

struct Run<'h> {
    harness: &'h Harness,
    exchange: Exchange,
    node: Option<SocketAddr>,
}

impl<'h> Run<'h> {
    fn plugins(&self, phase: Phases) -> impl Iterator<Item = &'h dyn DynPlugin> + use<'h> {
        let plugins = self.harness.plugins.iter().map(|hosted| &*hosted.plugin);
        plugins.filter(move |plugin| plugin.phases().intersects(phase))
    }

    async fn request_filters(&mut self, head: &mut Head) -> Option<Response> {
        for plugin in self.plugins(Phases::REQUEST | Phases::REQUEST_ASYNC) {
            let mut request = RequestCtx::new(head, &mut self.exchange.state);
            let mut flow = Flow::Continue;
            if plugin.phases().contains(Phases::REQUEST) {
                flow = plugin.request_filter(&mut request);
            }
            if matches!(flow, Flow::Continue) && plugin.phases().contains(Phases::REQUEST_ASYNC) {
                let waiting: BoxFuture<'_, Flow> = plugin.request_filter_async(&mut request);
                flow = waiting.await;
            }
            if let Flow::Respond(response) = flow {
                self.exchange.answered_by = Some(plugin.name());
                return Some(*response);
            }
        }
        None
    }

    /// From the choice of a node to the filtered answer.
    fn proxy(&mut self, head: &mut Head, target: &str, body: &Bytes) -> Response {
        let mut upstream_head = match self.connect(head) {
            Ok(upstream_head) => upstream_head,
            Err(response) => return *response,
        };
        let body = match self.request_body(body) {
            Ok(body) => body,
            Err(response) => return *response,
        };
        if head.headers.contains_key(header::CONTENT_LENGTH) {
            upstream_head.headers.insert(header::CONTENT_LENGTH, body.len().into());
        }
        let request = self.upstream_request(upstream_head, target, body);
        let mut response = (self.harness.answer)(&request);
        response.headers.insert(header::CONTENT_LENGTH, response.body.len().into());
        self.exchange.upstream = Some(request);
        response
    }

    fn upstream_request(&self, head: Head, target: &str, body: Bytes) -> UpstreamRequest {
        let state = &self.exchange.state;
        UpstreamRequest {
            method: head.method,
            path: state.path().to_owned(),
            target: if state.path_changed() { path::encode(state.path(), state.query()) } else { target.to_owned() },
            headers: head.headers,
            body,
            node: self.node.expect("connected"),
        }
    }

    /// Picks a node and fails as often as the harness was told; the head of the try that worked.
    fn connect(&mut self, head: &mut Head) -> Result<Head, Box<Response>> {
        let mut tried = Vec::new();
        for attempt in 1..=MAX_TRIES {
            self.exchange.choice.attempt = attempt;
            for plugin in self.plugins(Phases::UPSTREAM_PEER) {
                let mut request = RequestCtx::new(head, &mut self.exchange.state);
                plugin.upstream_peer(&mut request, &mut self.exchange.choice);
            }
            let node = pick(&self.harness.nodes, &self.exchange.choice, &tried);
            let Some(node) = node else { break };
            tried.push(node);
            let mut upstream_head = head.clone();
            for plugin in self.plugins(Phases::UPSTREAM_REQUEST) {
                plugin.upstream_request_filter(&mut self.exchange.state, &mut upstream_head);
            }
            if attempt > self.harness.failing_tries {
                self.node = Some(node);
                return Ok(upstream_head);
            }
        }
        Err(Box::new(Response::new(StatusCode::BAD_GATEWAY)))
    }

    fn request_body(&mut self, body: &Bytes) -> Result<Bytes, Box<Response>> {
        let plugins = self.plugins(Phases::REQUEST_BODY);
        let state = &mut self.exchange.state;
        let filtered = body::filter(
            body,
            self.harness.chunk_size,
            plugins,
            |p| p.request_body_mode(),
            |p, piece, end| p.request_body_filter(state, piece, end),
        );
        filtered.map_err(|stopped| match stopped {
            Stopped::TooLarge => Box::new(Response::new(StatusCode::PAYLOAD_TOO_LARGE)),
            Stopped::By(plugin, response) => {
                self.exchange.answered_by = Some(plugin);
                response
            }
        })
    }

    /// The body is filtered only when it is the upstream's; one made by a plugin or the gateway
    /// is not.
    fn response_filters(&mut self, response: &mut Response) {
        self.response_heads(response);
        if self.exchange.upstream.is_none() {
            return;
        }
        let plugins = self.plugins(Phases::RESPONSE_BODY);
        let state = &mut self.exchange.state;
        let filtered = body::filter(
            &response.body,
            self.harness.chunk_size,
            plugins,
            |p| p.response_body_mode(),
            |p, piece, end| {
                p.response_body_filter(state, piece, end);
                Ok::<_, Infallible>(())
            },
        );
        let Ok(body) = filtered else {
            *response = Response::new(StatusCode::BAD_GATEWAY);
            return self.response_heads(response);
        };
        response.body = body;
        if let Some(announced) = response.headers.get(header::CONTENT_LENGTH) {
            assert!(
                *announced == HeaderValue::from(response.body.len()),
                "a plugin made the body {} bytes long and left `Content-Length: {announced:?}`: remove it in response_filter",
                response.body.len(),
            );
        }
    }

    fn response_heads(&mut self, response: &mut Response) {
        for plugin in self.plugins(Phases::RESPONSE) {
            plugin.response_filter(&mut self.exchange.state, response);
        }
    }

    fn logging(&mut self, response: &Response) {
        let outcome = Outcome {
            status: Some(response.status),
            body_bytes: response.body.len() as u64,
            duration: self.exchange.state.started.elapsed(),
            upstream: self.node,
        };
        for plugin in self.plugins(Phases::LOGGING) {
            plugin.logging(&mut self.exchange.state, &outcome);
        }
    }
}

fn pick(nodes: &[SocketAddr], choice: &UpstreamChoice, tried: &[SocketAddr]) -> Option<SocketAddr> {
    let usable = |node: &SocketAddr| !choice.excluded().contains(node) && !tried.contains(node);
    let preferred = choice.preferred().filter(|node| nodes.contains(node) && usable(node));
    preferred.or_else(|| nodes.iter().copied().find(usable))
}

impl RequestHead for Head {
    fn method(&self) -> &Method {
        &self.method
    }

    fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    fn insert_header(&mut self, name: HeaderName, value: HeaderValue) {
        self.headers.insert(name, value);
    }

    fn append_header(&mut self, name: HeaderName, value: HeaderValue) {
        self.headers.append(name, value);
    }

    fn remove_header(&mut self, name: &HeaderName) -> Option<HeaderValue> {
        self.headers.remove(name)
    }
}

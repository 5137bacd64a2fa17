//! What a request was, as spans by OpenTelemetry's semantic conventions for HTTP.

use std::time::SystemTime;

use http::Method;
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use super::{Exchange, TriedNode};

/// When the client left before there was an answer.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// The spans of a request.
pub(super) fn spans(exchange: &Exchange, scope: &InstrumentationScope) -> Vec<SpanData> {
    let ended = exchange.ended;
    let began = ended.checked_sub(exchange.time).unwrap_or(ended);
    let mut spans = Vec::with_capacity(1 + exchange.tries.len());
    spans.push(server(exchange, began, ended, scope));
    for (n, tried) in exchange.tries.iter().enumerate() {
        spans.push(client(exchange, n, tried, began, scope));
    }
    spans
}

fn server(exchange: &Exchange, began: SystemTime, ended: SystemTime, scope: &InstrumentationScope) -> SpanData {
    let trace = &exchange.trace;
    let mut attributes = Attributes::of(&exchange.method);
    attributes.add("url.path", exchange.path.clone());
    attributes.add("url.scheme", exchange.scheme);
    attributes.add("network.protocol.name", "http");
    attributes.add("network.protocol.version", exchange.version);
    if let Some(host) = &exchange.host {
        let (name, port) = name_and_port(host);
        attributes.add("server.address", name.to_owned());
        attributes.maybe("server.port", port);
    }
    attributes.maybe("client.address", exchange.client.map(|ip| ip.to_string()));
    attributes.maybe("user_agent.original", exchange.user_agent.clone());
    let mut name = known(&exchange.method).unwrap_or("HTTP").to_owned();
    if let Some(route) = &exchange.route {
        name = format!("{name} {}", route.prefix);
        attributes.add("http.route", route.prefix.clone());
        attributes.add("gateway.route", route.key.clone());
        attributes.add("gateway.service", route.service.clone());
    }
    let mut status = Status::Unset;
    match exchange.status {
        Some(CLIENT_CLOSED_REQUEST) => attributes.add("error.type", "client_closed_request"),
        Some(code) => {
            attributes.add("http.response.status_code", i64::from(code));
            if code >= 500 {
                attributes.add("error.type", code.to_string());
                status = Status::error("");
            }
        }
        None => {
            attributes.add("error.type", "no_response");
            status = Status::error("");
        }
    }
    let parent = trace.parent.map_or(SpanId::INVALID, SpanId::from);
    let span = Span { id: trace.span, parent, remote: trace.parent.is_some(), kind: SpanKind::Server, name };
    span.data(exchange, (began, ended), attributes, status, scope)
}

fn client(
    exchange: &Exchange,
    n: usize,
    tried: &TriedNode,
    request_began: SystemTime,
    scope: &InstrumentationScope,
) -> SpanData {
    let began = request_began + tried.after;
    let mut attributes = Attributes::of(&exchange.method);
    attributes.add("url.full", format!("{}://{}{}", tried.scheme, tried.name, tried.path));
    let (name, port) = name_and_port(&tried.name);
    attributes.add("server.address", name.to_owned());
    attributes.add("server.port", port.unwrap_or(i64::from(tried.address.port())));
    attributes.add("network.peer.address", tried.address.ip().to_string());
    attributes.add("network.peer.port", i64::from(tried.address.port()));
    if n > 0 {
        attributes.add("http.request.resend_count", i64::try_from(n).unwrap_or(i64::MAX));
    }
    let mut status = Status::Unset;
    if let Some(code) = tried.status {
        attributes.add("http.response.status_code", i64::from(code));
        if code >= 400 {
            attributes.add("error.type", code.to_string());
            status = Status::error("");
        }
    } else if let Some(error) = tried.error {
        attributes.add("error.type", error);
        status = Status::error("");
    }
    let span = Span {
        id: exchange.trace.span_of_try(n),
        parent: SpanId::from(exchange.trace.span),
        remote: false,
        kind: SpanKind::Client,
        name: known(&exchange.method).unwrap_or("HTTP").to_owned(),
    };
    span.data(exchange, (began, began + tried.time), attributes, status, scope)
}

/// What the two kinds differ in.
struct Span {
    id: u64,
    parent: SpanId,
    remote: bool,
    kind: SpanKind,
    name: String,
}

impl Span {
    fn data(
        self,
        exchange: &Exchange,
        (start_time, end_time): (SystemTime, SystemTime),
        attributes: Attributes,
        status: Status,
        scope: &InstrumentationScope,
    ) -> SpanData {
        let trace = exchange.trace.place.map_or(TraceId::INVALID, |place| TraceId::from(place.trace));
        let context = SpanContext::new(trace, SpanId::from(self.id), TraceFlags::SAMPLED, false, TraceState::default());
        SpanData {
            span_context: context,
            parent_span_id: self.parent,
            parent_span_is_remote: self.remote,
            span_kind: self.kind,
            name: self.name.into(),
            start_time,
            end_time,
            attributes: attributes.0,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status,
            instrumentation_scope: scope.clone(),
        }
    }
}

struct Attributes(Vec<KeyValue>);

impl Attributes {
    /// Those every span has. A method that nobody knows is no value of a label anywhere.
    fn of(method: &Method) -> Self {
        let mut attributes = Self(Vec::with_capacity(16));
        match known(method) {
            Some(method) => attributes.add("http.request.method", method),
            None => {
                attributes.add("http.request.method", "_OTHER");
                attributes.add("http.request.method_original", super::text(method.as_str().as_bytes()));
            }
        }
        attributes
    }

    fn add(&mut self, key: &'static str, value: impl Into<Value>) {
        self.0.push(KeyValue::new(key, value));
    }

    fn maybe(&mut self, key: &'static str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.add(key, value);
        }
    }
}

fn known(method: &Method) -> Option<&'static str> {
    const KNOWN: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
    KNOWN.into_iter().find(|known| *known == method.as_str())
}

/// `host`, `host:port`, `[::1]:port`.
fn name_and_port(host: &str) -> (&str, Option<i64>) {
    let bare = |name: &'_ str| -> (usize, usize) {
        if name.starts_with('[') && name.ends_with(']') { (1, name.len() - 1) } else { (0, name.len()) }
    };
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => match port.parse::<u16>() {
            Ok(port) => (name, Some(i64::from(port))),
            Err(_) => (host, None),
        },
        _ => (host, None),
    };
    let (from, to) = bare(name);
    (&name[from..to], port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_told_from_its_port() {
        for (host, name, port) in [
            ("a.test", "a.test", None),
            ("a.test:80", "a.test", Some(80)),
            ("127.0.0.1:8080", "127.0.0.1", Some(8080)),
            ("[::1]:8080", "::1", Some(8080)),
            ("[::1]", "::1", None),
            ("::1", "::1", None),
            ("a:b", "a:b", None),
            ("", "", None),
        ] {
            assert_eq!(name_and_port(host), (name, port), "{host}");
        }
    }
}

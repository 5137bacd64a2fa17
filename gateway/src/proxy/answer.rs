//! Answers the gateway gives itself: refusals, errors, and responses of plugins.
//!
//! The one place of the proxy that knows which status goes with which trouble.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use pingora::http::ResponseHeader;
use pingora::protocols::http::HttpTask;
use pingora::{Error, ErrorSource, ErrorType};
use pingora_proxy::Session;
use ws_cloud_plugin_sdk::Response;

use super::context::{Context, Kind};
use super::retry::is_timeout;
use super::{Proxy, final_response, head};

/// A request the gateway refuses: status and the short text the client gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) text: &'static str,
    /// Whether the connection is closed: what follows on it cannot be trusted.
    pub(super) close: bool,
}

impl Refusal {
    pub(super) const fn new(status: u16, text: &'static str) -> Self {
        Self { status, text, close: false }
    }

    pub(super) const fn closing(status: u16, text: &'static str) -> Self {
        Self { status, text, close: true }
    }
}

/// On another connection the host could be asked for: RFC 9110 section 15.5.20.
pub(super) const MISDIRECTED: Refusal = Refusal::closing(421, "this host needs a TLS connection of its own\n");
pub(super) const NO_ROUTE: Refusal = Refusal::new(404, "no route\n");
pub(super) const BROKEN_ROUTE: Refusal = Refusal::new(503, "the route is not available\n");
pub(super) const LOOP: Refusal = Refusal::closing(508, "the request goes in circles\n");
pub(super) const OVERLOADED: Refusal = Refusal::new(503, "too many requests; try again later\n");
pub(super) const NO_NODE: Refusal = Refusal::new(502, "no node of the service is available\n");
pub(super) const BODY_TOO_LARGE: Refusal = Refusal::closing(413, "the request body is too large\n");
pub(super) const BODY_TOO_SLOW: Refusal = Refusal::closing(408, "the request body came too slowly\n");
pub(super) const NO_CONNECT: Refusal = Refusal::closing(405, "CONNECT is not supported\n");
pub(super) const GRPC_NEEDS_HTTP2: Refusal = Refusal::closing(505, "gRPC needs HTTP/2\n");
pub(super) const FORBIDDEN: Refusal = Refusal::new(403, "forbidden\n");
pub(super) const TOO_SLOW: Refusal = Refusal::closing(504, "the service took too long\n");
pub(super) const AT_LIMIT: Refusal = Refusal::new(503, "the service is at its limit\n");
pub(super) const INTERNAL: Refusal = Refusal::closing(500, "internal error\n");

/// What a failed try or a broken request means to the client. 0: nobody is there to be told.
pub(super) fn status_of(error: &Error) -> u16 {
    match (error.etype(), error.esource()) {
        (ErrorType::HTTPStatus(status), _) => *status,
        (ErrorType::ConnectTimedout | ErrorType::ReadTimedout | ErrorType::WriteTimedout, ErrorSource::Upstream) => 504,
        (_, ErrorSource::Upstream) if is_timeout(error) => 504,
        (_, ErrorSource::Upstream) => 502,
        (ErrorType::WriteError | ErrorType::ReadError | ErrorType::ConnectionClosed, ErrorSource::Downstream) => 0,
        (ErrorType::ReadTimedout, ErrorSource::Downstream) => 408,
        (ErrorType::WriteTimedout, ErrorSource::Downstream) => 0,
        (_, ErrorSource::Downstream) => 400,
        _ => 500,
    }
}

fn text_of(status: u16) -> &'static str {
    match status {
        400 => "malformed request\n",
        408 => "the request took too long\n",
        413 => BODY_TOO_LARGE.text,
        502 => "the service did not answer\n",
        503 => BROKEN_ROUTE.text,
        504 => TOO_SLOW.text,
        _ => INTERNAL.text,
    }
}

/// gRPC's codes for HTTP statuses: <https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md>,
/// with 400 and 413, which a gateway can tell apart better.
fn grpc_code(status: u16) -> u16 {
    match status {
        200 => 0,
        400 => 13,
        401 => 16,
        403 => 7,
        404 | 405 => 12,
        413 => 8,
        429 | 502 | 503 => 14,
        408 | 504 => 4,
        _ => 2,
    }
}

/// What a grpc-message leaves as it is: printable ASCII without `%`.
const GRPC_MESSAGE: &AsciiSet = &CONTROLS.add(b'%');

fn grpc_status(headers: &mut HeaderMap, status: u16, message: &str) {
    headers.insert("grpc-status", HeaderValue::from(grpc_code(status)));
    let message = utf8_percent_encode(message.trim_end(), GRPC_MESSAGE).to_string();
    if let Ok(value) = HeaderValue::try_from(message) {
        headers.insert("grpc-message", value);
    }
}

impl Proxy {
    /// Refuses the request.
    pub(super) async fn refuse(
        &self,
        session: &mut Session,
        ctx: &mut Context,
        refusal: Refusal,
    ) -> pingora::Result<()> {
        if refusal.close {
            session.set_keepalive(None);
        }
        let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = Response::text(status, refusal.text);
        if refusal == OVERLOADED {
            response.headers.insert(header::RETRY_AFTER, self.overload.retry_after.clone());
        }
        self.answer(session, ctx, response).await
    }

    /// Sends a whole response. A gRPC client gets it as trailers.
    pub(super) async fn answer(
        &self,
        session: &mut Session,
        ctx: &mut Context,
        response: Response,
    ) -> pingora::Result<()> {
        ctx.answered = Some(response.status.as_u16());
        let is_grpc = ctx.kind == Kind::Grpc || is_grpc_request(session);
        if is_grpc && session.is_http2() {
            return self.answer_grpc(session, ctx, &response).await;
        }
        let mut head = ResponseHeader::build(response.status, Some(8))?;
        for (name, value) in &response.headers {
            head.append_header(name.clone(), value.clone())?;
        }
        let bodiless = matches!(response.status.as_u16(), 100..200 | 204 | 304);
        if !bodiless {
            head.insert_header(header::CONTENT_LENGTH, response.body.len())?;
        }
        self.finish_own_head(ctx, &mut head);
        let no_body = bodiless || response.body.is_empty() || session.req_header().method == http::Method::HEAD;
        if no_body {
            // As in `answer_grpc`: on HTTP/2 only a task ends the stream with its header.
            session.write_response_tasks(vec![HttpTask::Header(Box::new(head), true)]).await?;
            return Ok(());
        }
        session.write_response_header(Box::new(head), false).await?;
        session.write_response_body(Some(response.body), true).await
    }

    /// A gRPC error is a response of headers only. `write_response_header` would not end the
    /// stream on HTTP/2 (trap T2), so the header goes out as a task that does.
    async fn answer_grpc(&self, session: &mut Session, ctx: &mut Context, response: &Response) -> pingora::Result<()> {
        let mut trailers = HeaderMap::new();
        grpc_status(&mut trailers, response.status.as_u16(), &String::from_utf8_lossy(&response.body));
        let mut head = ResponseHeader::build(StatusCode::OK, Some(6))?;
        head.insert_header(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"))?;
        for (name, value) in &trailers {
            head.insert_header(name.clone(), value.clone())?;
        }
        self.finish_own_head(ctx, &mut head);
        session.write_response_tasks(vec![HttpTask::Header(Box::new(head), true)]).await?;
        Ok(())
    }

    /// What every response head gets, from an upstream or from us.
    ///
    /// # Errors
    /// When a plugin panics. The head is complete all the same.
    pub(super) fn finish_head(&self, ctx: &mut Context, head: &mut ResponseHeader) -> pingora::Result<()> {
        head.insert_header(header::SERVER, self.options.server_header.clone())?;
        let (Some(route), Some(state), false) = (&ctx.route, &mut ctx.state, ctx.response_filter_failed) else {
            return Ok(());
        };
        route.pipeline.response_filter(state, &mut head::Response(head)).map_err(|panic| {
            ctx.response_filter_failed = true;
            self.panicked(&panic)
        })
    }

    /// As [`Proxy::finish_head`], of an answer of our own: it goes out also when a plugin panics over
    /// it, or the client would get none.
    fn finish_own_head(&self, ctx: &mut Context, head: &mut ResponseHeader) {
        if let Err(e) = self.finish_head(ctx, head) {
            log::debug!("an answer of the gateway goes out without a plugin's share: {e}");
        }
    }

    /// Tells the client of a failure, as far as that is still possible. Returns the status, 0 when
    /// nobody was told.
    pub(super) async fn fail(&self, session: &mut Session, ctx: &mut Context, error: &Error) -> u16 {
        let status = status_of(error);
        if status == 0 {
            return 0;
        }
        let sent = if final_response(session).is_some() {
            self.fail_midway(session, ctx, status).await
        } else {
            session.set_keepalive(None);
            let code = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let text = if status == NO_NODE.status && ctx.attempts.is_empty() { NO_NODE.text } else { text_of(status) };
            let response = ctx.plugin_answer.take().map_or_else(|| Response::text(code, text), |r| *r);
            self.answer(session, ctx, response).await
        };
        if let Err(e) = sent {
            log::debug!("the client could not be told of {status}: {e}");
        }
        status
    }

    /// The response has begun: a gRPC client can still be told by trailers, any other must see the
    /// connection break.
    async fn fail_midway(&self, session: &mut Session, ctx: &mut Context, status: u16) -> pingora::Result<()> {
        if ctx.kind == Kind::Grpc && session.is_http2() {
            let mut trailers = HeaderMap::new();
            grpc_status(&mut trailers, status, text_of(status));
            session.write_response_tasks(vec![HttpTask::Trailer(Some(Box::new(trailers)))]).await?;
        }
        Ok(())
    }
}

/// What is answered when every node is at its limit.
pub(super) fn at_limit() -> Box<Response> {
    let mut response = Response::text(StatusCode::SERVICE_UNAVAILABLE, AT_LIMIT.text);
    response.headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    Box::new(response)
}

/// Whether the request says it is gRPC.
pub(super) fn is_grpc_request(session: &Session) -> bool {
    let content_type = session.req_header().headers.get(header::CONTENT_TYPE);
    content_type.is_some_and(|v| {
        let v = v.as_bytes();
        v == b"application/grpc" || v.starts_with(b"application/grpc+") || v.starts_with(b"application/grpc;")
    })
}

/// An error that carries a refusal's status to [`Proxy::fail`].
pub(super) fn error(refusal: Refusal) -> Box<Error> {
    Error::explain(ErrorType::HTTPStatus(refusal.status), refusal.text.trim_end())
}

/// As [`error`], for what the client has done.
pub(super) fn of_client(refusal: Refusal) -> Box<Error> {
    from_client(error(refusal))
}

/// Marks an error as the client's, so that no node is blamed and none is tried again.
pub(super) fn from_client(mut error: Box<Error>) -> Box<Error> {
    error.esource = ErrorSource::Downstream;
    error
}

/// A body as the SDK wants it.
pub(super) type Body = Option<Bytes>;

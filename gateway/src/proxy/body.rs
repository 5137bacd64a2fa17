//! Bodies on their way: their limit, and the plugins that see them.

use std::time::Duration;

use bytes::Bytes;
use pingora::{Error, ErrorType};
use pingora_proxy::Session;

use super::Proxy;
use super::answer::{self, Body};
use super::context::{Context, Kind};
use crate::pipeline::BodyRefused;

/// A body's first bytes may take so long, whatever their number.
const BODY_GRACE: Duration = Duration::from_secs(5);

impl Proxy {
    /// A piece of the request body.
    pub(super) fn request_body(
        &self,
        session: &Session,
        ctx: &mut Context,
        body: &mut Body,
        end: bool,
    ) -> pingora::Result<()> {
        // What flows after an upgrade is no body.
        if session.was_upgraded() {
            return Ok(());
        }
        if ctx.is_overdue() {
            return Err(answer::error(answer::TOO_SLOW));
        }
        if end {
            ctx.request_sent();
        }
        let result = self.filter_request_body(ctx, body, end);
        // Pingora reads "no piece" as the end, which a plugin that holds pieces back does not mean.
        if !end && body.is_none() {
            *body = Some(Bytes::new());
        }
        result
    }

    fn filter_request_body(&self, ctx: &mut Context, body: &mut Body, end: bool) -> pingora::Result<()> {
        ctx.body_seen += body.as_ref().map_or(0, |chunk| chunk.len() as u64);
        if ctx.body_limit > 0 && ctx.body_seen > ctx.body_limit {
            return Err(answer::of_client(answer::BODY_TOO_LARGE));
        }
        if self.options.min_body_rate > 0 && self.is_too_slow(ctx) {
            return Err(answer::of_client(answer::BODY_TOO_SLOW));
        }
        let (Some(route), Some(state)) = (&ctx.route, &mut ctx.state) else { return Ok(()) };
        if !route.pipeline.sees_request_body() {
            return Ok(());
        }
        ctx.plugins_saw_body |= body.as_ref().is_some_and(|chunk| !chunk.is_empty());
        let result = route.pipeline.request_body_filter(state, body, end, &mut ctx.buffers);
        result.map_err(|refusal| match refusal {
            BodyRefused::Response(response) => {
                let status = response.status.as_u16();
                ctx.plugin_answer = Some(response);
                answer::from_client(Error::explain(ErrorType::HTTPStatus(status), "a plugin refused the request body"))
            }
            BodyRefused::TooLarge => answer::of_client(answer::BODY_TOO_LARGE),
            BodyRefused::Panicked(panic) => self.panicked(&panic),
        })
    }

    /// Whether a body has come more slowly than it may. Streams of messages may take their time.
    fn is_too_slow(&self, ctx: &Context) -> bool {
        let millis = u128::from(ctx.body_seen) * 1000 / u128::from(self.options.min_body_rate);
        ctx.kind == Kind::Http && ctx.started.elapsed().saturating_sub(BODY_GRACE).as_millis() > millis
    }

    /// A piece of the response body.
    pub(super) fn response_body(
        &self,
        session: &Session,
        ctx: &mut Context,
        body: &mut Body,
        end: bool,
    ) -> pingora::Result<()> {
        if session.was_upgraded() {
            return Ok(());
        }
        if end {
            ctx.response_received();
        } else if ctx.is_overdue() {
            return Err(answer::error(answer::TOO_SLOW));
        }
        let (Some(route), Some(state)) = (&ctx.route, &mut ctx.state) else { return Ok(()) };
        if !route.pipeline.sees_response_body() {
            return Ok(());
        }
        let result = route.pipeline.response_body_filter(state, body, end, &mut ctx.buffers);
        result.map_err(|refusal| match refusal {
            BodyRefused::TooLarge => {
                Error::explain(ErrorType::HTTPStatus(502), "the response body is too large for a plugin")
            }
            BodyRefused::Panicked(panic) => self.panicked(&panic),
            BodyRefused::Response(_) => answer::error(answer::INTERNAL),
        })
    }
}

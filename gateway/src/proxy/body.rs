//! Bodies on their way: their limit, and the plugins that see them.

use bytes::Bytes;
use pingora::{Error, ErrorSource, ErrorType};
use pingora_proxy::Session;

use super::Proxy;
use super::answer::{self, Body};
use super::context::Context;
use crate::pipeline::BodyRefused;

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
            return Err(refused(answer::BODY_TOO_LARGE));
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
                from_client(Error::explain(ErrorType::HTTPStatus(status), "a plugin refused the request body"))
            }
            BodyRefused::TooLarge => refused(answer::BODY_TOO_LARGE),
            BodyRefused::Panicked(panic) => self.panicked(&panic),
        })
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

fn refused(refusal: answer::Refusal) -> Box<Error> {
    from_client(answer::error(refusal))
}

/// Marks an error as the client's, so that no node is blamed and none is tried again.
fn from_client(mut error: Box<Error>) -> Box<Error> {
    error.esource = ErrorSource::Downstream;
    error
}

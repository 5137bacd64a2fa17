//! What a failed try means for the node and for the request: the only place that decides on retries.

use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource, ErrorType};
use pingora_proxy::Session;

use super::context::{Context, Kind};
use super::{Proxy, answer, final_response, is_repeatable};
use crate::snapshot::Retries;
use crate::upstream::{Outcome, RetryOn, Upstream};

impl Proxy {
    /// No connection was made: nothing was sent, so another node may be tried whatever the method.
    /// It is no load for a node either, and not counted in the budget.
    pub(super) fn connect_failed(&self, ctx: &mut Context, mut error: Box<Error>) -> Box<Error> {
        ctx.attempt_failed(&error);
        ctx.live_failed(&error);
        ctx.observe(Outcome::NoConnection);
        ctx.node_in_flight = None;
        let again =
            retries(ctx).is_some_and(|(upstream, retries)| retries.on.connect && upstream.may_try_again(&ctx.tried));
        error.set_retry(again && !ctx.is_overdue());
        error
    }

    /// The exchange failed after a connection was made. The request is tried again only when it
    /// may be repeated and nothing of a response has reached the client.
    pub(super) fn exchange_failed(
        &self,
        peer: &HttpPeer,
        session: &mut Session,
        ctx: &mut Context,
        error: Box<Error>,
        reused: bool,
    ) -> Box<Error> {
        let mut error = error.more_context(format!("node {peer}"));
        ctx.live_failed(&error);
        // While the client owes a part of its request the node has nothing to answer. A stream of
        // messages may be silent, and is answered before it ends.
        if is_read_timeout(&error) && ctx.kind == Kind::Http && !session.as_downstream_mut().is_body_done() {
            error = answer::of_client(answer::BODY_TOO_SLOW);
        }
        let again = match error.esource() {
            ErrorSource::Upstream => self.node_failed(session, ctx, &error, reused),
            _ => {
                ctx.attempt_abandoned();
                false
            }
        };
        ctx.node_in_flight = None;
        // Always decided here: Pingora panics on an error left undecided (trap T8).
        error.set_retry(again);
        error
    }

    /// Whether the request may go to another node after this failure of one.
    fn node_failed(&self, session: &Session, ctx: &mut Context, error: &Error, reused: bool) -> bool {
        // One that answered has been noted already.
        ctx.attempt_failed(error);
        let answered = matches!(error.etype(), ErrorType::HTTPStatus(_));
        let timed_out = is_timeout(error);
        let may_repeat = self.may_repeat(session, ctx)
            && !ctx.is_overdue()
            && (is_repeatable(&session.req_header().method) || was_not_processed(error));
        if reused && !timed_out && !answered && !ctx.fresh && final_response(session).is_none() {
            // The node had closed a kept connection, which says nothing of the node: it is asked
            // once more, on a new one.
            ctx.fresh = true;
            if may_repeat {
                ctx.tried.pop();
            }
            return may_repeat;
        }
        if !answered {
            ctx.observe(if timed_out { Outcome::TooSlow } else { Outcome::Broken });
        }
        may_repeat && may_retry(ctx, |on| answered || if timed_out { on.timeout } else { on.reset })
    }

    /// Whether nothing that has happened to the request forbids to send it again.
    fn may_repeat(&self, session: &Session, ctx: &Context) -> bool {
        final_response(session).is_none()
            && !session.as_ref().retry_buffer_truncated()
            && !ctx.plugins_saw_body
            && matches!(ctx.kind, Kind::Http | Kind::Grpc)
    }

    /// A node has answered. A status that counts as a failure is retried like one.
    pub(super) fn upstream_answered(
        &self,
        session: &mut Session,
        ctx: &mut Context,
        status: u16,
    ) -> pingora::Result<()> {
        if status < 200 && status != 101 {
            return Ok(());
        }
        if status == 101 {
            // A tunnel may be silent for as long as it likes.
            session.set_read_timeout(None);
        }
        ctx.attempt_ended(Some(status));
        ctx.head_received();
        let first_byte = ctx.attempts.last().and_then(|attempt| attempt.time).unwrap_or_default();
        ctx.observe(Outcome::Answered { status, first_byte });
        let retry = status >= 500
            && retries(ctx).is_some_and(|(_, retries)| retries.on.status(status))
            && ctx.kind == Kind::Http
            && is_repeatable(&session.req_header().method)
            && self.may_repeat(session, ctx)
            && !ctx.is_overdue()
            && may_retry(ctx, |_| true);
        if retry {
            // The budget has been asked: `node_failed` finds `answered` and does not ask again.
            ctx.retry_granted = true;
            return Err(Error::explain(ErrorType::HTTPStatus(status), "the node's status is retried").into_up());
        }
        Ok(())
    }
}

/// The upstream, and what the route or else its service says of retries.
fn retries(ctx: &Context) -> Option<(&Upstream, Retries<'_>)> {
    let (upstream, route) = (ctx.upstream.as_deref()?, ctx.route.as_ref()?);
    Some((upstream, route.options.retry.over(&upstream.options.retry)))
}

/// Whether policy, time, nodes left and budget allow one more try after the present one failed in
/// a way that `counts`. Takes it from the budget.
fn may_retry(ctx: &mut Context, counts: impl Fn(&RetryOn) -> bool) -> bool {
    if std::mem::take(&mut ctx.retry_granted) {
        return true;
    }
    let Some((upstream, retries)) = retries(ctx) else { return false };
    counts(retries.on)
        && ctx.started.elapsed() < retries.within
        && upstream.may_try_again(&ctx.tried)
        && upstream.memory.budget.take(retries.budget)
}

/// Whether the node took too long: Pingora's timeouts, and those of `upstream::timed`.
pub(super) fn is_timeout(error: &Error) -> bool {
    matches!(error.etype(), ErrorType::ReadTimedout | ErrorType::WriteTimedout)
        || error
            .root_cause()
            .downcast_ref::<std::io::Error>()
            .is_some_and(|cause| cause.kind() == std::io::ErrorKind::TimedOut)
}

/// Whether the node said nothing for too long.
fn is_read_timeout(error: &Error) -> bool {
    matches!(error.esource(), ErrorSource::Upstream)
        && !matches!(error.etype(), ErrorType::WriteTimedout)
        && is_timeout(error)
}

/// Whether the protocol itself says that the node did not act on the request: RFC 9113 section 8.7.
fn was_not_processed(error: &Error) -> bool {
    let cause = error.root_cause();
    cause.downcast_ref::<h2::Error>().is_some_and(|e| e.reason() == Some(h2::Reason::REFUSED_STREAM))
}

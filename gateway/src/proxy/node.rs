//! Which node is tried, and what a failed try means for it and for the request.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource, ErrorType};
use pingora_proxy::Session;
use ws_cloud_plugin_sdk::RequestCtx;

use super::context::{Attempt, Context, Kind};
use super::{Proxy, answer, final_response, head, is_repeatable};
use crate::pipeline::BodyBuffers;
use crate::upstream::{InFlight, Node};

/// How long after its start a request that reached a node may be sent to another. Without it a slow
/// service would be asked by every client as often as there are nodes. The first gateway's limit.
const RETRY_WITHIN: Duration = Duration::from_secs(1);

impl Proxy {
    /// The peer of the next try: a node not tried before.
    pub(super) fn next_peer(&self, session: &mut Session, ctx: &mut Context) -> pingora::Result<Box<HttpPeer>> {
        if ctx.kind == Kind::Internal {
            let internal = self.options.internal.as_ref().ok_or_else(|| answer::error(answer::NO_ROUTE))?;
            return Ok(Box::new(internal.peer.clone()));
        }
        let index = self.pick(session, ctx)?.ok_or_else(|| answer::error(answer::NO_NODE))?;
        let (Some(upstream), Some(route)) = (&ctx.upstream, &ctx.route) else {
            return Err(answer::error(answer::NO_NODE));
        };
        let node = &upstream.nodes()[index];
        ctx.tried.push(index);
        // Each try sends the body from its beginning.
        ctx.body_seen = 0;
        ctx.buffers = BodyBuffers::default();
        ctx.attempts.push(Attempt { node: index, started: Instant::now(), status: None, time: None });
        ctx.node_in_flight = Some(InFlight::at(&node.state));
        let mut peer = Box::new(match ctx.kind {
            Kind::Grpc => node.peers.grpc.clone(),
            Kind::WebSocket => node.peers.websocket.clone(),
            Kind::Http | Kind::Internal => node.peers.http.clone(),
        });
        // A WebSocket's connection has a gate that serves one upgrade; and one that is made because a
        // kept one was closed must be new. A group key of its own keeps both apart from the pool.
        if ctx.kind == Kind::WebSocket || ctx.fresh {
            peer.group_key |= self.own_keys.fetch_add(1, Ordering::Relaxed) << 8;
            peer.options.idle_timeout = Some(Duration::from_millis(1));
        }
        let timeouts = route.timeouts;
        if let Some(connect) = timeouts.connect {
            peer.options.connection_timeout = Some(connect);
            peer.options.total_connection_timeout = Some(connect);
        }
        if let Some(read) = timeouts.read {
            // Set for this very route, it holds for streams as well.
            peer.options.read_timeout = Some(read);
        }
        if let Some(send) = timeouts.send {
            peer.options.write_timeout = Some(send);
        }
        Ok(peer)
    }

    fn pick(&self, session: &mut Session, ctx: &mut Context) -> pingora::Result<Option<usize>> {
        let (Some(upstream), Some(route), Some(state)) = (&ctx.upstream, &ctx.route, &mut ctx.state) else {
            return Ok(None);
        };
        if !route.pipeline.picks_nodes() {
            return Ok(upstream.pick(&ctx.tried, |_| true));
        }
        let choice = ctx.choice.get_or_insert_default();
        choice.attempt = u32::try_from(ctx.tried.count() + 1).unwrap_or(u32::MAX);
        let mut head = head::Request(session.req_header_mut());
        let mut request = RequestCtx::new(&mut head, state);
        route.pipeline.upstream_peer(&mut request, choice).map_err(|panic| self.panicked(&panic))?;
        let allowed = |node: &Node| !choice.excluded().contains(&node.address);
        let preferred = choice.preferred().and_then(|address| upstream.position(address)).filter(|index| {
            let node = &upstream.nodes()[*index];
            node.state.is_usable() && allowed(node) && !ctx.tried.contains(*index)
        });
        Ok(preferred.or_else(|| upstream.pick(&ctx.tried, allowed)))
    }

    /// No connection was made: nothing was sent, so another node may be tried whatever the method.
    pub(super) fn connect_failed(&self, ctx: &mut Context, mut error: Box<Error>) -> Box<Error> {
        ctx.attempt_ended(None);
        ctx.node_in_flight = None;
        let Some(upstream) = &ctx.upstream else {
            error.set_retry(false);
            return error;
        };
        if let Some(attempt) = ctx.attempts.last() {
            let node = &upstream.nodes()[attempt.node];
            // A single node is never left out: there is nothing better to try.
            if upstream.nodes().len() > 1 && node.state.eject(self.options.eject_time) {
                log::warn!(
                    "service \"{}\": node {} is left out, it does not take connections: {}",
                    upstream.name,
                    node.address,
                    error.etype().as_str()
                );
            }
        }
        error.set_retry(upstream.may_try_again(&ctx.tried));
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
        let from_upstream = matches!(error.esource(), ErrorSource::Upstream);
        if from_upstream {
            // One that answered 502 has been noted already.
            ctx.attempt_ended(None);
        } else {
            ctx.attempt_abandoned();
        }
        ctx.node_in_flight = None;
        let in_time = ctx.started.elapsed() < RETRY_WITHIN;
        let may_repeat = from_upstream
            && self.may_repeat(session, ctx)
            && (is_repeatable(&session.req_header().method) || was_not_processed(&error));
        let timed_out = matches!(error.etype(), ErrorType::ReadTimedout | ErrorType::WriteTimedout);
        let stale = reused && !timed_out && !ctx.fresh && !matches!(error.etype(), ErrorType::HTTPStatus(_));
        let again = if may_repeat && stale {
            // The node had closed a kept connection, which says nothing of the node: it is asked
            // once more, on a new one.
            ctx.fresh = true;
            ctx.tried.pop();
            true
        } else {
            may_repeat && in_time && ctx.upstream.as_ref().is_some_and(|upstream| upstream.may_try_again(&ctx.tried))
        };
        // Always decided here: Pingora panics on an error left undecided (trap T8).
        error.set_retry(again);
        error
    }

    /// Whether nothing that has happened to the request forbids to send it again.
    fn may_repeat(&self, session: &Session, ctx: &Context) -> bool {
        final_response(session).is_none()
            && !session.as_ref().retry_buffer_truncated()
            && !ctx.plugins_saw_body
            && matches!(ctx.kind, Kind::Http | Kind::Grpc)
    }

    /// A node has answered. A 502 of a node is retried like a failure, as the first gateway did.
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
        let Some(upstream) = &ctx.upstream else { return Ok(()) };
        if let Some(attempt) = ctx.attempts.last()
            && upstream.nodes()[attempt.node].state.readmit()
        {
            log::info!("service \"{}\": node {} answers again", upstream.name, upstream.nodes()[attempt.node].address);
        }
        let retry = status == 502
            && ctx.kind == Kind::Http
            && is_repeatable(&session.req_header().method)
            && self.may_repeat(session, ctx)
            && ctx.started.elapsed() < RETRY_WITHIN
            && upstream.may_try_again(&ctx.tried);
        if retry {
            return Err(Error::explain(ErrorType::HTTPStatus(status), "the node answered 502").into_up());
        }
        Ok(())
    }
}

/// Whether the protocol itself says that the node did not act on the request: RFC 9113 section 8.7.
fn was_not_processed(error: &Error) -> bool {
    let cause = error.root_cause();
    cause.downcast_ref::<h2::Error>().is_some_and(|e| e.reason() == Some(h2::Reason::REFUSED_STREAM))
}

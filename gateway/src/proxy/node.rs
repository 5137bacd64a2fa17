//! Which node is tried, and how it is reached.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use pingora::Error;
use pingora::upstreams::peer::HttpPeer;
use pingora_proxy::Session;
use ws_cloud_plugin_sdk::RequestCtx;

use super::context::{Attempt, Context, Kind};
use super::{Proxy, answer, head};
use crate::pipeline::BodyBuffers;
use crate::snapshot::hash_key;
use crate::upstream::{Balancing, Choice, InFlight, Node, Ticket, Wish, announce, isolate, override_timeouts};

impl Proxy {
    /// The peer of the next try: a node not tried before.
    pub(super) async fn next_peer(&self, session: &mut Session, ctx: &mut Context) -> pingora::Result<Box<HttpPeer>> {
        if ctx.kind == Kind::Internal {
            let internal = self.options.internal.as_ref().ok_or_else(|| answer::error(answer::NO_ROUTE))?;
            return Ok(Box::new(internal.peer.clone()));
        }
        if ctx.is_overdue() {
            return Err(answer::error(answer::TOO_SLOW));
        }
        let (index, in_flight) = match self.choose(session, ctx)? {
            Choice::Node(index, in_flight) => (index, in_flight),
            Choice::Wait(ticket) => wait(ctx, ticket).await.ok_or_else(|| at_limit(ctx))?,
            Choice::Full => return Err(at_limit(ctx)),
            Choice::Nobody => return Err(answer::error(answer::NO_NODE)),
        };
        let (Some(upstream), Some(route)) = (&ctx.upstream, &ctx.route) else {
            return Err(answer::error(answer::NO_NODE));
        };
        let node = &upstream.nodes()[index];
        ctx.tried.push(index);
        // Each try sends the body from its beginning.
        ctx.body_seen = 0;
        ctx.buffers = BodyBuffers::default();
        if let Some(metrics) = route.service_metrics.as_ref().filter(|_| !ctx.attempts.is_empty()) {
            metrics.retries.fetch_add(1, Ordering::Relaxed);
        }
        ctx.attempts.push(Attempt { node: index, started: Instant::now(), status: None, time: None, error: None });
        ctx.node_in_flight = Some(in_flight);
        let mut peer = Box::new(match ctx.kind {
            Kind::Grpc => node.peers.grpc().clone(),
            Kind::WebSocket => node.peers.websocket().clone(),
            Kind::Http | Kind::Internal => node.peers.http().clone(),
        });
        // A WebSocket's connection has a gate that serves one upgrade; and one that is made because a
        // kept one was closed must be new. A group key of its own keeps both apart from the pool.
        if ctx.kind == Kind::WebSocket || ctx.fresh {
            isolate(&mut peer, self.own_keys.fetch_add(1, Ordering::Relaxed));
            peer.options.idle_timeout = Some(Duration::from_millis(1));
        }
        override_timeouts(&mut peer, &route.options.timeouts);
        ctx.limit_peer(&mut peer);
        if let Some(version) = upstream.options.proxy_protocol
            && let Some(client) = client(ctx)
        {
            announce(&mut peer, version, client, session.server_addr().and_then(|address| address.as_inet()).copied());
        }
        Ok(peer)
    }

    fn choose(&self, session: &mut Session, ctx: &mut Context) -> pingora::Result<Choice> {
        let (Some(upstream), Some(route), Some(state)) = (&ctx.upstream, &ctx.route, &mut ctx.state) else {
            return Ok(Choice::Nobody);
        };
        let key = match &upstream.options.balancing {
            Balancing::Hash(hashing) => hash_key(&hashing.on, &session.req_header().headers, state),
            _ => None,
        };
        let http2 = match ctx.kind {
            Kind::Grpc => true,
            Kind::Http => upstream.options.speaks_http2,
            Kind::WebSocket | Kind::Internal => false,
        };
        let wish = Wish { key, http2, ..Wish::new(&ctx.tried) };
        if !route.pipeline.picks_nodes() {
            return Ok(upstream.choose(&wish, None, |_| true));
        }
        let choice = ctx.choice.get_or_insert_default();
        choice.attempt = u32::try_from(ctx.tried.count() + 1).unwrap_or(u32::MAX);
        let mut head = head::Request::new(session.req_header_mut());
        let mut request = RequestCtx::new(&mut head, state);
        route.pipeline.upstream_peer(&mut request, choice).map_err(|panic| self.panicked(&panic))?;
        let allowed = |node: &Node| !choice.excluded().contains(&node.address);
        let preferred = choice.preferred().and_then(|address| upstream.position(address));
        Ok(upstream.choose(&wish, preferred, allowed))
    }
}

/// Waits until a node has room; as long as a connection may take, and the request.
async fn wait(ctx: &Context, ticket: Ticket) -> Option<(usize, InFlight)> {
    let route = ctx.route.as_ref()?;
    let limits = ctx.upstream.as_ref()?.options.limits.as_ref()?;
    let longest = route.options.timeouts.connect.unwrap_or(limits.wait);
    let left = ctx.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    let _pending = route.service_metrics.as_ref().map(|metrics| metrics.begin_pending());
    ticket.wait(left.map_or(longest, |left| left.min(longest))).await
}

/// Every node is at its limit: the request is refused, and counted.
fn at_limit(ctx: &mut Context) -> Box<Error> {
    if let Some(metrics) = ctx.route.as_ref().and_then(|route| route.service_metrics.as_ref()) {
        metrics.limited.fetch_add(1, Ordering::Relaxed);
    }
    ctx.plugin_answer = Some(answer::at_limit());
    answer::error(answer::AT_LIMIT)
}

/// The client as nodes are told of it. Behind a trusted proxy its port is not known.
fn client(ctx: &Context) -> Option<SocketAddr> {
    let peer = ctx.connection.as_ref()?.peer;
    match ctx.client_ip {
        Some(ip) if ip != peer.ip().to_canonical() => Some(SocketAddr::new(ip, 0)),
        _ => Some(peer),
    }
}

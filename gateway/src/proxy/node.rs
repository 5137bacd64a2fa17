//! Which node is tried, and how it is reached.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use pingora::upstreams::peer::HttpPeer;
use pingora_proxy::Session;
use ws_cloud_plugin_sdk::RequestCtx;

use super::context::{Attempt, Context, Kind};
use super::{Proxy, answer, hash_key, head};
use crate::pipeline::BodyBuffers;
use crate::upstream::{Balancing, InFlight, Node, Wish};

impl Proxy {
    /// The peer of the next try: a node not tried before.
    pub(super) fn next_peer(&self, session: &mut Session, ctx: &mut Context) -> pingora::Result<Box<HttpPeer>> {
        if ctx.kind == Kind::Internal {
            let internal = self.options.internal.as_ref().ok_or_else(|| answer::error(answer::NO_ROUTE))?;
            return Ok(Box::new(internal.peer.clone()));
        }
        if ctx.is_overdue() {
            return Err(answer::error(answer::TOO_SLOW));
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
        ctx.limit_peer(&mut peer);
        Ok(peer)
    }

    fn pick(&self, session: &mut Session, ctx: &mut Context) -> pingora::Result<Option<usize>> {
        let (Some(upstream), Some(route), Some(state)) = (&ctx.upstream, &ctx.route, &mut ctx.state) else {
            return Ok(None);
        };
        let key = match &upstream.options.balancing {
            Balancing::Hash(hashing) => hash_key::of(&hashing.on, &session.req_header().headers, state),
            _ => None,
        };
        let wish = Wish { tried: &ctx.tried, key };
        if !route.pipeline.picks_nodes() {
            return Ok(upstream.pick(&wish, |_| true));
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
        Ok(preferred.or_else(|| upstream.pick(&wish, allowed)))
    }
}

//! The time a request may take: the wait for a response's header, and the whole exchange.

use std::time::{Duration, Instant};

use pingora::protocols::Digest;
use pingora::upstreams::peer::HttpPeer;

use super::context::{Context, Kind};
use crate::snapshot::CompiledRoute;
use crate::upstream::{self, ReadDeadline};

/// Pingora takes a timeout of 0 for none.
const SHORTEST: Duration = Duration::from_millis(1);

impl Context {
    /// Notes the limits of the route, or else of its service. The clock of the whole exchange
    /// began with the request.
    pub(super) fn limit_time(&mut self, route: &CompiledRoute) {
        let limits = route.options.time_limits(self.upstream.as_ref().map(|upstream| &upstream.options));
        self.first_byte = limits.first_byte;
        self.deadline = limits.total.map(|total| self.started + total);
    }

    /// Whether the time for the whole exchange is over.
    pub(super) fn is_overdue(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// Puts the limits on a peer of the next try.
    pub(super) fn limit_peer(&self, peer: &mut HttpPeer) {
        if self.deadline.is_none() && self.first_byte.is_none() {
            return;
        }
        let left = self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()).max(SHORTEST));
        let shorten = |timeout: &mut Option<Duration>, limit: Option<Duration>| {
            *timeout = match (*timeout, limit) {
                (Some(timeout), Some(limit)) => Some(timeout.min(limit)),
                (timeout, limit) => timeout.or(limit),
            };
        };
        let options = &mut peer.options;
        shorten(&mut options.connection_timeout, left);
        shorten(&mut options.total_connection_timeout, left);
        shorten(&mut options.write_timeout, left);
        shorten(&mut options.read_timeout, left);
        let Some(first_byte) = self.first_byte else { return };
        let is_sooner = options.read_timeout.is_none_or(|read| first_byte < read);
        let speaks_http1 = options.alpn.get_max_http_version() == 1;
        if is_sooner && !(self.kind == Kind::Http && speaks_http1 && upstream::time(peer)) {
            // One timeout must do for both: a connection to an HTTP/2 node serves other requests too.
            shorten(&mut peer.options.read_timeout, self.first_byte);
        }
    }

    /// A connection is there; from now on only the whole exchange has a limit.
    pub(super) fn limit_connection(&mut self, digest: Option<&Digest>) {
        if self.deadline.is_none() && self.first_byte.is_none() {
            return;
        }
        self.read_deadline = digest.and_then(ReadDeadline::of);
        self.limit_reads(self.deadline);
    }

    /// The request was sent: the response's header is awaited.
    pub(super) fn request_sent(&self) {
        if let Some(first_byte) = self.first_byte {
            let first_byte = Instant::now() + first_byte;
            self.limit_reads(Some(self.deadline.map_or(first_byte, |total| total.min(first_byte))));
        }
    }

    /// The response's header has come.
    pub(super) fn head_received(&self) {
        self.limit_reads(self.deadline);
    }

    /// The response has ended: the connection is another request's, or nobody's.
    pub(super) fn response_received(&mut self) {
        self.limit_reads(None);
        self.read_deadline = None;
    }

    fn limit_reads(&self, deadline: Option<Instant>) {
        if let Some(reads) = &self.read_deadline {
            reads.set(deadline);
        }
    }
}

//! Pingora's listening service on sockets that are ours, stopped when we say so.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use pingora::server::{ListenFds, ShutdownSignal, ShutdownSignalWatch, ShutdownWatch};
use pingora::services::Service as PingoraService;
use pingora::services::listening::Service;
use tokio::sync::watch;

use super::shutdown::reached;
use super::{Parts, watchdog};
use crate::proxy::Edge;

/// The data plane's service.
///
/// Pingora's server tells its services to stop and then waits for a fixed time. This one is told by
/// us, and the server only when all is over (see `shutdown.rs`).
pub(super) struct Listening {
    pub(super) service: Service<Edge>,
    pub(super) sockets: ListenFds,
    pub(super) parts: Arc<Parts>,
}

#[async_trait]
impl PingoraService for Listening {
    async fn start_service(&mut self, _: Option<ListenFds>, _: ShutdownWatch, listeners_per_fd: usize) {
        tokio::spawn(watchdog::beat(Arc::clone(&self.parts), listeners_per_fd));
        let mut closing = self.parts.ending.closing.subscribe();
        // It may have come before this.
        closing.mark_changed();
        let sockets = Some(Arc::clone(&self.sockets));
        let mut serving = pin!(self.service.start_service(sockets, closing, listeners_per_fd));
        let listening = &self.parts.listening;
        std::future::poll_fn(|cx| {
            let poll = serving.as_mut().poll(cx);
            if poll.is_pending() {
                // With sockets at hand it waits for nothing before its accept loops run.
                listening.store(true, Ordering::Relaxed);
            }
            poll
        })
        .await;
    }

    fn name(&self) -> &str {
        self.service.name()
    }
}

/// Ends Pingora's server, at once and with all connections that are left.
pub(super) struct WhenStopped(pub(super) watch::Receiver<bool>);

#[async_trait]
impl ShutdownSignalWatch for WhenStopped {
    async fn recv(&self) -> ShutdownSignal {
        reached(&mut self.0.clone()).await;
        ShutdownSignal::FastShutdown
    }
}

//! Serves a router over connections, with limits on their number, and on the time and size of what
//! comes over them.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::serve::Listener;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use ipnet::IpNet;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tower::ServiceExt as _;

use super::peer::{Connection, PeerAddr, allowed};
use super::stall::StallGuard;

/// What a listener lets its clients take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Most connections at a time. More are closed at once.
    pub max_connections: usize,
    /// Whom `max_connections` is for. All others share a few connections of their own, so that
    /// they get their 403, and cannot keep anyone out. `None` = everyone is equal.
    pub allow: Option<Vec<IpNet>>,
    /// Longest time for a request's header, and for an idle connection.
    pub header_timeout: Duration,
    /// Bytes of a request's header that are read before it is given up; what is read at once may
    /// be as much again.
    pub max_header_size: usize,
    /// Longest wait for a client to take response bytes.
    pub send_timeout: Duration,
    /// How long running requests have when the gateway stops.
    pub drain: Duration,
}

/// Connections of those that are not allowed.
const MAX_FOREIGN: usize = 16;

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 256,
            allow: None,
            header_timeout: Duration::from_secs(10),
            max_header_size: 64 << 10,
            send_timeout: Duration::from_secs(30),
            drain: Duration::from_secs(5),
        }
    }
}

/// Serves until `shutdown` says so (or is dropped), then lets running requests finish.
pub async fn serve<L>(mut listener: L, router: Router, limits: Limits, mut shutdown: watch::Receiver<bool>)
where
    L: Listener,
    L::Addr: PeerAddr,
{
    let limits = Arc::new(limits);
    let slots = Slots::new(&limits);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            (io, address) = listener.accept() => {
                let ip = address.ip();
                let Some(slot) = slots.take(&limits, ip) else {
                    log::debug!("admin: too many connections; closed one");
                    continue;
                };
                let connection = connection(io, ip, router.clone(), Arc::clone(&limits), shutdown.clone());
                connections.spawn(async move {
                    connection.await;
                    drop(slot);
                });
            }
            // Finished ones are taken out, or the set would grow.
            Some(_) = connections.join_next() => {}
            () = stopped(&mut shutdown) => break,
        }
    }
    drop(listener);
    if tokio::time::timeout(limits.drain, async { while connections.join_next().await.is_some() {} }).await.is_err() {
        log::warn!("admin: {} connections did not finish in time", connections.len());
    }
}

/// Tells answers without an end of their own that the gateway stops.
#[derive(Debug, Clone)]
pub(super) struct Stopping(pub(super) watch::Receiver<bool>);

struct Slots {
    allowed: Arc<Semaphore>,
    foreign: Arc<Semaphore>,
}

impl Slots {
    fn new(limits: &Limits) -> Self {
        Self {
            allowed: Arc::new(Semaphore::new(limits.max_connections)),
            foreign: Arc::new(Semaphore::new(MAX_FOREIGN)),
        }
    }

    fn take(&self, limits: &Limits, ip: Option<IpAddr>) -> Option<OwnedSemaphorePermit> {
        let foreign = matches!((&limits.allow, ip), (Some(networks), Some(ip)) if !allowed(networks, ip));
        let slots = if foreign { &self.foreign } else { &self.allowed };
        Arc::clone(slots).try_acquire_owned().ok()
    }
}

pub(super) async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    // An error is a sender that is gone, which means the same.
    drop(shutdown.wait_for(|stop| *stop).await);
}

async fn connection<I>(
    io: I,
    ip: Option<IpAddr>,
    router: Router,
    limits: Arc<Limits>,
    mut shutdown: watch::Receiver<bool>,
) where
    I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let stopping = Stopping(shutdown.clone());
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Connection(ip));
        request.extensions_mut().insert(stopping.clone());
        router.clone().oneshot(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(limits.max_header_size)
        .serve_connection(TokioIo::new(StallGuard::new(io, limits.send_timeout)), service);
    tokio::pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = stopped(&mut shutdown) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(e) = served {
        log::debug!("admin: connection ended: {e}");
    }
}

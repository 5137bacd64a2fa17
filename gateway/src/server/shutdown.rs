//! The end of the process: signals, and requests in flight that are let finish.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use pingora::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::telemetry::{AccessLog, ErrorLog, Metrics};

/// Longest time requests in flight get.
const DRAIN: Duration = Duration::from_secs(30);
/// How often it is looked whether they have ended.
const LOOK: Duration = Duration::from_millis(20);

/// Waits for SIGTERM or SIGINT. Then keep-alive connections are told to close with their next
/// response, `/readyz` says no, and requests in flight may finish; Pingora alone would cut them off
/// (trap T5). A second signal ends the process at once.
pub(super) struct Signals {
    pub(super) draining: Arc<AtomicBool>,
    pub(super) metrics: Arc<Metrics>,
}

#[async_trait]
impl ShutdownSignalWatch for Signals {
    async fn recv(&self) -> ShutdownSignal {
        let listen = |kind| signal(kind).expect("signal handlers can be installed while threads may be started");
        let (mut term, mut int) = (listen(SignalKind::terminate()), listen(SignalKind::interrupt()));
        next(&mut term, &mut int).await;
        self.draining.store(true, Ordering::Relaxed);
        log::info!("draining: {} requests in flight", self.metrics.in_flight());
        let drained = async {
            while self.metrics.in_flight() > 0 {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::select! {
            ended = tokio::time::timeout(DRAIN, drained) => {
                if ended.is_err() {
                    log::warn!("{} requests did not finish within {}s", self.metrics.in_flight(), DRAIN.as_secs());
                }
                ShutdownSignal::GracefulTerminate
            }
            () = next(&mut term, &mut int) => ShutdownSignal::FastShutdown,
        }
    }
}

/// On SIGUSR1 log files are opened anew, after something (logrotate) moved them away.
pub(super) async fn reopen_logs(access: Arc<AccessLog>, errors: ErrorLog) {
    let Ok(mut usr1) = signal(SignalKind::user_defined1()) else {
        log::error!("SIGUSR1 cannot be listened to");
        return;
    };
    while usr1.recv().await.is_some() {
        access.reopen();
        errors.reopen();
        log::info!("log files opened anew");
    }
}

async fn next(term: &mut Signal, int: &mut Signal) {
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}

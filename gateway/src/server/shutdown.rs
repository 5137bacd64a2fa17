//! The end of the process: what is asked to end when, and requests in flight that are let finish.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Parts, notify, reload, upgrade};

/// How often it is looked whether requests in flight have ended.
const LOOK: Duration = Duration::from_millis(20);

/// The steps of the end. Each turns true once and stays so.
pub(super) struct Ending {
    /// The data plane's listeners close. HTTP/2 clients get GOAWAY, HTTP/1.1 connections are closed
    /// with their next response.
    pub(super) closing: watch::Sender<bool>,
    /// This process does not speak for the gateway any more: control, admin and status end.
    pub(super) retired: watch::Sender<bool>,
    /// All ends that is left.
    pub(super) stopped: watch::Sender<bool>,
    /// Another process has taken over.
    pub(super) handed_over: watch::Sender<bool>,
}

impl Default for Ending {
    fn default() -> Self {
        let new = || watch::channel(false).0;
        Self { closing: new(), retired: new(), stopped: new(), handed_over: new() }
    }
}

impl Ending {
    /// Ends all that is left, at once.
    pub(super) fn stop(&self) {
        // First, or Pingora's accept loops would keep their runtime from ending.
        self.closing.send_replace(true);
        self.retired.send_replace(true);
        self.stopped.send_replace(true);
    }
}

/// Waits for a step, or until nobody can take it any more, which means the same.
pub(super) async fn reached(step: &mut watch::Receiver<bool>) {
    drop(step.wait_for(|reached| *reached).await);
}

/// What the process is told by signals. Listened to from the start: the first process of a container
/// has no other way to hear them.
pub(super) struct Signals {
    ends: EndSignals,
    hangup: Signal,
    usr1: Signal,
    usr2: Signal,
}

impl Signals {
    /// Must be called within a runtime.
    pub(super) fn listen() -> io::Result<Self> {
        let ends = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::quit())?];
        Ok(Self {
            ends: EndSignals(ends),
            hangup: signal(SignalKind::hangup())?,
            usr1: signal(SignalKind::user_defined1())?,
            usr2: signal(SignalKind::user_defined2())?,
        })
    }

    /// Does from now on what each asks for.
    pub(super) fn start(self, parts: &Arc<Parts>, runtime: &Runtime) {
        runtime.spawn(end(Arc::clone(parts), self.ends));
        runtime.spawn(reload::on_hangup(Arc::clone(parts), self.hangup));
        runtime.spawn(reopen_logs(Arc::clone(parts), self.usr1));
        runtime.spawn(upgrade::on_signal(Arc::clone(parts), self.usr2));
    }
}

/// SIGTERM, SIGINT and SIGQUIT, which all mean the same.
struct EndSignals([Signal; 3]);

impl EndSignals {
    async fn next(&mut self) {
        let [term, int, quit] = &mut self.0;
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
            _ = quit.recv() => {}
        }
    }
}

/// Waits for a signal, or for another process to take over, and ends this one step by step. A
/// signal while it does ends it at once.
async fn end(parts: Arc<Parts>, mut signals: EndSignals) {
    let mut handed_over = parts.ending.handed_over.subscribe();
    let taken_over = tokio::select! {
        () = signals.next() => false,
        () = reached(&mut handed_over) => true,
    };
    tokio::select! {
        () = drain(&parts, taken_over) => {}
        () = signals.next() => log::warn!("a second signal: ending with {} requests in flight", parts.metrics.in_flight()),
    }
    parts.ending.stop();
}

/// From here on responses say `Connection: close`, `/readyz` says no, and what is in flight may
/// finish; Pingora alone would cut it off (trap T5).
async fn drain(parts: &Parts, taken_over: bool) {
    let times = parts.reloads.borrow().shutdown.clone();
    let metrics = &parts.metrics;
    parts.draining.store(true, Ordering::Relaxed);
    log::info!("draining: {} requests in flight on {} connections", metrics.in_flight(), metrics.connections_active());
    if taken_over {
        parts.ending.retired.send_replace(true);
        if let Some(store) = &parts.embedded {
            store.release();
        }
    } else {
        notify::stopping("draining");
        tokio::time::sleep(times.delay).await;
    }
    parts.ending.closing.send_replace(true);
    parts.sockets.close();

    let closed = Instant::now();
    // Nobody waits for a process that another has taken over from: its idle connections keep.
    let idle = if taken_over { times.drain } else { times.idle.min(times.drain) };
    while metrics.in_flight() > 0 || (metrics.connections_active() > 0 && closed.elapsed() < idle) {
        if closed.elapsed() >= times.drain {
            log::warn!("{} requests did not finish within {:?}", metrics.in_flight(), times.drain);
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// On SIGUSR1 log files are opened anew, after something (logrotate) moved them away.
async fn reopen_logs(parts: Arc<Parts>, mut usr1: Signal) {
    while usr1.recv().await.is_some() {
        parts.reopen_logs();
        log::info!("log files opened anew");
    }
}

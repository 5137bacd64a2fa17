//! The service manager's watchdog is fed only while every thread of the data plane runs its tasks.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use super::{Parts, notify};

/// When each thread of the data plane last ran a task of ours.
pub(super) struct Heartbeats {
    epoch: Instant,
    /// Milliseconds from the epoch on.
    last: Mutex<HashMap<ThreadId, Arc<AtomicU64>>>,
}

impl Default for Heartbeats {
    fn default() -> Self {
        Self { epoch: Instant::now(), last: Mutex::default() }
    }
}

impl Heartbeats {
    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The calling thread's own; `None` when it has one already.
    fn begin(&self) -> Option<Arc<AtomicU64>> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let thread = std::thread::current().id();
        if last.contains_key(&thread) {
            return None;
        }
        let beat = Arc::new(AtomicU64::new(self.now()));
        last.insert(thread, Arc::clone(&beat));
        Some(beat)
    }

    fn count(&self) -> usize {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Threads that have not been heard of for so long.
    fn silent_for(&self, time: Duration) -> usize {
        let since = self.now().saturating_sub(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.values().filter(|beat| beat.load(Ordering::Relaxed) < since).count()
    }
}

/// Gives each of the data plane's threads a heartbeat, when there is a watchdog. Must run on one of
/// them.
pub(super) async fn beat(parts: Arc<Parts>, threads: usize) {
    let Some(interval) = notify::watchdog_interval() else { return };
    while parts.heartbeats.count() < threads {
        // Pingora chooses a thread at random for each.
        for _ in 0..threads * 4 {
            pingora_runtime::current_handle().spawn(run(Arc::clone(&parts), interval / 4));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn run(parts: Arc<Parts>, pause: Duration) {
    let Some(beat) = parts.heartbeats.begin() else { return };
    loop {
        beat.store(parts.heartbeats.now(), Ordering::Relaxed);
        tokio::time::sleep(pause).await;
    }
}

/// Feeds the watchdog, when there is one.
pub(super) async fn feed(parts: Arc<Parts>) {
    let Some(interval) = notify::watchdog_interval() else { return };
    loop {
        match parts.heartbeats.silent_for(interval) {
            0 => notify::watchdog(),
            n => log::error!("{n} threads of the data plane have been stuck for {interval:?}"),
        }
        tokio::time::sleep(interval / 2).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_silent_thread_is_enough() {
        let beats = Heartbeats {
            epoch: Instant::now().checked_sub(Duration::from_secs(100)).unwrap(),
            ..Heartbeats::default()
        };
        let own = beats.begin().unwrap();
        assert!(beats.begin().is_none(), "one a thread");
        std::thread::scope(|scope| drop(scope.spawn(|| drop(beats.begin().unwrap())).join()));
        assert_eq!((beats.count(), beats.silent_for(Duration::from_secs(10))), (2, 0));
        own.store(beats.now() - 11_000, Ordering::Relaxed);
        assert_eq!(beats.silent_for(Duration::from_secs(10)), 1);
    }
}

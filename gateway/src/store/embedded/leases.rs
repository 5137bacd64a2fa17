//! When each lease ends. Kept in memory: only that a lease exists is on disk.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::super::LeaseId;

#[derive(Default)]
pub(super) struct LeaseClock {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    leases: HashMap<LeaseId, Entry>,
    stopped: bool,
}

struct Entry {
    ttl: Duration,
    deadline: Instant,
}

impl LeaseClock {
    pub(super) fn insert(&self, lease: LeaseId, ttl: Duration) {
        self.insert_due_in(lease, ttl, ttl);
    }

    pub(super) fn insert_due_in(&self, lease: LeaseId, ttl: Duration, due_in: Duration) {
        self.lock().leases.insert(lease, Entry { ttl, deadline: Instant::now() + due_in });
        self.changed.notify_one();
    }

    pub(super) fn remove(&self, lease: LeaseId) {
        self.lock().leases.remove(&lease);
    }

    pub(super) fn contains(&self, lease: LeaseId) -> bool {
        self.lock().leases.contains_key(&lease)
    }

    /// As in etcd, a lease that is due but has not been ended yet can still be renewed.
    pub(super) fn renew(&self, lease: LeaseId) -> Option<Duration> {
        let mut state = self.lock();
        let entry = state.leases.get_mut(&lease)?;
        entry.deadline = Instant::now() + entry.ttl;
        Some(entry.ttl)
    }

    pub(super) fn left(&self, lease: LeaseId) -> Option<Duration> {
        Some(self.lock().leases.get(&lease)?.deadline.saturating_duration_since(Instant::now()))
    }

    /// Removes the lease if it is still due, and returns its time to live.
    pub(super) fn take_due(&self, lease: LeaseId) -> Option<Duration> {
        let mut state = self.lock();
        if state.leases.get(&lease)?.deadline > Instant::now() {
            return None;
        }
        state.leases.remove(&lease).map(|entry| entry.ttl)
    }

    /// Waits until leases are due; `None` once stopped.
    pub(super) fn wait_for_due(&self) -> Option<Vec<LeaseId>> {
        let mut state = self.lock();
        loop {
            if state.stopped {
                return None;
            }
            let now = Instant::now();
            let due: Vec<_> = state.leases.iter().filter(|(_, e)| e.deadline <= now).map(|(id, _)| *id).collect();
            if !due.is_empty() {
                return Some(due);
            }
            state = match state.leases.values().map(|e| e.deadline).min() {
                Some(next) => self.changed.wait_timeout(state, next - now).unwrap_or_else(PoisonError::into_inner).0,
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    pub(super) fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

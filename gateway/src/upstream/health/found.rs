//! What probes have found of a node, and how often.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// What the last probe found.
#[derive(Debug, Clone)]
pub struct Probed {
    /// When.
    pub at: SystemTime,
    /// Why it failed; `None` when it did not.
    pub failure: Option<Box<str>>,
}

/// What probes have found of a node. Requests read one atomic of it; the rest is for people.
#[derive(Debug)]
#[repr(C)]
pub struct Found {
    note: Mutex<Note>,
    /// At the end; see `NodeState`.
    healthy: AtomicBool,
}

#[derive(Debug, Default)]
struct Note {
    last: Option<Probed>,
    /// Since when the node is unhealthy, and why.
    unhealthy: Option<(SystemTime, Box<str>)>,
    /// Since when it is healthy again.
    healed: Option<SystemTime>,
}

impl Default for Found {
    /// A new node is healthy until shown otherwise.
    fn default() -> Self {
        Self { healthy: AtomicBool::new(true), note: Mutex::default() }
    }
}

impl Found {
    /// Whether the node is healthy.
    #[inline]
    pub fn is_healthy(&self) -> bool {
        self.healthy.load(Ordering::Relaxed)
    }

    /// The last probe.
    pub fn last(&self) -> Option<Probed> {
        self.note().last.clone()
    }

    /// Since when the node is unhealthy, and why.
    pub fn unhealthy(&self) -> Option<(SystemTime, Box<str>)> {
        self.note().unhealthy.clone()
    }

    /// Since when the node is healthy again, if it ever was not.
    pub fn healed(&self) -> Option<SystemTime> {
        self.note().healed
    }

    /// Notes a probe.
    pub(super) fn probed(&self, result: Result<(), Box<str>>) {
        self.note().last = Some(Probed { at: SystemTime::now(), failure: result.err() });
    }

    /// Calls the node healthy.
    pub(in crate::upstream) fn heal(&self) {
        {
            let mut note = self.note();
            note.unhealthy = None;
            note.healed = Some(SystemTime::now());
        }
        self.healthy.store(true, Ordering::Relaxed);
    }

    /// Calls the node unhealthy.
    pub(in crate::upstream) fn condemn(&self, why: &str) {
        self.note().unhealthy = Some((SystemTime::now(), why.into()));
        self.healthy.store(false, Ordering::Relaxed);
    }

    fn note(&self) -> MutexGuard<'_, Note> {
        self.note.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What has happened to the nodes of a service, counted. Kept over rebuilds.
#[derive(Debug, Default)]
pub struct Counts {
    /// Probes that succeeded.
    pub passed: AtomicU64,
    /// Probes that failed.
    pub failed: AtomicU64,
    /// Nodes that became unhealthy.
    pub unhealthy: AtomicU64,
    /// Nodes that became healthy again.
    pub healthy: AtomicU64,
    /// Nodes that were left out because of what requests showed.
    pub ejected: AtomicU64,
    /// Nodes that were taken back.
    pub readmitted: AtomicU64,
}

impl Counts {
    /// Counts one.
    pub(in crate::upstream) fn one(count: &AtomicU64) {
        count.fetch_add(1, Ordering::Relaxed);
    }
}

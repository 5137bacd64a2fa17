//! How control stands, for gauges, `/readyz` and the panel: read without a lock.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde_json::json;
use tokio::time::Instant;

use crate::telemetry::Events;

/// Where the live configuration comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Nothing is live yet.
    None,
    /// The copy on disk; the store has not been heard, or what it says is not believed yet.
    Disk,
    /// The store.
    Store,
}

/// How control stands. Written by control alone.
#[derive(Debug)]
pub struct ControlStatus {
    /// Instants are kept as milliseconds since this one.
    epoch: Instant,
    connected: AtomicBool,
    disconnected_at: AtomicU64,
    stored_revision: AtomicU64,
    applied_revision: AtomicU64,
    source: AtomicU8,
    /// 0 when nothing is held.
    held_until: AtomicU64,
    entries: AtomicU64,
    publishes: AtomicU64,
    last_publish_micros: AtomicU64,
    /// What is live is to be written to disk, and is not yet.
    unsaved: AtomicBool,
    texts: Mutex<Texts>,
    /// Who is told when the store goes and comes, if anyone is.
    events: OnceLock<Arc<Events>>,
}

#[derive(Debug, Default, Clone)]
struct Texts {
    outage: Option<String>,
    disk_error: Option<String>,
    disk_saved_at: Option<String>,
    publish_error: Option<String>,
    /// Keys of nodes kept beyond their lease.
    kept: Vec<String>,
}

/// All of [`ControlStatus`] at one moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ControlReport {
    /// Whether something was published.
    pub ready: bool,
    /// Whether the store is reached.
    pub connected: bool,
    /// Seconds since the store was last reached, 0 while it is.
    pub stale_seconds: f64,
    /// Why the store is not reached.
    pub outage: Option<String>,
    /// Where the live configuration comes from.
    pub source: Source,
    /// The store's revision as last heard.
    pub stored_revision: u64,
    /// The revision that is live.
    pub applied_revision: u64,
    /// Objects handed over to be published, rejected ones included.
    pub entries: u64,
    /// Times something was published.
    pub publishes: u64,
    /// How long the last publish took.
    pub last_publish_ms: f64,
    /// Why the last publish failed as a whole.
    pub publish_error: Option<String>,
    /// Seconds until an emptied store is believed; absent when nothing is held.
    pub holding_seconds: Option<f64>,
    /// Nodes kept beyond their lease, since most of their service's went together.
    pub kept_beyond_lease: usize,
    /// Their keys, the first hundred.
    pub kept_nodes: Vec<String>,
    /// When the copy on disk was last written.
    pub disk_saved_at: Option<String>,
    /// Why the copy on disk cannot be written.
    pub disk_error: Option<String>,
}

impl ControlStatus {
    pub(super) fn new() -> Self {
        Self {
            epoch: Instant::now(),
            connected: AtomicBool::new(false),
            disconnected_at: AtomicU64::new(0),
            stored_revision: AtomicU64::new(0),
            applied_revision: AtomicU64::new(0),
            source: AtomicU8::new(0),
            held_until: AtomicU64::new(0),
            entries: AtomicU64::new(0),
            publishes: AtomicU64::new(0),
            last_publish_micros: AtomicU64::new(0),
            unsaved: AtomicBool::new(false),
            texts: Mutex::default(),
            events: OnceLock::new(),
        }
    }

    /// Tells of the store there from now on. The first one given is kept.
    pub fn tell(&self, events: &Arc<Events>) {
        let _kept = self.events.set(Arc::clone(events));
    }

    /// Whether something was published: requests can be routed.
    pub fn ready(&self) -> bool {
        self.source() != Source::None
    }

    /// Whether the store is reached.
    pub fn connected(&self) -> bool {
        self.connected.load(Relaxed)
    }

    /// How long the store has not been reached; zero while it is.
    pub fn stale_for(&self) -> Duration {
        if self.connected() {
            return Duration::ZERO;
        }
        self.since_epoch(Instant::now()).saturating_sub(Duration::from_millis(self.disconnected_at.load(Relaxed)))
    }

    /// Why the store is not reached.
    pub fn outage(&self) -> Option<String> {
        self.texts().outage.clone()
    }

    /// Where the live configuration comes from.
    pub fn source(&self) -> Source {
        match self.source.load(Relaxed) {
            0 => Source::None,
            1 => Source::Disk,
            _ => Source::Store,
        }
    }

    /// The store's revision as last heard.
    pub fn stored_revision(&self) -> u64 {
        self.stored_revision.load(Relaxed)
    }

    /// The revision that is live.
    pub fn applied_revision(&self) -> u64 {
        self.applied_revision.load(Relaxed)
    }

    /// Objects handed over to be published.
    pub fn entries(&self) -> u64 {
        self.entries.load(Relaxed)
    }

    /// Times something was published.
    pub fn publishes(&self) -> u64 {
        self.publishes.load(Relaxed)
    }

    /// How long the last publish took.
    pub fn last_publish(&self) -> Duration {
        Duration::from_micros(self.last_publish_micros.load(Relaxed))
    }

    /// How long an emptied store is still not believed.
    pub fn holding(&self) -> Option<Duration> {
        let until = self.held_until.load(Relaxed);
        (until != 0).then(|| Duration::from_millis(until).saturating_sub(self.since_epoch(Instant::now())))
    }

    /// Whether what is live is not on disk yet.
    pub fn unsaved(&self) -> bool {
        self.unsaved.load(Relaxed)
    }

    pub(super) fn set_unsaved(&self, unsaved: bool) {
        self.unsaved.store(unsaved, Relaxed);
    }

    /// Nodes kept beyond their lease.
    pub fn kept_beyond_lease(&self) -> usize {
        self.texts().kept.len()
    }

    /// Why the copy on disk cannot be written.
    pub fn disk_error(&self) -> Option<String> {
        self.texts().disk_error.clone()
    }

    /// All of it.
    pub fn report(&self) -> ControlReport {
        let texts = self.texts().clone();
        ControlReport {
            ready: self.ready(),
            connected: self.connected(),
            stale_seconds: self.stale_for().as_secs_f64(),
            outage: texts.outage,
            source: self.source(),
            stored_revision: self.stored_revision(),
            applied_revision: self.applied_revision(),
            entries: self.entries(),
            publishes: self.publishes(),
            last_publish_ms: self.last_publish().as_secs_f64() * 1000.0,
            publish_error: texts.publish_error,
            holding_seconds: self.holding().map(|left| left.as_secs_f64()),
            kept_beyond_lease: texts.kept.len(),
            kept_nodes: texts.kept.into_iter().take(100).collect(),
            disk_saved_at: texts.disk_saved_at,
            disk_error: texts.disk_error,
        }
    }

    /// All of it as JSON.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(self.report()).unwrap_or_default()
    }

    /// Notes an outage; false when it is known already.
    pub(super) fn set_disconnected(&self, reason: &str) -> bool {
        let known = self.texts().outage.replace(reason.to_owned()).is_some();
        if let Some(events) = self.events.get().filter(|_| !known) {
            events.tell("store", json!({"connected": false, "why": reason}));
        }
        if self.connected.swap(false, Relaxed) {
            self.disconnected_at.store(self.millis(Instant::now()), Relaxed);
        }
        !known
    }

    /// Notes that the store is reached; the length of the outage when there was one.
    pub(super) fn set_connected(&self) -> Option<Duration> {
        if self.connected() {
            return None;
        }
        let lasted = self.stale_for();
        self.connected.store(true, Relaxed);
        let lasted = self.texts().outage.take().map(|_| lasted)?;
        if let Some(events) = self.events.get() {
            events.tell("store", json!({"connected": true, "outage_seconds": lasted.as_secs()}));
        }
        Some(lasted)
    }

    pub(super) fn set_stored_revision(&self, revision: u64) {
        self.stored_revision.store(revision, Relaxed);
    }

    pub(super) fn set_applied(&self, revision: u64, source: Source) {
        self.applied_revision.store(revision, Relaxed);
        self.source.store(source as u8, Relaxed);
    }

    pub(super) fn set_published(&self, entries: usize, took: Duration) {
        self.entries.store(entries as u64, Relaxed);
        self.last_publish_micros.store(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Relaxed);
        self.publishes.fetch_add(1, Relaxed);
        self.texts().publish_error = None;
    }

    pub(super) fn set_publish_error(&self, error: String) {
        self.texts().publish_error = Some(error);
    }

    pub(super) fn set_holding(&self, until: Option<Instant>) {
        self.held_until.store(until.map_or(0, |until| self.millis(until).max(1)), Relaxed);
    }

    pub(super) fn set_kept(&self, keys: Vec<String>) {
        self.texts().kept = keys;
    }

    pub(super) fn set_saved(&self, at: String) {
        let mut texts = self.texts();
        texts.disk_saved_at = Some(at);
        texts.disk_error = None;
    }

    pub(super) fn set_disk_error(&self, error: String) {
        self.texts().disk_error = Some(error);
    }

    fn texts(&self) -> MutexGuard<'_, Texts> {
        self.texts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn since_epoch(&self, at: Instant) -> Duration {
        at.saturating_duration_since(self.epoch)
    }

    fn millis(&self, at: Instant) -> u64 {
        u64::try_from(self.since_epoch(at).as_millis()).unwrap_or(u64::MAX)
    }
}

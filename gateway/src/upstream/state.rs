//! What a node has been through. Shared by every snapshot that has the node; only atomics.

use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::Memory;
use super::balancer::Summed;
use super::ejection::Ejection;
use super::health::Found;
use super::latency::Latency;
use super::passive::Seen;
use super::served::Served;

/// The clock of ejections: milliseconds since the process began, never 0.
pub(super) fn now_ms() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(START.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
}

/// The share of its weight that a node begins with when it starts slowly.
const FIRST_SHARE: f32 = 0.1;

/// The state of a node of one service.
///
/// In this order, in which what every choice reads is in one place: the end of `found`, the requests
/// in flight, and the beginning of `ejection`. Of thousands of nodes a request finds none in the
/// processor's cache, and waits for each line of it.
#[derive(Debug)]
#[repr(C)]
pub struct NodeState {
    /// What probes have found.
    pub found: Found,
    in_flight: AtomicU32,
    /// Requests it was chosen for, for the metrics. In what would be a gap.
    picked: AtomicU32,
    /// Whether it is left out because of what requests show.
    pub ejection: Ejection,
    /// How soon it answers, for the balancer that asks.
    pub(super) latency: Latency,
    /// Since when its weight grows; 0 = it has its whole weight.
    warming_since: AtomicU64,
    /// What requests show.
    pub(super) seen: Seen,
    /// Requests that failed there, for the metrics.
    pub(super) failed: AtomicU32,
    /// What it has answered.
    pub served: Served,
}

impl Default for NodeState {
    /// A new node is healthy until shown otherwise.
    fn default() -> Self {
        Self {
            found: Found::default(),
            ejection: Ejection::default(),
            seen: Seen::default(),
            served: Served::default(),
            in_flight: AtomicU32::new(0),
            picked: AtomicU32::new(0),
            failed: AtomicU32::new(0),
            warming_since: AtomicU64::new(0),
            latency: Latency::default(),
        }
    }
}

impl NodeState {
    /// Whether requests should go to the node.
    #[inline]
    pub fn is_usable(&self) -> bool {
        self.found.is_healthy() && !self.is_ejected()
    }

    /// Whether the node is left out because of what requests showed.
    pub fn is_ejected(&self) -> bool {
        self.ejection.is_on(now_ms)
    }

    /// Whether the active check finds the node healthy.
    pub fn is_healthy(&self) -> bool {
        self.found.is_healthy()
    }

    /// What probes make of it, as events and status call it.
    pub fn health(&self) -> &'static str {
        if self.is_healthy() { "healthy" } else { "unhealthy" }
    }

    /// How much of its weight it has while it starts slowly; 1 when that is the whole.
    pub fn share(&self, slow_start: Option<Duration>) -> f32 {
        slow_start.and_then(|over| self.warmth(over, now_ms)).unwrap_or(1.0)
    }

    /// Calls the node healthy.
    pub fn heal(&self) {
        if !self.is_healthy() {
            self.found.heal();
            self.warm_up();
        }
    }

    /// Calls the node unhealthy.
    pub fn condemn(&self, why: &str) {
        self.found.condemn(why);
    }

    /// Leaves the node out for a while because it took no connection; `true` when it was not left
    /// out before.
    pub fn eject(&self, time: Duration) -> bool {
        self.ejection.refused(time, now_ms())
    }

    /// Takes the node back; `true` when it was left out.
    pub fn readmit(&self) -> bool {
        let readmitted = self.ejection.readmit(now_ms());
        if readmitted {
            self.is_back();
        }
        readmitted
    }

    /// Notes that a request goes to the node, which may be one that decides whether it is well.
    #[inline]
    fn requested(&self) {
        self.picked.fetch_add(1, Ordering::Relaxed);
        if self.awaits_readmission() {
            self.ejection.requested(now_ms());
        }
    }

    /// After it was taken back.
    pub(super) fn is_back(&self) {
        self.seen.clear();
        self.warm_up();
    }

    /// Lets its weight grow from now on, where the service has its nodes start slowly.
    pub fn warm_up(&self) {
        self.warming_since.store(now_ms(), Ordering::Relaxed);
    }

    /// The share of its weight that the node has while it grows; `None` when that is the whole.
    #[inline]
    pub(super) fn warmth(&self, over: Duration, now_ms: impl FnOnce() -> u64) -> Option<f32> {
        let since = self.warming_since.load(Ordering::Relaxed);
        if since == 0 {
            return None;
        }
        let share = now_ms().saturating_sub(since) as f32 / over.as_millis().max(1) as f32;
        if share < 1.0 {
            return Some(FIRST_SHARE + (1.0 - FIRST_SHARE) * share);
        }
        // Another start may have begun meanwhile; then it stays.
        self.warming_since.compare_exchange(since, 0, Ordering::Relaxed, Ordering::Relaxed).ok()?;
        None
    }

    /// Whether the node was ejected and has not been taken back, whether or not its time is over.
    #[inline]
    pub fn awaits_readmission(&self) -> bool {
        self.ejection.awaits_readmission()
    }

    /// Requests it was chosen for so far, and those that failed there; both begin again at 0.
    pub fn counted(&self) -> (u32, u32) {
        (self.picked.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }

    /// Requests being served by the node now.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }
}

/// Counts a request as in flight at a node until dropped, however the request ends.
#[derive(Debug)]
pub struct InFlight {
    state: Arc<NodeState>,
    /// Where others may wait for its place.
    memory: Option<Arc<Memory>>,
    /// Its part in the sum of the service, where that is kept.
    summed: Option<Summed>,
}

impl InFlight {
    /// Counts one.
    pub fn at(state: &Arc<NodeState>) -> Self {
        state.in_flight.fetch_add(1, Ordering::Relaxed);
        state.requested();
        Self { state: Arc::clone(state), memory: None, summed: None }
    }

    /// Counts one unless there are this many. When it ends its place goes to those who wait.
    pub(super) fn within(state: &Arc<NodeState>, most: u32, waiting: Option<&Arc<Memory>>) -> Option<Self> {
        let one_more = |n: u32| (n < most).then_some(n + 1);
        state.in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        state.requested();
        Some(Self { state: Arc::clone(state), memory: waiting.cloned(), summed: None })
    }

    /// Counts it among those of its service as well.
    pub(super) fn summed(mut self, memory: &Arc<Memory>) -> Self {
        self.summed = Some(Summed::new(memory));
        self
    }

    /// Ends it, and tells nobody.
    pub(super) fn leave_silently(mut self) {
        self.memory = None;
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.state.in_flight.fetch_sub(1, Ordering::Relaxed);
        if let Some(memory) = &self.memory {
            memory.queue.freed(&self.state);
        }
    }
}

//! Passive health: what requests show of a node, and when it is left out for it.
//!
//! A request only adds to counters, and acts on errors in a row. Shares and latencies are judged by
//! the health checker, twice a second.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::ejection::{Cause, Sentence};
use super::health::Counts;
use super::state::now_ms;
use super::{Node, Outcome, Upstream};

/// A mean that is larger by less than this is no outlier, however small the others'.
const SLOWER_BY: Duration = Duration::from_millis(10);

/// When a node is left out because of what requests show.
#[derive(Debug, Clone, PartialEq)]
pub struct Passive {
    /// Errors in a row.
    pub consecutive_errors: Option<u32>,
    /// The share of requests in the window that fail.
    pub error_ratio: Option<f64>,
    /// How many times slower than the other nodes' median.
    pub latency_factor: Option<f64>,
    /// The window of share and latency.
    pub window: Duration,
    /// Fewest requests in the window.
    pub min_requests: u32,
    /// Largest share of the nodes that may be out at a time, unhealthy ones included. One of several
    /// always may, unless this is 0; never all.
    pub max_ejected: f64,
}

impl Passive {
    fn has_window(&self) -> bool {
        self.error_ratio.is_some() || self.latency_factor.is_some()
    }

    /// How many of so many nodes may be out.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    fn most_out(&self, nodes: usize) -> usize {
        if self.max_ejected <= 0.0 || nodes < 2 {
            return 0;
        }
        ((nodes as f64 * self.max_ejected) as usize).clamp(1, nodes - 1)
    }
}

/// What requests have shown of a node.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Errors since the last success.
    consecutive: AtomicU32,
    /// In the window: requests, errors, and the sum of the times of those answered.
    requests: AtomicU32,
    errors: AtomicU32,
    micros: AtomicU64,
}

impl Seen {
    /// Forgets it.
    pub(super) fn clear(&self) {
        self.consecutive.store(0, Relaxed);
        self.clear_window();
    }

    fn clear_window(&self) {
        self.requests.store(0, Relaxed);
        self.errors.store(0, Relaxed);
        self.micros.store(0, Relaxed);
    }

    /// The mean time of those answered without error, when there are enough.
    fn mean(&self, enough: u32) -> Option<Duration> {
        let answered = self.requests.load(Relaxed).saturating_sub(self.errors.load(Relaxed));
        (answered >= enough.max(1)).then(|| Duration::from_micros(self.micros.load(Relaxed) / u64::from(answered)))
    }

    /// The share of errors, when there are enough requests.
    fn error_ratio(&self, enough: u32) -> Option<f64> {
        let requests = self.requests.load(Relaxed);
        (requests >= enough.max(1)).then(|| f64::from(self.errors.load(Relaxed)) / f64::from(requests))
    }
}

impl Upstream {
    /// Adds a try to what is known of the node.
    pub(super) fn watch(&self, passive: &Passive, node: &Node, outcome: Outcome) {
        let seen = &node.state.seen;
        if passive.has_window() {
            seen.requests.fetch_add(1, Relaxed);
        }
        if let (false, Outcome::Answered { first_byte, .. }) = (outcome.is_error(), outcome) {
            if passive.latency_factor.is_some() {
                seen.micros.fetch_add(u64::try_from(first_byte.as_micros()).unwrap_or(u64::MAX), Relaxed);
            }
            if seen.consecutive.load(Relaxed) != 0 {
                seen.consecutive.store(0, Relaxed);
            }
            return;
        }
        if passive.has_window() {
            seen.errors.fetch_add(1, Relaxed);
        }
        let Some(limit) = passive.consecutive_errors else { return };
        let row = seen.consecutive.fetch_add(1, Relaxed) + 1;
        if row >= limit && !node.state.awaits_readmission() {
            let why = format_args!("{row} errors in a row, the last: {outcome}");
            self.leave_out(passive, node, Cause::Errors, None, why);
            // Where there is no room to leave it out it takes as many errors to look again.
            seen.consecutive.store(0, Relaxed);
        }
    }

    /// Judges shares of errors and latencies. For the health checker.
    pub(super) fn judge(&self) {
        let Some(passive) = self.options.passive.as_ref().filter(|passive| passive.has_window()) else { return };
        if let Some(limit) = passive.error_ratio {
            for node in self.nodes.iter().filter(|node| !node.state.awaits_readmission()) {
                if let Some(ratio) = node.state.seen.error_ratio(passive.min_requests).filter(|ratio| *ratio >= limit) {
                    let why = format_args!("{:.0} % of its requests fail", ratio * 100.0);
                    self.leave_out(passive, node, Cause::ErrorRatio, None, why);
                }
            }
        }
        if let Some(factor) = passive.latency_factor {
            self.judge_latency(passive, factor);
        }
        let now = now_ms();
        let began = self.memory.window_began.load(Relaxed);
        if u128::from(now.saturating_sub(began)) >= passive.window.as_millis() {
            self.memory.window_began.store(now, Relaxed);
            self.nodes.iter().for_each(|node| node.state.seen.clear_window());
        }
    }

    fn judge_latency(&self, passive: &Passive, factor: f64) {
        let present = self.nodes.iter().filter(|node| !node.state.awaits_readmission());
        let mut means: Vec<(Duration, &Node)> =
            present.filter_map(|node| Some((node.state.seen.mean(passive.min_requests)?, node))).collect();
        if means.len() < 2 {
            return;
        }
        means.sort_by_key(|(mean, _)| *mean);
        // The slowest first; the median is that of the others, so that of two nodes one can be slow.
        while let Some((mean, node)) = means.pop() {
            let Some((median, _)) = means.get(means.len() / 2) else { return };
            let tolerance = median.mul_f64(factor).max(*median + SLOWER_BY);
            if mean <= tolerance {
                return;
            }
            let why = format_args!("it answers in {mean:.1?}, the others in {median:.1?}");
            if !self.leave_out(passive, node, Cause::Latency, Some(tolerance), why) {
                return;
            }
        }
    }

    /// Leaves a node out, if there is room. Says so once.
    fn leave_out(
        &self,
        passive: &Passive,
        node: &Node,
        cause: Cause,
        tolerance: Option<Duration>,
        why: std::fmt::Arguments<'_>,
    ) -> bool {
        // Two at a time could take more than there is room for; then the other one waits for its
        // next error.
        let deciding = &self.memory.deciding;
        if deciding.swap(true, Relaxed) {
            return false;
        }
        let is_out = |node: &&Node| !node.state.is_healthy() || node.state.awaits_readmission();
        let room = self.nodes.iter().filter(is_out).count() < passive.most_out(self.nodes.len());
        let sentence = Sentence { cause, time: self.options.eject_time, tolerance };
        let time = if room { node.state.ejection.begin(&sentence, now_ms()) } else { None };
        deciding.store(false, Relaxed);
        let (service, address) = (&self.name, node.address);
        let Some(time) = time else {
            log::debug!("service \"{service}\": node {address} stays, too many are out: {why}");
            return false;
        };
        node.state.seen.clear();
        Counts::one(&self.memory.counts.ejected);
        log::warn!("service \"{service}\": node {address} is left out for {time:?}: {why}");
        self.tell(node, node.state.health(), "ejected", format_args!("left out for {time:?}: {why}"));
        true
    }
}

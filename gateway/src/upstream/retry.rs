//! What is tried again, and how often: the policy of a service and its budget.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What counts as a failed try that another node may make good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryOn {
    /// No connection was made.
    pub connect: bool,
    /// The connection broke before the response had begun.
    pub reset: bool,
    /// The node took too long.
    pub timeout: bool,
    /// Statuses from 500 on; bit 0 is 500.
    statuses: u128,
}

impl RetryOn {
    /// A policy for these statuses; those below 500 and above 599 are left out.
    pub fn new(connect: bool, reset: bool, timeout: bool, statuses: &[u16]) -> Self {
        let bits = statuses.iter().filter_map(|status| status.checked_sub(500).filter(|bit| *bit < 100));
        Self { connect, reset, timeout, statuses: bits.fold(0, |all, bit| all | 1 << bit) }
    }

    /// Whether a response of this status is a failed try.
    pub fn status(&self, status: u16) -> bool {
        status.checked_sub(500).is_some_and(|bit| bit < 100 && self.statuses >> bit & 1 == 1)
    }
}

/// The retry policy of a service.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryPolicy {
    /// What is tried again.
    pub on: RetryOn,
    /// How long after its start a request that reached a node may be tried again.
    pub within: Duration,
    /// The share of requests that may be retries.
    pub budget: f64,
}

impl Default for RetryPolicy {
    /// As the first gateway: what broke, what took too long, and 502, within a second. One of two
    /// nodes may be broken for good: half of the requests then need a second try.
    fn default() -> Self {
        Self { on: RetryOn::new(true, true, true, &[502]), within: Duration::from_secs(1), budget: 0.5 }
    }
}

/// Retries that are allowed whatever the budget, in each window.
const ALWAYS: u64 = 10;
/// The window of the budget.
const WINDOW: Duration = Duration::from_secs(10);

/// Counts requests and retries of a service in windows, so that retries stay a share of requests.
/// Kept over rebuilds.
#[derive(Debug, Default)]
pub struct RetryBudget {
    /// The number of the present window.
    window: AtomicU64,
    requests: AtomicU64,
    retries: AtomicU64,
}

impl RetryBudget {
    /// Counts a request.
    pub fn request(&self) {
        self.turn();
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether one more retry is within this share of the requests; counts it when it is.
    pub fn take(&self, share: f64) -> bool {
        self.turn();
        let requests = self.requests.load(Ordering::Relaxed);
        // Counts stay far below 2^52, and a share of them needs no more than that.
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let allowed = ALWAYS + (requests as f64 * share) as u64;
        self.retries.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < allowed).then_some(n + 1)).is_ok()
    }

    /// Begins a new window when the present one is over. Half of what was counted stays, so that a
    /// new window does not begin without any.
    fn turn(&self) {
        let now = super::state::now_ms() / u64::try_from(WINDOW.as_millis()).unwrap_or(u64::MAX);
        let window = self.window.load(Ordering::Relaxed);
        if window != now && self.window.compare_exchange(window, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            let keep = u32::from(window + 1 == now);
            for count in [&self.requests, &self.retries] {
                count.store((count.load(Ordering::Relaxed) >> 1) * u64::from(keep), Ordering::Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_stay_a_share_of_the_requests() {
        let budget = RetryBudget::default();
        (0..1000).for_each(|_| budget.request());
        let taken = (0..1000).filter(|_| budget.take(0.2)).count();
        // A window may end meanwhile, and then half of both stays.
        assert!((200..=420).contains(&taken), "{taken}");
    }

    #[test]
    fn a_few_retries_are_always_allowed() {
        let budget = RetryBudget::default();
        assert!((0..ALWAYS).all(|_| budget.take(0.0)));
    }

    #[test]
    fn only_the_statuses_named_are_failures() {
        let on = RetryOn::new(true, true, true, &[502, 599, 404]);
        assert!(on.status(502) && on.status(599));
        assert!(!on.status(500) && !on.status(404) && !on.status(600) && !on.status(404 + 500));
    }
}

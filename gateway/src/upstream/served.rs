//! What a node has answered since it is known: counts and times, for status and figures.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::Outcome;
use crate::telemetry::{AtomicHistogram, Figures};

/// What a node has answered. A try costs three additions.
#[derive(Debug, Default)]
pub struct Served {
    /// Times to the head of its answers.
    pub latency: AtomicHistogram,
    /// Answers with 5xx.
    pub errors: AtomicU64,
    /// Tries that got no answer.
    pub failures: AtomicU64,
}

impl Served {
    /// What there was so far. The classes of statuses are not known.
    pub fn figures(&self) -> Figures {
        let (times, failures) = (self.latency.read(), self.failures.load(Relaxed));
        Figures {
            requests: times.count() + failures,
            errors: self.errors.load(Relaxed) + failures,
            times,
            ..Figures::default()
        }
    }

    /// Counts a try.
    pub(super) fn observe(&self, outcome: Outcome) {
        let Outcome::Answered { first_byte, .. } = outcome else {
            self.failures.fetch_add(1, Relaxed);
            return;
        };
        self.latency.observe(first_byte);
        if outcome.is_error() {
            self.errors.fetch_add(1, Relaxed);
        }
    }
}

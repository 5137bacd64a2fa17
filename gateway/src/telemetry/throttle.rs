//! Keeps one place in the code from flooding the error log.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The span in which lines are counted.
const WINDOW: Duration = Duration::from_secs(1);
/// Lines of one place in one window.
const MOST: u32 = 50;

/// A place that logs: file (or target) and line.
type Place = (&'static str, u32);

/// Counts lines by place. There are as many entries as log statements, at most.
pub(super) struct Throttle {
    most: u32,
    places: Mutex<HashMap<Place, Count>>,
}

impl Default for Throttle {
    fn default() -> Self {
        Self::of(MOST)
    }
}

struct Count {
    since: Instant,
    lines: u32,
}

/// What to do with a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Log it.
    Log,
    /// Log it, and that so many before it were left out.
    LogAfter(u32),
    /// Leave it out.
    LeaveOut,
}

impl Throttle {
    /// One that lets so many pass in a window.
    pub(super) fn of(most: u32) -> Self {
        Self { most, places: Mutex::default() }
    }

    /// Whether what a source tells of now is among those that pass. Sources must be few.
    pub(super) fn lets_pass(&self, source: &'static str) -> bool {
        self.judge((source, 0), Instant::now()) != Verdict::LeaveOut
    }

    pub(super) fn judge(&self, place: Place, now: Instant) -> Verdict {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let count = places.entry(place).or_insert(Count { since: now, lines: 0 });
        if now.duration_since(count.since) < WINDOW {
            count.lines = count.lines.saturating_add(1);
            return if count.lines <= self.most { Verdict::Log } else { Verdict::LeaveOut };
        }
        let left_out = count.lines.saturating_sub(self.most);
        *count = Count { since: now, lines: 1 };
        if left_out == 0 { Verdict::Log } else { Verdict::LogAfter(left_out) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_and_said() {
        let throttle = Throttle::default();
        let start = Instant::now();
        let judge = |place, after| throttle.judge((place, 1), start + Duration::from_millis(after));
        for _ in 0..50 {
            assert_eq!(judge("a", 0), Verdict::Log);
        }
        assert_eq!(judge("a", 900), Verdict::LeaveOut);
        assert_eq!(judge("a", 999), Verdict::LeaveOut);
        assert_eq!(judge("b", 999), Verdict::Log);
        assert_eq!(judge("a", 1000), Verdict::LogAfter(2));
        assert_eq!(judge("a", 1001), Verdict::Log);
    }
}

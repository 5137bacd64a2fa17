//! How long plugins take, measured for a few of their runs: a clock costs more than most plugins.

use std::cell::Cell;
use std::time::Duration;

use super::histogram::{AtomicHistogram, Steps};

/// One in so many runs of a phase is measured. A prime: the few phases that each request of a route
/// runs would else meet the same numbers for ever, and some of them never this one.
pub(super) const ONE_IN: u32 = 127;

/// When a plugin runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Phase {
    Request,
    UpstreamPeer,
    UpstreamRequest,
    RequestBody,
    Response,
    ResponseBody,
    Logging,
}

/// The labels of [`Phase`], in its order.
pub(super) const PHASES: [&str; 7] =
    ["request", "upstream_peer", "upstream_request", "request_body", "response", "response_body", "logging"];

/// The times of one plugin.
#[derive(Debug, Default)]
pub struct PluginTimes([AtomicHistogram<Steps>; PHASES.len()]);

impl PluginTimes {
    /// Adds one run.
    pub fn observe(&self, phase: Phase, duration: Duration) {
        self.0[phase as usize].observe(duration);
    }

    /// The times of each phase.
    pub(super) fn phases(&self) -> impl Iterator<Item = (&'static str, &AtomicHistogram<Steps>)> {
        PHASES.into_iter().zip(&self.0)
    }
}

/// Whether the run of a phase that begins now is to be measured. By a counter of the thread's own: no
/// clock, no random number, nothing shared.
#[inline]
pub fn is_measured() -> bool {
    thread_local!(static LEFT: Cell<u32> = const { Cell::new(ONE_IN) });
    let left = LEFT.get() - 1;
    LEFT.set(if left == 0 { ONE_IN } else { left });
    left == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_of_a_requests_phases_gets_its_turn() {
        for phases in 1..=12_usize {
            let mut measured = vec![0; phases];
            for _ in 0..ONE_IN * 10 {
                for count in &mut measured {
                    *count += u32::from(is_measured());
                }
            }
            assert_eq!(measured, vec![10; phases], "{phases} phases a request");
        }
    }

    #[test]
    fn each_phase_is_counted_under_its_name() {
        let times = PluginTimes::default();
        for (phase, runs) in [(Phase::Request, 1), (Phase::UpstreamPeer, 2), (Phase::Logging, 3)] {
            (0..runs).for_each(|_| times.observe(phase, Duration::from_micros(1)));
        }
        let counts: Vec<_> =
            times.phases().map(|(name, times)| (name, times.count())).filter(|(_, count)| *count > 0).collect();
        assert_eq!(counts, [("request", 1), ("upstream_peer", 2), ("logging", 3)]);
    }
}

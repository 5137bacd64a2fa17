//! How soon a node answers of late: a moving average that jumps up at once and comes down slowly
//! ("peak EWMA"), in one atomic.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// After this time what was seen has lost all but a third of its weight.
const DECAY_MS: f32 = 10_000.0;

/// An average of durations. The upper half is when it was last updated (ms), the lower one the
/// average in microseconds as the bits of an `f32`. 0: nothing has been seen.
#[derive(Debug, Default)]
pub(super) struct Latency(AtomicU64);

impl Latency {
    /// Notes one that may be a peak: what is slower than the average counts at once.
    pub(super) fn observe_peak(&self, sample: Duration, now_ms: u64) {
        let sample = micros(sample);
        self.update(sample, now_ms, |average, keep| {
            if sample > average * keep { sample } else { average * keep + sample * (1.0 - keep) }
        });
    }

    /// Notes one.
    pub(super) fn observe(&self, sample: Duration, now_ms: u64) {
        let sample = micros(sample);
        self.update(sample, now_ms, |average, keep| average * keep + sample * (1.0 - keep));
    }

    /// Counts a failure as an answer that took twice as long as the node does: to fail fast is not
    /// to be fast.
    pub(super) fn penalise(&self, now_ms: u64) {
        let average = self.read(now_ms).unwrap_or_default();
        self.observe_peak(Duration::from_secs_f32((average * 2.0 / 1e6).clamp(0.001, 60.0)), now_ms);
    }

    /// The average in microseconds. It fades while nothing is seen, so that a node that was slow
    /// once is asked again.
    #[inline]
    pub(super) fn read(&self, now_ms: u64) -> Option<f32> {
        let packed = self.0.load(Ordering::Relaxed);
        (packed != 0).then(|| average(packed) * fading(packed, now_ms))
    }

    fn update(&self, first: f32, now_ms: u64, next: impl Fn(f32, f32) -> f32) {
        let packed = self.0.load(Ordering::Relaxed);
        let new = if packed == 0 { first } else { next(average(packed), fading(packed, now_ms)) };
        let new = (now_ms & 0xffff_ffff) << 32 | u64::from(new.max(1.0).to_bits());
        if self.0.compare_exchange(packed, new, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            // Another thread was faster; one sample more or less does not matter.
            log::trace!("a latency was not counted");
        }
    }
}

fn micros(sample: Duration) -> f32 {
    sample.as_secs_f32() * 1e6
}

fn average(packed: u64) -> f32 {
    f32::from_bits(packed as u32)
}

/// What is left of an average by now.
fn fading(packed: u64, now_ms: u64) -> f32 {
    let age = (now_ms as u32).wrapping_sub((packed >> 32) as u32);
    // What another thread has noted just now may lie ahead.
    if age > u32::MAX / 2 { 1.0 } else { (-(age as f32) / DECAY_MS).exp() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAST: Duration = Duration::from_millis(1);
    const SLOW: Duration = Duration::from_millis(100);

    #[test]
    fn a_peak_counts_at_once_and_fades() {
        let latency = Latency::default();
        assert_eq!(latency.read(1), None);
        (1..100).for_each(|now| latency.observe_peak(FAST, now));
        assert!((latency.read(100).unwrap() - 1000.0).abs() < 20.0);
        latency.observe_peak(SLOW, 100);
        assert_eq!(latency.read(100), Some(100_000.0));
        let after = |ms: u64| latency.read(100 + ms).unwrap();
        assert!(after(10_000) < 40_000.0 && after(50_000) < 1000.0, "{} {}", after(10_000), after(50_000));
    }

    #[test]
    fn good_answers_bring_it_down() {
        let latency = Latency::default();
        latency.observe_peak(SLOW, 1);
        (0..300).for_each(|tenth| latency.observe_peak(FAST, 1 + tenth * 100));
        assert!(latency.read(30_000).unwrap() < 10_000.0);
    }

    #[test]
    fn to_fail_fast_is_not_to_be_fast() {
        let latency = Latency::default();
        latency.observe_peak(FAST, 1);
        latency.penalise(1);
        latency.penalise(1);
        assert!(latency.read(1).unwrap() >= 4000.0);
        let unknown = Latency::default();
        unknown.penalise(1);
        assert!(unknown.read(1).unwrap() >= 1000.0);
    }

    #[test]
    fn the_clock_may_wrap() {
        let latency = Latency::default();
        latency.observe_peak(SLOW, u64::from(u32::MAX) - 5);
        assert!(latency.read(u64::from(u32::MAX) + 5).unwrap() > 99_000.0);
    }
}

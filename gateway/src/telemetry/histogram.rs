//! A latency histogram without locks: prometheus-client's own takes a lock for every observation.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

/// How many bounds a histogram has.
const BOUNDS: usize = 14;

/// What a histogram is for: in which unit it counts, and where its buckets end.
pub trait Scale: Default {
    /// Upper bounds in its unit.
    const BOUNDS: [u64; BOUNDS];
    /// A duration in its unit.
    fn of(duration: Duration) -> u128;
    /// So many of its unit.
    fn duration(units: u64) -> Duration;
}

/// Requests. The first bounds are what a gateway beside its services answers in.
#[derive(Debug, Default)]
pub struct Requests;

impl Scale for Requests {
    const BOUNDS: [u64; BOUNDS] = [
        500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
        10_000_000,
    ];

    fn of(duration: Duration) -> u128 {
        duration.as_micros()
    }

    fn duration(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }
}

/// Steps within a request: from a tenth of a microsecond, which is much for a plugin that only
/// looks at a header, to seconds for one that asks somebody else.
#[derive(Debug, Default)]
pub(super) struct Steps;

impl Scale for Steps {
    const BOUNDS: [u64; BOUNDS] = [
        100,
        250,
        500,
        1_000,
        2_500,
        5_000,
        10_000,
        50_000,
        250_000,
        1_000_000,
        5_000_000,
        25_000_000,
        250_000_000,
        2_500_000_000,
    ];

    fn of(duration: Duration) -> u128 {
        duration.as_nanos()
    }

    fn duration(nanos: u64) -> Duration {
        Duration::from_nanos(nanos)
    }
}

/// Counts durations by size. Observing costs two relaxed additions.
#[derive(Debug, Default)]
pub struct AtomicHistogram<S: Scale = Requests> {
    /// One for each bound, and one for what is above all of them.
    buckets: [AtomicU64; BOUNDS + 1],
    /// In the scale's unit.
    sum: AtomicU64,
    scale: PhantomData<S>,
}

impl<S: Scale> AtomicHistogram<S> {
    /// Adds one duration.
    pub fn observe(&self, duration: Duration) {
        let units = u64::try_from(S::of(duration)).unwrap_or(u64::MAX);
        // Most fall into the first few: walking beats a binary search.
        let bucket = S::BOUNDS.iter().position(|&bound| units <= bound).unwrap_or(BOUNDS);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(units, Ordering::Relaxed);
    }

    /// How many were observed.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).sum()
    }
}

impl<S: Scale> EncodeMetric for AtomicHistogram<S> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        let seconds = |units| S::duration(units).as_secs_f64();
        let mut buckets = [(f64::INFINITY, 0); BOUNDS + 1];
        for (n, (to, from)) in buckets.iter_mut().zip(&self.buckets).enumerate() {
            to.1 = from.load(Ordering::Relaxed);
            if let Some(&bound) = S::BOUNDS.get(n) {
                to.0 = seconds(bound);
            }
        }
        // The count is that of the buckets just read, so that they agree while requests go on.
        let count = buckets.iter().map(|bucket| bucket.1).sum();
        encoder.encode_histogram::<NoLabelSet>(seconds(self.sum.load(Ordering::Relaxed)), count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_falls_into_the_bucket_it_does_not_exceed() {
        let histogram = AtomicHistogram::<Requests>::default();
        for micros in [0, 500, 501, 10_000_000, 10_000_001, u64::MAX] {
            histogram.observe(Duration::from_micros(micros));
        }
        let counts: Vec<u64> = histogram.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect();
        assert_eq!(counts, [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(histogram.count(), 6);
    }
    #[test]
    fn bounds_rise() {
        assert!(Requests::BOUNDS.is_sorted() && Steps::BOUNDS.is_sorted());
        assert_eq!(Steps::duration(Steps::BOUNDS[BOUNDS - 1]), Duration::from_millis(2500));
    }
}

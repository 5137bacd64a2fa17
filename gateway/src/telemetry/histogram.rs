//! A latency histogram without locks: prometheus-client's own takes a lock for every observation.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use serde::{Deserialize, Serialize};

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

/// How many buckets there are: one for each bound, and one for what is above all of them.
pub const BUCKETS: usize = BOUNDS + 1;

/// Counts durations by size. Observing costs two relaxed additions.
#[derive(Debug, Default)]
pub struct AtomicHistogram<S: Scale = Requests> {
    buckets: [AtomicU64; BUCKETS],
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

impl AtomicHistogram {
    /// What was observed so far.
    pub fn read(&self) -> Times {
        let mut times = Times { micros: self.sum.load(Ordering::Relaxed), ..Times::default() };
        for (to, from) in times.buckets.iter_mut().zip(&self.buckets) {
            *to = from.load(Ordering::Relaxed);
        }
        times
    }
}

/// Durations by size, at one moment or over a time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    /// How many fell into each bucket.
    pub buckets: [u64; BUCKETS],
    /// Their sum in microseconds.
    pub micros: u64,
}

impl Times {
    /// How many there are.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Those that came since an earlier reading.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let mut new = Self { micros: self.micros.saturating_sub(before.micros), ..*self };
        for (new, before) in new.buckets.iter_mut().zip(before.buckets) {
            *new = new.saturating_sub(before);
        }
        new
    }

    /// Takes others in.
    pub fn add(&mut self, other: &Self) {
        self.micros = self.micros.saturating_add(other.micros);
        for (sum, other) in self.buckets.iter_mut().zip(other.buckets) {
            *sum = sum.saturating_add(other);
        }
    }

    /// The duration that a share of them (0 to 1) does not exceed, in milliseconds: exact to the bucket,
    /// and within it as if they were spread evenly. `None` when there are none.
    #[allow(clippy::cast_precision_loss)]
    pub fn percentile(&self, share: f64) -> Option<f64> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let wanted = share * count as f64;
        let (mut below, mut from) = (0.0, 0.0);
        for (bucket, bound) in self.buckets.iter().zip(Requests::BOUNDS) {
            let (inside, to) = (*bucket as f64, bound as f64);
            if inside > 0.0 && below + inside >= wanted {
                let micros: f64 = from + (to - from) * ((wanted - below) / inside).clamp(0.0, 1.0);
                return Some(micros.round() / 1e3);
            }
            below += inside;
            from = to;
        }
        // Above all bounds nothing is known but that.
        Some(from / 1e3)
    }

    /// p50, p95 and p99.
    pub fn percentiles(&self) -> [Option<f64>; 3] {
        [0.5, 0.95, 0.99].map(|share| self.percentile(share))
    }
}

impl<S: Scale> EncodeMetric for AtomicHistogram<S> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        let seconds = |units| S::duration(units).as_secs_f64();
        let mut buckets = [(f64::INFINITY, 0); BUCKETS];
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

    #[test]
    fn percentiles_are_those_of_the_buckets() {
        let histogram = AtomicHistogram::default();
        assert_eq!(histogram.read().percentile(0.5), None);
        (0..90).for_each(|_| histogram.observe(Duration::from_micros(700)));
        let before = histogram.read();
        (0..10).for_each(|_| histogram.observe(Duration::from_millis(400)));
        let [p50, p95, p99] = histogram.read().percentiles().map(Option::unwrap);
        assert!((0.5..=1.0).contains(&p50) && (250.0..=500.0).contains(&p95) && p95 <= p99 && p99 <= 500.0);
        let new = histogram.read().since(&before);
        assert_eq!((new.count(), new.micros), (10, 4_000_000));
        histogram.observe(Duration::from_secs(60));
        assert_eq!(histogram.read().percentile(1.0), Some(10_000.0), "more than that is not known");
    }

    #[test]
    fn merged_times_have_the_percentiles_of_all() {
        let of = |millis: u64, count: u64| {
            let histogram = AtomicHistogram::default();
            (0..count).for_each(|_| histogram.observe(Duration::from_millis(millis)));
            histogram.read()
        };
        let mut all = of(1, 99);
        all.add(&of(900, 99));
        assert_eq!(all.count(), 198);
        assert!(all.percentile(0.49).unwrap() <= 1.0 && all.percentile(0.51).unwrap() > 500.0);
    }
}

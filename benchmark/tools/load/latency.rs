//! What is said of latencies: every one is kept, so that a percentile is one of them and not an estimate.

use std::time::Duration;

use serde_json::{Value, json};

pub(crate) struct Latencies(Vec<u32>);

impl Latencies {
    pub(crate) fn of(connections: Vec<Vec<Duration>>) -> Self {
        let micros = |latency: Duration| u32::try_from(latency.as_micros()).unwrap_or(u32::MAX);
        let mut all: Vec<u32> = connections.into_iter().flatten().map(micros).collect();
        all.sort_unstable();
        Self(all)
    }

    /// The nearest rank: so many in a hundred are not slower.
    fn percentile(&self, percent: f64) -> u32 {
        let rank = (percent / 100.0 * self.0.len() as f64).ceil() as usize;
        self.0.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }

    pub(crate) fn microseconds(&self) -> Value {
        json!({
            "p50": self.percentile(50.0),
            "p90": self.percentile(90.0),
            "p99": self.percentile(99.0),
            "p99.9": self.percentile(99.9),
            "max": self.percentile(100.0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_nearest_rank() {
        let latencies = Latencies::of(vec![
            (51..=100).map(Duration::from_micros).collect(),
            (1..=50).map(Duration::from_micros).collect(),
        ]);
        let ranks = [0.0, 50.0, 90.0, 99.0, 99.9, 100.0].map(|percent| latencies.percentile(percent));
        assert_eq!(ranks, [1, 50, 90, 99, 100, 100]);
        assert_eq!(Latencies(Vec::new()).percentile(50.0), 0);
    }
}

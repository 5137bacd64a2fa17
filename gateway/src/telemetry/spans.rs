//! What became of spans, counted.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why spans were lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// They came faster than they were exported.
    QueueFull,
    /// The collector did not take them.
    Export,
}

const LOST: [&str; 2] = ["queue_full", "export"];

/// Counts spans.
#[derive(Debug, Default)]
pub struct SpanMetrics {
    exported: AtomicU64,
    dropped: [AtomicU64; LOST.len()],
}

impl SpanMetrics {
    /// Counts spans a collector took.
    pub fn took(&self, spans: usize) {
        self.exported.fetch_add(spans as u64, Ordering::Relaxed);
    }

    /// Counts spans that were lost.
    pub fn lost(&self, why: Lost, spans: usize) {
        self.dropped[why as usize].fetch_add(spans as u64, Ordering::Relaxed);
    }

    /// Those a collector took.
    pub fn exported(&self) -> u64 {
        self.exported.load(Ordering::Relaxed)
    }

    /// Those that were lost, by reason.
    pub fn dropped(&self) -> impl Iterator<Item = (&'static str, u64)> {
        LOST.into_iter().zip(self.dropped.iter().map(|count| count.load(Ordering::Relaxed)))
    }
}

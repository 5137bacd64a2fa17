//! Calls of the Admin API, counted by what is called, how, and how it ended.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::histogram::{AtomicHistogram, Requests};
use super::metrics::{CLASSES, class_of};

/// What was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Surface {
    /// The paths of the first gateway.
    Old,
    /// `/admin/v2`.
    New,
    /// `/dashboard`.
    Dashboard,
}

/// The labels of [`Surface`], in its order.
const SURFACES: [&str; 3] = ["old", "v2", "dashboard"];
const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other"];

/// Counts calls. A fixed number of series: whatever is sent as a method is one of a few here.
#[derive(Debug, Default)]
pub struct AdminMetrics {
    calls: [[[AtomicU64; CLASSES.len()]; METHODS.len()]; SURFACES.len()],
    times: [AtomicHistogram<Requests>; SURFACES.len()],
}

impl AdminMetrics {
    /// Counts one that ended.
    pub fn observe(&self, surface: Surface, method: &str, status: u16, duration: Duration) {
        let method = METHODS.iter().position(|known| *known == method).unwrap_or(METHODS.len() - 1);
        self.calls[surface as usize][method][class_of(Some(status))].fetch_add(1, Ordering::Relaxed);
        self.times[surface as usize].observe(duration);
    }

    /// Those that there were, as `[surface, method, class]` and their number.
    pub(super) fn calls(&self) -> impl Iterator<Item = ([&'static str; 3], u64)> {
        SURFACES.into_iter().zip(&self.calls).flat_map(|(surface, methods)| {
            METHODS.into_iter().zip(methods).flat_map(move |(method, classes)| {
                let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
                CLASSES.into_iter().zip(classes).map(move |(class, of)| ([surface, method, class], count(of)))
            })
        })
    }

    /// How long calls took, by surface.
    pub(super) fn times(&self) -> impl Iterator<Item = (&'static str, &AtomicHistogram<Requests>)> {
        SURFACES.into_iter().zip(&self.times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_what_they_were() {
        let metrics = AdminMetrics::default();
        for (surface, method, status) in [
            (Surface::Old, "POST", 200),
            (Surface::New, "GET", 404),
            (Surface::New, "GET", 401),
            (Surface::Dashboard, "BREW\"\n", 405),
        ] {
            metrics.observe(surface, method, status, Duration::from_millis(1));
        }
        let counted: Vec<_> = metrics.calls().filter(|(_, count)| *count > 0).collect();
        assert_eq!(
            counted,
            [(["old", "POST", "2xx"], 1), (["v2", "GET", "4xx"], 2), (["dashboard", "other", "4xx"], 1)]
        );
        assert_eq!(metrics.times().map(|(_, times)| times.count()).collect::<Vec<_>>(), [1, 2, 1]);
    }
}

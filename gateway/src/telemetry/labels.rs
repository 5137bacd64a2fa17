//! A metric by labels, with a budget: what is beyond it shares one series, `other`.
//!
//! Handles are got when the configuration is compiled and kept there; a request never comes here.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a series stays after the last handle of it is gone: long enough for a last scrape, and
/// for the same route to come back and count on.
const LINGER: Duration = Duration::from_secs(300);
/// The value of every label of what is beyond the budget.
pub(super) const OTHER: &str = "other";

/// The metrics of one name, by the values of its `N` labels.
pub(super) struct Family<const N: usize, T> {
    max: usize,
    series: Mutex<Series<N, T>>,
    other: Arc<T>,
    folded: AtomicU64,
}

struct Series<const N: usize, T> {
    by_labels: BTreeMap<Arc<[String; N]>, Entry<T>>,
    swept: Option<Instant>,
}

struct Entry<T> {
    metric: Arc<T>,
    /// Since when nobody holds a handle, as far as was seen.
    idle_since: Option<Instant>,
}

/// One series: the labels' values and the metric.
pub(super) type Live<const N: usize, T> = (Arc<[String; N]>, Arc<T>);

impl<const N: usize, T: Default> Family<N, T> {
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            series: Mutex::new(Series { by_labels: BTreeMap::new(), swept: None }),
            other: Arc::default(),
            folded: AtomicU64::new(0),
        }
    }

    /// The metric of these labels, or the shared one when the budget is spent.
    pub(super) fn get(&self, labels: [&str; N]) -> Arc<T> {
        self.get_at(labels, Instant::now())
    }

    fn get_at(&self, labels: [&str; N], now: Instant) -> Arc<T> {
        let key = labels.map(clean);
        let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = series.by_labels.get_mut(&key) {
            entry.idle_since = None;
            return Arc::clone(&entry.metric);
        }
        // What nobody holds makes room for what somebody asks for. Not looked for at every one of
        // ten thousand routes too many.
        let recently = |at: Instant| now.duration_since(at) < Duration::from_secs(1);
        if series.by_labels.len() >= self.max && !series.swept.is_some_and(recently) {
            series.swept = Some(now);
            series.by_labels.retain(|_, entry| Arc::strong_count(&entry.metric) > 1);
        }
        if series.by_labels.len() >= self.max {
            self.folded.fetch_add(1, Ordering::Relaxed);
            return Arc::clone(&self.other);
        }
        let metric = Arc::<T>::default();
        series.by_labels.insert(Arc::new(key), Entry { metric: Arc::clone(&metric), idle_since: None });
        metric
    }

    /// All series, in order; forgets those whose handles are long gone.
    pub(super) fn live(&self) -> Vec<Live<N, T>> {
        self.live_at(Instant::now())
    }

    fn live_at(&self, now: Instant) -> Vec<Live<N, T>> {
        let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        series.by_labels.retain(|_, entry| {
            if Arc::strong_count(&entry.metric) > 1 {
                entry.idle_since = None;
                return true;
            }
            now.duration_since(*entry.idle_since.get_or_insert(now)) < LINGER
        });
        let mut live: Vec<_> =
            series.by_labels.iter().map(|(labels, entry)| (Arc::clone(labels), Arc::clone(&entry.metric))).collect();
        if self.folded() > 0 {
            live.push((Arc::new([OTHER; N].map(String::from)), Arc::clone(&self.other)));
        }
        live
    }

    /// How often a handle of the shared series was given out.
    pub(super) fn folded(&self) -> u64 {
        self.folded.load(Ordering::Relaxed)
    }
}

/// A label's value as the text format can carry it on one line.
pub(super) fn clean(value: &str) -> String {
    value.chars().map(|char| if char.is_control() { '_' } else { char }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels<const N: usize, T: Default>(family: &Family<N, T>, now: Instant) -> Vec<String> {
        family.live_at(now).iter().map(|(labels, _)| labels.join("/")).collect()
    }

    #[test]
    fn the_same_labels_give_the_same_metric() {
        let family = Family::<2, AtomicU64>::new(10);
        let first = family.get(["a", "b"]);
        assert!(Arc::ptr_eq(&first, &family.get(["a", "b"])));
        assert!(!Arc::ptr_eq(&first, &family.get(["a", "c"])));
    }

    #[test]
    fn beyond_the_budget_one_is_shared() {
        let family = Family::<1, AtomicU64>::new(2);
        let now = Instant::now();
        let _kept = [family.get_at(["a"], now), family.get_at(["b"], now)];
        let (third, fourth) = (family.get_at(["c"], now), family.get_at(["d"], now));
        assert!(Arc::ptr_eq(&third, &fourth));
        assert_eq!(labels(&family, now), ["a", "b", "other"]);
        assert_eq!(family.folded(), 2);
    }

    #[test]
    fn what_nobody_holds_lingers_and_makes_room() {
        let family = Family::<1, AtomicU64>::new(2);
        let now = Instant::now();
        drop(family.get_at(["a"], now));
        let _kept = family.get_at(["b"], now);
        assert_eq!(labels(&family, now), ["a", "b"]);
        assert_eq!(labels(&family, now + LINGER - Duration::from_secs(1)), ["a", "b"]);
        let _also = family.get_at(["c"], now + Duration::from_secs(2));
        assert_eq!(labels(&family, now), ["b", "c"]);
    }

    #[test]
    fn what_nobody_holds_is_forgotten() {
        let family = Family::<1, AtomicU64>::new(2);
        let now = Instant::now();
        drop(family.get_at(["a"], now));
        assert_eq!(labels(&family, now), ["a"]);
        // Back in time: counts on, and lingers anew.
        family.get_at(["a"], now + Duration::from_secs(200)).fetch_add(1, Ordering::Relaxed);
        assert_eq!(labels(&family, now + Duration::from_secs(299)), ["a"]);
        assert_eq!(labels(&family, now + Duration::from_secs(301)), ["a"]);
        assert_eq!(labels(&family, now + Duration::from_secs(600)), Vec::<String>::new());
    }
}

//! The last hour of counters at steps of ten seconds, read by a timer: requests never come here.
//!
//! Bounded by the number of series and of steps; what is beyond that is summed in one series, `other`.
//! Steps without requests take no room.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::histogram::{BUCKETS, Times};

/// Seconds of a step.
pub const STEP: u64 = 10;
/// Steps that are kept.
const STEPS: u64 = 360;
/// Series with a name of their own.
const SERIES: usize = 200;
/// The name of what has none.
const OTHER: &str = "other";

/// Counts and times, at one moment or over a time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Figures {
    /// All requests.
    pub requests: u64,
    /// Those that were answered with 5xx, and of nodes those that were not answered.
    pub errors: u64,
    /// By class of the status, 1xx to 5xx, and those without one; all 0 where that is not known.
    pub classes: [u64; 6],
    /// How long they took.
    pub times: Times,
    /// Bytes of bodies that were sent to clients.
    pub bytes: u64,
}

impl Figures {
    /// What was added since an earlier reading.
    fn since(&self, before: &Self) -> Self {
        let mut classes = self.classes;
        for (new, before) in classes.iter_mut().zip(before.classes) {
            *new = new.saturating_sub(before);
        }
        Self {
            requests: self.requests.saturating_sub(before.requests),
            errors: self.errors.saturating_sub(before.errors),
            classes,
            times: self.times.since(&before.times),
            bytes: self.bytes.saturating_sub(before.bytes),
        }
    }

    /// Takes others in.
    pub fn add(&mut self, other: &Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.errors = self.errors.saturating_add(other.errors);
        for (sum, other) in self.classes.iter_mut().zip(other.classes) {
            *sum = sum.saturating_add(other);
        }
        self.times.add(&other.times);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// The figures of a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    /// When it began, in seconds since 1970.
    pub at: u64,
    /// What there was.
    #[serde(flatten)]
    pub figures: Figures,
}

/// The figures of one thing over time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Series {
    /// A route and its service, or a node and its service.
    pub names: [String; 2],
    /// In the order of time; steps without requests are left out.
    pub points: Vec<Point>,
}

/// A step as it is kept: half the size, since no step has four thousand million of anything.
#[derive(Debug, Clone)]
struct Kept {
    at: u64,
    micros: u64,
    bytes: u64,
    counts: [u32; 8 + BUCKETS],
}

impl From<&Point> for Kept {
    fn from(point: &Point) -> Self {
        let figures = &point.figures;
        let all = [figures.requests, figures.errors].into_iter().chain(figures.classes).chain(figures.times.buckets);
        let mut counts = [0; 8 + BUCKETS];
        for (to, from) in counts.iter_mut().zip(all) {
            *to = u32::try_from(from).unwrap_or(u32::MAX);
        }
        Self { at: point.at, micros: figures.times.micros, bytes: figures.bytes, counts }
    }
}

impl From<&Kept> for Point {
    fn from(kept: &Kept) -> Self {
        let mut counts = kept.counts.iter().map(|count| u64::from(*count));
        let mut next = || counts.next().unwrap_or_default();
        let (requests, errors) = (next(), next());
        let classes = std::array::from_fn(|_| next());
        let times = Times { buckets: std::array::from_fn(|_| next()), micros: kept.micros };
        Self { at: kept.at, figures: Figures { requests, errors, classes, times, bytes: kept.bytes } }
    }
}

/// One series with its last reading.
#[derive(Default)]
struct Track {
    last: Figures,
    steps: VecDeque<Kept>,
}

impl Track {
    /// What there was since the last reading.
    fn advance(&mut self, now: &Figures) -> Figures {
        let figures = now.since(&self.last);
        self.last = *now;
        figures
    }

    fn keep(&mut self, at: u64, figures: Figures) {
        self.steps.push_back(Kept::from(&Point { at, figures }));
    }

    fn forget_before(&mut self, oldest: u64) {
        // The number bounds them also when the clock goes back.
        while self.steps.front().is_some_and(|step| step.at < oldest) || self.steps.len() as u64 > STEPS {
            self.steps.pop_front();
        }
    }
}

/// The last hour.
#[derive(Default)]
pub struct Hour(Mutex<Table>);

#[derive(Default)]
struct Table {
    /// All that ever had a request and is still there; those with steps have a place of their own.
    tracks: HashMap<[String; 2], Track>,
    other: Track,
}

impl Hour {
    /// Takes all counters as they are at the end of the step that began `at`.
    pub fn read(&self, at: u64, readings: impl Iterator<Item = ([String; 2], Figures)>) {
        self.read_within(at, readings, SERIES);
    }

    fn read_within(&self, at: u64, readings: impl Iterator<Item = ([String; 2], Figures)>, most: usize) {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let table = &mut *table;
        let oldest = at.saturating_sub((STEPS - 1) * STEP);
        // What had no request for an hour gives its place up.
        table.tracks.values_mut().chain([&mut table.other]).for_each(|track| track.forget_before(oldest));
        let mut places = table.tracks.values().filter(|track| !track.steps.is_empty()).count();
        let mut rest = Figures::default();
        let mut gone: HashSet<[String; 2]> = table.tracks.keys().cloned().collect();
        for (names, now) in readings {
            gone.remove(&names);
            if now.requests == 0 && !table.tracks.contains_key(&names) {
                continue;
            }
            let has_name = names[0] != OTHER;
            let track = table.tracks.entry(names).or_default();
            let figures = track.advance(&now);
            if figures.requests == 0 {
                continue;
            }
            let is_new = track.steps.is_empty();
            if has_name && (!is_new || places < most) {
                places += usize::from(is_new);
                track.keep(at, figures);
            } else {
                rest.add(&figures);
            }
        }
        if rest.requests > 0 {
            table.other.keep(at, rest);
            table.other.forget_before(oldest);
        }
        table.tracks.retain(|names, track| {
            track.forget_before(oldest);
            !(track.steps.is_empty() && gone.contains(names))
        });
    }

    /// All series that a name of theirs is asked for by, from a time on.
    pub fn series(&self, since: u64, wanted: impl Fn(&[String; 2]) -> bool) -> Vec<Series> {
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let other = [OTHER.to_owned(), OTHER.to_owned()];
        let tracks = table.tracks.iter().chain(std::iter::once((&other, &table.other)));
        tracks
            .filter(|(names, _)| wanted(names))
            .map(|(names, track)| Series {
                names: names.clone(),
                points: track.steps.iter().filter(|step| step.at >= since).map(Point::from).collect(),
            })
            .filter(|series| !series.points.is_empty())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::telemetry::AtomicHistogram;

    fn figures(requests: u64, errors: u64) -> Figures {
        let times = AtomicHistogram::default();
        (0..requests).for_each(|_| times.observe(Duration::from_millis(2)));
        let classes = [0, requests - errors, 0, 0, errors, 0];
        Figures { requests, errors, classes, times: times.read(), bytes: requests * 100 }
    }

    fn read(hour: &Hour, at: u64, readings: &[(&str, u64)]) {
        let named = readings.iter().map(|(name, requests)| ([(*name).to_owned(), "s".into()], figures(*requests, 1)));
        hour.read_within(at, named, 2);
    }

    fn requests(hour: &Hour, name: &str) -> Vec<(u64, u64)> {
        let series = hour.series(0, |names| names[0] == name);
        series.iter().flat_map(|s| &s.points).map(|point| (point.at, point.figures.requests)).collect()
    }

    #[test]
    fn a_step_has_what_was_added_in_it() {
        let hour = Hour::default();
        read(&hour, 100, &[("a", 5)]);
        read(&hour, 110, &[("a", 5)]);
        read(&hour, 120, &[("a", 9)]);
        assert_eq!(requests(&hour, "a"), [(100, 5), (120, 4)]);
        let series = hour.series(115, |_| true);
        let point = series[0].points[0];
        assert_eq!((series.len(), point.figures.bytes, point.figures.times.count()), (1, 400, 4));
        assert_eq!((point.figures.errors, point.figures.classes), (0, [0, 4, 0, 0, 0, 0]));
    }

    #[test]
    fn what_is_beyond_the_budget_is_summed() {
        let hour = Hour::default();
        read(&hour, 100, &[("a", 1), ("b", 2), ("c", 3), ("d", 4), ("idle", 1)]);
        assert_eq!((requests(&hour, "a"), requests(&hour, "other")), (vec![(100, 1)], vec![(100, 8)]));
        read(&hour, 110, &[("a", 1), ("b", 2), ("c", 5), ("d", 4), ("idle", 1)]);
        assert_eq!(requests(&hour, "other"), [(100, 8), (110, 2)]);
        // A place that becomes free is taken without counting again what was counted.
        read(&hour, 10_000, &[("b", 2), ("c", 5), ("d", 4)]);
        read(&hour, 10_010, &[("b", 2), ("c", 9), ("d", 4)]);
        read(&hour, 10_020, &[("b", 2), ("c", 11), ("d", 4)]);
        assert_eq!(requests(&hour, "a"), []);
        assert_eq!(requests(&hour, "c"), [(10_010, 4), (10_020, 2)]);
    }

    #[test]
    fn what_idles_for_an_hour_gives_its_place_to_what_does_not() {
        let hour = Hour::default();
        read(&hour, 100, &[("a", 1), ("b", 2), ("busy", 3)]);
        read(&hour, 5_000, &[("a", 1), ("b", 2), ("busy", 9)]);
        assert_eq!(requests(&hour, "busy"), [(5_000, 6)]);
        read(&hour, 5_010, &[("a", 2), ("b", 2), ("busy", 10)]);
        assert_eq!((requests(&hour, "a"), requests(&hour, "busy")), (vec![(5_010, 1)], vec![(5_000, 6), (5_010, 1)]));
    }

    #[test]
    fn requests_of_the_rest_are_counted_when_one_of_it_disappears() {
        let hour = Hour::default();
        read(&hour, 100, &[("a", 1), ("b", 1), ("c", 1000), ("d", 1)]);
        read(&hour, 110, &[("a", 1), ("b", 1), ("d", 8)]);
        assert_eq!(requests(&hour, "other"), [(100, 1001), (110, 7)]);
    }

    #[test]
    fn an_hour_is_kept_and_no_more() {
        let hour = Hour::default();
        for n in 1..=500 {
            read(&hour, n * STEP, &[("a", n * 2)]);
        }
        let kept = requests(&hour, "a");
        assert_eq!((kept.len(), kept[0].0, kept[359].0), (360, 141 * STEP, 500 * STEP));
    }

    #[test]
    fn a_clock_that_goes_back_does_not_let_it_grow() {
        let hour = Hour::default();
        for n in 1..=500 {
            read(&hour, 100_000 - n * STEP, &[("a", n * 2)]);
        }
        assert_eq!(requests(&hour, "a").len(), 360);
    }

    #[test]
    fn a_counter_that_begins_anew_is_no_negative_number() {
        let hour = Hour::default();
        read(&hour, 100, &[("a", 9)]);
        read(&hour, 110, &[("a", 1)]);
        read(&hour, 120, &[("a", 3)]);
        assert_eq!(requests(&hour, "a"), [(100, 9), (120, 2)]);
    }
}

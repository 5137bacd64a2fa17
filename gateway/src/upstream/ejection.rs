//! Leaves a node out because of what requests show, and takes it back. Only atomics.
//!
//! A node is left out for a time. After it single requests are let through, spaced out, and decide:
//! some that go well take it back, one that does not leaves it out for longer. A node that refused a
//! connection is taken back by the first that it takes; for other causes taking a connection says
//! nothing.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::state::now_ms;

/// Between requests that are let through to a node whose time is over.
const SPACING_MS: u64 = 100;
/// How many in a row must go well.
const NEEDED: u32 = 3;
/// How many times longer than the first time a node is left out at most.
const LONGEST: u32 = 10;

/// Why a node is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// It took no connection.
    Refused,
    /// Errors in a row.
    Errors,
    /// Too large a share of errors.
    ErrorRatio,
    /// It answers much slower than the others.
    Latency,
}

impl Cause {
    /// How metrics and status call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Errors => "errors",
            Self::ErrorRatio => "error_ratio",
            Self::Latency => "latency",
        }
    }

    fn code(self) -> u8 {
        match self {
            Self::Refused => 0,
            Self::Errors => 1,
            Self::ErrorRatio => 2,
            Self::Latency => 3,
        }
    }

    fn of(code: u8) -> Self {
        match code {
            0 => Self::Refused,
            1 => Self::Errors,
            2 => Self::ErrorRatio,
            _ => Self::Latency,
        }
    }
}

/// Whether a node is left out, and how that came. All times are those of `state::now_ms`.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Ejection {
    /// Until when it is left out; 0 = it is not. Moved on by each request let through after that.
    until: AtomicU64,
    since: AtomicU64,
    cause: AtomicU8,
    /// How often in a row, which makes it longer.
    times: AtomicU32,
    /// Requests let through since the time was over.
    trials: AtomicU32,
    /// How many went well.
    passed: AtomicU32,
    /// When it was taken back last.
    readmitted: AtomicU64,
    /// Microseconds that a request let through may take; 0 = any.
    tolerance: AtomicU64,
}

/// What is asked of a node to be left out.
#[derive(Debug, Clone, Copy)]
pub struct Sentence {
    /// Why.
    pub cause: Cause,
    /// How long the first time.
    pub time: Duration,
    /// The longest that requests let through may take, if that is why.
    pub tolerance: Option<Duration>,
}

impl Ejection {
    /// Whether the node is left out now.
    #[inline]
    pub fn is_on(&self, now: impl FnOnce() -> u64) -> bool {
        let until = self.until.load(Relaxed);
        until != 0 && now() < until
    }

    /// Whether the node was left out and has not been taken back, whether or not its time is over.
    #[inline]
    pub fn awaits_readmission(&self) -> bool {
        self.until.load(Relaxed) != 0
    }

    /// Why the node is left out, if it is.
    #[inline]
    pub fn cause(&self) -> Option<Cause> {
        self.awaits_readmission().then(|| Cause::of(self.cause.load(Relaxed)))
    }

    /// How long it has been left out, and how often in a row.
    pub fn lasts(&self) -> (Duration, u32) {
        let since = self.since.load(Relaxed);
        (Duration::from_millis(now_ms().saturating_sub(since)), self.times.load(Relaxed))
    }

    /// Leaves a node out that took no connection; `true` when it was not left out before. Always for
    /// the same time: whether it takes one again is asked all the while.
    pub fn refused(&self, time: Duration, now: u64) -> bool {
        if self.cause().is_some_and(|cause| cause != Cause::Refused) {
            return false;
        }
        let before = self.until.swap(now.saturating_add(millis(time)), Relaxed);
        if before == 0 {
            self.since.store(now, Relaxed);
            self.cause.store(Cause::Refused.code(), Relaxed);
        }
        before == 0 || now >= before
    }

    /// Leaves a node out that takes requests; how long, or `None` when it is left out already.
    pub fn begin(&self, sentence: &Sentence, now: u64) -> Option<Duration> {
        // What lies long back counts less: one time for each that it was well.
        let well = now.saturating_sub(self.readmitted.load(Relaxed)) / millis(sentence.time).max(1);
        let forgiven = u32::try_from(well).unwrap_or(u32::MAX);
        let times = self.times.load(Relaxed).saturating_sub(forgiven).saturating_add(1);
        let time = lengthened(sentence.time, times);
        self.until.compare_exchange(0, now.saturating_add(millis(time)), Relaxed, Relaxed).ok()?;
        self.since.store(now, Relaxed);
        self.cause.store(sentence.cause.code(), Relaxed);
        self.times.store(times, Relaxed);
        self.trials.store(0, Relaxed);
        self.passed.store(0, Relaxed);
        let tolerance = sentence.tolerance.map_or(0, |time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
        self.tolerance.store(tolerance, Relaxed);
        Some(time)
    }

    /// Notes that a request goes to the node. After its time is over that is one let through.
    pub fn requested(&self, now: u64) {
        let until = self.until.load(Relaxed);
        if until != 0 && now >= until && self.until.compare_exchange(until, now + SPACING_MS, Relaxed, Relaxed).is_ok()
        {
            self.trials.fetch_add(1, Relaxed);
        }
    }

    /// Notes that a request went well; `true` when the node is taken back for it.
    pub fn went_well(&self, took: Duration, first_time: Duration, now: u64) -> bool {
        match self.cause() {
            None => false,
            Some(Cause::Refused) => self.readmit(now),
            // One that was sent before the node was left out says nothing new.
            Some(_) if self.trials.load(Relaxed) == 0 => false,
            Some(_) => {
                let tolerance = self.tolerance.load(Relaxed);
                if tolerance != 0 && took > Duration::from_micros(tolerance) {
                    self.went_wrong(first_time, now);
                    return false;
                }
                self.passed.fetch_add(1, Relaxed) + 1 >= NEEDED && self.readmit(now)
            }
        }
    }

    /// Notes that a request failed; how much longer the node is left out for it, if it is.
    pub fn went_wrong(&self, first_time: Duration, now: u64) -> Option<Duration> {
        let passive = self.cause().is_some_and(|cause| cause != Cause::Refused);
        // Of several let through the first counts.
        if !passive || self.trials.swap(0, Relaxed) == 0 {
            return None;
        }
        self.passed.store(0, Relaxed);
        let times = self.times.fetch_add(1, Relaxed).saturating_add(1);
        let time = lengthened(first_time, times);
        self.until.store(now.saturating_add(millis(time)), Relaxed);
        Some(time)
    }

    /// Notes that a probe succeeded; `true` when the node is taken back for it. One that only
    /// connects says something of nodes that did not take connections.
    pub fn probed(&self, only_connects: bool, now: u64) -> bool {
        match self.cause() {
            None => false,
            Some(Cause::Refused) => self.readmit(now),
            Some(_) if only_connects => false,
            // While it is let through single requests, their spacing moves the time on.
            Some(_) if self.trials.load(Relaxed) == 0 && now < self.until.load(Relaxed) => false,
            Some(_) => self.passed.fetch_add(1, Relaxed) + 1 >= NEEDED && self.readmit(now),
        }
    }

    /// Takes the node back; `true` when it was left out.
    pub fn readmit(&self, now: u64) -> bool {
        if !self.awaits_readmission() || self.until.swap(0, Relaxed) == 0 {
            return false;
        }
        self.readmitted.store(now, Relaxed);
        true
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn lengthened(time: Duration, times: u32) -> Duration {
    let factor = 1_u32.checked_shl(times.saturating_sub(1)).unwrap_or(LONGEST).min(LONGEST);
    time.saturating_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_secs(1);
    const QUICK: Duration = Duration::from_millis(1);

    fn sentence() -> Sentence {
        Sentence { cause: Cause::Errors, time: TIME, tolerance: None }
    }

    #[test]
    fn single_requests_are_let_through_and_three_good_ones_take_it_back() {
        let ejection = Ejection::default();
        assert_eq!(ejection.begin(&sentence(), 1_000_000), Some(TIME));
        assert_eq!(ejection.begin(&sentence(), 1_000_000), None, "it is out already");
        assert!(ejection.is_on(|| 1_000_999));
        assert!(!ejection.went_well(QUICK, TIME, 1_000_500), "it was sent before");
        for (n, now) in [(1, 1_001_000), (2, 1_001_100), (3, 1_001_200)] {
            assert!(!ejection.is_on(|| now), "one may pass");
            ejection.requested(now);
            assert!(ejection.is_on(|| now + 99), "and no other at once");
            assert_eq!(ejection.went_well(QUICK, TIME, now + 5), n == 3);
        }
        assert!(!ejection.awaits_readmission());
    }

    #[test]
    fn each_failure_leaves_it_out_longer_up_to_ten_times() {
        let ejection = Ejection::default();
        let mut now = 1_000_000;
        ejection.begin(&sentence(), now);
        for seconds in [2, 4, 8, 10, 10] {
            assert_eq!(ejection.went_wrong(TIME, now), None, "nothing was let through yet");
            while ejection.is_on(|| now) {
                now += 100;
            }
            ejection.requested(now);
            assert_eq!(ejection.went_wrong(TIME, now), Some(TIME * seconds));
            assert_eq!(ejection.went_wrong(TIME, now), None, "the first of those let through counts");
        }
    }

    #[test]
    fn what_lies_back_is_forgiven_bit_by_bit() {
        let ejection = Ejection::default();
        let begin = |now| {
            let time = ejection.begin(&sentence(), now).unwrap();
            assert!(ejection.readmit(now));
            time.as_secs()
        };
        let now = 1_000_000;
        assert_eq!([begin(now), begin(now), begin(now)], [1, 2, 4]);
        assert_eq!(begin(now + 1_500), 4, "one of three is forgiven");
        assert_eq!(begin(now + 100_000), 1, "all of them");
    }

    #[test]
    fn a_connection_takes_back_only_who_refused_one() {
        let ejection = Ejection::default();
        assert!(ejection.refused(TIME, 1_000_000));
        assert!(!ejection.refused(TIME, 1_000_001), "it is out already");
        assert!(ejection.probed(true, 1_000_002));
        ejection.begin(&sentence(), 1_000_000);
        assert!(!ejection.probed(true, 1_005_000) && !ejection.probed(true, 1_005_000));
        assert!(!ejection.refused(TIME, 1_005_000), "the graver cause stays");
        assert_eq!(ejection.cause(), Some(Cause::Errors));
        // Probes that ask more count as requests do, once its time is over.
        assert!(!ejection.probed(false, 1_000_500));
        assert!(!ejection.probed(false, 1_005_000) && !ejection.probed(false, 1_005_001));
        assert!(ejection.probed(false, 1_005_002));
    }

    #[test]
    fn a_slow_node_must_have_become_quick() {
        let ejection = Ejection::default();
        let sentence = Sentence { cause: Cause::Latency, tolerance: Some(QUICK), ..sentence() };
        ejection.begin(&sentence, 1_000_000);
        ejection.requested(1_002_000);
        assert!(!ejection.went_well(QUICK * 2, TIME, 1_002_002));
        assert!(ejection.is_on(|| 1_003_900), "it is as a failure: two seconds more");
    }
}

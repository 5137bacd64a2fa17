//! What is refused under load, so that what was begun can be finished.
//!
//! Two measures: requests in flight, counted here, and memory, which somebody else measures now and then. Both are
//! off unless configured, and then cost a request one branch each.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use http::HeaderValue;

use crate::telemetry::Shed;

/// Percent of the memory limit from which connections are no longer kept for a next request.
const CLOSE_AT: u64 = 92;
/// Percent of the memory limit from which new requests and connections are refused.
const SHED_AT: u64 = 95;
/// So many percent less than what began a measure end it.
const HYSTERESIS: u64 = 3;

/// How much of the memory is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Pressure {
    None,
    /// Connections are closed after their response.
    Close,
    /// New requests and connections are refused.
    Shed,
}

/// The state of the load.
#[derive(Debug)]
pub struct Overload {
    pressure: AtomicU8,
    in_flight: Arc<AtomicUsize>,
    /// 0 = no limit.
    max_in_flight: usize,
    pub(super) retry_after: HeaderValue,
}

/// A request's share of what may be in flight.
#[derive(Debug)]
pub(super) struct Share(Arc<AtomicUsize>);

impl Drop for Share {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Overload {
    /// Lets so many requests be in flight, 0 = any number. Others are told to come back after so many seconds.
    pub fn new(max_in_flight: usize, retry_after: u64) -> Self {
        Self {
            pressure: AtomicU8::new(Pressure::None as u8),
            in_flight: Arc::default(),
            max_in_flight,
            retry_after: HeaderValue::from(retry_after),
        }
    }

    /// Takes note of the memory in use. Returns a line for the log when that changes what is done.
    pub fn measured(&self, used: u64, limit: u64) -> Option<String> {
        let before = self.pressure();
        let percent = used.saturating_mul(100) / limit.max(1);
        let at_least = |threshold: u64, on: bool| percent >= threshold - if on { HYSTERESIS } else { 0 };
        let now = if at_least(SHED_AT, before == Pressure::Shed) {
            Pressure::Shed
        } else if at_least(CLOSE_AT, before >= Pressure::Close) {
            Pressure::Close
        } else {
            Pressure::None
        };
        self.pressure.store(now as u8, Ordering::Relaxed);
        let what = match now {
            _ if now == before => return None,
            Pressure::None => "connections are kept again",
            Pressure::Close => "connections are closed after their response",
            Pressure::Shed => "new requests and connections are refused",
        };
        let mib = |bytes: u64| bytes >> 20;
        Some(format!("{} MiB of {} MiB of memory are used: {what}", mib(used), mib(limit)))
    }

    fn pressure(&self) -> Pressure {
        match self.pressure.load(Ordering::Relaxed) {
            0 => Pressure::None,
            1 => Pressure::Close,
            _ => Pressure::Shed,
        }
    }

    /// Whether a connection should not be kept for another request.
    pub(super) fn closes_connections(&self) -> bool {
        self.pressure() >= Pressure::Close
    }

    /// Whether new connections are refused.
    pub(super) fn refuses_connections(&self) -> bool {
        self.pressure() == Pressure::Shed
    }

    /// Lets a request begin, or says why not.
    pub(super) fn begin(&self) -> Result<Option<Share>, Shed> {
        if self.pressure() == Pressure::Shed {
            return Err(Shed::Memory);
        }
        if self.max_in_flight == 0 {
            return Ok(None);
        }
        let share = Share(Arc::clone(&self.in_flight));
        let before = self.in_flight.fetch_add(1, Ordering::Relaxed);
        if before < self.max_in_flight { Ok(Some(share)) } else { Err(Shed::InFlight) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_requests_are_let_in_as_may_be_in_flight() {
        let overload = Overload::new(2, 1);
        let (first, _second) = (overload.begin().unwrap(), overload.begin().unwrap());
        for _ in 0..3 {
            assert_eq!(overload.begin().unwrap_err(), Shed::InFlight);
        }
        drop(first);
        let _third = overload.begin().unwrap();
        assert_eq!(overload.begin().unwrap_err(), Shed::InFlight);
        assert!(Overload::new(0, 1).begin().unwrap().is_none(), "no limit, no count");
    }

    #[test]
    fn memory_ends_connections_before_it_refuses_and_both_end_later_than_they_began() {
        let overload = Overload::new(0, 1);
        for (percent, closes, sheds) in [
            (91, false, false),
            (92, true, false),
            (90, true, false),
            (94, true, false),
            (95, true, true),
            (93, true, true),
            (92, true, true),
            (91, true, false),
            (89, true, false),
            (88, false, false),
            (91, false, false),
            (99, true, true),
            (10, false, false),
        ] {
            let said = overload.measured(percent << 20, 100 << 20);
            assert_eq!((overload.closes_connections(), overload.refuses_connections()), (closes, sheds), "{percent}");
            assert_eq!(overload.begin().is_err(), sheds, "{percent}");
            assert!(said.is_none_or(|line| line.contains(&format!("{percent} MiB of 100 MiB"))));
        }
    }
}

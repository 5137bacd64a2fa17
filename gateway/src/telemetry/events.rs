//! What happens, for those who listen: a bounded ring of events with numbers that only grow.
//!
//! Who tells of something never waits for who listens: a listener reads the ring at its own pace, and
//! is told how much it missed when that was too slow.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tokio::sync::watch;

use super::listeners::{Seat, Seats};
use super::throttle::Throttle;

/// Events that are kept for those who come back.
const KEPT: usize = 256;
/// Listeners at the same time.
const LISTENERS: usize = 64;
/// Events a second of one source that may have many.
const THROTTLED: u32 = 5;

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Grows by one with every event; those of a later process are larger.
    pub id: u64,
    /// When.
    pub time: SystemTime,
    /// What kind of thing.
    pub kind: &'static str,
    /// The rest of it, by its kind.
    pub data: Value,
}

/// What happens to this gateway.
pub struct Events {
    ring: Mutex<Ring>,
    more: watch::Sender<()>,
    seats: Arc<Seats>,
    throttle: Throttle,
}

struct Ring {
    /// The number of this process's first event, and of its next.
    first: u64,
    next: u64,
    kept: VecDeque<Arc<Event>>,
}

impl Default for Events {
    fn default() -> Self {
        // Beyond what any process before has come to, and small enough for JavaScript.
        let first = millis(SystemTime::now()).saturating_mul(1000);
        Self {
            ring: Mutex::new(Ring { first, next: first, kept: VecDeque::with_capacity(KEPT) }),
            more: watch::Sender::new(()),
            seats: Seats::new(LISTENERS),
            throttle: Throttle::of(THROTTLED),
        }
    }
}

impl Events {
    /// Tells of something. Not for the request path: it allocates and takes a lock.
    pub fn tell(&self, kind: &'static str, data: Value) {
        let mut ring = self.ring();
        let id = ring.next;
        ring.next += 1;
        if ring.kept.len() == KEPT {
            ring.kept.pop_front();
        }
        ring.kept.push_back(Arc::new(Event { id, time: SystemTime::now(), kind, data }));
        drop(ring);
        self.more.send_replace(());
    }

    /// As [`Events::tell`], a few times a second at most for each source. What is left out is not
    /// even made.
    pub fn tell_some(&self, source: &'static str, kind: &'static str, data: impl FnOnce() -> Value) {
        if self.throttle.lets_pass(source) {
            self.tell(kind, data());
        }
    }

    /// Listens to what happens from now on, or after the event of this number. `None` when too many
    /// listen already.
    pub fn listen(self: &Arc<Self>, after: Option<u64>) -> Option<Listener> {
        let seat = Seats::take(&self.seats)?;
        let more = self.more.subscribe();
        let next = after.map_or_else(|| self.ring().next, |id| id.saturating_add(1));
        Some(Listener { events: Arc::clone(self), more, next, _seat: seat })
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

/// What a listener hears.
#[derive(Debug, Clone, PartialEq)]
pub enum Heard {
    /// An event.
    Event(Arc<Event>),
    /// Events it can no longer hear: how many, when that is known. The next one is of this number.
    Missed(Option<u64>, u64),
}

/// One who listens.
#[derive(Debug)]
pub struct Listener {
    events: Arc<Events>,
    more: watch::Receiver<()>,
    /// The number of the event it hears next.
    next: u64,
    _seat: Seat,
}

impl Listener {
    /// Waits for the next event.
    pub async fn next(&mut self) -> Heard {
        loop {
            // Before looking: what comes meanwhile wakes it again.
            self.more.mark_unchanged();
            if let Some(heard) = self.take() {
                return heard;
            }
            if self.more.changed().await.is_err() {
                // The ring is held here, and so is its sender.
                std::future::pending::<()>().await;
            }
        }
    }

    fn take(&mut self) -> Option<Heard> {
        let ring = self.events.ring();
        let oldest = ring.kept.front().map_or(ring.next, |event| event.id);
        if self.next > ring.next {
            // A number of another gateway, or of a clock that went back.
            self.next = oldest;
            return Some(Heard::Missed(None, oldest));
        }
        if self.next < oldest {
            // Those of an earlier process are not counted: its numbers were others.
            let missed = (self.next >= ring.first).then(|| oldest - self.next);
            self.next = oldest;
            return Some(Heard::Missed(missed, oldest));
        }
        let place = usize::try_from(self.next - oldest).ok()?;
        let event = Arc::clone(ring.kept.get(place)?);
        self.next += 1;
        Some(Heard::Event(event))
    }
}

/// Milliseconds since 1970.
pub(super) fn millis(time: SystemTime) -> u64 {
    u64::try_from(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tell(events: &Events, range: std::ops::Range<u64>) {
        range.for_each(|n| events.tell("test", json!({"n": n})));
    }

    async fn number(listener: &mut Listener) -> u64 {
        match listener.next().await {
            Heard::Event(event) => event.data["n"].as_u64().unwrap(),
            missed @ Heard::Missed(..) => panic!("{missed:?}"),
        }
    }

    #[tokio::test]
    async fn a_listener_hears_what_happens_from_then_on_in_order() {
        let events = Arc::new(Events::default());
        tell(&events, 0..3);
        let mut listener = events.listen(None).unwrap();
        tell(&events, 3..5);
        assert_eq!((number(&mut listener).await, number(&mut listener).await), (3, 4));
        let waiting = tokio::spawn(async move { number(&mut listener).await });
        tell(&events, 5..6);
        assert_eq!(waiting.await.unwrap(), 5);
    }

    #[tokio::test]
    async fn who_comes_back_goes_on_where_it_was() {
        let events = Arc::new(Events::default());
        let mut listener = events.listen(None).unwrap();
        tell(&events, 0..4);
        let Heard::Event(first) = listener.next().await else { panic!() };
        drop(listener);
        let mut again = events.listen(Some(first.id)).unwrap();
        assert_eq!(number(&mut again).await, 1);
    }

    #[tokio::test]
    async fn who_is_too_slow_is_told_how_much_it_missed() {
        let events = Arc::new(Events::default());
        let mut slow = events.listen(None).unwrap();
        tell(&events, 0..300);
        assert!(matches!(slow.next().await, Heard::Missed(Some(44), _)));
        assert_eq!(number(&mut slow).await, 44);
        assert_eq!(events.ring().kept.len(), KEPT);
    }

    #[tokio::test]
    async fn a_number_of_another_process_begins_with_what_there_is() {
        let events = Arc::new(Events::default());
        tell(&events, 0..2);
        for id in [1, u64::MAX, millis(SystemTime::now()) * 1000 + 3_600_000_000] {
            let mut listener = events.listen(Some(id)).unwrap();
            assert!(matches!(listener.next().await, Heard::Missed(None, _)), "{id}");
            assert_eq!(number(&mut listener).await, 0, "{id}");
        }
    }

    #[test]
    fn only_so_many_may_listen() {
        let events = Arc::new(Events::default());
        let mut listeners: Vec<_> = (0..LISTENERS).map(|_| events.listen(None).unwrap()).collect();
        assert!(events.listen(None).is_none());
        listeners.pop();
        assert!(events.listen(None).is_some());
    }

    #[test]
    fn a_flood_of_one_source_is_cut() {
        let events = Events::default();
        for _ in 0..100 {
            events.tell_some("a", "test", || json!({}));
            events.tell_some("b", "test", || json!({}));
        }
        // A second may begin meanwhile.
        assert!((10..=40).contains(&events.ring().kept.len()));
    }
}

//! Seats for listeners: so many and no more, given back when dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The seats there are.
#[derive(Debug)]
pub(super) struct Seats {
    most: usize,
    taken: AtomicUsize,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub(super) struct Seat(Arc<Seats>);

impl Seats {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, taken: AtomicUsize::new(0) })
    }

    /// A seat, unless all are taken.
    pub(super) fn take(seats: &Arc<Self>) -> Option<Seat> {
        let one_more = |taken: usize| (taken < seats.most).then_some(taken + 1);
        seats.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(Seat(Arc::clone(seats)))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

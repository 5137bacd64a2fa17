//! Requests that wait while every node they could go to is at its limit. First come, first served.
//!
//! Whoever ends a request at a node hands its place to the first in the queue who can use it, so
//! that no latecomer takes it. The lock is taken only while somebody waits.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::{InFlight, Memory, NodeState, Upstream};

/// A place at a node: its index and the request counted there.
pub(super) type Placed = (usize, InFlight);

/// The queue of a service.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Those in the line, and those who are about to join it.
    announced: AtomicUsize,
    line: Mutex<VecDeque<Waiting>>,
}

#[derive(Debug)]
struct Waiting {
    upstream: Arc<Upstream>,
    /// The nodes it may go to.
    nodes: Box<[usize]>,
    http2: bool,
    place: oneshot::Sender<Placed>,
}

/// A place in the queue. It is left when this is dropped.
#[derive(Debug)]
#[must_use = "who does not wait has left the queue"]
pub struct Ticket {
    memory: Arc<Memory>,
    /// Taken when it is dropped, so that its sender knows.
    place: Option<oneshot::Receiver<Placed>>,
}

impl Queue {
    /// Whether somebody waits.
    #[inline]
    pub(super) fn is_busy(&self) -> bool {
        self.announced.load(Ordering::Relaxed) > 0
    }

    /// Gives the place of a request that has ended at this node to the first who can use it.
    pub(super) fn freed(&self, node: &Arc<NodeState>) {
        // Pairs with the fence of `join`: either we see who joins, or it sees the free place.
        fence(Ordering::SeqCst);
        if self.is_busy() {
            self.serve(&mut self.line(), Some(node));
        }
    }

    fn line(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, line: &mut VecDeque<Waiting>, node: Option<&Arc<NodeState>>) {
        let mut at = 0;
        while let Some(waiting) = line.get(at) {
            let Some(placed) = waiting.find_place(node) else {
                at += 1;
                continue;
            };
            let Some(waiting) = line.remove(at) else { break };
            self.announced.fetch_sub(1, Ordering::Relaxed);
            if let Err((_, unused)) = waiting.place.send(placed) {
                // It has just given up. The next one is asked for the same place; the lock is ours.
                unused.leave_silently();
            }
        }
    }

    fn forget_the_gone(&self, line: &mut VecDeque<Waiting>) {
        let before = line.len();
        line.retain(|waiting| !waiting.place.is_closed());
        self.announced.fetch_sub(before - line.len(), Ordering::Relaxed);
    }
}

impl Waiting {
    /// A place at a node that is free now; at this one, when it is named.
    fn find_place(&self, node: Option<&Arc<NodeState>>) -> Option<Placed> {
        let state = |index: usize| &self.upstream.nodes()[index].state;
        let any_usable = || self.nodes.iter().any(|index| state(*index).is_usable());
        self.nodes.iter().copied().find_map(|index| {
            let free =
                node.is_none_or(|node| Arc::ptr_eq(node, state(index))) && (state(index).is_usable() || !any_usable());
            free.then(|| self.upstream.enter_at(index, self.http2)).flatten()
        })
    }
}

/// What came of an attempt to join.
pub(super) enum Joined {
    /// There was a place after all.
    Placed(Placed),
    Waits(Ticket),
    /// As many wait as may.
    Full,
}

/// Joins the queue of an upstream's service, for one of these nodes; unless `last_look` finds a place.
pub(super) fn join(
    upstream: &Arc<Upstream>,
    nodes: Box<[usize]>,
    http2: bool,
    most: usize,
    last_look: impl FnOnce() -> Option<Placed>,
) -> Joined {
    let queue = &upstream.memory.queue;
    let mut line = queue.line();
    queue.announced.fetch_add(1, Ordering::Relaxed);
    fence(Ordering::SeqCst);
    // What is free now belongs to those who came before.
    if !line.is_empty() && upstream.has_room(&nodes, http2) {
        queue.serve(&mut line, None);
    }
    if let Some(placed) = last_look() {
        queue.announced.fetch_sub(1, Ordering::Relaxed);
        return Joined::Placed(placed);
    }
    if line.len() >= most {
        queue.announced.fetch_sub(1, Ordering::Relaxed);
        return Joined::Full;
    }
    let (place, receiver) = oneshot::channel();
    line.push_back(Waiting { upstream: Arc::clone(upstream), nodes, http2, place });
    Joined::Waits(Ticket { memory: Arc::clone(&upstream.memory), place: Some(receiver) })
}

impl Ticket {
    /// Waits for a place; not longer than this.
    pub async fn wait(mut self, longest: Duration) -> Option<Placed> {
        let placed = tokio::time::timeout(longest, self.place.as_mut()?).await.ok()?.ok();
        // Out of the line already.
        self.place = None;
        placed
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let Some(place) = self.place.take() else { return };
        // A place that was given just now goes back with this, and on to the next; not under the
        // lock, which that takes itself.
        drop(place);
        let queue = &self.memory.queue;
        queue.forget_the_gone(&mut queue.line());
    }
}

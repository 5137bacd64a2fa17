//! What a try at a node came to, and what that means for the node.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::ejection::Cause;
use super::health::Counts;
use super::state::now_ms;
use super::{Balancing, Node, Upstream};

/// What a try at a node came to. A client that left is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// No connection was made.
    NoConnection,
    /// The connection broke, or what came over it was no HTTP.
    Broken,
    /// The node took too long.
    TooSlow,
    /// The header of a response came.
    Answered {
        /// Its status.
        status: u16,
        /// From the start of the try to the header.
        first_byte: Duration,
    },
}

impl Outcome {
    /// Whether the try failed, or was answered as servers answer that fail.
    pub fn is_error(self) -> bool {
        !matches!(self, Self::Answered { status, .. } if status < 500)
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoConnection => f.write_str("no connection"),
            Self::Broken => f.write_str("a broken connection"),
            Self::TooSlow => f.write_str("too slow"),
            Self::Answered { status, .. } => write!(f, "status {status}"),
        }
    }
}

impl Upstream {
    /// Notes what a try at a node came to.
    pub fn observe(&self, node: usize, outcome: Outcome) {
        let Some(node) = self.nodes.get(node) else { return };
        if outcome.is_error() {
            node.state.failed.fetch_add(1, Ordering::Relaxed);
        }
        node.state.served.observe(outcome);
        if self.options.balancing == Balancing::Ewma {
            self.observe_latency(node, outcome);
        }
        if node.state.awaits_readmission() {
            self.reconsider(node, outcome);
        }
        if let Some(passive) = &self.options.passive {
            self.watch(passive, node, outcome);
        }
        if outcome == Outcome::NoConnection {
            self.refused(node);
        }
    }

    /// Notes what a try at a node that is left out came to.
    fn reconsider(&self, node: &Node, outcome: Outcome) {
        let (ejection, time, now) = (&node.state.ejection, self.options.eject_time, now_ms());
        let Outcome::Answered { first_byte, .. } = outcome else {
            self.still_out(node, ejection.went_wrong(time, now));
            return;
        };
        // Who refused connections has taken one, whatever came over it.
        let went_well = !outcome.is_error() || ejection.cause() == Some(Cause::Refused);
        if !went_well {
            self.still_out(node, ejection.went_wrong(time, now));
        } else if ejection.went_well(first_byte, time, now) {
            self.taken_back(node);
        }
    }

    fn still_out(&self, node: &Node, time: Option<Duration>) {
        if let Some(time) = time {
            log::info!("service \"{}\": node {} is left out for another {time:?}", self.name, node.address);
        }
    }

    /// After a node was taken back.
    pub(super) fn taken_back(&self, node: &Node) {
        node.state.is_back();
        Counts::one(&self.memory.counts.readmitted);
        log::info!("service \"{}\": node {} answers again and takes requests", self.name, node.address);
        self.tell(node, "ejected", node.state.health(), format_args!("it answers again"));
    }

    fn observe_latency(&self, node: &Node, outcome: Outcome) {
        let now = now_ms();
        match outcome {
            Outcome::Answered { status, first_byte } if status < 500 => {
                node.state.latency.observe_peak(first_byte, now);
                self.memory.latency.observe(first_byte, now);
            }
            _ => node.state.latency.penalise(now),
        }
    }

    fn refused(&self, node: &Node) {
        // A single node is never left out: there is nothing better to try.
        if self.nodes.len() > 1 && node.state.eject(self.options.eject_time) {
            self.memory.left_out.store(true, Ordering::Relaxed);
            Counts::one(&self.memory.counts.ejected);
            log::warn!("service \"{}\": node {} is left out, it does not take connections", self.name, node.address);
            self.tell(node, node.state.health(), "ejected", format_args!("it does not take connections"));
        }
    }
}

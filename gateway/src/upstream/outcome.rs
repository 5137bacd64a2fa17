//! What a try at a node came to, and what that means for the node.

use std::sync::atomic::Ordering;
use std::time::Duration;

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

impl Upstream {
    /// Notes what a try at a node came to.
    pub fn observe(&self, node: usize, outcome: Outcome) {
        let Some(node) = self.nodes.get(node) else { return };
        if self.options.balancing == Balancing::Ewma {
            self.observe_latency(node, outcome);
        }
        match outcome {
            Outcome::NoConnection => self.refused(node),
            Outcome::Answered { .. } => {
                if node.state.readmit() {
                    Counts::one(&self.memory.counts.readmitted);
                    log::info!("service \"{}\": node {} answers again", self.name, node.address);
                }
            }
            Outcome::Broken | Outcome::TooSlow => {}
        }
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
        }
    }
}

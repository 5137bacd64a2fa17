//! Leases that end together: of a service that loses most of its nodes at once, those that still
//! answer are kept.
//!
//! The store cannot tell an expired lease from a service that takes its leave. A few nodes that go
//! are believed at once. When more than half of a service's leased nodes go within the window, it
//! may be that only those who renew leases are in trouble: then the nodes are probed, and kept beyond
//! their lease for as long as they answer.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::time::Instant;

use super::table::Table;
use super::{Control, ControlStatus};
use crate::resource::key;

/// How often nodes kept beyond their lease are probed.
const AGAIN: Duration = Duration::from_secs(5);

/// A node that may be gone.
#[derive(Debug, Clone)]
pub struct LapsedNode {
    /// Its service.
    pub service: String,
    /// How it was declared.
    pub value: Bytes,
}

/// Says of each node whether it still answers.
pub type ProbeNodes = Arc<dyn Fn(Vec<LapsedNode>) -> BoxFuture<'static, Vec<bool>> + Send + Sync>;

/// Which nodes answered, by key.
type Answers = Vec<(String, bool)>;

/// The nodes that are kept though the store has them no more.
pub(super) struct Lapses {
    window: Duration,
    probe: Option<ProbeNodes>,
    /// The leased nodes of a service that went within the window and have not come back, by key.
    recent: HashMap<String, BTreeMap<String, Instant>>,
    held: BTreeMap<String, Held>,
    /// Nodes that did not answer: their deletion is not doubted again.
    believed: BTreeSet<String>,
    next: Instant,
    asking: Option<BoxFuture<'static, Answers>>,
}

struct Held {
    service: String,
    /// Of the deletion.
    revision: u64,
    /// Whether it has answered since.
    kept: bool,
}

impl Lapses {
    pub(super) fn new(window: Duration) -> Self {
        Self {
            window,
            probe: None,
            recent: HashMap::new(),
            held: BTreeMap::new(),
            believed: BTreeSet::new(),
            next: Instant::now(),
            asking: None,
        }
    }

    /// When nodes are to be probed.
    pub(super) fn due(&self) -> Option<Instant> {
        (self.asking.is_none() && !self.held.is_empty()).then_some(self.next)
    }

    /// Takes back the pending deletions that are to be doubted.
    fn sift(&mut self, table: &mut Table, now: Instant) {
        self.believed.retain(|key| table.is_deleted(key));
        table.undelete(|key| self.held.contains_key(key));
        let mut gone: BTreeMap<String, Vec<(String, u64)>> = BTreeMap::new();
        for (key, revision) in table.leased_deletes() {
            if let Some(service) = service_of(key).filter(|_| !self.believed.contains(key)) {
                gone.entry(service.to_owned()).or_default().push((key.clone(), revision));
            }
        }
        for (service, keys) in gone {
            self.doubt(table, service, keys, now);
        }
    }

    fn doubt(&mut self, table: &mut Table, service: String, keys: Vec<(String, u64)>, now: Instant) {
        let window = self.window;
        self.recent.retain(|_, times| {
            times.retain(|_, at| now.duration_since(*at) < window);
            !times.is_empty()
        });
        let held = self.held.values().filter(|held| held.service == service).count();
        let left = table.leased(&format!("{}{service}.", key::NODES), |key| service_of(key) == Some(&service));
        let left = left.saturating_sub(held);
        let gone = self.recent.get(&service).map_or(0, BTreeMap::len) + held + keys.len();
        // The only node of a service that goes is no lapse of many.
        if gone < 2 || gone <= left {
            self.recent.entry(service).or_default().extend(keys.into_iter().map(|(key, _)| (key, now)));
            return;
        }
        log::warn!(
            "service \"{service}\": {gone} of its {} leased nodes have gone within {window:?}; those that still answer are kept",
            gone + left
        );
        for (key, revision) in keys {
            table.undelete(|other| other == key);
            self.held.insert(key, Held { service: service.clone(), revision, kept: false });
        }
        self.next = now;
    }

    fn ask(&mut self, table: &Table) {
        let Some(probe) = &self.probe else { return };
        let nodes = self.held.iter().filter_map(|(key, held)| {
            let value = table.handed().get(key)?.value.clone();
            Some((key.clone(), LapsedNode { service: held.service.clone(), value }))
        });
        let (keys, nodes): (Vec<_>, Vec<_>) = nodes.unzip();
        let answers = probe(nodes);
        self.asking = Some(Box::pin(async move { keys.into_iter().zip(answers.await).collect() }));
    }

    /// Waits for the answers, for ever when none are asked for.
    pub(super) async fn answers(&mut self) -> Answers {
        let Some(asking) = &mut self.asking else { return std::future::pending().await };
        let answers = asking.await;
        self.asking = None;
        self.next = Instant::now() + AGAIN;
        answers
    }

    /// A node is in the store again.
    fn returned(&mut self, key: &str) {
        if let Some(gone) = service_of(key).and_then(|service| self.recent.get_mut(service)) {
            gone.remove(key);
        }
        if let Some(held) = self.held.remove(key) {
            log::info!("service \"{}\": {key} is registered again", held.service);
        }
    }

    fn show(&self, status: &ControlStatus) {
        status.set_kept(self.held.keys().cloned().collect());
    }
}

impl Control {
    /// Keeps nodes that still answer when most of their service's leases end together.
    pub fn probe_lapsed(&mut self, probe: ProbeNodes) {
        self.lapses.probe = Some(probe);
    }

    /// Doubts what is pending, and probes what is doubted, when it is time.
    pub(super) fn doubt_lapses(&mut self, now: Instant) {
        if self.lapses.probe.is_none() || self.lapses.window.is_zero() {
            return;
        }
        let before = self.lapses.held.len();
        self.lapses.sift(&mut self.table, now);
        if self.lapses.held.len() != before {
            self.lapses.show(&self.status);
            self.note_if_even();
        }
        if self.lapses.due().is_some_and(|due| due <= now) {
            self.lapses.ask(&self.table);
        }
    }

    /// Keeps those that answer; the others are gone.
    pub(super) fn settle_lapses(&mut self, answers: Answers) {
        for (key, answers) in answers {
            let Some(held) = self.lapses.held.get_mut(&key) else { continue };
            let service = held.service.clone();
            if answers {
                if !std::mem::replace(&mut held.kept, true) {
                    log::warn!("service \"{service}\": {key} still answers and is kept beyond its lease");
                }
                continue;
            }
            log::info!("service \"{service}\": {key} has no lease and does not answer: it is gone");
            self.table.delete(key.clone(), held.revision);
            self.lapses.held.remove(&key);
            self.lapses.recent.entry(service).or_default().insert(key.clone(), Instant::now());
            self.lapses.believed.insert(key);
        }
        self.lapses.show(&self.status);
    }

    /// Notes that these are in the store.
    pub(super) fn note_returned<'a>(&mut self, keys: impl Iterator<Item = &'a String>) {
        if self.lapses.held.is_empty() && self.lapses.recent.is_empty() {
            return;
        }
        let before = self.lapses.held.len();
        keys.for_each(|key| self.lapses.returned(key));
        if self.lapses.held.len() != before {
            self.lapses.show(&self.status);
        }
    }
}

fn service_of(full_key: &str) -> Option<&str> {
    key::service_of_node(full_key.strip_prefix(key::NODES)?)
}

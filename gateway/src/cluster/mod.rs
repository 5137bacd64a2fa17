//! The gateways that share a store: what each says of itself, and how they ask each other.
//!
//! A gateway writes a report under a lease of its own, so that it is gone from the list soon after it is
//! gone. All of them follow the list. A call from one to another carries a credential made with a secret
//! of the store, and goes nowhere but to an address that the list has.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::resource::key::GATEWAYS;
use crate::store::{LeaseId, SharedStore};
use crate::telemetry::Events;

mod ask;
mod credential;
mod follow;
mod presence;
#[cfg(test)]
mod tests;

pub use ask::{Answer, Missing};
pub use credential::HEADER as CREDENTIAL;

/// How long a report stays when its gateway is not heard of.
const LEASE: Duration = Duration::from_secs(30);
/// How often it renews that.
const EVERY: Duration = Duration::from_secs(10);
/// A gateway that has missed one renewal, and half the time to the next, is not as it should be.
const STALE: Duration = Duration::from_secs(15);
/// Most bytes of a report.
const MOST_BYTES: usize = 4096;

/// What a gateway says of itself. One of another version may say more.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// Its version.
    pub version: String,
    /// The name of its machine.
    pub hostname: String,
    /// When it was started, in seconds since 1970.
    pub started: u64,
    /// Where the others reach its Admin API.
    pub url: Option<String>,
    /// The store's revision as it last heard.
    pub stored_revision: u64,
    /// The revision its requests see.
    pub applied_revision: u64,
    /// Objects that are not live as the store has them.
    pub rejected: usize,
    /// The first of them.
    pub rejected_first: Vec<RejectedObject>,
    /// Whether it serves.
    pub ready: bool,
    /// Whether it is about to end.
    pub draining: bool,
}

/// An object that a gateway does not have live as the store has it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RejectedObject {
    /// Its key, without the data prefix.
    pub key: String,
    /// Why, in short.
    pub reason: String,
}

impl Report {
    /// As it is stored: never larger than it may be.
    fn to_bytes(&self) -> Vec<u8> {
        let mut report = self.clone();
        loop {
            let bytes = serde_json::to_vec(&report).unwrap_or_default();
            if bytes.len() <= MOST_BYTES || report.rejected_first.pop().is_none() {
                return bytes;
            }
        }
    }
}

/// A gateway of the list.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// Its name: random, and new with every process.
    pub id: String,
    /// What it says of itself.
    pub report: Report,
    /// Since when it is not heard of, when that is known: the store says how long its lease has left.
    pub silent: Option<Duration>,
    /// Whether that is longer than it should be.
    pub stale: bool,
}

/// What a gateway says of itself now.
pub type SelfReport = Arc<dyn Fn() -> Report + Send + Sync>;

/// The gateways of a store, as one of them knows them.
pub struct Cluster {
    id: String,
    store: SharedStore,
    prefix: String,
    report: SelfReport,
    events: Arc<Events>,
    known: RwLock<Known>,
    client: ask::PeerClient,
}

/// What the store says.
#[derive(Default)]
struct Known {
    members: BTreeMap<String, Listed>,
    secret: Option<Vec<u8>>,
}

#[derive(Debug, Clone, PartialEq)]
struct Listed {
    report: Report,
    lease: Option<LeaseId>,
}

impl Cluster {
    /// A cluster that knows nobody yet but this gateway. That is all there is with an embedded store.
    pub fn new(store: SharedStore, prefix: &str, report: SelfReport, events: Arc<Events>) -> Arc<Self> {
        Arc::new(Self {
            id: hex::encode(rand::random::<[u8; 8]>()),
            store,
            prefix: prefix.to_owned(),
            report,
            events,
            known: RwLock::default(),
            client: ask::PeerClient::default(),
        })
    }

    /// The name of this gateway.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What this gateway says of itself now.
    pub fn own_report(&self) -> Report {
        (self.report)()
    }

    /// All gateways, this one first.
    pub async fn members(&self) -> Vec<Member> {
        let own = Member { id: self.id.clone(), report: self.own_report(), silent: Some(Duration::ZERO), stale: false };
        let mut members = vec![own];
        members.extend(self.others_with_silence().await);
        members
    }

    /// Whether a call of this method and target was made by another gateway just now, for this one.
    ///
    /// # Errors
    /// Why it was not, for the caller.
    pub fn admits(&self, credential: &str, method: &str, target: &str) -> Result<(), &'static str> {
        let secret = self.read(|known| known.secret.clone()).ok_or("this gateway has no secret of its cluster yet")?;
        credential::verify(&secret, credential, &credential::Call { to: &self.id, method, target }, unix_now())
    }

    fn others(&self) -> Vec<(String, Listed)> {
        let not_own = |(id, _): &(&String, &Listed)| **id != self.id;
        self.read(|known| known.members.iter().filter(not_own).map(|(id, one)| (id.clone(), one.clone())).collect())
    }

    fn read<T>(&self, read: impl FnOnce(&Known) -> T) -> T {
        read(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn key(&self, id: &str) -> String {
        format!("{}{GATEWAYS}{id}", self.prefix)
    }
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

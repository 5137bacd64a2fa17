//! Who did what with accounts, tokens and logins: a bounded record in the store. What is done to the
//! configuration is its history's business.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{Instant, interval_at};

use super::failures::{Failures, TICK};
use super::principal::Principal;
use super::token::now;
use crate::store::{MAX_TXN_OPS, Op, SharedStore, StoreError};

/// The record: `gw/audit/<milliseconds since 1970>-<random>`.
pub(in crate::admin) const AUDIT: &str = "gw/audit/";
/// Entries that are kept.
const KEPT: usize = 1_000;
/// How long they are kept, in seconds.
const KEPT_FOR: f64 = 30.0 * 86_400.0;
/// Entries waiting to be written; more are dropped, and that is logged.
const QUEUE: usize = 256;

/// One entry.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::admin) struct Entry {
    /// Seconds since 1970.
    pub(in crate::admin) time: f64,
    /// Who.
    pub(in crate::admin) actor: String,
    /// What the actor showed: a session, a token, a password.
    pub(in crate::admin) credential: String,
    /// From where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::admin) address: Option<IpAddr>,
    /// What, such as `user.created`.
    pub(in crate::admin) action: String,
    /// To whom, or to which token.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(in crate::admin) target: String,
    /// More of it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(in crate::admin) detail: String,
}

impl Entry {
    /// What a caller did.
    pub(in crate::admin) fn by(who: &Principal, from: IpAddr, action: &str) -> Self {
        Self::of(who.name(), who.credential(), from, action)
    }

    pub(super) fn of(actor: &str, credential: &str, from: IpAddr, action: &str) -> Self {
        Self {
            time: now(),
            actor: actor.to_owned(),
            credential: credential.to_owned(),
            address: Some(from),
            action: action.to_owned(),
            target: String::new(),
            detail: String::new(),
        }
    }

    /// What was done with the command line, by who can write to the store.
    pub(super) fn by_command(action: &str) -> Self {
        let nowhere = IpAddr::from([0, 0, 0, 0]);
        Self { address: None, ..Self::of("the command line", "access to the store", nowhere, action) }
    }

    /// To whom, or to which token it was done.
    pub(in crate::admin) fn to(mut self, target: &str) -> Self {
        target.clone_into(&mut self.target);
        self
    }

    /// More of it.
    pub(in crate::admin) fn saying(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }

    fn log(&self) {
        let Self { actor, credential, action, target, detail, .. } = self;
        let from = self.address.map(|ip| ip.to_string()).unwrap_or_default();
        let (space, target) = if target.is_empty() { ("", String::new()) } else { (" ", format!("{target:?}")) };
        let detail = if detail.is_empty() { String::new() } else { format!(" ({detail})") };
        log::info!("admin: {actor} from {from} by {credential}: {action}{space}{target}{detail}");
    }
}

/// The record, and the task that writes what nobody waits for.
pub(super) struct Audit {
    prefix: String,
    queue: mpsc::Sender<Entry>,
    is_grown: Arc<AtomicBool>,
    writing: AbortHandle,
}

impl Drop for Audit {
    fn drop(&mut self) {
        self.writing.abort();
    }
}

impl Audit {
    /// Must be called within a tokio runtime. Failures are told to log and record at their time.
    pub(super) fn new(store: &SharedStore, prefix: &str, failures: Arc<Failures>) -> Self {
        let (queue, entries) = mpsc::channel(QUEUE);
        let is_grown = Arc::new(AtomicBool::new(true));
        let writer = Writer { store: Arc::clone(store), prefix: prefix.to_owned(), is_grown: Arc::clone(&is_grown) };
        let writing = tokio::spawn(writer.run(entries, failures)).abort_handle();
        Self { prefix: prefix.to_owned(), queue, is_grown, writing }
    }

    /// The write of an entry, for the transaction of what it tells of.
    pub(super) fn op(&self, entry: &Entry) -> Op {
        entry.log();
        self.is_grown.store(true, Ordering::Relaxed);
        op(&self.prefix, entry)
    }

    /// Writes an entry soon.
    pub(super) fn record(&self, entry: Entry) {
        entry.log();
        if self.queue.try_send(entry).is_err() {
            log::warn!("admin: too many audit entries wait for the store; this one stays in the log only");
        }
    }
}

struct Writer {
    store: SharedStore,
    prefix: String,
    is_grown: Arc<AtomicBool>,
}

impl Writer {
    async fn run(self, mut entries: mpsc::Receiver<Entry>, failures: Arc<Failures>) {
        let mut ticks = interval_at(Instant::now() + TICK, TICK);
        loop {
            let written = tokio::select! {
                entry = entries.recv() => match entry {
                    Some(entry) => self.write(&[entry]).await,
                    None => return,
                },
                _ = ticks.tick() => self.write(&failures.tell()).await,
            };
            let done = match written {
                Ok(()) if self.is_grown.swap(false, Ordering::Relaxed) => self.prune().await,
                other => other,
            };
            if let Err(e) = done {
                log::warn!("admin: the audit record is behind: {e}");
            }
        }
    }

    async fn write(&self, entries: &[Entry]) -> Result<(), StoreError> {
        for some in entries.chunks(MAX_TXN_OPS) {
            self.is_grown.store(true, Ordering::Relaxed);
            self.store.txn(Vec::new(), some.iter().map(|entry| op(&self.prefix, entry)).collect()).await?;
        }
        Ok(())
    }

    /// Deletes what is too old, or one too many.
    async fn prune(&self) -> Result<(), StoreError> {
        let family = format!("{}{AUDIT}", self.prefix);
        let entries = self.store.list(&family).await?.entries;
        let oldest = format!("{family}{}", id_begin(now() - KEPT_FOR));
        let surplus = entries.len().saturating_sub(KEPT);
        let old = entries.iter().enumerate().filter(|(i, kv)| *i < surplus || kv.key < oldest);
        let deletes: Vec<Op> = old.map(|(_, kv)| Op::delete(&*kv.key)).collect();
        for some in deletes.chunks(MAX_TXN_OPS) {
            self.store.txn(Vec::new(), some.to_vec()).await?;
        }
        Ok(())
    }
}

/// The write of an entry.
pub(super) fn op(prefix: &str, entry: &Entry) -> Op {
    let id = format!("{}-{}", id_begin(entry.time), hex::encode(rand::random::<[u8; 4]>()));
    Op::put(format!("{prefix}{AUDIT}{id}"), serde_json::to_vec(entry).unwrap_or_default())
}

/// What ids of this time begin with; in the order of time.
fn id_begin(time: f64) -> String {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let milliseconds = (time.max(0.0) * 1000.0) as u64;
    format!("{milliseconds:014}")
}

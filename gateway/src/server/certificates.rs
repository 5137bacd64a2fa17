//! Looks after certificates while the gateway runs: files that change, session tickets that age, and
//! ends that come near.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::Parts;
use crate::tls::Entry;

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(3);
/// With how many days left the log is told.
const WARN_DAYS: [i64; 4] = [1, 7, 14, 30];
const DAY: i64 = 86_400;

/// What the log was told of each certificate: the days of [`WARN_DAYS`], by fingerprint.
type Warned = HashMap<String, i64>;

/// Starts looking, and shows in the metrics how long certificates last.
pub(super) fn start(parts: &Arc<Parts>, runtime: &Runtime) {
    runtime.spawn(watch(Arc::clone(parts)));
    let (files, handle) = (Arc::clone(&parts.certificates), Arc::clone(&parts.handle));
    parts.metrics.set_certificates(move |each| {
        let now = SystemTime::now();
        for entry in handle.load().certificates.entries().iter().chain(files.store().entries()) {
            each(&entry.id, entry.hosts.first().map_or("", String::as_str), entry.summary.remaining(now));
        }
    });
}

/// Reads changed files anew, and renews the keys of session tickets. Runs until the process ends.
async fn watch(parts: Arc<Parts>) {
    let mut reloads = parts.reloads.subscribe();
    let mut warned = Warned::new();
    let mut asked = false;
    loop {
        let looked = tokio::task::spawn_blocking({
            let parts = Arc::clone(&parts);
            move || look(&parts, asked, &warned)
        });
        warned = looked.await.unwrap_or_else(|e| {
            log::error!("tls: the certificates could not be looked after: {e}");
            Warned::new()
        });
        asked = matches!(tokio::time::timeout(LOOK, reloads.changed()).await, Ok(Ok(())));
    }
}

fn entries(parts: &Parts) -> Vec<Arc<Entry>> {
    let stored = Arc::clone(&parts.handle.load().certificates);
    stored.entries().iter().chain(parts.certificates.store().entries()).map(Arc::clone).collect()
}

/// Looks once; `asked` when a person wants it. Blocks for the files.
fn look(parts: &Parts, asked: bool, warned: &Warned) -> Warned {
    parts.certificates.reload(asked);
    let entries = entries(parts);
    for entry in &entries {
        if let Err(e) = entry.refresh() {
            log::error!("tls: {}: {e}; it stays as it is", entry.id);
        }
    }
    warn(&entries, warned, SystemTime::now())
}

/// Tells the log of each certificate whose end came nearer than it was told before.
fn warn(entries: &[Arc<Entry>], before: &Warned, now: SystemTime) -> Warned {
    let mut warned = Warned::new();
    for entry in entries {
        let left = entry.summary.remaining(now);
        let ended = (left <= 0).then_some(0);
        let Some(days) = ended.or_else(|| WARN_DAYS.into_iter().find(|days| left < days * DAY)) else { continue };
        let fingerprint = &entry.summary.fingerprint;
        if before.get(fingerprint).is_none_or(|told| days < *told) && !warned.contains_key(fingerprint) {
            if days == 0 {
                log::error!("certificate {} of {} has ended", entry.id, entry.hosts.join(", "));
            } else {
                log::warn!("certificate {} of {} ends in {} days", entry.id, entry.hosts.join(", "), left / DAY);
            }
        }
        warned.insert(fingerprint.clone(), days);
    }
    warned
}

/// What the status says of the certificates.
pub(super) fn report(parts: &Parts) -> Value {
    let now = SystemTime::now();
    let one = |entry: &Arc<Entry>| {
        json!({
            "id": entry.id,
            "hosts": entry.hosts,
            "default": entry.default,
            "client_auth": entry.secure().policy.auth,
            "not_after": entry.summary.not_after,
            "ends_in_seconds": entry.summary.remaining(now),
            "fingerprint": entry.summary.fingerprint,
        })
    };
    entries(parts).iter().map(one).collect()
}

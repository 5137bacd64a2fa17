//! Copies a content to a place: what differs, in guarded transactions within the store's limits,
//! and looks afterwards that it is there.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};

use anyhow::{Context as _, bail, ensure};
use serde::{Deserialize, Serialize};

use super::content::{Content, Entry, MARKER};
use super::file;
use super::place::{Opened, Place};
use crate::store::{Guard, Lease, LeaseId, MAX_TXN_BYTES, MAX_TXN_OPS, Op, StoreError};

/// What may be done to a target that is not empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Mode {
    /// Nothing.
    OnlyEmpty,
    /// What is not in the source is deleted.
    Replace,
    /// What is not in the source stays.
    Merge,
}

/// Keys by what was done with them, or would be.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Copied {
    pub(super) written: Vec<String>,
    pub(super) unchanged: Vec<String>,
    pub(super) deleted: Vec<String>,
}

/// A copy in progress, as noted in its target.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Marker {
    from: String,
    mode: Mode,
}

/// Says what there is to do.
pub(super) async fn plan(source: &Content, to: &Place, mode: Mode, from: &str) -> anyhow::Result<Copied> {
    if to.file().is_some() {
        ensure!(mode != Mode::Merge, "{} is a file: it cannot be merged into", to.name());
        ensure!(mode == Mode::Replace || to.is_absent(), "{} exists; --replace writes it anew", to.name());
    }
    if to.is_absent() || to.file().is_some() {
        return Ok(difference(source, &Content::default(), mode));
    }
    let target = to.read().await?;
    Ok(admitted(source, &target, to, mode, from)?.1)
}

/// Copies, and verifies.
pub(super) async fn copy(source: &Content, to: &Place, mode: Mode, from: &str) -> anyhow::Result<Copied> {
    if let Some(path) = to.file() {
        let copied = plan(source, to, mode, from).await?;
        file::write(path, source).with_context(|| format!("{} cannot be written", to.name()))?;
        ensure!(file::read(path)?.entries.len() == source.entries.len(), "{} is not what was written", to.name());
        return Ok(copied);
    }
    let opened = to.open()?;
    let failed = |what: &str| format!("{}: {what}", to.name());
    let target = Content::of(&opened.store, &opened.prefix).await.with_context(|| failed("cannot be read"))?;
    let (mode, copied) = admitted(source, &target, to, mode, from)?;
    let marker = serde_json::to_vec(&Marker { from: from.to_owned(), mode })?;
    let writer = Writer { source, target: &target, to: &opened };
    writer.mark(marker).await.with_context(|| failed("cannot be written"))?;
    writer.write(&copied, &failed("")).await?;
    writer.unmark().await.with_context(|| failed("the end of the copy cannot be noted"))?;
    verify(source, &opened, mode, to.name()).await?;
    Ok(copied)
}

/// The mode a copy really has, and what it has to do; an error when the target must not be touched.
fn admitted(source: &Content, target: &Content, to: &Place, mode: Mode, from: &str) -> anyhow::Result<(Mode, Copied)> {
    let marker = target.entries.get(MARKER).and_then(|entry| serde_json::from_slice::<Marker>(&entry.value).ok());
    let mode = match (mode, marker) {
        // Interrupted: what is there is of the same copy.
        (Mode::OnlyEmpty, Some(marker)) if marker.from == from => match marker.mode {
            Mode::OnlyEmpty => Mode::Replace,
            other => other,
        },
        (Mode::OnlyEmpty, _) if !target.entries.is_empty() => bail!(
            "{} is not empty ({}); --replace makes it an exact copy, --merge writes over it and keeps the rest, \
             --dry-run shows what would be done",
            to.name(),
            target.summary()
        ),
        (mode, _) => mode,
    };
    Ok((mode, difference(source, target, mode)))
}

fn difference(source: &Content, target: &Content, mode: Mode) -> Copied {
    let mut copied = Copied::default();
    for (key, entry) in source.entries.iter().filter(|(key, _)| *key != MARKER) {
        let same = target
            .entries
            .get(key)
            .is_some_and(|there| there.value == entry.value && there.lease.is_some() == entry.lease.is_some());
        if same { &mut copied.unchanged } else { &mut copied.written }.push(key.clone());
    }
    if mode == Mode::Replace {
        let extra = |key: &&String| !source.entries.contains_key(*key) && *key != MARKER;
        copied.deleted = target.entries.keys().filter(extra).cloned().collect();
    }
    copied
}

struct Writer<'a> {
    source: &'a Content,
    target: &'a Content,
    to: &'a Opened,
}

impl Writer<'_> {
    async fn write(&self, copied: &Copied, place: &str) -> anyhow::Result<()> {
        let total = copied.written.len() + copied.deleted.len();
        let mut leases = BTreeMap::new();
        let (mut guards, mut ops, mut bytes, mut done) = (Vec::new(), Vec::new(), 0, 0);
        let keys = copied.written.iter().map(|key| (key, self.source.entries.get(key)));
        let keys = keys.chain(copied.deleted.iter().map(|key| (key, None)));
        for (key, entry) in keys {
            let op = self.op(key, entry, &mut leases).await.with_context(|| format!("{place}{key}"))?;
            let size = self.key(key).len() + entry.map_or(0, |entry| entry.value.len());
            ensure!(size <= MAX_TXN_BYTES, "{place}{key} has {size} bytes; a store takes at most {MAX_TXN_BYTES}");
            if ops.len() == MAX_TXN_OPS || bytes + size > MAX_TXN_BYTES {
                done += ops.len();
                self.commit(std::mem::take(&mut guards), std::mem::take(&mut ops), place).await?;
                progress(done, total);
                bytes = 0;
            }
            bytes += size;
            guards.push(self.as_found(key));
            ops.push(op);
        }
        if !ops.is_empty() {
            self.commit(guards, ops, place).await?;
        }
        progress(total, total);
        Ok(())
    }

    async fn op(
        &self,
        key: &str,
        entry: Option<&Entry>,
        leases: &mut BTreeMap<LeaseId, LeaseId>,
    ) -> Result<Op, StoreError> {
        let Some(entry) = entry else { return Ok(Op::delete(self.key(key))) };
        let lease = match entry.lease {
            None => Lease::None,
            Some(old) => match leases.get(&old) {
                Some(new) => Lease::Attach(*new),
                None => {
                    let left = self.source.leases.get(&old).copied().unwrap_or_default();
                    let new = self.to.store.grant_lease(left).await?;
                    leases.insert(old, new);
                    Lease::Attach(new)
                }
            },
        };
        Ok(Op::Put { key: self.key(key), value: entry.value.clone(), lease })
    }

    async fn commit(&self, guards: Vec<Guard>, ops: Vec<Op>, place: &str) -> anyhow::Result<()> {
        let first = guards.first().map(|guard| match guard {
            Guard::Absent(key) | Guard::ModRevision(key, _) => key.clone(),
        });
        let first = first.unwrap_or_default();
        match self.to.store.txn(guards, ops).await {
            Ok(_) => Ok(()),
            Err(StoreError::Conflict) => bail!(
                "{place}a key at or after {first} was changed by someone else meanwhile; run the same command again"
            ),
            Err(e) => Err(e).with_context(|| format!("{place}keys from {first} on cannot be written")),
        }
    }

    async fn mark(&self, marker: Vec<u8>) -> Result<(), StoreError> {
        let put = Op::put(self.key(MARKER), marker);
        self.to.store.txn(vec![self.as_found(MARKER)], vec![put]).await.map(drop)
    }

    async fn unmark(&self) -> Result<(), StoreError> {
        self.to.store.txn(Vec::new(), vec![Op::delete(self.key(MARKER))]).await.map(drop)
    }

    /// Demands that a key is as it was when the target was read.
    fn as_found(&self, key: &str) -> Guard {
        match self.target.entries.get(key) {
            Some(entry) => Guard::ModRevision(self.key(key), entry.revision),
            None => Guard::Absent(self.key(key)),
        }
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.to.prefix)
    }
}

/// Looks that the target has what the source had, and in a whole copy nothing else.
async fn verify(source: &Content, to: &Opened, mode: Mode, place: &str) -> anyhow::Result<()> {
    let mut found = Content::of(&to.store, &to.prefix).await.with_context(|| format!("{place} cannot be verified"))?;
    for (key, entry) in source.entries.iter().filter(|(key, _)| *key != MARKER) {
        let there = found.entries.get(key);
        // A lease may have ended since.
        let same = there.map_or(entry.lease.is_some(), |there| there.value == entry.value);
        ensure!(
            same,
            "{place}: {key} is not what was written; something else writes there. Run the same command again"
        );
    }
    if mode != Mode::Merge {
        // What has a lease comes and goes by itself, as reports of a gateway do.
        found.entries.retain(|key, entry| entry.lease.is_none() && !source.entries.contains_key(key) && key != MARKER);
        let extra = found.entries.keys().next();
        ensure!(
            extra.is_none(),
            "{place}: {} came meanwhile; something else writes there",
            extra.map_or("", |key| key)
        );
    }
    Ok(())
}

/// A line that is written over, for people only.
fn progress(done: usize, total: usize) {
    let mut err = std::io::stderr();
    if err.is_terminal() && total > MAX_TXN_OPS {
        let end = if done == total { "\n" } else { "" };
        // A terminal that has gone away does not stop a copy.
        drop(write!(err, "\r{done} of {total} keys{end}"));
    }
}

#[cfg(test)]
mod tests;

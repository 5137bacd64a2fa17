//! What is done about the changes that came: published in batches, held back, saved.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::disk::Content;
use super::hold::Hold;
use super::publish::{Done, Job};
use super::{Control, DiskCopy, Published, Source};

/// What arrives within this long of a publish goes into the next one.
const WINDOW: Duration = Duration::from_millis(20);

/// Longest wait for the end of a large change. Others finish it long before, if one of them can.
pub(super) const UNFINISHED: Duration = Duration::from_secs(60);

impl Control {
    pub(super) fn do_what_is_due(&mut self) {
        let now = Instant::now();
        if self.unfinished.is_some_and(|until| until <= now) {
            self.unfinished = None;
            log::error!("a large change has not ended for {UNFINISHED:?}; what there is of it is published");
        }
        self.judge(now);
        if !self.worker.is_idle() {
            return;
        }
        if self.hold.is_none() && now >= self.next_publish {
            self.doubt_lapses(now);
        }
        if self.published == Published::Table && self.saver.due().is_some_and(|due| due <= now) {
            self.save();
        }
        if self.wants_publish() && now >= self.next_publish {
            self.publish(now);
        }
        if self.stale && self.worker.is_idle() && self.published == Published::Table {
            self.stale = false;
            self.worker.start(Job::Refresh { revision: self.handed_revision });
        }
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        let hold = self.hold.as_ref().and_then(Hold::due);
        // A busy worker wakes the loop itself.
        let save = self.saver.due().filter(|_| self.worker.is_idle() && self.published == Published::Table);
        let publish = (self.worker.is_idle() && self.wants_publish()).then_some(self.next_publish);
        let lapses = self.lapses.due().filter(|_| self.worker.is_idle() && self.hold.is_none());
        let lapses = lapses.map(|due| due.max(self.next_publish));
        [hold, save, publish, lapses, self.unfinished].into_iter().flatten().min()
    }

    fn wants_publish(&self) -> bool {
        if self.unfinished.is_some() {
            return false;
        }
        match self.published {
            Published::Nothing => self.heard || self.disk == DiskCopy::Read,
            _ if self.hold.is_some() => self.table.has_puts(),
            _ => self.table.has_changes(),
        }
    }

    /// Holds a store that lost everything, and ends the hold when its time has come.
    fn judge(&mut self, now: Instant) {
        match &mut self.hold {
            Some(hold) if hold.has_settled() => {
                if self.table.has_life() {
                    self.end_hold("entries came back");
                } else {
                    hold.entries_vanish();
                    self.status.set_holding(Some(hold.until()));
                }
            }
            Some(hold) => {
                if hold.due().is_some_and(|due| due <= now) {
                    hold.ask(self.store.clone(), &self.options.data_prefix, self.table.knows_only_nodes());
                }
            }
            None => {
                let may_publish = self.worker.is_idle() && now >= self.next_publish && !self.believe;
                if may_publish && !self.options.empty_hold.is_zero() && self.table.is_wiped() {
                    self.begin_hold();
                }
            }
        }
    }

    fn begin_hold(&mut self) {
        let hold = Hold::new(self.options.empty_hold);
        self.status.set_holding(Some(hold.until()));
        self.hold = Some(hold);
        log::warn!(
            "the store lost its whole configuration at revision {}; the {} entries that are live stay so for {:?} before that is believed",
            self.revision,
            self.table.handed().len(),
            self.options.empty_hold,
        );
    }

    pub(super) fn end_hold(&mut self, why: &str) {
        self.hold = None;
        self.status.set_holding(None);
        self.believe = self.table.has_changes();
        match self.table.gone() {
            0 => log::info!("{why}; nothing was lost"),
            gone => log::warn!("{why}; {gone} entries are gone"),
        }
    }

    fn publish(&mut self, now: Instant) {
        self.next_publish = now + WINDOW;
        let first = self.published == Published::Nothing;
        if first && self.heard {
            self.keep_superseded();
        }
        let changes = match self.hold {
            Some(_) => self.table.take_puts(),
            None => self.table.take(),
        };
        if self.hold.is_none() {
            self.believe = false;
        }
        if self.hold.is_none() || !changes.is_empty() {
            self.handed_revision = self.revision;
        }
        let job = match self.published {
            Published::Table => Job::Apply { revision: self.revision, changes },
            Published::Nothing | Published::Unknown => {
                // All of it is among what follows; at a start there is no need to have it twice.
                drop(changes);
                self.replace_job()
            }
        };
        if !first || self.heard {
            self.saver.touch();
        }
        self.worker.start(job);
    }

    /// What is on disk compiled when it was live; what the store has since may not.
    fn keep_superseded(&mut self) {
        let known: HashSet<String> = self.last_good.iter().map(|version| version.key.clone()).collect();
        self.last_good.extend(self.table.superseded().filter(|version| !known.contains(&version.key)));
    }

    pub(super) fn replace_job(&self) -> Job {
        Job::Replace {
            last_good: self.last_good.clone(),
            revision: self.handed_revision,
            entries: Arc::clone(self.table.handed()),
        }
    }

    pub(super) fn finish_publish(&mut self, done: Done) {
        match done.outcome {
            Ok(last_good) => {
                self.last_good = last_good;
                self.published = Published::Table;
                self.status.set_published(self.table.handed().len(), done.took);
                if self.heard && self.hold.is_none() && self.unfinished.is_none() {
                    self.status.set_applied(done.revision, Source::Store);
                } else if !self.status.ready() {
                    self.status.set_applied(done.revision, Source::Disk);
                }
                self.note_if_even();
            }
            Err(panic) => {
                log::error!("revision {} could not be published, what was live stays live: {panic}", done.revision);
                self.status.set_publish_error(panic);
                self.published = Published::Unknown;
            }
        }
    }

    /// When nothing is left to publish, what is live is what the store has.
    pub(super) fn note_if_even(&self) {
        if self.heard && self.worker.is_idle() && self.published == Published::Table && !self.table.has_changes() {
            self.status.set_applied(self.revision, Source::Store);
        }
    }

    pub(super) fn save(&mut self) {
        let (entries, last_good) = (self.table.handed().clone(), self.last_good.clone());
        self.saver.start(Content { revision: self.handed_revision, saved_at: String::new(), entries, last_good });
    }
}

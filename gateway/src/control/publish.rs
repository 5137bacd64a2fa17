//! The publisher's thread: compiling must not keep the watch waiting, nor a panic end it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::table::Entries;
use crate::snapshot::change::{Change, Publish};

/// What the publisher is asked to do.
pub(super) enum Job {
    /// Everything anew.
    Replace { last_good: Vec<Change>, revision: u64, entries: Arc<Entries> },
    /// What changed.
    Apply { revision: u64, changes: Vec<Change> },
    /// What the store names, as it is now.
    Refresh { revision: u64 },
}

/// How it went.
pub(super) struct Done {
    pub(super) revision: u64,
    pub(super) took: Duration,
    /// The publisher's last good versions, or what it panicked with.
    pub(super) outcome: Result<Vec<Change>, String>,
}

/// A publisher that is idle or busy.
pub(super) struct Worker {
    idle: Option<Box<dyn Publish>>,
    busy: Option<JoinHandle<(Box<dyn Publish>, Done)>>,
}

impl Worker {
    pub(super) fn new(publisher: Box<dyn Publish>) -> Self {
        Self { idle: Some(publisher), busy: None }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.idle.is_some()
    }

    pub(super) fn is_busy(&self) -> bool {
        self.busy.is_some()
    }

    /// Begins a job on a thread of its own. The worker must be idle.
    pub(super) fn start(&mut self, job: Job) {
        if let Some(mut publisher) = self.idle.take() {
            self.busy = Some(tokio::task::spawn_blocking(move || {
                let done = perform(publisher.as_mut(), job);
                (publisher, done)
            }));
        }
    }

    /// Does a job on this thread; `None` when the worker is busy.
    pub(super) fn run_here(&mut self, job: Job) -> Option<Done> {
        self.idle.as_deref_mut().map(|publisher| perform(publisher, job))
    }

    /// Waits for the job that runs, for ever when none does.
    pub(super) async fn finished(&mut self) -> Done {
        if let Some(busy) = &mut self.busy {
            let finished = busy.await;
            self.busy = None;
            if let Ok((publisher, done)) = finished {
                self.idle = Some(publisher);
                return done;
            }
            // The runtime is being shut down; the publisher went with it.
        }
        std::future::pending().await
    }
}

fn perform(publisher: &mut dyn Publish, job: Job) -> Done {
    let started = Instant::now();
    let revision = match &job {
        Job::Replace { revision, .. } | Job::Apply { revision, .. } | Job::Refresh { revision } => *revision,
    };
    // After a panic the publisher is only used for a `replace`, which starts from nothing.
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        match job {
            Job::Replace { last_good, revision, entries } => {
                if !last_good.is_empty() {
                    publisher.restore_last_good(last_good);
                }
                publisher.replace(revision, &mut entries.iter().map(|(key, version)| version.change(key)));
            }
            Job::Apply { revision, changes } => publisher.apply(revision, changes),
            Job::Refresh { .. } => publisher.refresh(),
        }
        publisher.last_good()
    }))
    .map_err(|panic| message(panic.as_ref()));
    Done { revision, took: started.elapsed(), outcome }
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message").to_owned()
}

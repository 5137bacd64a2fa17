//! When the copy on disk is written: soon after things settle, now and then in a storm, at the end.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::ControlStatus;
use super::disk::{Content, Disk};

/// A save waits until nothing changed for this long,
const QUIET: Duration = Duration::from_secs(1);
/// but no longer than this,
const LONGEST: Duration = Duration::from_secs(5);
/// and this for each entry: then saving takes a hundredth of a processor at most, which requests may share.
const LONGER: Duration = Duration::from_micros(100);
/// However many there are.
const MOST: Duration = Duration::from_secs(30);
/// How long a full disk is left alone: each try fills what others may need.
const RETRY: Duration = Duration::from_secs(30);

/// Keeps the copy on disk up to date, or does nothing when there is no directory for it.
pub(super) struct Saver {
    disk: Option<Disk>,
    status: Arc<ControlStatus>,
    keep_current: bool,
    /// Since when there is something to save, and when that last changed.
    dirty: Option<(Instant, Instant)>,
    not_before: Option<Instant>,
    running: Option<JoinHandle<io::Result<()>>>,
    saved_at: String,
    /// How many entries were saved last.
    entries: u32,
}

impl Saver {
    pub(super) fn new(disk: Option<Disk>, status: Arc<ControlStatus>) -> Self {
        let saved_at = String::new();
        Self { disk, status, keep_current: false, dirty: None, not_before: None, running: None, saved_at, entries: 0 }
    }

    pub(super) fn disk(&self) -> Option<&Disk> {
        self.disk.as_ref()
    }

    pub(super) fn set_current_is_good(&mut self, good: bool) {
        self.keep_current = good;
    }

    /// Notes that what should be on disk has changed.
    pub(super) fn touch(&mut self) {
        let now = Instant::now();
        self.dirty = Some((self.dirty.map_or(now, |(since, _)| since), now));
        self.status.set_unsaved(self.disk.is_some());
    }

    /// When the next save is due.
    pub(super) fn due(&self) -> Option<Instant> {
        let (since, last) = self.dirty.filter(|_| self.disk.is_some() && self.running.is_none())?;
        let due = (last + QUIET).min(since + (LONGEST + LONGER * self.entries).min(MOST));
        Some(self.not_before.map_or(due, |not_before| due.max(not_before)))
    }

    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Begins to save on a thread of its own.
    pub(super) fn start(&mut self, mut content: Content) {
        let Some(disk) = self.disk.clone() else { return };
        self.dirty = None;
        self.saved_at = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        content.saved_at.clone_from(&self.saved_at);
        self.entries = u32::try_from(content.entries.len()).unwrap_or(u32::MAX);
        let keep_current = self.keep_current;
        self.running = Some(tokio::task::spawn_blocking(move || disk.save(&content, keep_current)));
    }

    /// Waits for the save that runs, for ever when none does.
    pub(super) async fn finished(&mut self) {
        let Some(running) = &mut self.running else { return std::future::pending().await };
        let outcome = running.await;
        self.running = None;
        match outcome {
            Ok(Ok(())) => self.succeeded(),
            Ok(Err(error)) => self.failed(&error.to_string()),
            Err(error) => self.failed(&error.to_string()),
        }
    }

    fn succeeded(&mut self) {
        if self.status.disk_error().is_some() {
            log::info!("the snapshot can be written again");
        }
        self.keep_current = true;
        self.not_before = None;
        self.status.set_unsaved(self.dirty.is_some());
        self.status.set_saved(std::mem::take(&mut self.saved_at));
    }

    fn failed(&mut self, error: &str) {
        let dir = self.disk.as_ref().map(|disk| disk.dir.display().to_string()).unwrap_or_default();
        if self.status.disk_error().is_none() {
            log::error!(
                "the snapshot cannot be written to {dir}: {error}; a restart without the store would serve an older one"
            );
        }
        self.status.set_disk_error(format!("{dir}: {error}"));
        self.touch();
        self.not_before = Some(Instant::now() + RETRY);
    }
}

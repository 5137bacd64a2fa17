//! The way of a log line from the thread that logs it to the writer thread.
//!
//! A line is appended to one of a few buffers, the thread's own first; the writer takes the buffers
//! every [`TICK`] and writes each with one call. What this buys over a queue of lines:
//! - No thread is woken for a line. The writer is unparked only when a buffer passes [`PLENTY`],
//!   once in some hundred lines; a wake-up for every line costs 4 to 7 us when the writer is on the
//!   same core (issue 4).
//! - No allocation a line, and none freed by another thread: buffers are swapped and used again.
//! - Nothing blocks. The locks are only ever tried; a buffer that the writer or another thread
//!   holds just now is passed over for the next one. They are held to append a line or to swap a
//!   buffer, never during a write, so a disk or a pipe that hangs stops nobody but the writer.
//!
//! The price is order: lines of different threads may be written up to a tick out of order, as with
//! nginx's `buffer=`. The error log uses one buffer and keeps the order.
//!
//! Bounds: lines by the configured queue, bytes by [`MEAN_LINE`] times it, so that clients who send
//! long headers cannot make a hanging disk eat the memory. What does not fit is dropped and counted.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use super::Output;
use super::file::LogFile;

/// How often the writer looks by itself.
const TICK: Duration = Duration::from_millis(50);
/// A buffer of this size, or half full, calls the writer before its tick. An allocation of more than
/// twice this is not kept.
const PLENTY: usize = 64 << 10;
/// The queue's bound in bytes is its bound in lines times this.
const MEAN_LINE: usize = 1 << 10;
/// How long dropping a sink waits for a writer that may hang.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// How a sink is set up.
#[derive(Clone, Copy)]
pub(super) struct SinkOptions<'a> {
    pub(super) name: &'static str,
    pub(super) output: &'a Output,
    pub(super) rotate_size: u64,
    pub(super) rotate_keep: usize,
    pub(super) queue: usize,
    /// Most buffers; 1 keeps all lines in order.
    pub(super) shards: usize,
    pub(super) report: fn(log::Level, &str),
}

/// Takes lines from any thread and writes them from its own.
pub(super) struct Sink {
    shared: Arc<Shared>,
    writer: Thread,
    ended: Mutex<Receiver<()>>,
}

struct Shared {
    shards: Box<[Shard]>,
    max_lines: usize,
    max_bytes: usize,
    state: AtomicU8,
    reopen: AtomicBool,
    stop: Arc<AtomicBool>,
    /// Times the writer has been through all buffers.
    passes: AtomicU64,
    drops: Arc<AtomicU64>,
}

/// Lines are taken.
const OPEN: u8 = 0;
/// No buffer had room; the writer reopens. Spares each request the search while a disk hangs.
const FULL: u8 = 1;
/// The sink is shut down.
const CLOSED: u8 = 2;

#[derive(Default)]
#[repr(align(64))]
struct Shard(Mutex<Lines>);

#[derive(Default)]
struct Lines {
    bytes: Vec<u8>,
    count: usize,
}

impl Sink {
    /// Opens the output and starts the writer; `None` when the output is off.
    pub(super) fn open(options: SinkOptions<'_>, drops: Arc<AtomicU64>) -> io::Result<Option<Self>> {
        let stop = Arc::new(AtomicBool::new(false));
        let Some(file) = LogFile::open(&options, Arc::clone(&drops), Arc::clone(&stop))? else { return Ok(None) };
        let queue = options.queue.max(1);
        let shards = options.shards.clamp(1, queue);
        let shared = Arc::new(Shared {
            shards: (0..shards).map(|_| Shard::default()).collect(),
            max_lines: queue / shards,
            max_bytes: queue.saturating_mul(MEAN_LINE) / shards,
            state: AtomicU8::new(OPEN),
            reopen: AtomicBool::new(false),
            stop,
            passes: AtomicU64::new(0),
            drops,
        });
        let (end, ended) = mpsc::channel();
        let writer = Writer { shared: Arc::clone(&shared), file, spare: Vec::new(), end };
        let thread = thread::Builder::new().name(options.name.into()).spawn(|| writer.run())?;
        Ok(Some(Self { shared, writer: thread.thread().clone(), ended: Mutex::new(ended) }))
    }

    /// Appends the line that `write` writes, or counts it as dropped.
    pub(super) fn submit_with(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let Some(mut lines) = self.shared.room() else {
            self.shared.drops.fetch_add(1, Ordering::Relaxed);
            if self.shared.note_full() {
                self.writer.unpark();
            }
            return;
        };
        let before = lines.bytes.len();
        write(&mut lines.bytes);
        lines.count += 1;
        let plenty = before < PLENTY && lines.bytes.len() >= PLENTY;
        let half = lines.count == self.shared.max_lines.div_ceil(2);
        drop(lines);
        if plenty || half {
            self.writer.unpark();
        }
    }

    /// Has the writer open its file anew.
    pub(super) fn reopen(&self) {
        self.shared.reopen.store(true, Ordering::Release);
        self.writer.unpark();
    }

    /// Waits until what was submitted before is written.
    pub(super) fn flush(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        // The pass under way may have been past our buffer already; the next one is not.
        let enough = self.shared.passes.load(Ordering::Acquire) + 2;
        while self.shared.passes.load(Ordering::Acquire) < enough {
            if Instant::now() >= deadline || self.shared.stop.load(Ordering::Acquire) {
                return false;
            }
            self.writer.unpark();
            thread::sleep(Duration::from_millis(1));
        }
        true
    }

    /// Writes what waits and ends the writer.
    pub(super) fn shutdown(&self, timeout: Duration) -> bool {
        self.shared.state.store(CLOSED, Ordering::Release);
        self.shared.stop.store(true, Ordering::Release);
        self.writer.unpark();
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        // The writer drops its end of the channel when it is done, also when it was done long ago.
        !matches!(ended.recv_timeout(timeout), Err(mpsc::RecvTimeoutError::Timeout))
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.shutdown(LAST_WAIT);
    }
}

impl Shared {
    /// A buffer with room for a line, held.
    fn room(&self) -> Option<MutexGuard<'_, Lines>> {
        if self.state.load(Ordering::Relaxed) != OPEN {
            return None;
        }
        let own = thread_number() % self.shards.len();
        let (before, from) = self.shards.split_at(own);
        let mut busy = None;
        for shard in from.iter().chain(before) {
            match shard.try_lock() {
                Some(lines) if self.fits(&lines) => return Some(lines),
                Some(_) => {}
                None => busy = busy.or(Some(shard)),
            }
        }
        // Only when all others are full, or there is no other: wait for the append or swap under way.
        busy.map(Shard::lock).filter(|lines| self.fits(lines))
    }

    /// Has everybody drop lines without a search until the writer has been here. Whether that is new.
    fn note_full(&self) -> bool {
        self.state.compare_exchange(OPEN, FULL, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// The end of [`FULL`], but not of [`CLOSED`]. Whether it was full.
    fn note_room(&self) -> bool {
        self.state.compare_exchange(FULL, OPEN, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    fn fits(&self, lines: &Lines) -> bool {
        lines.count < self.max_lines && lines.bytes.len() < self.max_bytes
    }
}

impl Shard {
    fn try_lock(&self) -> Option<MutexGuard<'_, Lines>> {
        match self.0.try_lock() {
            Ok(lines) => Some(lines),
            // Nothing that appends can panic half way through a line.
            Err(TryLockError::Poisoned(lines)) => Some(lines.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the lines, leaving `spare` in their place.
    fn take(&self, spare: Vec<u8>) -> Vec<u8> {
        // Waiting on the lock would make the thread that holds it pay for waking us; so rarely.
        let held = (0..8).find_map(|_| {
            let lines = self.try_lock();
            if lines.is_none() {
                thread::yield_now();
            }
            lines
        });
        let mut lines = held.unwrap_or_else(|| self.lock());
        lines.count = 0;
        std::mem::replace(&mut lines.bytes, spare)
    }
}

/// The writer thread.
struct Writer {
    shared: Arc<Shared>,
    file: LogFile,
    /// The empty buffer that takes the place of the next full one.
    spare: Vec<u8>,
    /// Dropped at the end, which is what [`Sink::shutdown`] waits for.
    end: Sender<()>,
}

impl Writer {
    fn run(mut self) {
        loop {
            let last = self.shared.stop.load(Ordering::Acquire);
            let reopen = self.shared.reopen.swap(false, Ordering::AcqRel);
            self.pass();
            if reopen {
                self.file.reopen();
            }
            if last {
                break;
            }
            thread::park_timeout(TICK);
        }
        drop(self.end);
    }

    /// Writes what is in the buffers.
    fn pass(&mut self) {
        for shard in &self.shared.shards {
            let mut bytes = shard.take(std::mem::take(&mut self.spare));
            if !bytes.is_empty() {
                self.file.write_lines(&bytes);
                bytes.clear();
            }
            if bytes.capacity() <= 2 * PLENTY {
                self.spare = bytes;
            }
        }
        self.shared.note_room();
        self.shared.passes.fetch_add(1, Ordering::AcqRel);
    }
}

/// A small number of this thread's own: spreads threads over buffers and counters.
pub(super) fn thread_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static NUMBER: usize = NEXT.fetch_add(1, Ordering::Relaxed));
    NUMBER.try_with(|number| *number).unwrap_or(0)
}

#[cfg(test)]
#[path = "sink_tests.rs"]
mod tests;

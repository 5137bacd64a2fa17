//! The error log: the backend of the `log` crate.
//!
//! One event is one line, whatever its message holds: `2026-11-22T18:00:00.123Z WARN target: message`
//! or a JSON object. Lines go through the same kind of sink as the access log, so a standard error
//! that nobody reads stops no thread that logs.
//!
//! **What Pingora says of single connections is logged at debug only.** It logs an error or a
//! warning for each client that goes away, times out, or fails its handshake, and for each upstream
//! try: with the default level a slowloris, or one bad node, would write as fast as it can connect
//! (THREATS.md). Nothing is lost: the gateway tells each failed request in the access log and the
//! metrics, and logs nodes that go down itself. What Pingora says of listeners, the server's life
//! and running out of descriptors (`Accept() failed`) stays, and so do its `Crit:` lines.
//! As a last resort one place in the code gets 50 lines a second; how many more there were is told.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use log::{Level, LevelFilter, Log, Metadata, Record};

use super::escape::{self, Style};
use super::sink::{Sink, SinkOptions};
use super::throttle::{Throttle, Verdict};
use super::{Output, clock};

/// Most bytes of one message that are logged.
const MAX_MESSAGE: usize = 16 << 10;
/// Most lines waiting to be written.
const QUEUE: usize = 8192;

/// Parts of Pingora whose errors and warnings are about one connection or one request.
const ONE_CONNECTION: [&str; 5] = [
    "pingora_proxy",
    "pingora_core::apps",
    "pingora_core::connectors",
    "pingora_core::protocols",
    "pingora_core::upstreams",
];
/// The part of Pingora that says both kinds of things; see [`about_one_connection`].
const ACCEPT_LOOP: &str = "pingora_core::services::listening";

/// How the error log is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorLogOptions {
    /// The level to begin with.
    pub level: LevelFilter,
    /// JSON lines instead of text.
    pub json: bool,
    /// Where it goes.
    pub output: Output,
}

/// Opens the error log and makes it the process's logger. Works once a process.
pub fn init(options: &ErrorLogOptions) -> io::Result<ErrorLog> {
    let handle = ErrorLog { backend: Arc::new(Backend::open(options)?) };
    log::set_boxed_logger(Box::new(handle.clone())).map_err(io::Error::other)?;
    handle.set_level(options.level);
    Ok(handle)
}

/// The running error log.
#[derive(Clone)]
pub struct ErrorLog {
    backend: Arc<Backend>,
}

impl ErrorLog {
    /// Changes the level, at once.
    pub fn set_level(&self, level: LevelFilter) {
        self.backend.level.store(level as u8, Ordering::Relaxed);
        log::set_max_level(level);
    }

    /// The present level.
    pub fn level(&self) -> LevelFilter {
        self.backend.level()
    }

    /// Lines lost so far: the queue was full, or writing failed.
    pub fn dropped(&self) -> u64 {
        self.backend.drops.load(Ordering::Relaxed)
    }

    /// The counter of lost lines, for the metrics.
    pub fn drops(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.backend.drops)
    }

    /// Opens the file anew, soon, after something moved it away.
    pub fn reopen(&self) {
        if let Some(sink) = &self.backend.sink {
            sink.reopen();
        }
    }

    /// Waits until what was logged before is written. `false`: that took too long.
    pub fn flush(&self, timeout: Duration) -> bool {
        self.backend.sink.as_ref().is_none_or(|sink| sink.flush(timeout))
    }

    /// Writes what waits and ends the writer. Call it before the process ends: lines are written up
    /// to a tick after they are logged. `false`: that took too long.
    pub fn shutdown(&self, timeout: Duration) -> bool {
        self.backend.sink.as_ref().is_none_or(|sink| sink.shutdown(timeout))
    }
}

impl Log for ErrorLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= self.backend.level()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            self.backend.log(record);
        }
    }

    fn flush(&self) {
        ErrorLog::flush(self, Duration::from_millis(500));
    }
}

struct Backend {
    sink: Option<Sink>,
    level: AtomicU8,
    json: bool,
    throttle: Throttle,
    drops: Arc<AtomicU64>,
}

impl Backend {
    fn open(options: &ErrorLogOptions) -> io::Result<Self> {
        let drops = Arc::new(AtomicU64::new(0));
        let sink = SinkOptions {
            name: "error-log",
            output: &options.output,
            rotate_size: 0,
            rotate_keep: 0,
            queue: QUEUE,
            shards: 1,
            report: tell_on_stderr,
        };
        Ok(Self {
            sink: Sink::open(sink, Arc::clone(&drops))?,
            level: AtomicU8::new(options.level as u8),
            json: options.json,
            throttle: Throttle::default(),
            drops,
        })
    }

    fn level(&self) -> LevelFilter {
        let level = self.level.load(Ordering::Relaxed);
        LevelFilter::iter().find(|filter| *filter as u8 == level).unwrap_or(LevelFilter::Info)
    }

    fn log(&self, record: &Record<'_>) {
        let Some(sink) = &self.sink else { return };
        // Formatted before the buffer is held: formatting runs code that may itself log.
        let message = record.args().to_string();
        let level = level_of(record.level(), record.target(), &message);
        if level > self.level() || may_tell_secrets(record) {
            return;
        }
        let place = (record.file_static().unwrap_or("?"), record.line().unwrap_or(0));
        // Debug and trace are for those who want everything.
        let verdict = if level >= Level::Debug { Verdict::Log } else { self.throttle.judge(place, Instant::now()) };
        if verdict == Verdict::LeaveOut {
            return;
        }
        let now = SystemTime::now();
        sink.submit_with(|out| {
            self.line(out, now, level, record.target(), &message);
            if let Verdict::LogAfter(n) = verdict {
                let note = format!("{n} more like the line above were left out before it");
                self.line(out, now, level, record.target(), &note);
            }
        });
    }

    fn line(&self, out: &mut Vec<u8>, now: SystemTime, level: Level, target: &str, message: &str) {
        let (message, cut) = escape::cap(message.as_bytes(), MAX_MESSAGE);
        let style = if self.json { Style::Json } else { Style::Text };
        let [start, before_level, before_target, before_message, end] = if self.json {
            ["{\"time\":\"", "\",\"level\":\"", "\",\"target\":\"", "\",\"message\":\"", "\"}\n"]
        } else {
            ["", " ", " ", ": ", "\n"]
        };
        out.extend_from_slice(start.as_bytes());
        clock::utc_millis(out, now);
        out.extend_from_slice(before_level.as_bytes());
        out.extend_from_slice(level.as_str().as_bytes());
        out.extend_from_slice(before_target.as_bytes());
        escape::escape(out, target.as_bytes(), style);
        out.extend_from_slice(before_message.as_bytes());
        escape::escape(out, message, style);
        if cut {
            out.extend_from_slice(b"...");
        }
        out.extend_from_slice(end.as_bytes());
    }
}

/// Whether a record is the chatter of a library: Pingora and the HTTP crates write whole headers,
/// credentials included, at debug and trace.
fn may_tell_secrets(record: &Record<'_>) -> bool {
    record.level() > Level::Info && !record.target().starts_with("ws_cloud")
}

/// The level a record is treated as.
fn level_of(level: Level, target: &str, message: &str) -> Level {
    if level < Level::Debug && about_one_connection(target, message) { Level::Debug } else { level }
}

fn about_one_connection(target: &str, message: &str) -> bool {
    let within = |part: &str| target.strip_prefix(part).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
    if within(ACCEPT_LOOP) {
        return message.starts_with("Downstream handshake");
    }
    ONE_CONNECTION.into_iter().any(within) && !message.starts_with("Crit:")
}

/// The error log cannot report its own failure to itself.
fn tell_on_stderr(level: Level, message: &str) {
    // When that fails too there is nobody left to tell.
    let _told = writeln!(io::stderr(), "{level} error log: {message}");
}

#[cfg(test)]
#[path = "error_log_tests.rs"]
mod tests;

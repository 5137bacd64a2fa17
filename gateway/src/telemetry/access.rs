//! The access logs, of requests and of admin calls: one JSON object a line, with the names and the
//! order of the old gateway.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use super::sink::{Sink, SinkOptions};
use super::{Output, clock, escape};

/// Most bytes of one field that are logged; a longer one is cut and ends in `...`.
const MAX_FIELD: usize = 4096;

/// One request, as the access log tells it. Fields that are `None` are logged as `"-"`.
///
/// The fields stand in the order in which they are written.
#[derive(Debug, Clone, Copy, Default)]
pub struct AccessRecord<'a> {
    /// The host asked for.
    pub domain: Option<&'a [u8]>,
    /// The method.
    pub method: Option<&'a str>,
    /// What a cache did.
    pub cache_status: Option<&'a str>,
    /// The path that went to the upstream, after rewriting.
    pub uri: Option<&'a [u8]>,
    /// The path as the client sent it.
    pub origin_uri: Option<&'a [u8]>,
    /// The query without its `?`.
    pub querystring: Option<&'a [u8]>,
    /// `HTTP/1.1` and the like.
    pub protocol: Option<&'a str>,
    /// The status sent to the client; `None` is logged as 0.
    pub status: Option<u16>,
    /// Body bytes sent to the client.
    pub bytes: u64,
    /// The `Referer` header.
    pub referer: Option<&'a [u8]>,
    /// The `User-Agent` header.
    pub useragent: Option<&'a [u8]>,
    /// The `X-Forwarded-For` header as the client sent it.
    pub xff: Option<&'a [u8]>,
    /// The client's address.
    pub client: Option<&'a str>,
    /// The nodes tried, in order.
    pub tries: &'a [Try<'a>],
    /// The trace id.
    pub trace_id: Option<&'a [u8]>,
    /// Time from the request's first byte to the end of the response.
    pub response_time: Duration,
    /// The service asked.
    pub service: Option<&'a str>,
}

/// One attempt at a node.
#[derive(Debug, Clone, Copy, Default)]
pub struct Try<'a> {
    /// The node's address.
    pub upstream: &'a str,
    /// What it answered, if it did.
    pub status: Option<u16>,
    /// The time it took, if it answered.
    pub time: Option<Duration>,
}

impl AccessRecord<'_> {
    /// Appends the line, its newline included.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.write_at(out, SystemTime::now(), Lines::Requests);
    }

    fn write_at(&self, out: &mut Vec<u8>, now: SystemTime, lines: Lines) {
        let is_full = lines == Lines::Requests;
        // Each key carries the end of the value before it.
        out.extend_from_slice(b"{\"@timestamp\":\"");
        clock::local_seconds(out, now);
        text(out, b"\",\"domain\":\"", self.domain);
        text(out, b"\",\"method\":\"", self.method.map(str::as_bytes));
        text(out, b"\",\"upstream-cache-status\":\"", self.cache_status.map(str::as_bytes));
        text(out, b"\",\"uri\":\"", self.uri);
        if is_full {
            text(out, b"\",\"origin-uri\":\"", self.origin_uri);
        }
        text(out, b"\",\"querystring\":\"", self.querystring);
        text(out, b"\",\"protocol\":\"", self.protocol.map(str::as_bytes));
        number(out, b"\",\"httpcode\":", self.status.unwrap_or(0));
        number(out, b",\"bytes\":", self.bytes);
        text(out, b",\"referer\":\"", self.referer);
        text(out, b"\",\"useragent\":\"", self.useragent);
        text(out, b"\",\"xff\":\"", self.xff);
        text(out, b"\",\"client\":\"", self.client.map(str::as_bytes));
        self.each_try(out, b"\",\"upstream\":\"", |out, one| capped(out, one.upstream.as_bytes()));
        if is_full {
            text(out, b"\",\"trace-id\":\"", self.trace_id);
        }
        self.each_try(out, b"\",\"upstream-status\":\"", |out, one| match one.status {
            Some(status) => number(out, b"", status),
            None => out.push(b'-'),
        });
        self.each_try(out, b"\",\"upstream-time\":\"", |out, one| match one.time {
            Some(time) => seconds(out, time),
            None => out.push(b'-'),
        });
        out.extend_from_slice(b"\",\"response-time\":");
        seconds(out, self.response_time);
        if is_full {
            text(out, b",\"service\":\"", self.service.map(str::as_bytes));
            out.push(b'"');
        }
        out.extend_from_slice(b"}\n");
    }

    /// `"a, b"` over the tries, `"-"` without any.
    fn each_try(&self, out: &mut Vec<u8>, key: &[u8], write: impl Fn(&mut Vec<u8>, &Try<'_>)) {
        out.extend_from_slice(key);
        if self.tries.is_empty() {
            out.push(b'-');
        }
        for (n, one) in self.tries.iter().enumerate() {
            if n > 0 {
                out.extend_from_slice(b", ");
            }
            write(out, one);
        }
    }
}

fn text(out: &mut Vec<u8>, key: &[u8], value: Option<&[u8]>) {
    out.extend_from_slice(key);
    match value {
        Some(value) => capped(out, value),
        None => out.push(b'-'),
    }
}

fn capped(out: &mut Vec<u8>, value: &[u8]) {
    let (kept, cut) = escape::cap(value, MAX_FIELD);
    escape::json(out, kept);
    if cut {
        out.extend_from_slice(b"...");
    }
}

fn number(out: &mut Vec<u8>, key: &[u8], value: impl itoa::Integer) {
    out.extend_from_slice(key);
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Seconds with three decimals.
fn seconds(out: &mut Vec<u8>, time: Duration) {
    number(out, b"", time.as_secs());
    let millis = time.subsec_millis();
    let digit = |value: u32| b'0' + u8::try_from(value % 10).unwrap_or(0);
    out.extend_from_slice(&[b'.', digit(millis / 100), digit(millis / 10), digit(millis)]);
}

/// What the lines of an access log are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lines {
    /// Requests. All fields.
    Requests,
    /// Calls of the Admin API, which have no `origin-uri`, `trace-id` and `service`.
    AdminCalls,
}

/// How an access log is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessOptions {
    /// What its lines are about.
    pub lines: Lines,
    /// Where it goes.
    pub output: Output,
    /// Size in bytes at which the file is set aside; 0 = never.
    pub rotate_size: u64,
    /// How many files set aside are kept.
    pub rotate_keep: usize,
    /// Most lines waiting to be written; more are dropped and counted.
    pub queue: usize,
}

/// An access log. Recording a request never blocks: `sink.rs` says how.
pub struct AccessLog {
    lines: Lines,
    sink: Option<Sink>,
    drops: Arc<AtomicU64>,
}

impl AccessLog {
    /// Opens the log and starts its writer thread.
    pub fn open(options: &AccessOptions) -> io::Result<Self> {
        let drops = Arc::new(AtomicU64::new(0));
        let (name, report): (_, fn(log::Level, &str)) = match options.lines {
            Lines::Requests => ("access-log", |level, message| {
                log::log!(target: "gateway::access_log", level, "access log: {message}");
            }),
            Lines::AdminCalls => ("admin-access-log", |level, message| {
                log::log!(target: "gateway::admin_access_log", level, "access log of the admin: {message}");
            }),
        };
        let sink = Sink::open(
            SinkOptions {
                name,
                output: &options.output,
                rotate_size: options.rotate_size,
                rotate_keep: options.rotate_keep,
                queue: options.queue,
                shards: 16,
                report,
            },
            Arc::clone(&drops),
        )?;
        Ok(Self { lines: options.lines, sink, drops })
    }

    /// Whether records are written at all; when not, they need not be gathered.
    pub fn is_on(&self) -> bool {
        self.sink.is_some()
    }

    /// Logs one request.
    pub fn record(&self, record: &AccessRecord<'_>) {
        if let Some(sink) = &self.sink {
            sink.submit_with(|out| record.write_at(out, SystemTime::now(), self.lines));
        }
    }

    /// Logs a finished line. It must end in a newline and have no other.
    pub fn submit(&self, line: &[u8]) {
        if let Some(sink) = &self.sink {
            sink.submit_with(|out| out.extend_from_slice(line));
        }
    }

    /// Lines lost so far: the queue was full, or writing failed.
    pub fn dropped(&self) -> u64 {
        self.drops.load(Ordering::Relaxed)
    }

    /// The counter of lost lines, for the metrics.
    pub fn drops(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.drops)
    }

    /// Opens the file anew, soon, after something moved it away.
    pub fn reopen(&self) {
        if let Some(sink) = &self.sink {
            sink.reopen();
        }
    }

    /// Waits until all that was submitted before is written. `false`: that took too long.
    pub fn flush(&self, timeout: Duration) -> bool {
        self.sink.as_ref().is_none_or(|sink| sink.flush(timeout))
    }

    /// Writes what waits and ends the writer; later lines are dropped. `false`: that took too long.
    pub fn shutdown(&self, timeout: Duration) -> bool {
        self.sink.as_ref().is_none_or(|sink| sink.shutdown(timeout))
    }
}

#[cfg(test)]
#[path = "access_tests.rs"]
mod tests;

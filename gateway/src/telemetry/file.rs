//! The file (or pipe) a log is written to: rotation by size, reopening, and what happens when writing fails.
//!
//! A full disk loses lines, never the gateway's service and never the shape of the file: of a line
//! that was cut by an error, the rest is kept and written first when writing works again.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use log::Level;

use super::Output;
use super::sink::SinkOptions;

/// How long writing must work before the next failure is reported as a new one.
const QUIET: Duration = Duration::from_secs(10);

/// An output that lines are appended to.
pub(super) struct LogFile {
    file: File,
    /// Where it is, when it is a file that can be opened again.
    path: Option<PathBuf>,
    /// Bytes in it, while it is rotated.
    size: u64,
    /// Size at which it is set aside; 0 = never.
    limit: u64,
    keep: usize,
    /// The rest of a line that an error cut.
    carry: Vec<u8>,
    failed: Option<Instant>,
    drops: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    report: fn(Level, &str),
}

impl LogFile {
    /// Opens the output; `None` when it is off.
    pub(super) fn open(
        options: &SinkOptions<'_>,
        drops: Arc<AtomicU64>,
        stop: Arc<AtomicBool>,
    ) -> io::Result<Option<Self>> {
        let (file, path) = match options.output {
            Output::Off => return Ok(None),
            // Not through std's own handles: their locks are held while a write hangs.
            Output::Stdout => (File::from(io::stdout().as_fd().try_clone_to_owned()?), None),
            Output::Stderr => (File::from(io::stderr().as_fd().try_clone_to_owned()?), None),
            Output::File(path) => {
                let named = |error: io::Error| {
                    io::Error::new(error.kind(), format!("cannot open the log file {}: {error}", path.display()))
                };
                (open_append(path).map_err(named)?, Some(path.clone()))
            }
        };
        let mut this = Self {
            file,
            path,
            size: 0,
            limit: options.rotate_size,
            keep: options.rotate_keep,
            carry: Vec::new(),
            failed: None,
            drops,
            stop,
            report: options.report,
        };
        this.measure();
        Ok(Some(this))
    }

    /// Appends whole lines. What cannot be written is counted as dropped.
    pub(super) fn write_lines(&mut self, mut lines: &[u8]) {
        if !self.carry.is_empty() {
            let carry = std::mem::take(&mut self.carry);
            if !self.append(&carry, true) {
                self.drop_lines(lines);
                return;
            }
        }
        while !lines.is_empty() {
            let piece = self.piece(lines);
            if piece == 0 {
                self.rotate();
                continue;
            }
            let (now, later) = lines.split_at(piece);
            if !self.append(now, false) {
                self.drop_lines(later);
                return;
            }
            lines = later;
        }
    }

    /// Opens the path anew, after something moved the file away.
    pub(super) fn reopen(&mut self) {
        let Some(path) = &self.path else { return };
        match open_append(path) {
            Ok(file) => self.replace(file),
            Err(error) => {
                (self.report)(
                    Level::Error,
                    &format!("cannot reopen {}: {error}; going on with the old file", path.display()),
                );
            }
        }
    }

    fn replace(&mut self, file: File) {
        if !self.carry.is_empty() {
            self.carry.clear();
            self.drops.fetch_add(1, Ordering::Relaxed);
        }
        self.file = file;
        self.measure();
    }

    /// Notes the size, and never rotates what is not a plain file (`/dev/null`, a pipe).
    fn measure(&mut self) {
        match self.file.metadata() {
            Ok(metadata) if metadata.is_file() => self.size = metadata.len(),
            _ => self.limit = 0,
        }
    }

    /// How much of `lines` goes into the file before it is set aside: whole lines, and at least one
    /// if it is empty.
    fn piece(&self, lines: &[u8]) -> usize {
        let room = usize::try_from(self.limit.saturating_sub(self.size)).unwrap_or(usize::MAX);
        if self.limit == 0 || self.path.is_none() || lines.len() <= room {
            return lines.len();
        }
        let newline = |&byte: &u8| byte == b'\n';
        match lines[..room].iter().rposition(newline) {
            Some(at) => at + 1,
            None if self.size == 0 => lines.iter().position(newline).map_or(lines.len(), |at| at + 1),
            None => 0,
        }
    }

    /// Writes all of `bytes`; on failure keeps the rest of a cut line and counts the others.
    /// `begun`: the first line's beginning is in the file already.
    fn append(&mut self, bytes: &[u8], begun: bool) -> bool {
        let (written, result) = self.write(bytes);
        self.size += written as u64;
        let Err(error) = result else {
            if self.failed.is_some_and(|at| at.elapsed() > QUIET) {
                self.failed = None;
                (self.report)(Level::Info, "writing works again");
            }
            return true;
        };
        let (cut, lost) = split_cut(bytes, written, begun);
        self.carry = cut.to_vec();
        self.drop_lines(lost);
        if self.failed.replace(Instant::now()).is_none() {
            (self.report)(Level::Error, &format!("cannot write: {error}; lines are dropped until it works again"));
        }
        false
    }

    fn write(&mut self, bytes: &[u8]) -> (usize, io::Result<()>) {
        let mut written = 0;
        while written < bytes.len() {
            match self.file.write(&bytes[written..]) {
                Ok(0) => return (written, Err(ErrorKind::WriteZero.into())),
                Ok(n) => written += n,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Someone made our standard output non-blocking; wait as a blocking one would.
                Err(error) if error.kind() == ErrorKind::WouldBlock && !self.stop.load(Ordering::Relaxed) => {
                    thread::sleep(Duration::from_millis(10));
                }
                Err(error) => return (written, Err(error)),
            }
        }
        (written, Ok(()))
    }

    fn drop_lines(&self, lines: &[u8]) {
        let count = lines.iter().filter(|&&byte| byte == b'\n').count();
        self.drops.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// `log` becomes `log.1`, `log.1` becomes `log.2`, and so on; the last one goes.
    fn rotate(&mut self) {
        let Some(path) = &self.path else { return };
        if let Err(error) = self.set_aside(path) {
            (self.report)(Level::Error, &format!("cannot rotate {}: {error}; going on with the file", path.display()));
            // Tried again after as much again.
            self.size = 0;
            return;
        }
        match open_append(path) {
            Ok(file) => self.replace(file),
            Err(error) => {
                (self.report)(
                    Level::Error,
                    &format!("cannot open {}: {error}; going on with the old file", path.display()),
                );
                self.size = 0;
            }
        }
    }

    fn set_aside(&self, path: &Path) -> io::Result<()> {
        // Somebody else (logrotate, another gateway during an upgrade) has moved our file already:
        // the one at the path now is young and not ours to move.
        let ours = self.file.metadata()?;
        match fs::metadata(path) {
            Ok(there) if (there.dev(), there.ino()) == (ours.dev(), ours.ino()) => {}
            _ => return Ok(()),
        }
        if self.keep == 0 {
            return fs::remove_file(path);
        }
        for n in (1..self.keep).rev() {
            rename_if_there(&numbered(path, n), &numbered(path, n + 1))?;
        }
        rename_if_there(path, &numbered(path, 1))
    }
}

/// The rest of the line that was cut after `written` bytes, and the lines after it.
fn split_cut(bytes: &[u8], written: usize, begun: bool) -> (&[u8], &[u8]) {
    let (done, rest) = bytes.split_at(written);
    let cut = done.last().map_or(begun, |&byte| byte != b'\n');
    let end = if cut { rest.iter().position(|&byte| byte == b'\n').map_or(rest.len(), |at| at + 1) } else { 0 };
    rest.split_at(end)
}

fn numbered(path: &Path, n: usize) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{n}"));
    name.into()
}

fn rename_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Access logs hold addresses and paths of people: not for all users of the machine to read.
fn open_append(path: &Path) -> io::Result<File> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder {
        fs::create_dir_all(folder)?;
    }
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;

//! The last configuration on disk, so that the gateway can start without the store.
//!
//! `current.json` is the newest, `previous.json` the one before. Each is one JSON object with the
//! payload and its SHA-256; a file is complete under its name or not there at all.

use std::borrow::Cow;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::table::{Entries, Version};
use crate::snapshot::change::Change;

const FORMAT: u32 = 1;
const CURRENT: &str = "current.json";
const PREVIOUS: &str = "previous.json";
/// A temporary file this old was left behind by a process that was killed.
const ABANDONED: Duration = Duration::from_secs(60);

/// The directory of the snapshots.
#[derive(Debug, Clone)]
pub(super) struct Disk {
    pub(super) dir: PathBuf,
    pub(super) data_prefix: String,
}

/// What a snapshot holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Content {
    pub(super) revision: u64,
    /// When it was written, in RFC 3339.
    pub(super) saved_at: String,
    pub(super) entries: Arc<Entries>,
    pub(super) last_good: Vec<Change>,
}

/// What was found at the start.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub(super) content: Option<Content>,
    /// Whether `current.json` is good, so that it may become the previous one.
    pub(super) current_is_good: bool,
}

#[derive(Deserialize)]
struct Document<'a> {
    format: u32,
    #[serde(borrow)]
    payload: &'a RawValue,
    sha256: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Payload<'a> {
    data_prefix: String,
    revision: u64,
    saved_at: String,
    #[serde(borrow)]
    last_good: Vec<Entry<'a>>,
    #[serde(borrow)]
    entries: Vec<Entry<'a>>,
}

#[derive(Serialize, Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
    revision: u64,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    value: Option<Cow<'a, str>>,
    /// In place of `value` when that is not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hex: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    leased: bool,
}

impl Disk {
    /// Reads the newest snapshot that is whole and of this data prefix. What cannot be used is
    /// said in the log.
    pub(super) fn load(&self) -> Loaded {
        self.remove_abandoned();
        let mut loaded = Loaded::default();
        for name in [CURRENT, PREVIOUS] {
            let path = self.dir.join(name);
            match self.read(&path) {
                Ok(Some(content)) => {
                    loaded.current_is_good = name == CURRENT;
                    loaded.content = Some(content);
                    break;
                }
                Ok(None) => {}
                Err(reason) => log::warn!("the snapshot {} is not used: {reason}", path.display()),
            }
        }
        loaded
    }

    fn read(&self, path: &Path) -> Result<Option<Content>, String> {
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e.to_string()),
        };
        let document: Document<'_> = serde_json::from_slice(&text).map_err(|e| format!("it is corrupt: {e}"))?;
        if document.format != FORMAT {
            return Err(format!("its format is {}, this version reads {FORMAT}", document.format));
        }
        if hex::encode(Sha256::digest(document.payload.get())) != document.sha256 {
            return Err("it is corrupt: its checksum does not match".to_owned());
        }
        let payload: Payload<'_> =
            serde_json::from_str(document.payload.get()).map_err(|e| format!("it is corrupt: {e}"))?;
        if payload.data_prefix != self.data_prefix {
            return Err(format!(
                "its data_prefix is {:?}, the configured one {:?}",
                payload.data_prefix, self.data_prefix
            ));
        }
        let entries = payload.entries.into_iter().map(Entry::into_version).collect::<Result<_, _>>()?;
        let last_good = payload.last_good.into_iter().map(Entry::into_change).collect::<Result<_, _>>()?;
        let (revision, saved_at) = (payload.revision, payload.saved_at);
        Ok(Some(Content { revision, saved_at, entries: Arc::new(entries), last_good }))
    }

    /// Writes a snapshot in place of the current one, which becomes the previous one when it is
    /// good. Until the new one is whole and on disk, nothing else is touched.
    pub(super) fn save(&self, content: &Content, keep_current: bool) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        // Two gateways share the directory while one replaces the other.
        let temporary = self.dir.join(format!("new.{}.tmp", std::process::id()));
        if let Err(error) = self.write(&temporary, content) {
            if let Err(e) = fs::remove_file(&temporary) {
                log::debug!("{} cannot be removed: {e}", temporary.display());
            }
            return Err(error);
        }
        let (current, previous) = (self.dir.join(CURRENT), self.dir.join(PREVIOUS));
        if keep_current && let Err(e) = fs::rename(&current, &previous) {
            // Someone cleaned up: there is nothing to keep.
            log::debug!("{} cannot be kept: {e}", current.display());
        }
        fs::rename(&temporary, &current)?;
        File::open(&self.dir)?.sync_all()
    }

    fn write(&self, path: &Path, content: &Content) -> io::Result<()> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        let mut out = Hashing { out: BufWriter::with_capacity(1 << 16, file), hash: None };
        write!(out, "{{\"format\":{FORMAT},\"payload\":")?;
        out.hash = Some(Sha256::new());
        self.write_payload(&mut out, content)?;
        let sum = out.hash.take().map(|hash| hex::encode(hash.finalize())).unwrap_or_default();
        writeln!(out, ",\n\"sha256\":\"{sum}\"}}")?;
        out.out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
    }

    fn write_payload(&self, out: &mut impl Write, content: &Content) -> io::Result<()> {
        write!(out, "{{\"data_prefix\":{},", serde_json::to_string(&self.data_prefix)?)?;
        write!(out, "\"revision\":{},", content.revision)?;
        write!(out, "\"saved_at\":{},", serde_json::to_string(&content.saved_at)?)?;
        let last_good = content.last_good.iter().filter_map(Entry::of_change);
        write_list(out, "last_good", last_good)?;
        write!(out, ",")?;
        let entries = content.entries.iter().map(|(key, version)| Entry {
            leased: version.leased,
            ..Entry::new(key, version.revision, &version.value)
        });
        write_list(out, "entries", entries)?;
        write!(out, "}}")
    }

    fn remove_abandoned(&self) {
        let Ok(files) = fs::read_dir(&self.dir) else { return };
        for file in files.flatten() {
            let age = file.metadata().and_then(|meta| meta.modified()).map(|at| SystemTime::now().duration_since(at));
            let abandoned = matches!(age, Ok(Ok(age)) if age > ABANDONED);
            if abandoned
                && file.path().extension().is_some_and(|end| end == "tmp")
                && let Err(e) = fs::remove_file(file.path())
            {
                log::warn!("{} cannot be removed: {e}", file.path().display());
            }
        }
    }
}

/// One entry a line, so that people and `grep` can read it.
fn write_list<'a>(out: &mut impl Write, name: &str, entries: impl Iterator<Item = Entry<'a>>) -> io::Result<()> {
    write!(out, "\n\"{name}\":[")?;
    for (i, entry) in entries.enumerate() {
        out.write_all(if i == 0 { b"\n" } else { b",\n" })?;
        serde_json::to_writer(&mut *out, &entry)?;
    }
    write!(out, "]")
}

impl<'a> Entry<'a> {
    fn new(key: &'a str, revision: u64, value: &'a [u8]) -> Self {
        let (value, hex) = match std::str::from_utf8(value) {
            Ok(text) => (Some(Cow::Borrowed(text)), None),
            Err(_) => (None, Some(hex::encode(value))),
        };
        Self { key: Cow::Borrowed(key), revision, value, hex, leased: false }
    }

    fn of_change(change: &'a Change) -> Option<Self> {
        change.value.as_deref().map(|value| Self::new(&change.key, change.revision, value))
    }

    fn into_version(self) -> Result<(String, Version), String> {
        let value = match (self.value, self.hex) {
            (Some(text), None) => Bytes::from(text.into_owned()),
            (None, Some(hex)) => Bytes::from(hex::decode(hex).map_err(|e| format!("key {:?}: hex: {e}", self.key))?),
            _ => return Err(format!("key {:?}: either value or hex", self.key)),
        };
        Ok((self.key.into_owned(), Version { revision: self.revision, value, leased: self.leased }))
    }

    fn into_change(self) -> Result<Change, String> {
        let (key, Version { revision, value, .. }) = self.into_version()?;
        Ok(Change { key, value: Some(value), revision })
    }
}

/// Passes on what is written and, while there is a hash, adds it up.
struct Hashing {
    out: BufWriter<File>,
    hash: Option<Sha256>,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        if let Some(hash) = &mut self.hash {
            hash.update(&bytes[..written]);
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

//! A store's content as JSON lines: the first says what it is, each other one is a key.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, BufWriter, Write as _};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::content::{Content, Entry};
use crate::store::LeaseId;

const FORMAT: &str = "ws-cloud-gateway store";
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: String,
    version: u32,
    /// Of the keys and values that follow. Left out by who edits the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    /// How many seconds the leases of keys have.
    #[serde(default)]
    leases: BTreeMap<LeaseId, u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    /// A value that is no text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lease: Option<LeaseId>,
}

/// Reads a file.
pub(super) fn read(path: &Path) -> anyhow::Result<Content> {
    let name = path.display();
    let file = File::open(path).with_context(|| format!("{name} cannot be read"))?;
    let mut lines = BufReader::new(file).lines();
    let first = lines.next().transpose().with_context(|| format!("{name} cannot be read"))?.unwrap_or_default();
    let header: Header = serde_json::from_str(&first)
        .ok()
        .filter(|header: &Header| header.format == FORMAT)
        .with_context(|| format!("{name} is not a copy of a store: its first line has no \"format\": \"{FORMAT}\""))?;
    ensure!(header.version == VERSION, "{name} has version {}, this one reads {VERSION}", header.version);
    let leases = header.leases.iter().map(|(id, left)| (*id, Duration::from_secs(*left))).collect();
    let mut content = Content { leases, ..Content::default() };
    for (number, line) in (2..).zip(lines) {
        let place = || format!("{name}, line {number}");
        let line: Line = serde_json::from_str(&line.with_context(place)?).with_context(place)?;
        let value: Bytes = match (line.value, line.base64) {
            (Some(text), None) => text.into(),
            (None, Some(base64)) => STANDARD.decode(base64).with_context(place)?.into(),
            _ => bail!("{}: a key has either value or base64", place()),
        };
        ensure!(line.lease.is_none_or(|lease| content.leases.contains_key(&lease)), "{}: unknown lease", place());
        let entry = Entry { value, lease: line.lease, revision: 0 };
        ensure!(content.entries.insert(line.key, entry).is_none(), "{}: the key was there before", place());
    }
    if header.sha256.is_some_and(|sha256| sha256 != content.digest()) {
        bail!(
            "{name} is cut short or was changed: its sha256 differs. If it was changed on purpose, remove \"sha256\" from its first line"
        );
    }
    Ok(content)
}

/// Writes a file, in place of one that is there. Only its owner may read it: it holds secrets.
pub(super) fn write(path: &Path, content: &Content) -> io::Result<()> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(folder)?;
    // Made with mode 0600.
    let mut temporary = tempfile::NamedTempFile::new_in(folder)?;
    {
        let mut out = BufWriter::new(&mut temporary);
        let leases = content.leases.iter().map(|(id, left)| (*id, left.as_secs())).collect();
        let header = Header { format: FORMAT.into(), version: VERSION, sha256: Some(content.digest()), leases };
        serde_json::to_writer(&mut out, &header)?;
        out.write_all(b"\n")?;
        for (key, entry) in &content.entries {
            let text = std::str::from_utf8(&entry.value).ok().map(str::to_owned);
            let base64 = text.is_none().then(|| STANDARD.encode(&entry.value));
            serde_json::to_writer(&mut out, &Line { key: key.clone(), value: text, base64, lease: entry.lease })?;
            out.write_all(b"\n")?;
        }
        out.flush()?;
    }
    temporary.as_file().sync_all()?;
    temporary.persist(path).map_err(|e| e.error)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_is_written_is_read_and_a_damaged_file_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("copy/store.jsonl");
        let entry = |value: &'static [u8], lease| Entry { value: Bytes::from_static(value), lease, revision: 0 };
        let entries = [
            ("gw/revoked/x".to_owned(), entry(b"{}", Some(7))),
            ("routes/\u{4e2d}\n".to_owned(), entry(b"{\"a\": \"\xc3\xa9\"}\n", None)),
            ("routes/binary".to_owned(), entry(b"\xff\x00", None)),
        ];
        let leases = [(7, Duration::from_secs(60))].into();
        let content = Content { entries: entries.into(), leases, ..Content::default() };
        write(&path, &content).unwrap();
        assert_eq!(read(&path).unwrap(), content);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

        let text = fs::read_to_string(&path).unwrap();
        let cut = text.lines().take(3).collect::<Vec<_>>().join("\n");
        for (text, reason) in [
            (cut.as_str(), "cut short or was changed"),
            ("{}\n", "is not a copy of a store"),
            ("", "is not a copy of a store"),
            ("{\"format\":\"ws-cloud-gateway store\",\"version\":2}\n", "has version 2"),
            ("{\"format\":\"ws-cloud-gateway store\",\"version\":1}\n{\"key\":\"a\"}\n", "line 2: a key has either"),
            (
                "{\"format\":\"ws-cloud-gateway store\",\"version\":1}\n{\"key\":\"a\",\"value\":\"\",\"lease\":1}\n",
                "unknown lease",
            ),
        ] {
            fs::write(&path, text).unwrap();
            let error = format!("{:#}", read(&path).unwrap_err());
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}

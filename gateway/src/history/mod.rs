//! What was declared when, by whom and why: the revisions of what operators declare, as the store
//! holds them. Knows the store's types; does not read or write it.
//!
//! A revision keeps each key it wrote as it was before and after. The state at an earlier revision
//! is the present one with the later revisions undone, so old ones can be dropped at any time.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::IpAddr;

use bytes::Bytes;
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

mod bytes_text;
pub mod fields;
pub mod journal;

/// The records: `gw/history/<revision>`.
pub const RECORDS: &str = "gw/history/";
/// Revisions that are undone unless they are confirmed: `gw/pending/<revision>`.
pub const PENDING: &str = "gw/pending/";
/// Beside each of those, with a lease: when it is gone, so is the time to confirm.
pub const AWAITED: &str = "gw/awaited/";
/// Up to which revision of the store what was written past the Admin API is recorded.
pub const EXTERNAL: &str = "gw/external";
/// How many records are kept.
pub const KEPT: u64 = 1000;

/// By which way a change came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The panel in the browser.
    Panel,
    /// The Admin API.
    Api,
    /// The command line.
    Cli,
    /// The paths of the first gateway.
    OldApi,
    /// Nobody confirmed a change in time.
    Unconfirmed,
    /// Straight in the store: `etcdctl`, or a gateway of the first kind.
    External,
}

/// Who made a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Author {
    /// A user, or what a token is called.
    pub name: String,
    /// By which way.
    pub origin: Origin,
    /// From where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    pub address: Option<IpAddr>,
}

/// A key that a revision wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// The key, without the data prefix.
    pub key: String,
    /// What was there.
    #[serde(with = "bytes_text")]
    pub before: Option<Bytes>,
    /// What is there since.
    #[serde(with = "bytes_text")]
    pub after: Option<Bytes>,
}

/// A revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its number; the first is 1, each is one more than the one before.
    pub revision: u64,
    /// Milliseconds since 1970.
    pub time: u64,
    /// Who made it.
    pub author: Author,
    /// Why, in the author's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The revision whose state it restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored: Option<u64>,
    /// What it wrote.
    pub written: Vec<Written>,
}

/// From this size on, in bytes, a record is stored compressed.
const COMPRESSED_FROM: usize = 4096;
/// Largest record, in bytes; what is larger was not written by us.
const LARGEST: u64 = 64 << 20;

impl Record {
    /// As it is stored.
    ///
    /// # Errors
    /// When it is too large to be read again.
    pub fn encode(&self) -> std::io::Result<Bytes> {
        let json = serde_json::to_vec(self)?;
        if json.len() as u64 > LARGEST {
            return Err(std::io::Error::other("it is too large"));
        }
        if json.len() < COMPRESSED_FROM {
            return Ok(json.into());
        }
        let mut compressed = ZlibEncoder::new(Vec::new(), Compression::default());
        compressed.write_all(&json)?;
        Ok(compressed.finish()?.into())
    }

    /// Reads what is stored.
    ///
    /// # Errors
    /// When it is no record.
    pub fn decode(stored: &[u8]) -> std::io::Result<Self> {
        if stored.starts_with(b"{") {
            return Ok(serde_json::from_slice(stored)?);
        }
        let json = ZlibDecoder::new(stored).take(LARGEST);
        Ok(serde_json::from_reader(std::io::BufReader::new(json))?)
    }

    /// Its key, without the data prefix.
    #[must_use]
    pub fn key(revision: u64) -> String {
        format!("{RECORDS}{revision:012}")
    }
}

/// A revision that waits to be confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Pending {
    /// The revision.
    pub revision: u64,
    /// When it is undone, in milliseconds since 1970, by the clock of who wrote it. Only to be shown.
    pub until: u64,
    /// The keys it wrote; no one else may until then.
    pub keys: Vec<String>,
}

impl Pending {
    /// That of a revision.
    #[must_use]
    pub fn of(record: &Record, until: u64) -> Self {
        let keys = record.written.iter().map(|written| written.key.clone()).collect();
        Self { revision: record.revision, until, keys }
    }

    /// Its key, without the data prefix.
    #[must_use]
    pub fn key(revision: u64) -> String {
        format!("{PENDING}{revision:012}")
    }

    /// The key that ends with its time.
    #[must_use]
    pub fn awaited_key(revision: u64) -> String {
        format!("{AWAITED}{revision:012}")
    }
}

/// The counter of revisions, guarded and bumped by every change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Head {
    /// The last revision.
    pub revision: u64,
    /// Its time, in milliseconds since 1970.
    pub time: u64,
}

/// What records did to keys, from the first of them to the last: as each key was before, and as it
/// is after. Keys that ended as they began are left out.
#[must_use]
pub fn total<'a>(records: impl IntoIterator<Item = &'a Record>) -> Vec<Written> {
    let mut keys: BTreeMap<&str, (&Option<Bytes>, &Option<Bytes>)> = BTreeMap::new();
    for written in records.into_iter().flat_map(|record| &record.written) {
        let entry = keys.entry(&written.key).or_insert((&written.before, &written.after));
        entry.1 = &written.after;
    }
    let changed = keys.into_iter().filter(|(_, (before, after))| before != after);
    changed
        .map(|(key, (before, after))| Written { key: key.to_owned(), before: before.clone(), after: after.clone() })
        .collect()
}

/// What makes the one state the other and no record tells of. `records` are those of the time between,
/// in order.
#[must_use]
pub fn unrecorded(
    before: &BTreeMap<String, Bytes>,
    after: &BTreeMap<String, Bytes>,
    records: &[Record],
) -> Vec<Written> {
    let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let written = |key: &String| records.iter().rev().flat_map(|record| &record.written).find(|w| w.key == *key);
    let difference = |key: &String| {
        let known = written(key).map_or_else(|| before.get(key), |written| written.after.as_ref());
        let now = after.get(key);
        (known != now).then(|| Written { key: key.clone(), before: known.cloned(), after: now.cloned() })
    };
    keys.into_iter().filter_map(difference).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(revision: u64, written: &[(&str, Option<&str>, Option<&str>)]) -> Record {
        let bytes = |text: Option<&str>| text.map(|text| Bytes::from(text.to_owned()));
        Record {
            revision,
            time: 0,
            author: Author { name: "a".into(), origin: Origin::Api, address: None },
            reason: None,
            restored: None,
            written: written
                .iter()
                .map(|(key, before, after)| Written {
                    key: (*key).to_owned(),
                    before: bytes(*before),
                    after: bytes(*after),
                })
                .collect(),
        }
    }

    #[test]
    fn the_total_of_records_is_what_differs_from_the_first_to_the_last() {
        let records = [
            record(1, &[("a", None, Some("1")), ("b", Some("x"), None)]),
            record(2, &[("a", Some("1"), Some("2"))]),
            record(3, &[("b", None, Some("x")), ("c", None, Some("3"))]),
        ];
        let total = total(&records);
        assert_eq!(total, record(0, &[("a", None, Some("2")), ("c", None, Some("3"))]).written);
    }

    #[test]
    fn what_no_record_tells_of_is_what_someone_else_wrote() {
        let state = |rows: &[(&str, &str)]| {
            rows.iter().map(|(key, value)| ((*key).to_owned(), Bytes::from((*value).to_owned()))).collect()
        };
        let before = state(&[("a", "1"), ("b", "1"), ("c", "1")]);
        let after = state(&[("a", "2"), ("b", "3"), ("d", "1")]);
        let records = [record(1, &[("a", Some("1"), Some("2")), ("b", Some("1"), Some("2"))])];
        let expected = record(0, &[("b", Some("2"), Some("3")), ("c", Some("1"), None), ("d", None, Some("1"))]);
        assert_eq!(unrecorded(&before, &after, &records), expected.written);
        assert!(unrecorded(&after, &after, &[]).is_empty());
    }

    #[test]
    fn a_record_keeps_bytes_that_are_no_text() {
        let mut one = record(1, &[("a", None, Some("{\"a\": \"é\"}"))]);
        one.written[0].before = Some(Bytes::from_static(b"\xff\x00"));
        assert_eq!(Record::decode(&one.encode().unwrap()).unwrap(), one);
    }

    #[test]
    fn a_large_record_is_stored_compressed_and_what_is_no_record_is_an_error() {
        let large = record(1, &[("a", None, Some(&"{\"a\":1}".repeat(100_000)))]);
        let stored = large.encode().unwrap();
        assert!(stored.len() < 10_000, "{}", stored.len());
        assert_eq!(Record::decode(&stored).unwrap(), large);
        for bad in [&stored[..stored.len() / 2], b"", b"{", b"x"] {
            assert!(Record::decode(bad).is_err());
        }
    }

    proptest! {
        #[test]
        fn undoing_all_that_came_later_gives_the_state_there_was(
            edits in proptest::collection::vec((0_u8..5, proptest::option::of(0_u8..4)), 1..40),
            to in 0_usize..40,
        ) {
            let mut state: BTreeMap<String, Bytes> = BTreeMap::new();
            let (mut states, mut records) = (vec![state.clone()], Vec::new());
            for (n, (key, value)) in edits.into_iter().enumerate() {
                let (key, after) = (key.to_string(), value.map(|v| Bytes::from(v.to_string())));
                let before = match &after {
                    Some(after) => state.insert(key.clone(), after.clone()),
                    None => state.remove(&key),
                };
                let written = vec![Written { key, before, after }];
                records.push(Record { written, ..record(n as u64 + 1, &[]) });
                states.push(state.clone());
            }
            let to = to.min(records.len());
            for Written { key, before, after } in total(&records[to..]) {
                prop_assert_eq!(state.get(&key), after.as_ref());
                match before {
                    Some(before) => state.insert(key, before),
                    None => state.remove(&key),
                };
            }
            prop_assert_eq!(&state, &states[to]);
        }
    }
}

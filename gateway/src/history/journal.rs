//! A change that is larger than a transaction: written down whole first, then made in steps. While
//! it is being made no gateway publishes; one that finds it begun and not finished finishes it.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::bytes_text;

/// What large changes are to write: `gw/journal/parts/<id>/<n>`.
pub const PARTS: &str = "gw/journal/parts/";
/// Most steps of a part: one transaction makes them.
pub const MOST_STEPS: usize = 90;
/// Most bytes of a part, as they are; in JSON they are a little more.
const MOST_BYTES: usize = 400 << 10;

/// What the key that control watches says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    /// Names its parts; a UUID that tells when it was begun.
    pub id: String,
    /// How many parts there are.
    pub parts: usize,
    /// The revision that it makes.
    pub revision: u64,
    /// It is undone if nobody confirms it within so many seconds of its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm_within: Option<u64>,
}

impl Journal {
    /// The key of a part, without the data prefix.
    #[must_use]
    pub fn part_key(&self, part: usize) -> String {
        format!("{PARTS}{}/{part:06}", self.id)
    }

    /// The key of the record that is kept in the end, without the data prefix.
    #[must_use]
    pub fn record_key(&self) -> String {
        format!("{PARTS}{}/record", self.id)
    }
}

/// A key that is to be written, or deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The whole key.
    pub key: String,
    /// What is to be there.
    #[serde(with = "bytes_text")]
    pub value: Option<Bytes>,
}

/// Cuts steps into parts.
#[must_use]
pub fn parts(steps: Vec<Step>) -> Vec<Vec<Step>> {
    let (mut parts, mut bytes) = (Vec::<Vec<Step>>::new(), 0);
    for step in steps {
        let size = step.key.len() + step.value.as_ref().map_or(0, Bytes::len);
        match parts.last_mut().filter(|part| part.len() < MOST_STEPS && bytes + size <= MOST_BYTES) {
            Some(part) => {
                bytes += size;
                part.push(step);
            }
            None => {
                bytes = size;
                parts.push(vec![step]);
            }
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_has_no_more_than_a_transaction_takes() {
        let step = |size: usize| Step { key: "k".into(), value: Some(vec![b'x'; size].into()) };
        let lengths = |steps| parts(steps).iter().map(Vec::len).collect::<Vec<_>>();
        assert!(parts(Vec::new()).is_empty());
        assert_eq!(lengths(vec![step(1); 200]), [90, 90, 20]);
        assert_eq!(lengths(vec![step(300 << 10), step(300 << 10), step(1), step(1 << 20), step(1)]), [1, 2, 1, 1]);
    }
}

//! Longest prefix match over many strings by hashing, in a table that is built once. Shorter matches follow from the
//! longest one through parent links.

use super::hash::{self, Kind, Lengths, Shape};
use super::position;

/// Strings by id, in the order of first insertion.
#[derive(Debug)]
pub(super) struct Lpm<const BORDER: u8> {
    seed: u64,
    table: Table,
    /// All strings, one after the other.
    arena: Vec<u8>,
    strings: Vec<Stored>,
    lengths: Lengths<BORDER>,
}

#[derive(Debug)]
struct Stored {
    start: u32,
    end: u32,
    kind: Kind,
    /// The next shorter prefix, or [`NONE`].
    parent: u32,
}

const NONE: u32 = u32::MAX;

/// What matches a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) exact: Option<u32>,
    pub(super) prefix: Option<u32>,
}

impl<const BORDER: u8> Lpm<BORDER> {
    /// A table for at most so many strings.
    pub(super) fn with_capacity(strings: usize) -> Self {
        Self {
            seed: hash::seed(),
            table: Table::with_capacity(strings),
            arena: Vec::new(),
            strings: Vec::with_capacity(strings),
            lengths: Lengths::default(),
        }
    }

    /// Stores a string that is not stored yet.
    pub(super) fn insert(&mut self, kind: Kind, text: &[u8]) {
        let id = position(self.strings.len());
        let start = position(self.arena.len());
        self.arena.extend_from_slice(text);
        self.strings.push(Stored { start, end: position(self.arena.len()), kind, parent: NONE });
        self.table.insert(hash::of::<BORDER>(self.seed, kind, text), id);
    }

    /// To be called after the last [`Self::insert`].
    pub(super) fn finish(&mut self) {
        self.arena.shrink_to_fit();
        let ids = || 0..position(self.strings.len());
        self.lengths = Lengths::new(ids().map(|id| Shape::new(self.strings[id as usize].kind, self.text(id))));
        for id in 0..self.strings.len() {
            if self.strings[id].kind == Kind::Prefix {
                let text = self.text(position(id));
                let shorter = &text[..text.len().saturating_sub(1)];
                let parent = self.find(shorter.iter().copied(), |prefix| shorter.starts_with(prefix)).prefix;
                self.strings[id].parent = parent.unwrap_or(NONE);
            }
        }
    }

    /// The string equal to `text` and the longest prefix of it. `starts_with` says whether the bytes that `text`
    /// yields start with a given string.
    pub(super) fn find(&self, text: impl Iterator<Item = u8>, starts_with: impl Fn(&[u8]) -> bool) -> Found {
        let get = |hash, kind, length| {
            self.table.get(hash, |id| {
                let text = self.text(id);
                text.len() == length && self.strings[id as usize].kind == kind && starts_with(text)
            })
        };
        let mut prefix = None;
        let whole = self.lengths.scan(self.seed, text, |hash, length| {
            prefix = get(hash, Kind::Prefix, length).or(prefix);
        });
        Found { exact: whole.and_then(|(hash, length)| get(hash, Kind::Exact, length)), prefix }
    }

    pub(super) fn parent(&self, prefix: u32) -> Option<u32> {
        Some(self.strings[prefix as usize].parent).filter(|&parent| parent != NONE)
    }

    fn text(&self, id: u32) -> &[u8] {
        let Stored { start, end, .. } = self.strings[id as usize];
        &self.arena[start as usize..end as usize]
    }
}

/// A hash table of ids with open addressing. It leaves comparing to the caller, so that a slot is eight bytes.
#[derive(Debug)]
struct Table {
    /// The hash's upper half and the id plus one; zero is free. At least half of them are free.
    slots: Box<[u64]>,
}

impl Table {
    fn with_capacity(ids: usize) -> Self {
        Self { slots: vec![0; (ids * 2).next_power_of_two().max(2)].into_boxed_slice() }
    }

    #[inline]
    fn get(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let slot = self.slots[at];
            if slot == 0 {
                return None;
            }
            if slot >> 32 == hash >> 32 && is_it(slot as u32 - 1) {
                return Some(slot as u32 - 1);
            }
            at = (at + 1) & mask;
        }
    }

    /// For an id that is not in the table yet.
    fn insert(&mut self, hash: u64, id: u32) {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        while self.slots[at] != 0 {
            at = (at + 1) & mask;
        }
        self.slots[at] = hash >> 32 << 32 | u64::from(id + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colliding_hashes_cost_time_only() {
        let mut table = Table::with_capacity(100);
        (0..100).for_each(|id| table.insert(u64::from(id % 3), id));
        assert!((0..100).all(|id| table.get(u64::from(id % 3), |found| found == id) == Some(id)));
        assert_eq!(table.get(1, |_| false), None);
    }
}

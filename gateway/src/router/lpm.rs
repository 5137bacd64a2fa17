//! Longest prefix match over many strings by hashing: one pass over the text hashes all its prefixes, and only those
//! are looked up whose length and last byte some stored prefix has.
//!
//! Most prefixes end at a border (`/` in paths, `.` in hosts read backwards), so a text costs about one probe per
//! segment, however many strings are stored. Shorter matches follow from the longest one through parent links. The
//! hash is seeded per table and every hit is compared, so nobody can make texts collide from outside, and a
//! collision costs time only.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};

use super::position;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Exact,
    Prefix,
}

/// Strings by id, in the order of first insertion.
#[derive(Debug)]
pub(super) struct Lpm<const BORDER: u8> {
    seed: u64,
    table: Table,
    /// All strings, one after the other.
    arena: Vec<u8>,
    strings: Vec<Stored>,
    longest_exact: usize,
    longest_prefix: usize,
    /// Bit n: some prefix of n bytes ends at a border.
    border_lengths: Vec<u64>,
    /// Lengths of the other prefixes, ascending, with the set of their last bytes.
    other_lengths: Vec<(usize, [u64; 4])>,
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
            seed: RandomState::new().build_hasher().finish(),
            table: Table::with_capacity(strings),
            arena: Vec::new(),
            strings: Vec::with_capacity(strings),
            longest_exact: 0,
            longest_prefix: 0,
            border_lengths: Vec::new(),
            other_lengths: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.strings.len()
    }

    /// The id of the string, which is stored if it is new.
    pub(super) fn insert(&mut self, kind: Kind, text: &[u8]) -> u32 {
        let mut hash = Hash::<BORDER>::new(self.seed);
        text.iter().for_each(|&byte| hash.push(byte));
        let hash = hash.value(kind);
        if let Some(id) = self.table.get(hash, |id| self.kind(id) == kind && self.text(id) == text) {
            return id;
        }
        let id = position(self.strings.len());
        let start = position(self.arena.len());
        self.arena.extend_from_slice(text);
        self.strings.push(Stored { start, end: position(self.arena.len()), kind, parent: NONE });
        self.table.insert(hash, id);
        id
    }

    /// To be called after the last [`Self::insert`].
    pub(super) fn finish(&mut self) {
        self.arena.shrink_to_fit();
        self.strings.shrink_to_fit();
        let mut others: BTreeMap<usize, [u64; 4]> = BTreeMap::new();
        for id in 0..position(self.strings.len()) {
            let text = self.text(id);
            let length = text.len();
            match (self.strings[id as usize].kind, text.last()) {
                (Kind::Exact, _) => self.longest_exact = self.longest_exact.max(length),
                (Kind::Prefix, Some(&last)) if last == BORDER => {
                    self.longest_prefix = self.longest_prefix.max(length);
                    let word = length / 64;
                    if self.border_lengths.len() <= word {
                        self.border_lengths.resize(word + 1, 0);
                    }
                    self.border_lengths[word] |= 1 << (length % 64);
                }
                (Kind::Prefix, Some(&last)) => {
                    self.longest_prefix = self.longest_prefix.max(length);
                    others.entry(length).or_default()[usize::from(last / 64)] |= 1 << (last % 64);
                }
                // Patterns are never empty.
                (Kind::Prefix, None) => {}
            }
        }
        self.other_lengths = others.into_iter().collect();
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
        let longest = self.longest_exact.max(self.longest_prefix);
        let mut others = self.other_lengths.iter();
        let mut other = others.next();
        let mut found = Found { exact: None, prefix: None };
        let mut hash = Hash::<BORDER>::new(self.seed);
        let mut length = 0;
        for byte in text {
            length += 1;
            if length > longest {
                return found;
            }
            hash.push(byte);
            let probe = match other {
                Some((at, last_bytes)) if *at == length => {
                    other = others.next();
                    if byte == BORDER { self.ends_at_border(length) } else { has(last_bytes, byte) }
                }
                _ => byte == BORDER && self.ends_at_border(length),
            };
            if probe && let Some(id) = self.get(&hash, Kind::Prefix, length, &starts_with) {
                found.prefix = Some(id);
            }
        }
        if length <= self.longest_exact {
            found.exact = self.get(&hash, Kind::Exact, length, &starts_with);
        }
        found
    }

    pub(super) fn parent(&self, prefix: u32) -> Option<u32> {
        Some(self.strings[prefix as usize].parent).filter(|&parent| parent != NONE)
    }

    pub(super) fn kind(&self, id: u32) -> Kind {
        self.strings[id as usize].kind
    }

    pub(super) fn text(&self, id: u32) -> &[u8] {
        let Stored { start, end, .. } = self.strings[id as usize];
        &self.arena[start as usize..end as usize]
    }

    #[inline]
    fn get(&self, hash: &Hash<BORDER>, kind: Kind, length: usize, starts_with: impl Fn(&[u8]) -> bool) -> Option<u32> {
        self.table.get(hash.value(kind), |id| {
            let text = self.text(id);
            text.len() == length && self.kind(id) == kind && starts_with(text)
        })
    }

    fn ends_at_border(&self, length: usize) -> bool {
        self.border_lengths.get(length / 64).is_some_and(|word| word >> (length % 64) & 1 == 1)
    }
}

fn has(set: &[u64; 4], byte: u8) -> bool {
    set[usize::from(byte / 64)] >> (byte % 64) & 1 == 1
}

/// Hashes all prefixes of a text in one pass: words of up to eight bytes, ended by a border too, are folded into the
/// state by a wide multiplication (as wyhash does), and the value at any point is the state with the begun word.
/// Texts hold no NUL byte, so different texts are different words.
struct Hash<const BORDER: u8> {
    state: u64,
    word: u64,
    bytes: u32,
}

impl<const BORDER: u8> Hash<BORDER> {
    fn new(seed: u64) -> Self {
        Self { state: seed, word: 0, bytes: 0 }
    }

    #[inline(always)]
    fn push(&mut self, byte: u8) {
        self.word = self.word << 8 | u64::from(byte);
        self.bytes += 1;
        if byte == BORDER || self.bytes == 8 {
            self.state = self.folded();
            self.word = 0;
            self.bytes = 0;
        }
    }

    #[inline(always)]
    fn folded(&self) -> u64 {
        let product = u128::from(self.state ^ self.word) * 0xa076_1d64_78bd_642f;
        (product as u64) ^ (product >> 64) as u64
    }

    /// The hash of what was pushed so far, as a string of one kind.
    #[inline(always)]
    fn value(&self, kind: Kind) -> u64 {
        let value = if self.bytes == 0 { self.state } else { self.folded() };
        match kind {
            Kind::Exact => !value,
            Kind::Prefix => value,
        }
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

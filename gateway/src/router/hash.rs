//! Hashes of all prefixes of a text in one pass, and which of them are worth a look.
//!
//! Only those prefixes are looked up whose length and last byte some stored prefix has. Most end at a border (`/` in
//! paths, `.` in hosts read backwards), so a text costs about one probe per segment, however many strings are stored.
//! The hash is seeded and every hit is compared, so nobody can make texts collide from outside, and a collision costs
//! time only.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Exact,
    Prefix,
}

/// What must be known of a stored string so that no text passes it by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Shape {
    kind: Kind,
    length: usize,
    /// Of prefixes only.
    last: u8,
}

impl Shape {
    pub(super) fn new(kind: Kind, text: &[u8]) -> Self {
        let last = text.last().filter(|_| kind == Kind::Prefix);
        Self { kind, length: text.len(), last: last.copied().unwrap_or_default() }
    }
}

/// The shapes of all stored strings, as a scan asks for them.
#[derive(Debug, Clone, Default)]
pub(super) struct Lengths<const BORDER: u8> {
    longest_exact: usize,
    longest_prefix: usize,
    /// Bit n: some prefix of n bytes ends at a border.
    border: Vec<u64>,
    /// Lengths of the other prefixes, ascending, with the set of their last bytes.
    others: Vec<(usize, [u64; 4])>,
}

impl<const BORDER: u8> Lengths<BORDER> {
    pub(super) fn new(shapes: impl Iterator<Item = Shape>) -> Self {
        let mut lengths = Self::default();
        let mut others: BTreeMap<usize, [u64; 4]> = BTreeMap::new();
        for Shape { kind, length, last } in shapes {
            if kind == Kind::Exact {
                lengths.longest_exact = lengths.longest_exact.max(length);
                continue;
            }
            lengths.longest_prefix = lengths.longest_prefix.max(length);
            if last == BORDER {
                let word = length / 64;
                lengths.border.resize(lengths.border.len().max(word + 1), 0);
                lengths.border[word] |= 1 << (length % 64);
            } else {
                others.entry(length).or_default()[usize::from(last / 64)] |= 1 << (last % 64);
            }
        }
        lengths.others = others.into_iter().collect();
        lengths
    }

    /// Calls `prefix` with the hash and the length of each prefix of the text that may be stored, and returns those of
    /// the whole text when that may be.
    #[inline(always)]
    pub(super) fn scan(
        &self,
        seed: u64,
        text: impl Iterator<Item = u8>,
        mut prefix: impl FnMut(u64, usize),
    ) -> Option<(u64, usize)> {
        let longest = self.longest_exact.max(self.longest_prefix);
        let mut others = self.others.iter();
        let mut other = others.next();
        let mut hash = Hash::<BORDER>::new(seed);
        let mut length = 0;
        for byte in text {
            length += 1;
            if length > longest {
                return None;
            }
            hash.push(byte);
            let probe = match other {
                Some((at, last_bytes)) if *at == length => {
                    other = others.next();
                    if byte == BORDER { self.ends_at_border(length) } else { has(last_bytes, byte) }
                }
                _ => byte == BORDER && self.ends_at_border(length),
            };
            if probe {
                prefix(hash.value(Kind::Prefix), length);
            }
        }
        (length <= self.longest_exact).then(|| (hash.value(Kind::Exact), length))
    }

    fn ends_at_border(&self, length: usize) -> bool {
        self.border.get(length / 64).is_some_and(|word| word >> (length % 64) & 1 == 1)
    }
}

fn has(set: &[u64; 4], byte: u8) -> bool {
    set[usize::from(byte / 64)] >> (byte % 64) & 1 == 1
}

/// A seed that nobody outside knows.
pub(super) fn seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// The hash of a stored string.
pub(super) fn of<const BORDER: u8>(seed: u64, kind: Kind, text: &[u8]) -> u64 {
    let mut hash = Hash::<BORDER>::new(seed);
    text.iter().for_each(|&byte| hash.push(byte));
    hash.value(kind)
}

/// Words of up to eight bytes, ended by a border too, are folded into the state by a wide multiplication (as wyhash
/// does), and the value at any point is the state with the begun word. Texts hold no NUL byte, so different texts are
/// different words.
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

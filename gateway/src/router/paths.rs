//! All path patterns by hash, in many small tables. A change makes those tables anew that it falls into and shares the
//! others with the router before it, so that it costs the same however many routes there are.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::bucket::{Bucket, Row};
use super::hash::{self, Kind, Lengths, Shape};
use super::pattern::Pattern;

/// The buckets of all path patterns.
#[derive(Debug, Clone)]
pub(super) struct Paths<T> {
    seed: u64,
    /// Chosen by the low bits of the hash; their number is a power of two.
    shards: Box<[Shard<T>]>,
    lengths: Lengths<b'/'>,
    /// How many patterns have each shape.
    shapes: BTreeMap<Shape, u32>,
    patterns: usize,
}

/// A hash table with open addressing. A third of it is free, and at least one slot.
type Shard<T> = Arc<[Slot<T>]>;

#[derive(Debug)]
struct Slot<T> {
    hash: u64,
    bucket: Option<Arc<Bucket<T>>>,
}

impl<T> Clone for Slot<T> {
    fn clone(&self) -> Self {
        Self { hash: self.hash, bucket: self.bucket.clone() }
    }
}

/// Patterns in a shard when their number is chosen: few, for a change copies them; many, for it copies the list of
/// shards as well.
const IN_SHARD: usize = 128;

/// A change at the pattern with this hash.
pub(super) struct Edit<T> {
    pub(super) hash: u64,
    pub(super) what: What<T>,
}

pub(super) enum What<T> {
    /// The route with this key goes.
    Remove(Arc<str>),
    /// These rows come.
    Add(Pattern, Vec<Row<T>>),
}

/// A bucket that is being changed.
type Draft<T> = (Pattern, Vec<Row<T>>);

impl<T> Default for Paths<T> {
    fn default() -> Self {
        Self {
            seed: hash::seed(),
            shards: Box::new([shard(Vec::new())]),
            lengths: Lengths::default(),
            shapes: BTreeMap::new(),
            patterns: 0,
        }
    }
}

impl<T> Paths<T> {
    pub(super) fn hash(&self, pattern: &Pattern) -> u64 {
        hash::of::<b'/'>(self.seed, pattern.kind(), pattern.text().as_bytes())
    }

    /// The bucket of exactly this path, and that of its longest prefix.
    #[inline]
    pub(super) fn find(&self, path: &[u8]) -> (Option<&Bucket<T>>, Option<&Bucket<T>>) {
        let mut prefix = None;
        let whole = self.lengths.scan(self.seed, path.iter().copied(), |hash, length| {
            prefix = self.get(hash, Kind::Prefix, &path[..length]).or(prefix);
        });
        (whole.and_then(|(hash, _)| self.get(hash, Kind::Exact, path)), prefix)
    }

    /// The bucket of the longest prefix. Looked for anew when no route of a longer one took the request, for that is
    /// rare, and links from prefix to prefix would tie the shards together.
    #[cold]
    pub(super) fn find_prefix(&self, path: &[u8]) -> Option<&Bucket<T>> {
        self.find(path).1
    }

    #[inline]
    fn get(&self, hash: u64, kind: Kind, text: &[u8]) -> Option<&Bucket<T>> {
        let shard = &*self.shards[hash as usize & (self.shards.len() - 1)];
        let mut at = place(hash, shard.len());
        loop {
            let slot = &shard[at];
            let bucket = slot.bucket.as_deref()?;
            if slot.hash == hash && bucket.is_for(kind, text) {
                return Some(bucket);
            }
            at = if at + 1 == shard.len() { 0 } else { at + 1 };
        }
    }
}

impl<T: Clone> Paths<T> {
    /// All buckets, each made into another of the same pattern.
    pub(super) fn map(&self, mut to: impl FnMut(&T) -> T) -> Self {
        let mut map = |slot: &Slot<T>| Slot {
            hash: slot.hash,
            bucket: slot.bucket.as_ref().map(|bucket| Arc::new(bucket.map(&mut to))),
        };
        Self { shards: self.shards.iter().map(|shard| shard.iter().map(&mut map).collect()).collect(), ..self.clone() }
    }

    /// The same with these changes: removals come first.
    pub(super) fn edited(&self, mut edits: Vec<Edit<T>>) -> Self {
        let mut next = self.clone();
        next.fit(self.patterns + edits.len());
        let mask = next.shards.len() - 1;
        edits.sort_by_key(|edit| (edit.hash as usize & mask, edit.hash, matches!(edit.what, What::Add(..))));
        let mut edits = edits.into_iter().peekable();
        while let Some(first) = edits.next() {
            let index = first.hash as usize & mask;
            let mut of_shard = vec![first];
            while let Some(edit) = edits.next_if(|edit| edit.hash as usize & mask == index) {
                of_shard.push(edit);
            }
            let old = Arc::clone(&next.shards[index]);
            next.shards[index] = next.edited_shard(&old, of_shard);
        }
        if next.shapes.len() != self.shapes.len() || !next.shapes.keys().eq(self.shapes.keys()) {
            next.lengths = Lengths::new(next.shapes.keys().copied());
        }
        next
    }

    fn edited_shard(&mut self, old: &[Slot<T>], edits: Vec<Edit<T>>) -> Shard<T> {
        // In the order of hashes; several of one hash only where hashes collide.
        let mut drafts: Vec<(u64, Vec<Draft<T>>)> = Vec::new();
        for edit in &edits {
            if drafts.last().is_none_or(|(hash, _)| *hash != edit.hash) {
                drafts.push((edit.hash, Vec::new()));
            }
        }
        let find = |drafts: &[(u64, _)], hash| drafts.binary_search_by_key(&hash, |(hash, _)| *hash);
        let mut buckets = Vec::with_capacity(old.len() + drafts.len());
        for slot in old {
            let Some(bucket) = &slot.bucket else { continue };
            match find(&drafts, slot.hash) {
                Ok(at) => {
                    self.count(bucket.pattern(), -1);
                    drafts[at].1.push((bucket.pattern().clone(), bucket.rows().to_vec()));
                }
                Err(_) => buckets.push(slot.clone()),
            }
        }
        for Edit { hash, what } in edits {
            let Ok(at) = find(&drafts, hash) else { continue };
            let drafts = &mut drafts[at].1;
            match what {
                What::Remove(key) => drafts.iter_mut().for_each(|(_, rows)| rows.retain(|row| row.key != key)),
                What::Add(pattern, mut rows) => match drafts.iter_mut().find(|(known, _)| *known == pattern) {
                    Some((_, known)) => known.append(&mut rows),
                    None => drafts.push((pattern, rows)),
                },
            }
        }
        for (hash, drafts) in drafts {
            for (pattern, rows) in drafts.into_iter().filter(|(_, rows)| !rows.is_empty()) {
                self.count(&pattern, 1);
                buckets.push(Slot { hash, bucket: Some(Arc::new(Bucket::new(pattern, rows))) });
            }
        }
        shard(buckets)
    }

    fn count(&mut self, pattern: &Pattern, by: i32) {
        let shape = Shape::new(pattern.kind(), pattern.text().as_bytes());
        let count = self.shapes.entry(shape).or_default();
        *count = count.saturating_add_signed(by);
        if *count == 0 {
            self.shapes.remove(&shape);
        }
        self.patterns = self.patterns.saturating_add_signed(by as isize);
    }

    /// Makes more shards, or fewer, when so many patterns are far too many or too few for those there are.
    fn fit(&mut self, patterns: usize) {
        let fitting = (patterns / IN_SHARD).next_power_of_two();
        if (fitting / 2..=fitting * 4).contains(&self.shards.len()) {
            return;
        }
        let mut shards: Vec<Vec<Slot<T>>> = (0..fitting).map(|_| Vec::new()).collect();
        for slot in self.shards.iter().flat_map(|shard| shard.iter()).filter(|slot| slot.bucket.is_some()) {
            shards[slot.hash as usize & (fitting - 1)].push(slot.clone());
        }
        self.shards = shards.into_iter().map(shard).collect();
    }
}

/// Where a hash is looked for first. The high bits decide, for the low ones are the same in all of a shard.
#[inline]
fn place(hash: u64, slots: usize) -> usize {
    ((hash >> 32) as usize * slots) >> 32
}

fn shard<T>(buckets: Vec<Slot<T>>) -> Shard<T> {
    let free = || Slot { hash: 0, bucket: None };
    let mut slots: Vec<Slot<T>> = (0..buckets.len() * 3 / 2 + 1).map(|_| free()).collect();
    for slot in buckets {
        let mut at = place(slot.hash, slots.len());
        while slots[at].bucket.is_some() {
            at = (at + 1) % slots.len();
        }
        slots[at] = slot;
    }
    slots.into()
}

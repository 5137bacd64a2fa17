//! From a request to its route: path, host, method and predicates, over a table built once per snapshot.
//!
//! An exact path wins over a prefix, a longer prefix over a shorter one. Among the routes of one path pattern an
//! exact host wins over a suffix, a longer suffix over a shorter one, any suffix over no host; then the higher
//! priority, then the larger number of conditions, then the smaller key. When none of a pattern's routes accepts
//! the request, the next shorter prefix is tried.
//!
//! [`Router::find`] and [`Router::candidates`] walk the same way, so that explain cannot differ from the proxy.

mod lpm;
#[cfg(test)]
mod model;
mod pattern;
mod predicate;
mod walk;

use std::cmp::{Ordering, Reverse};
use std::collections::HashSet;
use std::ops::Range;

use http::{HeaderMap, Method};

use self::lpm::{Kind, Lpm};
pub use self::pattern::{HostPattern, HostPatternError, Pattern, PatternError};
use self::predicate::Conditions;
pub use self::predicate::{Predicate, Test, argument};
pub use self::walk::{Candidate, Candidates, Verdict};

/// One route as it is declared.
#[derive(Debug, Clone)]
pub struct Entry<T> {
    /// Which paths.
    pub pattern: Pattern,
    /// Which hosts; none means all.
    pub hosts: Vec<HostPattern>,
    /// Which methods; none means all. `HEAD` is not implied by `GET`.
    pub methods: Vec<Method>,
    /// What all headers must satisfy.
    pub headers: Vec<Predicate>,
    /// What all query arguments must satisfy.
    pub query: Vec<Predicate>,
    /// Decides between routes with the same pattern and the same host; higher wins.
    pub priority: i32,
    /// Decides last, so that the order of declaration never matters.
    pub key: String,
    /// What a match yields.
    pub target: T,
}

/// What the router looks at.
#[derive(Debug, Clone, Copy)]
pub struct Lookup<'a> {
    /// In normal form.
    pub path: &'a str,
    /// Lower case, no port.
    pub host: &'a str,
    /// The request's method.
    pub method: &'a Method,
    /// The request's headers.
    pub headers: &'a HeaderMap,
    /// The raw query, without `?`.
    pub query: Option<&'a str>,
}

/// The immutable routing table. A lookup allocates nothing.
#[derive(Debug)]
pub struct Router<T> {
    /// A pattern's id is the index of its bucket.
    paths: Lpm<b'/'>,
    buckets: Vec<Bucket>,
    groups: Vec<Group>,
    /// Slots, in the order in which a group tries them. A route with several hosts is in several groups.
    rows: Vec<u32>,
    slots: Vec<Slot<T>>,
}

/// The routes of one path pattern.
#[derive(Debug)]
struct Bucket {
    /// Best hosts first.
    groups: Range<u32>,
    /// Only where a scan over the groups would be slow.
    index: Option<Box<HostIndex>>,
}

/// The routes of one path pattern and one host pattern.
#[derive(Debug)]
struct Group {
    host: HostPattern,
    rows: Range<u32>,
}

#[derive(Debug)]
struct Slot<T> {
    target: T,
    key: Box<str>,
    priority: i32,
    conditions: Option<Box<Conditions>>,
}

/// Above so many host patterns in one bucket, an index is faster than a scan.
const SCANNED_GROUPS: usize = 8;

/// Finds groups by host, read backwards: a suffix is then a prefix.
#[derive(Debug)]
struct HostIndex {
    hosts: Lpm<b'.'>,
    /// By id in `hosts`.
    groups: Vec<u32>,
    any: Option<u32>,
}

impl<T> Default for Router<T> {
    fn default() -> Self {
        Self::build(Vec::new())
    }
}

impl<T> Router<T> {
    /// Builds the table; less than half a microsecond a route.
    #[must_use]
    pub fn build(entries: Vec<Entry<T>>) -> Self {
        let mut paths = Lpm::with_capacity(entries.len());
        let mut slots = Vec::with_capacity(entries.len());
        let mut rows = Vec::with_capacity(entries.len());
        let mut hosts = HashSet::new();
        for (slot, entry) in (0u32..).zip(entries) {
            let bucket = paths.insert(entry.pattern.kind(), entry.pattern.text().as_bytes());
            // Routes that share a host share its text, which is then in the processor's cache for all of them.
            let mut row = |host: HostPattern| {
                let shared = hosts.get(&host).cloned().unwrap_or_else(|| {
                    hosts.insert(host.clone());
                    host
                });
                rows.push(Row { bucket, host: shared, slot });
            };
            if entry.hosts.is_empty() {
                row(HostPattern::Any);
            } else {
                entry.hosts.into_iter().for_each(row);
            }
            slots.push(Slot {
                target: entry.target,
                key: entry.key.into_boxed_str(),
                priority: entry.priority,
                conditions: Conditions::compile(entry.methods, entry.headers, entry.query).map(Box::new),
            });
        }
        paths.finish();
        rows.sort_by(|a, b| a.order(b, &slots));
        rows.dedup_by(|a, b| a.slot == b.slot && a.bucket == b.bucket && a.host == b.host);

        let (mut buckets, mut groups) = (Vec::with_capacity(paths.len()), Vec::with_capacity(rows.len()));
        let mut row = 0;
        for bucket in rows.chunk_by(|a, b| a.bucket == b.bucket) {
            let first = position(groups.len());
            for group in bucket.chunk_by(|a, b| a.host == b.host) {
                let rows = row..row + position(group.len());
                row = rows.end;
                groups.push(Group { host: group[0].host.clone(), rows });
            }
            let groups_of_bucket = first..position(groups.len());
            let index = HostIndex::build(&groups, groups_of_bucket.clone()).map(Box::new);
            buckets.push(Bucket { groups: groups_of_bucket, index });
        }
        let rows = rows.into_iter().map(|row| row.slot).collect();
        Self { paths, buckets, groups, rows, slots }
    }

    /// The route for a request.
    #[must_use]
    pub fn find(&self, lookup: &Lookup<'_>) -> Option<&T> {
        walk::find(self, lookup)
    }

    /// Every route considered for a request, in the order of preference, with the reason why it lost. At a pattern
    /// with very many hosts only the routes whose host fits are listed.
    #[must_use]
    pub fn candidates<'r, 'l>(&'r self, lookup: &Lookup<'l>) -> Candidates<'r, 'l, T> {
        Candidates::new(self, lookup)
    }

    /// The number of routes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there are no routes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}

/// A route at one of its hosts, while building.
struct Row {
    bucket: u32,
    host: HostPattern,
    slot: u32,
}

impl Row {
    fn order<T>(&self, other: &Self, slots: &[Slot<T>]) -> Ordering {
        let rank = |row: &Self| {
            let slot = &slots[row.slot as usize];
            (Reverse(slot.priority), Reverse(slot.conditions.as_ref().map_or(0, |c| c.len())))
        };
        self.bucket
            .cmp(&other.bucket)
            .then_with(|| self.host.order(&other.host))
            .then_with(|| rank(self).cmp(&rank(other)))
            .then_with(|| slots[self.slot as usize].key.cmp(&slots[other.slot as usize].key))
            .then(self.slot.cmp(&other.slot))
    }
}

impl HostIndex {
    fn build(groups: &[Group], range: Range<u32>) -> Option<Self> {
        if range.len() <= SCANNED_GROUPS {
            return None;
        }
        let mut index = Self { hosts: Lpm::with_capacity(range.len()), groups: Vec::new(), any: None };
        for group in range {
            let (kind, text) = match &groups[group as usize].host {
                HostPattern::Any => {
                    index.any = Some(group);
                    continue;
                }
                HostPattern::Exact(host) => (Kind::Exact, host),
                HostPattern::Suffix(suffix) => (Kind::Prefix, suffix),
            };
            let backwards: Vec<u8> = text.bytes().rev().collect();
            index.hosts.insert(kind, &backwards);
            index.groups.push(group);
        }
        index.hosts.finish();
        Some(index)
    }
}

/// Positions fit 32 bits: a table of four thousand million routes does not fit memory.
fn position(index: usize) -> u32 {
    u32::try_from(index).expect("fewer than 2^32 routes")
}

#[cfg(test)]
mod tests;

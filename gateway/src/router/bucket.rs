//! The routes of one path pattern, in the order in which they are tried.

use std::cmp::{Ordering, Reverse};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::hash::Kind;
use super::lpm::Lpm;
use super::pattern::{HostPattern, Pattern};
use super::position;
use super::predicate::Conditions;

/// The routes of one path pattern. Immutable: a change of one of them makes another.
#[derive(Debug)]
pub(super) struct Bucket<T> {
    pattern: Pattern,
    /// Best hosts first, then the better routes.
    rows: Rows<T>,
    /// Only where a scan over the rows would be slow.
    index: Option<Box<HostIndex>>,
}

/// The rows of a bucket, which mostly is one: that needs no place of its own.
#[derive(Debug)]
enum Rows<T> {
    One(Row<T>),
    Many(Box<[Row<T>]>),
}

/// A route at one of its hosts.
#[derive(Debug, Clone)]
pub(super) struct Row<T> {
    pub(super) host: HostPattern,
    pub(super) target: T,
    pub(super) key: Arc<str>,
    pub(super) priority: i32,
    pub(super) conditions: Option<Arc<Conditions>>,
}

/// Above so many routes in one bucket, an index is faster than a scan.
const SCANNED_ROWS: usize = 16;

impl<T> Bucket<T> {
    pub(super) fn new(pattern: Pattern, mut rows: Vec<Row<T>>) -> Self {
        rows.sort_by(Row::order);
        let index = HostIndex::build(&rows).map(Box::new);
        let rows = match rows.pop() {
            Some(one) if rows.is_empty() => Rows::One(one),
            last => Rows::Many(rows.into_iter().chain(last).collect()),
        };
        Self { pattern, rows, index }
    }

    pub(super) fn pattern(&self) -> &Pattern {
        &self.pattern
    }

    #[inline]
    pub(super) fn rows(&self) -> &[Row<T>] {
        match &self.rows {
            Rows::One(row) => std::slice::from_ref(row),
            Rows::Many(rows) => rows,
        }
    }

    pub(super) fn index(&self) -> Option<&HostIndex> {
        self.index.as_deref()
    }

    /// Whether it is for exactly this text, or for what starts with it.
    #[inline]
    pub(super) fn is_for(&self, kind: Kind, text: &[u8]) -> bool {
        self.pattern.kind() == kind && self.pattern.text().as_bytes() == text
    }

    /// The same routes with other targets. A route at several hosts gets one.
    pub(super) fn map(&self, to: &mut impl FnMut(&T) -> T) -> Self
    where
        T: Clone,
    {
        let mut made: HashMap<&str, T> = HashMap::new();
        let row = |row: &Row<T>, made: T| Row { target: made, ..row.clone() };
        let rows = match self.rows() {
            [one] => vec![row(one, to(&one.target))],
            many => many
                .iter()
                .map(|one| row(one, made.entry(&one.key).or_insert_with(|| to(&one.target)).clone()))
                .collect(),
        };
        Self::new(self.pattern.clone(), rows)
    }
}

impl<T> Row<T> {
    fn order(&self, other: &Self) -> Ordering {
        let rank = |row: &Self| (Reverse(row.priority), Reverse(row.conditions.as_ref().map_or(0, |c| c.len())));
        self.host.order(&other.host).then_with(|| rank(self).cmp(&rank(other))).then_with(|| self.key.cmp(&other.key))
    }
}

/// Finds rows by host, read backwards: a suffix is then a prefix.
#[derive(Debug)]
pub(super) struct HostIndex {
    hosts: Lpm<b'.'>,
    /// By id in `hosts`.
    rows: Vec<Range<u32>>,
    any: Option<Range<u32>>,
}

impl HostIndex {
    fn build<T>(rows: &[Row<T>]) -> Option<Self> {
        if rows.len() <= SCANNED_ROWS {
            return None;
        }
        let mut index = Self { hosts: Lpm::with_capacity(rows.len()), rows: Vec::new(), any: None };
        let mut start = 0;
        for group in rows.chunk_by(|a, b| a.host == b.host) {
            let range = start..start + position(group.len());
            start = range.end;
            let (kind, text) = match &group[0].host {
                HostPattern::Any => {
                    index.any = Some(range);
                    continue;
                }
                HostPattern::Exact(host) => (Kind::Exact, host),
                HostPattern::Suffix(suffix) => (Kind::Prefix, suffix),
            };
            let backwards: Vec<u8> = text.bytes().rev().collect();
            index.hosts.insert(kind, &backwards);
            index.rows.push(range);
        }
        index.hosts.finish();
        Some(index)
    }

    pub(super) fn find(&self, host: &str) -> Hosts<'_> {
        let backwards = || host.bytes().rev();
        let found = self.hosts.find(backwards(), |text| backwards().take(text.len()).eq(text.iter().copied()));
        Hosts { index: self, exact: found.exact, suffix: found.prefix, any: self.any.clone() }
    }
}

/// The rows whose host fits, the better host first.
#[derive(Debug)]
pub(super) struct Hosts<'a> {
    index: &'a HostIndex,
    exact: Option<u32>,
    suffix: Option<u32>,
    any: Option<Range<u32>>,
}

impl Iterator for Hosts<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        let range = if let Some(id) = self.exact.take() {
            self.index.rows[id as usize].clone()
        } else if let Some(id) = self.suffix {
            self.suffix = self.index.hosts.parent(id);
            self.index.rows[id as usize].clone()
        } else {
            self.any.take()?
        };
        Some(range.start as usize..range.end as usize)
    }
}

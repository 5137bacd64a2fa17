//! The one way through the table, in order of preference: for [`find`] until something accepts the request, for
//! [`Candidates`] to the end.

use std::ops::Range;

use super::lpm::Kind;
use super::predicate::{Conditions, Unmet};
use super::{Group, HostIndex, Lookup, Router, Slot};

/// A route that was considered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate<'a, T> {
    /// The entry's key.
    pub key: &'a str,
    /// The entry's path pattern.
    pub pattern: String,
    /// The host pattern, of all the entry has, that is being considered.
    pub host: String,
    /// The entry's target.
    pub target: &'a T,
    /// Whether it won, or why not.
    pub verdict: Verdict<'a>,
}

/// What became of a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// This is the route.
    Match,
    /// It would match, but a better one did.
    Outranked,
    /// It is for other hosts.
    Host,
    /// It is for other methods.
    Method,
    /// The predicate on this header does not hold.
    Header(&'a str),
    /// The predicate on this query argument does not hold.
    Query(&'a str),
}

pub(super) fn find<'a, T>(router: &'a Router<T>, lookup: &Lookup<'_>) -> Option<&'a T> {
    let mut walk = Walk::new(router, lookup);
    while let Some(step) = walk.next::<false>() {
        if step.judge(lookup).is_ok() {
            return Some(&step.slot.target);
        }
    }
    None
}

/// See [`Router::candidates`].
#[derive(Debug)]
pub struct Candidates<'r, 'l, T> {
    walk: Walk<'r, 'l, T>,
    found: bool,
}

impl<'r, 'l, T> Candidates<'r, 'l, T> {
    pub(super) fn new(router: &'r Router<T>, lookup: &Lookup<'l>) -> Self {
        Self { walk: Walk::new(router, lookup), found: false }
    }
}

impl<'r, T> Iterator for Candidates<'r, '_, T> {
    type Item = Candidate<'r, T>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.walk.next::<true>()?;
        let verdict = match step.judge(&self.walk.lookup) {
            Ok(()) if self.found => Verdict::Outranked,
            Ok(()) => Verdict::Match,
            Err(verdict) => verdict,
        };
        self.found |= verdict == Verdict::Match;
        let paths = &self.walk.router.paths;
        let star = if paths.kind(step.bucket) == Kind::Prefix { "*" } else { "" };
        Some(Candidate {
            key: &step.slot.key,
            pattern: String::from_utf8_lossy(paths.text(step.bucket)).into_owned() + star,
            host: step.group.host.to_string(),
            target: &step.slot.target,
            verdict,
        })
    }
}

/// A route at one path pattern and one host pattern.
struct Step<'a, T> {
    bucket: u32,
    group: &'a Group,
    slot: &'a Slot<T>,
    host_fits: bool,
}

impl<'a, T> Step<'a, T> {
    fn judge(&self, lookup: &Lookup<'_>) -> Result<(), Verdict<'a>> {
        if !self.host_fits {
            return Err(Verdict::Host);
        }
        let conditions: Option<&'a Conditions> = self.slot.conditions.as_deref();
        conditions.map_or(Ok(()), |conditions| conditions.check(lookup)).map_err(|unmet| match unmet {
            Unmet::Method => Verdict::Method,
            Unmet::Header(name) => Verdict::Header(name),
            Unmet::Query(name) => Verdict::Query(name),
        })
    }
}

#[derive(Debug)]
struct Walk<'r, 'l, T> {
    router: &'r Router<T>,
    lookup: Lookup<'l>,
    /// The path patterns still to come: the exact one, then this prefix and its parents.
    exact: Option<u32>,
    prefix: Option<u32>,
    bucket: u32,
    groups: Groups<'r>,
    group: u32,
    host_fits: bool,
    rows: Range<u32>,
}

/// The host patterns still to come in a bucket.
#[derive(Debug)]
enum Groups<'a> {
    Scan(Range<u32>),
    Indexed { index: &'a HostIndex, exact: Option<u32>, suffix: Option<u32>, any: Option<u32> },
}

impl<'r, 'l, T> Walk<'r, 'l, T> {
    fn new(router: &'r Router<T>, lookup: &Lookup<'l>) -> Self {
        let path = lookup.path.as_bytes();
        let found = router.paths.find(path.iter().copied(), |text| path.starts_with(text));
        Self {
            router,
            lookup: *lookup,
            exact: found.exact,
            prefix: found.prefix,
            bucket: 0,
            groups: Groups::Scan(0..0),
            group: 0,
            host_fits: false,
            rows: 0..0,
        }
    }

    /// The next route. Unless `ALL`, those at other hosts are left out.
    #[inline]
    fn next<const ALL: bool>(&mut self) -> Option<Step<'r, T>> {
        let router = self.router;
        loop {
            if let Some(row) = self.rows.next() {
                return Some(Step {
                    bucket: self.bucket,
                    group: &router.groups[self.group as usize],
                    slot: &router.slots[router.rows[row as usize] as usize],
                    host_fits: self.host_fits,
                });
            }
            if let Some(group) = self.groups.next() {
                let rows = &router.groups[group as usize];
                self.host_fits = rows.host.matches(self.lookup.host);
                if self.host_fits || ALL {
                    self.group = group;
                    self.rows = rows.rows.clone();
                }
                continue;
            }
            self.bucket = self.next_bucket()?;
            let bucket = &router.buckets[self.bucket as usize];
            self.groups = match bucket.index.as_deref() {
                Some(index) => Groups::find(index, self.lookup.host),
                None => Groups::Scan(bucket.groups.clone()),
            };
        }
    }

    fn next_bucket(&mut self) -> Option<u32> {
        if let Some(exact) = self.exact.take() {
            return Some(exact);
        }
        let prefix = self.prefix?;
        self.prefix = self.router.paths.parent(prefix);
        Some(prefix)
    }
}

impl<'a> Groups<'a> {
    fn find(index: &'a HostIndex, host: &str) -> Self {
        let backwards = || host.bytes().rev();
        let found = index.hosts.find(backwards(), |text| backwards().take(text.len()).eq(text.iter().copied()));
        Self::Indexed { index, exact: found.exact, suffix: found.prefix, any: index.any }
    }

    fn next(&mut self) -> Option<u32> {
        match self {
            Self::Scan(groups) => groups.next(),
            Self::Indexed { index, exact, suffix, any } => {
                if let Some(id) = exact.take() {
                    return Some(index.groups[id as usize]);
                }
                let Some(id) = *suffix else { return any.take() };
                *suffix = index.hosts.parent(id);
                Some(index.groups[id as usize])
            }
        }
    }
}

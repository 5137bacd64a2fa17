//! The one way through the table, in order of preference: for [`find`] until something accepts the request, for
//! [`Candidates`] to the end.

use std::slice;

use super::bucket::{Bucket, Hosts, Row};
use super::predicate::{Conditions, Unmet};
use super::{Lookup, Router};

/// A route that was considered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate<'a, T> {
    /// The entry's key.
    pub key: &'a str,
    /// The entry's path pattern.
    pub pattern: String,
    /// The host pattern, of all the entry has, that is being considered.
    pub host: String,
    /// The entry's priority.
    pub priority: i32,
    /// How many conditions it has; the methods together count once.
    pub conditions: usize,
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
            return Some(&step.row.target);
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
        Some(Candidate {
            key: &step.row.key,
            pattern: step.bucket.pattern().to_string(),
            host: step.row.host.to_string(),
            priority: step.row.priority,
            conditions: step.row.conditions.as_ref().map_or(0, |conditions| conditions.len()),
            target: &step.row.target,
            verdict,
        })
    }
}

/// A route at one path pattern and one host pattern.
struct Step<'a, T> {
    bucket: &'a Bucket<T>,
    row: &'a Row<T>,
    host_fits: bool,
}

impl<'a, T> Step<'a, T> {
    fn judge(&self, lookup: &Lookup<'_>) -> Result<(), Verdict<'a>> {
        if !self.host_fits {
            return Err(Verdict::Host);
        }
        let conditions: Option<&'a Conditions> = self.row.conditions.as_deref();
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
    /// The bucket whose rows are being tried.
    bucket: Option<&'r Bucket<T>>,
    /// The one to be tried next.
    prefix: Option<&'r Bucket<T>>,
    rows: slice::Iter<'r, Row<T>>,
    /// The rows still to come in the bucket, where it has an index.
    hosts: Option<Hosts<'r>>,
}

impl<'r, 'l, T> Walk<'r, 'l, T> {
    fn new(router: &'r Router<T>, lookup: &Lookup<'l>) -> Self {
        let (exact, prefix) = router.paths.find(lookup.path.as_bytes());
        let mut walk = Self { router, lookup: *lookup, bucket: None, prefix, rows: [].iter(), hosts: None };
        match exact {
            Some(exact) => walk.enter(exact),
            None => walk.leave(),
        }
        walk
    }

    /// The next route. Unless `ALL`, those at other hosts are left out.
    #[inline]
    fn next<const ALL: bool>(&mut self) -> Option<Step<'r, T>> {
        loop {
            let bucket = self.bucket?;
            for row in self.rows.by_ref() {
                // An index has found those that fit.
                let host_fits = self.hosts.is_some() || row.host.matches(self.lookup.host);
                if host_fits || ALL {
                    return Some(Step { bucket, row, host_fits });
                }
            }
            match self.hosts.as_mut().and_then(Iterator::next) {
                Some(rows) => self.rows = bucket.rows()[rows].iter(),
                None => self.leave(),
            }
        }
    }

    #[inline]
    fn enter(&mut self, bucket: &'r Bucket<T>) {
        self.bucket = Some(bucket);
        self.hosts = bucket.index().map(|index| index.find(self.lookup.host));
        self.rows = if self.hosts.is_none() { bucket.rows().iter() } else { [].iter() };
    }

    /// Goes on to the next shorter prefix.
    #[inline]
    fn leave(&mut self) {
        let shorter = match self.bucket.map(Bucket::pattern).filter(|pattern| pattern.is_prefix()) {
            Some(tried) => {
                let shorter = tried.text().len().saturating_sub(1);
                self.router.paths.find_prefix(&self.lookup.path.as_bytes()[..shorter])
            }
            None => self.prefix,
        };
        match shorter {
            Some(bucket) => self.enter(bucket),
            None => self.bucket = None,
        }
    }
}

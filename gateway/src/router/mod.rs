//! From a request to its route: path, host, method and predicates, over a table that changes make anew only where they fall.
//!
//! An exact path wins over a prefix, a longer prefix over a shorter one. Among the routes of one path pattern an
//! exact host wins over a suffix, a longer suffix over a shorter one, any suffix over no host; then the higher
//! priority, then the larger number of conditions, then the smaller key. When none of a pattern's routes accepts
//! the request, the next shorter prefix is tried.
//!
//! [`Router::find`] and [`Router::candidates`] walk the same way, so that explain cannot differ from the proxy.

mod bucket;
mod hash;
mod lpm;
#[cfg(test)]
mod model;
mod paths;
mod pattern;
mod predicate;
mod walk;

use std::collections::HashSet;
use std::sync::Arc;

use http::{HeaderMap, Method};

use self::bucket::Row;
use self::paths::{Paths, What};
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
    pub key: Arc<str>,
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
    paths: Paths<T>,
    routes: usize,
}

/// Where a route stands in a router and in those made of it by [`Router::edited`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place(u64);

/// A difference between two routers.
#[derive(Debug)]
pub enum Edit<T> {
    /// The route with this key, which stood here, goes.
    Remove(Place, Arc<str>),
    /// A route comes.
    Insert(Entry<T>),
}

impl<T> Default for Router<T> {
    fn default() -> Self {
        Self { paths: Paths::default(), routes: 0 }
    }
}

impl<T> Router<T> {
    /// Where a route with this pattern stands.
    #[must_use]
    pub fn place(&self, pattern: &Pattern) -> Place {
        Place(self.paths.hash(pattern))
    }

    /// The route for a request.
    #[must_use]
    pub fn find(&self, lookup: &Lookup<'_>) -> Option<&T> {
        walk::find(self, lookup)
    }

    /// Every route considered for a request, in the order of preference, with the reason why it lost. At a pattern
    /// with many routes only those whose host fits are listed.
    #[must_use]
    pub fn candidates<'r, 'l>(&'r self, lookup: &Lookup<'l>) -> Candidates<'r, 'l, T> {
        Candidates::new(self, lookup)
    }

    /// The number of routes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.routes
    }

    /// Whether there are no routes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.routes == 0
    }
}

impl<T: Clone> Router<T> {
    /// A router of these routes.
    #[must_use]
    pub fn build(entries: Vec<Entry<T>>) -> Self {
        Self::default().edited(entries.into_iter().map(Edit::Insert).collect())
    }

    /// The router after some changes, removals first. Costs as much as there are changes and routes of the same path
    /// patterns: all other routes are shared. Keys are unique, and what is removed is there.
    #[must_use]
    pub fn edited(&self, edits: Vec<Edit<T>>) -> Self {
        let mut routes = self.routes;
        let mut hosts = HashSet::new();
        let edit = |edit| match edit {
            Edit::Remove(Place(hash), key) => {
                routes = routes.saturating_sub(1);
                paths::Edit { hash, what: What::Remove(key) }
            }
            Edit::Insert(entry) => {
                routes += 1;
                let hash = self.paths.hash(&entry.pattern);
                let (pattern, rows) = entry.rows(&mut hosts);
                paths::Edit { hash, what: What::Add(pattern, rows) }
            }
        };
        let edits = edits.into_iter().map(edit).collect();
        Self { paths: self.paths.edited(edits), routes }
    }

    /// The same routes with other targets.
    #[must_use]
    pub fn map(&self, to: impl FnMut(&T) -> T) -> Self {
        Self { paths: self.paths.map(to), routes: self.routes }
    }
}

impl<T: Clone> Entry<T> {
    /// The route at each of its hosts. Routes that share a host share its text, which is then in the processor's cache
    /// for all of them.
    fn rows(mut self, shared: &mut HashSet<HostPattern>) -> (Pattern, Vec<Row<T>>) {
        let conditions = Conditions::compile(self.methods, self.headers, self.query).map(Arc::new);
        if self.hosts.is_empty() {
            self.hosts.push(HostPattern::Any);
        }
        self.hosts.sort_by(HostPattern::order);
        self.hosts.dedup();
        let row = |host: HostPattern| {
            let host = shared.get(&host).cloned().unwrap_or_else(|| {
                shared.insert(host.clone());
                host
            });
            let (target, key, conditions) = (self.target.clone(), Arc::clone(&self.key), conditions.clone());
            Row { host, target, key, priority: self.priority, conditions }
        };
        (self.pattern, self.hosts.into_iter().map(row).collect())
    }
}

/// Positions fit 32 bits: a table of four thousand million routes does not fit memory.
fn position(index: usize) -> u32 {
    u32::try_from(index).expect("fewer than 2^32 routes")
}

#[cfg(test)]
mod tests;

//! Host names of nodes and their present addresses.
//!
//! The compiler asks here and never waits: a name that was not asked for before has no addresses
//! yet. [`resolve`](super::resolve) finds them in the background, and says when something changed.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// Most addresses of a name that are used.
pub(super) const MAX_ADDRESSES: usize = 64;

/// The names in use.
#[derive(Debug, Default)]
pub struct Names {
    table: Mutex<Table>,
    /// For the resolver: there is a new name.
    pub(super) asked: Notify,
    /// For control: what is known of some name has changed.
    changed: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Table {
    known: HashMap<Arc<str>, Known>,
    changed: HashSet<Arc<str>>,
    /// Changes are being compiled.
    compiling: bool,
}

/// What is known of a name.
#[derive(Debug, Clone)]
struct Known {
    found: Found,
    due: Instant,
    /// Failures in a row.
    failures: u32,
    /// It is being resolved.
    busy: bool,
}

/// The addresses of a name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// In a fixed order.
    pub addresses: Arc<[IpAddr]>,
    /// Why they could not be found, or not again.
    pub problem: Option<String>,
    /// Whether there was an answer at all, good or not.
    pub answered: bool,
}

impl Names {
    /// The addresses of a name as last found. From now on the name is kept resolved.
    pub fn find(&self, name: &str) -> Found {
        let mut table = self.table();
        if let Some(known) = table.known.get(name) {
            return known.found.clone();
        }
        let known = Known { found: Found::default(), due: Instant::now(), failures: 0, busy: false };
        table.known.insert(name.into(), known);
        self.asked.notify_one();
        Found::default()
    }

    /// The addresses of a name as last found; nothing is done to find them.
    pub fn look(&self, name: &str) -> Found {
        self.table().known.get(name).map(|known| known.found.clone()).unwrap_or_default()
    }

    /// Forgets all names but these.
    pub fn keep(&self, used: &HashSet<&str>) {
        self.table().known.retain(|name, _| used.contains(&**name));
    }

    /// The names whose addresses or problems have changed since this was called last.
    /// [`Names::compiled`] is to follow.
    pub fn take_changed(&self) -> HashSet<Arc<str>> {
        let mut table = self.table();
        table.compiling = true;
        std::mem::take(&mut table.changed)
    }

    /// The changes that were taken are live.
    pub fn compiled(&self) {
        self.table().compiling = false;
    }

    /// Notified when there are changes to take.
    pub fn changes(&self) -> Arc<Notify> {
        Arc::clone(&self.changed)
    }

    /// Waits until every name was answered and the answers are live; no longer than this.
    pub async fn settled(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        while !self.is_settled() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn is_settled(&self) -> bool {
        let table = self.table();
        !table.compiling && table.changed.is_empty() && table.known.values().all(|known| known.found.answered)
    }

    /// Takes the names that are due, and the time when the next one will be.
    pub(super) fn due(&self, now: Instant) -> (Vec<Arc<str>>, Option<Instant>) {
        let mut table = self.table();
        let mut due = Vec::new();
        let mut next: Option<Instant> = None;
        for (name, known) in table.known.iter_mut().filter(|(_, known)| !known.busy) {
            if known.due <= now {
                known.busy = true;
                due.push(Arc::clone(name));
            } else {
                next = Some(next.map_or(known.due, |next| next.min(known.due)));
            }
        }
        (due, next)
    }

    /// Notes what became of a name: its addresses, good until then; or why there are none.
    pub(super) fn note(&self, name: &Arc<str>, answer: Result<(BTreeSet<IpAddr>, Instant), (String, Retry)>) {
        let mut table = self.table();
        // It may have been forgotten meanwhile.
        let Some(known) = table.known.get_mut(name) else { return };
        known.busy = false;
        let before = known.found.clone();
        known.found.answered = true;
        match answer {
            Ok((addresses, due)) => {
                known.found.problem =
                    (addresses.len() > MAX_ADDRESSES).then(|| format!("only {MAX_ADDRESSES} addresses are used"));
                known.found.addresses = addresses.into_iter().take(MAX_ADDRESSES).collect();
                known.due = due;
                known.failures = 0;
            }
            // The last good addresses stay: a name server in trouble must not take nodes away.
            Err((problem, retry)) => {
                known.found.problem = Some(problem);
                known.due = Instant::now() + retry.after(known.failures);
                known.failures = known.failures.saturating_add(1);
            }
        }
        if known.found == before {
            return;
        }
        if known.found.addresses != before.addresses {
            let list: Vec<String> = known.found.addresses.iter().map(IpAddr::to_string).collect();
            log::info!("{name} is at {}", list.join(", "));
        }
        table.changed.insert(Arc::clone(name));
        drop(table);
        self.changed.notify_one();
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When a name that could not be resolved is asked for again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Retry {
    pub(super) first: Duration,
    pub(super) last: Duration,
}

impl Retry {
    fn after(self, failures: u32) -> Duration {
        self.first.saturating_mul(1 << failures.min(16)).min(self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETRY: Retry = Retry { first: Duration::from_secs(1), last: Duration::from_secs(30) };

    fn addresses(list: &[&str]) -> BTreeSet<IpAddr> {
        list.iter().map(|ip| ip.parse().unwrap()).collect()
    }

    fn later() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    fn ask(names: &Names) -> Arc<str> {
        names.find("a.test");
        names.due(Instant::now()).0.pop().unwrap()
    }

    #[test]
    fn the_last_good_addresses_outlive_a_failure() {
        let names = Names::default();
        let name = ask(&names);
        names.note(&name, Ok((addresses(&["10.0.0.1"]), later())));
        assert_eq!(names.take_changed().len(), 1);
        names.note(&name, Err(("no such name".into(), RETRY)));
        assert_eq!(names.take_changed().len(), 1, "the problem is told");
        let found = names.find("a.test");
        assert_eq!((found.addresses.len(), found.problem.as_deref()), (1, Some("no such name")));
        names.note(&name, Err(("no such name".into(), RETRY)));
        assert!(names.take_changed().is_empty(), "it is told once");
    }

    #[test]
    fn the_same_addresses_in_another_order_are_no_change() {
        let names = Names::default();
        let name = ask(&names);
        names.note(&name, Ok((addresses(&["10.0.0.1", "10.0.0.2"]), later())));
        names.take_changed();
        names.note(&name, Ok((addresses(&["10.0.0.2", "10.0.0.1"]), later())));
        assert!(names.take_changed().is_empty());
    }

    #[test]
    fn a_name_is_asked_for_once_at_a_time_and_no_more_when_it_is_not_used() {
        let names = Names::default();
        let name = ask(&names);
        assert!(names.due(Instant::now()).0.is_empty(), "it is being resolved");
        names.keep(&HashSet::new());
        names.note(&name, Ok((addresses(&["10.0.0.1"]), later())));
        assert!(names.take_changed().is_empty());
        assert_eq!(names.due(later()), (vec![], None));
    }

    #[test]
    fn failures_are_retried_ever_more_slowly() {
        let waits: Vec<u64> = (0..7).map(|failures| RETRY.after(failures).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(RETRY.after(u32::MAX), RETRY.last);
    }
}

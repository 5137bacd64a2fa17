//! What a gateway offers plugins, in memory and under the test's control.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::{BoxFuture, Counter, EnvError, Environment, KeyChange, KeyValue, Task};

/// The environment of one plugin in a test. Its clones are the same environment.
///
/// The clock stands still until [`TestEnvironment::advance`]; tasks run on tokio. A harness with
/// several plugins gives them one clock and the same secrets, but each its own keys and counters.
#[derive(Clone)]
pub struct TestEnvironment {
    now: Arc<Mutex<SystemTime>>,
    secrets: Arc<Mutex<HashMap<String, String>>>,
    counters: Arc<Mutex<HashMap<&'static str, Counter>>>,
    keys: Arc<MemoryKeys>,
}

/// What counters stand at.
pub(super) type Counts = BTreeMap<&'static str, u64>;

impl TestEnvironment {
    /// An environment at 2026-01-01T00:00:00Z, with no secrets and no keys.
    #[expect(clippy::new_without_default, reason = "a default would hide the date")]
    pub fn new() -> Self {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600);
        Self {
            now: Arc::new(Mutex::new(start)),
            secrets: Arc::default(),
            counters: Arc::default(),
            keys: Arc::default(),
        }
    }

    pub(super) fn for_another_plugin(&self) -> Self {
        Self { counters: Arc::default(), keys: Arc::default(), ..self.clone() }
    }

    /// Lets time pass on the plugin's clock. Timers of tokio follow `tokio::time::advance`.
    pub fn advance(&self, by: Duration) {
        *lock(&self.now) += by;
    }

    /// Sets a secret.
    pub fn set_secret(&self, name: impl Into<String>, value: impl Into<String>) {
        lock(&self.secrets).insert(name.into(), value.into());
    }

    /// What a counter stands at; 0 for one that no plugin asked for.
    pub fn count(&self, event: &str) -> u64 {
        lock(&self.counters).get(event).map_or(0, Counter::get)
    }

    /// All counters that are not 0.
    pub(super) fn counts(&self) -> Counts {
        let counters = lock(&self.counters);
        let counts = counters.iter().map(|(event, counter)| (*event, counter.get()));
        counts.filter(|(_, count)| *count > 0).collect()
    }

    /// Takes the store away, or gives it back. Away, every call on the keys fails.
    pub fn set_store_available(&self, available: bool) {
        self.keys.away.store(!available, Ordering::Relaxed);
    }
}

impl Environment for TestEnvironment {
    fn now(&self) -> SystemTime {
        *lock(&self.now)
    }

    fn counter(&self, event: &'static str) -> Counter {
        lock(&self.counters).entry(event).or_default().clone()
    }

    fn secret(&self, name: &str) -> Option<String> {
        lock(&self.secrets).get(name).cloned()
    }

    fn keys(&self) -> Arc<dyn KeyValue> {
        self.keys.clone()
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) -> Task {
        let task = tokio::spawn(task);
        Task::stopped_by(move || task.abort())
    }
}

impl std::fmt::Debug for TestEnvironment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TestEnvironment").field("now", &self.now()).finish_non_exhaustive()
    }
}

/// A watcher has seen a change when the call that made it returns.
#[derive(Default)]
struct MemoryKeys {
    away: AtomicBool,
    content: Mutex<BTreeMap<String, Bytes>>,
    /// Held over each change, so that all watchers see the changes in the order of the content.
    watchers: Arc<Mutex<Vec<Watcher>>>,
}

struct Watcher {
    id: Arc<()>,
    on_change: Box<dyn FnMut(KeyChange) + Send>,
}

impl MemoryKeys {
    fn check(&self) -> Result<(), EnvError> {
        if self.away.load(Ordering::Relaxed) {
            return Err(EnvError::Unavailable("the test took it away".to_owned()));
        }
        Ok(())
    }

    fn change(&self, key: &str, value: Option<&Bytes>) -> Result<(), EnvError> {
        self.check()?;
        if key.is_empty() {
            return Err(EnvError::Invalid("the key is empty".to_owned()));
        }
        let mut watchers = lock(&self.watchers);
        let before = match value {
            Some(value) => lock(&self.content).insert(key.to_owned(), value.clone()),
            None => lock(&self.content).remove(key),
        };
        if value.is_some() || before.is_some() {
            for watcher in watchers.iter_mut() {
                (watcher.on_change)(KeyChange { key: key.to_owned(), value: value.cloned() });
            }
        }
        Ok(())
    }
}

impl KeyValue for MemoryKeys {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Bytes>, EnvError>> {
        Box::pin(async move {
            self.check()?;
            Ok(lock(&self.content).get(key).cloned())
        })
    }

    fn put<'a>(&'a self, key: &'a str, value: Bytes) -> BoxFuture<'a, Result<(), EnvError>> {
        Box::pin(async move { self.change(key, Some(&value)) })
    }

    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<(), EnvError>> {
        Box::pin(async move { self.change(key, None) })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<(String, Bytes)>, EnvError>> {
        Box::pin(async move {
            self.check()?;
            let content = lock(&self.content);
            let found = content.range(prefix.to_owned()..).take_while(|(key, _)| key.starts_with(prefix));
            Ok(found.map(|(key, value)| (key.clone(), value.clone())).collect())
        })
    }

    fn watch(&self, mut on_change: Box<dyn FnMut(KeyChange) + Send>) -> Task {
        let mut watchers = lock(&self.watchers);
        for (key, value) in lock(&self.content).clone() {
            on_change(KeyChange { key, value: Some(value) });
        }
        let id = Arc::new(());
        watchers.push(Watcher { id: id.clone(), on_change });
        let watchers = self.watchers.clone();
        Task::stopped_by(move || lock(&watchers).retain(|watcher| !Arc::ptr_eq(&watcher.id, &id)))
    }
}

/// A test that panicked elsewhere shall be seen for its own reason.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

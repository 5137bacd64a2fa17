//! What a gateway offers a plugin that has gone live: time, tasks, counters, secrets, keys.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use bytes::Bytes;

use crate::BoxFuture;

/// Why the environment could not serve a call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvError {
    /// The store cannot be reached now.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// The key or value is not allowed.
    #[error("{0}")]
    Invalid(String),
}

/// A counter that is part of the gateway's `/metrics`.
#[derive(Debug, Clone, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Adds to the counter.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The present value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A running background task; dropping it stops the task.
#[must_use = "the task stops when this is dropped"]
pub struct Task(Option<Box<dyn FnOnce() + Send + Sync>>);

impl Task {
    /// A task that is stopped by this function.
    pub fn stopped_by(stop: impl FnOnce() + Send + Sync + 'static) -> Self {
        Self(Some(Box::new(stop)))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if let Some(stop) = self.0.take() {
            stop();
        }
    }
}

impl std::fmt::Debug for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Task")
    }
}

/// A change of one of the plugin's keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyChange {
    /// The key, as the plugin named it.
    pub key: String,
    /// The new value; `None` when the key was deleted.
    pub value: Option<Bytes>,
}

/// The plugin's own corner of the store. Keys are relative to it; no plugin sees another's.
pub trait KeyValue: Send + Sync {
    /// Reads a key.
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Bytes>, EnvError>>;
    /// Writes a key.
    fn put<'a>(&'a self, key: &'a str, value: Bytes) -> BoxFuture<'a, Result<(), EnvError>>;
    /// Deletes a key.
    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<(), EnvError>>;
    /// All keys that begin so, in order.
    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<(String, Bytes)>, EnvError>>;
    /// Waits for the changes of the plugin's keys: first one for each that exists, then each as
    /// it happens. The task ends when dropped.
    fn watch(&self, on_change: Box<dyn FnMut(KeyChange) + Send>) -> Task;
}

/// What a gateway implements to host plugins, one value for each plugin name.
pub trait Environment: Send + Sync {
    /// The time now.
    fn now(&self) -> SystemTime;
    /// The counter of this name, shared by all instances of the plugin; part of `/metrics` as
    /// `gateway_plugin_events_total{plugin, event}`.
    fn counter(&self, event: &'static str) -> Counter;
    /// A secret of the gateway's configuration, by name.
    fn secret(&self, name: &str) -> Option<String>;
    /// The plugin's keys in the store.
    fn keys(&self) -> Arc<dyn KeyValue>;
    /// Runs a task in the background.
    fn spawn(&self, task: BoxFuture<'static, ()>) -> Task;
}

/// The environment, as handed to [`crate::Plugin::start`].
#[derive(Clone)]
pub struct Env(Arc<dyn Environment>);

impl Env {
    /// An environment for plugins.
    pub fn new(environment: Arc<dyn Environment>) -> Self {
        Self(environment)
    }

    /// Runs a task in the background until the returned value is dropped.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> Task {
        self.0.spawn(Box::pin(task))
    }
}

impl std::ops::Deref for Env {
    type Target = dyn Environment;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl std::fmt::Debug for Env {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Env")
    }
}

impl From<Arc<AtomicU64>> for Counter {
    /// A counter on a cell that something else reads as well.
    fn from(cell: Arc<AtomicU64>) -> Self {
        Self(cell)
    }
}

//! What plugins are offered when they go live: the SDK's environment on the gateway's own parts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use futures::StreamExt;
use tokio::runtime::Handle;
use ws_cloud_plugin_sdk::{BoxFuture, Bytes, Counter, Env, EnvError, Environment, KeyChange, KeyValue, Task};

use crate::store::{Event, Op, SharedStore, StoreError, WatchItem};
use crate::telemetry::Metrics;

/// Where plugins keep keys, each under its own name.
const PLUGIN_DATA: &str = "gw/plugin-data/";

/// Makes the environment of each plugin.
pub(super) struct Environments {
    pub(super) store: SharedStore,
    pub(super) data_prefix: String,
    pub(super) secrets: BTreeMap<String, String>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) runtime: Handle,
}

impl Environments {
    pub(super) fn of(&self, plugin: &'static str) -> Env {
        Env::new(Arc::new(PluginEnvironment {
            plugin,
            secrets: self.secrets.clone(),
            metrics: Arc::clone(&self.metrics),
            runtime: self.runtime.clone(),
            keys: Arc::new(PluginKeys {
                store: Arc::clone(&self.store),
                prefix: format!("{}{PLUGIN_DATA}{plugin}/", self.data_prefix),
                runtime: self.runtime.clone(),
            }),
        }))
    }
}

struct PluginEnvironment {
    plugin: &'static str,
    secrets: BTreeMap<String, String>,
    metrics: Arc<Metrics>,
    runtime: Handle,
    keys: Arc<PluginKeys>,
}

impl Environment for PluginEnvironment {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    fn counter(&self, event: &'static str) -> Counter {
        Counter::from(self.metrics.plugin_event(self.plugin, event))
    }

    fn secret(&self, name: &str) -> Option<String> {
        self.secrets.get(name).cloned()
    }

    fn keys(&self) -> Arc<dyn KeyValue> {
        Arc::clone(&self.keys) as Arc<dyn KeyValue>
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) -> Task {
        spawn(&self.runtime, task)
    }
}

fn spawn(runtime: &Handle, task: BoxFuture<'static, ()>) -> Task {
    let handle = runtime.spawn(task).abort_handle();
    Task::stopped_by(move || handle.abort())
}

/// A plugin's corner of the store.
struct PluginKeys {
    store: SharedStore,
    prefix: String,
    runtime: Handle,
}

impl PluginKeys {
    fn full(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }
}

fn env_error(error: StoreError) -> EnvError {
    match error {
        StoreError::Invalid(reason) => EnvError::Invalid(reason),
        other => EnvError::Unavailable(other.to_string()),
    }
}

impl KeyValue for PluginKeys {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Bytes>, EnvError>> {
        Box::pin(async move {
            let kv = self.store.get(&self.full(key)).await.map_err(env_error)?;
            Ok(kv.map(|kv| kv.value))
        })
    }

    fn put<'a>(&'a self, key: &'a str, value: Bytes) -> BoxFuture<'a, Result<(), EnvError>> {
        Box::pin(async move {
            self.store.txn(Vec::new(), vec![Op::put(self.full(key), value)]).await.map(drop).map_err(env_error)
        })
    }

    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<(), EnvError>> {
        Box::pin(async move {
            self.store.txn(Vec::new(), vec![Op::delete(self.full(key))]).await.map(drop).map_err(env_error)
        })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<(String, Bytes)>, EnvError>> {
        Box::pin(async move {
            let listing = self.store.list(&self.full(prefix)).await.map_err(env_error)?;
            let relative = |key: &str| key.strip_prefix(&self.prefix).unwrap_or(key).to_owned();
            Ok(listing.entries.into_iter().map(|kv| (relative(&kv.key), kv.value)).collect())
        })
    }

    fn watch(&self, mut on_change: Box<dyn FnMut(KeyChange) + Send>) -> Task {
        let mut items = self.store.watch(vec![self.prefix.clone()]);
        let prefix = self.prefix.clone();
        spawn(
            &self.runtime,
            Box::pin(async move {
                let mut known = std::collections::BTreeSet::new();
                while let Some(item) = items.next().await {
                    for change in changes(item, &mut known) {
                        let key = change.key.strip_prefix(&prefix).unwrap_or(&change.key).to_owned();
                        on_change(KeyChange { key, value: change.value });
                    }
                }
            }),
        )
    }
}

/// The changes of full keys that an item of a watch means.
fn changes(item: WatchItem, known: &mut std::collections::BTreeSet<String>) -> Vec<KeyChange> {
    match item {
        WatchItem::Resync(listing) => {
            let before = std::mem::take(known);
            known.extend(listing.entries.iter().map(|kv| kv.key.clone()));
            let gone = before.difference(known).map(|key| KeyChange { key: key.clone(), value: None });
            let mut changes: Vec<KeyChange> = gone.collect();
            changes.extend(listing.entries.into_iter().map(|kv| KeyChange { key: kv.key, value: Some(kv.value) }));
            changes
        }
        WatchItem::Events { events, .. } => events
            .into_iter()
            .map(|event| match event {
                Event::Put(kv) => {
                    known.insert(kv.key.clone());
                    KeyChange { key: kv.key, value: Some(kv.value) }
                }
                Event::Delete { key, .. } => {
                    known.remove(&key);
                    KeyChange { key, value: None }
                }
            })
            .collect(),
        WatchItem::Disconnected { .. } | WatchItem::Connected => Vec::new(),
    }
}

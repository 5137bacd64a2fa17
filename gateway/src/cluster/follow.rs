//! Follows what the store says of gateways: who is there, and their secret.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use serde::Deserialize;
use serde_json::json;

use super::{Cluster, Known, Listed, Report};
use crate::resource::key::{GATEWAYS, PEER_SECRET};
use crate::store::{Event, Kv, WatchItem};

/// How long until the watch starts anew when it ended, which it should not.
const REWATCH: Duration = Duration::from_secs(1);

#[derive(Deserialize)]
struct StoredSecret {
    secret: String,
}

impl Cluster {
    /// Follows the store for as long as the future lives.
    pub async fn follow(self: Arc<Self>) {
        let mut heard = false;
        loop {
            let mut items = self.store.watch([GATEWAYS, PEER_SECRET].map(|key| format!("{}{key}", self.prefix)).into());
            while let Some(item) = items.next().await {
                let is_whole = matches!(item, WatchItem::Resync(_));
                let before = self.names();
                {
                    let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
                    known.take(&self.prefix, item);
                }
                if heard {
                    self.tell(&before);
                }
                heard |= is_whole;
            }
            tokio::time::sleep(REWATCH).await;
        }
    }

    fn names(&self) -> BTreeMap<String, String> {
        self.read(|known| known.members.iter().map(|(id, one)| (id.clone(), one.report.hostname.clone())).collect())
    }

    /// Tells who has come and who has gone.
    fn tell(&self, before: &BTreeMap<String, String>) {
        let now = self.names();
        let of = |what, id: &String, host: &String| {
            self.events.tell("gateway", json!({"change": what, "gateway": id, "hostname": host}));
        };
        now.iter().filter(|(id, _)| !before.contains_key(*id)).for_each(|(id, host)| of("joined", id, host));
        before.iter().filter(|(id, _)| !now.contains_key(*id)).for_each(|(id, host)| of("left", id, host));
    }
}

impl Known {
    pub(super) fn take(&mut self, prefix: &str, item: WatchItem) {
        match item {
            WatchItem::Resync(listing) => {
                *self = Self::default();
                listing.entries.iter().for_each(|kv| self.put(prefix, kv));
            }
            WatchItem::Events { events, .. } => {
                for event in events {
                    match event {
                        Event::Put(kv) => self.put(prefix, &kv),
                        Event::Delete { key, .. } => self.delete(prefix, &key),
                    }
                }
            }
            // Who was there is asked all the same; who is gone does not answer.
            WatchItem::Disconnected { .. } | WatchItem::Connected => {}
        }
    }

    fn put(&mut self, prefix: &str, kv: &Kv) {
        let Some(key) = kv.key.strip_prefix(prefix) else { return };
        if let Some(id) = key.strip_prefix(GATEWAYS) {
            match serde_json::from_slice::<Report>(&kv.value) {
                Ok(report) => drop(self.members.insert(id.to_owned(), Listed { report, lease: kv.lease })),
                Err(e) => {
                    log::warn!("the report of gateway {id} in the store is not valid: {e}");
                    self.members.remove(id);
                }
            }
        } else if key == PEER_SECRET {
            let stored = serde_json::from_slice::<StoredSecret>(&kv.value).ok();
            let secret = stored.and_then(|stored| hex::decode(stored.secret).ok());
            // A short one could be guessed.
            self.secret = secret.filter(|secret| secret.len() >= 32);
            if self.secret.is_none() {
                log::warn!("{PEER_SECRET} in the store is not valid: gateways cannot ask each other");
            }
        }
    }

    fn delete(&mut self, prefix: &str, key: &str) {
        let Some(key) = key.strip_prefix(prefix) else { return };
        if let Some(id) = key.strip_prefix(GATEWAYS) {
            self.members.remove(id);
        } else if key == PEER_SECRET {
            self.secret = None;
        }
    }
}

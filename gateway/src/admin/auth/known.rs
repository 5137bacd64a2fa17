//! What the store says of accounts, revoked tokens and the signing secret, followed by a watch, so
//! that a login on one gateway ends on all of them, and logins go on while the store is away.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures::StreamExt as _;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::accounts::{JWT_SECRET, SECRETS, StoredSecret, USERS, User};
use super::token;
use crate::store::{Event, Kv, SharedStore, WatchItem};

/// Revoked tokens: `gw/revoked/<id>`, each with a lease until the token ends by itself.
pub(super) const REVOKED: &str = "gw/revoked/";
/// How long a request waits for the store's first answer.
const FIRST_ANSWER: Duration = Duration::from_secs(2);

#[derive(Default)]
struct Content {
    users: HashMap<String, User>,
    revoked: HashSet<String>,
    /// Those revoked here, until they end: they stay even if the watch falls behind.
    revoked_here: HashMap<String, f64>,
    secret: Option<Vec<u8>>,
}

/// The content, followed until it is dropped.
pub(super) struct Known {
    content: Arc<RwLock<Content>>,
    answered: watch::Receiver<bool>,
    following: AbortHandle,
}

impl Drop for Known {
    fn drop(&mut self) {
        self.following.abort();
    }
}

impl Known {
    /// Follows the store. Must be called within a tokio runtime.
    pub(super) fn follow(store: &SharedStore, prefix: &str) -> Self {
        let content = Arc::new(RwLock::new(Content::default()));
        let (answer, answered) = watch::channel(false);
        let mut items = store.watch([USERS, REVOKED, SECRETS].map(|family| format!("{prefix}{family}")).into());
        let (target, prefix) = (Arc::clone(&content), prefix.to_owned());
        let task = tokio::spawn(async move {
            while let Some(item) = items.next().await {
                let first = matches!(item, WatchItem::Resync(_));
                target.write().unwrap_or_else(PoisonError::into_inner).take(&prefix, item);
                if first {
                    answer.send_replace(true);
                }
            }
        });
        Self { content, answered, following: task.abort_handle() }
    }

    /// Whether the store has ever answered; waits a little for it at the start.
    pub(super) async fn ready(&self) -> bool {
        let mut answered = self.answered.clone();
        matches!(tokio::time::timeout(FIRST_ANSWER, answered.wait_for(|yes| *yes)).await, Ok(Ok(_)))
    }

    pub(super) fn user(&self, name: &str) -> Option<User> {
        self.read(|content| content.users.get(name).cloned())
    }

    pub(super) fn secret(&self) -> Option<Vec<u8>> {
        self.read(|content| content.secret.clone())
    }

    pub(super) fn is_revoked(&self, id: &str) -> bool {
        self.read(|content| content.revoked.contains(id) || content.revoked_here.contains_key(id))
    }

    /// Revokes a token on this gateway at once.
    pub(super) fn revoke_here(&self, id: &str, until: f64) {
        let now = token::now();
        let mut content = self.content.write().unwrap_or_else(PoisonError::into_inner);
        content.revoked_here.retain(|_, until| *until > now);
        content.revoked_here.insert(id.to_owned(), until);
    }

    fn read<T>(&self, read: impl FnOnce(&Content) -> T) -> T {
        read(&self.content.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Content {
    fn take(&mut self, prefix: &str, item: WatchItem) {
        match item {
            WatchItem::Resync(listing) => {
                *self = Self { revoked_here: std::mem::take(&mut self.revoked_here), ..Self::default() };
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
            WatchItem::Disconnected { .. } | WatchItem::Connected => {}
        }
    }

    fn put(&mut self, prefix: &str, kv: &Kv) {
        let Some(key) = kv.key.strip_prefix(prefix) else { return };
        if let Some(name) = key.strip_prefix(USERS) {
            match serde_json::from_slice(&kv.value) {
                Ok(user) => drop(self.users.insert(name.to_owned(), user)),
                // An account that cannot be read admits no one.
                Err(e) => {
                    log::warn!("admin: account \"{name}\" in the store is not valid: {e}");
                    self.users.remove(name);
                }
            }
        } else if let Some(id) = key.strip_prefix(REVOKED) {
            self.revoked.insert(id.to_owned());
        } else if key == JWT_SECRET {
            let stored = serde_json::from_slice::<StoredSecret>(&kv.value);
            self.secret = stored.ok().map(|s| s.secret.into_bytes()).filter(|s| !s.is_empty());
        }
    }

    fn delete(&mut self, prefix: &str, key: &str) {
        let Some(key) = key.strip_prefix(prefix) else { return };
        if let Some(name) = key.strip_prefix(USERS) {
            self.users.remove(name);
        } else if let Some(id) = key.strip_prefix(REVOKED) {
            self.revoked.remove(id);
        } else if key == JWT_SECRET {
            self.secret = None;
        }
    }
}

//! What the store says of accounts, sessions, tokens and the signing secret, followed by a watch, so
//! that a login on one gateway ends on all of them, and logins go on while the store is away.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures::StreamExt as _;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::accounts::{JWT_SECRET, SECRETS, StoredSecret, USERS, User};
use super::api_token::{StoredToken, TOKENS};
use super::session::{SESSIONS, StoredSession};
use super::token;
use super::totp::{StoredTotp, TOTP};
use crate::store::{Event, Op, SharedStore, WatchItem};

/// Revoked tokens: `gw/revoked/<id>`, each with a lease until the token ends by itself.
pub(super) const REVOKED: &str = "gw/revoked/";
/// How long a request waits for the store's first answer.
const FIRST_ANSWER: Duration = Duration::from_secs(2);

#[derive(Default)]
struct Content {
    users: HashMap<String, User>,
    tokens: HashMap<String, Arc<StoredToken>>,
    sessions: HashMap<String, Arc<StoredSession>>,
    /// Who has an authenticator.
    with_totp: HashSet<String>,
    revoked: HashSet<String>,
    /// Those revoked here, until they end: they stay even if the watch falls behind.
    revoked_here: HashMap<String, f64>,
    secret: Option<Vec<u8>>,
}

/// What is followed.
const FAMILIES: [&str; 6] = [USERS, REVOKED, SECRETS, TOKENS, SESSIONS, TOTP];

/// The content, followed until it is dropped.
pub(super) struct Known {
    prefix: String,
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
        let mut items = store.watch(FAMILIES.map(|family| format!("{prefix}{family}")).into());
        let (target, followed) = (Arc::clone(&content), prefix.to_owned());
        let task = tokio::spawn(async move {
            while let Some(item) = items.next().await {
                let first = matches!(item, WatchItem::Resync(_));
                target.write().unwrap_or_else(PoisonError::into_inner).take(&followed, item);
                if first {
                    answer.send_replace(true);
                }
            }
        });
        Self { prefix: prefix.to_owned(), content, answered, following: task.abort_handle() }
    }

    /// Whether the store has ever answered; waits a little for it at the start.
    pub(super) async fn ready(&self) -> bool {
        let mut answered = self.answered.clone();
        matches!(tokio::time::timeout(FIRST_ANSWER, answered.wait_for(|yes| *yes)).await, Ok(Ok(_)))
    }

    pub(super) fn user(&self, name: &str) -> Option<User> {
        self.read(|content| content.users.get(name).cloned())
    }

    /// Whether the store has such an account.
    pub(super) fn has_user(&self, name: &str) -> bool {
        self.read(|content| content.users.contains_key(name))
    }

    pub(super) fn token(&self, id: &str) -> Option<Arc<StoredToken>> {
        self.read(|content| content.tokens.get(id).cloned())
    }

    pub(super) fn session(&self, digest: &str) -> Option<Arc<StoredSession>> {
        self.read(|content| content.sessions.get(digest).cloned())
    }

    /// The digests of a user's sessions, the oldest first.
    pub(super) fn sessions_of(&self, user: &str) -> Vec<String> {
        let mut found: Vec<(f64, String)> = self.read(|content| {
            let own = content.sessions.iter().filter(|(_, session)| session.user == user);
            own.map(|(digest, session)| (session.created, digest.clone())).collect()
        });
        found.sort_by(|a, b| a.0.total_cmp(&b.0));
        found.into_iter().map(|(_, digest)| digest).collect()
    }

    pub(super) fn has_totp(&self, user: &str) -> bool {
        self.read(|content| content.with_totp.contains(user))
    }

    /// Takes over what was just written, before the watch brings it: who wrote it may rely on it.
    pub(super) fn written(&self, ops: &[Op]) {
        let mut content = self.content.write().unwrap_or_else(PoisonError::into_inner);
        for op in ops {
            match op {
                Op::Put { key, value, .. } => content.put(&self.prefix, key, value),
                Op::Delete(key) => content.delete(&self.prefix, key),
            }
        }
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
                listing.entries.iter().for_each(|kv| self.put(prefix, &kv.key, &kv.value));
            }
            WatchItem::Events { events, .. } => {
                for event in events {
                    match event {
                        Event::Put(kv) => self.put(prefix, &kv.key, &kv.value),
                        Event::Delete { key, .. } => self.delete(prefix, &key),
                    }
                }
            }
            WatchItem::Disconnected { .. } | WatchItem::Connected => {}
        }
    }

    fn put(&mut self, prefix: &str, key: &str, value: &[u8]) {
        let Some(key) = key.strip_prefix(prefix) else { return };
        if let Some(name) = key.strip_prefix(USERS) {
            replace(&mut self.users, name, read(key, value));
        } else if let Some(id) = key.strip_prefix(TOKENS) {
            replace(&mut self.tokens, id, read(key, value).map(Arc::new));
        } else if let Some(digest) = key.strip_prefix(SESSIONS) {
            replace(&mut self.sessions, digest, read(key, value).map(Arc::new));
        } else if let Some(name) = key.strip_prefix(TOTP) {
            // One that cannot be read still asks for codes, which no one can give then.
            if read::<StoredTotp>(key, value).is_none_or(|totp| totp.confirmed) {
                self.with_totp.insert(name.to_owned());
            } else {
                self.with_totp.remove(name);
            }
        } else if let Some(id) = key.strip_prefix(REVOKED) {
            self.revoked.insert(id.to_owned());
        } else if key == JWT_SECRET {
            let stored = serde_json::from_slice::<StoredSecret>(value);
            self.secret = stored.ok().map(|s| s.secret.into_bytes()).filter(|s| !s.is_empty());
        }
    }

    fn delete(&mut self, prefix: &str, key: &str) {
        let Some(key) = key.strip_prefix(prefix) else { return };
        if let Some(name) = key.strip_prefix(USERS) {
            self.users.remove(name);
        } else if let Some(id) = key.strip_prefix(TOKENS) {
            self.tokens.remove(id);
        } else if let Some(digest) = key.strip_prefix(SESSIONS) {
            self.sessions.remove(digest);
        } else if let Some(name) = key.strip_prefix(TOTP) {
            self.with_totp.remove(name);
        } else if let Some(id) = key.strip_prefix(REVOKED) {
            self.revoked.remove(id);
        } else if key == JWT_SECRET {
            self.secret = None;
        }
    }
}

/// An object of the store. One that cannot be read admits no one.
fn read<T: serde::de::DeserializeOwned>(key: &str, value: &[u8]) -> Option<T> {
    // The error quotes what it does not understand, which may be a secret.
    serde_json::from_slice(value).inspect_err(|_| log::warn!("admin: {key:?} in the store is not valid")).ok()
}

fn replace<T>(map: &mut HashMap<String, T>, name: &str, value: Option<T>) {
    match value {
        Some(value) => drop(map.insert(name.to_owned(), value)),
        None => drop(map.remove(name)),
    }
}

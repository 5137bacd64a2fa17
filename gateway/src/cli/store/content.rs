//! What is copied: keys without the data prefix, in order.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::resource::key;
use crate::store::{LeaseId, Revision, SharedStore, StoreError};

/// What a copy in progress is noted under, in its target.
pub(super) const MARKER: &str = "gw/copy";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) value: Bytes,
    pub(super) lease: Option<LeaseId>,
    /// The revision that wrote it; 0 in a file.
    pub(super) revision: Revision,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) entries: BTreeMap<String, Entry>,
    /// How long the leases of entries have left. A revoked login must stay revoked in the copy.
    pub(super) leases: BTreeMap<LeaseId, Duration>,
    /// Nodes under the leases of their services, which are not copied.
    pub(super) registered: Vec<String>,
}

impl Content {
    /// Reads a store at one revision.
    pub(super) async fn of(store: &SharedStore, prefix: &str) -> Result<Self, StoreError> {
        let mut content = Self::default();
        for kv in store.list(prefix).await?.entries {
            let Some(key) = kv.key.strip_prefix(prefix).map(str::to_owned) else { continue };
            if key.starts_with(key::GATEWAYS) {
                // The gateways of another store are other ones.
            } else if kv.lease.is_some() && key.starts_with(key::NODES) {
                content.registered.push(key);
            } else {
                let entry = Entry { value: kv.value, lease: kv.lease, revision: kv.mod_revision };
                content.entries.insert(key, entry);
            }
        }
        content.ask_leases(store).await?;
        Ok(content)
    }

    async fn ask_leases(&mut self, store: &SharedStore) -> Result<(), StoreError> {
        let leases: BTreeSet<LeaseId> = self.entries.values().filter_map(|entry| entry.lease).collect();
        for lease in leases {
            match store.lease_left(lease).await {
                // Rounded up: a second too long is better than one too short.
                Ok(left) => drop(self.leases.insert(lease, Duration::from_secs(left.as_secs() + 1))),
                Err(StoreError::LeaseNotFound(_)) => self.entries.retain(|_, entry| entry.lease != Some(lease)),
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// A digest of all keys and values.
    pub(super) fn digest(&self) -> String {
        let mut digest = Sha256::new();
        for (key, entry) in &self.entries {
            for part in [key.as_bytes(), &entry.value] {
                digest.update((part.len() as u64).to_be_bytes());
                digest.update(part);
            }
        }
        hex::encode(digest.finalize())
    }

    /// How many keys of each family there are, for an operator.
    pub(super) fn summary(&self) -> String {
        let mut families: BTreeMap<&str, usize> = BTreeMap::new();
        for key in self.entries.keys() {
            *families.entry(family(key)).or_default() += 1;
        }
        families.iter().map(|(family, n)| format!("{family}: {n}")).collect::<Vec<_>>().join(", ")
    }
}

/// `routes`, `discovery`, `gw/users` and the like.
pub(super) fn family(key: &str) -> &str {
    let segments = if key.starts_with("gw/") { 2 } else { 1 };
    key.match_indices('/').nth(segments - 1).map_or(key, |(end, _)| &key[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_a_family() {
        for (key, expected) in [
            ("routes/a", "routes"),
            ("discovery/a.b", "discovery"),
            ("gw/users/a/b", "gw/users"),
            ("gw/head", "gw/head"),
            ("x", "x"),
        ] {
            assert_eq!(family(key), expected);
        }
    }

    #[test]
    fn the_digest_tells_where_a_key_ends() {
        let of = |pairs: &[(&str, &'static str)]| {
            let entry =
                |value: &&'static str| Entry { value: Bytes::from_static(value.as_bytes()), lease: None, revision: 1 };
            let entries = pairs.iter().map(|(key, value)| ((*key).to_owned(), entry(value))).collect();
            Content { entries, ..Content::default() }.digest()
        };
        assert_ne!(of(&[("ab", "c")]), of(&[("a", "bc")]));
        assert_ne!(of(&[("a", "b"), ("c", "d")]), of(&[("a", "b")]));
        assert_eq!(of(&[("a", "b")]), of(&[("a", "b")]));
    }
}

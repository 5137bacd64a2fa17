//! Which certificate a server name gets: its own, then that of its wildcard, then the default.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::context::{Secure, Settings, TICKET_KEYS};
use super::policy::OwnPolicy;
use crate::resource::{ClientAuth, Invalid, Pair, Summary};

/// A certificate ready for handshakes.
pub struct Entry {
    /// Its id in the store, or its file.
    pub id: String,
    /// The hosts it is for.
    pub hosts: Vec<String>,
    /// Whether it is for hosts that no other is for.
    pub default: bool,
    /// What may be shown of it.
    pub summary: Summary,
    pair: Pair,
    own_policy: OwnPolicy,
    settings: Arc<Settings>,
    secure: ArcSwap<Secure>,
}

impl Entry {
    /// An entry for a certificate. Without `hosts` it is for those it names; without a policy of its
    /// own the listeners' applies.
    pub fn new(
        id: String,
        pair: Pair,
        hosts: Vec<String>,
        default: bool,
        own_policy: OwnPolicy,
        settings: &Arc<Settings>,
    ) -> Result<Self, Invalid> {
        let hosts = if hosts.is_empty() { pair.names() } else { hosts };
        if hosts.is_empty() && !default {
            return Err(Invalid::at(
                "hosts",
                "is missing, and the certificate names no host; name some, or set default",
            ));
        }
        let secure = Secure::new(&pair, own_policy.effective(settings)?, settings.min_version)?;
        let summary = pair.summary();
        let settings = Arc::clone(settings);
        Ok(Self { id, hosts, default, summary, pair, own_policy, settings, secure: ArcSwap::from_pointee(secure) })
    }

    /// What a handshake needs.
    pub fn secure(&self) -> Arc<Secure> {
        self.secure.load_full()
    }

    /// Makes the context anew when the keys of its session tickets are old, or the policy is not the
    /// listeners' any more.
    pub fn refresh(&self) -> Result<(), Invalid> {
        let present = self.secure.load();
        let policy = self.own_policy.effective(&self.settings)?;
        if present.made.elapsed() > TICKET_KEYS || *present.policy != *policy {
            self.secure.store(Arc::new(Secure::new(&self.pair, policy, self.settings.min_version)?));
        }
        Ok(())
    }

    /// Of two for one host the stricter comes first, so that none opens what another closes; then the
    /// one that lasts longer.
    fn rank(&self) -> (u8, i64) {
        let strictness = match self.secure.load().policy.auth {
            ClientAuth::None => 0,
            ClientAuth::Request => 1,
            ClientAuth::Require => 2,
        };
        (strictness, self.summary.not_after)
    }
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry").field("id", &self.id).field("hosts", &self.hosts).finish_non_exhaustive()
    }
}

/// What is found for a server name.
#[derive(Debug, Clone)]
pub enum Found {
    /// A certificate.
    Entry(Arc<Entry>),
    /// The certificate of this host is broken and never was good. No looser match may stand in for
    /// it: it could demand less of clients.
    Closed(Closed),
}

/// A host whose certificate is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed {
    /// Whether it may have demanded something of clients: then not even another certificate for the
    /// same host may stand in.
    pub strict: bool,
}

impl Found {
    fn rank(&self) -> (u8, i64) {
        match self {
            Self::Entry(entry) => entry.rank(),
            Self::Closed(Closed { strict: true }) => (u8::MAX, 0),
            Self::Closed(Closed { strict: false }) => (0, i64::MIN),
        }
    }
}

/// How well what was found fits: the greater, the better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Match {
    /// It is for hosts that no other is for.
    Default,
    /// For all hosts below one.
    Wildcard,
    /// For this very host.
    Exact,
}

/// Certificates by server name. Immutable.
#[derive(Debug, Default)]
pub struct CertStore {
    exact: HashMap<String, Found>,
    /// By what follows `*.`.
    wildcard: HashMap<String, Found>,
    default: Option<Found>,
    entries: Vec<Arc<Entry>>,
    has_policies: bool,
}

impl CertStore {
    /// A store of these certificates. `closed` are hosts of certificates that are broken.
    pub fn new(entries: Vec<Arc<Entry>>, closed: impl IntoIterator<Item = (String, Closed)>) -> Self {
        let mut store = Self::default();
        for (host, closed) in closed {
            store.put(&host, &Found::Closed(closed));
            // Who asks for such a host over another's connection must be refused too.
            store.has_policies = true;
        }
        for entry in &entries {
            let found = Found::Entry(Arc::clone(entry));
            for host in &entry.hosts {
                store.put(host, &found);
            }
            if entry.default && store.default.as_ref().is_none_or(|known| known.rank() < found.rank()) {
                store.default = Some(found);
            }
            store.has_policies |= !matches!(entry.own_policy, OwnPolicy::Listeners);
        }
        store.entries = entries;
        store
    }

    fn put(&mut self, host: &str, found: &Found) {
        let (map, key) = match host.strip_prefix("*.") {
            Some(below) => (&mut self.wildcard, below),
            None => (&mut self.exact, host),
        };
        match map.get(key) {
            Some(known) if known.rank() >= found.rank() => {}
            _ => drop(map.insert(key.to_owned(), found.clone())),
        }
    }

    /// What a server name gets; it is in lower case.
    pub fn find(&self, name: Option<&str>) -> Option<(Match, &Found)> {
        let named = || {
            let name = name?;
            let exact = self.exact.get(name).map(|found| (Match::Exact, found));
            exact.or_else(|| {
                let (_, below) = name.split_once('.')?;
                self.wildcard.get(below).map(|found| (Match::Wildcard, found))
            })
        };
        named().or_else(|| self.default.as_ref().map(|found| (Match::Default, found)))
    }

    /// What a server name gets of two stores: the better match, and of equals this one's.
    pub fn find_in_both<'a>(&'a self, other: &'a Self, name: Option<&str>) -> Option<&'a Found> {
        match (self.find(name), other.find(name)) {
            (Some((ours, found)), Some((theirs, _))) if ours >= theirs => Some(found),
            (_, Some((_, found))) | (Some((_, found)), None) => Some(found),
            (None, None) => None,
        }
    }

    /// Its certificates.
    pub fn entries(&self) -> &[Arc<Entry>] {
        &self.entries
    }

    /// Whether any of its names has a policy of its own for client certificates.
    pub fn has_policies(&self) -> bool {
        self.has_policies
    }
}

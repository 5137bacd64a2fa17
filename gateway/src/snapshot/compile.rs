//! Compiles changes into the next snapshot, reusing all that did not change.
//!
//! Every object is read by itself and kept as its last good version. An object that is broken
//! never replaces a good one and never opens a door: a route that never was good keeps its place
//! and answers 503, and a broken global plugin closes every route it would cover.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use ws_cloud_plugin_sdk::Env;

use super::change::{Change, Publish, Rejected, Serving, Warning};
use super::kept::{Kept, keep, last_good_or, of_service};
use super::object::{Checker, ParsedPlugin};
use super::routes::{Globals, Routes, With};
use super::services::{Places, ServiceDefaults, Upstreams};
use super::trust::ParsedService;
use super::{Handle, ServiceIds, Slot, Snapshot, tell};
use crate::resource::{BrokenHosts, Node, NodeOverlay, key};
use crate::telemetry::Metrics;
use crate::tls::{self, CertStore, Closed};
use crate::upstream::Names;

/// What the compiler needs beside the objects.
pub struct CompileOptions {
    /// Reads and checks objects.
    pub checker: Arc<Checker>,
    /// What applies to services that say nothing themselves.
    pub services: ServiceDefaults,
    /// The host names of nodes.
    pub names: Arc<Names>,
    /// Where routes get their counters.
    pub metrics: Arc<Metrics>,
    /// The environment of each plugin, by name, for when it goes live.
    pub env: Box<dyn Fn(&'static str) -> Env + Send + Sync>,
}

/// Makes snapshots and publishes them.
pub struct Compiler {
    pub(super) options: CompileOptions,
    pub(super) handle: Arc<Handle>,
    pub(super) routes: Routes,
    pub(super) nodes: BTreeMap<String, Kept<Node>>,
    pub(super) services: BTreeMap<String, Kept<ParsedService>>,
    pub(super) plugins: BTreeMap<String, Kept<ParsedPlugin>>,
    pub(super) overlays: BTreeMap<String, Kept<NodeOverlay>>,
    certificates: BTreeMap<String, Kept<Arc<tls::Entry>>>,
    /// Drops old snapshots: of 100,000 routes the last one takes longer than making the next.
    graveyard: std::sync::mpsc::Sender<Arc<Snapshot>>,
    pub(super) ids: ServiceIds,
    pub(super) slots: Vec<Slot>,
    pub(super) upstreams: Upstreams,
    restored: HashMap<String, Change>,
    rejected: BTreeMap<String, Rejected>,
    /// By service.
    warnings: BTreeMap<Arc<str>, Vec<String>>,
    /// The host names among the nodes of each service that has some.
    hosts: BTreeMap<Arc<str>, BTreeSet<String>>,
}

/// What a batch of changes makes necessary.
#[derive(Default)]
struct Dirty {
    rejected: bool,
    /// Routes do not know of them yet.
    plugins: bool,
    certificates: bool,
    services: BTreeSet<String>,
}

impl Compiler {
    /// A compiler that publishes to this handle.
    pub fn new(options: CompileOptions, handle: Arc<Handle>) -> Self {
        let upstreams = Upstreams::new(options.services.clone(), Arc::clone(&options.metrics.events));
        Self {
            options,
            handle,
            upstreams,
            routes: Routes::default(),
            nodes: BTreeMap::new(),
            services: BTreeMap::new(),
            plugins: BTreeMap::new(),
            overlays: BTreeMap::new(),
            certificates: BTreeMap::new(),
            graveyard: graveyard(),
            ids: ServiceIds::default(),
            slots: Vec::new(),
            restored: HashMap::new(),
            rejected: BTreeMap::new(),
            warnings: BTreeMap::new(),
            hosts: BTreeMap::new(),
        }
    }

    fn take(&mut self, change: Change, dirty: &mut Dirty) {
        let restored = self.restored.remove(&change.key);
        let full_key = change.key.clone();
        if let Some(id) = full_key.strip_prefix(key::ROUTES) {
            // In the order of keys they come first, so that of a whole configuration each route is compiled once.
            self.cover_routes(dirty);
            let mut with = With { options: &self.options, ids: &mut self.ids };
            let broken = self.routes.take(id, change, restored, &mut with);
            self.note(&full_key, broken, dirty, |c| c.routes.serving(id));
        } else if let Some(id) = full_key.strip_prefix(key::NODES) {
            self.take_node(id, change, restored, dirty);
        } else if let Some(name) = full_key.strip_prefix(key::SERVICES) {
            dirty.services.insert(name.to_owned());
            let checker = Arc::clone(&self.options.checker);
            let broken = keep(&mut self.services, name, change, restored, |name, value| checker.service(name, value));
            self.note(&full_key, broken, dirty, |c| last_good_or(&c.services, name, Serving::Unavailable));
        } else if let Some(name) = full_key.strip_prefix(key::PLUGINS) {
            dirty.plugins = true;
            let checker = Arc::clone(&self.options.checker);
            let broken =
                keep(&mut self.plugins, name, change, restored, |name, value| checker.global_plugin(name, value));
            self.note(&full_key, broken, dirty, |c| last_good_or(&c.plugins, name, Serving::Unavailable));
        } else if let Some(id) = full_key.strip_prefix(key::OVERLAYS) {
            dirty.services.extend(key::service_of_node(id).map(str::to_owned));
            let broken = keep(&mut self.overlays, id, change, restored, |_, value| NodeOverlay::parse(value));
            self.note(&full_key, broken, dirty, |c| last_good_or(&c.overlays, id, Serving::LeftOut));
        } else if let Some(id) = full_key.strip_prefix(key::CERTIFICATES) {
            self.take_certificate(id, change, restored, dirty);
        }
    }

    fn take_node(&mut self, id: &str, change: Change, restored: Option<Change>, dirty: &mut Dirty) {
        let full_key = change.key.clone();
        let checker = Arc::clone(&self.options.checker);
        let broken = keep(&mut self.nodes, id, change, restored, |id, value| checker.node(id, value));
        // The checker holds the service of key and value together, so the key says where it belongs.
        if let Some(service) = key::service_of_node(id) {
            dirty.services.insert(service.to_owned());
        }
        self.note(&full_key, broken, dirty, |c| last_good_or(&c.nodes, id, Serving::LeftOut));
    }

    /// One that is as it was keeps its context, and with it the sessions that clients may resume.
    fn take_certificate(&mut self, id: &str, change: Change, restored: Option<Change>, dirty: &mut Dirty) {
        let full_key = change.key.clone();
        let known = self.certificates.get(id).filter(|kept| !kept.is_broken);
        if known.is_some() && known.map(|kept| &kept.value) == change.value.as_ref() {
            return;
        }
        dirty.certificates = true;
        let checker = Arc::clone(&self.options.checker);
        let broken = keep(&mut self.certificates, id, change, restored, |id, value| checker.certificate(id, value));
        self.note(&full_key, broken, dirty, |c| last_good_or(&c.certificates, id, Serving::Unavailable));
    }

    fn cert_store(&self) -> CertStore {
        let good = self.certificates.values().filter_map(|kept| Some(Arc::clone(&kept.good.as_ref()?.2)));
        let never_good = self.certificates.values().filter(|kept| kept.good.is_none());
        let closed = never_good.flat_map(|kept| {
            let broken = BrokenHosts::read(&kept.value);
            let closed = Closed { strict: broken.asks_clients };
            broken.hosts.into_iter().map(move |host| (host, closed))
        });
        CertStore::new(good.collect(), closed)
    }

    /// Keeps the account of rejected objects, and tells the log of new ones.
    fn note(
        &mut self,
        full_key: &str,
        broken: Option<(u64, String)>,
        dirty: &mut Dirty,
        serving: impl FnOnce(&Self) -> Serving,
    ) {
        let Some((revision, reason)) = broken else {
            dirty.rejected |= self.rejected.remove(full_key).is_some();
            return;
        };
        dirty.rejected = true;
        let serving = serving(self);
        let known = self.rejected.get(full_key);
        if known.is_none_or(|known| known.reason != reason) {
            let place = match serving {
                Serving::LastGood => "its last good version stays live",
                Serving::Unavailable => "requests it covers are answered 503",
                Serving::LeftOut => "it is left out",
            };
            log::warn!("rejected {full_key}: {reason}; {place}");
        }
        self.rejected.insert(full_key.to_owned(), Rejected { key: full_key.to_owned(), revision, reason, serving });
    }

    fn publish(&mut self, revision: u64, mut dirty: Dirty) {
        self.cover_routes(&mut dirty);
        let before = self.handle.load_full();
        let services_changed = !dirty.services.is_empty();
        for service in dirty.services {
            self.rebuild_service(&service);
        }
        // A service that only routes name has no place among these yet, which means the same as an empty one.
        let snapshot = Arc::new(Snapshot {
            revision,
            rejected: match dirty.rejected {
                true => self.rejected.values().cloned().collect(),
                false => Arc::clone(&before.rejected),
            },
            warnings: match services_changed {
                true => self.all_warnings().collect(),
                false => Arc::clone(&before.warnings),
            },
            router: self.routes.router(),
            certificates: match dirty.certificates {
                true => Arc::new(self.cert_store()),
                false => Arc::clone(&before.certificates),
            },
            services: match services_changed {
                true => self.slots.as_slice().into(),
                false => Arc::clone(&before.services),
            },
        });
        for pipeline in self.routes.new_pipelines() {
            pipeline.instances().iter().for_each(|instance| instance.start(&*self.options.env));
        }
        let old = self.handle.publish(snapshot);
        drop(before);
        if let Err(unsent) = self.graveyard.send(old) {
            // Its thread is gone, which it never is; then it is dropped here.
            drop(unsent);
        }
    }

    /// Puts all routes behind the global plugins as they are now.
    fn cover_routes(&mut self, dirty: &mut Dirty) {
        if std::mem::take(&mut dirty.plugins) {
            self.routes.cover(Globals {
                instances: self.plugins.values().filter_map(|kept| kept.good.as_ref()?.2.0.clone()).collect(),
                closed: self.plugins.values().any(|kept| kept.good.is_none()),
            });
        }
    }

    fn rebuild_service(&mut self, name: &str) {
        let id = self.ids.of(name);
        self.slots.resize(self.ids.names.len(), Slot::Empty);
        let name = Arc::clone(&self.ids.names[id.0 as usize]);
        let declared = self.services.get(&*name);
        let checker = Arc::clone(&self.options.checker);
        let names = Arc::clone(&self.options.names);
        let mut places = Places::new(&checker, &names);
        self.slots[id.0 as usize] = match declared {
            Some(Kept { good: None, .. }) => {
                // Nobody probes its nodes meanwhile: what is known of them grows old.
                self.upstreams.forget(&name);
                Slot::Broken
            }
            _ => {
                let plain = ParsedService::default();
                let service = declared.and_then(|kept| kept.good.as_ref()).map_or(&plain, |(_, _, s)| s);
                // Both in order, so that no overlay is looked for.
                let mut overlays = of_service(&self.overlays, &name).peekable();
                let nodes = of_service(&self.nodes, &name).map(|(id, node)| {
                    while overlays.next_if(|(of, _)| *of < id).is_some() {}
                    (node, overlays.next_if(|(of, _)| *of == id).map(|(_, overlay)| overlay))
                });
                places.warnings.clone_from(&service.warnings);
                self.upstreams.build(&name, service, nodes, &mut places).map_or(Slot::Empty, Slot::Ready)
            }
        };
        let Places { used, warnings, .. } = places;
        self.use_hosts(&name, used);
        self.warn(&name, warnings);
    }

    /// Keeps the account of host names, and lets those go that no service uses any more.
    fn use_hosts(&mut self, service: &Arc<str>, used: BTreeSet<String>) {
        let before = self.hosts.remove(service).unwrap_or_default();
        let is_less = !before.is_subset(&used);
        if !used.is_empty() {
            self.hosts.insert(Arc::clone(service), used);
        }
        if is_less {
            self.options.names.keep(&self.hosts.values().flatten().map(String::as_str).collect());
        }
    }

    /// Keeps the warnings of a service, and tells the log of new ones.
    fn warn(&mut self, service: &Arc<str>, warnings: Vec<String>) {
        let known = self.warnings.remove(service).unwrap_or_default();
        for warning in warnings.iter().filter(|warning| !known.contains(warning)) {
            log::warn!("service \"{service}\": {warning}");
        }
        if !warnings.is_empty() {
            self.warnings.insert(Arc::clone(service), warnings);
        }
    }

    fn all_warnings(&self) -> impl Iterator<Item = Warning> {
        self.warnings.iter().flat_map(|(service, reasons)| {
            reasons.iter().map(|reason| Warning { service: service.to_string(), reason: reason.clone() })
        })
    }

    fn keys(&self) -> Vec<String> {
        let of =
            |family: &str, ids: Vec<&String>| ids.into_iter().map(|id| format!("{family}{id}")).collect::<Vec<_>>();
        let mut keys: Vec<String> = self.routes.keys().map(|id| format!("{}{id}", key::ROUTES)).collect();
        keys.extend(of(key::NODES, self.nodes.keys().collect()));
        keys.extend(of(key::SERVICES, self.services.keys().collect()));
        keys.extend(of(key::PLUGINS, self.plugins.keys().collect()));
        keys.extend(of(key::OVERLAYS, self.overlays.keys().collect()));
        keys.extend(of(key::CERTIFICATES, self.certificates.keys().collect()));
        keys
    }
}

impl Publish for Compiler {
    fn replace(&mut self, revision: u64, entries: &mut dyn Iterator<Item = Change>) {
        self.routes.begin_anew();
        let mut gone: HashSet<String> = self.keys().into_iter().chain(self.rejected.keys().cloned()).collect();
        // All of it: a panic may have come between what is kept here and what was published.
        let services = self.ids.names.iter().map(|name| name.to_string()).collect();
        let mut dirty = Dirty { rejected: true, plugins: true, certificates: true, services };
        let mut count = 0;
        for change in entries {
            count += 1;
            gone.remove(&change.key);
            self.take(change, &mut dirty);
        }
        for key in gone {
            self.take(Change { key, value: None, revision }, &mut dirty);
        }
        self.publish(revision, dirty);
        tell::all(&self.options.metrics.events, revision, count, self.rejected.len());
        // Kept for the first full state only.
        self.restored.clear();
    }

    fn apply(&mut self, revision: u64, changes: Vec<Change>) {
        let mut dirty = Dirty::default();
        let told = tell::Changes::of(&changes);
        for change in changes {
            self.take(change, &mut dirty);
        }
        self.publish(revision, dirty);
        told.tell(&self.options.metrics.events, &self.rejected);
    }

    fn refresh(&mut self) {
        let changed = self.options.names.take_changed();
        let concerns = |used: &BTreeSet<String>| used.iter().any(|host| changed.contains(&**host));
        let services = self.hosts.iter().filter(|(_, used)| concerns(used)).map(|(service, _)| service.to_string());
        let dirty = Dirty { services: services.collect(), ..Dirty::default() };
        if !dirty.services.is_empty() {
            let revision = self.handle.load().revision;
            self.publish(revision, dirty);
        }
        self.options.names.compiled();
    }

    fn last_good(&self) -> Vec<Change> {
        fn of<T>(objects: &BTreeMap<String, Kept<T>>, id: &str) -> Option<(u64, Bytes)> {
            let kept = objects.get(id).filter(|kept| kept.is_broken)?;
            kept.good.as_ref().map(|(revision, value, _)| (*revision, value.clone()))
        }
        // What is broken is what was rejected, and few.
        let good = |full_key: &String| {
            let id = |family: &str| full_key.strip_prefix(family);
            let (revision, value) = if let Some(id) = id(key::ROUTES) {
                self.routes.last_good(id)
            } else if let Some(id) = id(key::NODES) {
                of(&self.nodes, id)
            } else if let Some(id) = id(key::SERVICES) {
                of(&self.services, id)
            } else if let Some(id) = id(key::PLUGINS) {
                of(&self.plugins, id)
            } else if let Some(id) = id(key::OVERLAYS) {
                of(&self.overlays, id)
            } else {
                of(&self.certificates, id(key::CERTIFICATES)?)
            }?;
            Some(Change { key: full_key.clone(), value: Some(value), revision })
        };
        self.rejected.keys().filter_map(good).collect()
    }

    fn restore_last_good(&mut self, versions: Vec<Change>) {
        self.restored = versions.into_iter().map(|change| (change.key.clone(), change)).collect();
    }
}

/// A thread that drops what is sent to it, until the sender is gone.
fn graveyard() -> std::sync::mpsc::Sender<Arc<Snapshot>> {
    let (sender, receiver) = std::sync::mpsc::channel();
    let thread = std::thread::Builder::new().name("snapshot-drop".into());
    if let Err(e) = thread.spawn(move || receiver.into_iter().for_each(drop::<Arc<Snapshot>>)) {
        log::warn!("old snapshots are dropped while new ones are made: {e}");
    }
    sender
}

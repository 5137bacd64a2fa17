//! Compiles changes into the next snapshot, reusing all that did not change.
//!
//! Every object is read by itself and kept as its last good version. An object that is broken
//! never replaces a good one and never opens a door: a route that never was good keeps its place
//! and answers 503, and a broken global plugin closes every route it would cover.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Weak};

use ws_cloud_plugin_sdk::{Env, RouteInfo};

use super::change::{Change, Publish, Rejected, Serving, Warning};
use super::kept::{Kept, keep, last_good_or, of_service};
use super::object::{Checker, ParsedPlugin, ParsedRoute};
use super::services::{Places, ServiceDefaults, Upstreams};
use super::trust::ParsedService;
use super::{CompiledRoute, Handle, RouteRetry, RouteState, ServiceIds, Slot, Snapshot};
use crate::pipeline::{Instance, Pipeline};
use crate::resource::{BrokenHosts, Node, NodeOverlay, Protocol, Timeouts, key};
use crate::router::{Entry, Pattern, Router};
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
    options: CompileOptions,
    handle: Arc<Handle>,
    routes: BTreeMap<String, Kept<ParsedRoute>>,
    nodes: BTreeMap<String, Kept<Node>>,
    services: BTreeMap<String, Kept<ParsedService>>,
    plugins: BTreeMap<String, Kept<ParsedPlugin>>,
    overlays: BTreeMap<String, Kept<NodeOverlay>>,
    certificates: BTreeMap<String, Kept<Arc<tls::Entry>>>,
    /// What the router is built from; an entry is made anew only when its route changes.
    entries: BTreeMap<String, Entry<Arc<CompiledRoute>>>,
    /// Drops old snapshots: of 100,000 routes that takes longer than making the next.
    graveyard: std::sync::mpsc::Sender<Arc<Snapshot>>,
    pipelines: HashMap<Vec<usize>, Weak<Pipeline>>,
    ids: ServiceIds,
    slots: Vec<Slot>,
    upstreams: Upstreams,
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
    routes: BTreeSet<String>,
    plugins: bool,
    certificates: bool,
    services: BTreeSet<String>,
}

impl Compiler {
    /// A compiler that publishes to this handle.
    pub fn new(options: CompileOptions, handle: Arc<Handle>) -> Self {
        let upstreams = Upstreams::new(options.services.clone());
        Self {
            options,
            handle,
            upstreams,
            routes: BTreeMap::new(),
            nodes: BTreeMap::new(),
            services: BTreeMap::new(),
            plugins: BTreeMap::new(),
            overlays: BTreeMap::new(),
            certificates: BTreeMap::new(),
            entries: BTreeMap::new(),
            graveyard: graveyard(),
            pipelines: HashMap::new(),
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
            dirty.routes.insert(id.to_owned());
            let checker = Arc::clone(&self.options.checker);
            let broken = keep(&mut self.routes, id, change, restored, |_, value| checker.route(value));
            self.note(&full_key, broken, |c| match c.routes.get(id) {
                Some(Kept { good: Some(_), .. }) => Serving::LastGood,
                Some(kept) if c.options.checker.place(id, &kept.value, ()).is_some() => Serving::Unavailable,
                _ => Serving::LeftOut,
            });
        } else if let Some(id) = full_key.strip_prefix(key::NODES) {
            self.take_node(id, change, restored, dirty);
        } else if let Some(name) = full_key.strip_prefix(key::SERVICES) {
            dirty.services.insert(name.to_owned());
            let checker = Arc::clone(&self.options.checker);
            let broken = keep(&mut self.services, name, change, restored, |name, value| checker.service(name, value));
            self.note(&full_key, broken, |c| last_good_or(&c.services, name, Serving::Unavailable));
        } else if let Some(name) = full_key.strip_prefix(key::PLUGINS) {
            dirty.plugins = true;
            let checker = Arc::clone(&self.options.checker);
            let broken =
                keep(&mut self.plugins, name, change, restored, |name, value| checker.global_plugin(name, value));
            self.note(&full_key, broken, |c| last_good_or(&c.plugins, name, Serving::Unavailable));
        } else if let Some(id) = full_key.strip_prefix(key::OVERLAYS) {
            dirty.services.extend(key::service_of_node(id).map(str::to_owned));
            let broken = keep(&mut self.overlays, id, change, restored, |_, value| NodeOverlay::parse(value));
            self.note(&full_key, broken, |c| last_good_or(&c.overlays, id, Serving::LeftOut));
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
        self.note(&full_key, broken, |c| last_good_or(&c.nodes, id, Serving::LeftOut));
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
        self.note(&full_key, broken, |c| last_good_or(&c.certificates, id, Serving::Unavailable));
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
    fn note(&mut self, full_key: &str, broken: Option<(u64, String)>, serving: impl FnOnce(&Self) -> Serving) {
        let Some((revision, reason)) = broken else {
            self.rejected.remove(full_key);
            return;
        };
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
        let before = self.handle.load_full();
        if dirty.plugins {
            dirty.routes = self.routes.keys().chain(self.entries.keys()).cloned().collect();
        }
        let router = if dirty.routes.is_empty() { Arc::clone(&before.router) } else { self.router(&dirty.routes) };
        for service in std::mem::take(&mut dirty.services) {
            self.rebuild_service(&service);
        }
        self.slots.resize(self.ids.names.len(), Slot::Empty);
        let snapshot = Arc::new(Snapshot {
            revision,
            rejected: self.rejected.values().cloned().collect(),
            warnings: self.all_warnings().collect(),
            router,
            certificates: if dirty.certificates {
                Arc::new(self.cert_store())
            } else {
                Arc::clone(&before.certificates)
            },
            services: self.slots.clone().into(),
            routes: self.entries.len(),
        });
        self.start_plugins(&dirty.routes);
        let old = self.handle.publish(snapshot);
        drop(before);
        if let Err(unsent) = self.graveyard.send(old) {
            // Its thread is gone, which it never is; then it is dropped here.
            drop(unsent);
        }
    }

    fn router(&mut self, changed: &BTreeSet<String>) -> Arc<Router<Arc<CompiledRoute>>> {
        let globals: Vec<Arc<Instance>> =
            self.plugins.values().filter_map(|kept| kept.good.as_ref()?.2.0.clone()).collect();
        let closed = self.plugins.values().any(|kept| kept.good.is_none());
        let routes = std::mem::take(&mut self.routes);
        for id in changed {
            match routes.get(id).and_then(|kept| self.entry(id, kept, &globals, closed)) {
                Some(entry) => self.entries.insert(id.clone(), entry),
                None => self.entries.remove(id),
            };
        }
        self.routes = routes;
        self.pipelines.retain(|_, pipeline| pipeline.strong_count() > 0);
        Arc::new(Router::build(self.entries.values().cloned().collect()))
    }

    fn entry(
        &mut self,
        id: &str,
        kept: &Kept<ParsedRoute>,
        globals: &[Arc<Instance>],
        closed: bool,
    ) -> Option<Entry<Arc<CompiledRoute>>> {
        let Some((_, _, parsed)) = &kept.good else {
            let place = self.options.checker.place(id, &kept.value, ())?;
            let target = Arc::new(self.broken_route(id, &place.pattern));
            return self.options.checker.place(id, &kept.value, target);
        };
        if !parsed.route.enabled {
            return None;
        }
        let target = Arc::new(self.live_route(id, parsed, globals, closed));
        Some(Entry {
            pattern: parsed.pattern.clone(),
            hosts: parsed.hosts.clone(),
            methods: parsed.route.methods.clone(),
            headers: parsed.headers.clone(),
            query: parsed.query.clone(),
            priority: parsed.route.priority,
            key: id.to_owned(),
            target,
        })
    }

    fn live_route(&mut self, id: &str, parsed: &ParsedRoute, globals: &[Arc<Instance>], closed: bool) -> CompiledRoute {
        let route = &parsed.route;
        let service = (!route.service_name.is_empty()).then(|| self.ids.of(&route.service_name));
        CompiledRoute {
            info: Arc::new(RouteInfo {
                key: id.to_owned(),
                prefix: route.prefix.clone(),
                service: route.service_name.clone(),
                protocol: match route.protocol {
                    Protocol::Http => ws_cloud_plugin_sdk::Protocol::Http,
                    Protocol::Grpc => ws_cloud_plugin_sdk::Protocol::Grpc,
                },
            }),
            protocol: route.protocol,
            pipeline: self.pipeline(parsed.plugins.iter().chain(globals)),
            timeouts: route.timeouts,
            retry: RouteRetry::new(&route.retry),
            max_body_size: route.max_body_size,
            metrics: self.options.metrics.route(id, &route.service_name),
            service_metrics: service.map(|_| self.options.metrics.service(&route.service_name)),
            service,
            state: if closed { RouteState::Broken } else { RouteState::Live },
        }
    }

    fn broken_route(&mut self, id: &str, pattern: &Pattern) -> CompiledRoute {
        CompiledRoute {
            info: Arc::new(RouteInfo { key: id.to_owned(), prefix: pattern.to_string(), ..RouteInfo::default() }),
            protocol: Protocol::Http,
            pipeline: Arc::default(),
            timeouts: Timeouts::default(),
            retry: RouteRetry::default(),
            max_body_size: None,
            metrics: self.options.metrics.route(id, ""),
            service_metrics: None,
            service: None,
            state: RouteState::Broken,
        }
    }

    /// The pipeline of these instances: routes with the same plugins and settings share one.
    fn pipeline<'a>(&mut self, instances: impl Iterator<Item = &'a Arc<Instance>> + Clone) -> Arc<Pipeline> {
        let id: Vec<usize> = instances.clone().map(|i| Arc::as_ptr(i).addr()).collect();
        if let Some(pipeline) = self.pipelines.get(&id).and_then(Weak::upgrade) {
            return pipeline;
        }
        let pipeline = Arc::new(Pipeline::new(instances.cloned()));
        self.pipelines.insert(id, Arc::downgrade(&pipeline));
        pipeline
    }

    fn rebuild_service(&mut self, name: &str) {
        let id = self.ids.of(name);
        self.slots.resize(self.ids.names.len(), Slot::Empty);
        let name = Arc::clone(&self.ids.names[id.0 as usize]);
        let declared = self.services.get(&*name);
        let checker = Arc::clone(&self.options.checker);
        let names = Arc::clone(&self.options.names);
        let mut places = Places { checker: &checker, names: &names, used: BTreeSet::new(), warnings: Vec::new() };
        self.slots[id.0 as usize] = match declared {
            Some(Kept { good: None, .. }) => Slot::Broken,
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

    /// Starts the plugins of changed routes; those that run already are left alone.
    fn start_plugins(&self, changed: &BTreeSet<String>) {
        for entry in changed.iter().filter_map(|id| self.entries.get(id)) {
            for instance in entry.target.pipeline.instances() {
                instance.start(&*self.options.env);
            }
        }
    }

    fn keys(&self) -> Vec<String> {
        let of =
            |family: &str, ids: Vec<&String>| ids.into_iter().map(|id| format!("{family}{id}")).collect::<Vec<_>>();
        let mut keys = of(key::ROUTES, self.routes.keys().collect());
        keys.extend(of(key::NODES, self.nodes.keys().collect()));
        keys.extend(of(key::SERVICES, self.services.keys().collect()));
        keys.extend(of(key::PLUGINS, self.plugins.keys().collect()));
        keys.extend(of(key::OVERLAYS, self.overlays.keys().collect()));
        keys.extend(of(key::CERTIFICATES, self.certificates.keys().collect()));
        keys
    }
}

impl Publish for Compiler {
    fn replace(&mut self, revision: u64, entries: Vec<Change>) {
        let present: HashSet<&str> = entries.iter().map(|e| e.key.as_str()).collect();
        let gone = self.keys().into_iter().filter(|key| !present.contains(key.as_str()));
        let gone: Vec<Change> = gone.map(|key| Change { key, value: None, revision }).collect();
        self.apply(revision, gone.into_iter().chain(entries).collect());
        // Kept for the first full state only.
        self.restored.clear();
    }

    fn apply(&mut self, revision: u64, changes: Vec<Change>) {
        let mut dirty = Dirty::default();
        for change in changes {
            self.take(change, &mut dirty);
        }
        self.publish(revision, dirty);
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
        fn of<T>(family: &str, objects: &BTreeMap<String, Kept<T>>, out: &mut Vec<Change>) {
            out.extend(objects.iter().filter(|(_, kept)| kept.is_broken).filter_map(|(id, kept)| {
                let (revision, value, _) = kept.good.as_ref()?;
                Some(Change { key: format!("{family}{id}"), value: Some(value.clone()), revision: *revision })
            }));
        }
        let mut out = Vec::new();
        of(key::ROUTES, &self.routes, &mut out);
        of(key::NODES, &self.nodes, &mut out);
        of(key::SERVICES, &self.services, &mut out);
        of(key::PLUGINS, &self.plugins, &mut out);
        of(key::OVERLAYS, &self.overlays, &mut out);
        of(key::CERTIFICATES, &self.certificates, &mut out);
        out
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

//! What would be live with a change laid over it: compiled aside, published to nobody, nothing
//! started, nothing counted. For explain.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use ws_cloud_plugin_sdk::RouteInfo;

use super::change::{Change, Publish};
use super::compile::Compiler;
use super::kept::of_service;
use super::object::{Checker, ParsedPlugin};
use super::routes::{Globals, Routes};
use super::services::Places;
use super::trust::ParsedService;
use super::{CompiledRoute, RouteState, ServiceId, Slot, Snapshot};
use crate::resource::{Invalid, Node, NodeOverlay, Protocol, Route, key};
use crate::router::{Candidate, Edit, Lookup};

/// Most routes that are off and are looked at.
const MAX_OFF: usize = 10_000;
/// The place of a service that has none.
const NO_PLACE: ServiceId = ServiceId(u32::MAX);

/// The compiler, shared by control, which publishes with it, and by who asks what would be. Requests
/// never come near its lock.
#[derive(Clone)]
pub struct SharedCompiler(Arc<Mutex<Compiler>>);

/// What would be live.
#[derive(Debug)]
pub struct Preview {
    /// All of it.
    pub snapshot: Arc<Snapshot>,
    checker: Arc<Checker>,
    off: Vec<(Arc<str>, Bytes)>,
}

/// A node as it is declared, whether or not it takes requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredNode {
    /// Its key, without the data prefix and `discovery/`.
    pub id: String,
    /// What it says itself.
    pub node: Node,
    /// What an operator says of it.
    pub overlay: NodeOverlay,
}

impl SharedCompiler {
    /// Shares a compiler.
    pub fn new(compiler: Compiler) -> Self {
        Self(Arc::new(Mutex::new(compiler)))
    }

    /// What is live, or would be with this change. Waits while something is being compiled.
    ///
    /// # Errors
    /// When the change would be refused, or is of a kind that concerns no request.
    pub fn preview(&self, change: Option<&Change>) -> Result<Preview, Invalid> {
        let compiler = self.lock();
        let snapshot = match change {
            None => compiler.handle.load_full(),
            Some(change) => Arc::new(compiler.with(change)?),
        };
        let mut off: Vec<_> =
            compiler.routes.off().take(MAX_OFF).map(|(id, value)| (id.clone(), value.clone())).collect();
        if let Some((id, change)) = change.and_then(|change| Some((change.key.strip_prefix(key::ROUTES)?, change))) {
            off.retain(|(off, _)| **off != *id);
            off.extend(change.value.as_ref().filter(|value| is_off(value)).map(|value| (id.into(), value.clone())));
        }
        Ok(Preview { snapshot, checker: Arc::clone(&compiler.options.checker), off })
    }

    /// The nodes of a service as they are declared, or would be with this change.
    ///
    /// # Errors
    /// When the change would be refused.
    pub fn nodes_of(&self, service: &str, change: Option<&Change>) -> Result<Vec<DeclaredNode>, Invalid> {
        let compiler = self.lock();
        let changed = Changed::read(&compiler.options.checker, change)?;
        let declared = compiler.declared(service, &changed).into_iter();
        let plain = NodeOverlay::default();
        let node = |(id, (node, overlay)): (&str, (&Node, Option<&NodeOverlay>))| DeclaredNode {
            id: id.to_owned(),
            node: node.clone(),
            overlay: overlay.unwrap_or(&plain).clone(),
        };
        Ok(declared.map(node).collect())
    }

    fn lock(&self) -> MutexGuard<'_, Compiler> {
        // A panic while something was compiled is control's business, which begins anew after it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Publish for SharedCompiler {
    fn replace(&mut self, revision: u64, entries: &mut dyn Iterator<Item = Change>) {
        self.lock().replace(revision, entries);
    }

    fn apply(&mut self, revision: u64, changes: Vec<Change>) {
        self.lock().apply(revision, changes);
    }

    fn refresh(&mut self) {
        self.lock().refresh();
    }

    fn last_good(&self) -> Vec<Change> {
        self.lock().last_good()
    }

    fn restore_last_good(&mut self, versions: Vec<Change>) {
        self.lock().restore_last_good(versions);
    }
}

impl Preview {
    /// Every route whose path pattern matches, those that are off among them, in the order in which
    /// the router considers them. See [`crate::router::Router::candidates`].
    pub fn candidates<T>(
        &self,
        lookup: &Lookup<'_>,
        show: impl FnMut(Candidate<'_, Arc<CompiledRoute>>) -> T,
    ) -> Vec<T> {
        let off = |(id, value): &(Arc<str>, Bytes)| self.checker.off(id, value, lookup.path, |route| off(id, route));
        let off: Vec<Edit<_>> = self.off.iter().filter_map(off).map(Edit::Insert).collect();
        self.snapshot.router.edited(off).candidates(lookup).map(show).collect()
    }

    /// What reads and checks objects, and knows the plugins.
    pub fn checker(&self) -> &Arc<Checker> {
        &self.checker
    }
}

fn is_off(value: &[u8]) -> bool {
    Route::parse(value).is_ok_and(|route| !route.enabled)
}

fn off(id: &str, route: &Route) -> Arc<CompiledRoute> {
    let info = RouteInfo {
        key: id.to_owned(),
        prefix: route.prefix.clone(),
        service: route.service_name.clone(),
        ..RouteInfo::default()
    };
    Arc::new(CompiledRoute {
        info: Arc::new(info),
        protocol: Protocol::Http,
        pipeline: Arc::default(),
        options: Arc::default(),
        metrics: Arc::default(),
        service_metrics: None,
        own: Arc::default(),
        service: None,
        state: RouteState::Off,
    })
}

/// What a change says of the nodes of a service, or of the service; read and found good.
#[derive(Default)]
struct Changed {
    node: Option<(String, Option<Node>)>,
    overlay: Option<(String, Option<NodeOverlay>)>,
    service: Option<(String, Option<ParsedService>)>,
}

impl Changed {
    fn read(checker: &Checker, change: Option<&Change>) -> Result<Self, Invalid> {
        let Some(Change { key, value, .. }) = change else { return Ok(Self::default()) };
        let value = value.as_deref();
        Ok(Self {
            node: match key.strip_prefix(key::NODES) {
                Some(id) => Some((id.to_owned(), value.map(|value| checker.node(id, value)).transpose()?)),
                None => None,
            },
            overlay: match key.strip_prefix(key::OVERLAYS) {
                Some(id) => Some((id.to_owned(), value.map(NodeOverlay::parse).transpose()?)),
                None => None,
            },
            service: match key.strip_prefix(key::SERVICES) {
                Some(name) => Some((name.to_owned(), value.map(|value| checker.service(name, value)).transpose()?)),
                None => None,
            },
        })
    }

    /// The service it concerns.
    fn concerns(&self) -> Option<&str> {
        let node = self.node.as_ref().map(|(id, _)| id).or(self.overlay.as_ref().map(|(id, _)| id));
        let service = self.service.as_ref().map(|(name, _)| name.as_str());
        node.and_then(|id| key::service_of_node(id)).or(service)
    }
}

impl Compiler {
    /// The snapshot there would be after a change.
    pub(super) fn with(&self, change: &Change) -> Result<Snapshot, Invalid> {
        let mut snapshot = Snapshot::clone(&self.handle.load());
        snapshot.rejected = snapshot.rejected.iter().filter(|rejected| rejected.key != change.key).cloned().collect();
        let checker = &self.options.checker;
        if let Some(id) = change.key.strip_prefix(key::ROUTES) {
            let parsed = change.value.as_ref().map(|value| checker.route(value)).transpose()?;
            let place = |service: &str| self.ids.ids.get(service).copied().unwrap_or(NO_PLACE);
            snapshot.router = Arc::new(self.routes.edited(&snapshot.router, id, parsed, place));
            return Ok(snapshot);
        }
        if let Some(name) = change.key.strip_prefix(key::PLUGINS) {
            let parsed = change.value.as_ref().map(|value| checker.global_plugin(name, value)).transpose()?;
            snapshot.router = Arc::new(Routes::covered_by(&snapshot.router, &self.globals_with(name, parsed)));
            return Ok(snapshot);
        }
        let changed = Changed::read(checker, Some(change))?;
        let Some(service) = changed.concerns() else {
            return Err(Invalid::at("", format!("\"{}\" decides about no request", change.key)));
        };
        let Some((name, id)) = self.ids.ids.get_key_value(service) else {
            // No route names it.
            return Ok(snapshot);
        };
        let mut slots = self.slots.clone();
        slots.resize(slots.len().max(id.0 as usize + 1), Slot::Empty);
        slots[id.0 as usize] = self.slot_with(name, &changed);
        snapshot.services = slots.into();
        Ok(snapshot)
    }

    fn globals_with(&self, name: &str, changed: Option<ParsedPlugin>) -> Globals {
        let others = || self.plugins.iter().filter(|(other, _)| *other != name).map(|(_, kept)| &kept.good);
        let others_on = others().filter_map(|good| good.as_ref()?.2.0.clone());
        let instances = others_on.chain(changed.and_then(|ParsedPlugin(instance)| instance)).collect();
        Globals { instances, closed: others().any(Option::is_none) }
    }

    fn slot_with(&self, name: &Arc<str>, changed: &Changed) -> Slot {
        let plain = ParsedService::default();
        let kept = self.services.get(&**name);
        let service = match &changed.service {
            Some((_, service)) => service.as_ref().unwrap_or(&plain),
            None => match kept.map(|kept| &kept.good) {
                Some(None) => return Slot::Broken,
                Some(Some((_, _, service))) => service,
                None => &plain,
            },
        };
        let mut places = Places { is_look: true, ..Places::new(&self.options.checker, &self.options.names) };
        let nodes = self.declared(name, changed).into_values();
        self.upstreams.foresee(name, service, nodes, &mut places).map_or(Slot::Empty, Slot::Ready)
    }

    /// The nodes of a service, with what operators say of them, by id.
    fn declared<'a>(
        &'a self,
        service: &'a str,
        changed: &'a Changed,
    ) -> BTreeMap<&'a str, (&'a Node, Option<&'a NodeOverlay>)> {
        let is_ours = |id: &str| key::service_of_node(id) == Some(service);
        let mut nodes: BTreeMap<&str, &Node> = of_service(&self.nodes, service).collect();
        let mut overlays: BTreeMap<&str, &NodeOverlay> = of_service(&self.overlays, service).collect();
        if let Some((id, node)) = changed.node.as_ref().filter(|(id, _)| is_ours(id)) {
            nodes.remove(id.as_str());
            nodes.extend(node.as_ref().map(|node| (id.as_str(), node)));
        }
        if let Some((id, overlay)) = changed.overlay.as_ref().filter(|(id, _)| is_ours(id)) {
            overlays.remove(id.as_str());
            overlays.extend(overlay.as_ref().map(|overlay| (id.as_str(), overlay)));
        }
        nodes.into_iter().map(|(id, node)| (id, (node, overlays.get(id).copied()))).collect()
    }
}

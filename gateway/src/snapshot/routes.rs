//! The routes: as the store has them, their last good versions, and the router made of them.
//!
//! Of a route only its value is kept, and what it was compiled to: there may be a hundred thousand.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use ws_cloud_plugin_sdk::RouteInfo;

use super::change::{Change, Serving};
use super::compile::CompileOptions;
use super::object::ParsedRoute;
use super::{CompiledRoute, CompiledRouter, RouteOptions, RouteState, ServiceId, ServiceIds};
use crate::pipeline::{Instance, Pipeline};
use crate::resource::{Invalid, Protocol};
use crate::router::{Edit, Entry, Pattern, Place};
use crate::telemetry::{RouteMetrics, ServiceMetrics};

/// Changes that are collected before the router takes them up, so that a first load does not hold all of it twice.
const COLLECTED: usize = 8192;

/// All routes.
#[derive(Default)]
pub(super) struct Routes {
    known: HashMap<Arc<str>, Known>,
    router: Arc<CompiledRouter>,
    /// What the router has not taken up yet.
    pending: HashMap<Arc<str>, Pending>,
    globals: Globals,
    pipelines: Pipelines,
    /// Those of routes that have none of their own.
    options: Arc<RouteOptions>,
}

/// The plugins that cover every route.
#[derive(Default)]
pub(super) struct Globals {
    pub(super) instances: Vec<Arc<Instance>>,
    /// Whether one is broken and never was good: then every route is closed.
    pub(super) closed: bool,
}

/// A route as the store has it.
#[derive(Default)]
struct Known {
    good: Option<Version>,
    /// The store's version, when that is not the good one.
    broken: Option<Box<Bytes>>,
    /// Where it stands in the router; nowhere when it is off.
    place: Option<Place>,
}

struct Version {
    revision: u64,
    value: Bytes,
}

struct Pending {
    /// Where the router has it.
    stood: Option<Place>,
    /// What it is to have instead.
    entry: Option<Entry<Arc<CompiledRoute>>>,
}

/// What routes are compiled with.
pub(super) struct With<'a> {
    pub(super) options: &'a CompileOptions,
    pub(super) ids: &'a mut ServiceIds,
}

impl Routes {
    /// Takes a change. Returns the revision and the reason when the route is broken.
    pub(super) fn take(
        &mut self,
        id: &str,
        change: Change,
        restored: Option<Change>,
        with: &mut With<'_>,
    ) -> Option<(u64, String)> {
        let checker = &with.options.checker;
        // Before anything changes here: a plugin may panic over its settings.
        let parsed = change.value.as_ref().map(|value| checker.route(value));
        let (id, mut known) = self.known.remove_entry(id).unwrap_or_else(|| (id.into(), Known::default()));
        let (Some(parsed), Some(value)) = (parsed, change.value) else {
            self.set(&id, &mut known, None);
            return None;
        };
        let broken = match parsed {
            Ok(parsed) => {
                let entry = self.live(&id, parsed, with);
                self.set(&id, &mut known, entry);
                known.good = Some(Version { revision: change.revision, value });
                known.broken = None;
                None
            }
            Err(invalid) => {
                let read = |version: Version| Some((checker.route(&version.value).ok()?, version));
                let restored = restored.and_then(|c| Some(Version { revision: c.revision, value: c.value? }));
                // One that stands, stands.
                if known.good.is_none() || known.place.is_none() {
                    let entry = match known.good.take().or(restored).and_then(read) {
                        Some((parsed, version)) => {
                            known.good = Some(version);
                            self.live(&id, parsed, with)
                        }
                        None => checker.place(&id, &value, ()).map(|place| self.closed(&id, place, with)),
                    };
                    self.set(&id, &mut known, entry);
                }
                known.broken = Some(Box::new(value));
                Some((change.revision, Invalid::to_string(&invalid)))
            }
        };
        self.known.insert(id, known);
        broken
    }

    /// What happens in place of a broken route.
    pub(super) fn serving(&self, id: &str) -> Serving {
        match self.known.get(id) {
            Some(Known { good: Some(_), .. }) => Serving::LastGood,
            Some(Known { place: Some(_), .. }) => Serving::Unavailable,
            _ => Serving::LeftOut,
        }
    }

    /// The version that is live of a route that is broken.
    pub(super) fn last_good(&self, id: &str) -> Option<(u64, Bytes)> {
        let known = self.known.get(id).filter(|known| known.broken.is_some())?;
        known.good.as_ref().map(|good| (good.revision, good.value.clone()))
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.known.keys().map(|id| &**id)
    }

    /// Forgets what the router has, for every route is about to be taken anew.
    pub(super) fn begin_anew(&mut self) {
        self.router = Arc::default();
        self.pending.clear();
        self.known.values_mut().for_each(|known| known.place = None);
    }

    /// The router with all that was taken.
    pub(super) fn router(&mut self) -> Arc<CompiledRouter> {
        self.take_up();
        Arc::clone(&self.router)
    }

    /// Puts every route behind these, unless it is already.
    pub(super) fn cover(&mut self, globals: Globals) {
        if globals == self.globals {
            return;
        }
        self.take_up();
        self.globals = globals;
        self.router = Arc::new(covered(&self.router, &self.globals, &mut self.pipelines));
    }

    /// A router with all routes behind these, of which nothing is kept here.
    pub(super) fn covered_by(router: &CompiledRouter, globals: &Globals) -> CompiledRouter {
        covered(router, globals, &mut Pipelines::default())
    }

    /// A router in which this route is as given, of which nothing is kept here; nothing is counted for the route.
    /// `service` finds the places of services.
    pub(super) fn edited(
        &self,
        router: &CompiledRouter,
        id: &str,
        changed: Option<ParsedRoute>,
        service: impl FnOnce(&str) -> ServiceId,
    ) -> CompiledRouter {
        let id: Arc<str> = id.into();
        let stands = self.known.get(&id).and_then(|known| known.place);
        let entry = changed.and_then(|parsed| {
            let service = (!parsed.route.service_name.is_empty()).then(|| service(&parsed.route.service_name));
            let (metrics, service_metrics) = (Arc::default(), service.map(|_| Arc::default()));
            let surroundings = Surroundings { service, metrics, service_metrics };
            compiled(&id, parsed, surroundings, &self.globals, &mut Pipelines::default(), &self.options)
        });
        let edits = [stands.map(|place| Edit::Remove(place, id)), entry.map(Edit::Insert)];
        router.edited(edits.into_iter().flatten().collect())
    }

    /// The routes that are off: their ids, and their values.
    pub(super) fn off(&self) -> impl Iterator<Item = (&Arc<str>, &Bytes)> {
        let off = self.known.iter().filter(|(_, known)| known.place.is_none());
        off.filter_map(|(id, known)| Some((id, &known.good.as_ref()?.value)))
    }

    /// The pipelines that were made since this was last asked, and are used.
    pub(super) fn new_pipelines(&mut self) -> impl Iterator<Item = Arc<Pipeline>> {
        std::mem::take(&mut self.pipelines.new).into_iter().filter_map(|pipeline| pipeline.upgrade())
    }

    fn set(&mut self, id: &Arc<str>, known: &mut Known, entry: Option<Entry<Arc<CompiledRoute>>>) {
        let place = entry.as_ref().map(|entry| self.router.place(&entry.pattern));
        let stood = std::mem::replace(&mut known.place, place);
        self.pending.entry(Arc::clone(id)).or_insert(Pending { stood, entry: None }).entry = entry;
        if self.pending.len() >= COLLECTED {
            self.take_up();
        }
    }

    fn take_up(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let edits = std::mem::take(&mut self.pending).into_iter().flat_map(|(id, Pending { stood, entry })| {
            [stood.map(|place| Edit::Remove(place, id)), entry.map(Edit::Insert)].into_iter().flatten()
        });
        self.router = Arc::new(self.router.edited(edits.collect()));
    }

    fn live(&mut self, id: &Arc<str>, parsed: ParsedRoute, with: &mut With<'_>) -> Option<Entry<Arc<CompiledRoute>>> {
        if !parsed.route.enabled {
            return None;
        }
        let name = &parsed.route.service_name;
        let service = (!name.is_empty()).then(|| with.ids.of(name));
        let surroundings = Surroundings {
            service,
            metrics: with.options.metrics.route(id, name),
            service_metrics: service.map(|_| with.options.metrics.service(name)),
        };
        compiled(id, parsed, surroundings, &self.globals, &mut self.pipelines, &self.options)
    }

    fn closed(&self, id: &Arc<str>, place: Entry<()>, with: &With<'_>) -> Entry<Arc<CompiledRoute>> {
        let Entry { pattern, hosts, methods, headers, query, priority, .. } = place;
        let target = Arc::new(self.broken(id, &pattern, with));
        Entry { pattern, hosts, methods, headers, query, priority, key: Arc::clone(id), target }
    }

    fn broken(&self, id: &str, pattern: &Pattern, with: &With<'_>) -> CompiledRoute {
        CompiledRoute {
            info: Arc::new(RouteInfo { key: id.to_owned(), prefix: pattern.to_string(), ..RouteInfo::default() }),
            protocol: Protocol::Http,
            pipeline: Arc::default(),
            own: Arc::default(),
            options: Arc::clone(&self.options),
            metrics: with.options.metrics.route(id, ""),
            service_metrics: None,
            service: None,
            state: RouteState::Broken,
        }
    }
}

/// What a route is compiled with that is not its own.
struct Surroundings {
    service: Option<ServiceId>,
    metrics: Arc<RouteMetrics>,
    service_metrics: Option<Arc<ServiceMetrics>>,
}

/// A route as it stands in the router; `None` when it is off.
fn compiled(
    id: &Arc<str>,
    parsed: ParsedRoute,
    surroundings: Surroundings,
    globals: &Globals,
    pipelines: &mut Pipelines,
    plain: &Arc<RouteOptions>,
) -> Option<Entry<Arc<CompiledRoute>>> {
    let ParsedRoute { route, pattern, hosts, headers, query, plugins } = parsed;
    if !route.enabled {
        return None;
    }
    let Surroundings { service, metrics, service_metrics } = surroundings;
    let own = pipelines.get(plugins.iter());
    let options = RouteOptions::new(&route);
    let target = Arc::new(CompiledRoute {
        protocol: route.protocol,
        pipeline: pipelines.get(own.instances().iter().chain(&globals.instances)),
        own,
        options: if options == **plain { Arc::clone(plain) } else { Arc::new(options) },
        metrics,
        service_metrics,
        service,
        state: globals.state(),
        info: Arc::new(RouteInfo {
            key: (**id).to_owned(),
            prefix: route.prefix,
            service: route.service_name,
            protocol: match route.protocol {
                Protocol::Http => ws_cloud_plugin_sdk::Protocol::Http,
                Protocol::Grpc => ws_cloud_plugin_sdk::Protocol::Grpc,
            },
        }),
    });
    let (methods, priority, key) = (route.methods, route.priority, Arc::clone(id));
    Some(Entry { pattern, hosts, methods, headers, query, priority, key, target })
}

fn covered(router: &CompiledRouter, globals: &Globals, pipelines: &mut Pipelines) -> CompiledRouter {
    router.map(|route| match route.state {
        RouteState::Broken | RouteState::Off => Arc::clone(route),
        RouteState::Live | RouteState::Closed => Arc::new(CompiledRoute {
            pipeline: pipelines.get(route.own.instances().iter().chain(&globals.instances)),
            state: globals.state(),
            ..CompiledRoute::clone(route)
        }),
    })
}

impl PartialEq for Globals {
    fn eq(&self, other: &Self) -> bool {
        let same = |(a, b): (&Arc<Instance>, &Arc<Instance>)| Arc::ptr_eq(a, b);
        self.closed == other.closed
            && self.instances.len() == other.instances.len()
            && self.instances.iter().zip(&other.instances).all(same)
    }
}

impl Globals {
    fn state(&self) -> RouteState {
        if self.closed { RouteState::Closed } else { RouteState::Live }
    }
}

/// Routes with the same plugins and settings share a pipeline.
#[derive(Default)]
struct Pipelines {
    /// By the addresses of the instances, which a pipeline that is used keeps alive.
    known: HashMap<Vec<usize>, Weak<Pipeline>>,
    /// When they become so many, those that nobody uses are let go.
    most: usize,
    new: Vec<Weak<Pipeline>>,
}

impl Pipelines {
    fn get<'a>(&mut self, instances: impl Iterator<Item = &'a Arc<Instance>>) -> Arc<Pipeline> {
        // Only of those that it keeps alive: the address of another may be that of a new one one day.
        let instances = Pipeline::one_of_each(instances.cloned());
        let id: Vec<usize> = instances.iter().map(|i| Arc::as_ptr(i).addr()).collect();
        if let Some(pipeline) = self.known.get(&id).and_then(Weak::upgrade) {
            return pipeline;
        }
        if self.known.len() >= self.most {
            self.known.retain(|_, pipeline| pipeline.strong_count() > 0);
            self.most = (self.known.len() * 2).max(64);
        }
        let pipeline = Arc::new(Pipeline::new(instances));
        self.known.insert(id, Arc::downgrade(&pipeline));
        self.new.push(Arc::downgrade(&pipeline));
        pipeline
    }
}

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
use super::{CompiledRoute, RouteOptions, RouteState, ServiceIds};
use crate::pipeline::{Instance, Pipeline};
use crate::resource::{Invalid, Protocol};
use crate::router::{Edit, Entry, Pattern, Place, Router};

/// Changes that are collected before the router takes them up, so that a first load does not hold all of it twice.
const COLLECTED: usize = 8192;

/// All routes.
#[derive(Default)]
pub(super) struct Routes {
    known: HashMap<Arc<str>, Known>,
    router: Arc<Router<Arc<CompiledRoute>>>,
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
    pub(super) fn router(&mut self) -> Arc<Router<Arc<CompiledRoute>>> {
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
        let Self { router, globals, pipelines, .. } = self;
        *router = Arc::new(router.map(|route| match route.state {
            RouteState::Broken => Arc::clone(route),
            RouteState::Live | RouteState::Closed => Arc::new(CompiledRoute {
                pipeline: pipelines.get(route.own.instances().iter().chain(&globals.instances)),
                state: globals.state(),
                ..CompiledRoute::clone(route)
            }),
        }));
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
        let ParsedRoute { route, pattern, hosts, headers, query, plugins } = parsed;
        if !route.enabled {
            return None;
        }
        let service = (!route.service_name.is_empty()).then(|| with.ids.of(&route.service_name));
        let own = self.pipelines.get(plugins.iter());
        let options = RouteOptions::new(&route);
        let target = Arc::new(CompiledRoute {
            protocol: route.protocol,
            pipeline: self.pipelines.get(own.instances().iter().chain(&self.globals.instances)),
            own,
            options: if options == *self.options { Arc::clone(&self.options) } else { Arc::new(options) },
            metrics: with.options.metrics.route(id, &route.service_name),
            service_metrics: service.map(|_| with.options.metrics.service(&route.service_name)),
            service,
            state: self.globals.state(),
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

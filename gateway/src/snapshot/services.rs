//! Builds the upstreams of services from their nodes, overlays and settings.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::slice;
use std::sync::Arc;

use super::CheckDefaults;
use super::object::Checker;
use super::trust::ParsedService;
use crate::resource::{self, Balancer, HashPolicy, Node, NodeAddress, NodeOverlay, Service, Timeouts};
use crate::telemetry::Events;
use crate::upstream::{
    Balancing, HashOn, Hashing, Limits, Memory, Names, Node as UpstreamNode, NodeProtocol, NodeState, Nodes,
    PeerOptions, Peers, ProxyVersion, Reach, Resting, RetryOn, RetryPolicy, Upstream, UpstreamOptions, Walk,
};

/// What applies to services that say nothing themselves.
#[derive(Debug, Clone, Default)]
pub struct ServiceDefaults {
    /// How peers are made.
    pub peer: PeerOptions,
    /// How nodes are used.
    pub upstream: UpstreamOptions,
    /// How nodes are probed.
    pub check: CheckDefaults,
}

/// Builds upstreams, each from the one before it: what has not changed of a node is shared, and its
/// state and the round's position are kept.
#[derive(Debug)]
pub(super) struct Upstreams {
    defaults: ServiceDefaults,
    /// Who is told of changes of nodes.
    events: Arc<Events>,
    built: HashMap<Arc<str>, Arc<Upstream>>,
}

impl Upstreams {
    pub(super) fn new(defaults: ServiceDefaults, events: Arc<Events>) -> Self {
        Self { defaults, events, built: HashMap::new() }
    }

    /// The upstream of a service; `None` when no node takes requests. Of two nodes with the same
    /// address the one with the smaller key counts.
    pub(super) fn build<'a>(
        &mut self,
        name: &Arc<str>,
        parsed: &ParsedService,
        nodes: impl Iterator<Item = (&'a Node, Option<&'a NodeOverlay>)>,
        places: &mut Places<'_>,
    ) -> Option<Arc<Upstream>> {
        let before = self.built.remove(name);
        let upstream = Arc::new(self.make(name, parsed, nodes, places, before.as_deref())?);
        self.built.insert(Arc::clone(name), Arc::clone(&upstream));
        Some(upstream)
    }

    /// The upstream that would be built, of which nothing is kept here.
    pub(super) fn foresee<'a>(
        &self,
        name: &Arc<str>,
        parsed: &ParsedService,
        nodes: impl Iterator<Item = (&'a Node, Option<&'a NodeOverlay>)>,
        places: &mut Places<'_>,
    ) -> Option<Arc<Upstream>> {
        self.make(name, parsed, nodes, places, self.built.get(name).map(|before| &**before)).map(Arc::new)
    }

    fn make<'a>(
        &self,
        name: &Arc<str>,
        parsed: &ParsedService,
        nodes: impl Iterator<Item = (&'a Node, Option<&'a NodeOverlay>)>,
        places: &mut Places<'_>,
        before: Option<&Upstream>,
    ) -> Option<Upstream> {
        let service = &parsed.service;
        let reach =
            Reach::new(name, protocol(service.protocol), parsed.tls.clone(), service.proxy_protocol.map(version));
        let upstream_options = self.upstream_options(service, &reach);
        let mut builder = Builder::new(before, self.peer_options(service.timeouts, reach));
        let plain = NodeOverlay::default();
        let mut resting = Vec::new();
        for (node, overlay) in nodes {
            let overlay = overlay.unwrap_or(&plain);
            let weight = overlay.effective_weight(node);
            let (addresses, host) = places.of(&node.upstream);
            if weight > 0 {
                addresses.iter().for_each(|address| builder.add(*address, host, weight));
            } else {
                let state = |address| before.as_ref().and_then(|before| before.state_of(address)).map(Arc::clone);
                let rest = |address: &SocketAddr| Resting {
                    address: *address,
                    why: why(node, overlay),
                    state: state(*address),
                };
                resting.extend(addresses.iter().map(rest));
            }
        }
        let nodes = builder.finish();
        if nodes.is_empty() {
            return None;
        }
        let mut upstream = match before {
            Some(before) => before.succeeded_by(nodes, upstream_options),
            None => Upstream::new(Arc::clone(name), nodes, upstream_options, Memory::telling(&self.events)),
        };
        upstream.resting = resting;
        Some(upstream)
    }

    /// Drops what is kept of a service for its next build.
    pub(super) fn forget(&mut self, name: &str) {
        self.built.remove(name);
    }

    fn upstream_options(&self, service: &Service, reach: &Reach) -> UpstreamOptions {
        let defaults = &self.defaults.upstream;
        let retry = &service.retry;
        UpstreamOptions {
            balancing: balancing(service),
            slow_start: service.slow_start,
            limits: self.limits(service),
            speaks_http2: service.protocol == resource::NodeProtocol::Http2,
            max_tries: service.max_tries.map_or(defaults.max_tries, |tries| tries as usize),
            retry: RetryPolicy {
                on: retry.on.as_ref().map_or_else(|| defaults.retry.on.clone(), retry_on),
                within: retry.within.unwrap_or(defaults.retry.within),
                budget: retry.budget.unwrap_or(defaults.retry.budget),
            },
            first_byte: service.timeouts.first_byte.or(defaults.first_byte),
            total: service.timeouts.total.or(defaults.total),
            eject_time: service.health.passive.eject_time.unwrap_or(defaults.eject_time),
            passive: super::health::passive(&service.health.passive),
            check: self.defaults.check.check(service.health.active.as_ref()),
            proxy_protocol: reach.proxy_protocol(),
        }
    }

    fn limits(&self, service: &Service) -> Option<Limits> {
        let (declared, peer) = (&service.limits, &self.defaults.peer);
        if declared.requests.is_none() && declared.connections.is_none() {
            return None;
        }
        let requests = declared.requests.unwrap_or(u32::MAX);
        let connections = declared.connections.unwrap_or(u32::MAX);
        // Connections of HTTP/2 are not counted; so many of them carry so many requests.
        let streams = u32::try_from(peer.h2_max_streams).unwrap_or(u32::MAX);
        Some(Limits {
            http1: requests.min(connections),
            http2: requests.min(connections.saturating_mul(streams)),
            pending: declared.pending.unwrap_or(0) as usize,
            wait: service.timeouts.connect.unwrap_or(peer.connect),
        })
    }

    fn peer_options(&self, timeouts: Timeouts, reach: Reach) -> PeerOptions {
        let defaults = &self.defaults.peer;
        PeerOptions {
            connect: timeouts.connect.unwrap_or(defaults.connect),
            read: timeouts.read.unwrap_or(defaults.read),
            send: timeouts.send.unwrap_or(defaults.send),
            reach,
            ..defaults.clone()
        }
    }
}

/// Why a node takes no requests.
fn why(node: &Node, overlay: &NodeOverlay) -> &'static str {
    match overlay.state {
        resource::NodeState::Drain => "drain",
        resource::NodeState::Disabled => "disabled",
        resource::NodeState::Enabled if !node.enabled => "disabled",
        resource::NodeState::Enabled => "weight",
    }
}

fn balancing(service: &Service) -> Balancing {
    match (service.balancer, &service.hash) {
        (Balancer::Random, _) => Balancing::Random,
        (Balancer::LeastRequests, _) => Balancing::LeastRequests,
        (Balancer::Ewma, _) => Balancing::Ewma,
        (Balancer::Hash, Some(policy)) => hashing(policy).map_or(Balancing::RoundRobin, Balancing::Hash),
        _ => Balancing::RoundRobin,
    }
}

/// `None` for a policy without its name, which does not pass validation.
fn hashing(policy: &HashPolicy) -> Option<Hashing> {
    let name = policy.name.as_deref();
    let on = match policy.on {
        resource::HashOn::ClientIp => HashOn::ClientIp,
        resource::HashOn::Path => HashOn::Path,
        resource::HashOn::Header => HashOn::Header(name?.parse().ok()?),
        resource::HashOn::Cookie => HashOn::Cookie(name?.into()),
        resource::HashOn::Query => HashOn::Query(name?.into()),
    };
    Some(Hashing { on, bounded_load: policy.bounded_load })
}

pub(super) fn retry_on(on: &resource::RetryOn) -> RetryOn {
    RetryOn::new(on.connect, on.reset, on.timeout, &on.statuses)
}

fn protocol(declared: resource::NodeProtocol) -> NodeProtocol {
    match declared {
        resource::NodeProtocol::Http1 => NodeProtocol::Http1,
        resource::NodeProtocol::Http2 => NodeProtocol::Http2,
        resource::NodeProtocol::Auto => NodeProtocol::Auto,
    }
}

fn version(declared: resource::ProxyVersion) -> ProxyVersion {
    match declared {
        resource::ProxyVersion::V1 => ProxyVersion::V1,
        resource::ProxyVersion::V2 => ProxyVersion::V2,
    }
}

/// The nodes of a service after a change.
struct Builder<'a> {
    before: Option<(&'a Nodes, Walk<'a>)>,
    options: Arc<PeerOptions>,
    nodes: Nodes,
    /// The states of nodes that were not there before.
    new: Vec<Arc<NodeState>>,
}

impl<'a> Builder<'a> {
    fn new(before: Option<&'a Upstream>, options: PeerOptions) -> Self {
        let before = before.map(Upstream::nodes);
        // The same options, not only equal ones, so that a look is enough to see that a node's peers are good.
        let known = before.and_then(|nodes| nodes.first()).map(|node| node.peers.options());
        let options = known.filter(|known| ***known == options).map_or_else(|| Arc::new(options), Arc::clone);
        let nodes = Nodes::with_capacity(before.map_or(0, |nodes| nodes.len() + 1));
        Self { before: before.map(|nodes| (nodes, nodes.walk())), options, nodes, new: Vec::new() }
    }

    /// Adds a node, which is registered as `host` when not by address; unless there is one at its
    /// address.
    fn add(&mut self, address: SocketAddr, host: Option<&str>, weight: u32) {
        let Self { before, options, nodes, new } = self;
        nodes.add(address, || {
            let peers = || Peers::new(address, host, options);
            let Some(node) = before.as_mut().and_then(|(nodes, walk)| Some(&nodes[walk.find(address)?])) else {
                let node = UpstreamNode::new(address, weight, peers());
                new.push(Arc::clone(&node.state));
                return node;
            };
            let mut node = UpstreamNode { weight, ..node.clone() };
            if !node.peers.are_of(host, options) {
                node.peers = Arc::new(peers());
            }
            node
        });
    }

    fn finish(self) -> Nodes {
        if self.new.len() < self.nodes.len() {
            // Where no node is older there is none that could take its share meanwhile.
            self.new.iter().for_each(|state| state.warm_up());
        }
        self.nodes
    }
}

/// Where the nodes of a service are, and what is found out on the way.
pub(super) struct Places<'a> {
    pub(super) checker: &'a Checker,
    pub(super) names: &'a Names,
    /// Whether names that are not known are left at that, and not resolved.
    pub(super) is_look: bool,
    /// The host names among them.
    pub(super) used: BTreeSet<String>,
    pub(super) warnings: Vec<String>,
}

impl<'a> Places<'a> {
    pub(super) fn new(checker: &'a Checker, names: &'a Names) -> Self {
        Self { checker, names, is_look: false, used: BTreeSet::new(), warnings: Vec::new() }
    }

    /// The addresses of a node, and its name when it has one.
    fn of<'n>(&mut self, node: &'n NodeAddress) -> (Cow<'n, [SocketAddr]>, Option<&'n str>) {
        let (host, port) = match node {
            NodeAddress::Ip(address) => return (Cow::Borrowed(slice::from_ref(address)), None),
            NodeAddress::Name { host, port } => (host, *port),
        };
        self.used.insert(host.clone());
        let found = if self.is_look { self.names.look(host) } else { self.names.find(host) };
        if let Some(problem) = found.problem {
            let fate = if found.addresses.is_empty() { "it is left out" } else { "its last addresses stay" };
            self.warnings.push(format!("node {node}: {problem}; {fate}"));
        } else if !found.answered {
            log::debug!("node {node} is left out until its name is resolved");
        }
        let mut addresses = Vec::with_capacity(found.addresses.len());
        for address in found.addresses.iter().map(|ip| SocketAddr::new(*ip, port)) {
            match self.checker.may_connect(address) {
                Ok(()) => addresses.push(address),
                Err(reason) => self.warnings.push(format!("node {node}: {reason}; this address is left out")),
            }
        }
        (Cow::Owned(addresses), Some(host.strip_suffix('.').unwrap_or(host)))
    }
}

//! Builds the upstreams of services from their nodes, overlays and settings.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use super::CheckDefaults;
use super::object::Checker;
use super::trust::ParsedService;
use crate::resource::{self, Balancer, HashPolicy, Node, NodeAddress, NodeOverlay, Service, Timeouts};
use crate::upstream::{
    Balancing, HashOn, Hashing, Limits, Memory, Names, Node as UpstreamNode, NodeProtocol, NodeState, PeerOptions,
    Peers, ProxyVersion, Reach, RetryOn, RetryPolicy, Upstream, UpstreamOptions,
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

/// What is remembered of a service over rebuilds.
#[derive(Debug, Default)]
struct Kept {
    memory: Arc<Memory>,
    states: HashMap<SocketAddr, Weak<NodeState>>,
}

/// Builds upstreams, and keeps node states and the round's position over rebuilds.
#[derive(Debug)]
pub(super) struct Upstreams {
    defaults: ServiceDefaults,
    kept: HashMap<Arc<str>, Kept>,
}

impl Upstreams {
    pub(super) fn new(defaults: ServiceDefaults) -> Self {
        Self { defaults, kept: HashMap::new() }
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
        let service = &parsed.service;
        let reach =
            Reach::new(name, protocol(service.protocol), parsed.tls.clone(), service.proxy_protocol.map(version));
        let upstream_options = self.upstream_options(service, &reach);
        let options = self.peer_options(service.timeouts, reach);
        let kept = self.kept.entry(Arc::clone(name)).or_default();
        let plain = NodeOverlay::default();
        let mut seen = BTreeSet::new();
        let mut built = Vec::new();
        let mut new = Vec::new();
        for (node, overlay) in nodes {
            let weight = overlay.unwrap_or(&plain).effective_weight(node);
            let (addresses, host) = places.of(&node.upstream);
            for address in addresses {
                if weight == 0 || !seen.insert(address) {
                    continue;
                }
                let known = kept.states.get(&address).and_then(Weak::upgrade);
                let state = known.unwrap_or_else(|| {
                    let state = Arc::<NodeState>::default();
                    new.push(Arc::clone(&state));
                    state
                });
                built.push(UpstreamNode {
                    address,
                    label: address.to_string().into(),
                    weight,
                    state,
                    peers: Peers::new(address, host, &options),
                });
            }
        }
        if built.is_empty() {
            self.kept.remove(name);
            return None;
        }
        if new.len() < built.len() {
            // Where no node is older there is none that could take its share meanwhile.
            new.iter().for_each(|state| state.warm_up());
        }
        kept.states = built.iter().map(|n| (n.address, Arc::downgrade(&n.state))).collect();
        Some(Arc::new(Upstream::new(Arc::clone(name), built, upstream_options, Arc::clone(&kept.memory))))
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

/// Where the nodes of a service are, and what is found out on the way.
pub(super) struct Places<'a> {
    pub(super) checker: &'a Checker,
    pub(super) names: &'a Names,
    /// The host names among them.
    pub(super) used: BTreeSet<String>,
    pub(super) warnings: Vec<String>,
}

impl Places<'_> {
    /// The addresses of a node, and its name when it has one.
    fn of<'n>(&mut self, node: &'n NodeAddress) -> (Vec<SocketAddr>, Option<&'n str>) {
        let (host, port) = match node {
            NodeAddress::Ip(address) => return (vec![*address], None),
            NodeAddress::Name { host, port } => (host, *port),
        };
        self.used.insert(host.clone());
        let found = self.names.find(host);
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
        (addresses, Some(host.strip_suffix('.').unwrap_or(host)))
    }
}

/// The keys of the nodes of each service.
#[derive(Debug, Default)]
pub(super) struct NodeIndex(BTreeMap<String, BTreeSet<String>>);

impl NodeIndex {
    pub(super) fn insert(&mut self, service: &str, node: &str) {
        self.0.entry(service.to_owned()).or_default().insert(node.to_owned());
    }

    pub(super) fn remove(&mut self, service: &str, node: &str) {
        if let Some(nodes) = self.0.get_mut(service) {
            nodes.remove(node);
            if nodes.is_empty() {
                self.0.remove(service);
            }
        }
    }

    pub(super) fn nodes(&self, service: &str) -> impl Iterator<Item = &String> {
        self.0.get(service).into_iter().flatten()
    }
}

//! One object of the store read and checked by itself: the step that the Admin API's dry run and
//! the compiler share, so that what one accepts the other does.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use ipnet::IpNet;
use serde_json::Value;

use super::trust::ParsedService;
use crate::pipeline::{Instance, Registry};
use crate::request::path::PathRules;
use crate::resource::{
    Certificate, GlobalPlugin, Invalid, Node, NodeAddress, NodeOverlay, Pair, PredicateTest, Route, Service, key,
};
use crate::router::{Entry, HostPattern, Pattern, Predicate, Test};
use crate::secret::Secrets;
use crate::tls::{self, OwnPolicy, Settings};

/// A route with all of it that needs no other object compiled.
#[derive(Debug)]
pub(super) struct ParsedRoute {
    pub(super) route: Route,
    pub(super) pattern: Pattern,
    pub(super) hosts: Vec<HostPattern>,
    pub(super) headers: Vec<Predicate>,
    pub(super) query: Vec<Predicate>,
    pub(super) plugins: Vec<Arc<Instance>>,
}

/// A global plugin with its instance; none when it is off.
#[derive(Debug)]
pub(super) struct ParsedPlugin(pub(super) Option<Arc<Instance>>);

/// Reads and checks objects. Cheap to share; holds no object.
#[derive(Debug)]
pub struct Checker {
    registry: Registry,
    rules: PathRules,
    deny: Vec<IpNet>,
    own: Vec<SocketAddr>,
    secrets: Arc<Secrets>,
    tls: Arc<Settings>,
    instances: Mutex<HashMap<(String, String), Weak<Instance>>>,
}

impl Checker {
    /// A checker for these plugins and rules. No node may be in `deny` or at one of the gateway's
    /// `own` addresses (admin and status: a route to them would be a way around their guards).
    pub fn new(registry: Registry, rules: PathRules, deny: Vec<IpNet>, own: Vec<SocketAddr>) -> Self {
        Self { registry, rules, deny, own, secrets: Arc::default(), tls: Arc::default(), instances: Mutex::default() }
    }

    /// The same, with the keys that certificates' keys are encrypted with, and what holds for every
    /// certificate.
    #[must_use]
    pub fn with_certificates(self, secrets: Arc<Secrets>, tls: Arc<Settings>) -> Self {
        Self { secrets, tls, ..self }
    }

    /// How paths are read.
    pub(super) fn rules(&self) -> &PathRules {
        &self.rules
    }

    /// The plugins routes may name.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Whether an object would be accepted under a key (without the data prefix).
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn check(&self, full_key: &str, value: &[u8]) -> Result<(), Invalid> {
        if full_key.starts_with(key::ROUTES) {
            self.route(value).map(|_| ())
        } else if let Some(id) = full_key.strip_prefix(key::NODES) {
            self.node(id, value).map(|_| ())
        } else if let Some(name) = full_key.strip_prefix(key::SERVICES) {
            self.service(name, value).map(|_| ())
        } else if full_key.starts_with(key::OVERLAYS) {
            NodeOverlay::parse(value).map(|_| ())
        } else if let Some(name) = full_key.strip_prefix(key::PLUGINS) {
            self.global_plugin(name, value).map(|_| ())
        } else if let Some(id) = full_key.strip_prefix(key::CERTIFICATES) {
            self.certificate(id, value).map(|_| ())
        } else {
            Err(Invalid::at("", format!("\"{full_key}\" is no key of the configuration")))
        }
    }

    pub(super) fn route(&self, value: &[u8]) -> Result<ParsedRoute, Invalid> {
        let route = Route::parse(value)?;
        let pattern = self.pattern(&route.prefix)?;
        let hosts = hosts(&route.hosts)?;
        let headers = predicates("headers", &route.headers)?;
        let query = predicates("query", &route.query)?;
        let mut plugins = Vec::new();
        for name in route.plugins.iter().map(|n| n.trim()) {
            if !self.registry.is_inert(name) && !name.is_empty() {
                plugins.push(self.instance(name, self.registry.settings(name, &route.props))?);
            }
        }
        Ok(ParsedRoute { route, pattern, hosts, headers, query, plugins })
    }

    /// A route that is off as it would stand if it were on, when its path pattern matches; its plugins are not looked at.
    pub(super) fn off<T>(
        &self,
        key: &Arc<str>,
        value: &[u8],
        path: &str,
        target: impl FnOnce(&Route) -> T,
    ) -> Option<Entry<T>> {
        let route = Route::parse(value).ok()?;
        Some(Entry {
            pattern: self.pattern(&route.prefix).ok().filter(|pattern| pattern.matches(path))?,
            hosts: hosts(&route.hosts).ok()?,
            headers: predicates("headers", &route.headers).ok()?,
            query: predicates("query", &route.query).ok()?,
            target: target(&route),
            methods: route.methods,
            priority: route.priority,
            key: Arc::clone(key),
        })
    }

    fn pattern(&self, prefix: &str) -> Result<Pattern, Invalid> {
        Pattern::parse(prefix, &self.rules).map_err(|e| Invalid::at("prefix", e))
    }

    /// Where a broken route would have stood. What cannot be read of its conditions is left out,
    /// and then it comes before every other route of its prefix: too much closed rather than
    /// anything open.
    pub(super) fn place<T>(&self, key: &str, value: &[u8], target: T) -> Option<Entry<T>> {
        let place = Route::place(value)?;
        let pattern = self.pattern(&place.prefix).ok()?;
        let hosts = place.hosts.iter().filter_map(|host| HostPattern::parse(host).ok()).collect();
        let (headers, query) = (predicates("headers", &place.headers), predicates("query", &place.query));
        let is_whole = headers.is_ok() && query.is_ok();
        Some(Entry {
            pattern,
            hosts,
            methods: place.methods,
            headers: headers.unwrap_or_default(),
            query: query.unwrap_or_default(),
            priority: place.priority.filter(|_| is_whole).unwrap_or(i32::MAX),
            key: key.into(),
            target,
        })
    }

    pub(super) fn node(&self, id: &str, value: &[u8]) -> Result<Node, Invalid> {
        let node = Node::parse(value)?;
        let named = key::service_of_node(id);
        if named != Some(node.service_name.as_str()) {
            return Err(Invalid::at(
                "service_name",
                format!(
                    "\"{}\" is not the service of the key, which is \"{}\"",
                    node.service_name,
                    named.unwrap_or(id)
                ),
            ));
        }
        if let NodeAddress::Ip(address) = node.upstream {
            self.may_connect(address).map_err(|reason| Invalid::at("upstream", reason))?;
        }
        Ok(node)
    }

    /// Whether a node may be at this address. Asked of every address a host name ever has.
    pub(super) fn may_connect(&self, address: SocketAddr) -> Result<(), String> {
        let ip = address.ip().to_canonical();
        if ip.is_unspecified() || ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST) {
            return Err(format!("{address} is no address one can connect to"));
        }
        if let Some(network) = self.deny.iter().find(|n| n.contains(&ip)) {
            return Err(format!("{address} is in {network}, which upstream.deny rules out"));
        }
        let is_own = |own: &SocketAddr| {
            own.port() == address.port() && (own.ip() == ip || (own.ip().is_unspecified() && is_local(ip)))
        };
        if self.own.iter().any(is_own) {
            return Err(format!("{address} is an address of the gateway itself or of its store"));
        }
        Ok(())
    }

    /// The key of a service's client certificate is encrypted when the Admin API put it, and plain
    /// when it was written straight into the store.
    pub(super) fn service(&self, name: &str, value: &[u8]) -> Result<ParsedService, Invalid> {
        let mut service = Service::parse(value)?;
        if let Some(key) = service.tls.as_mut().and_then(|tls| tls.key.as_mut()).filter(|key| Secrets::is_sealed(key)) {
            let place = format!("{}{name}", key::SERVICES);
            let opened = self.secrets.open(&place, key).map_err(|e| Invalid::at("tls.key", e))?;
            *key = String::from_utf8(opened).map_err(|_| Invalid::at("tls.key", "is not PEM"))?;
        }
        ParsedService::new(service)
    }

    pub(super) fn global_plugin(&self, name: &str, value: &[u8]) -> Result<ParsedPlugin, Invalid> {
        let plugin = GlobalPlugin::parse(value)?;
        if !plugin.enabled || self.registry.is_inert(name) {
            return Ok(ParsedPlugin(None));
        }
        self.instance(name, Value::Object(plugin.config)).map(|instance| ParsedPlugin(Some(instance))).map_err(
            |mut e| {
                e.path = e.path.replacen(&format!("props.{name}"), "config", 1);
                e
            },
        )
    }

    pub(super) fn certificate(&self, id: &str, value: &[u8]) -> Result<Arc<tls::Entry>, Invalid> {
        let declared = Certificate::parse(value)?;
        let place = format!("{}{id}", key::CERTIFICATES);
        let private = self.secrets.open(&place, &declared.key).map_err(|e| Invalid::at("key", e))?;
        let pair = Pair::parse(declared.cert.as_bytes(), &private)?;
        let policy = OwnPolicy::new(declared.client_auth, declared.client_ca.as_deref().map(str::as_bytes))?;
        tls::Entry::new(id.to_owned(), pair, declared.hosts, declared.default, policy, &self.tls).map(Arc::new)
    }

    /// The instance of a plugin with these settings: the one that is in use already, or a new one.
    fn instance(&self, name: &str, settings: Value) -> Result<Arc<Instance>, Invalid> {
        let id = (name.to_owned(), settings.to_string());
        let mut instances = self.instances.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(instance) = instances.get(&id).and_then(Weak::upgrade) {
            return Ok(instance);
        }
        let instance = self.registry.build(name, settings)?;
        if instances.len() >= 64 && instances.len().is_power_of_two() {
            instances.retain(|_, instance| instance.strong_count() > 0);
        }
        instances.insert(id, Arc::downgrade(&instance));
        Ok(instance)
    }
}

/// Whether an address is this machine's: only then can a socket be bound to it.
fn is_local(ip: IpAddr) -> bool {
    ip.is_loopback() || UdpSocket::bind((ip, 0)).is_ok()
}

fn hosts(hosts: &[String]) -> Result<Vec<HostPattern>, Invalid> {
    let parse =
        |(i, host): (usize, &String)| HostPattern::parse(host).map_err(|e| Invalid::at(format!("hosts[{i}]"), e));
    hosts.iter().enumerate().map(parse).collect()
}

/// Longest regular expression in a predicate, and the memory one may take compiled.
const MAX_REGEX: usize = 1024;
const MAX_REGEX_MEMORY: usize = 1 << 20;

fn predicates(field: &str, predicates: &[crate::resource::Predicate]) -> Result<Vec<Predicate>, Invalid> {
    let compile = |predicate: &crate::resource::Predicate| {
        let at = |reason: String| Invalid::at(format!("{field}.{}", predicate.name), reason);
        if field == "headers" && http::HeaderName::from_bytes(predicate.name.as_bytes()).is_err() {
            return Err(at("is not a header name".into()));
        }
        let test = match &predicate.test {
            PredicateTest::Present(true) => Test::Present,
            PredicateTest::Present(false) => Test::Absent,
            PredicateTest::Exact(text) => Test::Exact(text.clone()),
            PredicateTest::Prefix(text) => Test::Prefix(text.clone()),
            PredicateTest::Regex(regex) if regex.len() > MAX_REGEX => {
                return Err(at(format!("a regular expression has at most {MAX_REGEX} bytes")));
            }
            PredicateTest::Regex(regex) => Test::Regex(
                regex::RegexBuilder::new(regex)
                    .size_limit(MAX_REGEX_MEMORY)
                    .dfa_size_limit(MAX_REGEX_MEMORY)
                    .build()
                    .map_err(|e| at(e.to_string()))?,
            ),
        };
        Ok(Predicate { name: predicate.name.clone(), test })
    };
    predicates.iter().map(compile).collect()
}

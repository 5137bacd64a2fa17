//! What is odd about an object that is valid: seen by looking at it beside what is live.

use http::{HeaderMap, Method};

use super::{Checker, Snapshot};
use crate::resource::{Route, key};
use crate::router::{HostPattern, Lookup, Pattern};

/// Most routes named in one advice.
const MOST: usize = 5;

impl Checker {
    /// Says what an operator may not have meant. The key is without the data prefix.
    #[must_use]
    pub fn advise(&self, snapshot: &Snapshot, key: &str, value: &[u8]) -> Vec<String> {
        let mut advice = Vec::new();
        if let Some(id) = key.strip_prefix(key::ROUTES) {
            if let Ok(route) = Route::parse(value) {
                advise_route(snapshot, &route, &mut advice);
                advice.extend(self.neighbours(snapshot, id, &route));
            }
        } else if let Some(name) = key.strip_prefix(key::SERVICES) {
            advice.extend(nodeless(snapshot, name));
        }
        advice
    }

    /// Routes that other requests of this one's path and hosts may go to.
    fn neighbours(&self, snapshot: &Snapshot, id: &str, route: &Route) -> Option<String> {
        let pattern = Pattern::parse(&route.prefix, self.rules()).ok()?;
        let host = route.hosts.first().and_then(|host| HostPattern::parse(host).ok());
        let host = host.map_or_else(String::new, |host| host.to_string().replacen('*', "x", 1));
        let lookup = Lookup {
            path: pattern.text(),
            host: &host,
            method: route.methods.first().unwrap_or(&Method::GET),
            headers: &HeaderMap::new(),
            query: None,
        };
        let shown = pattern.to_string();
        let mut others: Vec<&str> = snapshot
            .router
            .candidates(&lookup)
            .filter(|other| other.key != id && other.pattern == shown && fits(&other.host, &host))
            .map(|other| other.key)
            .collect();
        others.dedup();
        let count = others.len();
        others.truncate(MOST);
        (count > 0).then(|| {
            format!(
                "prefix: {count} other route(s) with the same path take requests of the same hosts ({}); which of them \
                 gets one is decided by host, priority, conditions and name, in this order",
                others.join(", ")
            )
        })
    }
}

fn fits(pattern: &str, host: &str) -> bool {
    pattern == "*" || HostPattern::parse(pattern).is_ok_and(|pattern| pattern.matches(host))
}

fn advise_route(snapshot: &Snapshot, route: &Route, advice: &mut Vec<String>) {
    if !route.enabled {
        advice.push("status: is not 1, so the route is off".to_owned());
    }
    match route.service_name.as_str() {
        "" if route.plugins.is_empty() => {
            advice
                .push("service_name: is empty and there are no plugins, so requests are answered with 404".to_owned());
        }
        "" => {}
        service => advice.extend(nodeless(snapshot, service).map(|text| format!("service_name: {text}"))),
    }
    let idle = route.props.iter().filter(|(name, value)| value.is_object() && !route.plugins.contains(name));
    advice.extend(idle.map(|(name, _)| format!("props.{name}: has no effect: `plugins` does not name {name}")));
}

fn nodeless(snapshot: &Snapshot, service: &str) -> Option<String> {
    let has_nodes = snapshot.upstreams().any(|upstream| &*upstream.name == service);
    (!has_nodes).then(|| format!("the service {service} has no nodes that are on, so requests are answered with 502"))
}

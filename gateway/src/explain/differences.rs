//! Where two explanations of a request differ.

use serde_json::{Value, json};

use super::answer::{Explanation, Plugin};

/// The fields in which they do. What changes by itself, such as the requests in flight or an id that a plugin makes for
/// each request, does not count.
pub(super) fn between(before: &Explanation, after: &Explanation) -> Vec<&'static str> {
    let pairs = comparable(before).into_iter().zip(comparable(after));
    pairs.filter(|((_, before), (_, after))| before != after).map(|((name, _), _)| name).collect()
}

fn comparable(explanation: &Explanation) -> [(&'static str, Value); 7] {
    let plugin = |plugin: &Plugin| json!([plugin.name, plugin.source, plugin.settings, plugin.ran]);
    let service = explanation.service.as_ref().map(|service| {
        let nodes = service.nodes.iter().map(|node| json!([node.address, node.weight, node.state]));
        let nodes: Vec<Value> = nodes.collect();
        json!([service.name, service.state, service.balancer, nodes, service.choice, service.timeouts, service.retry])
    });
    let upstream = explanation.upstream.as_ref().map(|upstream| {
        let headers: Vec<&String> = upstream.headers.keys().collect();
        json!([upstream.protocol, upstream.tls, upstream.proxy_protocol, upstream.target, headers])
    });
    let candidate = |candidate: &super::Candidate| json!([candidate.route, candidate.host, candidate.outcome]);
    [
        ("outcome", json!([explanation.outcome, explanation.status])),
        ("reason", json!(explanation.reason)),
        ("route", json!(explanation.route)),
        ("candidates", explanation.candidates.iter().map(candidate).collect()),
        ("plugins", explanation.plugins.iter().map(plugin).collect()),
        ("service", json!(service)),
        ("upstream", json!(upstream)),
    ]
}

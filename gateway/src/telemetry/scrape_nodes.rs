//! What a scrape says of nodes: each up to the budget, and all of a service together.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::metrics::MetricType;

use super::labels::{OTHER, clean};
use super::metrics::{Metrics, NodeFigures};
use super::scrape::{Page, count_of};

type NodeLabels = [(&'static str, String); 2];

/// A node that is shown by itself.
struct Shown {
    labels: NodeLabels,
    up: bool,
    ejected: Option<&'static str>,
    in_flight: u32,
    picked: u32,
    failed: u32,
}

/// How many nodes of a service are up, down and ejected.
const STATES: [&str; 3] = ["up", "down", "ejected"];

/// Gathered in one pass over all nodes.
#[derive(Default)]
struct Nodes {
    shown: Vec<Shown>,
    /// At those beyond the budget together.
    other_in_flight: Option<u64>,
    services: BTreeMap<String, [u64; STATES.len()]>,
    other_services: Option<[u64; STATES.len()]>,
}

impl Nodes {
    fn add(&mut self, node: &NodeFigures<'_>, budget: usize) {
        let state = match node {
            NodeFigures { up: true, .. } => 0,
            NodeFigures { ejected: None, .. } => 1,
            _ => 2,
        };
        let service = clean(node.service);
        if self.services.len() < budget || self.services.contains_key(&service) {
            self.services.entry(service.clone()).or_default()[state] += 1;
        } else {
            self.other_services.get_or_insert_default()[state] += 1;
        }
        if self.shown.len() >= budget {
            *self.other_in_flight.get_or_insert_default() += u64::from(node.in_flight);
            return;
        }
        let NodeFigures { up, ejected, in_flight, picked, failed, .. } = *node;
        let labels = [("service", service), ("node", clean(node.node))];
        self.shown.push(Shown { labels, up, ejected, in_flight, picked, failed });
    }
}

/// Beyond the budget whether a node is up is in the sums of its service alone, and so is what was
/// counted: as one series it would fall whenever a node goes.
pub(super) fn nodes(page: &mut Page<'_>, metrics: &Metrics) -> fmt::Result {
    let Some(source) = metrics.nodes.get() else { return Ok(()) };
    let mut nodes = Nodes::default();
    source(&mut |node| nodes.add(&node, metrics.max_labels));

    let help = "Nodes of a service that are up, down, or left out because of what requests showed.";
    let mut family = page.0.encode_descriptor("upstream_nodes", help, None, MetricType::Gauge)?;
    let other = nodes.other_services.map(|counts| (OTHER.to_owned(), counts));
    for (service, counts) in nodes.services.into_iter().chain(other) {
        for (state, count) in STATES.into_iter().zip(counts) {
            family.encode_family(&[("service", &*service), ("state", state)])?.encode_gauge(&count)?;
        }
    }

    let help = "Whether a node is up (1) or down (0).";
    let mut family = page.0.encode_descriptor("upstream_node_up", help, None, MetricType::Gauge)?;
    for node in &nodes.shown {
        family.encode_family(&node.labels)?.encode_gauge(&u64::from(node.up))?;
    }
    let help = "Nodes left out because of what requests showed (1), by cause.";
    let mut family = page.0.encode_descriptor("upstream_node_ejected", help, None, MetricType::Gauge)?;
    for (labels, cause) in nodes.shown.iter().filter_map(|node| Some((&node.labels, node.ejected?))) {
        let [service, node] = labels.clone();
        family.encode_family(&[service, node, ("cause", cause.to_owned())])?.encode_gauge(&1u64)?;
    }
    let help = "Requests a node is answering.";
    let mut family = page.0.encode_descriptor("upstream_node_requests_in_flight", help, None, MetricType::Gauge)?;
    for node in &nodes.shown {
        family.encode_family(&node.labels)?.encode_gauge(&u64::from(node.in_flight))?;
    }
    if let Some(in_flight) = nodes.other_in_flight {
        family.encode_family(&[("service", OTHER), ("node", OTHER)])?.encode_gauge(&in_flight)?;
    }
    let help = "Attempts at a node.";
    let mut family = page.0.encode_descriptor("upstream_node_tries", help, None, MetricType::Counter)?;
    for node in &nodes.shown {
        count_of(&mut family.encode_family(&node.labels)?, u64::from(node.picked))?;
    }
    let help = "Attempts at a node that failed, or were answered as servers answer that fail (5xx).";
    let mut family = page.0.encode_descriptor("upstream_node_errors", help, None, MetricType::Counter)?;
    for node in &nodes.shown {
        count_of(&mut family.encode_family(&node.labels)?, u64::from(node.failed))?;
    }
    Ok(())
}

pub(super) fn health(page: &mut Page<'_>, metrics: &Metrics) -> fmt::Result {
    let Some(health) = metrics.health.get() else { return Ok(()) };
    let (mut probes, mut changes, mut shown) = (Vec::new(), Vec::new(), 0);
    health(&mut |figures| {
        shown += 1;
        if shown <= metrics.max_labels {
            let service = clean(figures.service);
            let seen = |counts: &[(&'static str, u64)]| -> Vec<_> {
                counts.iter().filter(|(_, count)| *count > 0).map(|(to, n)| (service.clone(), *to, *n)).collect()
            };
            probes.extend(seen(&figures.probes));
            changes.extend(seen(&figures.changes));
        }
    });
    let help = "Probes of nodes, by service and result.";
    let labels = |label, (service, value, count): &'_ (String, &'static str, u64)| {
        ([("service", service.clone()), (label, (*value).to_owned())], *count)
    };
    let mut family = page.0.encode_descriptor("upstream_probes", help, None, MetricType::Counter)?;
    for (labels, count) in probes.iter().map(|one| labels("result", one)) {
        count_of(&mut family.encode_family(&labels)?, count)?;
    }
    let help = "Nodes that became healthy, unhealthy, ejected or readmitted, by service.";
    let mut family = page.0.encode_descriptor("upstream_node_changes", help, None, MetricType::Counter)?;
    for (labels, count) in changes.iter().map(|one| labels("to", one)) {
        count_of(&mut family.encode_family(&labels)?, count)?;
    }
    Ok(())
}

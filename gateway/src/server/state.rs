//! How services and their nodes are, for the Admin API.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::health::{ago, is_up};
use super::live;
use crate::snapshot::Snapshot;
use crate::telemetry::Figures;
use crate::upstream::{Node, Resting, Upstream};

/// Most nodes of a listing of all services; one service is shown with all of its nodes.
const MOST: usize = 1000;
/// Seconds that `last_minute` goes back; its last step is the one before the present.
const MINUTE: u64 = 70;

/// The services of the snapshot, or the one of this name.
pub(super) fn services(snapshot: &Snapshot, figures: &live::Figures, name: Option<&str>) -> Vec<Value> {
    let mut left = if name.is_some() { usize::MAX } else { MOST };
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs().saturating_sub(MINUTE);
    let recent = Recent::of(figures, since, name);
    let of_that_name = |upstream: &&std::sync::Arc<Upstream>| name.is_none_or(|name| *upstream.name == *name);
    snapshot.upstreams().filter(of_that_name).map(|upstream| service(upstream, &recent, &mut left)).collect()
}

/// The figures of the last minute by node and service.
struct Recent(HashMap<[String; 2], Figures>);

impl Recent {
    fn of(figures: &live::Figures, since: u64, service: Option<&str>) -> Self {
        let series = figures.nodes.series(since, |names| service.is_none_or(|service| names[1] == service));
        let sum = |points: &[crate::telemetry::Point]| {
            let mut sum = Figures::default();
            points.iter().for_each(|point| sum.add(&point.figures));
            sum
        };
        Self(series.into_iter().map(|one| (one.names, sum(&one.points))).collect())
    }

    fn get(&self, upstream: &Upstream, node: &Node) -> Figures {
        self.0.get(&[node.label().to_owned(), upstream.name.to_string()]).copied().unwrap_or_default()
    }
}

fn service(upstream: &Upstream, recent: &Recent, left: &mut usize) -> Value {
    let (mut total, mut last_minute) = (Figures::default(), Figures::default());
    let (mut up, mut in_flight, mut shown) = (0, 0, Vec::new());
    for node in upstream.nodes().iter() {
        let (of_node, of_minute) = (node.state.served.figures(), recent.get(upstream, node));
        total.add(&of_node);
        last_minute.add(&of_minute);
        up += usize::from(is_up(&node.state));
        in_flight += node.state.in_flight();
        if *left > 0 {
            *left -= 1;
            shown.push(node_state(upstream, node, &of_node, &of_minute));
        }
    }
    json!({
        "name": &*upstream.name,
        "nodes_total": upstream.nodes().len(),
        "nodes_up": up,
        "in_flight": in_flight,
        "total": summary(&total),
        "last_minute": summary(&last_minute),
        "check": upstream.options.check.as_ref().map(|check| check.probe.name()),
        "nodes": shown,
        "resting": upstream.resting.iter().take(MOST).map(resting).collect::<Vec<_>>(),
    })
}

/// A node that takes no requests, and how many it has still to finish.
fn resting(node: &Resting) -> Value {
    let in_flight = node.state.as_ref().map_or(0, |state| state.in_flight());
    json!({"node": node.address, "why": node.why, "in_flight": in_flight})
}

fn node_state(upstream: &Upstream, node: &Node, total: &Figures, last_minute: &Figures) -> Value {
    let state = &node.state;
    let unhealthy = state.found.unhealthy();
    let ejected = state.ejection.cause();
    // What keeps requests away comes first; of two reasons the one that is asked of the node itself.
    let (name, since, why) = match (&unhealthy, ejected) {
        (Some((since, why)), _) => ("unhealthy", Some(ago(*since)), Some(why.to_string())),
        (None, Some(cause)) => {
            let name = if state.is_ejected() { "ejected" } else { "on_trial" };
            (name, Some(state.ejection.lasts().0.as_secs()), Some(cause.name().to_owned()))
        }
        (None, None) => ("healthy", state.found.healed().map(ago), None),
    };
    let mut shown = json!({
        "node": node.label(),
        "address": node.address,
        "weight": node.weight,
        "state": name,
        "since_seconds": since,
        "why": why,
        "in_flight": state.in_flight(),
        "total": summary(total),
        "last_minute": summary(last_minute),
        "share": state.share(upstream.options.slow_start),
        "last_check": state.found.last().map(|last| json!({
            "seconds_ago": ago(last.at),
            "passed": last.failure.is_none(),
            "failure": last.failure,
        })),
    });
    if let Some(cause) = ejected {
        let (lasts, times) = state.ejection.lasts();
        shown["ejection"] = json!({"cause": cause.name(), "seconds": lasts.as_secs(), "times_in_a_row": times});
    }
    shown
}

#[allow(clippy::cast_precision_loss)]
fn summary(figures: &Figures) -> Value {
    let [p50, p95, p99] = figures.times.percentiles();
    let rate = (figures.requests > 0).then(|| figures.errors as f64 / figures.requests as f64);
    json!({
        "requests": figures.requests,
        "errors": figures.errors,
        "error_rate": rate,
        "p50_ms": p50,
        "p95_ms": p95,
        "p99_ms": p99,
    })
}

//! What the document says of what is going on.
#![allow(dead_code)]

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::openapi::path::ParameterIn;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::{PartialSchema as _, ToSchema};

use super::{By, figures, requests};
use crate::admin::openapi::{Api, Operation};

const EVENTS: &str = "text/event-stream";

/// The services with nodes.
#[derive(ToSchema)]
struct ServiceStates {
    /// Each.
    services: Vec<ServiceState>,
}

/// How a service is.
#[derive(ToSchema)]
struct ServiceState {
    /// Its name.
    name: String,
    /// How many nodes may take requests.
    nodes_total: u64,
    /// How many of them do.
    nodes_up: u64,
    /// The requests at its nodes now.
    in_flight: u64,
    /// Since the gateway was started.
    total: Sums,
    /// In the last minute.
    last_minute: Sums,
    /// The kind of its active check, if it has one.
    check: Option<String>,
    /// Its nodes: how each is, since when and why, and its figures.
    #[schema(value_type = Vec<Object>)]
    nodes: Vec<Value>,
    /// Nodes that take no requests, and why.
    #[schema(value_type = Vec<Object>)]
    resting: Vec<Value>,
}

/// The figures of some requests.
#[derive(ToSchema)]
struct Sums {
    /// How many.
    requests: u64,
    /// How many of them failed.
    errors: u64,
    /// Their share; null without requests.
    error_rate: Option<f64>,
    /// Half of them took no longer, in milliseconds.
    p50_ms: Option<f64>,
    /// 95 of 100 took no longer.
    p95_ms: Option<f64>,
    /// 99 of 100 took no longer.
    p99_ms: Option<f64>,
}

/// The gateways that share the store.
#[derive(ToSchema)]
struct Gateways {
    /// Each.
    gateways: Vec<ListedGateway>,
}

/// A gateway of the cluster.
#[derive(ToSchema)]
struct ListedGateway {
    /// Its id.
    id: String,
    /// Whether it is the one that answers.
    #[schema(rename = "self")]
    is_self: bool,
    /// Its host.
    hostname: String,
    /// Its version.
    version: String,
    /// When it was started, in seconds since 1970.
    started: u64,
    /// For how long it has run.
    uptime_seconds: u64,
    /// Where others reach its Admin API.
    url: Option<String>,
    /// Whether it serves requests.
    ready: bool,
    /// Whether it ends, and finishes what it has.
    draining: bool,
    /// The store's revision as it last heard.
    stored_revision: u64,
    /// The revision that is live.
    applied_revision: u64,
    /// How far the one is behind the other.
    lag: u64,
    /// Objects that are not live as the store has them: how many, and the first.
    #[schema(value_type = Object)]
    rejected: Value,
    /// For how long nothing was heard of it.
    silent_seconds: Option<u64>,
    /// Whether that is too long.
    stale: bool,
}

/// Figures over time.
#[derive(ToSchema)]
struct Shown {
    /// What each series is of.
    by: By,
    /// Seconds from point to point.
    step: u64,
    /// The time of the first, in seconds since 1970.
    since: u64,
    /// The time of the answer.
    until: u64,
    /// The gateways whose figures these are.
    gateways: Vec<Counted>,
    /// Those with the most requests first.
    series: Vec<ShownSeries>,
}

/// A gateway whose figures were asked for.
#[derive(ToSchema)]
struct Counted {
    /// Its id.
    id: String,
    /// Its host.
    hostname: String,
    /// Why its figures are missing, if they are.
    missing: Option<String>,
}

/// The figures of one thing.
#[derive(ToSchema)]
struct ShownSeries {
    /// The route, service or node; `total` for all.
    id: String,
    /// The service it belongs to.
    service: Option<String>,
    /// All points together.
    total: ShownFigures,
    /// In the order of time; without those that have no requests.
    points: Vec<ShownFigures>,
}

/// The figures of a step, or of all.
#[derive(ToSchema)]
struct ShownFigures {
    /// When the step begins, in seconds since 1970.
    #[schema(nullable = false, required = false)]
    at: Option<u64>,
    /// How many requests.
    requests: u64,
    /// How many of them failed.
    errors: u64,
    /// Bytes of bodies that were answered.
    bytes: u64,
    /// Half of them took no longer, in milliseconds.
    p50_ms: Option<f64>,
    /// 95 of 100 took no longer.
    p95_ms: Option<f64>,
    /// 99 of 100 took no longer.
    p99_ms: Option<f64>,
    /// How many by class of status, such as `2xx`.
    #[schema(nullable = false, required = false)]
    classes: Option<BTreeMap<String, u64>>,
}

pub(in crate::admin) fn describe(api: &mut Api) {
    streams(api);
    states(api);
}

fn streams(api: &mut Api) {
    api.group("streams", "What happens, as it happens. Each is a stream of server-sent events, which has no end.");
    api.add(
        Operation::get("/events", "Listen to events")
            .header("Last-Event-ID", "The last event that was heard: those since then come first.")
            .answers_as(200, &[EVENTS], String::schema(), "The events, each of a type with JSON."),
    );
    api.add(
        Operation::get("/requests", "Watch requests as they are answered")
            .query::<String>("route", "Only of this route.")
            .query::<String>("service", "Only of this service.")
            .query::<String>("status", "Only with this status, such as `404` or `5xx`.")
            .query::<u64>("min_latency_ms", "Only those that took so long.")
            .query::<String>("client", "Only from this address or network.")
            .query::<String>("trace_id", "Only the one of this id.")
            .query::<String>("method", "Only of this method.")
            .query::<String>("path", "Only below this path.")
            .query::<f64>("sample", "The share that is wanted, more than 0, and 1 at most.")
            .query::<u32>("rate", &format!("Most a second, 1 to {}.", requests::MOST_PER_SECOND))
            .answers_as(200, &[EVENTS], String::schema(), "The requests; `dropped` tells how many were too many.")
            .refuses(&[422]),
    );
}

fn states(api: &mut Api) {
    api.group("state", "How services, nodes and gateways are, and their figures of the last hour.");
    api.add(
        gateway(Operation::get("/state/services", "How all services are"))
            .answers::<ServiceStates>(200, "The services."),
    );
    api.add(
        gateway(Operation::get("/state/services/{name}", "How a service is"))
            .at::<String>("name", "Its name.")
            .answers::<ServiceState>(200, "The service."),
    );
    api.add(Operation::get("/gateways", "List the gateways").answers::<Gateways>(200, "Those that share the store."));
    let most = figures::MOST_SHOWN;
    let one_of = |names: [&str; 2]| ObjectBuilder::new().schema_type(Type::String).enum_values(Some(names));
    api.add(
        Operation::get("/figures", "Show the figures of the last hour")
            .query::<By>("by", "What each series is of; all together when absent.")
            .query::<String>("id", "Only of this one.")
            .query::<u64>("since", "Only from this time on, in seconds since 1970.")
            .query::<u64>(
                "step",
                "Seconds from point to point, a multiple of 10 up to 3600; of many series 60 at least.",
            )
            .parameter(
                ParameterIn::Query,
                "scope",
                "`self` for the figures of this gateway only.",
                one_of(["all", "self"]),
                false,
            )
            .query::<u64>("limit", &format!("Series at most, 1 to {most}; {} when absent.", figures::SHOWN))
            .query::<bool>("raw", "What gateways ask each other for, with `scope=self`; its form may change.")
            .answers::<Shown>(200, "The figures.")
            .refuses(&[422]),
    );
}

fn gateway(operation: Operation) -> Operation {
    operation
        .query::<String>("gateway", "As this gateway sees it; the one that answers when absent.")
        .refuses(&[404, 502])
}

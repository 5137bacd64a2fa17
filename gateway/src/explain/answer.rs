//! The answer: field names are a promise. Times are texts such as `5s`.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::asked::Read;
use super::refusal::Refusal;
pub(super) use super::service::Carriage;

/// What would become of a request, and why.
#[derive(Debug, Clone, Serialize)]
pub struct Explanation {
    /// The store's revision of the configuration.
    pub revision: u64,
    /// The request as the gateway reads it.
    pub request: Request,
    /// What becomes of it.
    pub outcome: Outcome,
    /// The status of an answer that is not the service's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why it is not the service that answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The key of the route that takes it.
    pub route: Option<String>,
    /// Every route whose path pattern matches, in the order in which the router considers them; one with several hosts
    /// once for each.
    pub candidates: Vec<Candidate>,
    /// How many more there are.
    #[serde(skip_serializing_if = "is_zero")]
    pub candidates_left_out: usize,
    /// The route's plugins in the order in which they run.
    pub plugins: Vec<Plugin>,
    /// Where the request goes.
    pub service: Option<Service>,
    /// The request as it goes there.
    pub upstream: Option<Onward>,
    /// All of it in a few sentences.
    pub why: Vec<String>,
}

/// The request as the gateway reads it.
#[derive(Debug, Clone, Serialize)]
pub struct Request {
    /// The method.
    pub method: String,
    /// The host that routes are found by: lower case, without port.
    pub host: String,
    /// The path in its normal form, which routes are found by and plugins see; none when it has no such form.
    pub path: Option<String>,
    /// The query, as it came.
    pub query: Option<String>,
    /// Whether the client comes by TLS.
    pub tls: bool,
    /// The address of the connection.
    pub peer: IpAddr,
    /// The client's: that address, or the one a trusted proxy vouches for.
    pub client_ip: IpAddr,
    /// How it is carried.
    pub carriage: Carriage,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It goes to a node.
    Forwarded,
    /// A plugin answers it.
    Answered,
    /// The gateway refuses it.
    Refused,
    /// It is a call of the Admin API, which is answered on the data ports too.
    Admin,
    /// A plugin has not decided in time.
    Unknown,
}

/// A route that was considered.
#[derive(Debug, Clone, Serialize)]
pub struct Candidate {
    /// Its key.
    pub route: String,
    /// Its path pattern.
    pub pattern: String,
    /// Its host pattern; of several this one.
    pub host: String,
    /// Its priority.
    pub priority: i32,
    /// How many conditions it has.
    pub conditions: usize,
    /// The service it names.
    pub service: String,
    /// Whether it was chosen, or why not.
    pub outcome: Lost,
    /// The same in words.
    pub detail: String,
    /// Whether it answers 503 because it, or a plugin that covers it, is broken.
    pub broken: bool,
    /// Why the store's version of it is not live.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejected: Option<String>,
}

/// What became of a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Lost {
    /// It has not: it is the route.
    Chosen,
    /// A better one was.
    Outranked,
    /// It is off.
    Disabled,
    /// It is for other hosts.
    Host,
    /// It is for other methods.
    Method,
    /// A condition on a header does not hold.
    Header,
    /// A condition on a query argument does not hold.
    Query,
}

/// A plugin of the route, and what it would do.
#[derive(Debug, Clone, Serialize)]
pub struct Plugin {
    /// Its name.
    pub name: String,
    /// Where it is configured.
    pub source: Source,
    /// Higher runs first.
    pub priority: i32,
    /// The phases it takes part in.
    pub phases: Vec<String>,
    /// Its settings, with the defaults of those that are not made.
    pub settings: Value,
    /// Whether it got to see the request.
    pub ran: bool,
    /// What it would do.
    pub effects: Effects,
}

/// Where a plugin is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// On the route.
    Route,
    /// For all routes.
    Global,
}

/// What a plugin would do. What is absent it would not.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Effects {
    /// The path it makes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The query it makes; empty for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// The request's headers that it sets and removes, for later plugins and the node.
    #[serde(skip_serializing_if = "HeaderChanges::is_empty")]
    pub headers: HeaderChanges,
    /// Those that it sets and removes on the way to a node.
    #[serde(skip_serializing_if = "HeaderChanges::is_empty")]
    pub upstream_headers: HeaderChanges,
    /// The response it would answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<Response>,
    /// The node it prefers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefers: Option<SocketAddr>,
    /// The nodes it rules out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub excludes: Vec<SocketAddr>,
    /// What it panics with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub panics: Option<String>,
    /// Whether it has not decided in time.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub timed_out: bool,
}

/// Headers that are set and removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct HeaderChanges {
    /// The values of those that are new or others.
    pub set: BTreeMap<String, Vec<String>>,
    /// Those that are gone.
    pub removed: Vec<String>,
}

impl HeaderChanges {
    fn is_empty(&self) -> bool {
        self.set.is_empty() && self.removed.is_empty()
    }
}

/// A response of a plugin.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Response {
    /// Its status.
    pub status: u16,
    /// Its headers, before plugins that change responses see them.
    pub headers: BTreeMap<String, Vec<String>>,
    /// The beginning of its body.
    pub body: String,
}

/// The service of the route.
#[derive(Debug, Clone, Serialize)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Whether it can take requests.
    pub state: ServiceState,
    /// How a node is chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub balancer: Option<&'static str>,
    /// Of the `hash` balancer, whether the request has what it is told apart by. Without it nodes take turns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub has_hash_key: Option<bool>,
    /// Its nodes.
    pub nodes: Vec<Node>,
    /// How many more there are.
    #[serde(skip_serializing_if = "is_zero")]
    pub nodes_left_out: usize,
    /// The node that would be chosen for a first try.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub choice: Option<Choice>,
    /// The times that hold for the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<Timeouts>,
    /// What is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
}

/// Whether a service can take requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceState {
    /// It has nodes.
    Ready,
    /// The route names none.
    None,
    /// No node of it takes requests.
    Empty,
    /// Its declaration is broken.
    Broken,
}

/// A node.
#[derive(Debug, Clone, Serialize)]
pub struct Node {
    /// Its key.
    pub key: String,
    /// As it is declared: an address, or a host name and a port.
    pub declared: String,
    /// Where it is; none while its name is not resolved.
    pub address: Option<SocketAddr>,
    /// Its share of the requests.
    pub weight: u32,
    /// Whether an operator, or the node itself, lets it take requests.
    pub state: NodeState,
    /// Whether it is well.
    pub health: Health,
    /// Why it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_reason: Option<String>,
    /// The requests at it now.
    pub in_flight: u32,
}

/// Whether a node may take requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// It may.
    Enabled,
    /// An operator drains it.
    Drained,
    /// It is off, or its weight is 0.
    Disabled,
}

/// Whether a node is well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// It is.
    Healthy,
    /// The active check says no.
    Unhealthy,
    /// It is left out because of what requests showed.
    Ejected,
    /// Nobody looks: it takes no requests.
    Unknown,
}

/// The choice of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Choice {
    /// What it comes to.
    pub kind: ChoiceKind,
    /// The nodes it may come to; with `node` the one.
    pub nodes: Vec<SocketAddr>,
}

/// What the choice of a node comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChoiceKind {
    /// This node, unless another request comes first.
    Node,
    /// One of these.
    OneOf,
    /// All are at their limits: the request waits for one.
    Wait,
    /// All are at their limits: it is refused.
    Full,
    /// There is none.
    Nobody,
}

/// The times that hold for a request. What is absent has no limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Timeouts {
    /// To connect to a node.
    #[serde(with = "humantime_serde")]
    pub connect: Option<Duration>,
    /// Longest silence while a response is read.
    #[serde(with = "humantime_serde")]
    pub read: Option<Duration>,
    /// Longest wait for the node to take request bytes.
    #[serde(with = "humantime_serde")]
    pub send: Option<Duration>,
    /// Longest wait for the header of the response.
    #[serde(with = "humantime_serde")]
    pub first_byte: Option<Duration>,
    /// For the whole exchange.
    #[serde(with = "humantime_serde")]
    pub total: Option<Duration>,
}

/// The retry policy that holds for a request.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Retry {
    /// Most nodes that are tried.
    pub max_tries: usize,
    /// What is tried again.
    pub on: RetryOn,
    /// How long after the request's start.
    #[serde(with = "humantime_serde")]
    pub within: Duration,
    /// The share of requests that may be retries.
    pub budget: f64,
}

/// What is tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RetryOn {
    /// No connection was made.
    pub connect: bool,
    /// The connection broke.
    pub reset: bool,
    /// The node took too long.
    pub timeout: bool,
    /// These statuses.
    pub statuses: Vec<u16>,
}

/// The request as it goes to a node.
#[derive(Debug, Clone, Serialize)]
pub struct Onward {
    /// The node whose view this is: the one that would be chosen, or one of those.
    pub node: SocketAddr,
    /// What is spoken: `http/1.1`, `h2`, or `h2 or http/1.1` where TLS finds out.
    pub protocol: &'static str,
    /// TLS; absent for clear text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// The version of the PROXY header before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<&'static str>,
    /// The method.
    pub method: String,
    /// Path and query as they are written in the request line.
    pub target: String,
    /// The headers by name. Secrets that the question did not have are hidden.
    pub headers: BTreeMap<String, Vec<String>>,
}

/// TLS towards a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tls {
    /// The name that is asked for.
    pub server_name: String,
    /// Whether the certificate must be good.
    pub verify: bool,
    /// Whether a certificate of ours is shown.
    pub client_certificate: bool,
}

impl Explanation {
    pub(super) fn of(revision: u64, read: &Read) -> Self {
        Self {
            revision,
            request: Request {
                method: read.head.method.to_string(),
                host: String::new(),
                path: None,
                query: read.target.split_once('?').map(|(_, query)| query.to_owned()),
                tls: read.is_tls,
                peer: read.peer,
                client_ip: read.peer.to_canonical(),
                carriage: Carriage::Http,
            },
            outcome: Outcome::Unknown,
            status: None,
            reason: None,
            route: None,
            candidates: Vec::new(),
            candidates_left_out: 0,
            plugins: Vec::new(),
            service: None,
            upstream: None,
            why: Vec::new(),
        }
    }

    pub(super) fn refuse(&mut self, refusal: &Refusal) {
        self.outcome = Outcome::Refused;
        self.status = Some(refusal.status());
        self.reason = Some(refusal.reason());
    }
}

#[allow(clippy::trivially_copy_pass_by_ref)] // As serde calls it.
fn is_zero(count: &usize) -> bool {
    *count == 0
}

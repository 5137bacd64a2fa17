//! What explain says of a request is what becomes of it: 10,000 random requests over random routes
//! and services, each explained first and then sent through the data plane.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use pingora::apps::ServerApp as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::watch;
use ws_cloud_gateway::config::Config;
use ws_cloud_gateway::explain::{Asked, ChoiceKind, Explanation, Lost, Outcome};
use ws_cloud_gateway::proxy::Edge;
use ws_cloud_gateway::sdk::harness::TestEnvironment;
use ws_cloud_gateway::sdk::{Env, Factory};
use ws_cloud_gateway::server::bare;
use ws_cloud_gateway::snapshot::Change;

use crate::fuzz::targets::wire::Wire;
use crate::support::http1::Head;
use crate::support::{Response, Upstream, in_time};

const CONFIGURATIONS: usize = 25;
const REQUESTS: usize = 400;
const NODES: usize = 5;
/// The address of the connections of [`Wire`].
const CLIENT: &str = "192.0.2.7";
/// What plugins make anew for each request.
const NEW_EACH_TIME: [&str; 2] = ["x-trace-id", "traceparent"];

struct Random(StdRng);

impl Random {
    fn one<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all.choose(&mut self.0).unwrap()
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.0.random_range(0..100) < percent
    }

    fn below(&mut self, limit: usize) -> usize {
        self.0.random_range(0..limit)
    }

    fn some<'a>(&mut self, percent: u32, all: &[&'a str]) -> Vec<&'a str> {
        if self.chance(percent) { (0..1 + self.below(2)).map(|_| self.one(all)).collect() } else { Vec::new() }
    }

    fn prefix(&mut self) -> String {
        let depth = self.below(4);
        let path: String = (0..depth).map(|_| format!("/{}", self.one(&["a", "b", "c", "用户", "x%2Fy"]))).collect();
        match self.below(4) {
            0 if !path.is_empty() => path,
            1 => format!("{path}/a*"),
            _ => format!("{path}/*"),
        }
    }

    fn predicates(&mut self, names: &[&str]) -> Value {
        let mut all = Map::new();
        for _ in 0..self.below(3) {
            let test = match self.below(5) {
                0 => json!("1"),
                1 => json!({"prefix": "1"}),
                2 => json!({"regex": "^[0-9]+$"}),
                3 => json!({"present": false}),
                _ => json!({"present": true}),
            };
            all.insert(self.one(names).to_owned(), test);
        }
        all.into()
    }

    fn route(&mut self, id: &str) -> Value {
        let mut route =
            json!({"prefix": self.prefix(), "status": u8::from(!self.chance(15)), "plugins": ["discovery"]});
        route["service_name"] =
            self.one(&["round", "round2", "hash", "hash2", "random", "least", "none", "bad", ""]).into();
        route["hosts"] = json!(self.some(40, &["a.test", "*.test", "b.a.test", "*.a.test"]));
        route["methods"] = json!(self.some(20, &["GET", "POST", "DELETE"]));
        if self.chance(20) {
            route["headers"] = self.predicates(&["X-One", "X-Two"]);
        }
        if self.chance(20) {
            route["query"] = self.predicates(&["one", "two"]);
        }
        route["priority"] = self.below(2).into();
        let mut plugins = vec!["discovery"];
        let mut props = Map::new();
        // It tells which route was taken.
        if self.chance(85) {
            plugins.push("example");
            let avoid = self.chance(20).then(|| "127.0.0.1:1".to_owned());
            props.insert("example".into(), json!({"greeting": id, "avoid": avoid}));
        }
        if self.chance(30) {
            plugins.push("tracing");
        }
        if self.chance(30) {
            plugins.push("rewrite");
            let (regex, replace) = *[("^/a/(.*)$", "/rewritten/$1"), ("b", "é x"), ("/c", "/../c"), ("a", "")]
                .choose(&mut self.0)
                .unwrap();
            props.insert("rewrite".into(), json!({"regex": regex, "replace": replace}));
        }
        (route["plugins"], route["props"]) = (json!(plugins), props.into());
        if self.chance(4) {
            route["protocol"] = "ftp".into();
        }
        if self.chance(5) {
            route["max_body_size"] = 10.into();
        }
        route
    }

    fn path(&mut self) -> String {
        if self.chance(3) {
            return self
                .one(&["/", "/..", "/%zz", "/a%00", "/a\\b", "/a/..;/b", "/%", "/a/%2e%2e/%2e%2e/b", "*"])
                .to_owned();
        }
        let pieces = [
            "/a",
            "/b",
            "/c",
            "/A",
            "/%61",
            "/%E7%94%A8%E6%88%B7",
            "/x%2Fy",
            "/x%2fy",
            "//",
            "/.",
            "/..",
            "/a;v=1",
            "/a%20b",
            "/%3Cx",
            "/aa",
        ];
        let path: String = (0..1 + self.below(5))
            .map(|_| {
                let plain = self.chance(67);
                self.one(if plain { &pieces[..3] } else { &pieces })
            })
            .collect();
        if self.chance(20) { path + "/" } else { path }
    }

    fn question(&mut self) -> Value {
        let mut url = self.path();
        if self.chance(50) {
            let query = ["one=1", "two=1", "one=2", "one", "user=7", "user=%38", "x=%zz&y", "a+b=c"];
            url = format!("{url}?{}", self.some(100, &query).join("&"));
        }
        let mut headers = Map::new();
        headers.insert(
            "Host".into(),
            self.one(&["a.test", "A.Test:8080", "b.a.test", "c.b.a.test.", "other", "x.test", "bad host"]).into(),
        );
        for (name, values) in [
            ("X-One", &["1", "12", "x"][..]),
            ("X-Two", &["1", ""]),
            ("X-User", &["ann", "bob", "cyd"]),
            ("X-Forwarded-For", &["203.0.113.9", "a, b", "1.1.1.1, 2.2.2.2"]),
            ("X-Forwarded-Proto", &["https"]),
            ("X-Trace-Id", &["mine"]),
            ("X_odd", &["1"]),
            ("Connection", &["keep-alive, X-Two", "keep-alive"]),
            ("Proxy-Authorization", &["secret"]),
            ("TE", &["trailers"]),
            ("Accept", &["*/*"]),
            ("Content-Length", &["0", "20"]),
        ] {
            if self.chance(12) {
                headers.insert(name.into(), self.one(values).into());
            }
        }
        if self.chance(1) {
            headers.insert("X_Real_IP".into(), "1.1.1.1".into());
        }
        if self.chance(1) {
            headers.insert("X-Forwarded-For".into(), vec!["1.1.1.1"; 40].join(",").into());
        }
        json!({"method": self.one(&["GET", "GET", "GET", "POST", "DELETE"]), "url": url, "headers": headers, "client_ip": CLIENT})
    }

    fn objects(&mut self, nodes: &[SocketAddr]) -> Vec<Change> {
        let mut objects: Vec<(String, Value)> = Vec::new();
        for (name, service) in [
            ("round", json!({})),
            ("round2", json!({"max_tries": 2, "timeouts": {"read": "7s"}})),
            ("hash", json!({"balancer": "hash", "hash": {"on": "path"}})),
            ("hash2", json!({"balancer": "hash", "hash": {"on": "header", "name": "X-User"}})),
            ("random", json!({"balancer": "random"})),
            ("least", json!({"balancer": "least_requests"})),
            ("bad", json!({"balancer": "dice"})),
        ] {
            objects.push((format!("gw/services/{name}"), service));
            for (number, address) in nodes.iter().enumerate() {
                if self.chance(70) {
                    let (weight, status) = (self.below(4), u8::from(!self.chance(10)));
                    let node = json!({"service_name": name, "upstream": address, "weight": weight, "status": status});
                    objects.push((format!("discovery/{name}.{number}"), node));
                }
                if self.chance(10) {
                    objects
                        .push((format!("gw/nodes/{name}.{number}"), json!({"state": self.one(&["drain", "enabled"])})));
                }
            }
        }
        for number in 0..5 + self.below(60) {
            let id = format!("r{number}");
            objects.push((format!("routes/{id}"), self.route(&id)));
        }
        if self.chance(20) {
            objects.push(("gw/plugins/tracing".into(), json!({"config": {"sampled": false}})));
        }
        let change = |(key, value): (String, Value)| Change { key, value: Some(value.to_string().into()), revision: 1 };
        objects.into_iter().map(change).collect()
    }
}

fn env(_plugin: &'static str) -> Env {
    Env::new(Arc::new(TestEnvironment::new()))
}

/// A connection to the data plane, made anew when it was closed.
struct Client {
    edge: Arc<Edge>,
    ending: watch::Receiver<bool>,
    open: Option<DuplexStream>,
}

impl Client {
    async fn send(&mut self, question: &Value) -> Response {
        let (method, url) = (question["method"].as_str().unwrap(), question["url"].as_str().unwrap());
        let mut request = format!("{method} {url} HTTP/1.1\r\n");
        let headers = question["headers"].as_object().unwrap();
        for (name, value) in headers {
            request += &format!("{name}: {}\r\n", value.as_str().unwrap());
        }
        let body = headers.get("Content-Length").map_or(0, |length| length.as_str().unwrap().parse().unwrap());
        request += &format!("\r\n{}", "x".repeat(body));
        let mut stream = self.open.take().unwrap_or_else(|| self.connect());
        // It may answer before it has read all of it.
        drop(stream.write_all(request.as_bytes()).await);
        let response = receive(&mut stream).await;
        let closes = response.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        self.open = (!closes).then_some(stream);
        response
    }

    fn connect(&self) -> DuplexStream {
        let (wire, client) = Wire::to(SocketAddr::from(([127, 0, 0, 1], 10_000)));
        let (edge, ending) = (Arc::clone(&self.edge), self.ending.clone());
        tokio::spawn(async move { drop(edge.process_new(Box::new(wire), &ending).await) });
        client
    }
}

async fn receive(stream: &mut DuplexStream) -> Response {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        assert!(stream.read_buf(&mut bytes).await.unwrap() > 0, "no response: {:?}", String::from_utf8_lossy(&bytes));
    };
    let mut body = bytes.split_off(end);
    let head = Head::parse(&String::from_utf8(bytes).unwrap());
    let length: usize = head.header("content-length").expect("its length is said").parse().unwrap();
    while body.len() < length {
        assert!(stream.read_buf(&mut body).await.unwrap() > 0, "the body is cut off");
    }
    let status = head.first_line.split(' ').nth(1).unwrap().parse().unwrap();
    Response { status, head, body, interim: Vec::new() }
}

/// What has been seen, so that the test shows that it looks at all of it.
#[derive(Default)]
struct Seen(BTreeMap<String, usize>);

impl Seen {
    fn note(&mut self, what: impl Into<String>) {
        *self.0.entry(what.into()).or_default() += 1;
    }
}

fn check(explained: &Explanation, response: &Response, seen: &mut Seen) {
    seen.note(format!("{:?} {}", explained.outcome, explained.status.unwrap_or_default()));
    let chosen: Vec<_> = explained.candidates.iter().filter(|candidate| candidate.outcome == Lost::Chosen).collect();
    let ran = |name: &str| explained.plugins.iter().find(|plugin| plugin.name == name && plugin.ran);
    if let (Some(example), Some(told)) = (ran("example"), response.header("x-example")) {
        // The greeting is the route's key.
        assert_eq!(explained.route.as_deref(), Some(told));
        assert_eq!((example.settings["greeting"].as_str(), chosen[0].route.as_str()), (Some(told), told));
        seen.note("a route was compared");
    }
    match explained.outcome {
        Outcome::Refused | Outcome::Answered => {
            assert_eq!(Some(response.status), explained.status);
            assert!(!response.text().contains("\"upstream\""), "a node was asked");
        }
        Outcome::Forwarded => forwarded(explained, response, seen),
        Outcome::Admin | Outcome::Unknown => panic!("{:?}", explained.outcome),
    }
    for lost in &explained.candidates {
        seen.note(format!("{:?}", lost.outcome));
    }
}

fn forwarded(explained: &Explanation, response: &Response, seen: &mut Seen) {
    assert_eq!(response.status, 200, "{}", response.text());
    let arrived = response.json();
    let service = explained.service.as_ref().unwrap();
    let choice = service.choice.as_ref().unwrap();
    let node: SocketAddr = arrived["upstream"].as_str().unwrap().parse().unwrap();
    assert!(choice.nodes.contains(&node), "{node} is not one of {choice:?}");
    let balancer = service.balancer.unwrap();
    let is_exact = choice.kind == ChoiceKind::Node;
    assert!(is_exact || ["random", "least_requests"].contains(&balancer), "{balancer}: {choice:?}");
    seen.note(format!("{balancer}, exact: {is_exact}"));
    let upstream = explained.upstream.as_ref().unwrap();
    assert_eq!(
        (arrived["method"].as_str(), arrived["target"].as_str()),
        (Some(&*upstream.method), Some(&*upstream.target))
    );
    let mut headers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for header in arrived["headers"].as_array().unwrap() {
        let [name, value] = [0, 1].map(|at| header[at].as_str().unwrap().to_owned());
        headers.entry(name).or_default().push(value);
    }
    let mut foretold = upstream.headers.clone();
    for all in [&mut headers, &mut foretold] {
        for (_, values) in all.iter_mut().filter(|(name, _)| NEW_EACH_TIME.contains(&name.as_str())) {
            *values = vec!["something".into()];
        }
    }
    assert_eq!(headers, foretold);
}

#[tokio::test]
async fn what_explain_says_of_a_request_is_what_becomes_of_it() {
    let seed = rand::random();
    let mut random = Random(StdRng::seed_from_u64(seed));
    let mut nodes = Vec::new();
    for _ in 0..NODES {
        nodes.push(Upstream::echo().await);
    }
    let addresses: Vec<SocketAddr> = nodes.iter().map(|node| node.address).collect();
    let mut config = Config::default();
    config.listeners.http = vec![SocketAddr::from(([127, 0, 0, 1], 10_000))];
    config.log.access.output = "off".to_owned();
    config.client.max_requests_per_connection = 0;
    let (_shutdown, ending) = watch::channel(false);
    let mut seen = Seen::default();
    for number in 0..CONFIGURATIONS {
        config.client.trusted_proxies =
            if number % 3 == 0 { vec!["192.0.2.0/24".parse().unwrap()] } else { Vec::new() };
        let objects = random.objects(&addresses);
        let mut factories = ws_cloud_plugin_standard::factories();
        factories.push(Factory::of::<ws_cloud_plugin_example::Example>());
        let (edge, explainer) = bare::plane(&config, factories, objects.clone(), env).unwrap();
        let mut client = Client { edge, ending: ending.clone(), open: None };
        for _ in 0..REQUESTS {
            let question = random.question();
            let asked = Asked::parse(question.clone()).unwrap();
            let explained = in_time("explain", explainer.explain(&asked, None)).await.unwrap();
            let response = in_time("the request", client.send(&question)).await;
            let compared = std::panic::catch_unwind(AssertUnwindSafe(|| check(&explained, &response, &mut seen)));
            if let Err(panic) = compared {
                let shown: Vec<_> =
                    objects.iter().map(|o| (&o.key, String::from_utf8_lossy(o.value.as_ref().unwrap()))).collect();
                eprintln!(
                    "seed {seed}\n{shown:#?}\n{question}\n{explained:#?}\n{:?} {}",
                    response.head,
                    response.text()
                );
                std::panic::resume_unwind(panic);
            }
        }
    }
    eprintln!("{:#?}", seen.0);
    let all = [
        "Forwarded 0",
        "Answered 400",
        "Refused 400",
        "Refused 404",
        "Refused 413",
        "Refused 502",
        "Refused 503",
        "Refused 508",
        "Chosen",
        "Outranked",
        "Disabled",
        "Host",
        "Method",
        "Header",
        "Query",
        "round_robin, exact: true",
        "hash, exact: true",
        "random, exact: false",
        "least_requests, exact: false",
        "a route was compared",
    ];
    for what in all {
        assert!(seen.0.contains_key(what), "{what} was never seen; seed {seed}");
    }
}

//! Micro benchmarks of what runs per request: `cargo bench -p ws-cloud-gateway`.

use std::collections::VecDeque;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::{Value, json};
use ws_cloud_gateway::pipeline::{Pipeline, Registry};
use ws_cloud_gateway::request::path::{EscapedSlashes, PathRules, normalise};
use ws_cloud_gateway::resource::key;
use ws_cloud_gateway::router::{Entry, Lookup, Pattern, Router};
use ws_cloud_gateway::sdk::{
    ConfigError, Env, Factory, Flow, Outcome, Phases, Plugin, RequestCtx, RequestHead, RequestState, ResponseHead,
};
use ws_cloud_gateway::snapshot::{Change, Checker, CompileOptions, Compiler, Publish as _, ServiceDefaults};
use ws_cloud_gateway::telemetry::{AccessRecord, Metrics, Try};
use ws_cloud_gateway::upstream::{
    Balancing, Choice, HashOn, Hashing, InFlight, Limits, Node, PeerOptions, Peers, Tried, Upstream, UpstreamOptions,
    Wish,
};

const RULES: PathRules = PathRules { merge_slashes: true, escaped_slashes: EscapedSlashes::Keep };

macro_rules! idle_plugins {
    ($($type:ident $name:literal),*) => {
        $(struct $type;
        impl Plugin for $type {
            const NAME: &'static str = $name;
            const VERSION: &'static str = "v1";
            const DESCRIPTION: &'static str = "does nothing";
            const PRIORITY: i32 = 0;
            const PHASES: Phases = Phases::REQUEST.union(Phases::RESPONSE).union(Phases::LOGGING);
            type Config = Value;
            fn new(_: Value) -> Result<Self, ConfigError> { Ok(Self) }
            fn request_filter(&self, request: &mut RequestCtx<'_>) -> Flow { black_box(request.path()); Flow::Continue }
            fn response_filter(&self, state: &mut RequestState, _: &mut dyn ResponseHead) { black_box(state.path()); }
            fn logging(&self, state: &mut RequestState, _: &Outcome) { black_box(state.path()); }
        })*
        fn idle() -> Vec<Factory> { vec![$(Factory::of::<$type>()),*] }
    };
}
idle_plugins!(P0 "p0", P1 "p1", P2 "p2", P3 "p3", P4 "p4", P5 "p5", P6 "p6", P7 "p7", P8 "p8", P9 "p9");

struct Head(HeaderMap);

impl RequestHead for Head {
    fn method(&self) -> &Method {
        &Method::GET
    }
    fn headers(&self) -> &HeaderMap {
        &self.0
    }
    fn insert_header(&mut self, name: HeaderName, value: HeaderValue) {
        self.0.insert(name, value);
    }
    fn append_header(&mut self, name: HeaderName, value: HeaderValue) {
        self.0.append(name, value);
    }
    fn remove_header(&mut self, name: &HeaderName) -> Option<HeaderValue> {
        self.0.remove(name)
    }
}

/// Ten plugins that do nothing, in three phases each: under 0.5 us a request.
fn plugins(c: &mut Criterion) {
    let factories = idle();
    let names: Vec<&str> = factories.iter().map(|f| f.name).collect();
    let registry = Registry::new(factories.clone(), &[]).expect("the names are different");
    let pipeline = Pipeline::new(names.iter().map(|n| registry.build(n, json!({})).expect("they take any settings")));
    let mut head = Head(HeaderMap::new());
    let mut state = RequestState::new(Arc::default(), IpAddr::V4(Ipv4Addr::LOCALHOST), "/a".into(), None);
    let mut response = ws_cloud_gateway::sdk::Response::new(http::StatusCode::OK);
    let outcome = Outcome { status: None, body_bytes: 0, duration: Duration::ZERO, upstream: None };
    c.bench_function("ten idle plugins, one request", |b| {
        b.iter(|| {
            let flow = pipeline.request_filter(&mut RequestCtx::new(&mut head, &mut state));
            black_box(&flow);
            black_box(&pipeline.response_filter(&mut state, &mut response));
            black_box(&pipeline.logging(&mut state, &outcome));
        });
    });
}

fn routes(c: &mut Criterion) {
    for count in [1_000_usize, 10_000, 100_000] {
        let entries = || -> Vec<Entry<usize>> {
            (0..count)
                .map(|i| Entry {
                    pattern: Pattern::parse(&format!("/api/v{}/service-{i}/*", i % 7), &RULES).expect("a pattern"),
                    hosts: Vec::new(),
                    methods: Vec::new(),
                    headers: Vec::new(),
                    query: Vec::new(),
                    priority: 0,
                    key: i.to_string().into(),
                    target: i,
                })
                .collect()
        };
        let router = Router::build(entries());
        let paths: Vec<String> = (0..4096)
            .map(|i| (i * 2_654_435_761) % count)
            .map(|i| format!("/api/v{}/service-{i}/x/y", i % 7))
            .collect();
        let (headers, mut next) = (HeaderMap::new(), 0);
        c.bench_function(&format!("find a route among {count}"), |b| {
            b.iter(|| {
                next = (next + 1) % paths.len();
                let lookup = Lookup {
                    path: &paths[next],
                    host: "example.com",
                    method: &Method::GET,
                    headers: &headers,
                    query: None,
                };
                black_box(router.find(&lookup)).expect("each path has a route");
            });
        });
        if count == 100_000 {
            c.bench_function("build a router of 100000 routes", |b| {
                b.iter_batched(entries, |e| black_box(Router::build(e)), criterion::BatchSize::PerIteration);
            });
        }
    }
}

fn upstream(count: u16, options: UpstreamOptions) -> Arc<Upstream> {
    let peers = Arc::new(PeerOptions::default());
    let nodes = (1..=count).map(|port| {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        Node::new(address, 1, Peers::new(address, None, &peers))
    });
    Arc::new(Upstream::new("s".into(), nodes.collect(), options, Arc::default()))
}

/// Every way to choose, without a name for the first.
fn ways() -> [(&'static str, Balancing); 6] {
    let hash = |bounded_load| Balancing::Hash(Hashing { on: HashOn::Path, bounded_load });
    [
        ("", Balancing::RoundRobin),
        (" at random", Balancing::Random),
        (" by requests in flight", Balancing::LeastRequests),
        (" by latency", Balancing::Ewma),
        (" by hash", hash(None)),
        (" by hash, load bounded", hash(Some(1.25))),
    ]
}

fn nodes(c: &mut Criterion) {
    let mut pick = |name: &str, upstream: &Upstream| {
        let mut key = 0_u64;
        c.bench_function(name, |b| {
            b.iter(|| {
                key = key.wrapping_add(0x9e37_79b9_7f4a_7c15);
                black_box(upstream.pick(&Wish { key: Some(key), ..Wish::new(&Tried::default()) }, |_| true))
            });
        });
    };
    for (name, balancing) in ways() {
        for count in [2, 100, 10_000] {
            let options = UpstreamOptions { balancing: balancing.clone(), ..UpstreamOptions::default() };
            pick(&format!("pick a node of {count}{name}"), &upstream(count, options));
        }
    }
    for (name, balancing) in ways() {
        let slow_start = Some(Duration::from_secs(3600));
        let options = UpstreamOptions { balancing, slow_start, ..UpstreamOptions::default() };
        let upstream = upstream(10_000, options);
        // Every tenth is starting.
        upstream.nodes().iter().step_by(10).for_each(|node| node.state.warm_up());
        pick(&format!("pick a node of 10000{name}, some starting slowly"), &upstream);
    }
}

/// A node is chosen and a request counted there, until it ends.
fn choices(c: &mut Criterion) {
    let limits = Limits { http1: 2, http2: 200, pending: 100, wait: Duration::from_secs(1) };
    for (name, balancing) in ways() {
        for (limited, limits) in [("", None), (", limited", Some(limits.clone()))] {
            let options = UpstreamOptions { balancing: balancing.clone(), limits, ..UpstreamOptions::default() };
            let upstream = upstream(10_000, options);
            // As many requests as nodes, so that some nodes are full where there are limits.
            let mut key = 0_u64;
            let mut choose = move || {
                key = key.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let tried = Tried::default();
                match upstream.choose(&Wish { key: Some(key), ..Wish::new(&tried) }, None, |_| true) {
                    Choice::Node(_, in_flight) => in_flight,
                    other => panic!("{other:?}"),
                }
            };
            let mut running: VecDeque<InFlight> = (0..10_000).map(|_| choose()).collect();
            c.bench_function(&format!("choose a node of 10000{name}{limited}"), |b| {
                b.iter(|| {
                    drop(running.pop_front());
                    running.push_back(choose());
                });
            });
        }
    }
}

fn compiler() -> Compiler {
    let registry = Registry::new(ws_cloud_plugin_standard::factories(), &[]).expect("the names are different");
    let options = CompileOptions {
        checker: Arc::new(Checker::new(registry, RULES, Vec::new(), Vec::new())),
        services: ServiceDefaults::default(),
        names: Arc::default(),
        metrics: Metrics::new(200),
        env: Box::new(|name| -> Env { panic!("{name} has nothing to start") }),
    };
    Compiler::new(options, Arc::default())
}

/// One route of 100,000 changes: everything that happens before requests see it.
fn one_change(c: &mut Criterion) {
    let mut compiler = compiler();
    let route = |i: usize, revision: u64| {
        Change {
        key: format!("routes/{i}"),
        value: Some(
            json!({"prefix": format!("/api/v{}/service-{i}/*", i % 7), "service_name": format!("service-{}", i % 100), "status": 1,
                "plugins": ["discovery", "tracing", "rewrite"],
                "props": {"rewrite_url_regex": "^/api/", "rewrite_replace": "/"}})
            .to_string()
            .into(),
        ),
        revision,
    }
    };
    compiler.replace(1, &mut (0..100_000).map(|i| route(i, 1)));
    let mut revision = 1;
    c.bench_function("compile a change of one route among 100000", |b| {
        b.iter(|| {
            revision += 1;
            compiler.apply(revision, vec![route(77, revision)]);
        });
    });
}

/// One node of 10,000 changes: its weight, or it goes and comes back.
fn one_node(c: &mut Criterion) {
    let change = |key: String, value: Option<Value>, revision: u64| Change {
        key,
        value: value.map(|value| value.to_string().into()),
        revision,
    };
    let node = |i: u32, weight: Option<u64>, revision: u64| {
        let address = SocketAddr::from((Ipv4Addr::from(0x0a00_0000 + i), 8080)).to_string();
        let value = weight.map(|weight| json!({"service_name": "s", "upstream": address, "weight": weight}));
        change(format!("discovery/{}", key::node("s", &address)), value, revision)
    };
    let hash = json!({"balancer": "hash", "hash": {"on": "path", "bounded_load": 1.25}});
    for (name, service) in [("", json!({})), (" hash", hash), (" at random", json!({"balancer": "random"}))] {
        let mut compiler = compiler();
        let nodes = (0..10_000).map(|i| node(i, Some(100), 1));
        // Every other node has a weight of its own.
        let others = (0..10_000).step_by(2).map(|i| node(i, Some(1 + u64::from(i) % 100), 2));
        compiler.replace(1, &mut nodes.chain([change("gw/services/s".into(), Some(service), 1)]));
        let mut revision = 2;
        c.bench_function(&format!("compile a change of one node among 10000{name}"), |b| {
            b.iter(|| {
                revision += 1;
                compiler.apply(revision, vec![node(7777, Some(100 + revision % 2), revision)]);
            });
        });
        c.bench_function(&format!("compile a node that goes or comes among 10000{name}"), |b| {
            b.iter(|| {
                revision += 1;
                compiler.apply(revision, vec![node(7777, (revision % 2 == 0).then_some(100), revision)]);
            });
        });
        compiler.apply(revision, others.collect());
        c.bench_function(&format!("compile a change of one node among 10000{name}, of many weights"), |b| {
            b.iter(|| {
                revision += 1;
                compiler.apply(revision, vec![node(7777, Some(100 + revision % 2), revision)]);
            });
        });
    }
}

fn paths(c: &mut Criterion) {
    for (name, path) in [("plain", "/api/v1/users/12345/orders"), ("escaped", "/api/%E7%94%A8%E6%88%B7/./x//y")] {
        c.bench_function(&format!("normalise a path: {name}"), |b| {
            b.iter(|| black_box(normalise(black_box(path.as_bytes()), &RULES)).expect("a path"));
        });
    }
}

/// A line of the access log, as a browser's request makes it.
fn log_line(c: &mut Criterion) {
    let tries = [Try { upstream: "127.0.0.1:8081", status: Some(200), time: Some(Duration::from_millis(3)) }];
    let record = AccessRecord {
        domain: Some(b"example.com"),
        method: Some("GET"),
        uri: Some(b"/hello/world"),
        origin_uri: Some(b"/innerapi/hello/world"),
        querystring: Some(b"page=2&size=50"),
        protocol: Some("HTTP/1.1"),
        status: Some(200),
        bytes: 512,
        useragent: Some(b"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
        client: Some("192.0.2.7"),
        tries: &tries,
        trace_id: Some(b"0192f0c1-2f3a-7c4e-9a54-0d2b6f1e8c77"),
        response_time: Duration::from_millis(4),
        service: Some("hello"),
        ..AccessRecord::default()
    };
    let mut line = Vec::with_capacity(1024);
    c.bench_function("write a line of the access log", |b| {
        b.iter(|| {
            line.clear();
            record.write(&mut line);
            black_box(&line);
        });
    });
}

/// The rewrite plugin through its pipeline: a rule that needs no regex on the way, and one that does.
fn rewrite(c: &mut Criterion) {
    let registry = Registry::new(ws_cloud_plugin_standard::factories(), &[]).expect("the names are different");
    for (name, regex, replace) in
        [("a prefix", "^/innerapi/(.*)$", "/$1"), ("by regex", "^/innerapi/([a-z]+)/([a-z]+)$", "/$2/$1")]
    {
        let settings = json!({"regex": regex, "replace": replace});
        let pipeline = Pipeline::new([registry.build("rewrite", settings).expect("they are right")]);
        let mut head = Head(HeaderMap::new());
        let path = "/innerapi/hello/world";
        c.bench_function(&format!("rewrite a path: {name}"), |b| {
            b.iter(|| {
                let client = IpAddr::V4(Ipv4Addr::LOCALHOST);
                let mut state = RequestState::new(Arc::default(), client, path.into(), None);
                black_box(&pipeline.request_filter(&mut RequestCtx::new(&mut head, &mut state)));
                assert_ne!(black_box(state.path()), path);
            });
        });
    }
}

criterion_group! {
    name = micro;
    config = Criterion::default().sample_size(20);
    targets = plugins, rewrite, log_line, routes, nodes, choices, paths, one_change, one_node
}
criterion_main!(micro);

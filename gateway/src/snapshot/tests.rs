//! What is live after which changes; above all that nothing broken opens a door.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderMap, Method};
use proptest::prelude::*;
use serde_json::{Value, json};
use ws_cloud_plugin_sdk::{ConfigError, Env, Factory, Phases, Plugin};

use super::*;
use crate::pipeline::Registry;
use crate::request::path::PathRules;
use crate::telemetry::Metrics;
use crate::upstream::{Tried, Wish};

struct Bench {
    compiler: Compiler,
    handle: Arc<Handle>,
    revision: u64,
}

/// Panics over its settings, when told to.
struct Fragile;

impl Plugin for Fragile {
    const NAME: &'static str = "fragile";
    const VERSION: &'static str = "v1";
    const DESCRIPTION: &'static str = "test";
    const PRIORITY: i32 = 0;
    const PHASES: Phases = Phases::REQUEST;
    type Config = Value;
    fn new(config: Value) -> Result<Self, ConfigError> {
        if config["panic"] == true { panic!("as told") } else { Ok(Self) }
    }
}

fn checker() -> Arc<Checker> {
    let mut factories = ws_cloud_plugin_standard::factories();
    factories.push(Factory::of::<Fragile>());
    let registry = Registry::new(factories, &["gone".into()]).unwrap();
    let rules = PathRules { merge_slashes: true, escaped_slashes: crate::request::path::EscapedSlashes::Keep };
    let deny = vec!["169.254.0.0/16".parse().unwrap()];
    Arc::new(Checker::new(registry, rules, deny, vec!["127.0.0.1:12000".parse().unwrap()]))
}

fn bench() -> Bench {
    let handle = Arc::new(Handle::default());
    let options = CompileOptions {
        checker: checker(),
        services: ServiceDefaults::default(),
        names: Arc::default(),
        metrics: Metrics::new(100),
        env: Box::new(|name| -> Env { panic!("{name} has nothing to start") }),
    };
    Bench { compiler: Compiler::new(options, Arc::clone(&handle)), handle, revision: 0 }
}

impl Bench {
    fn change(&mut self, key: &str, value: Option<String>) -> Change {
        self.revision += 1;
        Change { key: key.into(), value: value.map(Bytes::from), revision: self.revision }
    }

    fn put(&mut self, key: &str, value: impl Into<Value>) {
        self.put_text(key, &value.into().to_string());
    }

    fn put_text(&mut self, key: &str, value: &str) {
        let change = self.change(key, Some(value.into()));
        self.compiler.apply(change.revision, vec![change]);
    }

    fn delete(&mut self, key: &str) {
        let change = self.change(key, None);
        self.compiler.apply(change.revision, vec![change]);
    }

    /// The route a path goes to.
    fn route(&self, path: &str) -> Option<Arc<CompiledRoute>> {
        let (method, headers) = (Method::GET, HeaderMap::new());
        let lookup = Lookup { path, host: "h", method: &method, headers: &headers, query: None };
        self.handle.load().find(&lookup).cloned()
    }

    /// Its key, with `!` when it is broken.
    fn find(&self, path: &str) -> Option<String> {
        self.route(path).map(|r| format!("{}{}", r.info.key, if r.is_broken() { "!" } else { "" }))
    }

    fn nodes(&self, path: &str) -> Vec<String> {
        match self.handle.load().target(&self.route(path).unwrap()) {
            Target::Upstream(upstream) => upstream.nodes().iter().map(|n| n.label().to_owned()).collect(),
            Target::Nowhere => Vec::new(),
            Target::Broken => vec!["broken".into()],
        }
    }

    fn rejected(&self) -> Vec<(String, Serving)> {
        self.handle.load().rejected.iter().map(|r| (r.key.clone(), r.serving)).collect()
    }
}

fn route(prefix: &str, service: &str) -> Value {
    json!({"prefix": prefix, "service_name": service, "status": 1, "plugins": ["discovery"]})
}

fn node(service: &str, port: u16) -> (String, Value) {
    let upstream = format!("127.0.0.1:{port}");
    (
        format!("discovery/{}", crate::resource::key::node(service, &upstream)),
        json!({"service_name": service, "upstream": upstream}),
    )
}

#[test]
fn a_route_goes_to_the_nodes_of_its_service_and_no_other() {
    let mut bench = bench();
    bench.put("routes/a", route("/a/*", "demo1"));
    for (key, value) in [node("demo1", 1), node("demo10", 2), node("demo1-admin", 3)] {
        bench.put(&key, value);
    }
    assert_eq!(bench.nodes("/a/x"), ["127.0.0.1:1"]);
    let (key, _) = node("demo1", 1);
    bench.delete(&key);
    assert!(bench.nodes("/a/x").is_empty(), "the last node may go without harm");
}

#[test]
fn a_panic_over_settings_loses_no_good_version_and_leaves_no_trace() {
    let mut bench = bench();
    bench.put("routes/a", route("/a/*", "demo1"));
    let fragile = json!({"prefix": "/a/*", "service_name": "demo1", "status": 1,
        "plugins": ["fragile"], "props": {"fragile": {"panic": true}}});
    bench.put("routes/b", json!({"prefix": 7}));
    let change = |key: &str, value: Option<&Value>| Change {
        key: key.into(),
        value: value.map(|value| value.to_string().into()),
        revision: 9,
    };
    let broken = json!({"prefix": "/a/*", "service_name": "demo1", "status": 1, "plugins": ["nobody knows"]});
    for key in ["routes/a", "routes/b"] {
        let apply = || bench.compiler.apply(9, vec![change(key, Some(&fragile))]);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(apply));
        assert!(panicked.is_err());
    }
    // As control does after a panic.
    bench.compiler.replace(10, &mut [change("routes/a", Some(&broken))].into_iter());
    assert_eq!(bench.find("/a/x").as_deref(), Some("a"), "as it was before the panic");
    assert_eq!(bench.rejected(), [("routes/a".into(), Serving::LastGood)]);
}

#[test]
fn a_global_plugin_that_a_route_has_its_own_of_is_no_part_of_its_pipeline() {
    let mut bench = bench();
    let rewrite = |to: &str| json!({"regex": "^/a/", "replace": to});
    let own = json!({"prefix": "/a/*", "status": 1, "plugins": ["rewrite"], "props": {"rewrite": rewrite("/own/")}});
    bench.put("routes/a", own);
    bench.put("gw/plugins/rewrite", json!({"config": rewrite("/one/")}));
    let before = Arc::clone(&bench.route("/a/x").unwrap().pipeline);
    bench.put("gw/plugins/rewrite", json!({"config": rewrite("/two/")}));
    assert!(
        Arc::ptr_eq(&before, &bench.route("/a/x").unwrap().pipeline),
        "it is known by what it keeps alive, and nothing else"
    );
}

#[test]
fn a_node_under_the_key_of_another_service_is_left_out() {
    let mut bench = bench();
    bench.put("routes/a", route("/a/*", "demo1"));
    let (key, _) = node("demo1", 1);
    bench.put(&key, json!({"service_name": "demo2", "upstream": "127.0.0.1:1"}));
    assert!(bench.nodes("/a/x").is_empty());
    assert_eq!(bench.rejected(), [(key, Serving::LeftOut)]);
}

#[test]
fn nodes_that_would_open_the_inside_are_left_out() {
    let mut bench = bench();
    bench.put("routes/a", route("/a/*", "s"));
    for upstream in ["169.254.169.254:80", "127.0.0.1:12000", "[::ffff:169.254.169.254]:80"] {
        let key = format!("discovery/{}", crate::resource::key::node("s", upstream));
        bench.put(&key, json!({"service_name": "s", "upstream": upstream}));
        assert!(bench.nodes("/a/x").is_empty(), "{upstream}");
    }
}

#[test]
fn a_broken_route_keeps_its_last_good_version() {
    let mut bench = bench();
    bench.put("routes/a", route("/a/*", "s"));
    for broken in ["{", r#"{"prefix":"/a/*","status":1,"protocol":"ftp"}"#, r#"{"prefix":"no-slash","status":1}"#] {
        bench.put_text("routes/a", broken);
        assert_eq!(bench.find("/a/x").as_deref(), Some("a"), "{broken}");
        assert_eq!(bench.rejected(), [("routes/a".into(), Serving::LastGood)]);
    }
    assert_eq!(bench.compiler.last_good().len(), 1);
    bench.put("routes/a", route("/b/*", "s"));
    assert_eq!((bench.find("/a/x"), bench.find("/b/x").as_deref()), (None, Some("a")));
    assert!(bench.rejected().is_empty() && bench.compiler.last_good().is_empty());
}

#[test]
fn a_route_that_never_was_good_answers_503_in_its_place() {
    let mut bench = bench();
    bench.put("routes/all", route("/*", "s"));
    bench.put("routes/a", json!({"prefix": "/a/*", "status": 1, "service_name": "s", "plugins": ["key-auth"]}));
    assert_eq!(bench.find("/a/x").as_deref(), Some("a!"), "not through to the looser route");
    assert_eq!(bench.find("/b").as_deref(), Some("all"), "no other route is hurt");
    assert_eq!(bench.rejected(), [("routes/a".into(), Serving::Unavailable)]);
    bench.put("routes/a", json!({"prefix": "/a/*", "status": 0, "plugins": ["key-auth"]}));
    assert_eq!(bench.find("/a/x").as_deref(), Some("all"), "a route that is off has no place");
}

#[test]
fn a_broken_route_keeps_its_rank_among_the_routes_of_its_prefix() {
    let mut bench = bench();
    let open = |priority: i32| json!({"prefix": "/p/*", "status": 1, "service_name": "s", "priority": priority});
    bench.put("routes/open", open(5));
    let mut broken = open(10);
    broken["plugins"] = json!(["key-auth"]);
    bench.put("routes/broken", broken.clone());
    assert_eq!(bench.find("/p/x").as_deref(), Some("broken!"));
    broken["priority"] = json!(1);
    bench.put("routes/broken", broken.clone());
    assert_eq!(bench.find("/p/x").as_deref(), Some("open"), "it would not have come first");
    broken["methods"] = json!(["POST"]);
    broken["priority"] = json!(10);
    bench.put("routes/broken", broken.clone());
    assert_eq!(bench.find("/p/x").as_deref(), Some("open"), "it would not have taken a GET");
    broken["methods"] = json!("G T");
    broken["priority"] = json!(1);
    bench.put("routes/broken", broken);
    assert_eq!(bench.find("/p/x").as_deref(), Some("broken!"), "nobody knows what it would have taken");
}

#[test]
fn names_on_the_ignore_list_and_built_in_ones_mean_nothing() {
    let mut bench = bench();
    bench.put(
        "routes/a",
        json!({"prefix": "/a", "status": 1, "service_name": "s", "plugins": ["discovery", "default", "gone"]}),
    );
    assert_eq!(bench.find("/a").as_deref(), Some("a"));
}

#[test]
fn a_deleted_route_is_gone_with_its_last_good_version() {
    let mut bench = bench();
    bench.put("routes/a", route("/a/*", "s"));
    bench.put_text("routes/a", "{");
    bench.delete("routes/a");
    assert_eq!((bench.find("/a/x"), bench.rejected().len()), (None, 0));
    bench.put_text("routes/a", r#"{"prefix":"/a/*","status":1,"protocol":"ftp"}"#);
    assert_eq!(bench.find("/a/x").as_deref(), Some("a!"));
}

#[test]
fn a_broken_global_plugin_closes_every_route_and_a_mended_one_opens_them() {
    let mut bench = bench();
    bench.put("routes/a", route("/a/*", "s"));
    bench.put("gw/plugins/key-auth", json!({"config": {}}));
    assert_eq!(bench.find("/a/x").as_deref(), Some("a!"));
    bench.delete("gw/plugins/key-auth");
    assert_eq!(bench.find("/a/x").as_deref(), Some("a"));
    bench.put("gw/plugins/tracing", json!({}));
    bench.put("gw/plugins/tracing", json!({"config": {"wrong": 1}}));
    assert_eq!(bench.find("/a/x").as_deref(), Some("a"), "the last good settings stay");
    assert_eq!(bench.rejected(), [("gw/plugins/tracing".into(), Serving::LastGood)]);
}

#[test]
fn global_plugins_cover_routes_of_the_same_batch_and_of_those_before() {
    let mut bench = bench();
    bench.put("routes/a", json!({"prefix": "/a/*", "hosts": ["h", "*.h"], "status": 1, "plugins": ["tracing"]}));
    bench.put("routes/b", route("/b/*", "s"));
    bench.put("routes/off", json!({"prefix": "/off", "status": 0}));
    bench.put("routes/broken", json!({"prefix": "/broken", "status": 1, "plugins": ["unknown"]}));
    let plugins = |bench: &Bench, path: &str| {
        let (method, headers) = (Method::GET, HeaderMap::new());
        let lookup = Lookup { path, host: "h", method: &method, headers: &headers, query: None };
        bench.handle.load().find(&lookup).unwrap().pipeline.instances().len()
    };
    // The route comes first in the batch, and is covered all the same.
    let rewrite = json!({"config": {"rewrite_url_regex": "^/", "rewrite_replace": "/"}}).to_string();
    let batch = [
        bench.change("routes/b", Some(route("/b/new/*", "s").to_string())),
        bench.change("gw/plugins/rewrite", Some(rewrite)),
    ];
    bench.compiler.apply(9, batch.into());
    assert_eq!([plugins(&bench, "/a/x"), plugins(&bench, "/b/new/x"), plugins(&bench, "/broken")], [2, 1, 0]);
    assert_eq!(bench.find("/b/x"), None);
    bench.put("gw/plugins/key-auth", json!({"config": {}}));
    bench.put("routes/c", route("/c", "s"));
    for (path, key) in [("/a/x", "a!"), ("/b/new/x", "b!"), ("/c", "c!"), ("/broken", "broken!")] {
        assert_eq!(bench.find(path).as_deref(), Some(key));
    }
    bench.delete("gw/plugins/key-auth");
    bench.delete("gw/plugins/rewrite");
    assert_eq!([plugins(&bench, "/a/x"), plugins(&bench, "/b/new/x"), plugins(&bench, "/c")], [1, 0, 0]);
    assert_eq!([bench.find("/c").as_deref(), bench.find("/broken").as_deref()], [Some("c"), Some("broken!")]);
    assert_eq!(bench.find("/off"), None);
}

#[test]
fn of_several_changes_of_a_route_in_a_batch_the_last_counts() {
    let mut bench = bench();
    bench.put("routes/a", route("/a", "s"));
    let batch: Vec<Change> = [Some(route("/b", "s")), None, Some(route("/c", "s")), Some(route("/d", "s"))]
        .map(|value| bench.change("routes/a", value.map(|value| value.to_string())))
        .into();
    bench.compiler.apply(9, batch);
    assert_eq!(["/a", "/b", "/c", "/d"].map(|path| bench.find(path)), [None, None, None, Some("a".to_owned())]);
    assert_eq!(bench.handle.load().route_count(), 1);
}

#[test]
fn a_full_state_keeps_the_last_good_version_of_what_is_broken_in_it() {
    let mut bench = bench();
    bench.put("routes/a", route("/a", "s"));
    let broken = json!({"prefix": "/a", "status": 1, "protocol": "ftp"}).to_string();
    bench.put_text("routes/a", &broken);
    let change = bench.change("routes/a", Some(broken));
    bench.compiler.replace(9, &mut std::iter::once(change));
    assert_eq!(bench.find("/a").as_deref(), Some("a"));
    assert_eq!(bench.compiler.last_good().iter().map(|change| change.revision).collect::<Vec<_>>(), [1]);
    // One that was switched off when it was good stays off.
    bench.put("routes/a", json!({"prefix": "/a", "status": 0}));
    bench.put("routes/a", json!({"prefix": "/a", "status": 1, "protocol": "ftp"}));
    assert_eq!(bench.find("/a"), None);
    assert_eq!(bench.rejected(), [("routes/a".into(), Serving::LastGood)]);
}

#[test]
fn a_broken_service_keeps_its_last_good_settings_or_closes() {
    let mut bench = bench();
    bench.put("routes/a", route("/a/*", "s"));
    let (key, value) = node("s", 1);
    bench.put(&key, value);
    bench.put("gw/services/s", json!({"balancer": "dice"}));
    assert_eq!(bench.nodes("/a/x"), ["broken"]);
    bench.put("gw/services/s", json!({"max_tries": 2}));
    bench.put("gw/services/s", json!({"max_tries": 0}));
    assert_eq!(bench.nodes("/a/x"), ["127.0.0.1:1"]);
}

#[test]
fn an_overlay_drains_a_node_and_gives_it_back() {
    let mut bench = bench();
    bench.put("routes/a", route("/a/*", "s"));
    let (key, value) = node("s", 1);
    bench.put(&key, value);
    let overlay = key.replace("discovery/", "gw/nodes/");
    bench.put(&overlay, json!({"state": "drain"}));
    assert!(bench.nodes("/a/x").is_empty());
    bench.delete(&overlay);
    assert_eq!(bench.nodes("/a/x").len(), 1);
}

#[test]
fn a_full_state_removes_what_it_does_not_name_and_uses_restored_versions() {
    let mut bench = bench();
    bench.put("routes/old", route("/old", "s"));
    let good = bench.change("routes/a", Some(route("/a/*", "s").to_string()));
    let nonsense = bench.change("routes/b", Some("{".into()));
    bench.compiler.restore_last_good(vec![good, nonsense]);
    let broken = bench.change("routes/a", Some(r#"{"prefix":"/a/*","status":1,"protocol":"ftp"}"#.into()));
    let broken_b = bench.change("routes/b", Some(r#"{"prefix":"/b/*","status":1,"protocol":"ftp"}"#.into()));
    bench.compiler.replace(9, &mut [broken, broken_b].into_iter());
    assert_eq!(bench.find("/old"), None);
    assert_eq!(bench.find("/a/x").as_deref(), Some("a"));
    assert_eq!(bench.find("/b/x").as_deref(), Some("b!"));
    assert_eq!(bench.handle.load().revision, 9);
}

#[test]
fn what_did_not_change_is_the_same_object_and_keeps_its_state() {
    let mut bench = bench();
    bench.put("routes/a", route("/a/*", "s"));
    bench.put("routes/b", route("/b/*", "s"));
    for (key, value) in [node("s", 1), node("s", 2)] {
        bench.put(&key, value);
    }
    let get = |bench: &Bench, path: &str| {
        let snapshot = bench.handle.load_full();
        let (method, headers) = (Method::GET, HeaderMap::new());
        let lookup = Lookup { path, host: "h", method: &method, headers: &headers, query: None };
        let route = Arc::clone(snapshot.find(&lookup).unwrap());
        let Target::Upstream(upstream) = snapshot.target(&route) else { panic!("no upstream") };
        (route, Arc::clone(upstream))
    };
    let (route_before, upstream_before) = get(&bench, "/a/x");
    upstream_before.nodes()[0].state.condemn("refused");
    let first = upstream_before.pick(&Wish::new(&Tried::default()), |_| true);
    bench.put("routes/b", route("/b/x/*", "s"));
    let (key, value) = node("s", 3);
    bench.put(&key, value);
    let (route_after, upstream_after) = get(&bench, "/a/x");
    assert!(Arc::ptr_eq(&route_before, &route_after));
    let index = upstream_after.position(upstream_before.nodes()[0].address).unwrap();
    assert!(!upstream_after.nodes()[index].state.is_healthy(), "health survives a change of the nodes");
    assert_eq!(first, Some(1));
    assert!(Arc::ptr_eq(&upstream_before.memory, &upstream_after.memory));
    assert!(Arc::ptr_eq(&route_before.pipeline, &get(&bench, "/b/x/y").0.pipeline), "equal plugins are shared");
}

#[test]
fn a_change_of_one_node_shares_all_of_the_others_and_one_of_the_service_nothing_it_must_not() {
    let mut bench = bench();
    let put = |bench: &mut Bench, port: u16, weight: u32| {
        let (key, mut value) = node("s", port);
        value["weight"] = json!(weight);
        bench.put(&key, value);
    };
    (1..=4).for_each(|port| put(&mut bench, port, 1));
    let upstream = |bench: &Bench| Arc::clone(bench.handle.load().upstreams().next().unwrap());
    let same = |before: &Upstream, after: &Upstream| {
        let node = |upstream: &Upstream, port: u16| {
            let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
            upstream.position(address).map(|index| upstream.nodes()[index].clone())
        };
        let pairs = (1..=4).filter_map(|port| Some((node(before, port)?, node(after, port)?)));
        pairs.map(|(a, b)| (Arc::ptr_eq(&a.state, &b.state), Arc::ptr_eq(&a.peers, &b.peers))).collect::<Vec<_>>()
    };
    let mut before = upstream(&bench);
    for (port, weight, others) in [(1, Some(7), 4), (2, None, 3), (2, Some(1), 3)] {
        match weight {
            Some(weight) => put(&mut bench, port, weight),
            None => bench.delete(&node("s", port).0),
        }
        let after = upstream(&bench);
        assert_eq!(same(&before, &after), vec![(true, true); others]);
        before = after;
    }
    assert!(before.nodes().iter().any(|node| (node.address.port(), node.weight) == (1, 7)));
    bench.put("gw/services/s", json!({"max_tries": 2}));
    assert_eq!(same(&before, &upstream(&bench)), [(true, true); 4], "peers know nothing of tries");
    let options = [
        json!({"timeouts": {"read": "7s"}}),
        json!({"protocol": "http2"}),
        json!({"protocol": "http2", "tls": {"verify": false}}),
        json!({"protocol": "http2", "tls": {"sni": "a.test"}}),
        json!({"proxy_protocol": "v1"}),
    ];
    for service in options {
        before = upstream(&bench);
        bench.put("gw/services/s", service.clone());
        assert!(bench.rejected().is_empty(), "{service}");
        assert_eq!(same(&before, &upstream(&bench)), [(true, false); 4], "{service}");
    }
}

#[test]
fn the_nodes_of_a_service_are_not_those_of_one_whose_name_goes_on() {
    let mut bench = bench();
    bench.put("routes/a", route("/a/*", "a"));
    bench.put("routes/b", route("/b/*", "a.b"));
    for (service, port) in [("a", 1), ("a.b", 2), ("a-b", 3), ("a/", 4), ("a.b", 5)] {
        let (key, value) = node(service, port);
        bench.put(&key, value);
    }
    assert_eq!(bench.nodes("/a/x"), ["127.0.0.1:1"]);
    let mut others = bench.nodes("/b/x");
    others.sort();
    assert_eq!(others, ["127.0.0.1:2", "127.0.0.1:5"]);
}

#[test]
fn a_node_added_to_others_starts_slowly_and_the_first_ones_do_not() {
    let mut bench = bench();
    bench.put("gw/services/s", json!({"slow_start": "1h"}));
    let [first, second, third] = [1, 2, 3].map(|port| {
        let (key, value) = node("s", port);
        bench.change(&key, Some(value.to_string()))
    });
    let share_of = |port: u16, bench: &Bench| {
        let snapshot = bench.handle.load_full();
        let upstream = Arc::clone(snapshot.upstreams().next().unwrap());
        let picks = (0..600).filter_map(|_| upstream.pick(&Wish::new(&Tried::default()), |_| true));
        picks.filter(|index| upstream.nodes()[*index].address.port() == port).count()
    };
    bench.compiler.apply(10, vec![first, second]);
    assert_eq!(share_of(2, &bench), 300);
    bench.compiler.apply(11, vec![third]);
    assert!((1..80).contains(&share_of(3, &bench)));
}

#[test]
fn a_pattern_that_does_not_compile_is_refused_with_its_place() {
    let bad = json!({"prefix": "/a", "status": 1, "plugins": ["rewrite"], "props": {"rewrite_url_regex": "(", "rewrite_replace": "x"}});
    let error = checker().check("routes/a", bad.to_string().as_bytes()).unwrap_err();
    assert!(error.path.starts_with("props.rewrite"), "{error}");
    assert!(checker().check("routes_history/a", b"{}").is_err());
}

/// A node and its weight.
type Weighed = (std::net::SocketAddr, u32);

/// What a request comes to: the route, its plugins, and the nodes.
fn comes_to(snapshot: &Snapshot, path: &str) -> Option<(String, Vec<&'static str>, Vec<Weighed>)> {
    let (method, headers) = (Method::GET, HeaderMap::new());
    let route = snapshot.find(&Lookup { path, host: "h", method: &method, headers: &headers, query: None })?;
    let plugins = route.pipeline.instances().iter().map(|instance| instance.name()).collect();
    let nodes = match snapshot.target(route) {
        Target::Upstream(upstream) => upstream.nodes().iter().map(|node| (node.address, node.weight)).collect(),
        Target::Nowhere | Target::Broken => Vec::new(),
    };
    Some((format!("{} {}", route.info.key, route.is_broken()), plugins, nodes))
}

proptest! {
    /// A preview of a change is what is live once it is made; and changes nothing that is.
    #[test]
    fn what_a_change_would_do_is_what_it_does(steps in prop::collection::vec((0_u8..9, 0_u8..5), 1..40)) {
        let mut bench = bench();
        for (object, version) in steps {
            let (key, value) = match object {
                0..=2 => {
                    let mut declared = route(&format!("/p{version}/*"), "s");
                    declared["status"] = u8::from(version != 3).into();
                    (format!("routes/r{object}"), declared)
                }
                3 => ("gw/services/s".into(), json!({"max_tries": version + 1})),
                4 => ("gw/plugins/rewrite".into(), json!({"status": version % 2, "config": {}})),
                5 | 6 => {
                    let key = node("s", u16::from(object)).0.replace("discovery/", "gw/nodes/");
                    (key, json!({"state": if version % 2 == 0 { "drain" } else { "enabled" }, "weight": version}))
                }
                _ => node("s", u16::from(object) - 2),
            };
            let change = bench.change(&key, (version != 4).then(|| value.to_string()));
            let paths = ["/p0/x", "/p1/x", "/p2/x", "/p3/x", "/p4/x"];
            let all = |snapshot: &Snapshot| paths.map(|path| comes_to(snapshot, path));
            let before = all(&bench.handle.load());
            let foreseen = bench.compiler.with(&change).unwrap();
            prop_assert_eq!(&before, &all(&bench.handle.load()));
            bench.compiler.apply(change.revision, vec![change]);
            prop_assert_eq!(all(&foreseen), all(&bench.handle.load()));
        }
    }

    /// After any sequence of changes the same paths are served as by a compiler that is handed
    /// just the final objects, as long as no broken version came after a good one.
    #[test]
    fn changes_one_by_one_lead_to_the_same_as_the_whole(steps in prop::collection::vec((0_u8..6, 0_u8..5), 1..40)) {
        let mut bench = bench();
        let mut model: BTreeMap<String, String> = BTreeMap::new();
        for (object, version) in steps {
            let (key, value) = match object {
                0..=2 => (format!("routes/r{object}"), route(&format!("/p{version}/*"), "s").to_string()),
                3 => ("gw/services/s".into(), json!({"max_tries": version + 1}).to_string()),
                _ => { let (key, value) = node("s", u16::from(object)); (key, value.to_string()) }
            };
            if version == 4 {
                model.remove(&key);
                bench.delete(&key);
            } else {
                model.insert(key.clone(), value.clone());
                bench.put_text(&key, &value);
            }
        }
        let mut fresh = super::tests::bench();
        let entries: Vec<_> = model.iter().map(|(key, value)| fresh.change(key, Some(value.clone()))).collect();
        fresh.compiler.replace(1, &mut entries.into_iter());
        for path in ["/p0/x", "/p1/x", "/p2/x", "/p3/x", "/p4/x"] {
            prop_assert_eq!(bench.find(path), fresh.find(path));
            if bench.find(path).is_some() {
                prop_assert_eq!(bench.nodes(path), fresh.nodes(path));
            }
        }
    }
}

//! The table against a model that is too simple to be wrong, and the rules one by one.

use http::header::HeaderValue;
use proptest::prelude::*;

use super::model::find as model;
use super::*;
use crate::request::path::PathRules;

fn pattern(text: &str) -> Pattern {
    Pattern::parse(text, &PathRules::default()).unwrap()
}

fn entry(key: &str, path: &str, hosts: &[&str]) -> Entry<String> {
    Entry {
        pattern: pattern(path),
        hosts: hosts.iter().map(|host| HostPattern::parse(host).unwrap()).collect(),
        methods: Vec::new(),
        headers: Vec::new(),
        query: Vec::new(),
        priority: 0,
        key: key.into(),
        target: key.to_owned(),
    }
}

struct Request {
    path: String,
    host: String,
    method: Method,
    headers: HeaderMap,
    query: Option<String>,
}

impl Request {
    fn get(host: &str, path: &str) -> Self {
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query.to_owned())));
        Self { path: path.to_owned(), host: host.to_owned(), method: Method::GET, headers: HeaderMap::new(), query }
    }

    fn lookup(&self) -> Lookup<'_> {
        Lookup {
            path: &self.path,
            host: &self.host,
            method: &self.method,
            headers: &self.headers,
            query: self.query.as_deref(),
        }
    }
}

fn check(entries: &[Entry<String>], cases: &[(&str, &str, &str)]) {
    let router = Router::build(entries.to_vec());
    for &(host, path, expected) in cases {
        let request = Request::get(host, path);
        let found = router.find(&request.lookup()).map_or("-", String::as_str);
        assert_eq!(found, expected, "{host}{path}");
    }
}

#[test]
fn exact_wins_over_prefix_and_longer_over_shorter() {
    let entries = ["/a", "/a*", "/a/*", "/a/b/*", "/*", "/用户/*"].map(|path| entry(path, path, &[]));
    check(
        &entries,
        &[
            ("", "/a", "/a"),
            ("", "/abc", "/a*"),
            ("", "/a/", "/a/*"),
            ("", "/a/b", "/a/*"),
            ("", "/a/b/c", "/a/b/*"),
            ("", "/用户/1", "/用户/*"),
            ("", "/用", "/*"),
            ("", "/", "/*"),
            ("", "", "-"),
            ("", "*", "-"),
        ],
    );
}

#[test]
fn without_a_fitting_host_the_next_shorter_prefix_is_tried() {
    let entries = [
        entry("deep", "/a/b/*", &["x.com"]),
        entry("exact", "/a/b/c", &["y.com"]),
        entry("mid", "/a/*", &["*.com"]),
        entry("root", "/*", &["z.com"]),
    ];
    check(
        &entries,
        &[
            ("x.com", "/a/b/c", "deep"),
            ("y.com", "/a/b/c", "exact"),
            ("w.com", "/a/b/c", "mid"),
            ("z.com", "/b", "root"),
            ("z.org", "/a/b/c", "-"),
        ],
    );
}

#[test]
fn hosts_rank_exact_suffix_none() {
    let mut entries = vec![
        entry("any", "/*", &["*"]),
        entry("com", "/*", &["*.com"]),
        entry("example", "/*", &["*.example.com"]),
        entry("foo", "/*", &["*foo.com"]),
        entry("exact", "/*", &["WWW.Example.com:8080"]),
    ];
    let cases = [
        ("www.example.com", "/", "exact"),
        ("api.example.com", "/", "example"),
        ("example.com", "/", "com"),
        ("foo.com", "/", "foo"),
        ("barfoo.com", "/", "foo"),
        ("example.org", "/", "any"),
        ("", "/", "any"),
    ];
    check(&entries, &cases);
    // The same with so many hosts that they are indexed.
    entries.extend((0..50).map(|i| entry("other", "/*", &[&format!("t{i}.org"), &format!("*.t{i}.net")])));
    check(&entries, &cases);
    check(&entries, &[("t7.org", "/", "other"), ("a.t7.net", "/", "other"), ("t7.net", "/", "any")]);
}

#[test]
fn priority_then_conditions_then_key_decide() {
    let low = Entry { priority: -1, ..entry("low", "/*", &[]) };
    let b = entry("b", "/*", &[]);
    let a = entry("a", "/*", &[]);
    let get = Entry { methods: vec![Method::GET], ..entry("z-get", "/*", &[]) };
    let high = Entry { priority: 1, methods: vec![Method::POST], ..entry("z-high", "/*", &[]) };
    check(&[low.clone(), b.clone(), a.clone()], &[("", "/", "a")]);
    check(&[low.clone(), b, a, get, high.clone()], &[("", "/", "z-get")]);
    check(&[high, low], &[("", "/", "low")]);
}

#[test]
fn predicates_compare_decoded_values() {
    let on = |name: &str, test: Test| Entry {
        query: vec![Predicate { name: name.to_owned(), test }],
        ..entry("match", "/*", &[])
    };
    let exact = || Test::Exact("a b".to_owned());
    let regex = |text: &str| Test::Regex(regex::Regex::new(text).unwrap());
    let cases = [
        (on("q", exact()), "/?q=a%20b", true),
        (on("q", exact()), "/?q=a+b", true),
        (on("q", exact()), "/?x=1&%71=a+b", true),
        (on("q", exact()), "/?q=1&q=a+b", true),
        (on("q", exact()), "/?q=a", false),
        (on("q", exact()), "/", false),
        (on("q", Test::Prefix("a b".to_owned())), "/?q=a+bc", true),
        (on("q", Test::Prefix("a b".to_owned())), "/?q=a", false),
        (on("q", Test::Present), "/?q", true),
        (on("q", Test::Present), "/?qq=1", false),
        (on("q", Test::Absent), "/?qq=1", true),
        (on("q", Test::Absent), "/?q=1", false),
        (on("q", regex("^[0-9]+$")), "/?q=%31", true),
        (on("q", regex("^[0-9]+$")), "/?q=x", false),
        (on("q", Test::Exact("%zz%4".to_owned())), "/?q=%zz%4", true),
        (on("", Test::Present), "/?&&", false),
    ];
    for (entry, path, expected) in cases {
        check(&[entry], &[("", path, if expected { "match" } else { "-" })]);
    }
}

#[test]
fn header_predicates_look_at_every_value() {
    let on = |name: &str, test: Test| {
        let headers = vec![Predicate { name: name.to_owned(), test }];
        Router::build(vec![Entry { headers, ..entry("match", "/*", &[]) }])
    };
    let mut request = Request::get("", "/");
    request.headers.append("x-canary", HeaderValue::from_static("no"));
    request.headers.append("x-canary", HeaderValue::from_static("a+b"));
    request.headers.append("x-bytes", HeaderValue::from_bytes(b"\xff").unwrap());
    let cases = [
        (on("X-Canary", Test::Exact("a+b".to_owned())), true),
        (on("x-canary", Test::Exact("a b".to_owned())), false),
        (on("x-canary", Test::Absent), false),
        (on("x-other", Test::Absent), true),
        (on("x-bytes", Test::Present), true),
        (on("x-bytes", Test::Regex(regex::Regex::new(".*").unwrap())), false),
        (on("not a name", Test::Present), false),
        (on("not a name", Test::Absent), true),
    ];
    for (i, (router, expected)) in cases.iter().enumerate() {
        assert_eq!(router.find(&request.lookup()).is_some(), *expected, "case {i}");
    }
}

#[test]
fn candidates_say_why_they_lost() {
    let router = Router::build(vec![
        Entry { methods: vec![Method::POST], ..entry("post", "/a", &[]) },
        entry("other-host", "/a/*", &["x.com"]),
        entry("exact-host", "/*", &["y.com"]),
        entry("any", "/*", &[]),
    ]);
    let request = Request::get("y.com", "/a");
    let told: Vec<_> = router
        .candidates(&request.lookup())
        .map(|c| format!("{} {} {}: {:?}", c.key, c.pattern, c.host, c.verdict))
        .collect();
    assert_eq!(told, ["post /a *: Method", "exact-host /* y.com: Match", "any /* *: Outranked"]);
    let request = Request::get("z.com", "/a/b");
    let told: Vec<_> = router.candidates(&request.lookup()).map(|c| (c.key, c.verdict)).collect();
    let expected =
        [("other-host", Verdict::Host), ("exact-host", Verdict::Host), ("any", Verdict::Match)].map(|(k, v)| (k, v));
    assert_eq!(told, expected);
}

#[test]
fn patterns_are_read_or_refused() {
    let rules = PathRules::default();
    let cases = [
        (" /a ", "/a"),
        ("/a/*", "/a/*"),
        ("/a*", "/a*"),
        ("*", "/*"),
        ("/*", "/*"),
        ("//*", "/*"),
        ("/%61//b/../*", "/a/*"),
        ("/a b/*", "/a%20b/*"),
        ("/%e7%94%a8/*", "/用/*"),
        ("/a%2A", "/a%2A"),
        ("/a/*/b", "\"/a/*/b\": * is allowed at the end only"),
        ("/**", "\"/**\": * is allowed at the end only"),
        ("a", "\"a\": the path does not start with /"),
        ("a*", "\"a*\": the path does not start with /"),
        ("", "\"\": the path does not start with /"),
        ("/.*", "\"/.*\": a dot segment before * is ambiguous"),
        ("/a/%2e%2E*", "\"/a/%2e%2E*\": a dot segment before * is ambiguous"),
        ("/..*", "\"/..*\": the path climbs above the root"),
        ("/a%*", "\"/a%*\": the path has a malformed percent-escape"),
        ("/a?b", "\"/a?b\": the path has a raw ? or #"),
    ];
    for (text, expected) in cases {
        let found = Pattern::parse(text, &rules).map_or_else(|error| error.to_string(), |p| p.to_string());
        assert_eq!(found, expected, "{text:?}");
    }
}

#[test]
fn host_patterns_are_read_or_refused() {
    let cases = [
        ("Example.COM:80", "example.com"),
        ("*.Example.com", "*.example.com"),
        ("*foo.com", "*foo.com"),
        ("*", "*"),
        (" * ", "*"),
        ("*:8080", "*"),
        ("[::1]:80", "[::1]"),
        ("a.com.", "a.com"),
        ("", "a host is empty"),
        (":80", "a host is empty"),
        ("a*", "host \"a*\": * is allowed at the start only"),
        ("**.a", "host \"**.a\": * is allowed at the start only"),
        ("a/b", "host \"a/b\": '/' is not allowed; write international names as xn--..."),
        ("é.com", "host \"é.com\": 'é' is not allowed; write international names as xn--..."),
    ];
    for (text, expected) in cases {
        let found = HostPattern::parse(text).map_or_else(|error| error.to_string(), |p| p.to_string());
        assert_eq!(found, expected, "{text:?}");
    }
}

/// Routes at many paths, or so many at a few that their hosts are indexed.
fn entries() -> impl Strategy<Value = Vec<Entry<String>>> {
    prop_oneof![entries_at("/([ab/]{0,3}|[ab]{7,10}/?[ab]{0,9})"), entries_at("/a?")]
}

fn entries_at(path: &'static str) -> impl Strategy<Value = Vec<Entry<String>>> {
    let host = prop_oneof![Just("*".to_owned()), "[ab][ab.]{0,2}[ab]", "\\*[ab.]{1,3}[ab]"];
    let method = prop_oneof![Just(Method::GET), Just(Method::POST)];
    let entry = (
        (path, any::<bool>()),
        prop::collection::vec(host, 0..3),
        prop::collection::vec(method, 0..2),
        prop::collection::vec(predicate(), 0..2),
        prop::collection::vec(predicate(), 0..2),
        0..2i32,
    );
    prop::collection::vec(entry, 0..60).prop_map(|entries| {
        let numbered = entries.into_iter().enumerate();
        numbered
            .map(|(i, ((path, star), hosts, methods, headers, query, priority))| Entry {
                pattern: pattern(&format!("{path}{}", if star { "*" } else { "" })),
                hosts: hosts.iter().map(|host| HostPattern::parse(host).unwrap()).collect(),
                methods,
                headers,
                query,
                priority,
                key: format!("{:02}", (i * 37) % 100).into(),
                target: format!("{:02}", (i * 37) % 100),
            })
            .collect()
    })
}

fn predicate() -> impl Strategy<Value = Predicate> {
    let test = prop_oneof![
        Just(Test::Present),
        Just(Test::Absent),
        "[12]{0,2}".prop_map(Test::Exact),
        "[12]{0,2}".prop_map(Test::Prefix),
        // Cloned, for making one takes long.
        Just(Test::Regex(regex::Regex::new("1$").unwrap())),
    ];
    ("[xy]", test).prop_map(|(name, test)| Predicate { name, test })
}

/// What a path yields, and all that was considered for it.
fn told(router: &Router<String>, path: &str, host: &str) -> (Option<String>, Vec<String>) {
    let request = Request::get(host, path);
    let candidates = router.candidates(&request.lookup()).map(|c| format!("{c:?}")).collect();
    (router.find(&request.lookup()).cloned(), candidates)
}

#[test]
fn a_router_grows_and_shrinks_with_its_routes() {
    let path = |i: usize| format!("/{}/{i}/*", "x".repeat(i % 90 + 1));
    let mut router = Router::default();
    let found = |router: &Router<String>, i: usize| told(router, &path(i), "").0;
    for step in 0..20 {
        let entries = (step * 500..(step + 1) * 500).map(|i| Edit::Insert(entry(&i.to_string(), &path(i), &[])));
        router = router.edited(entries.collect());
        assert_eq!(router.len(), (step + 1) * 500);
    }
    assert!((0..10_000).all(|i| found(&router, i) == Some(i.to_string())));
    let mapped = router.map(|target| format!("{target}!"));
    assert_eq!(found(&mapped, 777), Some("777!".to_owned()));
    for i in 0..9_990 {
        router = router.edited(vec![Edit::Remove(router.place(&pattern(&path(i))), i.to_string().into())]);
    }
    assert_eq!(router.len(), 10);
    assert!((0..10_000).all(|i| found(&router, i) == (i >= 9_990).then(|| i.to_string())));
}

proptest! {
    #[test]
    fn a_router_that_changed_is_as_one_built_from_nothing(
        first in entries(),
        second in entries(),
        batches in prop::collection::vec(prop::collection::vec((any::<bool>(), 0..100_usize), 1..20), 1..10),
        requests in prop::collection::vec(("/([ab/]{0,4}|[ab]{7,10}/?[ab]{0,10})", "[ab.]{0,4}"), 1..20),
    ) {
        let mut known = std::collections::BTreeMap::<Arc<str>, Entry<String>>::new();
        let mut router = Router::default();
        for batch in batches {
            let mut edits = Vec::new();
            let mut touched = HashSet::new();
            for (which, key) in batch {
                let from = if which { &first } else { &second };
                let entry = from.iter().find(|entry| *entry.key == format!("{key:02}"));
                let Some(entry) = entry.filter(|entry| touched.insert(Arc::clone(&entry.key))) else { continue };
                // What is there already goes, and comes back as it is in the other list.
                let old = known.remove(&entry.key);
                let is_same = old.as_ref().is_some_and(|old| old.pattern == entry.pattern);
                edits.extend(old.map(|old| Edit::Remove(router.place(&old.pattern), old.key)));
                if !is_same {
                    known.insert(Arc::clone(&entry.key), entry.clone());
                    edits.push(Edit::Insert(entry.clone()));
                }
            }
            let before = router.len();
            let next = router.edited(edits);
            prop_assert_eq!(router.len(), before, "the router before it is as it was");
            router = next;
        }
        let built = Router::build(known.values().cloned().collect());
        prop_assert_eq!(router.len(), built.len());
        for (path, host) in requests {
            prop_assert_eq!(told(&router, &path, &host), told(&built, &path, &host));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn the_table_agrees_with_the_model(
        entries in entries(),
        requests in prop::collection::vec(
            ("/([ab/]{0,4}|[ab]{7,10}/?[ab]{0,10})", "[ab.]{0,4}", any::<bool>(), "[xy]", "[12]{0,2}",
             prop::option::of("([xy]=[12]{0,2}&?){0,3}")), 1..20),
    ) {
        let router = Router::build(entries.clone());
        for (path, host, get, header, value, query) in requests {
            let mut request = Request::get(&host, &path);
            request.method = if get { Method::GET } else { Method::POST };
            request.headers.insert(if header == "x" { "x" } else { "y" }, HeaderValue::from_str(&value).unwrap());
            request.query = query;
            let lookup = request.lookup();
            let found = router.find(&lookup).map(String::as_str);
            prop_assert_eq!(found, model(&entries, &lookup), "{:?} {:?}", path, host);
            let explained = router.candidates(&lookup).find(|c| c.verdict == Verdict::Match).map(|c| c.key);
            prop_assert_eq!(explained, found);
        }
    }
}

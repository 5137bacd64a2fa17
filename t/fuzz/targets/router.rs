//! The router against its model.

use std::sync::LazyLock;

use http::header::{HeaderMap, HeaderValue};
use http::{HeaderName, Method};
use ws_cloud_gateway::request::path::PathRules;
use ws_cloud_gateway::router::{Entry, HostPattern, Lookup, Pattern, Predicate, Router, Test, Verdict};

use super::input::Input;
use super::rules;

const PATHS: [&str; 12] =
    ["/", "/a", "/a/", "/a/b", "/a/b/c", "/ab", "/abc/d", "/b", "/longer/than/eight", "/longer/than", "/a%2Fb", "/用"];
const HOSTS: [&str; 8] = ["a.com", "b.com", "x.a.com", "y.x.a.com", "com", "xa.com", "a.org", "localhost"];
const HOST_PATTERNS: [&str; 8] = ["*", "a.com", "*.a.com", "*a.com", "*.com", "x.a.com", "*.x.a.com", "b.com"];
const METHODS: [&Method; 3] = [&Method::GET, &Method::POST, &Method::DELETE];
const NAMES: [&str; 2] = ["x", "y"];
const VALUES: [&str; 4] = ["", "1", "12", "21"];
const QUERIES: [&str; 6] = ["", "x=1", "x=12&y", "y=21&x=1&x=2", "&&x", "z=1"];

pub fn run(bytes: &[u8]) {
    static REGEX: LazyLock<regex::Regex> = LazyLock::new(|| regex::Regex::new("1$").unwrap());
    let mut input = Input::new(bytes);
    let predicates = |input: &mut Input<'_>| -> Vec<Predicate> {
        (0..input.below(3))
            .map(|_| {
                let name = input.choose(NAMES).to_owned();
                let value = input.choose(VALUES).to_owned();
                let test = match input.below(5) {
                    0 => Test::Present,
                    1 => Test::Absent,
                    2 => Test::Exact(value),
                    3 => Test::Prefix(value),
                    _ => Test::Regex(REGEX.clone()),
                };
                Predicate { name, test }
            })
            .collect()
    };
    let entries: Vec<Entry<String>> = (0..input.below(40))
        .map(|i| {
            let star = if input.below(2) == 0 { "*" } else { "" };
            Entry {
                pattern: Pattern::parse(&format!("{}{star}", input.choose(PATHS)), &PathRules::default()).unwrap(),
                hosts: (0..input.below(3)).map(|_| HostPattern::parse(input.choose(HOST_PATTERNS)).unwrap()).collect(),
                methods: (0..input.below(2)).map(|_| input.choose(METHODS).clone()).collect(),
                headers: predicates(&mut input),
                query: predicates(&mut input),
                priority: i32::from(input.below(3)) - 1,
                key: format!("{:02}", (u32::from(i) * 37) % 100).into(),
                target: format!("{:02}", (u32::from(i) * 37) % 100),
            }
        })
        .collect();
    let router = Router::build(entries.clone());
    while !input.is_empty() {
        let mut headers = HeaderMap::new();
        for _ in 0..input.below(3) {
            headers
                .append(HeaderName::from_static(input.choose(NAMES)), HeaderValue::from_static(input.choose(VALUES)));
        }
        let path = format!("{}{}", input.choose(PATHS), input.choose(["", "/b", "x", "/"]));
        let query = input.choose(QUERIES);
        let lookup = Lookup {
            path: &path,
            host: input.choose(HOSTS),
            method: input.choose(METHODS),
            headers: &headers,
            query: (!query.is_empty()).then_some(query),
        };
        let found = router.find(&lookup).map(String::as_str);
        assert_eq!(found, rules::find(&entries, &lookup), "{lookup:?} among {entries:?}");
        let explained = router.candidates(&lookup).find(|c| c.verdict == Verdict::Match).map(|c| c.key);
        assert_eq!(explained, found, "the explanation differs: {lookup:?} among {entries:?}");
    }
}

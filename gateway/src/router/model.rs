//! The router's rules as a scan over everything, too simple to be wrong: what tests and fuzzing hold
//! the table to. Queries and headers are taken as they are, so they must need no decoding.

use std::cmp::Reverse;

use super::{Entry, HostPattern, Lookup, Predicate, Test};

/// The key of the route with the largest rank that accepts.
pub(super) fn find<'a>(entries: &'a [Entry<String>], lookup: &Lookup<'_>) -> Option<&'a str> {
    let ranks = entries.iter().flat_map(|entry| {
        let any = [HostPattern::Any];
        let hosts = if entry.hosts.is_empty() { any.to_vec() } else { entry.hosts.clone() };
        hosts.into_iter().filter_map(move |host| {
            let text = entry.pattern.text();
            let path = if entry.pattern.is_prefix() { lookup.path.starts_with(text) } else { lookup.path == text };
            let method = entry.methods.is_empty() || entry.methods.contains(lookup.method);
            let host_rank = match &host {
                HostPattern::Exact(name) => (2, (**name == *lookup.host).then_some(0)?),
                HostPattern::Suffix(suffix) => (1, lookup.host.ends_with(&**suffix).then_some(suffix.len())?),
                HostPattern::Any => (0, 0),
            };
            let conditions = usize::from(!entry.methods.is_empty()) + entry.headers.len() + entry.query.len();
            let key = Reverse(&*entry.key);
            (path && method && demands_hold(entry, lookup)).then_some((
                !entry.pattern.is_prefix(),
                text.len(),
                host_rank,
                entry.priority,
                conditions,
                key,
            ))
        })
    });
    ranks.max().map(|(.., Reverse(key))| key)
}

fn demands_hold(entry: &Entry<String>, lookup: &Lookup<'_>) -> bool {
    let arguments: Vec<(&str, &str)> = lookup
        .query
        .unwrap_or_default()
        .split('&')
        .filter(|argument| !argument.is_empty())
        .map(|argument| argument.split_once('=').unwrap_or((argument, "")))
        .collect();
    let headers = |demand: &Predicate| -> Vec<&str> {
        lookup.headers.get_all(&demand.name).iter().filter_map(|value| value.to_str().ok()).collect()
    };
    let query = |demand: &Predicate| -> Vec<&str> {
        arguments.iter().filter(|(name, _)| *name == demand.name).map(|(_, value)| *value).collect()
    };
    entry.headers.iter().all(|demand| holds(&demand.test, &headers(demand)))
        && entry.query.iter().all(|demand| holds(&demand.test, &query(demand)))
}

fn holds(test: &Test, values: &[&str]) -> bool {
    match test {
        Test::Present => !values.is_empty(),
        Test::Absent => values.is_empty(),
        Test::Exact(text) => values.iter().any(|value| value == text),
        Test::Prefix(text) => values.iter().any(|value| value.starts_with(text)),
        Test::Regex(regex) => values.iter().any(|value| regex.is_match(value)),
    }
}

//! Which stored route a save means. The first gateway had one route a prefix; here several may
//! share one, told apart by their hosts, and a key stays what it was at its creation.

use serde_json::{Map, Value};

use crate::resource::key;

/// A stored route, as far as that matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) id: String,
    pub(super) prefix: String,
    pub(super) hosts: Vec<String>,
}

/// Why a save has no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoKey {
    /// There is such a route.
    Exists,
    /// Several routes could be meant.
    Ambiguous,
}

/// The key a save writes under. `sent` is the key it names, blank ones left out.
pub(super) fn key_of_save(
    stored: &[Known],
    sent: Option<&str>,
    prefix: &str,
    hosts: Option<&[String]>,
) -> Result<String, NoKey> {
    let named = sent.and_then(|key| stored.iter().find(|route| route.id == key));
    let others: Vec<&Known> =
        stored.iter().filter(|route| route.prefix == prefix && Some(route.id.as_str()) != sent).collect();
    if let Some(route) = named.filter(|route| route.prefix == prefix) {
        return update(route, &others, hosts.unwrap_or(&route.hosts));
    }
    let wanted = hosts.or(named.map(|route| route.hosts.as_slice())).unwrap_or_default();
    let is_further = others.iter().all(|route| disjoint(&route.hosts, wanted));
    match (sent, others.as_slice()) {
        (_, []) => Ok(key::route(prefix)),
        // Created beside the others, or moved there from another prefix.
        (None, _) if is_further => unused(stored, key::route_with_hosts(prefix, wanted)),
        (Some(_), _) if named.is_some() && is_further => unused(stored, key::route_with_hosts(prefix, wanted)),
        (None, _) => Err(NoKey::Exists),
        // A key that names none, or one of another prefix: upsert, as before.
        (Some(_), [only]) => Ok(only.id.clone()),
        (Some(_), several) => {
            let mut same = several.iter().filter(|route| same_hosts(&route.hosts, wanted));
            match (same.next(), same.next()) {
                (Some(route), None) => Ok(route.id.clone()),
                _ => Err(NoKey::Ambiguous),
            }
        }
    }
}

/// A route keeps its key. Its hosts may change to what no other route of its prefix has.
fn update(route: &Known, others: &[&Known], hosts: &[String]) -> Result<String, NoKey> {
    let unchanged = same_hosts(&route.hosts, hosts);
    if unchanged || others.iter().all(|other| disjoint(&other.hosts, hosts)) {
        Ok(route.id.clone())
    } else {
        Err(NoKey::Exists)
    }
}

fn unused(stored: &[Known], id: String) -> Result<String, NoKey> {
    // Taken by a route that had these hosts once.
    if stored.iter().any(|route| route.id == id) { Err(NoKey::Exists) } else { Ok(id) }
}

/// The hosts of a route; `None` when it does not say.
pub(super) fn hosts(route: &Map<String, Value>) -> Option<Vec<String>> {
    match route.get("hosts")? {
        Value::String(one) => Some(vec![one.clone()]),
        Value::Array(hosts) => Some(hosts.iter().filter_map(Value::as_str).map(str::to_owned).collect()),
        Value::Null => None,
        _ => Some(Vec::new()),
    }
}

/// Whether no host is served by both. No hosts means all of them.
fn disjoint(a: &[String], b: &[String]) -> bool {
    !a.is_empty() && !b.is_empty() && a.iter().all(|a| b.iter().all(|b| !overlap(&host(a), &host(b))))
}

fn overlap(a: &str, b: &str) -> bool {
    match (a.strip_prefix('*'), b.strip_prefix('*')) {
        (None, None) => a == b,
        (Some(suffix), None) => b.ends_with(suffix),
        (None, Some(suffix)) => a.ends_with(suffix),
        (Some(a), Some(b)) => a.ends_with(b) || b.ends_with(a),
    }
}

/// Whether both serve the same hosts, however they are written.
pub(super) fn same_hosts(a: &[String], b: &[String]) -> bool {
    let sorted = |hosts: &[String]| {
        let mut hosts: Vec<String> = hosts.iter().map(|h| host(h)).collect();
        hosts.sort_unstable();
        hosts.dedup();
        hosts
    };
    sorted(a) == sorted(b)
}

/// A host as it is matched: without port, in lower case.
fn host(text: &str) -> String {
    let text = text.trim();
    let name = match text.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => text,
    };
    name.to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(ToString::to_string).collect()
    }

    fn route(id: &str, prefix: &str, hosts: &[&str]) -> Known {
        Known { id: id.into(), prefix: prefix.into(), hosts: strings(hosts) }
    }

    #[test]
    fn a_save_finds_its_key() {
        let first = key::route("/a");
        let b = key::route_with_hosts("/a", &strings(&["b"]));
        let one = vec![route(&first, "/a", &["a"])];
        let open = vec![route(&first, "/a", &[])];
        let two = vec![route(&first, "/a", &["a"]), route(&b, "/a", &["b"])];
        let moved = vec![route(&first, "/a", &["a"]), route(&b, "/a", &["c"]), route("x", "/x", &["d"])];
        type Case<'a> = (&'a str, &'a [Known], Option<&'a str>, Option<&'a [&'a str]>, Result<&'a str, NoKey>);
        let cases: [Case<'_>; 22] = [
            ("create the first", &[], None, Some(&["a"]), Ok(&first)),
            ("create it again", &one, None, Some(&["a"]), Err(NoKey::Exists)),
            ("create with a shared host", &one, None, Some(&["A:80", "b"]), Err(NoKey::Exists)),
            ("create for all hosts beside some", &one, None, None, Err(NoKey::Exists)),
            ("create beside one for all hosts", &open, None, Some(&["b"]), Err(NoKey::Exists)),
            ("create a further one", &one, None, Some(&["b"]), Ok(&b)),
            (
                "create under a wildcard",
                &[route(&first, "/a", &["*.x.com"])],
                None,
                Some(&["a.x.com"]),
                Err(NoKey::Exists),
            ),
            ("create where the key was another's", &moved, None, Some(&["b"]), Err(NoKey::Exists)),
            ("upsert the first by any key", &[], Some("/a"), None, Ok(&first)),
            ("upsert it again by any key", &one, Some("/a"), None, Ok(&first)),
            ("upsert the only one with other hosts", &one, Some("/a"), Some(&["z"]), Ok(&first)),
            ("upsert one of two by its hosts", &two, Some("/a"), Some(&["b"]), Ok(&b)),
            ("upsert one of two without hosts", &two, Some("/a"), None, Err(NoKey::Ambiguous)),
            ("upsert one of two with a third's hosts", &two, Some("/a"), Some(&["z"]), Err(NoKey::Ambiguous)),
            ("update by key", &two, Some(&b), Some(&["b"]), Ok(&b)),
            ("update by key without hosts", &two, Some(&b), None, Ok(&b)),
            ("update the hosts: the key stays", &two, Some(&b), Some(&["z"]), Ok(&b)),
            ("update the hosts to another's", &two, Some(&b), Some(&["a"]), Err(NoKey::Exists)),
            ("update the first's hosts", &two, Some(&first), Some(&["z"]), Ok(&first)),
            ("move from another prefix, further", &moved, Some("x"), None, Ok("H:d")),
            ("move onto an only one", &[route(&first, "/a", &[]), route("x", "/x", &[])], Some("x"), None, Ok(&first)),
            ("move where no one is", &[route("x", "/x", &["d"])], Some("x"), None, Ok(&first)),
        ];
        for (what, stored, sent, hosts, expected) in cases {
            let hosts = hosts.map(strings);
            let expected = expected.map(|id| match id.strip_prefix("H:") {
                Some(host) => key::route_with_hosts("/a", &strings(&[host])),
                None => id.to_owned(),
            });
            assert_eq!(key_of_save(stored, sent, "/a", hosts.as_deref()), expected, "{what}");
        }
    }

    #[test]
    fn an_update_may_keep_an_overlap_it_did_not_make() {
        let stored = [route("1", "/a", &["a"]), route("2", "/a", &["*"])];
        assert_eq!(key_of_save(&stored, Some("1"), "/a", Some(&strings(&["a"]))), Ok("1".into()));
    }
}

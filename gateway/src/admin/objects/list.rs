//! Lists of objects: filtered, searched, sorted, and a page at a time.

use std::cmp::Ordering;
use std::sync::Arc;

use axum::extract::State;
use http::{StatusCode, Uri};
use serde_json::{Value, json};

use super::Answer;
use crate::admin::Admin;
use crate::admin::answer;
use crate::admin::kinds::Kind;
use crate::admin::problem::Problem;
use crate::admin::write::Refused;
use crate::store::Kv;

/// Most objects of a page, and how many there are when nobody says.
const MOST: usize = 10_000;
const USUAL: usize = 100;

/// What of a list is wanted.
#[derive(Debug, Default, PartialEq)]
struct Wanted {
    search: Option<String>,
    sort: Option<(String, bool)>,
    offset: usize,
    limit: usize,
    /// Fields and what they must be.
    filters: Vec<(String, String)>,
}

/// `GET /admin/v2/<kind>`
pub(super) async fn list(kind: &'static Kind, State(admin): State<Arc<Admin>>, uri: Uri) -> Answer {
    let wanted = Wanted::of(uri.query().unwrap_or_default())?;
    let prefix = admin.key(kind.family);
    let listing = admin.deps.store.list(&prefix).await.map_err(Refused::from)?;
    let revision = listing.revision;
    // With many objects this takes a while, which other calls need not wait for.
    let found = tokio::task::spawn_blocking(move || wanted.of_all(kind, &prefix, &listing.entries));
    let (items, total) =
        found.await.map_err(|_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the list could not be made"))?;
    Ok(answer::json(&json!({"revision": revision, "total": total, "items": items})))
}

impl Wanted {
    fn of(query: &str) -> Result<Self, Problem> {
        let pairs: Vec<(String, String)> = serde_urlencoded::from_str(query)
            .map_err(|e| Problem::new(StatusCode::BAD_REQUEST, format!("the query cannot be read: {e}")))?;
        let mut wanted = Self { limit: USUAL, ..Self::default() };
        for (name, value) in pairs {
            let number = |most: usize| {
                let number = value.parse().ok().filter(|n| *n <= most);
                number.ok_or_else(|| {
                    Problem::new(StatusCode::BAD_REQUEST, format!("{name}: expected a number up to {most}"))
                })
            };
            match name.as_str() {
                "search" => wanted.search = Some(value.to_lowercase()),
                "sort" => {
                    let (field, down) = value.strip_prefix('-').map_or((&*value, false), |field| (field, true));
                    wanted.sort = Some((field.to_owned(), down));
                }
                "offset" => wanted.offset = number(usize::MAX)?,
                "limit" => wanted.limit = number(MOST)?,
                _ => wanted.filters.push((name, value)),
            }
        }
        Ok(wanted)
    }

    /// The page, and how many objects there are on all pages.
    fn of_all(&self, kind: &Kind, prefix: &str, entries: &[Kv]) -> (Vec<Value>, usize) {
        let mut found: Vec<(&str, &Kv, Value)> = entries
            .iter()
            .map(|kv| (kv.key.strip_prefix(prefix).unwrap_or(&kv.key), kv, kind.shown(&kv.value)))
            .filter(|(name, _, value)| self.admits(name, value))
            .collect();
        if let Some((field, down)) = &self.sort {
            found.sort_by(|(a, _, x), (b, _, y)| {
                let order = match field.as_str() {
                    "name" => a.cmp(b),
                    _ => ordered(at(x, field), at(y, field)),
                };
                if *down { order.reverse() } else { order }
            });
        }
        let total = found.len();
        let page = found.into_iter().skip(self.offset).take(self.limit);
        let items = page.map(|(name, kv, value)| {
            let registered = kv.lease.is_some();
            json!({"name": name, "etag": format!("\"{}\"", kv.mod_revision), "registered": registered, "value": value})
        });
        (items.collect(), total)
    }

    fn admits(&self, name: &str, value: &Value) -> bool {
        let is_found =
            |search: &String| name.to_lowercase().contains(search) || value.to_string().to_lowercase().contains(search);
        self.search.as_ref().is_none_or(is_found)
            && self.filters.iter().all(|(field, wanted)| match at(value, field) {
                Value::String(text) => text == wanted,
                Value::Array(list) => list.iter().any(|item| item.as_str() == Some(wanted)),
                Value::Null => wanted.is_empty() || wanted == "null",
                other => serde_json::from_str::<Value>(wanted).is_ok_and(|wanted| *other == wanted),
            })
    }
}

/// A field by its path, such as `labels.team`.
fn at<'a>(value: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(value, |value, name| value.get(name).unwrap_or(&Value::Null))
}

fn ordered(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64().partial_cmp(&b.as_f64()).unwrap_or(Ordering::Equal),
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Null, Value::Null) => Ordering::Equal,
        // What has no such field comes last.
        (Value::Null, _) => Ordering::Greater,
        (_, Value::Null) => Ordering::Less,
        (a, b) => a.to_string().cmp(&b.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::admin::kinds::kind;

    fn names(query: &str) -> (Vec<String>, usize) {
        let entry = |name: &str, value: Value| Kv {
            key: format!("p/{name}"),
            value: Bytes::from(value.to_string()),
            create_revision: 1,
            mod_revision: 1,
            lease: None,
        };
        let entries = [
            entry("a", json!({"prefix": "/a", "status": 1, "priority": 5, "labels": {"team": "x"}, "hosts": ["h"]})),
            entry("b", json!({"prefix": "/B", "status": 0, "priority": 10})),
            entry("c", json!({"prefix": "/c", "status": 1, "labels": {"team": "y"}})),
        ];
        let (items, total) = Wanted::of(query).unwrap().of_all(kind("routes").unwrap(), "p/", &entries);
        (items.iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect(), total)
    }

    #[test]
    fn a_list_is_filtered_searched_sorted_and_cut_into_pages() {
        for (query, expected, total) in [
            ("", vec!["a", "b", "c"], 3),
            ("status=1", vec!["a", "c"], 2),
            ("labels.team=y", vec!["c"], 1),
            ("hosts=h", vec!["a"], 1),
            ("search=%2Fb", vec!["b"], 1),
            ("sort=-name", vec!["c", "b", "a"], 3),
            ("sort=priority", vec!["a", "b", "c"], 3),
            ("sort=-priority&limit=1&offset=1", vec!["b"], 3),
            ("status=1&limit=1", vec!["a"], 2),
            ("nothing=1", vec![], 0),
        ] {
            let expected: Vec<String> = expected.into_iter().map(str::to_owned).collect();
            assert_eq!(names(query), (expected, total), "{query}");
        }
        assert!(Wanted::of("limit=1000000").is_err() && Wanted::of("offset=x").is_err());
    }
}

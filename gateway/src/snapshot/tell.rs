//! Tells those who listen what became of changes: live, or rejected and why.

use std::collections::BTreeMap;

use serde_json::json;

use super::change::{Change, Rejected};
use crate::resource::key;
use crate::telemetry::Events;

/// Most changes of a batch that are told one by one; of the rest, how many there were.
const MOST: usize = 50;

/// The families, and what the API calls them.
const KINDS: [(&str, &str); 6] = [
    (key::ROUTES, "routes"),
    (key::NODES, "nodes"),
    (key::SERVICES, "services"),
    (key::PLUGINS, "global-plugins"),
    (key::OVERLAYS, "node-overlays"),
    (key::CERTIFICATES, "certificates"),
];

/// The changes of a batch, as far as they are told.
pub(super) struct Changes {
    told: Vec<Told>,
    more: usize,
}

struct Told {
    key: String,
    deleted: bool,
    revision: u64,
}

impl Changes {
    pub(super) fn of(changes: &[Change]) -> Self {
        let told = |change: &Change| Told {
            key: change.key.clone(),
            deleted: change.value.is_none(),
            revision: change.revision,
        };
        Self { told: changes.iter().take(MOST).map(told).collect(), more: changes.len().saturating_sub(MOST) }
    }

    /// Tells of them once they are live.
    pub(super) fn tell(self, events: &Events, rejected: &BTreeMap<String, Rejected>) {
        for change in self.told {
            let (kind, id) = kind(&change.key);
            let mut event = json!({
                "kind": kind,
                "object": id,
                "change": if change.deleted { "deleted" } else { "put" },
                "revision": change.revision,
                "applied": true,
            });
            if let Some(rejected) = rejected.get(&change.key) {
                event["applied"] = false.into();
                event["reason"] = rejected.reason.clone().into();
                event["serving"] = json!(rejected.serving);
            }
            events.tell("config", event);
        }
        if self.more > 0 {
            events.tell("config", json!({"kind": "more", "objects": self.more}));
        }
    }
}

/// Tells that the whole configuration was read anew.
pub(super) fn all(events: &Events, revision: u64, objects: usize, rejected: usize) {
    events.tell("config", json!({"kind": "all", "revision": revision, "objects": objects, "rejected": rejected}));
}

fn kind(full_key: &str) -> (&'static str, &str) {
    let found = KINDS.iter().find_map(|(family, kind)| Some((*kind, full_key.strip_prefix(family)?)));
    found.unwrap_or(("unknown", full_key))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::snapshot::Serving;
    use crate::telemetry::Heard;

    fn change(key: &str, value: Option<&'static str>) -> Change {
        Change { key: key.into(), value: value.map(|v| bytes::Bytes::from_static(v.as_bytes())), revision: 7 }
    }

    #[tokio::test]
    async fn a_change_is_told_with_what_became_of_it() {
        let events = Arc::new(Events::default());
        let mut listener = events.listen(None).unwrap();
        let changes = [change("routes/a", Some("{}")), change("gw/services/b", None)];
        let broken = Rejected { key: "routes/a".into(), revision: 7, reason: "bad".into(), serving: Serving::LastGood };
        Changes::of(&changes).tell(&events, &[("routes/a".to_owned(), broken)].into());
        for expected in [
            json!({"kind": "routes", "object": "a", "change": "put", "revision": 7, "applied": false, "reason": "bad",
                "serving": "last_good"}),
            json!({"kind": "services", "object": "b", "change": "deleted", "revision": 7, "applied": true}),
        ] {
            let Heard::Event(event) = listener.next().await else { panic!() };
            assert_eq!((event.kind, &event.data), ("config", &expected));
        }
    }

    #[tokio::test]
    async fn of_many_changes_the_first_are_told_and_the_rest_counted() {
        let events = Arc::new(Events::default());
        let mut listener = events.listen(None).unwrap();
        let changes: Vec<_> = (0..120).map(|n| change(&format!("routes/{n}"), None)).collect();
        Changes::of(&changes).tell(&events, &BTreeMap::new());
        for n in 0..MOST {
            let Heard::Event(event) = listener.next().await else { panic!() };
            assert_eq!(event.data["object"], n.to_string());
        }
        let Heard::Event(event) = listener.next().await else { panic!() };
        assert_eq!(event.data, json!({"kind": "more", "objects": 70}));
    }
}

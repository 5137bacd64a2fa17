//! Copies between embedded stores and files.

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::store::SharedStore;

const P: &str = "/my/cloud/";

struct Rig(tempfile::TempDir);

impl Rig {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn place(&self, name: &str) -> Place {
        let kind = if name.ends_with(".jsonl") { "file" } else { "embedded" };
        Place::parse("--to", &format!("{kind}:{}", self.path(name).display()), P).unwrap()
    }

    fn store(&self, name: &str) -> SharedStore {
        self.place(name).open().unwrap().store
    }

    async fn fill(&self, name: &str, pairs: &[(&str, &str)]) {
        let ops = pairs.iter().map(|(key, value)| Op::put(format!("{P}{key}"), (*value).to_owned())).collect();
        self.store(name).txn(vec![], ops).await.unwrap();
    }

    /// What a store has, without leases.
    async fn pairs(&self, name: &str) -> Vec<(String, String)> {
        let content = Content::of(&self.store(name), P).await.unwrap();
        let text = |entry: Entry| String::from_utf8(entry.value.to_vec()).unwrap();
        content.entries.into_iter().map(|(key, entry)| (key, text(entry))).collect()
    }

    async fn copy(&self, from: &str, to: &str, mode: Mode) -> anyhow::Result<Copied> {
        let source = self.place(from).read().await?;
        copy(&source, &self.place(to), mode, self.place(from).name()).await
    }
}

#[tokio::test]
async fn a_copy_is_equal_over_stores_and_files() {
    let rig = Rig::new();
    let large = "x".repeat(700_000);
    let mut pairs: Vec<(String, String)> =
        (0..250).map(|n| (format!("routes/{n:03}"), format!("{{\"n\":{n}}}"))).collect();
    pairs.extend([
        ("gw/secrets/jwt".into(), "s\u{0}ecret".into()),
        ("gw/a".into(), large.clone()),
        ("gw/b".into(), large),
    ]);
    pairs.sort();
    let source: Vec<_> = pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let (large, small): (Vec<_>, Vec<_>) = source.into_iter().partition(|(_, value)| value.len() > 1000);
    for chunk in small.chunks(100).chain(large.chunks(1)) {
        rig.fill("a", chunk).await;
    }
    for (from, to) in [("a", "b"), ("b", "c.jsonl"), ("c.jsonl", "d")] {
        let copied = rig.copy(from, to, Mode::OnlyEmpty).await.unwrap();
        assert_eq!((copied.written.len(), copied.unchanged.len(), copied.deleted.len()), (253, 0, 0), "{from} {to}");
    }
    assert_eq!(rig.pairs("d").await, pairs);
    assert_eq!(rig.place("a").read().await.unwrap().digest(), rig.place("d").read().await.unwrap().digest());
}

#[tokio::test]
async fn a_target_that_is_not_empty_is_touched_only_when_told_so() {
    let rig = Rig::new();
    rig.fill("a", &[("routes/1", "new"), ("routes/2", "same")]).await;
    let before = [("gw/users/admin", "u"), ("routes/1", "old"), ("routes/2", "same")];
    let owned = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    for (to, mode, expected) in [
        ("replaced", Mode::Replace, &[("routes/1", "new"), ("routes/2", "same")][..]),
        ("merged", Mode::Merge, &[("gw/users/admin", "u"), ("routes/1", "new"), ("routes/2", "same")]),
    ] {
        rig.fill(to, &before).await;
        let refused = rig.copy("a", to, Mode::OnlyEmpty).await.unwrap_err().to_string();
        assert!(refused.contains("is not empty (gw/users: 1, routes: 2); --replace"), "{refused}");
        assert_eq!(rig.pairs(to).await, owned(&before));
        let copied = rig.copy("a", to, mode).await.unwrap();
        assert_eq!((copied.written, copied.unchanged), (vec!["routes/1".to_owned()], vec!["routes/2".to_owned()]));
        assert_eq!(rig.pairs(to).await, owned(expected));
    }
}

#[tokio::test]
async fn leased_nodes_stay_behind_and_other_leases_go_along() {
    let rig = Rig::new();
    for (name, ttl) in [("a", 600), ("b", 30)] {
        let store = rig.store(name);
        let lease = store.grant_lease(Duration::from_secs(ttl)).await.unwrap();
        let put = |key: &str| Op::Put { key: format!("{P}{key}"), value: "{}".into(), lease: Lease::Attach(lease) };
        let ops = vec![put(&format!("discovery/{name}.1")), put(&format!("gw/revoked/{name}"))];
        store.txn(vec![], ops).await.unwrap();
    }
    for to in ["new", "new.jsonl"] {
        rig.copy("a", to, Mode::OnlyEmpty).await.unwrap();
    }
    rig.copy("new.jsonl", "b", Mode::Replace).await.unwrap();
    for (to, nodes) in [("new", vec![]), ("b", vec!["discovery/b.1".to_owned()])] {
        let store = rig.store(to);
        let content = Content::of(&store, P).await.unwrap();
        assert_eq!(content.entries.keys().collect::<Vec<_>>(), ["gw/revoked/a"], "{to}");
        assert_eq!(content.registered, nodes, "{to}: nodes of the target belong to their services");
        let left = content.leases.values().next().unwrap().as_secs();
        assert!((500..=603).contains(&left), "{to}: {left}");
    }
}

#[tokio::test]
async fn an_interrupted_copy_goes_on_and_another_does_not_take_its_place() {
    let rig = Rig::new();
    rig.fill("a", &[("routes/1", "1"), ("routes/2", "2")]).await;
    rig.fill("other", &[("routes/1", "x")]).await;
    let marker = Marker { from: rig.place("a").name().to_owned(), mode: Mode::OnlyEmpty };
    rig.fill("b", &[("routes/1", "1"), (MARKER, &serde_json::to_string(&marker).unwrap())]).await;
    let refused = rig.copy("other", "b", Mode::OnlyEmpty).await.unwrap_err().to_string();
    assert!(refused.contains("is not empty"), "{refused}");
    let copied = rig.copy("a", "b", Mode::OnlyEmpty).await.unwrap();
    assert_eq!((copied.written, copied.unchanged), (vec!["routes/2".to_owned()], vec!["routes/1".to_owned()]));
    assert_eq!(rig.pairs("b").await.len(), 2, "and the marker is gone");
}

#[tokio::test]
async fn a_plan_writes_nothing_and_makes_nothing() {
    let rig = Rig::new();
    rig.fill("a", &[("routes/1", "1")]).await;
    let source = rig.place("a").read().await.unwrap();
    for to in ["b", "b.jsonl"] {
        let copied = plan(&source, &rig.place(to), Mode::OnlyEmpty, "a").await.unwrap();
        assert_eq!(copied.written, ["routes/1"]);
        assert!(!Path::exists(&rig.path(to)), "{to}");
    }
    let absent = rig.place("none").read().await.unwrap_err().to_string();
    assert!(absent.contains("does not exist"), "{absent}");
    assert!(!rig.path("none").exists());
}

#[tokio::test]
async fn a_file_is_written_over_only_when_told_so() {
    let rig = Rig::new();
    rig.fill("a", &[("routes/1", "1")]).await;
    std::fs::write(rig.path("b.jsonl"), "precious").unwrap();
    let refused = rig.copy("a", "b.jsonl", Mode::OnlyEmpty).await.unwrap_err().to_string();
    assert!(refused.contains("exists; --replace"), "{refused}");
    let refused = rig.copy("a", "b.jsonl", Mode::Merge).await.unwrap_err().to_string();
    assert!(refused.contains("cannot be merged"), "{refused}");
    assert_eq!(std::fs::read_to_string(rig.path("b.jsonl")).unwrap(), "precious");
    rig.copy("a", "b.jsonl", Mode::Replace).await.unwrap();
    assert_eq!(rig.place("b.jsonl").read().await.unwrap().entries.len(), 1);
}

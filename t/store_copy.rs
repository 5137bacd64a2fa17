//! `store copy`: from one store to another, to a file and back; and the gateway serves from the copy.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::etcd::PREFIX;
use crate::support::gateway::binary;
use crate::support::{Etcd, Gateway, Upstream};

/// Runs `store copy`; exit code, stdout and stderr.
fn copy(from: &str, to: &str, more: &[&str]) -> (Option<i32>, String, String) {
    let output =
        Command::new(binary()).args(["store", "copy", "--from", from, "--to", to]).args(more).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[track_caller]
fn copied(from: &str, to: &str, more: &[&str]) -> String {
    let (code, out, err) = copy(from, to, more);
    assert_eq!(code, Some(0), "{from} to {to} {more:?}: {out}{err}");
    out
}

/// The line that has the digest.
fn digest(out: &str) -> &str {
    out.lines().find_map(|line| line.split_once("sha256 ")).map(|(_, digest)| digest).expect("a digest")
}

fn embedded(dir: &Path) -> String {
    format!("embedded:{}", dir.display())
}

async fn lists(gateway: &Gateway) -> [Value; 2] {
    [gateway.get_admin("/admin/routes/list").await.json(), gateway.get_admin("/admin/services/list").await.json()]
}

#[tokio::test]
async fn a_round_trip_over_etcd_and_a_file_is_equal_and_is_served() {
    let upstream = Upstream::saying("served").await;
    let mut gateway = Gateway::start().await;
    for n in 0..150 {
        gateway.route(&format!("/r{n}/*"), "s", json!({"remark": format!("中 {n}"), "x-unknown": n})).await;
    }
    gateway.node("s", upstream.address, 3).await;
    let before = lists(&gateway).await;
    assert!(gateway.stop().await.success());

    let etcd = Etcd::start().await;
    let to_etcd = format!("etcd:{}", etcd.endpoint());
    let dir = tempfile::tempdir().unwrap();
    let (file, back) = (format!("file:{}", dir.path().join("backup.jsonl").display()), dir.path().join("back.redb"));
    let from = format!("config:{}", gateway.config().display());
    let plan = copied(&from, &to_etcd, &["--dry-run"]);
    assert!(plan.contains("routes: 150 written") && plan.contains("nothing was written"), "{plan}");
    assert!(etcd.get("gw/head").await.is_none(), "nothing was written");

    let first = copied(&from, &to_etcd, &[]);
    assert!(first.contains("verified: "), "{first}");
    for (from, to) in [(to_etcd.clone(), file.clone()), (file, embedded(&back))] {
        let out = copied(&from, &to, &[]);
        assert_eq!(digest(&out), digest(&first), "{from} {to}");
    }
    // Secrets are copied as they are, encrypted: their key goes along by hand.
    let key = json!({"key_file": gateway.dir().join("data/secrets.key")});
    let on_etcd = Gateway::on_with(&etcd, json!({"secrets": key})).await;
    let on_copy = Gateway::with(json!({"store": {"embedded": {"path": back}}, "secrets": key})).await;
    for gateway in [&on_etcd, &on_copy] {
        assert_eq!(lists(gateway).await, before);
        assert_eq!(gateway.get("/r149/x").await.expect(200).text(), "served");
    }
}

#[tokio::test]
async fn a_target_that_is_not_empty_is_refused_unless_told() {
    let (one, two) = (Etcd::start().await, Etcd::start().await);
    let (from, to) = (format!("etcd:{}", one.endpoint()), format!("etcd:{}", two.endpoint()));
    one.put("routes/a", &json!({"prefix": "/a"})).await;
    two.put("routes/b", &json!({"prefix": "/b"})).await;
    two.put_leased("discovery/s.x", &json!({"service_name": "s"}), 600).await;
    let (code, _, err) = copy(&from, &to, &[]);
    assert_eq!(code, Some(1));
    for part in ["is not empty (routes: 1)", "--replace", "--merge", &two.endpoint()] {
        assert!(err.contains(part), "{part} in {err}");
    }
    assert!(two.get("routes/a").await.is_none());
    copied(&from, &to, &["--merge"]);
    assert!(two.get("routes/a").await.is_some() && two.get("routes/b").await.is_some());
    let out = copied(&from, &to, &["--replace"]);
    assert!(out.contains("routes: 1 already there, 1 deleted"), "{out}");
    assert!(two.get("routes/a").await.is_some() && two.get("routes/b").await.is_none());
    assert!(two.get("discovery/s.x").await.is_some(), "a registered node is its service's");

    // And registered nodes are not copied, which is said.
    let dir = tempfile::tempdir().unwrap();
    let out = copied(&to, &embedded(&dir.path().join("store.redb")), &[]);
    assert!(out.contains("discovery: 1 left out (registered under a lease"), "{out}");
}

#[tokio::test]
async fn prefixes_may_differ_between_the_stores() {
    let etcd = Etcd::start().await;
    etcd.put("routes/a", &json!({"prefix": "/a"})).await;
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("gateway.yaml");
    let store = json!({"kind": "etcd", "data_prefix": "/other/", "etcd": {"endpoints": [etcd.endpoint()]}});
    std::fs::write(&config, json!({"store": store}).to_string()).unwrap();
    copied(&format!("etcd:{}", etcd.endpoint()), &format!("config:{}", config.display()), &[]);
    let found = etcd.client().await.get("/other/routes/a", None).await.unwrap();
    assert_eq!(found.kvs().len(), 1);
    assert_eq!(PREFIX, "/my/cloud/", "where it came from");
}

#[tokio::test]
async fn what_cannot_be_copied_is_said_with_the_place() {
    let gateway = Gateway::start().await;
    let in_use = embedded(&gateway.dir().join("data/store.redb"));
    let dir = tempfile::tempdir().unwrap();
    let target = embedded(&dir.path().join("store.redb"));
    for (from, to, reason) in [
        ("nowhere", target.as_str(), "--from \"nowhere\" is no place; expected embedded:PATH"),
        (target.as_str(), "redis:x", "--to \"redis:x\" is no place"),
        (target.as_str(), target.as_str(), "are the same place"),
        (target.as_str(), "file:/tmp/x.jsonl", "does not exist"),
        (in_use.as_str(), target.as_str(), "in use by another process"),
        ("etcd:http://127.0.0.1:9", target.as_str(), "127.0.0.1:9"),
    ] {
        let (code, out, err) = copy(from, to, &[]);
        assert!(code == Some(1) && err.contains(reason), "{from} {to}: {code:?} {out}{err}");
    }
    assert!(!dir.path().join("store.redb").exists(), "nothing is made before the source is read");
    let (code, _, err) = copy(&target, "file:x", &["--replace", "--merge"]);
    assert!(code == Some(2) && err.contains("cannot be used with"), "{err}");
}

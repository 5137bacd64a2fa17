//! Revisions: who changed what, any state restored, and changes that nobody confirms.

use std::collections::BTreeMap;

use http::Method;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::history::journal::{Journal, Step};
use crate::history::{AWAITED, Author, Origin, Record, Written};
use crate::resource::key::JOURNAL;
use crate::store::Op;

async fn put(api: &Api, name: &str, query: &str, tries: u32) -> Answer {
    let path = format!("/admin/v2/services/{name}{query}");
    let headers = [("x-api-token", API_TOKEN), ("if-match", "*")];
    let body = json!({"max_tries": tries}).to_string();
    let answer = api.send(request(Method::PUT, &path, &headers, &body)).await;
    if answer.status != 412 {
        return answer;
    }
    api.call(Method::PUT, &path, &body).await
}

async fn history(api: &Api, path: &str) -> Value {
    api.call(Method::GET, &format!("/admin/v2/history{path}"), "").await.json()
}

/// All that is declared, byte for byte.
fn declared(api: &Api) -> BTreeMap<String, bytes::Bytes> {
    let is_declared = |key: &str| super::super::kinds::of_key(key).is_some();
    let stripped = api.store.dump().into_iter().map(|kv| (kv.key[P.len()..].to_owned(), kv.value));
    stripped.filter(|(key, _)| is_declared(key)).collect()
}

#[tokio::test]
async fn every_change_is_a_revision_with_its_author_and_its_difference() {
    let api = Api::new();
    assert_eq!(put(&api, "a", "?reason=a+new+one", 1).await.json()["revision"], 1);
    assert_eq!(put(&api, "a", "", 2).await.json()["revision"], 2);
    assert_eq!(put(&api, "a", "", 2).await.json()["revision"], 2, "nothing changed");
    let token = api.login().await;
    let body = json!({"prefix": "/a/*", "service_name": "a", "plugins": ["discovery"]}).to_string();
    let saved = api.send(request(Method::POST, "/admin/routes/save", &[("x-token", &token)], &body)).await;
    assert_eq!(saved.body, "ok");
    assert_eq!(api.call(Method::DELETE, "/admin/v2/services/a", "").await.json()["revision"], 4);

    let list = history(&api, "").await;
    assert_eq!(list["revision"], 4);
    let revisions: Vec<u64> =
        list["items"].as_array().unwrap().iter().map(|i| i["revision"].as_u64().unwrap()).collect();
    assert_eq!(revisions, [4, 3, 2, 1]);
    let one = history(&api, "/1").await;
    assert_eq!((&one["reason"], &one["author"]["origin"]), (&json!("a new one"), &json!("api")));
    assert_eq!(one["author"]["address"], LOCAL);
    let two = history(&api, "/2").await;
    assert_eq!(two["changes"][0]["fields"], json!([{"path": "max_tries", "before": 1, "after": 2}]));
    let three = history(&api, "/3").await;
    assert_eq!((&three["author"]["name"], &three["author"]["origin"]), (&json!("admin"), &json!("old_api")));
    assert_eq!(three["changes"][0]["kind"], "routes");
    assert_eq!(history(&api, "?kind=routes").await["items"].as_array().unwrap().len(), 1);
    assert_eq!(history(&api, "?author=admin").await["items"][0]["revision"], 3);
    assert_eq!(history(&api, "?before=3&limit=1").await["items"][0]["revision"], 2);

    let diff = history(&api, "/diff?from=1&to=2").await;
    assert_eq!(diff["changes"][0]["fields"][0]["after"], 2);
    let back = history(&api, "/diff?from=2&to=1").await;
    assert_eq!(back["changes"][0]["fields"][0]["after"], 1);
    for (path, status) in
        [("/9", 404), ("/x", 400), ("/diff?from=1&to=9", 404), ("/diff?from=1", 400), ("?nothing=1", 400)]
    {
        let answer = api.call(Method::GET, &format!("/admin/v2/history{path}"), "").await;
        assert_eq!(answer.status, status, "{path}");
    }
}

#[tokio::test]
async fn a_state_is_restored_as_a_new_revision() {
    let api = Api::new();
    put(&api, "a", "", 1).await;
    let then = declared(&api);
    put(&api, "a", "", 2).await;
    put(&api, "b", "", 1).await;
    let dry = api.call(Method::POST, "/admin/v2/history/1/restore?dry_run=true", "").await.json();
    assert_eq!((dry["changed"].as_bool(), dry["changes"].as_array().unwrap().len()), (Some(false), 2));
    let restored = api.call(Method::POST, "/admin/v2/history/1/restore?reason=oops", "").await;
    assert_eq!((restored.status.as_u16(), &restored.json()["revision"]), (200, &json!(4)), "{}", restored.body);
    assert_eq!(declared(&api), then);
    assert_eq!(history(&api, "/4").await["restored"], 1);
    assert_eq!(api.call(Method::POST, "/admin/v2/history/4/restore", "").await.json()["changed"], false);
    assert_eq!(api.call(Method::POST, "/admin/v2/history/0/restore", "").await.json()["revision"], 5);
    assert!(declared(&api).is_empty());
    assert_eq!(api.call(Method::POST, "/admin/v2/history/9/restore", "").await.status, 404);
}

#[tokio::test]
async fn what_a_service_registered_is_in_no_revision_and_no_restore_touches_it() {
    let api = Api::new();
    put(&api, "a", "", 1).await;
    let id = crate::resource::key::node("s", "10.0.0.1:80");
    let node = format!("{P}discovery/{id}");
    api.store.put_leased(&node, r#"{"service_name":"s","upstream":"10.0.0.1:80"}"#);
    assert_eq!(api.post("/admin/services/remove", &json!({"key": id})).await.body, "ok");
    assert_eq!(history(&api, "").await["revision"], 1);
    api.store.put_leased(&node, r#"{"service_name":"s","upstream":"10.0.0.1:80"}"#);
    api.call(Method::POST, "/admin/v2/history/0/restore", "").await;
    assert!(api.store.json(&node).is_some());
}

#[tokio::test]
async fn a_change_that_nobody_confirms_is_undone() {
    let api = Api::new();
    put(&api, "a", "", 1).await;
    let then = declared(&api);
    let risky = put(&api, "a", "?confirm_within=5m", 2).await.json();
    assert_eq!(risky["revision"], 2);
    assert!(risky["undone_at"].as_u64().unwrap() > 300_000);
    assert_eq!(api.store.leases().last().unwrap().1.as_secs(), 300);
    assert_eq!(history(&api, "/pending").await["items"][0]["revision"], 2);
    assert!(history(&api, "").await["items"][0]["undone_at"].is_u64());
    // Meanwhile nobody builds on it.
    let overlapping = put(&api, "a", "", 3).await;
    assert_eq!(overlapping.status, 409);
    assert!(overlapping.body.contains("revision 2"), "{}", overlapping.body);
    assert_eq!(put(&api, "b", "", 1).await.status, 201, "another object is free");

    let lease = api.store.leases().last().unwrap().0;
    crate::store::Store::revoke_lease(&*api.store, lease).await.unwrap();
    eventually("it is undone", async || history(&api, "").await["revision"] == 4).await;
    let mut expected = then.clone();
    expected.insert("gw/services/b".into(), declared(&api)["gw/services/b"].clone());
    assert_eq!(declared(&api), expected);
    let undone = history(&api, "/4").await;
    assert_eq!(undone["author"]["origin"], "unconfirmed");
    assert!(history(&api, "/pending").await["items"].as_array().unwrap().is_empty());
    assert_eq!(put(&api, "a", "", 3).await.status, 200);
}

#[tokio::test]
async fn a_confirmed_change_stays_and_one_can_be_taken_back_at_once() {
    let api = Api::new();
    put(&api, "a", "?confirm_within=5m", 1).await;
    assert_eq!(api.call(Method::POST, "/admin/v2/history/1/confirm", "").await.status, 200);
    assert_eq!(api.call(Method::POST, "/admin/v2/history/1/confirm", "").await.status, 404);
    assert!(api.store.keys(&format!("{P}{AWAITED}")).is_empty());
    put(&api, "a", "?confirm_within=5m", 2).await;
    let taken_back = api.call(Method::POST, "/admin/v2/history/2/undo", "").await;
    assert_eq!(taken_back.status, 200, "{}", taken_back.body);
    assert_eq!(api.call(Method::GET, "/admin/v2/services/a", "").await.json()["max_tries"], 1);
    assert!(history(&api, "/pending").await["items"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn an_undo_leaves_what_someone_else_wrote_since() {
    let api = Api::new();
    put(&api, "a", "", 1).await;
    put(&api, "a", "?confirm_within=5m", 2).await;
    api.store.put(&format!("{P}gw/services/a"), r#"{"max_tries":9}"#);
    api.call(Method::POST, "/admin/v2/history/2/undo", "").await;
    assert_eq!(api.call(Method::GET, "/admin/v2/services/a", "").await.json()["max_tries"], 9);
}

#[tokio::test]
async fn only_so_many_revisions_are_kept() {
    let api = Api::new();
    api.store.put(&format!("{P}gw/head"), r#"{"revision": 1000, "time": 1}"#);
    api.store.put(&format!("{P}gw/history/000000000001"), "{}");
    put(&api, "a", "", 1).await;
    assert_eq!(api.store.keys(&format!("{P}gw/history/")), ["000000001001"]);
    let lost = api.call(Method::POST, "/admin/v2/history/999/restore", "").await;
    assert_eq!(lost.status, 404);
    assert!(lost.body.contains("the earliest is 1000"), "{}", lost.body);
}

#[tokio::test]
async fn a_large_change_that_began_unseen_is_finished_first() {
    let api = Api::new();
    put(&api, "a", "", 1).await;
    let journal = Journal { id: uuid::Uuid::now_v7().to_string(), parts: 1, revision: 2, confirm_within: None };
    let step = Step { key: format!("{P}gw/services/a"), value: Some(store::bytes(r#"{"max_tries":2}"#)) };
    let written = vec![Written {
        key: "gw/services/a".into(),
        before: Some(store::bytes(r#"{"max_tries":1}"#)),
        after: step.value.clone(),
    }];
    let author = Author { name: "another gateway".into(), origin: Origin::Api, address: None };
    let record = Record { revision: 2, time: 1, author, reason: None, restored: None, written };
    api.store.put(&format!("{P}{}", journal.part_key(0)), &serde_json::to_string(&[step]).unwrap());
    api.store.put(&format!("{P}{}", journal.record_key()), &serde_json::to_string(&record).unwrap());
    let mut mark = Some(serde_json::to_vec(&journal).unwrap());
    // Its mark came after this gateway looked for one, and before it read the head.
    api.store.interfere(move |content| {
        if let Some(mark) = mark.take() {
            content.write(vec![Op::put(format!("{P}{JOURNAL}"), mark)]);
        }
    });
    assert_eq!(put(&api, "a", "", 3).await.json()["revision"], 3);
    assert_eq!(history(&api, "/2").await["author"]["name"], "another gateway");
    assert_eq!(history(&api, "/3").await["changes"][0]["fields"][0]["before"], 2, "it was made on top of it");
    assert_eq!(api.call(Method::GET, "/admin/v2/services/a", "").await.json()["max_tries"], 3);
}

#[tokio::test]
async fn what_waits_to_be_confirmed_can_be_undone_after_any_number_of_revisions() {
    for how in ["undo", "confirm", "in time"] {
        let api = Api::new();
        put(&api, "a", "?confirm_within=5m", 1).await;
        api.store.put(&format!("{P}gw/head"), r#"{"revision": 1000, "time": 1}"#);
        put(&api, "b", "", 1).await;
        assert_eq!(api.store.keys(&format!("{P}gw/history/")), ["000000000001", "000000001001"]);
        if how == "in time" {
            let lease = api.store.leases().last().unwrap().0;
            crate::store::Store::revoke_lease(&*api.store, lease).await.unwrap();
        } else {
            let done = api.call(Method::POST, &format!("/admin/v2/history/1/{how}"), "").await;
            assert_eq!(done.status, 200, "{}", done.body);
        }
        let pending = format!("{P}gw/pending/");
        eventually("nothing waits", async || api.store.keys(&pending).is_empty()).await;
        assert_eq!(declared(&api).contains_key("gw/services/a"), how == "confirm", "{how}");
        let records = api.store.keys(&format!("{P}gw/history/"));
        assert!(!records.contains(&"000000000001".to_owned()), "{how}: {records:?}");
    }
}

#[tokio::test]
async fn a_change_that_could_not_be_ended_is_not_begun() {
    let api = Api::new();
    let services: serde_json::Map<String, Value> =
        (0..4000).map(|n| (format!("{n:0>250}"), json!({"max_tries": 1}))).collect();
    let document = json!({"services": services}).to_string();
    let refused = api.call(Method::POST, "/admin/v2/apply?confirm_within=5m", &document).await;
    assert_eq!(refused.status, 422, "{}", refused.body);
    assert!(refused.body.contains("too large"), "{}", refused.body);
    assert!(api.store.json(&format!("{P}{JOURNAL}")).is_none() && declared(&api).is_empty());
    assert_eq!(api.call(Method::POST, "/admin/v2/apply", &document).await.status, 200, "nothing waits for that one");
    assert_eq!(declared(&api).len(), 4000);
}

#[tokio::test]
async fn what_cannot_be_read_may_be_a_secret_and_is_not_shown() {
    let api = Api::new();
    for stored in [r#"{"cert": "c", "key": "PRIVATE","#, r#""PRIVATE""#] {
        api.store.put(&format!("{P}gw/certificates/a"), stored);
        for path in ["certificates/a", "certificates", "export"] {
            let shown = api.call(Method::GET, &format!("/admin/v2/{path}"), "").await;
            assert_eq!(shown.status, 200, "{path}");
            assert!(!shown.body.contains("PRIVATE"), "{path}: {}", shown.body);
        }
        let deleted = api.call(Method::DELETE, "/admin/v2/certificates/a", "").await;
        assert_eq!(deleted.status, 200);
        assert!(!deleted.body.contains("PRIVATE"), "{}", deleted.body);
    }
    assert!(!history(&api, "/1").await.to_string().contains("PRIVATE"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn a_restore_gives_back_every_byte_after_any_edits(
        edits in proptest::collection::vec((0_u8..4, 0_u32..4, any::<bool>()), 1..16),
        to in 0_usize..16,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let api = Api::new();
            let mut states = vec![declared(&api)];
            for (name, tries, old) in edits {
                let name = format!("s{name}");
                if tries == 0 {
                    api.call(Method::DELETE, &format!("/admin/v2/services/{name}"), "").await;
                } else if old {
                    let body = json!({"key": "x", "prefix": format!("/{name}"), "remark": tries, "service_name": name});
                    api.post("/admin/routes/save", &body).await;
                } else {
                    put(&api, &name, "", tries).await;
                }
                let revision = history(&api, "").await["revision"].as_u64().unwrap();
                if revision as usize == states.len() {
                    states.push(declared(&api));
                }
            }
            let to = to.min(states.len() - 1);
            let restored = api.call(Method::POST, &format!("/admin/v2/history/{to}/restore"), "").await;
            assert_eq!(restored.status, 200, "{}", restored.body);
            assert_eq!(declared(&api), states[to]);
        });
    }
}

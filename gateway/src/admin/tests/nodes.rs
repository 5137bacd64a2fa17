//! Nodes that services registered themselves: an operator's word lies beside them.

use super::*;
use crate::resource::key;

const NODE: &str = r#"{"service_name":"a","upstream":"127.0.0.1:1","weight":5,"status":1,"zone":"z"}"#;

fn leased() -> (Api, String, String) {
    let api = Api::new();
    let id = key::node("a", "127.0.0.1:1");
    let node_key = format!("{P}discovery/{id}");
    api.store.put_leased(&node_key, NODE);
    (api, id, node_key)
}

#[tokio::test]
async fn a_save_of_a_leased_node_goes_into_the_overlay() {
    let (api, id, node_key) = leased();
    let before = api.store.dump().into_iter().find(|kv| kv.key == node_key).unwrap();
    let overlay = || api.store.json(&format!("{P}gw/nodes/{id}"));
    let save = async |weight: u32, status: u32| {
        let body =
            json!({"key": id, "service_name": "a", "upstream": "127.0.0.1:1", "weight": weight, "status": status});
        assert_eq!(api.post("/admin/services/save", &body).await.body, "ok");
        let shown = api.services().await[0].clone();
        assert_eq!((&shown["weight"], &shown["status"], &shown["zone"]), (&json!(weight), &json!(status), &json!("z")));
    };
    save(5, 0).await;
    let stored = overlay().unwrap();
    assert_eq!((&stored["state"], stored.get("weight")), (&json!("disabled"), None), "only what differs");
    save(9, 0).await;
    save(9, 1).await;
    let stored = overlay().unwrap();
    assert_eq!((&stored["state"], &stored["weight"]), (&json!("enabled"), &json!(9)));
    let after = api.store.dump().into_iter().find(|kv| kv.key == node_key).unwrap();
    assert_eq!(before, after, "the leased key was never written");
}

#[tokio::test]
async fn a_save_keeps_a_drain_and_what_it_does_not_know() {
    let (api, id, _) = leased();
    let overlay_key = format!("{P}gw/nodes/{id}");
    api.store.put(&overlay_key, r#"{"state":"drain","reason":"deploy"}"#);
    assert_eq!(api.services().await[0]["status"], 0);
    let body = json!({"key": id, "service_name": "a", "upstream": "127.0.0.1:1", "weight": 7, "status": 0});
    assert_eq!(api.post("/admin/services/save", &body).await.body, "ok");
    let stored = api.store.json(&overlay_key).unwrap();
    assert_eq!(
        (&stored["state"], &stored["weight"], &stored["reason"]),
        (&json!("drain"), &json!(7), &json!("deploy"))
    );
}

#[tokio::test]
async fn a_leased_node_is_not_created_again_and_a_bad_weight_is_refused() {
    let (api, id, _) = leased();
    let mut body = json!({"service_name": "a", "upstream": "127.0.0.1:1", "weight": 7, "status": 1});
    assert_eq!(api.post("/admin/services/save", &body).await.body, "服务节点已存在");
    body["key"] = id.into();
    body["weight"] = json!(-1);
    let answer = api.post("/admin/services/save", &body).await;
    assert!(answer.status == 500 && answer.body.starts_with("weight: -1"), "{}", answer.body);
}

#[tokio::test]
async fn removing_a_node_removes_what_was_said_of_it() {
    let (api, id, node_key) = leased();
    api.store.put(&format!("{P}gw/nodes/{id}"), r#"{"state":"disabled"}"#);
    assert_eq!(api.post("/admin/services/remove", &json!({"key": id})).await.body, "ok");
    assert!(api.store.json(&node_key).is_none());
    assert_eq!(api.store.keys(&format!("{P}gw/nodes/")), Vec::<String>::new());
}

#[tokio::test]
async fn a_save_of_an_operators_own_node_takes_the_overlay_in() {
    let api = Api::new();
    let id = key::node("a", "127.0.0.1:1");
    api.store.put(&format!("{P}discovery/{id}"), NODE);
    api.store.put(&format!("{P}gw/nodes/{id}"), r#"{"state":"drain","weight":3}"#);
    let mut shown = api.services().await[0].clone();
    assert_eq!((&shown["weight"], &shown["status"]), (&json!(3), &json!(0)));
    shown["status"] = json!(1);
    assert_eq!(api.post("/admin/services/save", &shown).await.body, "ok");
    assert_eq!(api.store.keys(&format!("{P}gw/nodes/")), Vec::<String>::new());
    let shown = api.services().await[0].clone();
    assert_eq!((&shown["weight"], &shown["status"]), (&json!(3), &json!(1)));
}

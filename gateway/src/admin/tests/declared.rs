//! All that is declared as one document: exported, applied, pruned.

use http::Method;
use serde_json::json;

use super::*;

const DOCUMENT: &str = r#"
services:
  shop:
    balancer: least_requests
    labels: {team: shop}
routes:
  shop:
    prefix: /shop/*
    service_name: shop
    plugins: [discovery]
    labels: {team: shop}
  other:
    prefix: /other
    service_name: other
"#;

#[tokio::test]
async fn a_document_is_applied_as_one_revision_and_its_export_changes_nothing() {
    let api = Api::new();
    let dry = api.call(Method::POST, "/admin/v2/apply?dry_run=true", DOCUMENT).await;
    assert_eq!(dry.json()["changes"].as_array().unwrap().len(), 3, "{}", dry.body);
    assert!(api.store.keys(&format!("{P}routes/")).is_empty());
    let applied = api.call(Method::POST, "/admin/v2/apply?reason=first", DOCUMENT).await;
    assert_eq!((applied.status.as_u16(), &applied.json()["revision"]), (200, &json!(1)), "{}", applied.body);
    assert_eq!(api.store.json(&format!("{P}routes/shop")).unwrap()["prefix"], "/shop/*");

    for format in ["yaml", "json"] {
        let export = api.call(Method::GET, &format!("/admin/v2/export?format={format}"), "").await;
        assert!(!export.body.contains("time") && export.body.contains("/shop/*"), "{}", export.body);
        let again = api.call(Method::POST, "/admin/v2/apply", &export.body).await;
        assert_eq!((&again.json()["changed"], &again.json()["revision"]), (&json!(false), &json!(1)), "{}", again.body);
    }
    let part = api.call(Method::GET, "/admin/v2/export?format=json&label=team%3Dshop&kind=routes", "").await.json();
    assert_eq!((part["routes"].as_object().unwrap().len(), part.get("services")), (1, None));
    assert_eq!(api.call(Method::GET, "/admin/v2/export?kind=dogs", "").await.status, 400);
    assert_eq!(api.call(Method::GET, "/admin/v2/export?format=xml", "").await.status, 400);
}

#[tokio::test]
async fn only_what_has_the_labels_is_pruned() {
    let api = Api::new();
    api.call(Method::POST, "/admin/v2/apply", DOCUMENT).await;
    let smaller = "routes:\n  shop: {prefix: /shop/*, service_name: shop, labels: {team: shop}}\n";
    api.call(Method::POST, "/admin/v2/apply", smaller).await;
    assert!(api.store.json(&format!("{P}gw/services/shop")).is_some(), "nothing is pruned unless it is asked for");
    let pruned = api.call(Method::POST, "/admin/v2/apply?prune=team%3Dshop", smaller).await.json();
    assert_eq!(
        pruned["changes"],
        json!([{"kind": "services", "name": "shop", "action": "delete", "fields":
        [{"path": "", "before": {"balancer": "least_requests", "labels": {"team": "shop"}}, "after": null}]}])
    );
    assert!(api.store.json(&format!("{P}routes/other")).is_some());
    assert_eq!(api.call(Method::POST, "/admin/v2/apply?prune=team", smaller).await.status, 400);
}

#[tokio::test]
async fn what_is_wrong_in_a_document_is_all_named_and_nothing_of_it_written() {
    let api = Api::new();
    let document = "routes:\n  a: {prefix: /a, hosts: [1]}\n  b: {prefix: /b}\nservices:\n  s: {balancer: dice}\n";
    let refused = api.call(Method::POST, "/admin/v2/apply", document).await;
    assert_eq!(refused.status, 422);
    let fields: Vec<Value> = refused.json()["errors"].as_array().unwrap().iter().map(|e| e["field"].clone()).collect();
    assert!(fields[0].as_str().unwrap().starts_with("routes.a.hosts"), "{fields:?}");
    assert_eq!(fields[1], "services.s.balancer");
    assert!(api.store.keys(&format!("{P}routes/")).is_empty());
    for (document, status) in [
        ("dogs:\n  a: {}\n", 422),
        ("routes: [1]\n", 422),
        ("routes: {a: 1}\n", 422),
        ("- 1\n", 400),
        ("{\"routes\": ", 400),
        ("a: b: c\n", 400),
        ("", 200),
        ("routes: {}\n", 200),
    ] {
        let answer = api.call(Method::POST, "/admin/v2/apply", document).await;
        assert_eq!(answer.status, status, "{document:?}: {}", answer.body);
    }
}

#[tokio::test]
async fn what_a_service_registered_is_neither_exported_nor_replaced() {
    let api = Api::new();
    let id = crate::resource::key::node("s", "10.0.0.1:80");
    let node = json!({"service_name": "s", "upstream": "10.0.0.1:80"});
    api.store.put_leased(&format!("{P}discovery/{id}"), &node.to_string());
    let export = api.call(Method::GET, "/admin/v2/export", "").await;
    assert!(!export.body.contains("10.0.0.1"), "{}", export.body);
    let mut declared = node.clone();
    declared["weight"] = 7.into();
    let document = json!({"nodes": {id: declared}}).to_string();
    assert_eq!(api.call(Method::POST, "/admin/v2/apply", &document).await.status, 422);
}

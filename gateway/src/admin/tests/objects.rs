//! Objects under `/admin/v2/<kind>`: one form for all kinds.

use http::Method;
use serde_json::json;

use super::*;

const ANY: (&str, &str) = ("if-match", "*");

impl Api {
    /// A call with the API token and more headers.
    async fn call_with(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        let headers = [&[("x-api-token", API_TOKEN)], headers].concat();
        self.send(request(method, path, &headers, &body.to_string())).await
    }
}

#[tokio::test]
async fn a_service_is_put_shown_listed_and_deleted() {
    let api = Api::new();
    let path = "/admin/v2/services/demo1";
    assert_eq!(api.call(Method::GET, path, "").await.status, 404);
    let service = json!({"balancer": "least_requests", "max_tries": 2});
    let put = api.call(Method::PUT, path, &service.to_string()).await;
    assert_eq!(put.status, 201, "{}", put.body);
    let shown = api.call(Method::GET, path, "").await;
    assert_eq!(shown.json(), service);
    assert_eq!(shown.header("etag"), put.header("etag"));
    let list = api.call(Method::GET, "/admin/v2/services", "").await.json();
    assert_eq!((&list["items"][0]["name"], &list["items"][0]["value"]), (&json!("demo1"), &service));
    assert_eq!(list["items"][0]["etag"], put.header("etag").unwrap());
    assert_eq!(api.call(Method::DELETE, path, "").await.status, 200);
    assert_eq!(api.call(Method::DELETE, path, "").await.status, 404);
}

#[tokio::test]
async fn what_would_not_compile_is_refused_and_the_field_named() {
    let api = Api::new();
    let refused = api.call(Method::PUT, "/admin/v2/services/a", r#"{"balancer":"dice"}"#).await;
    assert_eq!(refused.status, 422);
    assert_eq!(refused.json()["field"], "balancer", "{}", refused.body);
    for body in ["[]", "{", ""] {
        assert_eq!(api.call(Method::PUT, "/admin/v2/services/a", body).await.status, 400, "{body}");
    }
    for name in ["a%2Fb", "%0a"] {
        assert_eq!(api.call(Method::PUT, &format!("/admin/v2/services/{name}"), "{}").await.status, 400, "{name}");
    }
    let labels = api.call(Method::PUT, "/admin/v2/services/a", r#"{"labels":{"team":1}}"#).await;
    assert_eq!((labels.status.as_u16(), &labels.json()["field"]), (422, &json!("labels")));
    for query in ["confirm_within=1ms", "confirm_within=x", "dry_run=maybe"] {
        assert_eq!(api.call(Method::PUT, &format!("/admin/v2/services/a?{query}"), "{}").await.status, 400, "{query}");
    }
    assert!(api.store.keys(&format!("{P}gw/services/")).is_empty());
}

#[tokio::test]
async fn a_private_key_is_never_shown_and_unchanged_keeps_it() {
    let api = Api::new();
    let path = "/admin/v2/services/a";
    let with = |key: &str| json!({"tls": {"cert": "CERT", "key": key}});
    let refused = api.call_with(Method::PUT, path, &[], &with("unchanged")).await;
    assert_eq!((refused.status.as_u16(), &refused.json()["field"]), (422, &json!("tls.key")), "there is none to keep");
    assert_eq!(api.call_with(Method::PUT, path, &[], &with("canary-key")).await.status, 201);
    let kept = api.call_with(Method::PUT, path, &[ANY], &with("unchanged")).await;
    assert_eq!((kept.status.as_u16(), &kept.json()["changed"]), (200, &json!(false)), "{}", kept.body);
    let changed = api.call_with(Method::PUT, path, &[ANY], &with("canary-key-2")).await;
    assert_eq!(changed.json()["changes"][0]["fields"][0]["path"], "tls.key");
    for path in [path, "/admin/v2/services", "/admin/v2/history/1", "/admin/v2/history/2", "/admin/v2/export"] {
        let shown = api.call(Method::GET, path, "").await;
        assert_eq!(shown.status, 200, "{path}");
        assert!(!shown.body.contains("canary-key") && !shown.body.contains("sealed:"), "{}", shown.body);
    }
    let stored = api.store.json(&format!("{P}gw/services/a")).unwrap();
    assert_eq!(stored["tls"]["key"], "sealed:v1:test:gw/services/a:12");
}

#[tokio::test]
async fn who_replaces_an_object_says_which_version_they_read() {
    let api = Api::new();
    let path = "/admin/v2/services/a";
    let service = |tries: u32| json!({"max_tries": tries});
    let first = api.call_with(Method::PUT, path, &[("if-none-match", "*")], &service(1)).await;
    assert_eq!(first.status, 201);
    assert_eq!(api.call_with(Method::PUT, path, &[("if-none-match", "*")], &service(2)).await.status, 412);
    assert_eq!(api.call_with(Method::PUT, path, &[], &service(2)).await.status, 428);
    let tag = first.header("etag").unwrap();
    let second = api.call_with(Method::PUT, path, &[("if-match", tag)], &service(2)).await;
    assert_eq!(second.status, 200);
    // Of two who read the same version one is told.
    for method in [Method::PUT, Method::PATCH, Method::DELETE] {
        let late = api.call_with(method.clone(), path, &[("if-match", tag)], &service(3)).await;
        assert_eq!(late.status, 412, "{method}");
    }
    assert_eq!(api.call(Method::GET, path, "").await.json(), service(2));
    assert_eq!(api.call_with(Method::PUT, path, &[("if-match", "7")], &service(3)).await.status, 400);
    assert_eq!(api.call_with(Method::PUT, path, &[], &service(2)).await.status, 200, "nothing would change");
    let known = [("if-none-match", second.header("etag").unwrap())];
    assert_eq!(api.call_with(Method::GET, path, &known, &json!(null)).await.status, 304);
    assert_eq!(api.call_with(Method::PUT, "/admin/v2/services/b", &[ANY], &service(1)).await.status, 412);
}

#[tokio::test]
async fn of_two_who_race_one_loses() {
    let api = Api::new();
    let path = "/admin/v2/services/a";
    let first = api.call_with(Method::PUT, path, &[], &json!({"max_tries": 1})).await;
    let tag = first.header("etag").unwrap();
    let write = |tries: u32| {
        let body = json!({"max_tries": tries});
        let api = &api;
        async move { api.call_with(Method::PUT, path, &[("if-match", tag)], &body).await.status.as_u16() }
    };
    let (a, b) = tokio::join!(write(2), write(3));
    assert!(matches!((a, b), (200, 412) | (412, 200)), "{a} {b}");
}

#[tokio::test]
async fn a_patch_changes_the_fields_it_names() {
    let api = Api::new();
    let created = api.post("/admin/v2/routes", &json!({"prefix": "/a/*", "service_name": "s", "mine": 1})).await;
    assert_eq!(created.status, 201, "{}", created.body);
    let id = created.json()["name"].as_str().unwrap().to_owned();
    assert_eq!(id, crate::resource::key::route("/a/*"));
    let path = format!("/admin/v2/routes/{id}");
    assert_eq!(created.header("location"), Some(&*path));
    let patched = api.call(Method::PATCH, &path, r#"{"status": 0, "service_name": null, "remark": "off"}"#).await;
    assert_eq!(patched.status, 200, "{}", patched.body);
    let shown = api.call(Method::GET, &path, "").await.json();
    assert_eq!((&shown["status"], &shown["remark"], &shown["mine"]), (&json!(0), &json!("off"), &json!(1)));
    assert!(shown.get("service_name").is_none() && shown["key"] == id && shown["time"].is_u64());
    assert_eq!(api.call(Method::PATCH, "/admin/v2/routes/none", "{}").await.status, 404);
    let bad = api.call(Method::PATCH, &path, r#"{"hosts": [1]}"#).await;
    assert_eq!(bad.status, 422, "{}", bad.body);
    assert!(bad.json()["field"].as_str().unwrap().starts_with("hosts"), "{}", bad.body);
    // A second route of the prefix is told apart by its hosts.
    let other = api.post("/admin/v2/routes", &json!({"prefix": "/a/*", "hosts": ["b"], "service_name": "s"})).await;
    assert_eq!(other.json()["name"], crate::resource::key::route_with_hosts("/a/*", &["b".to_owned()]));
}

#[tokio::test]
async fn a_node_is_named_by_its_service_and_address() {
    let api = Api::new();
    let node = json!({"service_name": "s", "upstream": "10.0.0.1:80"});
    let id = crate::resource::key::node("s", "10.0.0.1:80");
    let created = api.post("/admin/v2/nodes", &node).await;
    assert_eq!((created.status.as_u16(), &created.json()["name"]), (201, &json!(id)), "{}", created.body);
    assert_eq!(api.post("/admin/v2/nodes", &node).await.status, 409);
    let misnamed = api.call(Method::PUT, "/admin/v2/nodes/mine", &node.to_string()).await;
    assert_eq!(misnamed.status, 422);
    assert!(misnamed.body.contains(&id), "{}", misnamed.body);
    assert_eq!(api.post("/admin/v2/services", &json!({})).await.status, 405, "who makes a service names it");
}

#[tokio::test]
async fn a_registered_node_is_its_services_and_what_operators_say_lies_beside_it() {
    let api = Api::new();
    let node = json!({"service_name": "s", "upstream": "10.0.0.1:80", "weight": 1});
    let id = crate::resource::key::node("s", "10.0.0.1:80");
    let key = format!("{P}discovery/{id}");
    api.store.put_leased(&key, &node.to_string());
    let refused = api.call(Method::PATCH, &format!("/admin/v2/nodes/{id}"), r#"{"weight": 5}"#).await;
    assert_eq!(refused.status, 422);
    assert!(refused.body.contains("node-overlays"), "{}", refused.body);
    let overlay = api.call(Method::PUT, &format!("/admin/v2/node-overlays/{id}"), r#"{"weight": 5}"#).await;
    assert_eq!(overlay.status, 201, "{}", overlay.body);
    assert_eq!(api.store.json(&key).unwrap(), node);
    assert_eq!(api.call(Method::GET, "/admin/v2/nodes", "").await.json()["items"][0]["registered"], true);
}

#[tokio::test]
async fn a_dry_run_says_what_would_happen_and_writes_nothing() {
    let api = Api::new();
    let before = api.store.dump();
    let dry = api.call(Method::PUT, "/admin/v2/services/a?dry_run=true", r#"{"balancer": "least_requests"}"#).await;
    assert_eq!(dry.status, 200);
    assert_eq!(dry.json()["changes"][0]["action"], "create");
    assert_eq!(dry.json()["changed"], false);
    assert_eq!(api.call(Method::PUT, "/admin/v2/services/a?dry_run=true", r#"{"balancer": 1}"#).await.status, 422);
    assert_eq!(api.store.dump(), before);
}

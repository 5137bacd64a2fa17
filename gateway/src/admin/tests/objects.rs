//! Services and global plugins under `/admin/v2/`.

use http::Method;
use serde_json::json;

use super::*;

#[tokio::test]
async fn a_service_is_put_shown_listed_and_deleted() {
    let api = Api::new();
    let path = "/admin/v2/services/demo1";
    assert_eq!(api.call(Method::GET, path, "").await.status, 404);
    let service = json!({"balancer": "least_requests", "max_tries": 2});
    assert_eq!(api.call(Method::PUT, path, &service.to_string()).await.status, 204);
    let shown = api.call(Method::GET, path, "").await;
    assert_eq!(shown.json(), service);
    assert!(shown.header("etag").is_some());
    let list = api.call(Method::GET, "/admin/v2/services", "").await.json();
    assert_eq!(list["items"], json!({"demo1": service}));
    assert_eq!(api.call(Method::DELETE, path, "").await.status, 204);
    assert_eq!(api.call(Method::DELETE, path, "").await.status, 404);
}

#[tokio::test]
async fn what_would_not_compile_is_refused_and_the_field_named() {
    let api = Api::new();
    let refused = api.call(Method::PUT, "/admin/v2/services/a", r#"{"balancer":"dice"}"#).await;
    assert_eq!(refused.status, 422);
    assert!(refused.json()["detail"].as_str().unwrap().starts_with("balancer: "), "{}", refused.body);
    for body in ["[]", "{", ""] {
        assert_eq!(api.call(Method::PUT, "/admin/v2/services/a", body).await.status, 400, "{body}");
    }
    for name in ["a%2Fb", "%0a"] {
        assert_eq!(api.call(Method::PUT, &format!("/admin/v2/services/{name}"), "{}").await.status, 400, "{name}");
    }
}

#[tokio::test]
async fn a_private_key_is_never_shown_and_unchanged_keeps_it() {
    let api = Api::new();
    let path = "/admin/v2/services/a";
    let with = |key: &str| json!({"tls": {"cert": "CERT", "key": key}}).to_string();
    assert_eq!(api.call(Method::PUT, path, &with("unchanged")).await.status, 422, "there is none to keep");
    assert_eq!(api.call(Method::PUT, path, &with("canary-key")).await.status, 204);
    for path in [path, "/admin/v2/services"] {
        let shown = api.call(Method::GET, path, "").await;
        assert!(!shown.body.contains("canary-key") && shown.body.contains("unchanged"), "{}", shown.body);
    }
    assert_eq!(api.call(Method::PUT, path, &with("unchanged")).await.status, 204);
    let stored = api.store.json(&format!("{P}gw/services/a")).unwrap();
    assert_eq!(stored["tls"]["key"], "sealed:v1:test:gw/services/a:10");
}

//! The document and the router say the same.

use std::collections::BTreeSet;

use super::*;

pub(super) const METHODS: [&str; 5] = ["GET", "PUT", "POST", "PATCH", "DELETE"];

/// The document, as it is served.
fn described() -> Value {
    serde_json::to_value(crate::admin::openapi::described()).unwrap()
}

/// The paths of a document, each as it is written there and as one may be called.
fn paths(document: &Value) -> Vec<(String, String)> {
    let filled = |path: &str| {
        let part = |part: &str| match part {
            "{revision}" => "1".to_owned(),
            part if part.starts_with('{') => "a".to_owned(),
            part => part.to_owned(),
        };
        path.split('/').map(part).collect::<Vec<_>>().join("/")
    };
    document["paths"].as_object().unwrap().keys().map(|path| (path.clone(), filled(path))).collect()
}

/// The only paths that need no credentials.
const OPEN: [&str; 6] = ["/openapi.json", "/docs", "/docs/{file}", "/login", "/oidc/login", "/oidc/callback"];

/// All paths that need credentials, as they may be called, and some that are not there.
pub(super) fn guarded_paths() -> Vec<String> {
    let described = paths(&described()).into_iter().filter(|(path, _)| !OPEN.contains(&path.as_str()));
    described.map(|(_, path)| path).chain(["", "/", "/nothing"].map(str::to_owned)).collect()
}

/// The paths of the router. It tells them to who debugs it, and to nobody else.
fn routed(api: &Api) -> BTreeSet<String> {
    let text = format!("{:?}", api.router);
    let paths = text.split('"').filter_map(|part| part.strip_prefix("/admin/v2"));
    paths.filter(|path| !path.is_empty() && *path != "/" && !path.contains("__private")).map(str::to_owned).collect()
}

#[tokio::test]
async fn every_path_and_method_is_described_and_all_that_is_described_is_there() {
    let (api, document) = (Api::new(), described());
    let described: BTreeSet<String> = paths(&document).into_iter().map(|(path, _)| path).collect();
    assert_eq!(described, routed(&api));
    for (path, called) in paths(&document) {
        for method in METHODS {
            let headers = [("x-api-token", API_TOKEN)];
            let request = request(method.parse().unwrap(), &format!("/admin/v2{called}"), &headers, "{}");
            let response = api.router.clone().oneshot(request).await.unwrap();
            let status = response.status();
            // What is no error may have no end.
            let error = if status.is_success() { String::new() } else { Answer::of(response).await.body };
            let operation = &document["paths"][&path][method.to_lowercase()];
            assert_eq!(status == 405, operation.is_null(), "{method} {path}: {status} {error}");
            assert!(!error.contains("there is no such path"), "{method} {path}");
            let answers = &operation["responses"];
            assert!(status == 405 || !answers[status.as_str()].is_null(), "{method} {path}: {status} {error}");
        }
    }
}

/// What is no change of the gateway's: questions, and what concerns the caller alone.
const OWN: [(&str, &str); 6] = [
    ("POST", "/explain"),
    ("POST", "/logout"),
    ("PUT", "/me/password"),
    ("POST", "/me/totp"),
    ("PUT", "/me/totp"),
    ("DELETE", "/me/totp"),
];

#[tokio::test]
async fn a_viewer_is_refused_every_change_there_is() {
    let (api, document) = (Api::new(), described());
    let password = api.user("v", &json!({"role": "viewer"})).await;
    let jwt = api.jwt("v", &password).await;
    eventually("the login is recorded", async || api.audited().await.len() == 2).await;
    // What is there, so that a right is all that is missing.
    for path in ["/admin/v2/services/a?confirm_within=5m", "/admin/v2/services/c"] {
        assert_eq!(api.call(Method::PUT, path, "{}").await.status, 201);
    }
    let before = api.store.dump();
    let mut open = Vec::new();
    for (path, called) in paths(&document).into_iter().filter(|(path, _)| !OPEN.contains(&path.as_str())) {
        for method in METHODS.into_iter().filter(|method| *method != "GET") {
            if document["paths"][&path][method.to_lowercase()].is_null() || OWN.contains(&(method, &path)) {
                continue;
            }
            let headers = [("x-token", jwt.as_str())];
            let body = if path == "/apply" { r#"{"services":{"b":{}}}"# } else { "{}" };
            let answer =
                api.send(request(method.parse().unwrap(), &format!("/admin/v2{called}"), &headers, body)).await;
            if answer.status != 403 {
                open.push(format!("{method} {path}: {} {}", answer.status, answer.body));
            }
        }
    }
    assert_eq!(open, Vec::<String>::new());
    assert_eq!((api.store.dump(), &*api.level.lock().unwrap()), (before, &"info".to_owned()));
}

#[tokio::test]
async fn what_is_described_is_complete() {
    let document = described();
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(document.pointer(reference).is_some(), "{reference}");
    }
    let mut ids = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for operation in item.as_object().unwrap().values() {
            assert!(ids.insert(operation["operationId"].to_string()), "{path}: the id is another's");
            let named: BTreeSet<&str> = operation["parameters"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|parameter| parameter["in"] == "path")
                .map(|parameter| parameter["name"].as_str().unwrap())
                .collect();
            let in_path = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
            assert_eq!(named, in_path, "{path}");
        }
    }
}

#[tokio::test]
async fn the_document_and_its_page_are_for_anyone_whose_address_may_call() {
    let api = Api::new();
    for (path, kind, says) in [
        ("openapi.json", "application/json", "\"openapi\":\"3.1.0\""),
        ("docs", "text/html; charset=utf-8", "docs/docs.js"),
        ("docs/docs.js", "text/javascript; charset=utf-8", "openapi.json"),
        ("docs/docs.css", "text/css; charset=utf-8", "body"),
    ] {
        let path = format!("/admin/v2/{path}");
        let answer = api.send(request(Method::GET, &path, &[], "")).await;
        assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, Some(kind)), "{path}");
        assert!(answer.body.contains(says), "{path}");
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
        for method in ["PUT", "POST", "PATCH", "DELETE"] {
            let answer = api.send(request(method.parse().unwrap(), &path, &[], "")).await;
            assert_eq!(answer.status, 405, "{method} {path}");
        }
        let mut foreign = request(Method::GET, &path, &[], "");
        foreign.extensions_mut().insert(Connection(Some("203.0.113.7".parse().unwrap())));
        assert_eq!(api.send(foreign).await.status, 403, "{path}");
    }
    assert_eq!(api.send(request(Method::GET, "/admin/v2/docs/page.html", &[], "")).await.status, 404);
}

#[tokio::test]
async fn the_page_has_nothing_inline_and_nothing_from_elsewhere() {
    let api = Api::new();
    for path in ["/admin/v2/docs", "/admin/v2/docs/docs.js", "/admin/v2/docs/docs.css"] {
        let page = api.send(request(Method::GET, path, &[], "")).await.body;
        for forbidden in ["http:", "https:", "<style", " style=", " onclick", "<script>", "innerHTML", "eval("] {
            assert!(!page.contains(forbidden), "{path}: {forbidden}");
        }
    }
}

#[tokio::test]
async fn plugins_are_listed_with_the_schema_of_their_settings() {
    let answer = Api::new().call(Method::GET, "/admin/v2/plugins", "").await.json();
    assert_eq!(answer["items"][0]["name"], "discovery");
    assert_eq!(answer["items"][0]["schema"], Value::Null);
}

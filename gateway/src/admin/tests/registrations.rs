//! Services that register over HTTP, and what their tokens may do.

use super::openapi::{METHODS, guarded_paths};
use super::*;
use crate::admin::legacy::{Action, PATHS};

const NODE: &str = "/admin/v2/registrations/demo1/10.0.0.5:8080";

impl Api {
    /// A call with the token for registrations.
    async fn as_registrar(&self, method: Method, path: &str, body: &str) -> Answer {
        self.send(request(method, path, &[("x-api-token", REGISTRAR)], body)).await
    }

    fn nodes(&self) -> Vec<crate::store::Kv> {
        self.store.dump().into_iter().filter(|kv| kv.key.starts_with(&format!("{P}discovery/"))).collect()
    }
}

#[tokio::test]
async fn a_node_is_registered_kept_alive_listed_and_removed() {
    let api = Api::new();
    let first = api.as_registrar(Method::PUT, NODE, r#"{"weight": 5, "ttl": "30s"}"#).await;
    assert_eq!(first.status, 201, "{}", first.body);
    let shown = first.json();
    assert_eq!((&shown["service_name"], &shown["upstream"]), (&json!("demo1"), &json!("10.0.0.5:8080")));
    assert_eq!((&shown["weight"], &shown["status"], &shown["ttl"]), (&json!(5), &json!(1), &json!(30)));
    assert_eq!(shown["expires_in"], 30);
    let [kv] = &api.nodes()[..] else { panic!("one node") };
    assert!(kv.lease.is_some());
    assert_eq!(format!("{P}discovery/{}", shown["key"].as_str().unwrap()), kv.key);

    // The same again is a heartbeat, and writes nothing.
    let revision = api.store.revision();
    assert_eq!(api.as_registrar(Method::PUT, NODE, r#"{"weight": 5, "ttl": 30}"#).await.status, 200);
    let beat = api.as_registrar(Method::POST, &format!("{NODE}/heartbeat"), "").await;
    assert_eq!((beat.status.as_u16(), beat.json()), (200, json!({"expires_in": 30})));
    assert_eq!(api.store.revision(), revision);

    for path in ["/admin/v2/registrations", "/admin/v2/registrations?service=demo1"] {
        let listed = api.as_registrar(Method::GET, path, "").await.json();
        assert_eq!(listed["registrations"].as_array().unwrap().len(), 1, "{listed}");
        assert_eq!(
            (&listed["registrations"][0]["ttl"], &listed["registrations"][0]["weight"]),
            (&json!(30), &json!(5))
        );
    }
    for _ in 0..2 {
        assert_eq!(api.as_registrar(Method::DELETE, NODE, "").await.status, 204, "removing twice is no error");
    }
    assert_eq!((api.nodes(), api.store.leases()), (Vec::new(), Vec::new()));
    let gone = api.as_registrar(Method::POST, &format!("{NODE}/heartbeat"), "").await;
    assert_eq!(gone.status, 404);
    assert!(gone.json()["detail"].as_str().unwrap().contains("register again"), "{}", gone.body);
}

#[tokio::test]
async fn an_ipv6_address_is_written_with_escapes() {
    let api = Api::new();
    let path = "/admin/v2/registrations/demo1/%5Bfd00::5%5D:8080";
    assert_eq!(api.as_registrar(Method::PUT, path, "").await.status, 201);
    assert_eq!(api.services().await[0]["upstream"], "[fd00::5]:8080");
    assert_eq!(api.as_registrar(Method::DELETE, path, "").await.status, 204);
    assert_eq!(api.services().await, json!([]));
}

#[tokio::test]
async fn what_is_wrong_is_named_and_nothing_is_written() {
    let api = Api::new();
    for (path, body, field, reason) in [
        (NODE, r#"{"ttl": "2h"}"#, "ttl", "from 1s to 1h"),
        (NODE, r#"{"ttl": 0}"#, "ttl", "from 1s to 1h"),
        (NODE, r#"{"ttl": "soon"}"#, "ttl", "from 1s to 1h"),
        (NODE, r#"{"weight": -1}"#, "weight", "invalid value"),
        (NODE, r#"{"weight": 10001}"#, "weight", "from 0 to 10000"),
        (NODE, r#"{"wieght": 1}"#, "wieght", "unknown field"),
        ("/admin/v2/registrations/demo1/nowhere", "", "upstream", "expected ip:port"),
        ("/admin/v2/registrations/demo1/0.0.0.0:80", "", "upstream", "no address one can connect to"),
        ("/admin/v2/registrations/team-a%2Fb/10.0.0.5:80", "", "service_name", "must not contain"),
    ] {
        let answer = api.as_registrar(Method::PUT, path, body).await;
        assert_eq!(answer.status, 422, "{path} {body}: {}", answer.body);
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        let problem = answer.json();
        assert_eq!(problem["field"], field, "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(reason), "{problem}");
    }
    assert_eq!(api.as_registrar(Method::PUT, NODE, "{").await.status, 400);
    assert_eq!(api.as_registrar(Method::GET, "/admin/v2/registrations?servcie=a", "").await.status, 400);
    let long = format!("/admin/v2/registrations/team-{}/10.0.0.5:80", "x".repeat(2000));
    for method in [Method::POST, Method::DELETE] {
        let path = if method == Method::POST { format!("{long}/heartbeat") } else { long.clone() };
        let answer = api.as_registrar(method, &path, "").await;
        assert!(answer.status.is_client_error() || answer.status == 204, "{}", answer.body);
    }
    assert_eq!((api.nodes(), api.store.leases()), (Vec::new(), Vec::new()));
}

#[tokio::test]
async fn an_operators_node_is_replaced_only_by_a_full_token_that_says_so() {
    let api = Api::new();
    let node = json!({"service_name": "demo1", "upstream": "10.0.0.5:8080", "weight": 9});
    assert_eq!(api.post("/admin/services/save", &node).await.status, 200);
    let before = api.nodes();
    for (method, path, body, status) in [
        (Method::PUT, NODE.to_owned(), "{}", 409),
        (Method::PUT, NODE.to_owned(), r#"{"replace": true}"#, 403),
        (Method::DELETE, NODE.to_owned(), "", 409),
        (Method::POST, format!("{NODE}/heartbeat"), "", 409),
    ] {
        assert_eq!(api.as_registrar(method.clone(), &path, body).await.status, status, "{method} {body}");
    }
    assert_eq!(api.nodes(), before);
    assert_eq!(api.call(Method::PUT, NODE, r#"{"replace": true}"#).await.status, 200);
    assert!(api.nodes()[0].lease.is_some());
}

#[tokio::test]
async fn a_registration_is_no_write_of_an_operator() {
    let api = Api::new();
    api.as_registrar(Method::PUT, NODE, "").await;
    assert!(api.store.json(&format!("{P}gw/head")).is_none(), "services do not make operators' writes conflict");
}

#[tokio::test]
async fn a_store_that_is_away_is_a_503_to_try_again() {
    let api = Api::new();
    api.store.set_down(true);
    let answer = api.as_registrar(Method::PUT, NODE, "").await;
    assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (503, Some("1")));
}

#[tokio::test]
async fn a_token_for_registrations_reaches_its_services_only() {
    let api = Api::new();
    let to = |service: &str| format!("/admin/v2/registrations/{service}/10.0.0.5:8080");
    for (service, allowed) in [
        ("demo1", true),
        ("team-a", true),
        ("team-", true),
        ("%20demo1", true),
        ("demo10", false),
        ("demo", false),
        ("team", false),
        ("Demo1", false),
        ("a-team-", false),
        ("*", false),
        ("team*", false),
    ] {
        let path = to(service);
        let created = api.as_registrar(Method::PUT, &path, "").await;
        assert_eq!(created.status.as_u16(), if allowed { 201 } else { 403 }, "{service}");
        let beat = api.as_registrar(Method::POST, &format!("{path}/heartbeat"), "").await;
        assert_eq!(beat.status.as_u16(), if allowed { 200 } else { 403 }, "{service}");
        let list = api.as_registrar(Method::GET, &format!("/admin/v2/registrations?service={service}"), "").await;
        assert_eq!(list.status.as_u16(), if allowed { 200 } else { 403 }, "{service}");
        let removed = api.as_registrar(Method::DELETE, &path, "").await;
        assert_eq!(removed.status.as_u16(), if allowed { 204 } else { 403 }, "{service}");
    }
    // Nor does a list show it what is not its own.
    api.call(Method::PUT, &to("other"), "").await;
    api.call(Method::PUT, &to("team-b"), "").await;
    let own = api.as_registrar(Method::GET, "/admin/v2/registrations", "").await.json();
    let names: Vec<_> = own["registrations"].as_array().unwrap().iter().map(|node| &node["service_name"]).collect();
    assert_eq!(names, ["team-b"]);
    let all = api.call(Method::GET, "/admin/v2/registrations", "").await.json();
    assert_eq!(all["registrations"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_token_for_registrations_gets_a_403_everywhere_else() {
    let api = Api::new();
    api.store.put(&format!("{P}routes/a"), r#"{"prefix":"/a"}"#);
    let before = api.store.dump();
    let body = r#"{"key":"a","prefix":"/b","service_name":"demo1","upstream":"127.0.0.1:1","level":"debug"}"#;
    let old = PATHS.iter().filter(|(.., action)| *action != Action::Login);
    let old = old.flat_map(|(path, methods, _)| methods.iter().map(move |method| (method.clone(), (*path).to_owned())));
    let elsewhere = guarded_paths().into_iter().filter(|path| !path.starts_with("/registrations"));
    let odd = ["/registrationsx", "/registrations%2Fx", "//registrations", "/x/../registrations"].map(str::to_owned);
    let new = elsewhere
        .chain(odd)
        .flat_map(|path| METHODS.map(|method| (method.parse().unwrap(), format!("/admin/v2{path}"))));
    for (method, path) in old.chain(new) {
        let answer = api.as_registrar(method.clone(), &path, body).await;
        assert_eq!(answer.status, 403, "{method} {path}: {}", answer.body);
        assert!(!answer.body.contains("/a"), "{method} {path}: {}", answer.body);
    }
    assert_eq!((api.store.dump(), &*api.level.lock().unwrap()), (before, &"info".to_owned()));
}

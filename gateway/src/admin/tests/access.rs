//! Users and their rights, API tokens, and the record of what is done to them.

use std::time::Duration;

use super::*;

impl Api {
    /// A call with headers of its own.
    pub(super) async fn as_who(&self, who: &[(&str, &str)], method: Method, path: &str, body: &Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.send(request(method, path, who, &body)).await
    }

    /// Makes a user and returns the password that was shown.
    pub(super) async fn user(&self, name: &str, user: &Value) -> String {
        let answer = self.call(Method::PUT, &format!("/admin/v2/users/{name}"), &user.to_string()).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        answer.json()["password"].as_str().unwrap_or_default().to_owned()
    }

    /// Makes a token and returns its id and itself.
    async fn token(&self, token: &Value) -> (String, String) {
        let answer = self.post("/admin/v2/tokens", token).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        let made = answer.json();
        (made["id"].as_str().unwrap().to_owned(), made["token"].as_str().unwrap().to_owned())
    }

    pub(super) async fn jwt(&self, name: &str, password: &str) -> String {
        let answer = self.try_login(name, password, LOCAL).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()["token"].as_str().unwrap().to_owned()
    }

    pub(super) async fn audited(&self) -> Vec<(String, String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let answer = self.call(Method::GET, "/admin/v2/audit", "").await.json();
        let items = answer["items"].as_array().unwrap().iter();
        items.map(|item| (text(&item["actor"]), text(&item["action"]), text(&item["target"]))).collect()
    }
}

#[tokio::test]
async fn a_user_is_made_shown_changed_and_deleted() {
    let api = Api::new();
    let path = "/admin/v2/users/ann";
    let wanted = json!({"role": "editor", "services": ["shop", "team-*"], "display_name": "Ann"});
    let made = api.call(Method::PUT, path, &wanted.to_string()).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let password = made.json()["password"].as_str().unwrap().to_owned();
    assert_eq!(password.len(), 20);
    let shown = api.call(Method::GET, path, "").await;
    let mut expected = wanted.clone();
    expected["name"] = "ann".into();
    expected["info"] = json!({"roles": ["editor"], "introduction": "", "avatar": "", "name": "Ann"});
    expected["totp"] = false.into();
    expected["source"] = "store".into();
    assert_eq!(shown.json(), expected);
    assert_eq!(shown.header("etag"), made.header("etag"));
    let listed = api.call(Method::GET, "/admin/v2/users", "").await;
    assert_eq!(listed.json()["items"]["ann"], expected);
    assert_eq!(listed.json()["items"]["admin"]["source"], "configuration");
    for answer in [&shown, &listed] {
        assert!(!answer.body.contains("argon2") && !answer.body.contains(&password) && !answer.body.contains("canary"));
    }
    let token = api.jwt("ann", &password).await;

    // What was read is put back, with another role; the password stays.
    let mut change = shown.json();
    change["role"] = "viewer".into();
    let put = async |tag: Option<&str>, body: &Value| {
        let who: Vec<_> = [("x-api-token", API_TOKEN)].into_iter().chain(tag.map(|tag| ("if-match", tag))).collect();
        api.as_who(&who, Method::PUT, path, body).await
    };
    assert_eq!(put(None, &change).await.status, 428);
    let changed = put(shown.header("etag"), &change).await;
    assert_eq!((changed.status.as_u16(), &changed.json()["password"]), (200, &Value::Null));
    assert_eq!(put(shown.header("etag"), &change).await.status, 412, "someone else was faster");
    assert_eq!(api.get_as("/admin/user/info", &token).await.json()["roles"], json!(["viewer"]), "at once");

    // A new password ends logins.
    change["password"] = "a new password".into();
    assert_eq!(put(Some("*"), &change).await.status, 200);
    assert_eq!(api.get_as("/admin/user/info", &token).await.status, 401);
    api.jwt("ann", "a new password").await;

    assert_eq!(api.call(Method::DELETE, path, "").await.status, 204);
    assert_eq!(api.call(Method::GET, path, "").await.status, 404);
    assert_eq!(api.call(Method::DELETE, path, "").await.status, 404);
    assert_eq!(api.try_login("ann", "a new password", LOCAL).await.status, 500);
    let done: Vec<String> = api.audited().await.into_iter().filter(|(.., t)| t == "ann").map(|(_, a, _)| a).collect();
    assert_eq!(done, ["user.deleted", "user.changed", "user.changed", "user.created"]);
    assert!(!format!("{:?}", api.store.dump()).contains("a new password"));
}

#[tokio::test]
async fn what_is_wrong_with_a_user_is_named() {
    let api = Api::new();
    for (name, body, status, detail) in [
        ("a", json!({}), 422, "missing field `role`"),
        ("a", json!({"role": "root"}), 422, "role: unknown variant `root`"),
        ("a", json!({"role": "viewer", "services": []}), 422, "services: name 1 to 100 services"),
        ("a", json!({"role": "viewer", "services": ["a*b"]}), 422, "services: \"a*b\" must be a name"),
        ("a", json!({"role": "viewer", "password": "short"}), 422, "password: must have at least 10"),
        ("a", json!({"role": "viewer", "display_name": "a\nb"}), 422, "display_name: "),
        ("a", json!({"role": "viewer", "password_hash": "x"}), 422, "unknown field `password_hash`"),
        ("a%2Fb", json!({"role": "viewer"}), 400, "a user's name has 1 to 64"),
        ("a%20b", json!({"role": "viewer"}), 400, "a user's name has 1 to 64"),
    ] {
        let answer = api.call(Method::PUT, &format!("/admin/v2/users/{name}"), &body.to_string()).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.body);
        assert!(answer.json()["detail"].as_str().unwrap().contains(detail), "{body}: {}", answer.body);
    }
    assert!(api.store.keys(P).is_empty());
}

#[tokio::test]
async fn the_last_administrator_stays_one() {
    let mut config = config();
    config.account.clear();
    let api = Api::on(MemoryStore::new(), config, PeerSource::Socket);
    api.user("root", &json!({"role": "admin"})).await;
    api.user("ed", &json!({"role": "editor"})).await;
    api.user("part", &json!({"role": "admin", "services": ["*"]})).await;
    let demote = async |name: &str, user: Value| {
        let who = [("x-api-token", API_TOKEN), ("if-match", "*")];
        api.as_who(&who, Method::PUT, &format!("/admin/v2/users/{name}"), &user).await.status.as_u16()
    };
    assert_eq!(api.call(Method::DELETE, "/admin/v2/users/root", "").await.status, 409);
    assert_eq!(demote("root", json!({"role": "viewer"})).await, 409);
    assert_eq!(demote("root", json!({"role": "admin", "services": ["shop"]})).await, 409);
    assert_eq!(demote("root", json!({"role": "admin", "display_name": "Root"})).await, 200);
    api.user("two", &json!({"role": "admin"})).await;
    // While one is demoted, someone else deletes the other: neither may be the last one's end.
    let key = format!("{P}gw/users/two");
    let mut once = Some(());
    api.store.interfere(move |content| {
        if once.take().is_some() {
            content.write(vec![crate::store::Op::delete(&*key)]);
        }
    });
    assert_eq!(demote("root", json!({"role": "viewer"})).await, 409);
    assert_eq!(api.call(Method::GET, "/admin/v2/users/root", "").await.json()["role"], "admin");

    // One of the configuration counts, as long as none of the store hides it.
    let api = Api::new();
    assert_eq!(api.call(Method::DELETE, "/admin/v2/users/admin", "").await.status, 409);
    api.user("root", &json!({"role": "admin"})).await;
    assert_eq!(api.call(Method::DELETE, "/admin/v2/users/root", "").await.status, 204);
    let hide = api.call(Method::PUT, "/admin/v2/users/admin", r#"{"role": "viewer"}"#).await;
    assert_eq!(hide.status, 409, "{}", hide.body);
}

#[tokio::test]
async fn a_patch_of_a_user_changes_what_it_names() {
    let api = Api::new();
    let path = "/admin/v2/users/ann";
    let password = api.user("ann", &json!({"role": "editor", "services": ["shop"], "display_name": "Ann"})).await;
    let patch = async |path: &str, body: Value| api.call(Method::PATCH, path, &body.to_string()).await;
    let before = api.call(Method::GET, path, "").await;
    let answer = patch(path, json!({"role": "viewer", "services": null})).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let after = answer.json();
    assert_eq!(
        (&after["role"], &after["services"], &after["display_name"]),
        (&json!("viewer"), &json!(null), &json!("Ann"))
    );
    assert_eq!(after["info"]["roles"], json!(["viewer"]));
    assert_eq!(after.get("password"), None);
    api.jwt("ann", &password).await;
    assert_ne!(before.header("etag"), answer.header("etag"));

    let stale = [("x-api-token", API_TOKEN), ("if-match", before.header("etag").unwrap())];
    assert_eq!(api.as_who(&stale, Method::PATCH, path, &json!({"role": "admin"})).await.status, 412);
    for (path, body, status, says) in [
        (path, json!({"role": "root"}), 422, "role"),
        (path, json!({"rolle": "admin"}), 422, "rolle"),
        (path, json!({"password": "short"}), 422, "password"),
        (path, json!({"role": null}), 422, "role"),
        ("/admin/v2/users/nobody", json!({"role": "admin"}), 404, "no such user"),
        ("/admin/v2/users/admin", json!({"role": "admin"}), 409, "configuration"),
    ] {
        let answer = patch(path, body).await;
        assert_eq!(answer.status, status, "{}", answer.body);
        assert!(answer.body.contains(says), "{}", answer.body);
    }
    assert_eq!(patch(path, json!({"password": "another password"})).await.status, 200);
    api.jwt("ann", "another password").await;
}

/// Every write there is, whom it is for, and what it concerns.
const WRITES: [(&str, &str, &str, Need); 37] = [
    ("POST", "/admin/routes/save", r#"{"prefix":"/s","service_name":"shop"}"#, Need::Shop),
    ("POST", "/admin/routes/save", r#"{"prefix":"/o","service_name":"other"}"#, Need::Editor),
    ("POST", "/admin/routes/save", r#"{"prefix":"/other","key":"x","service_name":"shop"}"#, Need::Editor),
    ("POST", "/admin/routes/save", r#"{"prefix":"/mine","key":"other","service_name":"shop"}"#, Need::Editor),
    ("POST", "/admin/routes/save", r#"{"prefix":"/other","key":"other"}"#, Need::Editor),
    ("POST", "/admin/routes/save", r#"{"prefix":"/none"}"#, Need::Editor),
    ("POST", "/admin/routes/remove", r#"{"key":"other"}"#, Need::Editor),
    ("POST", "/admin/services/save", r#"{"service_name":"shop","upstream":"10.0.0.1:1","key":"x"}"#, Need::Shop),
    ("POST", "/admin/services/save", r#"{"service_name":"other","upstream":"10.0.0.1:1","key":"x"}"#, Need::Editor),
    (
        "POST",
        "/admin/services/save",
        r#"{"service_name":"shop","upstream":"10.0.0.1:1","key":"other.1"}"#,
        Need::Editor,
    ),
    ("POST", "/admin/services/remove", r#"{"key":"other.1"}"#, Need::Editor),
    ("PUT", "/admin/v2/services/shop", "{}", Need::Shop),
    ("PUT", "/admin/v2/services/other", "{}", Need::Editor),
    ("PUT", "/admin/v2/global-plugins/tracing", "{}", Need::Editor),
    ("POST", "/admin/v2/routes", r#"{"prefix":"/s2","service_name":"shop"}"#, Need::Shop),
    ("POST", "/admin/v2/routes", r#"{"prefix":"/o2","service_name":"other"}"#, Need::Editor),
    ("PATCH", "/admin/v2/routes/other", r#"{"service_name":"shop"}"#, Need::Editor),
    ("PATCH", "/admin/v2/routes/other", r#"{"service_name":"other"}"#, Need::Editor),
    ("POST", "/admin/v2/nodes", r#"{"service_name":"other","upstream":"10.0.0.7:1"}"#, Need::Editor),
    ("PUT", "/admin/v2/node-overlays/other.1", r#"{"weight":2}"#, Need::Editor),
    ("POST", "/admin/v2/apply", r#"{"routes":{"mine":{"prefix":"/m","service_name":"shop"}}}"#, Need::Shop),
    ("POST", "/admin/v2/apply", r#"{"services":{"other":{"max_tries":2}}}"#, Need::Editor),
    ("POST", "/admin/v2/apply", r#"{"global-plugins":{"tracing":{"x":1}}}"#, Need::Editor),
    ("PUT", "/admin/v2/registrations/shop/10.0.0.9:1", "", Need::Shop),
    ("PUT", "/admin/v2/registrations/other/10.0.0.9:1", "", Need::Editor),
    ("PUT", "/admin/v2/log-level", r#"{"level":"debug"}"#, Need::Admin),
    ("PUT", "/admin/v2/users/new", r#"{"role":"viewer"}"#, Need::Admin),
    ("POST", "/admin/v2/tokens", r#"{"name":"new","role":"viewer"}"#, Need::Admin),
    ("DELETE", "/admin/v2/services/shop", "", Need::Shop),
    ("DELETE", "/admin/v2/services/other", "", Need::Editor),
    ("DELETE", "/admin/v2/global-plugins/tracing", "", Need::Editor),
    ("DELETE", "/admin/v2/registrations/other/10.0.0.9:1", "", Need::Editor),
    ("PATCH", "/admin/v2/users/new", r#"{"display_name":"New"}"#, Need::Admin),
    ("DELETE", "/admin/v2/users/new", "", Need::Admin),
    ("DELETE", "/admin/v2/users/new/totp", "", Need::Admin),
    ("DELETE", "/admin/v2/users/u/sessions", "", Need::Admin),
    ("DELETE", "/admin/v2/tokens/0123456789abcdef", "", Need::Admin),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Need {
    /// Rights for the service `shop`.
    Shop,
    Editor,
    Admin,
}

#[tokio::test]
async fn each_role_may_write_what_it_is_for_and_nothing_else() {
    let viewer = (json!({"role": "viewer"}), None);
    let shop_viewer = (json!({"role": "viewer", "services": ["*"]}), None);
    let shop = (json!({"role": "editor", "services": ["sho*"]}), Some(Need::Shop));
    let shop_admin = (json!({"role": "admin", "services": ["shop"]}), Some(Need::Shop));
    let editor = (json!({"role": "editor"}), Some(Need::Editor));
    let admin = (json!({"role": "admin"}), Some(Need::Admin));
    for (role, may) in [viewer, shop_viewer, shop, shop_admin, editor, admin] {
        let api = Api::new();
        api.store.put(&format!("{P}routes/other"), r#"{"prefix":"/other","service_name":"other"}"#);
        api.store.put(&format!("{P}discovery/other.1"), r#"{"service_name":"other","upstream":"10.0.0.2:1"}"#);
        let password = api.user("u", &role).await;
        let jwt = api.jwt("u", &password).await;
        let mut token = role.clone();
        token["name"] = "t".into();
        let (_, token) = api.token(&token).await;
        eventually("the login is recorded", async || api.audited().await.len() == 3).await;
        for (method, path, body, need) in WRITES {
            let before = api.store.revision();
            for who in [("x-token", jwt.as_str()), ("x-api-token", token.as_str())] {
                let answer = api.as_who(&[who], method.parse().unwrap(), path, &raw(body)).await;
                let is_allowed = may.is_some_and(|may| need <= may);
                assert_eq!(answer.status != 403, is_allowed, "{role} {method} {path} {body}: {}", answer.body);
                assert!(
                    answer.status != 401 && (answer.status != 404 || matches!(method, "DELETE" | "PATCH")),
                    "{method} {path}"
                );
                assert!(is_allowed || (api.store.revision() == before && *api.level.lock().unwrap() == "info"));
            }
        }
        // All may look, but for what concerns who may what.
        for path in ["/admin/routes/list", "/admin/services/list", "/admin/v2/services", "/admin/v2/status"] {
            assert_eq!(api.get_as(path, &jwt).await.status, 200, "{role} {path}");
        }
        let registered = api.call(Method::PUT, "/admin/v2/registrations/seen/10.0.0.8:1", "").await;
        assert_eq!(registered.status, 201);
        for query in ["", "?service=seen"] {
            let listed = api.get_as(&format!("/admin/v2/registrations{query}"), &jwt).await;
            assert!(listed.body.contains("10.0.0.8:1"), "{role} {query}: {}", listed.body);
        }
        for path in ["/admin/v2/users", "/admin/v2/users/u", "/admin/v2/tokens", "/admin/v2/audit"] {
            let status = if may == Some(Need::Admin) { 200 } else { 403 };
            assert_eq!(api.get_as(path, &jwt).await.status, status, "{role} {path}");
        }
    }
}

fn raw(body: &str) -> Value {
    serde_json::from_str(body).unwrap_or_default()
}

#[tokio::test]
async fn accounts_of_older_versions_and_of_the_configuration_have_the_roles_they_say() {
    let store = MemoryStore::new();
    let mut config = config();
    let info = |role: &str| json!({"roles": [role]}).as_object().unwrap().clone();
    for role in ["editor", "guest"] {
        config.account.insert(role.into(), AccountConfig { password: PASSWORD.into(), info: info(role) });
    }
    store.put(&format!("{P}gw/users/broken"), r#"{"password_hash": "x", "role": "root"}"#);
    let api = Api::on(Arc::clone(&store), config, PeerSource::Socket);
    for (name, role) in [("admin", "admin"), ("editor", "editor"), ("guest", "viewer")] {
        let token = api.jwt(name, PASSWORD).await;
        assert_eq!(api.get_as("/admin/v2/me", &token).await.json()["role"], role);
    }
    assert_eq!(api.try_login("broken", PASSWORD, LOCAL).await.status, 500, "one that cannot be read admits no one");
}

#[tokio::test]
async fn a_token_is_shown_once_works_on_both_surfaces_and_ends_everywhere() {
    let one = Api::new();
    let two = Api::on(Arc::clone(&one.store), config(), PeerSource::Socket);
    let made = one.post("/admin/v2/tokens", &json!({"name": "ci", "role": "editor", "expires_in": "30d"})).await;
    let token = made.json()["token"].as_str().unwrap().to_owned();
    let id = made.json()["id"].as_str().unwrap().to_owned();
    let place = format!("/admin/v2/tokens/{id}");
    assert_eq!((made.status.as_u16(), made.header("location")), (201, Some(&*place)));
    assert!(token.starts_with(&format!("wsgw_{id}_")) && token.len() == 5 + 16 + 1 + 64);
    let shown = one.call(Method::GET, &place, "").await.json();
    assert_eq!((&shown["last_four"], &shown["creator"]), (&json!(&token[token.len() - 4..]), &json!("an API token")));
    let listed = one.call(Method::GET, "/admin/v2/tokens", "").await;
    assert_eq!(listed.json()["items"][&id], shown);
    let secret = &token[22..];
    assert!(!listed.body.contains(secret) && !format!("{:?}", one.store.dump()).contains(secret));

    let bearer = format!("Bearer {token}");
    for api in [&one, &two] {
        for who in [("x-api-token", token.as_str()), ("authorization", bearer.as_str())] {
            for path in ["/admin/routes/list", "/admin/v2/services"] {
                eventually("the token is known", async || {
                    api.as_who(&[who], Method::GET, path, &Value::Null).await.status == 200
                })
                .await;
            }
        }
    }
    let me = two.as_who(&[("authorization", &bearer)], Method::GET, "/admin/v2/me", &Value::Null).await.json();
    assert_eq!((&me["name"], &me["credential"]), (&json!("the API token \"ci\""), &json!("API token")));

    let mut other = token.clone();
    other.replace_range(80.., if token.ends_with("000000") { "111111" } else { "000000" });
    for wrong in [other.as_str(), &token[..token.len() - 1], &format!("{token}0"), &format!("wsgw_{id}_"), ""] {
        for (name, value) in [("x-api-token", wrong.to_owned()), ("authorization", format!("Bearer {wrong}"))] {
            let answer = one.as_who(&[(name, &value)], Method::GET, "/admin/v2/services", &Value::Null).await;
            assert_eq!(answer.status, 401, "{name}: {wrong}");
        }
    }
    assert_eq!(one.call(Method::DELETE, &place, "").await.status, 204);
    let known =
        async |api: &Api| api.as_who(&[("x-api-token", &token)], Method::GET, "/admin/v2/services", &Value::Null).await;
    assert_eq!(known(&one).await.status, 401);
    eventually("the other gateway refuses it", async || known(&two).await.status == 401).await;
    assert_eq!(one.call(Method::DELETE, &place, "").await.status, 404);
}

#[tokio::test]
async fn a_token_ends_at_its_time() {
    let api = Api::new();
    let (id, token) = api.token(&json!({"name": "short", "role": "viewer", "expires_in": "300ms"})).await;
    let call = async || api.as_who(&[("x-api-token", &token)], Method::GET, "/admin/v2/me", &Value::Null).await;
    assert_eq!(call().await.status, 200);
    eventually("it has ended", async || call().await.status == 401).await;
    let shown = api.call(Method::GET, &format!("/admin/v2/tokens/{id}"), "").await.json();
    assert_eq!(shown["has_expired"], true);
}

#[tokio::test]
async fn a_token_for_registrations_made_by_the_api_does_nothing_else() {
    let api = Api::new();
    let (_, token) = api.token(&json!({"name": "ci", "scope": "register", "services": ["shop"]})).await;
    let put = async |path: &str| api.as_who(&[("x-api-token", &token)], Method::PUT, path, &json!({})).await.status;
    assert_eq!(put("/admin/v2/registrations/shop/10.0.0.1:1").await, 201);
    assert_eq!(put("/admin/v2/registrations/other/10.0.0.1:1").await, 403);
    assert_eq!(put("/admin/v2/services/shop").await, 403);
    let me = api.as_who(&[("x-api-token", &token)], Method::GET, "/admin/v2/me", &Value::Null).await;
    assert_eq!(me.status, 403);
}

#[tokio::test]
async fn what_is_wrong_with_a_token_is_named() {
    let api = Api::new();
    for (body, detail) in [
        (json!({"role": "viewer"}), "missing field `name`"),
        (json!({"name": "", "role": "viewer"}), "name: must have 1 to 128"),
        (json!({"name": "a"}), "role: is missing"),
        (json!({"name": "a", "scope": "register"}), "services: name the services"),
        (json!({"name": "a", "scope": "register", "role": "admin", "services": ["a"]}), "role: a token for"),
        (json!({"name": "a", "scope": "all", "role": "admin"}), "scope: unknown variant"),
        (json!({"name": "a", "role": "viewer", "expires_in": "0s"}), "expires_in: must be later"),
        (json!({"name": "a", "role": "viewer", "expires_in": "4000d"}), "expires_in: must be later"),
        (json!({"name": "a", "role": "viewer", "expires_at": "2020-01-01T00:00:00Z"}), "expires_at: must be later"),
        (json!({"name": "a", "role": "viewer", "expires_at": "soon"}), "expires_at: is not a time"),
        (json!({"name": "a", "role": "viewer", "expires_at": "2030-01-01T00:00:00Z", "expires_in": "1d"}), "either"),
    ] {
        let answer = api.post("/admin/v2/tokens", &body).await;
        assert_eq!(answer.status, 422, "{body}: {}", answer.body);
        assert!(answer.json()["detail"].as_str().unwrap().contains(detail), "{body}: {}", answer.body);
    }
}

#[tokio::test]
async fn the_record_keeps_the_newest_thousand() {
    let store = MemoryStore::new();
    let entry = json!({"time": 1.0, "actor": "a", "credential": "password", "action": "old"}).to_string();
    for i in 0..1_100u64 {
        store.put(&format!("{P}gw/audit/{:014}-0", 4_000_000_000_000 + i), &entry);
    }
    store.put(&format!("{P}gw/audit/{:014}-0", 1), &entry);
    let api = Api::on(Arc::clone(&store), config(), PeerSource::Socket);
    api.login().await;
    eventually("it is pruned", async || store.keys(&format!("{P}gw/audit/")).len() == 1_000).await;
    assert!(!store.keys(&format!("{P}gw/audit/")).contains(&format!("{:014}-0", 1)));

    let page = api.call(Method::GET, "/admin/v2/audit?limit=2", "").await.json();
    let next = page["next"].as_str().unwrap();
    assert_eq!((page["items"].as_array().unwrap().len(), page["items"][1]["id"].as_str().unwrap()), (2, next));
    let rest = api.call(Method::GET, &format!("/admin/v2/audit?limit=1000&before={next}"), "").await.json();
    assert_eq!((rest["items"].as_array().unwrap().len(), &rest["next"]), (998, &Value::Null));
    assert_eq!(api.call(Method::GET, "/admin/v2/audit?limit=x", "").await.status, 400);
}

#[tokio::test(start_paused = true)]
async fn failed_logins_are_recorded_together() {
    let api = Api::new();
    for _ in 0..40 {
        api.try_login("admin", "wrong", LOCAL).await;
        api.try_login("canary-password-typed-as-a-name", "wrong", "::1").await;
    }
    assert_eq!(api.store.keys(P), Vec::<String>::new(), "nothing is written for an attempt");
    tokio::time::sleep(Duration::from_secs(61)).await;
    eventually("they are recorded", async || api.audited().await.len() == 2).await;
    let mut entries = api.call(Method::GET, "/admin/v2/audit", "").await.json()["items"].as_array().unwrap().clone();
    entries.sort_by_key(|entry| entry["target"].to_string());
    let text = |entry: &Value| ["action", "target", "address", "detail"].map(|f| entry[f].as_str().unwrap().to_owned());
    assert_eq!(
        entries.iter().map(text).collect::<Vec<_>>(),
        [
            ["login.locked_out", "", "::", "5 wrong, 35 refused while locked out"],
            ["login.locked_out", "admin", LOCAL, "5 wrong, 35 refused while locked out"],
        ]
    );
    assert!(!format!("{:?}", api.store.dump()).contains("canary"));
}

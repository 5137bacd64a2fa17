//! Sessions of the panel: cookies, what forges them, and authenticators.

use std::time::Duration;

use super::*;
use crate::store::Op;

const PANEL: &str = "http://127.0.0.1:12000";

/// A login with a cookie.
struct Session {
    cookie: String,
    csrf: String,
}

impl Session {
    async fn begin(api: &Api, body: &Value) -> Self {
        let answer = log_in(api, body, LOCAL).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        Self::of(&answer)
    }

    fn of(answer: &Answer) -> Self {
        let cookie = answer.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
        Self { cookie, csrf: answer.json()["csrf_token"].as_str().unwrap().to_owned() }
    }

    async fn get(&self, api: &Api, path: &str) -> Answer {
        api.as_who(&[("cookie", &self.cookie)], Method::GET, path, &Value::Null).await
    }

    async fn is_live(&self, api: &Api) -> bool {
        self.get(api, "/admin/v2/me").await.status == 200
    }

    async fn call(&self, api: &Api, method: Method, path: &str, body: &Value) -> Answer {
        let who = [("cookie", &*self.cookie), ("x-csrf-token", &*self.csrf), ("origin", PANEL)];
        api.as_who(&who, method, path, body).await
    }
}

async fn log_in(api: &Api, body: &Value, from: &str) -> Answer {
    let mut request = request(Method::POST, "/admin/v2/login", &[("origin", PANEL)], &body.to_string());
    request.extensions_mut().insert(Connection(Some(from.parse().unwrap())));
    api.send(request).await
}

fn admin() -> Value {
    json!({"username": "admin", "password": PASSWORD})
}

#[tokio::test]
async fn a_session_begins_is_used_and_ends_on_every_gateway() {
    let one = Api::new();
    let two = Api::on(Arc::clone(&one.store), config(), PeerSource::Socket);
    let answer = log_in(&one, &admin(), LOCAL).await;
    let body = answer.json();
    assert_eq!((&body["user"], &body["role"]), (&json!("admin"), &json!("admin")), "{body}");
    let cookie = answer.header("set-cookie").unwrap();
    assert!(cookie.ends_with("; Path=/admin; Max-Age=43200; HttpOnly; SameSite=Strict"), "{cookie}");
    let session = Session::of(&answer);
    let me = session.get(&one, "/admin/v2/me").await.json();
    assert_eq!((&me["credential"], &me["csrf_token"]), (&json!("session"), &json!(session.csrf)));
    eventually("the other gateway knows it", async || session.is_live(&two).await).await;
    let put = session.call(&two, Method::PUT, "/admin/v2/services/a", &json!({})).await;
    assert_eq!(put.status, 201, "{}", put.body);
    let changes = session.get(&two, "/admin/v2/history").await.json();
    assert_eq!(changes["items"][0]["author"]["origin"], "panel");
    assert_eq!(session.get(&two, "/admin/routes/list").await.status, 200, "the old paths take it too");

    // The store has neither the cookie nor what is made of it, and forgets it by itself.
    let id = session.cookie.split_once('=').unwrap().1;
    let dump = format!("{:?}", one.store.dump());
    assert!(!dump.contains(id) && !dump.contains(&session.csrf));
    let stored = one.store.dump().into_iter().find(|kv| kv.key.contains("gw/sessions/")).unwrap();
    let [(lease, ttl)] = one.store.leases()[..] else { panic!("one lease") };
    assert_eq!((stored.lease, ttl), (Some(lease), Duration::from_secs(12 * 3600)));

    let other = Session::begin(&one, &admin()).await;
    let out = session.call(&one, Method::POST, "/admin/v2/logout", &Value::Null).await;
    assert_eq!(out.status, 204);
    assert!(out.header("set-cookie").unwrap().starts_with("ws_gateway_session=; Path=/admin; Max-Age=0"));
    assert!(!session.is_live(&one).await);
    eventually("the other gateway refuses it", async || !session.is_live(&two).await).await;
    assert!(other.is_live(&one).await, "another session of the user stays");
    let actions: Vec<_> = one.audited().await.into_iter().map(|(who, what, _)| (who, what)).collect();
    let done = |what: &str| ("admin".to_owned(), what.to_owned());
    assert_eq!(actions, [done("logout"), done("login"), done("login")]);
}

#[tokio::test]
async fn forged_cookies_are_refused() {
    let api = Api::new();
    let session = Session::begin(&api, &admin()).await;
    let (name, id) = session.cookie.split_once('=').unwrap();
    let key = api.store.keys(&format!("{P}gw/sessions/")).pop().unwrap();
    let mut flipped = id.to_owned();
    flipped.replace_range(..1, if id.starts_with('0') { "1" } else { "0" });
    for forged in [
        flipped.as_str(),
        // What the store has is no cookie.
        &key,
        &id[1..],
        &format!("{id}0"),
        &id.to_uppercase(),
        &"0".repeat(64),
        "",
        "admin",
    ] {
        if forged == id {
            continue;
        }
        let session = Session { cookie: format!("{name}={forged}"), csrf: String::new() };
        assert!(!session.is_live(&api).await, "{forged}");
    }
    // One that was tossed in beside it does not push it out.
    let two = Session { cookie: format!("{name}={flipped}; {name}={id}"), csrf: String::new() };
    assert!(two.is_live(&api).await);
}

#[tokio::test]
async fn another_sites_page_cannot_use_the_cookie() {
    let api = Api::new();
    let session = Session::begin(&api, &admin()).await;
    let other = Session::begin(&api, &admin()).await;
    let cookie = ("cookie", session.cookie.as_str());
    let shown = ("x-csrf-token", session.csrf.as_str());
    let before = api.store.revision();
    let attacks: [&[(&str, &str)]; 9] = [
        &[cookie],
        &[cookie, ("origin", PANEL)],
        &[cookie, ("x-csrf-token", "")],
        &[cookie, ("x-csrf-token", &other.csrf)],
        &[cookie, shown, ("origin", "https://evil.com")],
        &[cookie, shown, ("origin", "http://127.0.0.1:8080")],
        &[cookie, shown, ("origin", "null")],
        &[cookie, shown, ("sec-fetch-site", "cross-site")],
        &[cookie, shown, ("sec-fetch-site", "same-site")],
    ];
    for attack in attacks {
        for (method, path, body) in [
            ("PUT", "/admin/v2/services/a", json!({})),
            ("DELETE", "/admin/v2/users/admin", Value::Null),
            ("POST", "/admin/v2/tokens", json!({"name": "a", "role": "admin"})),
            ("POST", "/admin/v2/logout", Value::Null),
            ("POST", "/admin/routes/save", json!({"prefix": "/a", "service_name": "a"})),
            ("GET", "/admin/logout", Value::Null),
        ] {
            let answer = api.as_who(attack, method.parse().unwrap(), path, &body).await;
            assert_eq!(answer.status, 403, "{attack:?} {method} {path}: {}", answer.body);
        }
    }
    assert_eq!(api.store.revision(), before);
    assert!(session.is_live(&api).await);
    // Nor log its visitor in as someone else.
    for evil in [("origin", "https://evil.com"), ("sec-fetch-site", "cross-site")] {
        let answer = api.as_who(&[evil], Method::POST, "/admin/v2/login", &admin()).await;
        assert_eq!((answer.status.as_u16(), answer.header("set-cookie")), (403, None));
    }
    // Tokens are not sent by browsers on their own: they need nothing beside them.
    let token = api.login().await;
    let put = async |who| api.as_who(&[who], Method::PUT, "/admin/v2/services/a", &json!({})).await.status;
    assert_eq!(
        (put(("x-token", &*token)).await, put(("x-api-token", API_TOKEN)).await),
        (201.try_into().unwrap(), 200.try_into().unwrap())
    );
}

#[tokio::test]
async fn behind_tls_the_cookie_goes_over_tls_only() {
    let api = Api::new();
    let body = admin().to_string();
    for (headers, secure) in [
        (&[("origin", "https://127.0.0.1:12000")][..], true),
        (&[("x-forwarded-proto", "https")], true),
        (&[("origin", PANEL)], false),
        (&[], false),
    ] {
        let answer = api.send(request(Method::POST, "/admin/v2/login", headers, &body)).await;
        assert_eq!(answer.header("set-cookie").unwrap().ends_with("; Secure"), secure, "{headers:?}");
    }
}

#[tokio::test]
async fn known_sessions_go_on_while_the_store_is_away_and_new_ones_do_not_begin() {
    let api = Api::new();
    let session = Session::begin(&api, &admin()).await;
    api.store.set_down(true);
    assert!(session.is_live(&api).await);
    assert_eq!(log_in(&api, &admin(), LOCAL).await.status, 503);
    assert_eq!(session.call(&api, Method::POST, "/admin/v2/logout", &Value::Null).await.status, 503);
    assert!(!session.is_live(&api).await, "here it has ended");
}

#[tokio::test]
async fn a_session_ends_at_its_time() {
    let mut config = config();
    config.session_lifetime = Duration::from_millis(300);
    let api = Api::on(MemoryStore::new(), config, PeerSource::Socket);
    let session = Session::begin(&api, &admin()).await;
    assert!(session.is_live(&api).await);
    // The store's lease stays, in this test: the time in the session itself counts.
    eventually("it has ended", async || !session.is_live(&api).await).await;
}

#[tokio::test]
async fn a_deleted_users_logins_end_and_do_not_come_back_with_the_name() {
    let one = Api::new();
    let two = Api::on(Arc::clone(&one.store), config(), PeerSource::Socket);
    let wanted = json!({"role": "editor", "password": "ann's password"});
    one.user("ann", &wanted).await;
    let session = Session::begin(&one, &json!({"username": "ann", "password": "ann's password"})).await;
    let token = one.jwt("ann", "ann's password").await;
    let known = async |api: &Api| session.is_live(api).await || api.get_as("/admin/v2/me", &token).await.status == 200;
    eventually("the other gateway knows them", async || known(&two).await).await;
    assert_eq!(one.call(Method::DELETE, "/admin/v2/users/ann", "").await.status, 204);
    assert!(!known(&one).await);
    eventually("they have ended there too", async || !known(&two).await).await;
    one.user("ann", &wanted).await;
    assert!(!known(&one).await, "another user of the name has logins of its own");
}

#[tokio::test]
async fn a_new_password_ends_the_users_other_logins() {
    let api = Api::new();
    api.user("ann", &json!({"role": "editor", "password": "the old password"})).await;
    let ann = json!({"username": "ann", "password": "the old password"});
    let (own, other) = (Session::begin(&api, &ann).await, Session::begin(&api, &ann).await);
    let token = api.jwt("ann", "the old password").await;
    let change = async |old: &str, new: &str| {
        let body = json!({"old_password": old, "new_password": new});
        own.call(&api, Method::PUT, "/admin/v2/me/password", &body).await
    };
    assert_eq!(change("wrong", "the new password").await.status, 403);
    assert_eq!(change("the old password", "short").await.status, 422);
    let changed = change("the old password", "the new password").await;
    assert_eq!(changed.status, 200, "{}", changed.body);
    let renewed = Session::of(&changed);
    assert!(renewed.is_live(&api).await && renewed.cookie != own.cookie);
    assert!(!own.is_live(&api).await && !other.is_live(&api).await);
    assert_eq!(api.get_as("/admin/v2/me", &token).await.status, 401);
    assert_eq!(log_in(&api, &ann, LOCAL).await.status, 401);
    // A login of the old API changes it too, and gets another token.
    let token = api.jwt("ann", "the new password").await;
    let body = json!({"old_password": "the new password", "new_password": "the newest password"});
    let changed = api.as_who(&[("x-token", &token)], Method::PUT, "/admin/v2/me/password", &body).await;
    let renewed = changed.json()["token"].as_str().unwrap().to_owned();
    assert_eq!(api.get_as("/admin/v2/me", &renewed).await.status, 200);
    assert_eq!(api.get_as("/admin/v2/me", &token).await.status, 401);
    // One of the configuration is changed there, and an API token has none.
    let configured = Session::begin(&api, &admin()).await;
    let body = json!({"old_password": PASSWORD, "new_password": "the new password"});
    assert_eq!(configured.call(&api, Method::PUT, "/admin/v2/me/password", &body).await.status, 409);
    assert_eq!(api.call(Method::PUT, "/admin/v2/me/password", &body.to_string()).await.status, 409);
}

#[tokio::test]
async fn an_administrator_ends_the_sessions_of_a_user_whoever_says_who_that_is() {
    let mut config = config();
    config.oidc = serde_json::from_value(json!({
        "issuer": "https://i", "client_id": "c", "redirect_url": "https://g/admin/v2/oidc/callback",
    }))
    .unwrap();
    let api = Api::on(MemoryStore::new(), config, PeerSource::Socket);
    let own = Session::begin(&api, &admin()).await;
    let foreign = Session { cookie: format!("ws_gateway_session={}", "a".repeat(64)), csrf: String::new() };
    let digest = crate::admin::auth::digest(&"a".repeat(64));
    let stored = json!({"user": "oidc:ann@x", "created": 1.0, "expires": 4e9, "foreign": {"role": "editor"}});
    api.store.put(&format!("{P}gw/sessions/{digest}"), &stored.to_string());
    eventually("it is known", async || foreign.is_live(&api).await).await;
    // Without the provider in the configuration no one says so.
    let without = Api::on(Arc::clone(&api.store), super::config(), PeerSource::Socket);
    assert!(!foreign.is_live(&without).await && own.is_live(&without).await);
    let end = async |name: &str| api.call(Method::DELETE, &format!("/admin/v2/users/{name}/sessions"), "").await.status;
    assert_eq!(end("oidc:ann@x").await, 204);
    assert!(!foreign.is_live(&api).await && own.is_live(&api).await);
    assert_eq!(end("oidc:ann@x").await, 404);
    assert_eq!(end("admin").await, 204);
    assert!(!own.is_live(&api).await);
}

#[tokio::test]
async fn a_user_has_so_many_sessions_and_the_oldest_goes() {
    let api = Api::new();
    let first = Session::begin(&api, &admin()).await;
    let second = Session::begin(&api, &admin()).await;
    for _ in 0..31 {
        Session::begin(&api, &admin()).await;
    }
    assert_eq!(api.store.keys(&format!("{P}gw/sessions/")).len(), 32);
    assert!(!first.is_live(&api).await && second.is_live(&api).await);
}

#[tokio::test(start_paused = true)]
async fn guessing_is_locked_out_for_the_address_and_not_for_the_owner() {
    let api = Api::new();
    let wrong = json!({"username": "admin", "password": "wrong"});
    for _ in 0..5 {
        let answer = log_in(&api, &wrong, LOCAL).await;
        assert_eq!((answer.status.as_u16(), answer.header("set-cookie")), (401, None));
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    }
    assert_eq!(log_in(&api, &admin(), LOCAL).await.status, 401, "closed, even to the right password");
    assert_eq!(api.try_login("admin", PASSWORD, LOCAL).await.status, 500, "by the old path too");
    assert_eq!(log_in(&api, &admin(), "::1").await.status, 200, "open from elsewhere");
    for body in [json!({"username": "nobody", "password": "x"}), json!({"username": "a".repeat(300), "password": "x"})]
    {
        assert_eq!(
            log_in(&api, &body, "::1").await.json()["detail"],
            log_in(&api, &wrong, "::1").await.json()["detail"]
        );
    }
    for body in [json!({}), json!({"username": 1, "password": "x"}), json!([])] {
        assert_eq!(log_in(&api, &body, "::1").await.status, 422);
    }
}

/// A code of an app, some steps from now.
fn code(secret: &str, steps: i64) -> String {
    let totp = totp_rs::Builder::new().with_secret(totp_rs::Secret::try_from_base32(secret).unwrap()).build().unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    totp.generate(now.checked_add_signed(steps * 30).unwrap()).to_string()
}

#[tokio::test]
async fn with_an_authenticator_a_login_needs_a_code_that_was_not_used() {
    let api = Api::new();
    api.user("ann", &json!({"role": "viewer", "password": "ann's password"})).await;
    let ann = json!({"username": "ann", "password": "ann's password"});
    let session = Session::begin(&api, &ann).await;
    let me = "/admin/v2/me/totp";
    let password = json!({"password": "ann's password"});
    let wrong = session.call(&api, Method::POST, me, &json!({"password": "x"})).await;
    assert_eq!(wrong.status, 403, "who finds the panel open cannot lock its user out");
    let begun = session.call(&api, Method::POST, me, &password).await.json();
    let secret = begun["secret"].as_str().unwrap().to_owned();
    assert!(begun["url"].as_str().unwrap().starts_with("otpauth://totp/ws-cloud-gateway:ann?secret="), "{begun}");
    Session::begin(&api, &ann).await;
    let finish = async |code: &str| session.call(&api, Method::PUT, me, &json!({"code": code})).await.status.as_u16();
    assert_eq!(finish("000").await, 422);
    assert_eq!(finish(&code(&secret, -1)).await, 204);
    assert_eq!(session.call(&api, Method::POST, me, &password).await.status, 409);
    let stored = api.store.json(&format!("{P}gw/totp/ann")).unwrap();
    assert_eq!(stored["secret"], format!("sealed:v1:test:gw/totp/ann:{secret}"), "sealed for its place");

    let with = async |code: &str| {
        let mut body = ann.clone();
        body["totp"] = code.into();
        log_in(&api, &body, "::1").await
    };
    let asked = log_in(&api, &ann, "::1").await;
    assert_eq!((asked.status.as_u16(), &asked.json()["field"]), (401, &json!("totp")));
    let used = code(&secret, -1);
    assert_eq!(with(&used).await.status, 401, "the code of the enrolment is used up");
    let fresh = code(&secret, 1);
    assert_eq!(with(&fresh).await.status, 200);
    assert_eq!(with(&fresh).await.status, 401, "a code is good once");
    assert_eq!(with(&code(&secret, 0)).await.status, 401, "nor is one from before it");
    assert_eq!(api.try_login("ann", "ann's password", LOCAL).await.status, 500, "the old login cannot ask for one");
    assert_eq!(session.get(&api, "/admin/v2/me").await.json()["totp"], true);

    // An administrator takes it away from who has lost the phone.
    assert_eq!(api.call(Method::DELETE, "/admin/v2/users/ann/totp", "").await.status, 204);
    Session::begin(&api, &ann).await;
    assert_eq!(api.call(Method::DELETE, "/admin/v2/users/ann/totp", "").await.status, 404);
    assert_eq!(session.call(&api, Method::DELETE, me, &password).await.status, 404);
}

#[tokio::test]
async fn an_authenticator_goes_with_the_password_and_not_without() {
    let api = Api::new();
    let enrol = async |session: &Session| {
        let body = json!({"password": PASSWORD});
        let begun = session.call(&api, Method::POST, "/admin/v2/me/totp", &body).await.json();
        let code = code(begun["secret"].as_str().unwrap(), 0);
        assert_eq!(session.call(&api, Method::PUT, "/admin/v2/me/totp", &json!({"code": code})).await.status, 204);
    };
    let session = Session::begin(&api, &admin()).await;
    enrol(&session).await;
    let end = async |password: &str| {
        session.call(&api, Method::DELETE, "/admin/v2/me/totp", &json!({"password": password})).await.status.as_u16()
    };
    assert_eq!((end("wrong").await, end(PASSWORD).await), (403, 204));
    enrol(&session).await;
    assert_eq!(log_in(&api, &admin(), LOCAL).await.status, 401);
    // `admin reset-password` takes it away too.
    let shared: crate::store::SharedStore = Arc::clone(&api.store) as _;
    let password = crate::admin::auth::reset_password(&shared, P, "admin").await.unwrap();
    eventually("the session has ended", async || !session.is_live(&api).await).await;
    Session::begin(&api, &json!({"username": "admin", "password": password})).await;
}

#[tokio::test]
async fn every_answer_tells_a_browser_to_be_strict() {
    let api = Api::new();
    for path in ["/dashboard/", "/dashboard/x", "/admin/v2/status", "/admin/routes/list", "/admin/v2/login", "/"] {
        let answer = api.call(Method::GET, path, "").await;
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'; base-uri 'none'") && !policy.contains("unsafe"));
        assert_eq!(answer.header("x-frame-options"), Some("DENY"), "{path}");
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert!(answer.header("cache-control").is_some());
    }
}

#[tokio::test]
async fn a_login_that_waits_while_its_password_is_changed_is_none() {
    let api = Api::new();
    let old = api.user("u", &json!({"role": "editor"})).await;
    let change = json!({"role": "editor", "password": "another password"}).to_string();
    let change = request(Method::PUT, "/admin/v2/users/u", &[("x-api-token", API_TOKEN), ("if-match", "*")], &change);
    // Those before it in the queue: the change is done when its turn comes.
    let guesses = (0..10).map(|i| {
        let api = &api;
        async move { log_in(api, &json!({"username": format!("x{i}"), "password": "guess"}), LOCAL).await }
    });
    let body = json!({"username": "u", "password": old});
    let (_, login, token, change) = tokio::join!(
        futures::future::join_all(guesses),
        log_in(&api, &body, LOCAL),
        api.try_login("u", &old, LOCAL),
        api.send(change),
    );
    assert_eq!(change.status, 200, "{}", change.body);
    if login.status == 200 {
        assert!(!Session::of(&login).is_live(&api).await);
    }
    if token.status == 200 {
        let token = token.json()["token"].as_str().unwrap().to_owned();
        assert_eq!(api.get_as("/admin/user/info", &token).await.status, 401);
    }
}

#[tokio::test]
async fn a_login_does_not_outlive_an_account_that_changes_before_it_is_stored() {
    let api = Api::new();
    let password = api.user("u", &json!({"role": "editor"})).await;
    let (key, body) = (format!("{P}gw/users/u"), json!({"username": "u", "password": password}));
    // By a gateway whose clock is behind: nothing but the key's version tells that it came later.
    let mut changed = api.store.json(&key).unwrap();
    changed["password_hash"] = "of another password".into();
    let mut op = Some(Op::put(&*key, changed.to_string()));
    api.store.interfere(move |content| content.write(op.take().into_iter().collect()));
    let answer = log_in(&api, &body, LOCAL).await;
    assert_ne!(answer.status, 200, "{}", answer.body);
    assert_eq!(api.store.keys(&format!("{P}gw/sessions/")), Vec::<String>::new());
    let answer = log_in(&api, &body, LOCAL).await;
    assert_eq!(answer.status, 401, "{}", answer.body);
}

#[tokio::test]
async fn a_right_password_in_a_crowd_is_refused_and_not_counted() {
    let api = Api::new();
    let guesses = (0..40).map(|i| {
        let api = &api;
        async move { log_in(api, &json!({"username": format!("x{i}"), "password": "guess"}), LOCAL).await }
    });
    let admin = admin();
    assert_eq!(log_in(&api, &admin, LOCAL).await.status, 200, "and accounts are known");
    let rights = (0..20).map(|_| log_in(&api, &admin, LOCAL));
    let (_, refused) = tokio::join!(futures::future::join_all(guesses), futures::future::join_all(rights));
    for answer in refused {
        assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (503, Some("1")), "{}", answer.body);
    }
    assert_eq!(log_in(&api, &admin, LOCAL).await.status, 200, "the account is open");
}

#[tokio::test]
async fn a_session_of_a_deleted_account_is_not_one_of_the_configuration_s() {
    let api = Api::new();
    api.user("boss", &json!({"role": "admin"})).await;
    let password = api.user("admin", &json!({"role": "viewer"})).await;
    let session = Session::begin(&api, &json!({"username": "admin", "password": password})).await;
    assert!(session.is_live(&api).await);
    assert_eq!(api.call(Method::DELETE, "/admin/v2/users/admin", "").await.status, 204);
    assert!(!session.is_live(&api).await, "the account of that name in the configuration is an administrator");
}

#[tokio::test]
async fn how_one_may_log_in_is_told_to_everyone() {
    let answer = Api::new().send(request(Method::GET, "/admin/v2/login", &[], "")).await;
    assert_eq!((answer.status.as_u16(), answer.json()), (200, json!({"oidc": false})));
}

//! Users, API tokens and sessions of the panel, on real stores and across gateways.

use serde_json::{Value, json};

use crate::support::gateway::TOKEN;
use crate::support::{Client, Etcd, Gateway, Request, Response, eventually};

/// A login with a cookie.
struct Session {
    cookie: String,
    csrf: String,
}

async fn log_in(gateway: &Gateway, body: &Value) -> Response {
    Request::new("POST", "/admin/v2/login").body(body.to_string()).send(gateway.admin).await
}

async fn begin(gateway: &Gateway, name: &str, password: &str) -> Session {
    let answer = log_in(gateway, &json!({"username": name, "password": password})).await.expect(200);
    let cookie = answer.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    Session { cookie, csrf: answer.json()["csrf_token"].as_str().unwrap().to_owned() }
}

impl Session {
    async fn call(&self, gateway: &Gateway, method: &str, path: &str, body: &str) -> Response {
        Request::new(method, path)
            .header("Cookie", &self.cookie)
            .header("X-CSRF-Token", &self.csrf)
            .body(body)
            .send(gateway.admin)
            .await
    }

    async fn is_live(&self, gateway: &Gateway) -> bool {
        Request::get("/admin/v2/me").header("Cookie", &self.cookie).send(gateway.admin).await.status == 200
    }
}

async fn call(gateway: &Gateway, method: &str, path: &str, body: &Value) -> Response {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    Request::new(method, path).header("X-Api-Token", TOKEN).body(body).send(gateway.admin).await
}

async fn make_user(gateway: &Gateway, name: &str, role: &str) -> String {
    let made = call(gateway, "PUT", &format!("/admin/v2/users/{name}"), &json!({"role": role})).await.expect(201);
    made.json()["password"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_logout_ends_the_session_on_every_gateway() {
    let etcd = Etcd::start().await;
    let (one, two) = tokio::join!(Gateway::on(&etcd), Gateway::on(&etcd));
    let password = make_user(&one, "ann", "editor").await;
    let (session, other) = (begin(&one, "ann", &password).await, begin(&one, "ann", &password).await);
    eventually("the other gateway knows the session", || async { session.is_live(&two).await }).await;
    session.call(&two, "PUT", "/admin/v2/services/a", "{}").await.expect(201);
    session.call(&one, "POST", "/admin/v2/logout", "").await.expect(204);
    assert!(!session.is_live(&one).await);
    eventually("the session has ended there too", || async { !session.is_live(&two).await }).await;
    assert!(other.is_live(&one).await);
    call(&one, "DELETE", "/admin/v2/users/ann", &Value::Null).await.expect(204);
    assert!(!other.is_live(&one).await);
    eventually("a deleted user is out there too", || async { !other.is_live(&two).await }).await;
}

#[tokio::test]
async fn a_deleted_token_ends_on_every_gateway() {
    let etcd = Etcd::start().await;
    let (one, two) = tokio::join!(Gateway::on(&etcd), Gateway::on(&etcd));
    let wanted = json!({"name": "ci", "role": "viewer", "expires_in": "1h"});
    let made = call(&one, "POST", "/admin/v2/tokens", &wanted).await.expect(201).json();
    let (id, token) = (made["id"].as_str().unwrap(), made["token"].as_str().unwrap());
    let bearer = async |gateway: &Gateway, path: &str| {
        Request::get(path).header("Authorization", &format!("Bearer {token}")).send(gateway.admin).await.status
    };
    for path in ["/admin/v2/status", "/admin/routes/list"] {
        eventually("both know the token", || async {
            bearer(&one, path).await == 200 && bearer(&two, path).await == 200
        })
        .await;
    }
    call(&one, "DELETE", &format!("/admin/v2/tokens/{id}"), &Value::Null).await.expect(204);
    eventually("neither takes it", || async {
        bearer(&one, "/admin/v2/status").await == 401 && bearer(&two, "/admin/routes/list").await == 401
    })
    .await;
}

#[tokio::test]
async fn sessions_outlive_a_restart_and_known_ones_an_outage() {
    let mut gateway = Gateway::start().await;
    let password = make_user(&gateway, "ann", "viewer").await;
    let session = begin(&gateway, "ann", &password).await;
    gateway.restart().await;
    assert!(session.is_live(&gateway).await, "on the embedded store");

    let mut etcd = Etcd::start().await;
    let gateway = Gateway::on(&etcd).await;
    let password = make_user(&gateway, "ann", "viewer").await;
    let session = begin(&gateway, "ann", &password).await;
    etcd.kill();
    assert!(session.is_live(&gateway).await, "while etcd is away");
}

#[tokio::test]
async fn another_sites_page_cannot_use_the_cookie_on_the_data_ports_either() {
    let gateway = Gateway::with(json!({"admin": {"on_gateway_ports": true}})).await;
    let password = make_user(&gateway, "ann", "editor").await;
    let session = begin(&gateway, "ann", &password).await;
    let own = format!("http://{}", gateway.http);
    let put = async |headers: &[(&str, &str)]| {
        let request = Request::new("PUT", "/admin/v2/services/a").header("Cookie", &session.cookie).body("{}");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(name, value));
        request.send(gateway.http).await.status
    };
    let csrf = ("X-CSRF-Token", session.csrf.as_str());
    assert_eq!(put(&[]).await, 403);
    assert_eq!(put(&[("Origin", &own)]).await, 403);
    assert_eq!(put(&[csrf, ("Origin", "https://evil.com")]).await, 403);
    assert_eq!(put(&[csrf, ("Sec-Fetch-Site", "cross-site")]).await, 403);
    assert_eq!(put(&[csrf, ("Origin", &own), ("Sec-Fetch-Site", "same-origin")]).await, 201);
}

#[tokio::test]
async fn who_guesses_is_locked_out_and_the_owner_elsewhere_is_not() {
    let gateway = Gateway::with(json!({"admin": {"allow": ["127.0.0.0/8"]}})).await;
    let password = make_user(&gateway, "ann", "viewer").await;
    let wrong = json!({"username": "ann", "password": "wrong"});
    for _ in 0..8 {
        log_in(&gateway, &wrong).await.expect(401);
    }
    let right = json!({"username": "ann", "password": password});
    log_in(&gateway, &right).await.expect(401);
    // The owner has another address of this machine.
    let mut owner = Client::connect_from("127.0.0.9".parse().unwrap(), gateway.admin).await;
    let request = Request::new("POST", "/admin/v2/login").header("Host", "localhost").body(right.to_string());
    owner.send(&request.to_bytes()).await.unwrap();
    assert_eq!(owner.response_to("POST").await.unwrap().status, 200);
    assert!(!gateway.output().contains(&password));
}

#[tokio::test]
async fn an_authenticator_works_with_the_key_of_secrets_and_a_reset_takes_it_away() {
    let etcd = Etcd::start().await;
    let plain = Gateway::on(&etcd).await;
    let password = make_user(&plain, "ann", "viewer").await;
    let session = begin(&plain, "ann", &password).await;
    let confirm = json!({"password": password}).to_string();
    let refused = session.call(&plain, "POST", "/admin/v2/me/totp", &confirm).await.expect(422);
    assert!(refused.text().contains("secrets.key"), "{}", refused.text());

    let key = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    let gateway = Gateway::on_with(&etcd, json!({"secrets": {"key": key}})).await;
    let begun = session.call(&gateway, "POST", "/admin/v2/me/totp", &confirm).await.expect(200).json();
    let secret = begun["secret"].as_str().unwrap();
    session
        .call(&gateway, "PUT", "/admin/v2/me/totp", &json!({"code": code(secret, -1)}).to_string())
        .await
        .expect(204);
    let stored = etcd.get("gw/totp/ann").await.unwrap();
    assert!(stored.contains("sealed:v1:") && !stored.contains(secret), "{stored}");

    let mut credentials = json!({"username": "ann", "password": password});
    log_in(&gateway, &credentials).await.expect(401);
    credentials["totp"] = code(secret, 1).into();
    log_in(&gateway, &credentials).await.expect(200);
    log_in(&gateway, &credentials).await.expect(401);

    let reset = tokio::process::Command::new(crate::support::gateway::binary())
        .args(["admin", "reset-password", "ann", "-c"])
        .arg(gateway.config())
        .output()
        .await
        .unwrap();
    assert!(reset.status.success(), "{}", String::from_utf8_lossy(&reset.stderr));
    assert_eq!(etcd.get("gw/totp/ann").await, None);
    eventually("the session has ended", || async { !session.is_live(&gateway).await }).await;
}

/// A code of an app, some steps from now.
fn code(secret: &str, steps: i64) -> String {
    let totp = totp_rs::Builder::new().with_secret(totp_rs::Secret::try_from_base32(secret).unwrap()).build().unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    totp.generate(now.checked_add_signed(steps * 30).unwrap()).to_string()
}

#[tokio::test]
async fn the_record_says_who_did_what_and_no_secret() {
    let gateway = Gateway::start().await;
    let password = make_user(&gateway, "ann", "admin").await;
    let session = begin(&gateway, "ann", &password).await;
    let made = session.call(&gateway, "POST", "/admin/v2/tokens", r#"{"name": "ci", "role": "viewer"}"#).await;
    let token = made.expect(201).json()["token"].as_str().unwrap().to_owned();
    let answer = session.call(&gateway, "GET", "/admin/v2/audit", "").await.expect(200);
    let items = answer.json()["items"].as_array().unwrap().clone();
    let done: Vec<_> = items.iter().map(|e| (e["actor"].as_str().unwrap(), e["action"].as_str().unwrap())).collect();
    assert_eq!(done, [("ann", "token.created"), ("ann", "login"), ("an API token", "user.created")]);
    assert_eq!((&items[0]["credential"], &items[0]["address"]), (&json!("session"), &json!("127.0.0.1")));
    let cookie = session.cookie.split_once('=').unwrap().1;
    for secret in [&password, &token[22..], cookie, &session.csrf] {
        assert!(!answer.text().contains(secret) && !gateway.output().contains(secret));
    }
}

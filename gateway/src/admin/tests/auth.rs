//! Who gets in, and who does not.

use std::sync::LazyLock;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Sha256, Sha512};

use super::openapi::{METHODS, guarded_paths};
use super::*;
use crate::admin::auth::{first_start, reset_password};
use crate::admin::legacy::{Action, PATHS};
use crate::store::{Op, SharedStore};

fn b64(text: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

fn hs256(secret: &str, signed: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(signed.as_bytes());
    b64(mac.finalize().into_bytes())
}

/// A token of any header and claims, rightly signed.
fn token(secret: &str, header: &str, claims: &str) -> String {
    let signed = format!("{}.{}", b64(header), b64(claims));
    format!("{signed}.{}", hs256(secret, &signed))
}

const HEADER: &str = r#"{"typ":"JWT","alg":"HS256"}"#;
/// In 2100.
const LIVE: &str = r#"{"exp":4102444800.25,"username":"admin"}"#;

#[tokio::test]
async fn tokens_like_those_of_the_old_gateway_are_accepted() {
    let api = Api::new();
    for claims in [LIVE, r#"{"exp":4102444800,"username":"admin"}"#, r#"{"username":"admin","exp":4.1e9,"x":[]}"#] {
        for header in [HEADER, r#"{"alg":"HS256"}"#, r#"{"alg":"HS256","typ":"JWT","kid":"1"}"#] {
            let answer = api.get_as("/admin/user/info", &token(SECRET, header, claims)).await;
            assert_eq!(
                (answer.status.as_u16(), &answer.json()["username"]),
                (200, &json!("admin")),
                "{header} {claims}"
            );
        }
    }
}

#[tokio::test]
async fn forged_tokens_are_refused() {
    let api = Api::new();
    let good = api.login().await;
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let (header, claims) = signed.split_once('.').unwrap();
    let with_alg = |alg: &str| token(SECRET, &format!(r#"{{"typ":"JWT","alg":{alg}}}"#), LIVE);
    let hs512 = {
        let signed = format!("{}.{}", b64(r#"{"typ":"JWT","alg":"HS512"}"#), b64(LIVE));
        let mut mac = Hmac::<Sha512>::new_from_slice(SECRET.as_bytes()).unwrap();
        mac.update(signed.as_bytes());
        format!("{signed}.{}", b64(mac.finalize().into_bytes()))
    };
    let mut flipped = URL_SAFE_NO_PAD.decode(signature).unwrap();
    flipped[0] ^= 1;
    let none = b64(r#"{"typ":"JWT","alg":"none"}"#);
    let garbage = b64(r#"{"username":"admin"}"#);
    let forged = [
        ("empty", String::new()),
        ("no JWT", "garbage".into()),
        ("dots", "..".into()),
        ("three parts of garbage", format!("{garbage}.{garbage}.{garbage}")),
        ("three parts, none signed", format!("{header}.{garbage}.")),
        ("alg none, no signature", format!("{none}.{}.", b64(LIVE))),
        ("alg none, two parts", format!("{none}.{}", b64(LIVE))),
        ("alg none, our signature", with_alg("\"none\"")),
        ("alg None", with_alg("\"None\"")),
        ("alg in lower case", with_alg("\"hs256\"")),
        ("alg null", with_alg("null")),
        ("alg a list", with_alg("[\"HS256\"]")),
        ("no alg", token(SECRET, r#"{"typ":"JWT"}"#, LIVE)),
        ("RS256 with an HMAC", with_alg("\"RS256\"")),
        ("ES256 with an HMAC", with_alg("\"ES256\"")),
        ("HS384 in name", with_alg("\"HS384\"")),
        ("HS512 for real", hs512),
        ("wrong secret", token("ws-cloud-gateway-1024", HEADER, LIVE)),
        ("empty secret", token("", HEADER, LIVE)),
        ("a longer secret", token(&format!("{SECRET}x"), HEADER, LIVE)),
        ("expired, float", token(SECRET, HEADER, r#"{"exp":1649174854.123,"username":"admin"}"#)),
        ("expired, int", token(SECRET, HEADER, r#"{"exp":1649174854,"username":"admin"}"#)),
        ("exp 0", token(SECRET, HEADER, r#"{"exp":0,"username":"admin"}"#)),
        ("exp negative", token(SECRET, HEADER, r#"{"exp":-4102444800,"username":"admin"}"#)),
        ("exp a text", token(SECRET, HEADER, r#"{"exp":"4102444800","username":"admin"}"#)),
        ("exp null", token(SECRET, HEADER, r#"{"exp":null,"username":"admin"}"#)),
        ("exp infinite", token(SECRET, HEADER, r#"{"exp":1e999,"username":"admin"}"#)),
        ("no exp", token(SECRET, HEADER, r#"{"username":"admin"}"#)),
        ("no user", token(SECRET, HEADER, r#"{"exp":4102444800}"#)),
        ("user a list", token(SECRET, HEADER, r#"{"exp":4102444800,"username":["admin"]}"#)),
        ("exp twice", token(SECRET, HEADER, r#"{"exp":1,"exp":4102444800,"username":"admin"}"#)),
        ("claims no JSON", token(SECRET, HEADER, "admin")),
        ("header no JSON", token(SECRET, "HS256", LIVE)),
        ("other claims, old signature", format!("{header}.{}.{signature}", b64(LIVE))),
        ("other header, old signature", format!("{}.{claims}.{signature}", b64(r#"{"alg":"HS256"}"#))),
        ("signature cut", format!("{signed}.{}", &signature[..signature.len() - 1])),
        ("signature longer", format!("{signature}A")),
        ("signature flipped", format!("{signed}.{}", b64(&flipped))),
        ("no signature", format!("{signed}.")),
        ("a fourth part", format!("{good}.{signature}")),
        ("padded", format!("{signed}.{}", URL_SAFE.encode(URL_SAFE_NO_PAD.decode(signature).unwrap()))),
        ("a blank before", format!(" {good}x")),
        ("Bearer", format!("Bearer {good}")),
        ("huge", format!("{good}{}", "A".repeat(8000))),
        ("JWE of five parts", "a.b.c.d.e".into()),
    ];
    for (what, forged) in forged {
        let answer = api.get_as("/admin/user/info", &forged).await;
        assert_eq!((answer.status.as_u16(), answer.body.as_str()), (401, "未登录"), "{what}");
        assert_eq!(api.get_as("/admin/v2/status", &forged).await.status, 401, "{what}");
    }
    assert_eq!(api.get_as("/admin/user/info", &good).await.status, 200);
}

#[tokio::test]
async fn another_spelling_of_the_signature_is_no_other_token() {
    // The last character carries two bits that decode to nothing.
    let api = Api::new();
    let good = api.login().await;
    let last = good.chars().last().unwrap();
    for other in ('A'..='Z').chain('a'..='z').chain('0'..='9').chain(['-', '_']).filter(|c| *c != last) {
        let spelled = format!("{}{other}", &good[..good.len() - 1]);
        assert_eq!(api.get_as("/admin/user/info", &spelled).await.status, 401, "{other}");
    }
}

#[tokio::test]
async fn the_order_of_credentials_is_the_old_one() {
    let api = Api::new();
    let good = api.login().await;
    let gone = token(SECRET, HEADER, r#"{"exp":4102444800,"username":"gone"}"#);
    let cases = [
        (&[][..], 401, "用户未登录"),
        (&[("x-api-token", "wrong")], 401, "用户未登录"),
        (&[("x-api-token", "")], 401, "用户未登录"),
        (&[("x-api-token", "wrong"), ("x-token", "wrong")], 401, "未登录"),
        (&[("x-api-token", "wrong"), ("x-token", &good)], 200, "ok"),
        (&[("x-api-token", API_TOKEN), ("x-token", "wrong")], 200, "ok"),
        (&[("x-token", &gone)], 500, "用户不存在"),
        (&[("authorization", API_TOKEN)], 401, "用户未登录"),
    ];
    for (headers, status, body) in cases {
        let path = if status == 200 { "/admin/routes/remove" } else { "/admin/user/info" };
        let answer = api.send(request(Method::POST, path, headers, r#"{"key":"x"}"#)).await;
        assert_eq!((answer.status.as_u16(), answer.body.as_str()), (status, body), "{headers:?}");
    }
}

#[tokio::test]
async fn without_credentials_every_path_is_closed_and_nothing_is_written() {
    let api = Api::new();
    api.store.put(&format!("{P}routes/a"), r#"{"prefix":"/a"}"#);
    let before = api.store.dump();
    let body = r#"{"key":"a","prefix":"/b","service_name":"a","upstream":"127.0.0.1:1","level":"debug"}"#;
    let old = PATHS.iter().filter(|(.., action)| *action != Action::Login);
    let old = old.flat_map(|(path, methods, _)| methods.iter().map(move |method| (method.clone(), (*path).to_owned())));
    let new = guarded_paths()
        .into_iter()
        .flat_map(|path| METHODS.map(|method| (method.parse().unwrap(), format!("/admin/v2{path}"))));
    for (method, path) in old.chain(new) {
        for headers in [&[][..], &[("x-token", "a.b.c")], &[("x-api-token", "wrong")]] {
            let answer = api.send(request(method.clone(), &path, headers, body)).await;
            assert_eq!(answer.status, 401, "{method} {path} {headers:?}");
        }
    }
    assert_eq!((api.store.dump(), &*api.level.lock().unwrap()), (before, &"info".to_owned()));
}

#[tokio::test]
async fn a_logout_ends_the_login_on_every_gateway() {
    let one = Api::new();
    let two = Api::on(Arc::clone(&one.store), config(), PeerSource::Socket);
    let (token, other) = (one.login().await, one.login().await);
    assert_eq!(two.get_as("/admin/user/info", &token).await.status, 200);
    let answer = one.get_as("/admin/logout", &token).await;
    assert_eq!((answer.status.as_u16(), answer.body.as_str()), (200, "ok"));
    assert_eq!(one.get_as("/admin/user/info", &token).await.status, 401);
    eventually("the other gateway refuses it", async || two.get_as("/admin/user/info", &token).await.status == 401)
        .await;
    assert_eq!(one.get_as("/admin/user/info", &other).await.status, 200, "another login of the user stays");
    // The entry goes when the token does, and does not contain it.
    let [(id, ttl)] = one.store.leases()[..] else { panic!("one lease") };
    assert!(ttl > Duration::from_secs(7 * 86_400 - 60) && ttl <= Duration::from_secs(7 * 86_400));
    let stored = one.store.dump().into_iter().find(|kv| kv.key.contains("gw/revoked/")).unwrap();
    assert_eq!(stored.lease, Some(id));
    assert!(!format!("{stored:?}").contains(&token));
}

#[tokio::test]
async fn a_logout_that_the_store_does_not_take_holds_here_and_says_so() {
    let api = Api::new();
    let token = api.login().await;
    api.store.set_down(true);
    assert_eq!(api.get_as("/admin/logout", &token).await.status, 500);
    assert_eq!(api.get_as("/admin/user/info", &token).await.status, 401);
}

#[tokio::test]
async fn known_logins_go_on_while_the_store_is_away() {
    let api = Api::new();
    let token = api.login().await;
    api.store.set_down(true);
    assert_eq!(api.get_as("/admin/user/info", &token).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn before_the_store_has_answered_no_login_is_known() {
    let store = MemoryStore::new();
    store.set_down(true);
    let api = Api::on(store, config(), PeerSource::Socket);
    let token = token(SECRET, HEADER, LIVE);
    let answer = api.get_as("/admin/user/info", &token).await;
    assert_eq!((answer.status.as_u16(), answer.body), (500, page("500 Internal Server Error")));
    assert_eq!(api.get_as("/admin/v2/status", &token).await.status, 503);
    assert_eq!(api.try_login("admin", PASSWORD, LOCAL).await.status, 500);
    assert_eq!(api.call(Method::POST, "/admin/user/info", "").await.status, 200, "API tokens need no store");
}

#[tokio::test(start_paused = true)]
async fn guessing_is_slowed_down_for_the_account_and_address() {
    let api = Api::new();
    let right = async |from: &str| api.try_login("admin", PASSWORD, from).await.status == 200;
    let wrong = async |from: &str| {
        let answer = api.try_login("admin", "wrong", from).await;
        assert_eq!((answer.status.as_u16(), answer.body.as_str()), (500, "用户名或密码错误"));
    };
    let api_allows_all = ["127.0.0.1", "::1"];
    for _ in 0..5 {
        wrong(api_allows_all[0]).await;
    }
    assert!(!right(api_allows_all[0]).await, "closed, even to the right password");
    assert!(right(api_allows_all[1]).await, "open from elsewhere");
    tokio::time::sleep(Duration::from_millis(1100)).await;
    wrong(api_allows_all[0]).await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert!(!right(api_allows_all[0]).await, "the delay has grown");
    tokio::time::sleep(Duration::from_millis(1000)).await;
    assert!(right(api_allows_all[0]).await);
    for _ in 0..4 {
        wrong(api_allows_all[0]).await;
    }
    assert!(right(api_allows_all[0]).await, "a success makes up for what was before");
}

#[tokio::test]
async fn the_first_start_makes_one_account_and_one_secret() {
    let store = MemoryStore::new();
    let shared: SharedStore = Arc::clone(&store) as _;
    let config = AdminConfig::default();
    let starts = (0..4).map(|_| first_start(&shared, P, &config));
    let passwords: Vec<String> = futures::future::try_join_all(starts).await.unwrap().into_iter().flatten().collect();
    let [password] = &passwords[..] else { panic!("one gateway prints: {passwords:?}") };
    assert_eq!(password.len(), 20);
    assert_eq!(store.keys(P), ["gw/secrets/jwt", "gw/users/admin"]);
    assert!(
        store.json(&format!("{P}gw/users/admin")).unwrap()["password_hash"].as_str().unwrap().starts_with("$argon2id$")
    );
    assert_eq!(first_start(&shared, P, &config).await.unwrap(), None);

    // Every gateway accepts the login of another.
    let one = Api::on(Arc::clone(&store), config.clone(), PeerSource::Socket);
    let two = Api::on(Arc::clone(&store), config, PeerSource::Socket);
    assert_eq!(one.try_login("admin", "admin", LOCAL).await.status, 500);
    let answer = one.try_login("admin", password, LOCAL).await;
    let token = answer.json()["token"].as_str().unwrap().to_owned();
    let info = two.get_as("/admin/user/info", &token).await.json();
    assert_eq!(
        info,
        json!({"roles": ["admin"], "introduction": "", "avatar": "", "name": "admin", "username": "admin"})
    );
}

#[tokio::test]
async fn a_configured_account_or_secret_is_not_made_again() {
    let store = MemoryStore::new();
    let shared: SharedStore = Arc::clone(&store) as _;
    assert_eq!(first_start(&shared, P, &config()).await.unwrap(), None);
    assert_eq!(store.keys(P), Vec::<String>::new());
    store.set_down(true);
    assert!(first_start(&shared, P, &AdminConfig::default()).await.is_err());
}

#[tokio::test]
async fn a_reset_password_ends_logins_and_keeps_the_account() {
    let store = MemoryStore::new();
    let shared: SharedStore = Arc::clone(&store) as _;
    let old = first_start(&shared, P, &AdminConfig::default()).await.unwrap().unwrap();
    let key = format!("{P}gw/users/admin");
    let mut user = store.json(&key).unwrap();
    user["info"]["avatar"] = json!("me.png");
    user["totp"] = json!("later");
    store.put(&key, &user.to_string());
    let api = Api::on(Arc::clone(&store), AdminConfig::default(), PeerSource::Socket);
    let token = api.try_login("admin", &old, LOCAL).await.json()["token"].as_str().unwrap().to_owned();

    let new = reset_password(&shared, P, "admin").await.unwrap();
    eventually("the login has ended", async || api.get_as("/admin/user/info", &token).await.status == 401).await;
    assert_eq!(api.try_login("admin", &old, LOCAL).await.status, 500);
    let token = api.try_login("admin", &new, LOCAL).await.json()["token"].as_str().unwrap().to_owned();
    assert_eq!(api.get_as("/admin/user/info", &token).await.json()["avatar"], "me.png");
    assert_eq!(store.json(&key).unwrap()["totp"], "later");
    assert!(reset_password(&shared, P, "typo").await.unwrap_err().to_string().contains("no account \"typo\""));

    // An account of the store wins over the configuration's; without one in the store it is made.
    let store = MemoryStore::new();
    let shared: SharedStore = Arc::clone(&store) as _;
    let new = reset_password(&shared, P, "admin").await.unwrap();
    let api = Api::on(store, config(), PeerSource::Socket);
    assert_eq!(api.try_login("admin", PASSWORD, LOCAL).await.status, 500);
    assert_eq!(api.try_login("admin", &new, LOCAL).await.status, 200);
    let reset = ("the command line", "password.reset", "admin");
    assert!(api.audited().await.iter().any(|(actor, action, target)| (&**actor, &**action, &**target) == reset));
}

#[tokio::test]
async fn configured_passwords_may_be_hashes() {
    use argon2::password_hash::{PasswordHasher as _, phc::PasswordHash};
    let hash: PasswordHash = argon2::Argon2::default().hash_password(b"secret").unwrap();
    let mut config = config();
    config.account.get_mut("admin").unwrap().password = hash.to_string();
    config.account.insert("empty".into(), AccountConfig::default());
    let api = Api::on(MemoryStore::new(), config, PeerSource::Socket);
    assert_eq!(api.try_login("admin", "secret", LOCAL).await.status, 200);
    for (name, password) in [("admin", hash.to_string().as_str()), ("admin", "other"), ("empty", ""), ("nobody", "")] {
        assert_eq!(api.try_login(name, password, LOCAL).await.status, 500, "{name}");
    }
}

#[tokio::test]
async fn an_account_that_is_removed_is_out() {
    let store = MemoryStore::new();
    let shared: SharedStore = Arc::clone(&store) as _;
    let password = first_start(&shared, P, &AdminConfig::default()).await.unwrap().unwrap();
    let api = Api::on(Arc::clone(&store), AdminConfig::default(), PeerSource::Socket);
    let token = api.try_login("admin", &password, LOCAL).await.json()["token"].as_str().unwrap().to_owned();
    shared.txn(Vec::new(), vec![Op::delete(format!("{P}gw/users/admin"))]).await.unwrap();
    eventually("it is gone", async || api.get_as("/admin/user/info", &token).await.body == "用户不存在").await;
}

/// All that was logged in this test process.
static LOGGED: LazyLock<Mutex<String>> = LazyLock::new(Mutex::default);

struct Capture;

impl log::Log for Capture {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        // Tests of other modules run at the same time; what libraries say is listened to.
        if record.target().starts_with(env!("CARGO_CRATE_NAME")) && !record.target().contains("::admin") {
            return;
        }
        let mut logged = LOGGED.lock().unwrap();
        logged.push_str(&format!("{} {}\n", record.target(), record.args()));
    }

    fn flush(&self) {}
}

#[tokio::test]
async fn no_secret_is_logged() {
    log::set_logger(&Capture).unwrap();
    log::set_max_level(log::LevelFilter::Trace);
    let api = Api::new();
    let token = api.login().await;
    api.try_login("admin", "canary-wrong-password", LOCAL).await;
    api.try_login("canary-wrong-password", "x", LOCAL).await;
    api.get_as("/admin/user/info", &format!("{token}x")).await;
    api.send(request(Method::GET, "/admin/routes/list", &[("x-api-token", "canary-wrong-token")], "")).await;
    api.post("/admin/routes/save", &json!({"prefix": "/a\n\u{1b}[31mforged"})).await;
    let made = api.post("/admin/v2/tokens", &json!({"name": "a\nforged", "role": "viewer"})).await;
    assert_eq!(made.status, 422, "{}", made.body);
    let made = api.post("/admin/v2/tokens", &json!({"name": "ci", "role": "viewer"})).await.json();
    let made = made["token"].as_str().unwrap();
    let ann = json!({"role": "viewer", "password": "canary-password-of-ann"});
    api.call(Method::PUT, "/admin/v2/users/ann", &ann.to_string()).await;
    let credentials = json!({"username": "ann", "password": "canary-password-of-ann"}).to_string();
    let session = api.send(request(Method::POST, "/admin/v2/login", &[], &credentials)).await;
    let cookie = session.header("set-cookie").unwrap().split(['=', ';']).nth(1).unwrap().to_owned();
    let csrf = session.json()["csrf_token"].as_str().unwrap().to_owned();
    api.get_as("/admin/logout", &token).await;
    api.store.set_down(true);
    api.post("/admin/routes/save", &json!({"prefix": "/a"})).await;
    let logged = LOGGED.lock().unwrap();
    assert!(
        logged.contains("admin: an API token from 127.0.0.1 saved the route of \"/a\\n\\u{1b}[31mforged\""),
        "{logged}"
    );
    assert!(logged.contains("admin: an API token from 127.0.0.1 by configured API token: user.created \"ann\""));
    for secret in ["canary", &token, &token[token.len() - 20..], "argon2id", &made[22..], &cookie, &csrf] {
        assert!(!logged.contains(secret), "{secret} was logged");
    }
    assert!(format!("{:?}", config()).find("canary").is_none(), "nor does Debug show one");
}

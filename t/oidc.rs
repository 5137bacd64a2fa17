//! Logins to the panel by an OpenID Connect provider, which is one of the test's own: it checks what
//! it is sent, and can be told to lie.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse as _;
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::sign::Signer;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::{Gateway, Request, Response, merge};

const REDIRECT: &str = "https://gateway.test/admin/v2/oidc/callback";
const SECRET: &str = "canary secret&=";

/// What the provider does with ID tokens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Signs {
    Rightly,
    /// `alg: none`, without a signature.
    Not,
    /// With a key that is not among those it shows.
    WithAnotherKey,
    /// `alg: HS256` with what everyone can see of the key as the secret.
    WithItsPublicKey,
}

struct Provider {
    address: SocketAddr,
    key: PKey<Private>,
    signs: Mutex<Signs>,
    /// Laid over the claims.
    claims: Mutex<Value>,
    /// By code: nonce and challenge.
    codes: Mutex<HashMap<String, (String, String)>>,
    /// Of the last call to the token endpoint.
    seen: Mutex<Option<String>>,
}

impl Provider {
    async fn start() -> Arc<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
        let provider = Arc::new(Self {
            address: listener.local_addr().unwrap(),
            key,
            signs: Mutex::new(Signs::Rightly),
            claims: Mutex::new(json!({})),
            codes: Mutex::default(),
            seen: Mutex::default(),
        });
        let router = axum::Router::new()
            .route("/.well-known/openid-configuration", get(configuration))
            .route("/authorize", get(authorize))
            .route("/token", post(token))
            .route("/keys", get(keys))
            .with_state(Arc::clone(&provider));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        provider
    }

    fn issuer(&self) -> String {
        format!("http://{}", self.address)
    }

    fn lie(&self, signs: Signs, claims: Value) {
        *self.signs.lock().unwrap() = signs;
        *self.claims.lock().unwrap() = claims;
    }

    fn modulus(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.key.rsa().unwrap().n().to_vec())
    }

    fn id_token(&self, nonce: &str) -> String {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let mut claims = json!({
            "iss": self.issuer(), "aud": "gateway", "sub": "1234", "nonce": nonce, "iat": now, "exp": now + 300,
            "email": "ann@example.com", "email_verified": true, "roles": ["staff", "gateway-editors"],
        });
        merge(&mut claims, self.claims.lock().unwrap().clone());
        let signs = *self.signs.lock().unwrap();
        let alg = match signs {
            Signs::Not => "none",
            Signs::WithItsPublicKey => "HS256",
            _ => "RS256",
        };
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&json!({"alg": alg, "kid": "1"})), part(&claims));
        let rsa = |key: &PKey<Private>| {
            let mut signer = Signer::new(MessageDigest::sha256(), key).unwrap();
            signer.sign_oneshot_to_vec(signed.as_bytes()).unwrap()
        };
        let signature = match signs {
            Signs::Rightly => rsa(&self.key),
            Signs::Not => Vec::new(),
            Signs::WithAnotherKey => rsa(&PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap()),
            Signs::WithItsPublicKey => {
                let mut mac = Hmac::<Sha256>::new_from_slice(&self.key.public_key_to_pem().unwrap()).unwrap();
                mac.update(signed.as_bytes());
                mac.finalize().into_bytes().to_vec()
            }
        };
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

type Shared = State<Arc<Provider>>;

async fn configuration(State(provider): Shared) -> String {
    let at = |path: &str| format!("{}{path}", provider.issuer());
    json!({
        "issuer": provider.issuer(), "authorization_endpoint": at("/authorize"),
        "token_endpoint": at("/token"), "jwks_uri": at("/keys"),
    })
    .to_string()
}

async fn keys(State(provider): Shared) -> String {
    let e = URL_SAFE_NO_PAD.encode(provider.key.rsa().unwrap().e().to_vec());
    let rsa = json!({"kty": "RSA", "kid": "1", "use": "sig", "alg": "RS256", "n": provider.modulus(), "e": e});
    json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "0", "x": "AA"}, rsa]}).to_string()
}

/// Its user agrees at once.
async fn authorize(State(provider): Shared, RawQuery(query): RawQuery) -> axum::response::Response {
    let asked = fields(&query.unwrap_or_default());
    for (name, value) in [
        ("response_type", "code"),
        ("client_id", "gateway"),
        ("redirect_uri", REDIRECT),
        ("scope", "openid email profile"),
        ("code_challenge_method", "S256"),
    ] {
        assert_eq!(asked.get(name).map(String::as_str), Some(value), "{asked:?}");
    }
    let mut codes = provider.codes.lock().unwrap();
    let code = format!("code-{}", codes.len());
    codes.insert(code.clone(), (asked["nonce"].clone(), asked["code_challenge"].clone()));
    let back = format!("{REDIRECT}?code={code}&state={}", asked["state"]);
    (StatusCode::FOUND, [("location", back)]).into_response()
}

async fn token(State(provider): Shared, headers: HeaderMap, body: String) -> axum::response::Response {
    let sent = fields(&body);
    *provider.seen.lock().unwrap() = Some(body);
    let basic = headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
    let client = STANDARD.encode("gateway:canary%20secret%26%3D");
    assert_eq!(basic, Some(format!("Basic {client}")), "each part is encoded first");
    // A code is good once.
    let code = provider.codes.lock().unwrap().get_mut(&sent["code"]).map(std::mem::take);
    let Some((nonce, challenge)) = code.filter(|(nonce, _)| !nonce.is_empty()) else {
        return (StatusCode::BAD_REQUEST, r#"{"error":"invalid_grant"}"#).into_response();
    };
    assert_eq!(URL_SAFE_NO_PAD.encode(Sha256::digest(&sent["code_verifier"])), challenge);
    assert_eq!((sent["grant_type"].as_str(), sent["redirect_uri"].as_str()), ("authorization_code", REDIRECT));
    json!({"access_token": "x", "token_type": "Bearer", "id_token": provider.id_token(&nonce)})
        .to_string()
        .into_response()
}

fn fields(form: &str) -> HashMap<String, String> {
    let decode = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8().unwrap().into_owned();
    form.split('&').filter_map(|pair| pair.split_once('=')).map(|(name, value)| (decode(name), decode(value))).collect()
}

async fn gateway(provider: &Provider, more: Value) -> Gateway {
    let mut oidc = json!({
        "issuer": provider.issuer(), "client_id": "gateway", "client_secret": SECRET, "redirect_url": REDIRECT,
        "roles": {"gateway-editors": "editor", "gateway-admins": "admin"},
    });
    merge(&mut oidc, more);
    Gateway::with(json!({"admin": {"oidc": oidc}})).await
}

/// What a browser has after it was sent to the provider and back: the cookie, and where it goes next.
struct Browser {
    cookie: String,
    back: String,
}

fn cookie(response: &Response, name: &str) -> Option<String> {
    let cookies = response.head.all("set-cookie").into_iter().map(|cookie| cookie.split(';').next().unwrap());
    cookies.into_iter().find(|cookie| cookie.starts_with(&format!("{name}="))).map(str::to_owned)
}

impl Browser {
    async fn sent_back(gateway: &Gateway) -> Self {
        let begun = Request::get("/admin/v2/oidc/login").send(gateway.admin).await.expect(302);
        let cookie = cookie(&begun, "ws_gateway_oidc").unwrap();
        let location = begun.header("location").unwrap();
        let (address, target) = location.strip_prefix("http://").unwrap().split_once('/').unwrap();
        let back = Request::get(&format!("/{target}")).send(address.parse().unwrap()).await.expect(302);
        let back = back.header("location").unwrap().strip_prefix("https://gateway.test").unwrap().to_owned();
        Self { cookie, back }
    }

    async fn arrives(&self, gateway: &Gateway) -> Response {
        self.arrives_at(gateway, &self.back).await
    }

    async fn arrives_at(&self, gateway: &Gateway, target: &str) -> Response {
        Request::get(target).header("Cookie", &self.cookie).send(gateway.admin).await
    }
}

async fn me(gateway: &Gateway, session: &str) -> Response {
    Request::get("/admin/v2/me").header("Cookie", session).send(gateway.admin).await
}

#[tokio::test]
async fn the_provider_says_who_a_user_is_and_what_role_that_has() {
    let provider = Provider::start().await;
    let gateway = gateway(&provider, json!({})).await;
    for (claims, name, role) in [
        (json!({}), "oidc:ann@example.com", "editor"),
        (json!({"roles": ["gateway-editors", "gateway-admins"]}), "oidc:ann@example.com", "admin"),
        (json!({"roles": "gateway-admins", "email_verified": false}), "oidc:1234", "admin"),
        (json!({"aud": ["gateway", "other"], "azp": "gateway"}), "oidc:ann@example.com", "editor"),
    ] {
        provider.lie(Signs::Rightly, claims.clone());
        let arrived = Browser::sent_back(&gateway).await.arrives(&gateway).await.expect(302);
        assert_eq!(arrived.header("location"), Some("/dashboard/"));
        let session = cookie(&arrived, "ws_gateway_session").unwrap();
        assert!(
            arrived.head.all("set-cookie").iter().all(|cookie| cookie.ends_with("; Secure")),
            "the browser has TLS"
        );
        let me = me(&gateway, &session).await.expect(200).json();
        assert_eq!((&me["name"], &me["role"]), (&json!(name), &json!(role)), "{claims}");
        // The account is not here: nothing of it can be changed here.
        let change = Request::new("PUT", "/admin/v2/me/password")
            .header("Cookie", &session)
            .header("X-CSRF-Token", me["csrf_token"].as_str().unwrap())
            .body(r#"{"old_password": "", "new_password": "a new password"}"#);
        change.send(gateway.admin).await.expect(409);
    }
    assert!(!gateway.output().contains("canary") && !gateway.output().contains("code-"));
}

#[tokio::test]
async fn an_id_token_that_is_not_the_providers_for_us_and_now_is_refused() {
    let provider = Provider::start().await;
    let gateway = gateway(&provider, json!({})).await;
    for (signs, claims, status) in [
        (Signs::Not, json!({}), 401),
        (Signs::WithAnotherKey, json!({}), 401),
        (Signs::WithItsPublicKey, json!({}), 401),
        (Signs::Rightly, json!({"nonce": "another"}), 401),
        (Signs::Rightly, json!({"nonce": null}), 401),
        (Signs::Rightly, json!({"iss": "https://evil.com"}), 401),
        (Signs::Rightly, json!({"aud": "another"}), 401),
        (Signs::Rightly, json!({"aud": ["gateway", "another"]}), 401),
        (Signs::Rightly, json!({"azp": "another"}), 401),
        (Signs::Rightly, json!({"exp": 1_000_000_000}), 401),
        (Signs::Rightly, json!({"exp": null}), 401),
        (Signs::Rightly, json!({"iat": 4_102_444_800u64}), 401),
        (Signs::Rightly, json!({"sub": null}), 401),
        (Signs::Rightly, json!({"roles": ["staff"]}), 403),
        (Signs::Rightly, json!({"roles": {"gateway-admins": true}}), 403),
    ] {
        provider.lie(signs, claims.clone());
        let arrived = Browser::sent_back(&gateway).await.arrives(&gateway).await;
        assert_eq!(arrived.status, status, "{signs:?} {claims}: {}", arrived.text());
        assert_eq!(cookie(&arrived, "ws_gateway_session"), None);
    }
}

#[tokio::test]
async fn only_listed_addresses_get_in_when_there_is_a_list() {
    let provider = Provider::start().await;
    let lists = json!({"allowed_domains": ["example.com"], "allowed_emails": ["bob@other.org"]});
    let gateway = gateway(&provider, lists).await;
    for (claims, status) in [
        (json!({}), 302),
        (json!({"email": "Bob@Other.org"}), 302),
        (json!({"email": "ann@other.org"}), 403),
        (json!({"email": "ann@example.com.evil.com"}), 403),
        (json!({"email": "ann@evil-example.com"}), 403),
        (json!({"email_verified": false}), 403),
        (json!({"email_verified": "true"}), 403),
        (json!({"email": null}), 403),
    ] {
        provider.lie(Signs::Rightly, claims.clone());
        let arrived = Browser::sent_back(&gateway).await.arrives(&gateway).await;
        assert_eq!(arrived.status, status, "{claims}: {}", arrived.text());
    }
}

#[tokio::test]
async fn a_login_ends_once_in_the_browser_it_began_in() {
    let provider = Provider::start().await;
    let gateway = gateway(&provider, json!({})).await;
    // Someone's link, with their own code, for a browser that began nothing or something else.
    let (evil, other) = (Browser::sent_back(&gateway).await, Browser::sent_back(&gateway).await);
    Request::get(&evil.back).send(gateway.admin).await.expect(400);
    other.arrives_at(&gateway, &evil.back).await.expect(400);
    // Another state, or none.
    let (path, state) = evil.back.rsplit_once("state=").unwrap();
    for wrong in [format!("{path}state={}", "0".repeat(state.len())), format!("{path}state="), path.to_owned()] {
        evil.arrives_at(&gateway, &wrong).await.expect(400);
    }
    // Another party's answer (RFC 9207).
    let third = Browser::sent_back(&gateway).await;
    third.arrives_at(&gateway, &format!("{}&iss=https%3A%2F%2Fevil.com", third.back)).await.expect(401);
    third.arrives(&gateway).await.expect(400);
    // A code that was used by a login of its own.
    evil.arrives(&gateway).await.expect(302);
    evil.arrives(&gateway).await.expect(400);
    let used = evil.back.split(['=', '&']).nth(1).unwrap();
    let replay = other.back.replacen(other.back.split(['=', '&']).nth(1).unwrap(), used, 1);
    let refused = other.arrives_at(&gateway, &replay).await.expect(401);
    assert!(refused.text().contains("invalid_grant"), "{}", refused.text());
    // The provider says no.
    let fourth = Browser::sent_back(&gateway).await;
    let (_, state) = fourth.back.rsplit_once("state=").unwrap();
    let no = format!("/admin/v2/oidc/callback?error=access_denied&error_description=%3Cb%3E&state={state}");
    let refused = fourth.arrives_at(&gateway, &no).await.expect(401);
    assert!(!refused.text().contains("<b>"));
    fourth.arrives(&gateway).await.expect(400);
}

#[tokio::test]
async fn a_login_leads_to_the_panel_and_nowhere_else() {
    let provider = Provider::start().await;
    let gateway = gateway(&provider, json!({})).await;
    for more in ["redirect_uri=https://evil.com", "next=//evil.com", "return_to=https%3A%2F%2Fevil.com"] {
        let begun = Request::get(&format!("/admin/v2/oidc/login?{more}")).send(gateway.admin).await.expect(302);
        assert!(begun.header("location").unwrap().starts_with(&provider.issuer()));
        assert!(!begun.header("location").unwrap().contains("evil"));
        let browser = Browser::sent_back(&gateway).await;
        let arrived = browser.arrives_at(&gateway, &format!("{}&{more}", browser.back)).await.expect(302);
        assert_eq!(arrived.header("location"), Some("/dashboard/"));
    }
}

#[tokio::test]
async fn without_a_provider_nothing_is_there_and_a_dead_one_is_said() {
    let none = Gateway::start().await;
    Request::get("/admin/v2/oidc/login").send(none.admin).await.expect(404);
    Request::get("/admin/v2/oidc/callback?code=1&state=2")
        .header("Cookie", "ws_gateway_oidc=1")
        .send(none.admin)
        .await
        .expect(404);
    let oidc = json!({
        "issuer": "http://127.0.0.1:9", "client_id": "gateway", "redirect_url": REDIRECT, "default_role": "viewer",
    });
    let dead = Gateway::with(json!({"admin": {"oidc": oidc}})).await;
    for _ in 0..3 {
        Request::get("/admin/v2/oidc/login").send(dead.admin).await.expect(502);
    }
    assert_eq!(dead.output().matches("logins by OpenID Connect fail").count(), 1, "said once a minute");
}

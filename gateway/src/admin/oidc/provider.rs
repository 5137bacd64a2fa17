//! The calls to the provider: what it has where, a code for a token, its keys. Each has a deadline
//! and a bound, follows no redirect, and goes over TLS or stays on this machine.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_openssl::client::legacy::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use openssl::ssl::{SslConnector, SslMethod};
use percent_encoding::utf8_percent_encode;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::id_token::Key;
use super::{PLAIN, Refused, form};
use crate::config::{OidcConfig, is_safe};

/// Longest time for a call.
const DEADLINE: Duration = Duration::from_secs(8);
/// Largest answer that is read.
const MAX_ANSWER: usize = 256 << 10;
/// How long what the provider has where is relied on.
const FRESH: Duration = Duration::from_secs(300);

type Http = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Where the provider has what.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Endpoints {
    issuer: String,
    #[serde(rename = "authorization_endpoint")]
    pub(super) authorization: String,
    #[serde(rename = "token_endpoint")]
    token: String,
    #[serde(rename = "jwks_uri")]
    keys: String,
}

/// A provider.
pub(super) struct Provider {
    config: OidcConfig,
    endpoints: Mutex<Option<(Instant, Arc<Endpoints>)>>,
}

impl Provider {
    pub(super) fn new(config: &OidcConfig) -> Self {
        Self { config: config.clone(), endpoints: Mutex::default() }
    }

    /// Where the provider has what. Asked for by one at a time, and seldom.
    pub(super) async fn endpoints(&self) -> Result<Arc<Endpoints>, Refused> {
        let mut known = self.endpoints.lock().await;
        if let Some((since, endpoints)) = known.as_ref().filter(|(since, _)| since.elapsed() < FRESH) {
            log::trace!("admin: the OpenID provider was asked {}s ago", since.elapsed().as_secs());
            return Ok(Arc::clone(endpoints));
        }
        let url = format!("{}/.well-known/openid-configuration", self.config.issuer.trim_end_matches('/'));
        let endpoints: Endpoints = read(&self.get(&url).await?, "its configuration")?;
        if endpoints.issuer != self.config.issuer {
            return Err(Refused::Provider(format!("it names itself {:?}; see admin.oidc.issuer", endpoints.issuer)));
        }
        for url in [&endpoints.authorization, &endpoints.token, &endpoints.keys] {
            if !is_safe(url) {
                return Err(Refused::Provider(format!("{url:?} does not begin with https://")));
            }
        }
        let endpoints = Arc::new(endpoints);
        *known = Some((Instant::now(), Arc::clone(&endpoints)));
        Ok(endpoints)
    }

    /// The ID token for a code.
    pub(super) async fn redeem(&self, code: &str, verifier: &str) -> Result<String, Refused> {
        let endpoints = self.endpoints().await?;
        let config = &self.config;
        let body = form(&[
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &config.redirect_url),
            ("client_id", &config.client_id),
            ("code_verifier", verifier),
        ]);
        let mut request = request(Method::POST, &endpoints.token, body)?;
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        request.headers_mut().insert(CONTENT_TYPE, form);
        if let Some(secret) = &config.client_secret {
            // RFC 6749, section 2.3.1: each encoded as in a form first.
            let [id, secret] = [&config.client_id, secret].map(|text| utf8_percent_encode(text, PLAIN).to_string());
            let basic = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(format!("{id}:{secret}"))));
            let mut basic = basic.map_err(|_| Refused::Provider("the client's secret cannot be sent".into()))?;
            basic.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, basic);
        }
        let answer = self.call(request).await?;
        #[derive(Deserialize)]
        struct Tokens {
            id_token: String,
        }
        Ok(read::<Tokens>(&answer, "its answer to the code")?.id_token)
    }

    /// The keys it signs with.
    pub(super) async fn keys(&self) -> Result<Vec<Key>, Refused> {
        #[derive(Deserialize)]
        struct Keys {
            keys: Vec<Value>,
        }
        let endpoints = self.endpoints().await?;
        let keys: Keys = read(&self.get(&endpoints.keys).await?, "its keys")?;
        // Those of kinds we do not know are for others.
        Ok(keys.keys.into_iter().filter_map(|key| serde_json::from_value(key).ok()).collect())
    }

    async fn get(&self, url: &str) -> Result<Bytes, Refused> {
        self.call(request(Method::GET, url, String::new())?).await
    }

    async fn call(&self, request: Request<Full<Bytes>>) -> Result<Bytes, Refused> {
        let failed = |what: String| Refused::Provider(format!("{}: {what}", self.config.issuer));
        let client = self.client().map_err(|e| failed(format!("TLS cannot be set up: {e}")))?;
        let call = async {
            let answer = client.request(request).await.map_err(|e| failed(causes(&e)))?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
            let body = body.map_err(|_| failed("its answer is too large, or breaks off".into()))?.to_bytes();
            match status {
                StatusCode::OK => Ok(body),
                // RFC 6749, section 5.2: a code that was used, or is of another client.
                StatusCode::BAD_REQUEST => Err(Refused::Denied(error_code(&body))),
                status => Err(failed(format!("it answered {status}"))),
            }
        };
        tokio::time::timeout(DEADLINE, call).await.map_err(|_| failed("no answer in time".into()))?
    }

    /// Made for each login: they are few, and the file of CAs may have changed.
    fn client(&self) -> Result<Http, openssl::error::ErrorStack> {
        let mut tls = SslConnector::builder(SslMethod::tls_client())?;
        if let Some(file) = &self.config.ca_file {
            tls.set_ca_file(file)?;
        }
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        Ok(Client::builder(TokioExecutor::new()).build(HttpsConnector::with_connector(tcp, tls)?))
    }
}

fn request(method: Method, url: &str, body: String) -> Result<Request<Full<Bytes>>, Refused> {
    let request = Request::builder().method(method).uri(url).header(ACCEPT, "application/json");
    request.body(Full::from(body)).map_err(|_| Refused::Provider(format!("{url:?} is no URL")))
}

fn read<T: serde::de::DeserializeOwned>(body: &[u8], what: &str) -> Result<T, Refused> {
    // The error would quote what may be a token.
    serde_json::from_slice(body).map_err(|_| Refused::Provider(format!("{what} is not as it should be")))
}

/// The error an answer names, if it is one of the RFC's words.
fn error_code(body: &[u8]) -> String {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let code = body["error"].as_str().unwrap_or_default();
    let is_word = !code.is_empty() && code.len() <= 64 && code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    if is_word { code.to_owned() } else { "the code is not valid".into() }
}

/// An error with what lies under it, which is what helps.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

//! Registers over HTTP with a gateway's Admin API.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{Error, Node, Registry};

#[cfg(feature = "https")]
type Connector = hyper_openssl::client::legacy::HttpsConnector<HttpConnector>;
#[cfg(not(feature = "https"))]
type Connector = HttpConnector;

/// Longest time for a call.
const DEADLINE: Duration = Duration::from_secs(5);
/// Largest answer that is read.
const MAX_ANSWER: usize = 64 << 10;
/// What stands for itself in a segment of a path.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b':');

/// One or more gateways that share a store.
pub struct Gateways {
    client: Client<Connector, Full<Bytes>>,
    /// Without a slash at the end.
    urls: Vec<String>,
    /// The one to ask first: the last that answered.
    preferred: AtomicUsize,
    token: HeaderValue,
}

impl std::fmt::Debug for Gateways {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateways").field("urls", &self.urls).finish_non_exhaustive()
    }
}

impl Gateways {
    /// Gateways by the URLs of their Admin API, with an API token.
    ///
    /// # Errors
    /// `Refused` naming the URL that is none.
    pub fn new<U: AsRef<str>>(urls: impl IntoIterator<Item = U>, token: &str) -> Result<Self, Error> {
        let urls = urls.into_iter().map(|url| checked(url.as_ref())).collect::<Result<Vec<_>, _>>()?;
        if urls.is_empty() {
            return Err(Error::Refused("the URL of a gateway is needed, such as http://10.0.0.1:12000".into()));
        }
        let mut token = HeaderValue::from_str(token)
            .ok()
            .filter(|token| !token.is_empty())
            .ok_or_else(|| Error::Refused("the token is empty, or has characters that no token has".into()))?;
        token.set_sensitive(true);
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(1).build(connector()?);
        Ok(Self { client, urls, preferred: AtomicUsize::new(0), token })
    }

    /// Asks the gateways in turn until one can answer.
    async fn call(&self, method: Method, node: &Node, body: Option<Value>) -> Result<(), Error> {
        let first = self.preferred.load(Ordering::Relaxed);
        let mut last = Error::Unavailable(String::new());
        for attempt in 0..self.urls.len() {
            let index = (first + attempt) % self.urls.len();
            let answer = timeout(DEADLINE, self.ask(&self.urls[index], method.clone(), node, body.as_ref())).await;
            last = match answer {
                Ok(Err(e @ Error::Unavailable(_))) => e,
                Ok(answered) => {
                    self.preferred.store(index, Ordering::Relaxed);
                    return answered;
                }
                Err(_) => Error::Unavailable(format!("{} did not answer in time", self.urls[index])),
            };
        }
        Err(last)
    }

    async fn ask(&self, url: &str, method: Method, node: &Node, body: Option<&Value>) -> Result<(), Error> {
        let [service, upstream] = [&node.service, &node.upstream].map(|text| utf8_percent_encode(text, SEGMENT));
        let request = Request::builder()
            .method(method)
            .uri(format!("{url}/admin/v2/registrations/{service}/{upstream}"))
            .header("X-Api-Token", self.token.clone())
            .header("Content-Type", "application/json")
            .body(Full::from(body.map(Value::to_string).unwrap_or_default()))
            .map_err(|e| Error::Refused(e.to_string()))?;
        let response =
            self.client.request(request).await.map_err(|e| Error::Unavailable(format!("{url}: {}", causes(&e))))?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
        let detail = problem["detail"].as_str().or(status.canonical_reason()).unwrap_or("no reason was given");
        let text = format!("{url} answered {}: {detail}", status.as_u16());
        let again =
            status.is_server_error() || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS);
        Err(if again { Error::Unavailable(text) } else { Error::Refused(text) })
    }
}

#[async_trait]
impl Registry for Gateways {
    async fn register(&self, node: &Node) -> Result<(), Error> {
        let ttl = node.ttl.as_secs() + u64::from(node.ttl.subsec_nanos() > 0);
        let mut body = json!({"weight": node.weight, "ttl": ttl});
        if node.replace {
            body["replace"] = true.into();
        }
        self.call(Method::PUT, node, Some(body)).await
    }

    async fn remove(&self, node: &Node) -> Result<(), Error> {
        self.call(Method::DELETE, node, None).await
    }
}

fn checked(url: &str) -> Result<String, Error> {
    let refused = |reason: &str| Error::Refused(format!("\"{url}\" {reason}, such as http://10.0.0.1:12000"));
    let uri: Uri = url.parse().map_err(|_| refused("is no URL"))?;
    let schemes: &[&str] = if cfg!(feature = "https") { &["http", "https"] } else { &["http"] };
    if !uri.scheme_str().is_some_and(|scheme| schemes.contains(&scheme)) {
        return Err(refused(&format!("does not begin with {}://", schemes.join(":// or "))));
    }
    if uri.query().is_some() {
        return Err(refused("must have no query"));
    }
    Ok(url.trim_end_matches('/').to_owned())
}

fn connector() -> Result<Connector, Error> {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_connect_timeout(Some(Duration::from_secs(2)));
    #[cfg(feature = "https")]
    {
        use hyper_openssl::client::legacy::HttpsConnector;
        use openssl::ssl::{SslConnector, SslMethod};
        let tls = SslConnector::builder(SslMethod::tls_client())
            .and_then(|tls| HttpsConnector::with_connector(http, tls))
            .map_err(|e| Error::Refused(format!("TLS cannot be set up: {e}")))?;
        Ok(tls)
    }
    #[cfg(not(feature = "https"))]
    Ok(http)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_work_is_refused_at_once() {
        for (url, token, reason) in [
            ("10.0.0.1:12000", "t", "begin with http:// or https://"),
            ("ftp://10.0.0.1", "t", "begin with http:// or https://"),
            ("http://a b", "t", "no URL"),
            ("http://a/?x", "t", "no query"),
            ("http://a", "", "token is empty"),
            ("http://a", "a\nb", "no token has"),
        ] {
            let error = Gateways::new([url], token).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
        assert!(Gateways::new([""; 0], "t").unwrap_err().to_string().contains("is needed"));
        assert!(!format!("{:?}", Gateways::new(["http://a"], "canary").unwrap()).contains("canary"));
    }
}

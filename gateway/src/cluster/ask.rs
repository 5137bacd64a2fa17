//! Asks the other gateways: all at the same time, each for a little while, and only at addresses that
//! the list has. Redirects are not followed.

use std::sync::LazyLock;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use hyper_openssl::client::legacy::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use super::credential::{self, Call};
use super::{Cluster, Listed, unix_now};

/// How long one of them has.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many are asked at the same time, and at all.
const AT_ONCE: usize = 16;
const MOST: usize = 64;
/// Most bytes of an answer.
const MOST_BYTES: usize = 4 << 20;

/// Why a gateway did not answer, for an operator.
pub type Missing = String;

/// What a gateway answered.
#[derive(Debug)]
pub struct Answer {
    /// Which.
    pub id: String,
    /// The name of its machine.
    pub hostname: String,
    /// What it said.
    pub body: Result<Bytes, Missing>,
}

type Connector = HttpsConnector<HttpConnector>;

/// Made when it is first needed: it reads the system's certificate authorities.
pub(super) struct PeerClient(LazyLock<Result<Client<Connector, Body>, String>>);

impl Default for PeerClient {
    fn default() -> Self {
        Self(LazyLock::new(|| {
            let connector = Connector::new().map_err(|e| format!("TLS cannot be used: {e}"))?;
            // A connection that is kept may be one to a gateway that is frozen; a new one costs little.
            Ok(Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector))
        }))
    }
}

impl Cluster {
    /// Asks all other gateways for this target of the Admin API.
    pub async fn ask_others(&self, target: &str) -> Vec<Answer> {
        let mut others = self.others();
        let beyond = others.split_off(others.len().min(MOST));
        let asked = others.into_iter().map(|(id, listed)| async move {
            let within = tokio::time::timeout(PATIENCE, self.ask(&id, &listed, target)).await;
            let body = within.unwrap_or_else(|_| Err(late()));
            Answer { id, hostname: listed.report.hostname, body }
        });
        let mut answers: Vec<Answer> = futures::stream::iter(asked).buffered(AT_ONCE).collect().await;
        answers.extend(beyond.into_iter().map(|(id, listed)| {
            let body = Err(format!("more than {MOST} gateways are not asked"));
            Answer { id, hostname: listed.report.hostname, body }
        }));
        answers
    }

    /// Whether another gateway has this id.
    #[must_use]
    pub fn knows(&self, id: &str) -> bool {
        self.others().iter().any(|(one, _)| one == id)
    }

    /// Asks the gateway of this name for a target of the Admin API.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn ask_one(&self, id: &str, target: &str) -> Result<Bytes, Missing> {
        let others = self.others();
        let (id, listed) = others.iter().find(|(one, _)| one == id).ok_or("there is no such gateway (any more)")?;
        let within = tokio::time::timeout(PATIENCE, self.ask(id, listed, target)).await;
        within.unwrap_or_else(|_| Err(late()))
    }

    async fn ask(&self, id: &str, listed: &Listed, target: &str) -> Result<Bytes, Missing> {
        let url =
            listed.report.url.as_deref().ok_or("it does not say where it can be reached; set its admin.advertise")?;
        let uri = uri(url, target)?;
        let secret = self.read(|known| known.secret.clone()).ok_or("the secret of the cluster is not known yet")?;
        let call = Call { to: id, method: Method::GET.as_str(), target };
        let credential = credential::make(&secret, &self.id, &call, unix_now());
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = uri;
        let value = HeaderValue::try_from(credential).map_err(|e| e.to_string())?;
        request.headers_mut().insert(credential::HEADER, value);
        let client = self.client.0.as_ref().map_err(Clone::clone)?;
        let response = client.request(request).await.map_err(|e| reason(&e))?;
        let status = response.status();
        if status != StatusCode::OK {
            return Err(refused(status));
        }
        let body = Body::new(response.into_body());
        axum::body::to_bytes(body, MOST_BYTES).await.map_err(|e| format!("its answer broke off, or is too large: {e}"))
    }
}

/// The target at a gateway's address, which has no path of its own.
fn uri(url: &str, target: &str) -> Result<Uri, String> {
    let at: Uri = url.parse().map_err(|e| format!("its address {url:?} is malformed: {e}"))?;
    if !matches!(at.scheme_str(), Some("http" | "https")) || !matches!(at.path(), "" | "/") || at.query().is_some() {
        return Err(format!("its address {url:?} is not like http://host:port"));
    }
    let mut parts = at.into_parts();
    parts.path_and_query = Some(target.parse().map_err(|e| format!("{target}: {e}"))?);
    Uri::from_parts(parts).map_err(|e| e.to_string())
}

fn late() -> Missing {
    format!("no answer within {PATIENCE:?}")
}

fn refused(status: StatusCode) -> String {
    match status {
        StatusCode::FORBIDDEN => "it does not let this gateway in (403): see its admin.allow".to_owned(),
        StatusCode::UNAUTHORIZED => {
            "it does not take this gateway's credential (401): do their clocks differ?".to_owned()
        }
        _ => format!("it answered {status}"),
    }
}

/// The last cause says what happened.
fn reason(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.last().map_or_else(|| error.to_string(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_scheme_a_host_and_a_port() {
        for (url, asked) in [
            ("http://10.0.0.1:12000", "http://10.0.0.1:12000/admin/v2/figures?scope=self"),
            ("https://gw-1.example.com/", "https://gw-1.example.com/admin/v2/figures?scope=self"),
        ] {
            assert_eq!(uri(url, "/admin/v2/figures?scope=self").unwrap().to_string(), asked);
        }
        for url in ["", "10.0.0.1:12000", "ftp://a", "http://a/b", "http://a/?x", "http://a b", "unix:/x", "/x"] {
            assert!(uri(url, "/x").is_err(), "{url}");
        }
    }
}

//! Calls the Admin API of a running gateway.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use axum::body::Body;
use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use http::{HeaderValue, Method, Request, Uri};
use hyper_openssl::client::legacy::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use crate::admin::CLI_AGENT;

/// Longest time for a call. A document of thousands of objects takes a while.
const DEADLINE: Duration = Duration::from_secs(60);
/// Largest answer that is read.
const MAX_ANSWER: usize = 256 << 20;

/// Which gateway, and by which right.
#[derive(Debug, clap::Args)]
pub(super) struct Gateway {
    /// The Admin API of a gateway.
    #[arg(long, value_name = "URL", env = "GATEWAY_URL", default_value = "http://127.0.0.1:12000", global = true)]
    url: String,
    /// A file with the API token, instead of GATEWAY_TOKEN.
    #[arg(long, value_name = "FILE", global = true)]
    token_file: Option<PathBuf>,
}

impl Gateway {
    fn token(&self) -> anyhow::Result<HeaderValue> {
        let token = match &self.token_file {
            Some(file) => std::fs::read_to_string(file)
                .with_context(|| format!("--token-file {} cannot be read", file.display()))?,
            None => {
                std::env::var("GATEWAY_TOKEN").context("set GATEWAY_TOKEN to an API token, or give --token-file")?
            }
        };
        let mut token =
            HeaderValue::from_str(token.trim()).context("the API token has characters that no token has")?;
        token.set_sensitive(true);
        Ok(token)
    }

    /// Asks the gateway, with these parameters, and returns its answer as a text.
    pub(super) fn call(&self, method: Method, path: &str, query: &Query, body: Vec<u8>) -> anyhow::Result<String> {
        let uri = self.uri(path, query)?;
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header(USER_AGENT, format!("{CLI_AGENT}{}", env!("CARGO_PKG_VERSION")))
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/json")
            .header("X-Api-Token", self.token()?)
            .body(Body::from(body))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let answered = tokio::time::timeout(DEADLINE, self.answer(request)).await;
            answered.map_err(|_| anyhow!("{} did not answer in time", self.url))?
        })
    }

    /// The same, of an answer in JSON.
    pub(super) fn json(&self, method: Method, path: &str, query: &Query, body: Vec<u8>) -> anyhow::Result<Value> {
        let text = self.call(method, path, query, body)?;
        serde_json::from_str(&text).with_context(|| format!("{} answered no JSON; is it the Admin API?", self.url))
    }

    fn uri(&self, path: &str, query: &Query) -> anyhow::Result<Uri> {
        let url = self.url.trim_end_matches('/');
        let example = "such as http://10.0.0.1:12000";
        let uri: Uri = url.parse().map_err(|e| anyhow!("--url {url:?} is no URL ({e}), {example}"))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            bail!("--url {url:?} does not begin with http:// or https://, {example}");
        }
        let query = serde_urlencoded::to_string(&query.0)?;
        let query = if query.is_empty() { query } else { format!("?{query}") };
        Ok(format!("{url}/admin/v2/{path}{query}").parse()?)
    }

    async fn answer(&self, request: Request<Body>) -> anyhow::Result<String> {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        let connector = HttpsConnector::with_connector(
            http,
            openssl::ssl::SslConnector::builder(openssl::ssl::SslMethod::tls_client())?,
        )?;
        let client: Client<_, Body> = Client::builder(TokioExecutor::new()).build(connector);
        let response = client.request(request).await.with_context(|| format!("{} cannot be reached", self.url))?;
        let (head, body) = response.into_parts();
        let body = axum::body::to_bytes(Body::new(body), MAX_ANSWER).await.context("the answer broke off")?;
        let text = String::from_utf8_lossy(&body).into_owned();
        if head.status.is_success() {
            return Ok(text);
        }
        Err(problem(&text).unwrap_or_else(|| anyhow!("{} answered {}", self.url, head.status)))
    }
}

/// What the gateway has against it, each error on its line.
fn problem(text: &str) -> Option<anyhow::Error> {
    let problem: Value = serde_json::from_str(text).ok()?;
    let errors = problem["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
    if errors.is_empty() {
        return Some(anyhow!("{}", problem["detail"].as_str()?));
    }
    let line = |e: &Value| Some(format!("\n  {}: {}", e["field"].as_str()?, e["detail"].as_str()?));
    let lines: String = errors.iter().filter_map(line).collect();
    Some(anyhow!("the gateway refuses it:{lines}"))
}

/// The parameters of a call.
#[derive(Debug, Default)]
pub(super) struct Query(Vec<(&'static str, String)>);

impl Query {
    pub(super) fn with(mut self, name: &'static str, values: impl IntoIterator<Item = String>) -> Self {
        self.0.extend(values.into_iter().map(|value| (name, value)));
        self
    }
}

//! How a collector is reached: OTLP over HTTP/1.1 or gRPC, with TLS where its address says https.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::PathBuf;
use std::task;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use hyper_openssl::client::legacy::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use openssl::error::ErrorStack;
use openssl::ssl::{SslConnector, SslMethod};
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _, WithTonicConfig as _};
use tonic::metadata::MetadataMap;
use tonic::transport::Endpoint;
use tower::Service;

/// Longest time for a connection.
const CONNECT: Duration = Duration::from_secs(2);

/// How traces are exported.
#[derive(Debug, Clone)]
pub struct TracingOptions {
    /// The collector, such as `http://127.0.0.1:4318`.
    pub endpoint: String,
    /// What it speaks.
    pub protocol: Protocol,
    /// Share of the traces that begin here and are recorded.
    pub sample: f64,
    /// The gateway's name in traces.
    pub service_name: String,
    /// Sent with each message.
    pub headers: BTreeMap<String, String>,
    /// Longest time for one message.
    pub timeout: Duration,
    /// PEM file of the authorities that may sign the collector's certificate, instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Most requests that wait to be exported.
    pub queue: usize,
}

/// What a collector speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Protobuf over HTTP/1.1.
    Http,
    /// gRPC.
    Grpc,
}

pub(super) fn exporter(options: &TracingOptions) -> Result<SpanExporter, String> {
    let exporter = match options.protocol {
        Protocol::Http => over_http(options),
        Protocol::Grpc => over_grpc(options),
    };
    exporter.map_err(|e| e.to_string())
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn over_http(options: &TracingOptions) -> Result<SpanExporter, Failure> {
    let client = HyperClient::new(connector(options, b"\x08http/1.1")?, options.timeout, None);
    Ok(SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_endpoint(url(&options.endpoint))
        .with_headers(options.headers.clone().into_iter().collect::<HashMap<_, _>>())
        .with_timeout(options.timeout)
        .build()?)
}

fn over_grpc(options: &TracingOptions) -> Result<SpanExporter, Failure> {
    let mut headers = HeaderMap::new();
    for (name, value) in &options.headers {
        headers.insert(HeaderName::try_from(name)?, HeaderValue::try_from(value)?);
    }
    let channel = Endpoint::from_shared(options.endpoint.clone())?
        .timeout(options.timeout)
        .connect_with_connector_lazy(connector(options, b"\x02h2")?);
    Ok(SpanExporter::builder()
        .with_tonic()
        .with_channel(channel)
        .with_metadata(MetadataMap::from_headers(headers))
        .with_timeout(options.timeout)
        .build()?)
}

/// An address without a path means the usual one.
fn url(endpoint: &str) -> String {
    let rest = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
    match rest.split_once('/') {
        None => format!("{endpoint}/v1/traces"),
        Some((_, "")) => format!("{endpoint}v1/traces"),
        Some(_) => endpoint.to_owned(),
    }
}

/// The library wants connectors that can be shown.
#[derive(Clone)]
struct Connector(HttpsConnector<HttpConnector>);

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector")
    }
}

impl Service<Uri> for Connector {
    type Response = <HttpsConnector<HttpConnector> as Service<Uri>>::Response;
    type Error = <HttpsConnector<HttpConnector> as Service<Uri>>::Error;
    type Future = <HttpsConnector<HttpConnector> as Service<Uri>>::Future;

    fn poll_ready(&mut self, context: &mut task::Context<'_>) -> task::Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, address: Uri) -> Self::Future {
        self.0.call(address)
    }
}

fn connector(options: &TracingOptions, alpn: &[u8]) -> Result<Connector, ErrorStack> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_connect_timeout(Some(CONNECT));
    let mut tls = SslConnector::builder(SslMethod::tls_client())?;
    tls.set_alpn_protos(alpn)?;
    if let Some(file) = &options.ca_file {
        tls.set_ca_file(file)?;
    }
    HttpsConnector::with_connector(tcp, tls).map(Connector)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_path_means_the_usual_one() {
        for (endpoint, expected) in [
            ("http://a:4318", "http://a:4318/v1/traces"),
            ("http://a:4318/", "http://a:4318/v1/traces"),
            ("https://a/otlp/v1/traces", "https://a/otlp/v1/traces"),
        ] {
            assert_eq!(url(endpoint), expected);
        }
    }
}

//! How to reach etcd, and the TLS and login that belong to it.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use etcd_client::{Channel, Client, ConnectOptions};
use hyper_openssl::client::legacy::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{ConnectConfiguration, SslConnector, SslMethod};
use openssl::x509::X509;
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::verify::X509CheckFlags;
use tonic::transport::Endpoint;

use super::failure::Failure;
use crate::store::StoreError;

/// How to reach etcd.
#[derive(Clone)]
pub struct EtcdOptions {
    /// `http://host:2379`, `https://host:2379`, or `host:2379`, which is https when `tls` is set.
    pub endpoints: Vec<String>,
    /// The user, when etcd has authentication on.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<String>,
    /// Files for TLS. Without it https endpoints are checked against the system's authorities.
    pub tls: Option<EtcdTls>,
    /// How long a connection may take. Default 2 s.
    pub connect_timeout: Duration,
    /// How long a call may take, with all its retries; a listing so long for each page. Default 5 s.
    pub request_timeout: Duration,
    /// After how much silence a connection is tested. Default 3 s.
    pub keep_alive_interval: Duration,
    /// How long the test may take. Default 2 s.
    pub keep_alive_timeout: Duration,
}

/// Files for TLS to etcd, read again for every new connection, so they may be renewed in place.
#[derive(Debug, Clone, Default)]
pub struct EtcdTls {
    /// PEM file of the authorities that may sign etcd's certificate instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// PEM file of our certificate and its chain.
    pub cert_file: Option<PathBuf>,
    /// PEM file of our key.
    pub key_file: Option<PathBuf>,
    /// The name or address etcd's certificate must be for, instead of the endpoint's host.
    pub server_name: Option<String>,
}

impl Default for EtcdOptions {
    fn default() -> Self {
        Self {
            endpoints: vec!["http://127.0.0.1:2379".into()],
            user: None,
            password: None,
            tls: None,
            connect_timeout: Duration::from_secs(2),
            request_timeout: Duration::from_secs(5),
            keep_alive_interval: Duration::from_secs(3),
            keep_alive_timeout: Duration::from_secs(2),
        }
    }
}

impl fmt::Debug for EtcdOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdOptions")
            .field("endpoints", &self.endpoints)
            .field("user", &self.user)
            .field("password", &self.password.as_ref().map(|_| "***"))
            .field("tls", &self.tls)
            .field("connect_timeout", &self.connect_timeout)
            .field("request_timeout", &self.request_timeout)
            .field("keep_alive_interval", &self.keep_alive_interval)
            .field("keep_alive_timeout", &self.keep_alive_timeout)
            .finish()
    }
}

impl EtcdOptions {
    /// Checks all that can be checked without etcd, and returns the endpoints as URLs.
    pub(super) fn validate(&self) -> Result<Vec<String>, StoreError> {
        if self.endpoints.is_empty() {
            return Err(invalid("endpoints", "at least one is needed"));
        }
        let login = match (&self.user, &self.password) {
            (Some(user), _) if user.is_empty() => Err(invalid("user", "must not be empty")),
            (Some(_), None) => Err(invalid("password", "is needed with user")),
            (None, Some(_)) => Err(invalid("user", "is needed with password")),
            _ => Ok(()),
        };
        login?;
        for (field, value) in [
            ("connect_timeout", self.connect_timeout),
            ("request_timeout", self.request_timeout),
            ("keep_alive_interval", self.keep_alive_interval),
            ("keep_alive_timeout", self.keep_alive_timeout),
        ] {
            if value.is_zero() {
                return Err(invalid(field, "must not be 0"));
            }
        }
        let urls = self.endpoints.iter().map(|endpoint| self.url(endpoint)).collect::<Result<_, _>>()?;
        if let Some(tls) = &self.tls {
            tls.read()?;
        }
        Ok(urls)
    }

    fn url(&self, endpoint: &str) -> Result<String, StoreError> {
        let url = match endpoint.split_once("://") {
            Some(("http", _)) if self.tls.is_some() => {
                return Err(invalid("endpoints", &format!("\"{endpoint}\" is not https, but tls is set")));
            }
            Some(("http" | "https", _)) => endpoint.to_owned(),
            Some(_) => {
                return Err(invalid("endpoints", &format!("\"{endpoint}\" is neither http:// nor https://")));
            }
            None if self.tls.is_some() => format!("https://{endpoint}"),
            None => format!("http://{endpoint}"),
        };
        let uri: http::Uri =
            url.parse().map_err(|e| invalid("endpoints", &format!("\"{endpoint}\" is no address: {e}")))?;
        if uri.host().is_none_or(str::is_empty) || uri.port_u16().is_none() {
            return Err(invalid("endpoints", &format!("\"{endpoint}\" is not host:port")));
        }
        Ok(url)
    }

    /// A client of one endpoint. Connects only to log in, else with the first call.
    pub(super) async fn client(&self, url: &str) -> Result<Client, Failure> {
        // A member cut off from its cluster says so instead of going silent.
        let options = ConnectOptions::new().with_require_leader(true);
        let channel = Channel::Tonic(self.channel(url).map_err(Failure::Final)?);
        let (Some(user), Some(password)) = (&self.user, &self.password) else {
            return Ok(Client::from_channel(channel, Some(options)).await?);
        };
        let login = options.clone().with_user(user, password).with_auto_token_refresh(true);
        match Client::from_channel(channel.clone(), Some(login)).await.map_err(Failure::from) {
            // A login for an etcd that asks for none: harmless, and authentication may come later.
            Err(Failure::AuthOff) => Ok(Client::from_channel(channel, Some(options)).await?),
            result => result,
        }
    }

    /// The library's own OpenSSL channel leaves Nagle's algorithm on, which costs 40 ms a call,
    /// and knows no server name but the endpoint's host; hence one of ours.
    fn channel(&self, url: &str) -> Result<tonic::transport::Channel, StoreError> {
        let endpoint = Endpoint::from_shared(url.to_owned())
            .map_err(|e| invalid("endpoints", &format!("\"{url}\": {e}")))?
            .connect_timeout(self.connect_timeout)
            .http2_keep_alive_interval(self.keep_alive_interval)
            .keep_alive_timeout(self.keep_alive_timeout)
            // etcd hangs up on those who ping it without a call under way.
            .keep_alive_while_idle(false);
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let connector = match &self.tls {
            Some(tls) => tls.connector(tcp)?,
            None => EtcdTls::default().connector(tcp)?,
        };
        Ok(endpoint.connect_with_connector_lazy(connector))
    }
}

impl EtcdTls {
    fn connector(&self, tcp: HttpConnector) -> Result<HttpsConnector<HttpConnector>, StoreError> {
        let files = self.read()?;
        files.connector(tcp, self.server_name.clone()).map_err(|e| invalid("tls", &e.to_string()))
    }

    fn read(&self) -> Result<TlsFiles, StoreError> {
        let authorities = self.ca_file.as_deref().map(|path| read_certificates("tls.ca_file", path)).transpose()?;
        let identity = match (&self.cert_file, &self.key_file) {
            (Some(cert), Some(key)) => {
                let chain = read_certificates("tls.cert_file", cert)?;
                let key = parse("tls.key_file", key, PKey::private_key_from_pem)?;
                let fits = chain.first().and_then(|c| c.public_key().ok()).is_some_and(|public| public.public_eq(&key));
                if !fits {
                    return Err(invalid("tls.key_file", "is not the key of tls.cert_file"));
                }
                Some((chain, key))
            }
            (None, None) => None,
            (Some(_), None) => return Err(invalid("tls.key_file", "is needed with tls.cert_file")),
            (None, Some(_)) => return Err(invalid("tls.cert_file", "is needed with tls.key_file")),
        };
        Ok(TlsFiles { authorities, identity })
    }
}

struct TlsFiles {
    authorities: Option<Vec<X509>>,
    identity: Option<(Vec<X509>, PKey<Private>)>,
}

impl TlsFiles {
    fn connector(
        self,
        tcp: HttpConnector,
        server_name: Option<String>,
    ) -> Result<HttpsConnector<HttpConnector>, ErrorStack> {
        let mut builder = SslConnector::builder(SslMethod::tls_client())?;
        builder.set_alpn_protos(b"\x02h2")?;
        if let Some(authorities) = self.authorities {
            let mut store = X509StoreBuilder::new()?;
            for authority in authorities {
                store.add_cert(authority)?;
            }
            builder.set_cert_store(store.build());
        }
        if let Some((chain, key)) = self.identity {
            let mut chain = chain.into_iter();
            if let Some(certificate) = chain.next() {
                builder.set_certificate(&certificate)?;
            }
            for issuer in chain {
                builder.add_extra_chain_cert(issuer)?;
            }
            builder.set_private_key(&key)?;
        }
        let mut connector = HttpsConnector::with_connector(tcp, builder)?;
        if let Some(name) = server_name {
            connector.set_callback(move |connection, _| expect_name(connection, &name));
        }
        Ok(connector)
    }
}

/// Has the certificate checked for `name` instead of the endpoint's host.
fn expect_name(connection: &mut ConnectConfiguration, name: &str) -> Result<(), ErrorStack> {
    connection.set_verify_hostname(false);
    connection.set_use_server_name_indication(false);
    match name.parse::<IpAddr>() {
        Ok(address) => connection.param_mut().set_ip(address),
        Err(_) => {
            connection.set_hostname(name)?;
            connection.param_mut().set_hostflags(X509CheckFlags::NO_PARTIAL_WILDCARDS);
            connection.param_mut().set_host(name)
        }
    }
}

fn read_certificates(field: &str, path: &Path) -> Result<Vec<X509>, StoreError> {
    let certificates = parse(field, path, X509::stack_from_pem)?;
    if certificates.is_empty() {
        return Err(invalid(field, &format!("{} has no certificate", path.display())));
    }
    Ok(certificates)
}

fn parse<T>(field: &str, path: &Path, parse: impl Fn(&[u8]) -> Result<T, ErrorStack>) -> Result<T, StoreError> {
    let pem = std::fs::read(path).map_err(|e| invalid(field, &format!("{}: {e}", path.display())))?;
    parse(&pem).map_err(|e| invalid(field, &format!("{} is no PEM file of that kind: {e}", path.display())))
}

fn invalid(field: &str, problem: &str) -> StoreError {
    StoreError::Invalid(format!("etcd: {field}: {problem}"))
}

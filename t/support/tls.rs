//! A gateway with a TLS port and certificates of a test's own CA, and a client for it that says what
//! it was shown.

use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::pin::Pin;

use openssl::hash::MessageDigest;
use openssl::ssl::{Ssl, SslContext, SslMethod, SslVerifyMode, SslVersion};
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::{X509, X509VerifyResult};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_openssl::SslStream;

use super::certificates::Issued;
use super::http1::Head;
use super::{Gateway, PATIENCE, free_address, h2c, merge};

/// A gateway that speaks TLS.
pub struct TlsGateway {
    gateway: Gateway,
    pub address: SocketAddr,
    pub ca: Issued,
}

impl Deref for TlsGateway {
    type Target = Gateway;

    fn deref(&self) -> &Gateway {
        &self.gateway
    }
}

impl DerefMut for TlsGateway {
    fn deref_mut(&mut self) -> &mut Gateway {
        &mut self.gateway
    }
}

impl TlsGateway {
    /// With one certificate file, for these hosts.
    pub async fn start(hosts: &[&str]) -> Self {
        Self::with(hosts, json!({})).await
    }

    pub async fn with(hosts: &[&str], config: Value) -> Self {
        let mut gateway = Self::prepare(hosts, config);
        gateway.boot().await;
        gateway
    }

    /// As [`TlsGateway::with`], not yet started. Without hosts there is no certificate.
    pub fn prepare(hosts: &[&str], config: Value) -> Self {
        Self::prepare_with(config, Gateway::prepare, hosts)
    }

    pub fn prepare_with(config: Value, prepare: impl FnOnce(Value) -> Gateway, hosts: &[&str]) -> Self {
        let address = free_address();
        let mut all = json!({"tls": {"listen": [address]}});
        if !hosts.is_empty() {
            all["tls"]["certificates"] = json!([{"cert": "host.pem", "key": "host.key"}]);
        }
        merge(&mut all, config);
        let this = Self { gateway: prepare(all), address, ca: Issued::ca("The Tests' CA") };
        if !hosts.is_empty() {
            this.put_pair("host", &this.ca.host(hosts));
        }
        this
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    /// Writes `<name>.pem` and `<name>.key`.
    pub fn put_pair(&self, name: &str, issued: &Issued) {
        std::fs::write(self.file(&format!("{name}.key")), issued.key_pem()).unwrap();
        std::fs::write(self.file(&format!("{name}.pem")), issued.cert_pem()).unwrap();
    }

    /// A client that asks for a host and trusts the CA.
    pub fn client(&self, host: &str) -> TlsClient {
        TlsClient {
            address: self.address,
            server_name: Some(host.to_owned()),
            alpn: vec!["http/1.1".into()],
            trusted: vec![self.ca.certificate.clone()],
            identity: None,
            versions: (SslVersion::TLS1_2, SslVersion::TLS1_3),
            ciphers: None,
        }
    }
}

/// How a client connects.
#[derive(Clone)]
pub struct TlsClient {
    address: SocketAddr,
    server_name: Option<String>,
    alpn: Vec<String>,
    trusted: Vec<X509>,
    identity: Option<(Issued, Vec<X509>)>,
    versions: (SslVersion, SslVersion),
    ciphers: Option<String>,
}

/// A response, and the connection it came by.
#[derive(Debug, Clone)]
pub struct TlsResponse {
    pub status: u16,
    pub body: String,
    pub protocol: String,
    /// SHA-256 of the certificate that was shown.
    pub shown: String,
}

impl TlsClient {
    pub fn alpn(mut self, protocols: &[&str]) -> Self {
        self.alpn = protocols.iter().map(ToString::to_string).collect();
        self
    }

    pub fn without_server_name(mut self) -> Self {
        self.server_name = None;
        self
    }

    pub fn showing(mut self, identity: &Issued, issuers: &[&Issued]) -> Self {
        self.identity = Some((identity.clone(), issuers.iter().map(|ca| ca.certificate.clone()).collect()));
        self
    }

    pub fn version(mut self, version: SslVersion) -> Self {
        self.versions = (version, version);
        self
    }

    /// Whatever the version, also those that are broken.
    pub fn ciphers(mut self, ciphers: &str) -> Self {
        self.ciphers = Some(ciphers.into());
        self
    }

    pub async fn connect(&self) -> Result<TlsConnection, String> {
        tokio::time::timeout(PATIENCE, self.try_connect()).await.expect("a handshake, or its refusal")
    }

    async fn try_connect(&self) -> Result<TlsConnection, String> {
        let mut context = SslContext::builder(SslMethod::tls_client()).unwrap();
        context.set_security_level(0);
        context.set_min_proto_version(Some(self.versions.0)).unwrap();
        context.set_max_proto_version(Some(self.versions.1)).unwrap();
        context.set_cipher_list(self.ciphers.as_deref().unwrap_or("ALL:COMPLEMENTOFALL:@SECLEVEL=0")).unwrap();
        let mut store = X509StoreBuilder::new().unwrap();
        for ca in &self.trusted {
            store.add_cert(ca.clone()).unwrap();
        }
        context.set_cert_store(store.build());
        // The test looks at the verdict itself.
        context.set_verify_callback(SslVerifyMode::PEER, |_, _| true);
        let protocols: Vec<u8> =
            self.alpn.iter().flat_map(|p| [&[u8::try_from(p.len()).unwrap()], p.as_bytes()].concat()).collect();
        if !protocols.is_empty() {
            context.set_alpn_protos(&protocols).unwrap();
        }
        if let Some((identity, issuers)) = &self.identity {
            context.set_certificate(&identity.certificate).unwrap();
            context.set_private_key(&identity.key).unwrap();
            for issuer in issuers {
                context.add_extra_chain_cert(issuer.clone()).unwrap();
            }
        }
        let mut ssl = Ssl::new(&context.build()).unwrap();
        if let Some(name) = &self.server_name {
            ssl.set_hostname(name).unwrap();
        }
        let tcp = TcpStream::connect(self.address).await.map_err(|e| e.to_string())?;
        let mut stream = SslStream::new(ssl, tcp).unwrap();
        Pin::new(&mut stream).connect().await.map_err(|e| e.to_string())?;
        let host = self.server_name.clone().unwrap_or_else(|| "nobody.test".into());
        Ok(TlsConnection { stream, host })
    }

    /// Sends a hello and no more; the future is the end of the connection.
    pub async fn connect_and_stall(&self) -> impl Future<Output = ()> + use<> {
        let (mut near, mut far) = tokio::io::duplex(1 << 16);
        let mut ssl = Ssl::new(&SslContext::builder(SslMethod::tls_client()).unwrap().build()).unwrap();
        ssl.set_hostname(self.server_name.as_deref().unwrap()).unwrap();
        let handshake = tokio::spawn(async move {
            let mut stream = SslStream::new(ssl, &mut near).unwrap();
            drop(Pin::new(&mut stream).connect().await);
        });
        let mut hello = vec![0; 1 << 14];
        let n = far.read(&mut hello).await.unwrap();
        let mut tcp = TcpStream::connect(self.address).await.unwrap();
        tcp.write_all(&hello[..n]).await.unwrap();
        handshake.abort();
        async move {
            let mut answer = Vec::new();
            drop(tcp.read_to_end(&mut answer).await);
            assert!(!answer.is_empty(), "the hello was understood");
        }
    }

    /// A GET on a connection of its own.
    pub async fn get(&self, path: &str) -> Result<TlsResponse, String> {
        let mut connection = self.connect().await?;
        if connection.protocol() == "h2" {
            return connection.get_by_h2(path).await;
        }
        connection.get(path).await
    }
}

/// A connection after its handshake.
pub struct TlsConnection {
    pub stream: SslStream<TcpStream>,
    host: String,
}

impl TlsConnection {
    pub fn protocol(&self) -> String {
        String::from_utf8_lossy(self.stream.ssl().selected_alpn_protocol().unwrap_or_default()).into_owned()
    }

    pub fn version(&self) -> &'static str {
        self.stream.ssl().version_str()
    }

    pub fn shown(&self) -> String {
        let shown = self.stream.ssl().peer_certificate().unwrap();
        hex::encode(shown.digest(MessageDigest::sha256()).unwrap())
    }

    /// How many certificates were shown.
    pub fn chain_length(&self) -> usize {
        self.stream.ssl().peer_cert_chain().unwrap().len()
    }

    /// Whether the client trusts what it was shown.
    pub fn is_trusted(&self) -> bool {
        self.stream.ssl().verify_result() == X509VerifyResult::OK
    }

    /// A GET for the host of the handshake; the connection stays open.
    pub async fn get(&mut self, path: &str) -> Result<TlsResponse, String> {
        let host = self.host.clone();
        self.get_of(&host, path).await
    }

    pub async fn get_of(&mut self, host: &str, path: &str) -> Result<TlsResponse, String> {
        let exchanged = tokio::time::timeout(PATIENCE, self.exchange(host, path)).await;
        exchanged.expect("a response, or the end of the connection")
    }

    async fn exchange(&mut self, host: &str, path: &str) -> Result<TlsResponse, String> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        self.stream.write_all(request.as_bytes()).await.map_err(|e| e.to_string())?;
        let mut read = Vec::new();
        let (head, at) = loop {
            if self.stream.read_buf(&mut read).await.map_err(|e| e.to_string())? == 0 {
                return Err("the connection has ended".into());
            }
            if let Some(at) = read.windows(4).position(|w| w == b"\r\n\r\n") {
                break (Head::parse(&String::from_utf8_lossy(&read[..at])), at + 4);
            }
        };
        let length: usize = head.header("content-length").unwrap().parse().unwrap();
        while read.len() < at + length {
            if self.stream.read_buf(&mut read).await.map_err(|e| e.to_string())? == 0 {
                return Err("the connection has ended within the body".into());
            }
        }
        Ok(TlsResponse {
            status: head.first_line.split(' ').nth(1).unwrap().parse().unwrap(),
            body: String::from_utf8_lossy(&read[at..]).into_owned(),
            protocol: self.protocol(),
            shown: self.shown(),
        })
    }

    /// A GET by HTTP/2.
    pub async fn get_by_h2(self, path: &str) -> Result<TlsResponse, String> {
        let (protocol, shown, host) = (self.protocol(), self.shown(), self.host);
        let (client, connection) = h2::client::handshake(self.stream).await.map_err(|e| e.to_string())?;
        tokio::spawn(connection);
        let request = http::Request::get(format!("https://{host}{path}")).body(()).unwrap();
        let mut client = client.ready().await.map_err(|e| e.to_string())?;
        let (response, _) = client.send_request(request, true).map_err(|e| e.to_string())?;
        let response = h2c::read(response).await;
        let body = String::from_utf8_lossy(&response.body).into_owned();
        Ok(TlsResponse { status: response.status, body, protocol, shown })
    }
}

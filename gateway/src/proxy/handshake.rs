//! The TLS handshake of an accepted connection: the server name is read, its context chosen, and all
//! of it has one deadline.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf, BytesMut};
use openssl::ssl::{NameType, Ssl as OpenSsl, SslRef};
use openssl::x509::{X509Ref, X509VerifyResult};
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::SslStream;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream, TimingDigest,
    UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use ws_cloud_plugin_sdk::{ClientCertificate, TlsInfo};

use crate::resource::{alt_names, fingerprint, name_text};
use crate::snapshot::Handle;
use crate::telemetry::{Handshake, Metrics};
use crate::tls::hello::{self, Hello};
use crate::tls::{Files, Found, Policy, Secure};

/// How long a client may take to read why its handshake failed.
const GOODBYE: Duration = Duration::from_secs(1);
/// TLS alerts: RFC 8446 section 6.
const DECODE_ERROR: u8 = 50;
const HANDSHAKE_FAILURE: u8 = 40;
const UNRECOGNIZED_NAME: u8 = 112;
/// What who speaks plain HTTP to a TLS port is told.
const NOT_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 38\r\n\
                         Connection: close\r\n\r\nthis port speaks HTTPS, use https://\r\n";

/// The TLS of a connection.
#[derive(Debug)]
pub(super) struct Tls {
    /// What plugins are told.
    pub(super) info: Arc<TlsInfo>,
    /// What was demanded of the client.
    pub(super) policy: Arc<Policy>,
}

/// Makes TLS of accepted connections.
pub struct Handshakes {
    snapshot: Arc<Handle>,
    files: Arc<Files>,
    timeout: Duration,
    metrics: Arc<Metrics>,
}

impl Handshakes {
    /// Handshakes with the certificates of the snapshot and of these files.
    pub fn new(snapshot: Arc<Handle>, files: Arc<Files>, timeout: Duration, metrics: Arc<Metrics>) -> Self {
        Self { snapshot, files, timeout, metrics }
    }

    /// Makes TLS of a connection, or ends it and returns `None`.
    pub(super) async fn accept(&self, stream: Stream) -> Option<(Stream, Tls)> {
        let (counted, accepted) = match tokio::time::timeout(self.timeout, self.handshake(stream)).await {
            Ok(Ok((stream, tls))) if tls.info.resumed => (Handshake::Resumed, Some((stream, tls))),
            Ok(Ok(accepted)) => (Handshake::Full, Some(accepted)),
            // A probe of the port is no handshake.
            Ok(Err(e)) if e.kind() == io::ErrorKind::NotConnected => return None,
            Ok(Err(e)) => {
                log::debug!("a TLS handshake failed: {e}");
                (Handshake::Failed, None)
            }
            Err(_) => (Handshake::TimedOut, None),
        };
        self.metrics.handshakes.count(counted);
        accepted
    }

    async fn handshake(&self, mut stream: Stream) -> io::Result<(Stream, Tls)> {
        let mut ahead = BytesMut::with_capacity(2048);
        let name = match read_hello(&mut stream, &mut ahead).await? {
            Hello::Complete(name) => name,
            Hello::NotTls => {
                let goodbye: &[u8] = if ahead.first().is_some_and(u8::is_ascii_uppercase) { NOT_TLS } else { b"" };
                return refuse(stream, goodbye, "it does not speak TLS").await;
            }
            Hello::Malformed | Hello::Incomplete(_) => {
                return refuse(stream, &alert(DECODE_ERROR), "its hello is malformed").await;
            }
        };
        let Some(secure) = self.choose(name.as_deref()) else {
            let reason = if name.is_some() { UNRECOGNIZED_NAME } else { HANDSHAKE_FAILURE };
            return refuse(stream, &alert(reason), "there is no certificate for its server name").await;
        };
        let ssl = OpenSsl::new(&secure.context)?;
        let mut stream = SslStream::new(ssl, Rewound { inner: stream, ahead }).map_err(io::Error::other)?;
        stream.accept().await.map_err(io::Error::other)?;
        let tls = Tls { info: Arc::new(info(stream.ssl(), name)?), policy: Arc::clone(&secure.policy) };
        Ok((Box::new(stream), tls))
    }

    fn choose(&self, name: Option<&str>) -> Option<Arc<Secure>> {
        let snapshot = self.snapshot.load();
        match snapshot.certificates.find_in_both(&self.files.load(), name)? {
            Found::Entry(entry) => Some(entry.secure()),
            Found::Closed(_) => None,
        }
    }
}

impl std::fmt::Debug for Handshakes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handshakes").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

async fn read_hello(stream: &mut Stream, ahead: &mut BytesMut) -> io::Result<Hello> {
    let mut needed = 1;
    loop {
        while ahead.len() < needed {
            if stream.read_buf(ahead).await? == 0 {
                let nothing_said = ahead.is_empty();
                let kind = if nothing_said { io::ErrorKind::NotConnected } else { io::ErrorKind::UnexpectedEof };
                return Err(kind.into());
            }
        }
        match hello::read(ahead) {
            Hello::Incomplete(more) => needed = more,
            decided => return Ok(decided),
        }
    }
}

fn alert(description: u8) -> [u8; 7] {
    [21, 3, 3, 0, 2, 2, description]
}

/// Ends a connection that gets no TLS.
async fn refuse<T>(mut stream: Stream, goodbye: &[u8], reason: &'static str) -> io::Result<T> {
    let said = async {
        stream.write_all(goodbye).await?;
        stream.flush().await?;
        AsyncWriteExt::shutdown(&mut stream).await
    };
    // A client that does not listen is not waited for.
    drop(tokio::time::timeout(GOODBYE, said).await);
    Err(io::Error::new(io::ErrorKind::InvalidData, reason))
}

fn info(ssl: &SslRef, server_name: Option<String>) -> io::Result<TlsInfo> {
    // What the context was chosen by must be what OpenSSL read.
    let read = ssl.servername(NameType::HOST_NAME).map(|name| name.trim_end_matches('.').to_ascii_lowercase());
    if read != server_name && !ssl.session_reused() {
        return Err(io::Error::other("OpenSSL reads another server name"));
    }
    let certificate = ssl.peer_certificate().filter(|_| ssl.verify_result() == X509VerifyResult::OK);
    Ok(TlsInfo {
        version: ssl.version_str(),
        cipher: ssl.current_cipher().map_or("", |cipher| cipher.name()),
        server_name,
        resumed: ssl.session_reused(),
        client_certificate: certificate.as_deref().map(client_certificate),
    })
}

fn client_certificate(certificate: &X509Ref) -> ClientCertificate {
    let names = certificate.subject_alt_names();
    let of = |part: fn(&openssl::x509::GeneralNameRef) -> Option<&str>| {
        names.iter().flatten().filter_map(part).map(str::to_owned).collect()
    };
    let serial = certificate.serial_number().to_bn().and_then(|n| n.to_hex_str().map(|s| s.to_ascii_lowercase()));
    ClientCertificate {
        subject: name_text(certificate.subject_name()),
        issuer: name_text(certificate.issuer_name()),
        serial: serial.unwrap_or_default(),
        dns_names: alt_names(certificate),
        email_addresses: of(openssl::x509::GeneralNameRef::email),
        uris: of(openssl::x509::GeneralNameRef::uri),
        fingerprint: fingerprint(certificate),
    }
}

/// A stream whose first bytes were read, and are read again.
struct Rewound {
    inner: Stream,
    ahead: BytesMut,
}

impl std::fmt::Debug for Rewound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rewound").field("ahead", &self.ahead.len()).finish_non_exhaustive()
    }
}

impl AsyncRead for Rewound {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.ahead.has_remaining() {
            let n = this.ahead.len().min(buf.remaining());
            buf.put_slice(&this.ahead.split_to(n));
            if this.ahead.is_empty() {
                this.ahead = BytesMut::new();
            }
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut this.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for Rewound {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

#[async_trait]
impl Shutdown for Rewound {
    async fn shutdown(&mut self) {
        Shutdown::shutdown(&mut *self.inner).await;
    }
}

impl UniqueID for Rewound {
    fn id(&self) -> UniqueIDType {
        self.inner.id()
    }
}

impl Ssl for Rewound {}

impl GetTimingDigest for Rewound {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.inner.get_timing_digest()
    }
}

impl GetProxyDigest for Rewound {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.inner.get_proxy_digest()
    }
}

impl GetSocketDigest for Rewound {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.inner.get_socket_digest()
    }
}

impl Peek for Rewound {}

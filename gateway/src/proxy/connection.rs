//! A client's connection: what is known of it, and a guard around its bytes.
//!
//! Pingora limits each read of a request header, not the whole header (trap T18), and answers
//! malformed requests itself. The guard adds a deadline and a size limit for the header, and puts
//! the gateway's own answer in place of Pingora's.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf, Bytes, BytesMut};
use http::HeaderValue;
use pingora::http::ResponseHeader;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::SslDigest;
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream, TimingDigest,
    UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::Sleep;

use super::handshake::Tls;
use super::record::Unread;

/// What is known of a client's connection.
#[derive(Debug)]
pub(super) struct Connection {
    /// The client as far as TCP tells: the peer of the socket or, of a PROXY header, its source.
    pub(super) peer: SocketAddr,
    /// The peer of the socket, when that is not `peer`, and what is known of whom it stands for.
    relay: Option<Relay>,
    /// The peer's address as a header value.
    pub(super) peer_value: HeaderValue,
    /// Its TLS; `None` in clear text.
    pub(super) tls: Option<Tls>,
    /// Even: a request header is awaited or read. Odd: it is complete. Grows with every request of
    /// an HTTP/1.1 connection.
    turn: AtomicU32,
    /// How many bytes were read that no request so far is known to have had; wraps around.
    unclaimed: AtomicU64,
    pipelines: AtomicBool,
    /// The requests there were, when they are counted.
    requests: AtomicU32,
    /// Ends an HTTP/2 connection once its streams have ended.
    retire: OnceLock<watch::Sender<bool>>,
}

/// A load balancer between client and gateway that told of its client by a PROXY header.
#[derive(Debug, Clone, Copy)]
struct Relay {
    socket: SocketAddr,
    knows_client: bool,
}

impl Connection {
    pub(super) fn new(peer: SocketAddr) -> Self {
        Self::with(peer, None)
    }

    /// A connection that a load balancer opened for a client, whose address it may not know.
    pub(super) fn relayed(socket: SocketAddr, client: Option<SocketAddr>) -> Self {
        Self::with(client.unwrap_or(socket), Some(Relay { socket, knows_client: client.is_some() }))
    }

    /// Whether all who are known to stand on this connection pass. Nobody passes for a client that is not known.
    pub(super) fn all_pass(&self, pass: impl Fn(IpAddr) -> bool) -> bool {
        pass(self.peer.ip()) && self.relay.is_none_or(|relay| relay.knows_client && pass(relay.socket.ip()))
    }

    fn with(peer: SocketAddr, relay: Option<Relay>) -> Self {
        let text = peer.ip().to_canonical().to_string();
        Self {
            peer,
            relay,
            peer_value: HeaderValue::try_from(text).expect("an ip address is a valid header value"),
            tls: None,
            turn: AtomicU32::new(0),
            unclaimed: AtomicU64::new(0),
            pipelines: AtomicBool::new(false),
            requests: AtomicU32::new(0),
            retire: OnceLock::new(),
        }
    }

    /// Counts a request, and says whether there may be none after it; of 0 there may be any number.
    pub(super) fn is_last(&self, max_requests: u32) -> bool {
        max_requests > 0 && self.requests.fetch_add(1, Ordering::Relaxed) + 1 >= max_requests
    }

    /// How [`Connection::retire`] is told to who serves the connection.
    pub(super) fn retire_by(&self, retire: watch::Sender<bool>) {
        // There is one protocol on a connection, and one that serves it.
        drop(self.retire.set(retire));
    }

    /// Tells an HTTP/2 client to open no more streams here. HTTP/1.1 is told with each response.
    pub(super) fn retire(&self) {
        if let Some(retire) = self.retire.get() {
            retire.send_if_modified(|retired| !std::mem::replace(retired, true));
        }
    }

    /// The header of the request is complete; what follows is its body.
    pub(super) fn header_complete(&self) {
        self.turn.fetch_or(1, Ordering::Relaxed);
    }

    /// So many of the bytes that were read were the request's: its header, and a body of known length.
    pub(super) fn request_had(&self, bytes: u64) {
        self.add_unclaimed(bytes.wrapping_neg());
    }

    /// All bytes that were read were the request's.
    pub(super) fn request_had_all(&self) {
        self.unclaimed.store(0, Ordering::Relaxed);
    }

    /// The next request of the connection begins. Whether it is certain that none of its bytes has
    /// been read yet: never again on a connection where some request's length was not known.
    pub(super) fn next_request(&self) -> bool {
        let turn = self.turn.load(Ordering::Relaxed);
        self.turn.store(turn.wrapping_add(turn & 1), Ordering::Relaxed);
        let is_certain = self.unclaimed.load(Ordering::Relaxed) == 0;
        if !is_certain {
            self.pipelines.store(true, Ordering::Relaxed);
        }
        is_certain
    }

    /// Whether the client may have sent a request before the response to the one before it.
    pub(super) fn pipelines(&self) -> bool {
        self.pipelines.load(Ordering::Relaxed)
    }

    fn add_unclaimed(&self, bytes: u64) {
        // One task reads from the connection.
        let unclaimed = self.unclaimed.load(Ordering::Relaxed);
        self.unclaimed.store(unclaimed.wrapping_add(bytes), Ordering::Relaxed);
    }

    /// The connection of a session, put there by [`Guarded`].
    pub(super) fn of(session: &pingora::protocols::http::ServerSession) -> Option<&Arc<Self>> {
        session.digest()?.proxy_digest.as_ref()?.user_data.as_ref()?.downcast_ref()
    }
}

/// Limits of request headers, and what is answered when they are broken.
pub(super) struct HeaderLimits {
    pub(super) timeout: Duration,
    pub(super) max_size: usize,
    pub(super) too_slow: Bytes,
    pub(super) too_large: Bytes,
    pub(super) malformed: Bytes,
    /// Tells of what was answered so.
    pub(super) unread: Unread,
}

/// What is wrong with a request header.
#[derive(Debug, Clone, Copy)]
enum Fault {
    TooSlow,
    TooLarge,
    Malformed,
}

impl HeaderLimits {
    pub(super) fn new(timeout: Duration, max_size: usize, server: &str, unread: Unread) -> Self {
        let answer = |status: &str, body: &str| {
            Bytes::from(format!(
                "HTTP/1.1 {status}\r\nServer: {server}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            ))
        };
        Self {
            timeout,
            max_size,
            too_slow: answer("408 Request Timeout", "the request header took too long\n"),
            too_large: answer("431 Request Header Fields Too Large", "the request header is too large\n"),
            malformed: answer("400 Bad Request", "malformed request\n"),
            unread,
        }
    }
}

/// The request line as it is read. Pingora escapes a space within the target and goes on; another
/// server ends the target there, so such a request is refused (RFC 9112 section 3.2).
#[derive(Debug, Default)]
struct RequestLine {
    spaces: u8,
    /// Something other than the line breaks was read that may come before it.
    begun: bool,
    ended: bool,
}

impl RequestLine {
    fn read(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                _ if self.ended => return,
                b'\r' | b'\n' if !self.begun => {}
                b'\n' => self.ended = true,
                b'\r' => self.begun = true,
                0..=b' ' | 0x7f => self.spaces = self.spaces.saturating_add(1),
                _ => self.begun = true,
            }
        }
    }

    fn is_three_words(&self) -> bool {
        self.spaces <= 2
    }
}

/// How long a client may take to be told that its connection ends.
const GOODBYE: Duration = Duration::from_secs(5);

/// The first bytes of an HTTP/2 connection: RFC 9113 section 3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A client's stream with header deadline and limit.
pub(super) struct Guarded {
    inner: Stream,
    connection: Arc<Connection>,
    digest: Arc<ProxyDigest>,
    limits: Arc<HeaderLimits>,
    /// The turn that the fields below belong to.
    turn: u32,
    header_bytes: usize,
    request_line: RequestLine,
    deadline: Option<Pin<Box<Sleep>>>,
    /// Bytes read ahead, to be read again.
    ahead: BytesMut,
    /// An answer of ours on its way out, in place of anything else that would be written.
    answer: Option<Bytes>,
    /// Longest wait for the client to take bytes, where Pingora is not asked to see to it: a timer of
    /// its own for each write would cost every request.
    send_timeout: Option<Duration>,
    /// Runs while the client takes nothing.
    sending: Option<Pin<Box<Sleep>>>,
}

impl Guarded {
    pub(super) fn new(inner: Stream, connection: Arc<Connection>, limits: Arc<HeaderLimits>) -> pingora::Result<Self> {
        let response = Box::new(ResponseHeader::build(200, Some(0))?);
        let digest = ProxyDigest::new(response, Some(Box::new(Arc::clone(&connection))));
        Ok(Self {
            inner,
            connection,
            digest: Arc::new(digest),
            limits,
            turn: 0,
            header_bytes: 0,
            request_line: RequestLine::default(),
            deadline: None,
            ahead: BytesMut::new(),
            answer: None,
            send_timeout: None,
            sending: None,
        })
    }

    /// Fails writes when the client takes no bytes for so long.
    pub(super) fn limit_sending(&mut self, timeout: Duration) {
        self.send_timeout = Some(timeout);
    }

    /// What came of a write, unless the client has taken nothing for too long.
    fn in_time<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.sending = None;
        } else if let Some(timeout) = self.send_timeout {
            let sending = self.sending.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
            ready!(sending.as_mut().poll(cx));
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes no bytes")));
        }
        written
    }

    /// Whether the client speaks HTTP/2 by prior knowledge. Reads only until that is decided, under
    /// the header's deadline (closes trap T3), and gives the bytes back.
    pub(super) async fn begins_http2(&mut self) -> io::Result<bool> {
        let mut seen = BytesMut::with_capacity(1024);
        let is_http2 = loop {
            let n = self.read_buf(&mut seen).await?;
            let compared = seen.len().min(PREFACE.len());
            if n == 0 || seen[..compared] != PREFACE[..compared] {
                break false;
            }
            if compared == PREFACE.len() {
                break true;
            }
        };
        self.ahead = seen;
        // They will be read again.
        self.connection.request_had_all();
        Ok(is_http2)
    }

    fn reading_header(&mut self) -> bool {
        let turn = self.connection.turn.load(Ordering::Relaxed);
        if turn & 1 == 1 {
            return false;
        }
        if turn != self.turn {
            self.turn = turn;
            self.header_bytes = 0;
            self.request_line = RequestLine::default();
            self.deadline = None;
        }
        true
    }

    /// A read while a header is awaited. The deadline runs from the connection's start, or for a
    /// later request from its first byte; between requests the keep-alive timeout applies.
    fn poll_header(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.answer.is_none() && self.header_bytes >= self.limits.max_size {
            self.refuse(Fault::TooLarge);
        }
        if self.answer.is_none() {
            let before = buf.filled().len();
            if let Poll::Ready(result) = Pin::new(&mut self.inner).poll_read(cx, buf) {
                self.header_bytes += buf.filled().len() - before;
                self.request_line.read(&buf.filled()[before..]);
                if self.request_line.is_three_words() {
                    return Poll::Ready(result);
                }
                buf.set_filled(before);
                self.refuse(Fault::Malformed);
                drop(self.poll_answer(cx));
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "the request line is malformed")));
            }
            if self.turn != 0 && self.header_bytes == 0 {
                return Poll::Pending;
            }
            let timeout = self.limits.timeout;
            let deadline = self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
            ready!(deadline.as_mut().poll(cx));
            if self.header_bytes == 0 {
                // Nothing was asked, so nothing is answered.
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.refuse(Fault::TooSlow);
        }
        // A client that does not read its answer is not waited for.
        drop(self.poll_answer(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the request header broke a limit")))
    }

    /// Answers a header that cannot become a request; nobody else will tell of it.
    fn refuse(&mut self, fault: Fault) {
        let limits = &self.limits;
        let (answer, status, time) = match fault {
            Fault::TooSlow => (&limits.too_slow, 408, limits.timeout),
            Fault::TooLarge => (&limits.too_large, 431, Duration::ZERO),
            Fault::Malformed => (&limits.malformed, 400, Duration::ZERO),
        };
        self.answer = Some(answer.clone());
        limits.unread.record(&self.connection, status, time);
    }

    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(answer) = self.answer.as_mut().filter(|answer| answer.has_remaining()) {
            let n = ready!(Pin::new(&mut self.inner).poll_write(cx, answer))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            answer.advance(n);
        }
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    /// Puts our answer in place of what Pingora would say to a request it could not read.
    fn poll_replaced(&mut self, cx: &mut Context<'_>, len: usize) -> Poll<io::Result<usize>> {
        if self.answer.is_none() {
            self.refuse(Fault::Malformed);
        }
        ready!(self.poll_answer(cx))?;
        Poll::Ready(Ok(len))
    }
}

impl std::fmt::Debug for Guarded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guarded").field("peer", &self.connection.peer).finish_non_exhaustive()
    }
}

impl AsyncRead for Guarded {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let result = if !this.ahead.is_empty() {
            let n = this.ahead.len().min(buf.remaining());
            buf.put_slice(&this.ahead.split_to(n));
            Poll::Ready(Ok(()))
        } else if this.reading_header() {
            this.poll_header(cx, buf)
        } else {
            Pin::new(&mut this.inner).poll_read(cx, buf)
        };
        this.connection.add_unclaimed((buf.filled().len() - before) as u64);
        result
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.reading_header() {
            return this.poll_replaced(cx, buf.len());
        }
        let written = Pin::new(&mut this.inner).poll_write(cx, buf);
        this.in_time(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.reading_header() {
            return this.poll_replaced(cx, bufs.iter().map(|b| b.len()).sum());
        }
        let written = Pin::new(&mut this.inner).poll_write_vectored(cx, bufs);
        this.in_time(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.inner).poll_flush(cx);
        this.in_time(cx, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

#[async_trait]
impl Shutdown for Guarded {
    /// Bounded: TLS says goodbye, and a client that takes no bytes would be waited for without end.
    async fn shutdown(&mut self) {
        if tokio::time::timeout(GOODBYE, self.inner.shutdown()).await.is_err() {
            log::debug!("{} does not take the end of its connection", self.connection.peer);
        }
    }
}

impl UniqueID for Guarded {
    fn id(&self) -> UniqueIDType {
        self.inner.id()
    }
}

impl Ssl for Guarded {
    fn get_ssl(&self) -> Option<&pingora::protocols::tls::TlsRef> {
        self.inner.get_ssl()
    }

    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.inner.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.inner.selected_alpn_proto()
    }
}

impl GetTimingDigest for Guarded {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.inner.get_timing_digest()
    }
}

impl GetProxyDigest for Guarded {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        Some(Arc::clone(&self.digest))
    }
}

impl GetSocketDigest for Guarded {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.inner.get_socket_digest()
    }
}

/// Peeking is not offered: Pingora then takes the word of the service for the protocol, which
/// [`Guarded::begins_http2`] has decided.
impl Peek for Guarded {}

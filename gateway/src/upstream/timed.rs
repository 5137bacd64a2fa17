//! Connections to nodes whose reads have a deadline that a request sets.
//!
//! Pingora knows one read timeout for a whole exchange, so a limit for the first byte of a response
//! that is shorter than that for silence within it cannot be had from it. A request with such a
//! limit connects by [`TimedConnector`]; others never see this file. Pingora does not reuse such
//! connections. HTTP/1.1 only: an HTTP/2 connection serves many requests.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::task::AtomicWaker;
use pingora::connectors::L4Connect;
use pingora::http::ResponseHeader;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::protocols::l4::stream::Stream;
use pingora::protocols::l4::virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream};
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::{Digest, GetProxyDigest as _};
use pingora::upstreams::peer::HttpPeer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::gate::connect;
use super::state::now_ms;

/// Keeps these connections out of the pool's others, which it does not tell apart by connector.
const GROUP: u64 = 0x7469_6d65_6400_0000;

/// Makes a peer connect with a deadline that can be set. `false`: it has a connector of its own,
/// and keeps it.
pub fn time(peer: &mut HttpPeer) -> bool {
    if peer.options.custom_l4.is_some() {
        return false;
    }
    peer.options.custom_l4 = Some(Arc::new(TimedConnector));
    peer.group_key ^= GROUP;
    peer.options.idle_timeout = Some(Duration::from_millis(1));
    true
}

/// Until when a connection may be read from. Set by the request that has the connection.
#[derive(Debug, Default)]
pub struct ReadDeadline {
    /// On the clock of node states; 0 = none.
    at: AtomicU64,
    reader: AtomicWaker,
}

impl ReadDeadline {
    /// The deadline of the connection with this digest, when it has one.
    pub fn of(digest: &Digest) -> Option<Arc<Self>> {
        digest.proxy_digest.as_ref()?.user_data.as_ref()?.downcast_ref::<Arc<Self>>().cloned()
    }

    /// Sets the deadline, or takes it away.
    pub fn set(&self, deadline: Option<Instant>) {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let at = left.map_or(0, |left| now_ms().saturating_add(u64::try_from(left.as_millis()).unwrap_or(u64::MAX)));
        self.at.store(at, Ordering::Release);
        // A read may be waiting already.
        self.reader.wake();
    }
}

#[derive(Debug)]
struct TimedConnector;

#[async_trait]
impl L4Connect for TimedConnector {
    async fn connect(&self, address: &SocketAddr) -> pingora::Result<Stream> {
        let socket = connect(address).await?;
        let deadline = Arc::new(ReadDeadline::default());
        let timed = Timed { socket, deadline: Arc::clone(&deadline), armed: 0, sleep: None };
        let mut stream = Stream::from(VirtualSocketStream::new(Box::new(timed)));
        let response = Box::new(ResponseHeader::build(200, Some(0))?);
        stream.set_proxy_digest(ProxyDigest::new(response, Some(Box::new(deadline))));
        Ok(stream)
    }
}

/// A socket whose reads end with an error at the deadline.
#[derive(Debug)]
struct Timed {
    socket: TcpStream,
    deadline: Arc<ReadDeadline>,
    /// The deadline that `sleep` is set to.
    armed: u64,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timed {
    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        self.deadline.reader.register(cx.waker());
        let at = self.deadline.at.load(Ordering::Acquire);
        if at == 0 {
            return false;
        }
        if self.armed != at || self.sleep.is_none() {
            let left = Duration::from_millis(at.saturating_sub(now_ms()));
            self.armed = at;
            self.sleep = Some(Box::pin(tokio::time::sleep(left)));
        }
        self.sleep.as_mut().is_some_and(|sleep| sleep.as_mut().poll(cx).is_ready())
    }
}

impl VirtualSocket for Timed {
    fn set_socket_option(&self, option: VirtualSockOpt) -> io::Result<()> {
        match option {
            VirtualSockOpt::NoDelay => self.socket.set_nodelay(true),
            _ => Ok(()),
        }
    }
}

impl AsyncRead for Timed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.socket).poll_read(cx, buf);
        if read.is_pending() && self.is_over(cx) {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the node took too long")));
        }
        read
    }
}

impl AsyncWrite for Timed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

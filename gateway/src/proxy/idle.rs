//! The wait for a connection's next request: it costs little memory, and no timer a request.
//!
//! Pingora waits within the future that serves the request, which takes 10 KiB and more. Here the
//! first bytes are awaited outside of it, and handed over. The timer is set anew only when it fires:
//! a connection that is busy never touches it.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use pingora::protocols::Stream;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// Most bytes that are taken at first: more than nearly every request header has.
const FIRST_READ: usize = 4096;

/// Waits for first bytes, for so long.
pub(super) struct Idle {
    timeout: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Idle {
    pub(super) fn new(timeout: Duration) -> Self {
        Self { timeout, timer: None }
    }

    /// The first bytes of a connection. How long that may take is known to the guard of its header.
    pub(super) async fn first(stream: &mut Stream) -> io::Result<BytesMut> {
        poll_fn(|cx| poll_some(stream, cx)).await
    }

    /// The first bytes of its next request; none when the client has closed it.
    ///
    /// # Errors
    /// When there were none for too long, and as the stream says.
    pub(super) async fn next(&mut self, stream: &mut Stream) -> io::Result<BytesMut> {
        let mut over = None;
        poll_fn(|cx| match poll_some(stream, cx) {
            Poll::Pending => {
                let over = *over.get_or_insert_with(|| Instant::now() + self.timeout);
                ready!(self.poll_timer(cx, over));
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
            some => some,
        })
        .await
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>, over: Instant) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(over)));
        loop {
            ready!(timer.as_mut().poll(cx));
            if timer.deadline() >= over {
                return Poll::Ready(());
            }
            // It was set for the wait before an earlier request.
            timer.as_mut().reset(over);
        }
    }
}

fn poll_some(stream: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<BytesMut>> {
    let mut space = [MaybeUninit::uninit(); FIRST_READ];
    let mut buffer = ReadBuf::uninit(&mut space);
    ready!(Pin::new(stream).poll_read(cx, &mut buffer))?;
    Poll::Ready(Ok(BytesMut::from(buffer.filled())))
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    async fn connected() -> (TcpStream, Stream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        (client, Box::new(pingora::protocols::l4::stream::Stream::from(server)))
    }

    #[tokio::test]
    async fn a_busy_connection_is_kept_and_a_silent_one_is_not() {
        let (mut client, mut stream) = connected().await;
        let mut idle = Idle::new(Duration::from_millis(200));
        // Longer together than the timeout.
        for _ in 0..4 {
            let next = idle.next(&mut stream);
            let ask = async {
                tokio::time::sleep(Duration::from_millis(80)).await;
                client.write_all(b"GET").await.unwrap();
            };
            assert_eq!(tokio::join!(next, ask).0.unwrap(), "GET");
        }
        let began = Instant::now();
        assert_eq!(idle.next(&mut stream).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(began.elapsed() >= Duration::from_millis(190), "the timer was an earlier wait's");
    }

    #[tokio::test]
    async fn a_closed_connection_has_no_bytes() {
        let (client, mut stream) = connected().await;
        drop(client);
        assert!(Idle::first(&mut stream).await.unwrap().is_empty());
    }
}

//! A TCP proxy that goes silent or loses answers, as a network does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU16, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What becomes of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(in crate::store) enum Fate {
    Pass = 0,
    /// Nothing goes through, and no connection is closed.
    Freeze = 1,
    /// Requests arrive; the first answer is thrown away and with it the connection.
    LoseAnswer = 2,
}

pub(in crate::store) struct TcpProxy {
    port: u16,
    state: Arc<State>,
    task: tokio::task::JoinHandle<()>,
}

struct State {
    target: AtomicU16,
    fate: AtomicU8,
}

impl TcpProxy {
    pub(in crate::store) async fn to(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State { target: target.into(), fate: AtomicU8::new(0) });
        let task = tokio::spawn(accept(listener, Arc::clone(&state)));
        Self { port, state, task }
    }

    pub(in crate::store) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(in crate::store) fn set(&self, fate: Fate) {
        self.state.fate.store(fate as u8, Ordering::SeqCst);
    }
}

impl Drop for TcpProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl State {
    fn is(&self, fate: Fate) -> bool {
        self.fate.load(Ordering::SeqCst) == fate as u8
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    // Dropped with the proxy, which ends the connections.
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let state = Arc::clone(&state);
        connections.spawn(async move {
            let Ok(server) = TcpStream::connect(("127.0.0.1", state.target.load(Ordering::SeqCst))).await else {
                return;
            };
            let (client_read, client_write) = client.into_split();
            let (server_read, server_write) = server.into_split();
            tokio::select! {
                () = copy(client_read, server_write, &state, false) => {}
                () = copy(server_read, client_write, &state, true) => {}
            }
        });
    }
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, state: &State, answers: bool) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        while state.is(Fate::Freeze) {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        // An answer to a call is longer than HTTP/2's own small frames.
        if answers && state.is(Fate::LoseAnswer) && count > 40 {
            state.fate.store(Fate::Pass as u8, Ordering::SeqCst);
            return;
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

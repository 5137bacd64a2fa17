//! HTTP/1.1 upstreams within the test, which remember what reached them.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use super::http1::{Client, Head};

/// No more of a body than this is remembered.
const KEPT: usize = 1 << 20;

/// A request as it reached the upstream.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: String,
    pub target: String,
    pub head: Head,
    /// The beginning of the body.
    pub body: Vec<u8>,
    pub body_length: usize,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }
}

/// An upstream; it ends with the value.
pub struct Upstream {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Upstream {
    /// Answers 200 with what it has seen, as JSON.
    pub async fn echo() -> Self {
        let listener = listen().await;
        let me = listener.local_addr().unwrap().to_string();
        Self::on(listener, move |seen| {
            let headers: Vec<_> = seen.head.headers.iter().map(|(n, v)| json!([n.to_ascii_lowercase(), v])).collect();
            let body = json!({
                "upstream": me,
                "method": seen.method,
                "target": seen.target,
                "headers": headers,
                "body_length": seen.body_length,
            });
            ok(&body.to_string())
        })
    }

    /// Answers 200 with a text.
    pub async fn saying(text: &'static str) -> Self {
        Self::answering(move |_| ok(text)).await
    }

    /// Answers with the bytes that the function makes. Those must frame themselves.
    pub async fn answering(answer: impl Fn(&Seen) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::on(listen().await, answer)
    }

    fn on(listener: TcpListener, answer: impl Fn(&Seen) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (answer, record) = (Arc::new(answer), seen.clone());
        let mut upstream = Self::serving(listener, move |stream, _| {
            let (answer, record) = (answer.clone(), record.clone());
            async move {
                // The gateway ends connections whenever it likes.
                drop(converse(stream, &*answer, &record).await);
            }
        });
        upstream.seen = seen;
        upstream
    }

    /// Runs a script for each connection; it is told the connection's number, from 0.
    pub async fn scripted<F: Future<Output = ()> + Send + 'static>(
        script: impl Fn(TcpStream, usize) -> F + Send + Sync + 'static,
    ) -> Self {
        Self::serving(listen().await, script)
    }

    fn serving<F: Future<Output = ()> + Send + 'static>(
        listener: TcpListener,
        script: impl Fn(TcpStream, usize) -> F + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        let task = tokio::spawn(async move {
            let mut running = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                drop(stream.set_nodelay(true));
                running.spawn(script(stream, count.fetch_add(1, Ordering::SeqCst)));
                while running.try_join_next().is_some() {}
            }
        });
        Self { address, seen: Arc::default(), connections, task }
    }

    /// The requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The last request.
    #[track_caller]
    pub fn last(&self) -> Seen {
        self.seen().pop().expect("no request has reached the upstream")
    }

    pub fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    /// The connections so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A 200 response with a body.
pub fn ok(body: &str) -> Vec<u8> {
    respond(200, &[], body)
}

/// A response with a body.
pub fn respond(status: u16, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    let mut response = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        response.push_str(&format!("{name}: {value}\r\n"));
    }
    (response + "\r\n" + body).into_bytes()
}

async fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

async fn converse(
    stream: TcpStream,
    answer: &(impl Fn(&Seen) -> Vec<u8> + Send + Sync),
    record: &Mutex<Vec<Seen>>,
) -> io::Result<()> {
    let mut client = Client::over(stream);
    loop {
        let seen = read_request(&mut client).await?;
        let response = answer(&seen);
        record.lock().unwrap().push(seen);
        client.send(&response).await?;
    }
}

/// Reads a request, the body included; sends 100 to who waits for it.
pub async fn read_request(client: &mut Client) -> io::Result<Seen> {
    let head = client.head().await?;
    if head.header("expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue")) {
        client.send(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    let (body, body_length) = read_body(client, &head).await?;
    let mut words = head.first_line.split(' ');
    let method = words.next().unwrap_or_default().to_owned();
    let target = words.next().unwrap_or_default().to_owned();
    Ok(Seen { method, target, head, body, body_length })
}

async fn read_body(client: &mut Client, head: &Head) -> io::Result<(Vec<u8>, usize)> {
    let (mut body, mut length) = (Vec::new(), 0);
    let mut keep = |piece: &[u8]| {
        length += piece.len();
        body.extend_from_slice(&piece[..piece.len().min(KEPT.saturating_sub(body.len()))]);
    };
    if let Some(size) = head.header("content-length").and_then(|value| value.parse::<usize>().ok()) {
        let mut left = size;
        while left > 0 {
            let piece = client.exactly(left.min(256 * 1024)).await?;
            left -= piece.len();
            keep(&piece);
        }
    } else if head.header("transfer-encoding").is_some() {
        while let Some(piece) = client.chunk().await? {
            keep(&piece);
        }
    }
    Ok((body, length))
}

/// An upstream that can die, with every connection it has, and come back.
pub struct Mortal {
    pub address: SocketAddr,
    serve: Box<dyn Fn(TcpListener) -> JoinHandle<()> + Send + Sync>,
    task: JoinHandle<()>,
}

impl Mortal {
    /// Tells `delivered` of each request as soon as it has its head, and answers 200 a while later.
    pub async fn start(pause: Duration, delivered: impl Fn(&str) + Send + Sync + 'static) -> Self {
        let address = super::free_address();
        let delivered = Arc::new(delivered);
        let serve = move |listener: TcpListener| {
            let delivered = delivered.clone();
            tokio::spawn(async move {
                let mut running = JoinSet::new();
                while let Ok((stream, _)) = listener.accept().await {
                    let delivered = delivered.clone();
                    running.spawn(async move {
                        let mut client = Client::over(stream);
                        while let Ok(head) = client.head().await {
                            delivered(head.first_line.split(' ').nth(1).unwrap_or_default());
                            if read_body(&mut client, &head).await.is_err() {
                                return;
                            }
                            tokio::time::sleep(pause).await;
                            drop(client.send(&ok("served")).await);
                        }
                    });
                    while running.try_join_next().is_some() {}
                }
            })
        };
        let task = serve(TcpListener::bind(address).await.unwrap());
        Self { address, serve: Box::new(serve), task }
    }

    /// Ends at once: connections are cut, new ones refused.
    pub async fn die(&mut self) {
        self.task.abort();
        drop((&mut self.task).await);
    }

    pub async fn revive(&mut self) {
        self.task = (self.serve)(TcpListener::bind(self.address).await.unwrap());
    }
}

impl Drop for Mortal {
    fn drop(&mut self) {
        self.task.abort();
    }
}

//! An HTTP/1.1 client that shows what is on the wire: it adds nothing, and forgives nothing.

use std::io;
use std::net::SocketAddr;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::PATIENCE;

/// A request to be written as bytes.
#[derive(Clone)]
pub struct Request {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    pub fn new(method: &str, target: &str) -> Self {
        Self { method: method.into(), target: target.into(), headers: Vec::new(), body: Vec::new() }
    }

    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    pub fn method(&self) -> &str {
        &self.method
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        let length = self.body.len().to_string();
        self.header("Content-Length", &length)
    }

    fn has(&self, header: &str) -> bool {
        self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(header))
    }

    /// The bytes; `Host: gateway.test` unless the request has one.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        if !self.has("host") {
            head.push_str("Host: gateway.test\r\n");
        }
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        [head.as_bytes(), &self.body].concat()
    }

    /// Sends it on a connection of its own, and returns the response.
    pub async fn send(&self, to: SocketAddr) -> Response {
        self.try_send(to).await.unwrap_or_else(|e| panic!("{} {}: {e}", self.method, self.target))
    }

    pub async fn try_send(&self, to: SocketAddr) -> io::Result<Response> {
        let mut client = Client::try_connect(to).await?;
        let mut request = self.clone().header("Connection", "close");
        if !request.has("host") {
            // The Admin API answers only to its own name.
            request = request.header("Host", &to.to_string());
        }
        client.send(&request.to_bytes()).await?;
        client.response_to(&self.method).await
    }
}

/// The head of a message.
#[derive(Debug, Clone, Default)]
pub struct Head {
    /// Request or status line.
    pub first_line: String,
    pub headers: Vec<(String, String)>,
}

impl Head {
    pub fn parse(text: &str) -> Self {
        let mut lines = text.split("\r\n");
        let first_line = lines.next().unwrap_or_default().to_owned();
        let headers = lines
            .take_while(|line| !line.is_empty())
            .map(|line| {
                let (name, value) = line.split_once(':').unwrap_or((line, ""));
                (name.to_owned(), value.trim().to_owned())
            })
            .collect();
        Self { first_line, headers }
    }

    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.all(name).into_iter().next()
    }

    /// All values of a header.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str()).collect()
    }

    fn status(&self) -> u16 {
        self.first_line.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_default()
    }

    fn is_chunked(&self) -> bool {
        self.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"))
    }
}

/// A whole response.
#[derive(Debug, Clone, Default)]
pub struct Response {
    pub status: u16,
    pub head: Head,
    pub body: Vec<u8>,
    /// The informational responses before it.
    pub interim: Vec<u16>,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("{}: not JSON ({e}): {}", self.head.first_line, self.text()))
    }

    /// The same, once its status is what it should be.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{} {:?} {}", self.head.first_line, self.head.headers, self.text());
        self
    }
}

/// A connection.
pub struct Client {
    stream: TcpStream,
    buffer: BytesMut,
    received: usize,
}

impl Client {
    pub async fn connect(to: SocketAddr) -> Self {
        Self::try_connect(to).await.unwrap_or_else(|e| panic!("cannot connect to {to}: {e}"))
    }

    pub async fn try_connect(to: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        Ok(Self::over(stream))
    }

    /// From another address of this machine, such as 127.0.0.2.
    pub async fn connect_from(from: std::net::IpAddr, to: SocketAddr) -> Self {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(from, 0)).unwrap();
        Self::over(socket.connect(to).await.unwrap_or_else(|e| panic!("cannot connect to {to} from {from}: {e}")))
    }

    pub fn over(stream: TcpStream) -> Self {
        Self { stream, buffer: BytesMut::new(), received: 0 }
    }

    /// How many bytes have come.
    pub fn received(&self) -> usize {
        self.received
    }

    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        timeout(PATIENCE, self.stream.write_all(bytes)).await.map_err(|_| stuck("write"))?
    }

    /// Sends a GET and reads its response; the connection stays.
    pub async fn get(&mut self, target: &str) -> io::Result<Response> {
        self.send(&Request::get(target).to_bytes()).await?;
        self.response_to("GET").await
    }

    /// Reads the response to a request of this method.
    pub async fn response_to(&mut self, method: &str) -> io::Result<Response> {
        let mut interim = Vec::new();
        let head = loop {
            let head = self.head().await?;
            match head.status() {
                101 => break head,
                status @ 100..200 => interim.push(status),
                _ => break head,
            }
        };
        let status = head.status();
        let body =
            if method == "HEAD" || matches!(status, 101 | 204 | 304) { Vec::new() } else { self.body(&head).await? };
        Ok(Response { status, head, body, interim })
    }

    /// Reads up to the empty line.
    pub async fn head(&mut self) -> io::Result<Head> {
        loop {
            if let Some(end) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                let text = String::from_utf8_lossy(&self.buffer.split_to(end + 4)).into_owned();
                return Ok(Head::parse(&text));
            }
            self.fill().await?;
        }
    }

    /// Reads a message's body as its head frames it.
    pub async fn body(&mut self, head: &Head) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        if head.is_chunked() {
            while let Some(chunk) = self.chunk().await? {
                body.extend_from_slice(&chunk);
            }
        } else if let Some(length) = head.header("content-length") {
            let length = length.parse().map_err(|_| invalid("content-length"))?;
            body = self.exactly(length).await?;
        } else {
            body = self.rest().await?;
        }
        Ok(body)
    }

    /// Reads a chunk of a chunked body; `None` after the last one and its trailers.
    pub async fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let line = self.line().await?;
        let size = usize::from_str_radix(line.split(';').next().unwrap_or_default(), 16)
            .map_err(|_| invalid(&format!("chunk size {line:?}")))?;
        if size == 0 {
            while !self.line().await?.is_empty() {}
            return Ok(None);
        }
        let chunk = self.exactly(size).await?;
        if self.line().await?.is_empty() { Ok(Some(chunk)) } else { Err(invalid("chunk end")) }
    }

    async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|w| w == b"\r\n") {
                let line = self.buffer.split_to(end + 2);
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            self.fill().await?;
        }
    }

    pub async fn exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < length {
            self.fill().await?;
        }
        Ok(self.buffer.split_to(length).to_vec())
    }

    /// Some bytes: what is there, or what comes next.
    pub async fn some(&mut self) -> io::Result<Vec<u8>> {
        if self.buffer.is_empty() {
            self.fill().await?;
        }
        Ok(self.buffer.split().to_vec())
    }

    /// Everything up to the end of the connection.
    pub async fn rest(&mut self) -> io::Result<Vec<u8>> {
        loop {
            match self.fill().await {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(self.buffer.split().to_vec()),
                Err(e) => return Err(e),
            }
        }
    }

    /// Everything up to the end of the connection, a reset being an end too.
    pub async fn until_closed(&mut self) -> Vec<u8> {
        loop {
            match self.fill().await {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::TimedOut => {
                    panic!("the connection stays open; got {:?}", String::from_utf8_lossy(&self.buffer))
                }
                Err(_) => return self.buffer.split().to_vec(),
            }
        }
    }

    async fn fill(&mut self) -> io::Result<()> {
        self.buffer.reserve(64 * 1024);
        match timeout(PATIENCE, self.stream.read_buf(&mut self.buffer)).await {
            Err(_) => Err(stuck("read")),
            Ok(Ok(0)) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection ended")),
            Ok(Ok(count)) => {
                self.received += count;
                Ok(())
            }
            Ok(Err(e)) => Err(e),
        }
    }

    /// Ends our side of the connection, as a client that has nothing more to say.
    pub async fn finish(&mut self) {
        drop(self.stream.shutdown().await);
    }
}

fn stuck(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("{what}: nothing for {PATIENCE:?}"))
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("malformed {what}"))
}

/// What came back for bytes sent on a connection of their own.
#[derive(Debug)]
pub struct Exchange {
    /// The statuses of the responses, in order.
    pub statuses: Vec<u16>,
    /// Everything, up to the end of the connection.
    pub bytes: Vec<u8>,
}

/// Sends bytes, and reads until the gateway ends the connection.
pub async fn exchange(to: SocketAddr, bytes: &[u8]) -> Exchange {
    let mut client = Client::connect(to).await;
    // The gateway may have answered and closed before it has all of it.
    drop(client.send(bytes).await);
    let bytes = client.until_closed().await;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let statuses =
        text.split("HTTP/1.1 ").skip(1).filter_map(|rest| rest.get(..3).and_then(|code| code.parse().ok())).collect();
    Exchange { statuses, bytes }
}

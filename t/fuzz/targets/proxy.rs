//! The whole data plane: any bytes of a client, or of a node.
//!
//! The client's end is in memory, the node a socket of ours that reads strictly. What must hold: it
//! neither panics nor hangs; each request that reaches the node is one whole request on a path of
//! the route; and what a node says becomes one whole response.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use pingora::apps::ServerApp;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::LocalSet;
use ws_cloud_gateway::config::Config;
use ws_cloud_gateway::proxy::Edge;
use ws_cloud_gateway::server::bare;
use ws_cloud_gateway::snapshot::Change;

use super::input::Input;
use super::wire::Wire;

/// How long an input may take. It never takes so long, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// The ports of the listeners: HTTP/1.1, HTTP/2 by prior knowledge, and HTTP/1.1 behind PROXY headers.
const PORTS: [u16; 3] = [10_000, 11_000, 10_001];

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

pub fn run(bytes: &[u8]) {
    thread_local! {
        static BENCH: Bench = Bench::new();
    }
    BENCH.with(|bench| bench.run(bytes));
}

struct Bench {
    runtime: tokio::runtime::Runtime,
    local: LocalSet,
    edge: Arc<Edge>,
    node: Rc<RefCell<Node>>,
    /// Never told to end.
    _shutdown: watch::Sender<bool>,
    ending: watch::Receiver<bool>,
}

/// What the node says, and what it has found wrong.
#[derive(Default)]
struct Node {
    answer: Vec<u8>,
    wrong: Option<String>,
}

impl Bench {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let local = LocalSet::new();
        let node = Rc::new(RefCell::new(Node::default()));
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        local.spawn_local(serve(listener, Rc::clone(&node)));
        let edge = runtime.block_on(async { edge(address) });
        let (shutdown, ending) = watch::channel(false);
        Self { runtime, local, edge, node, _shutdown: shutdown, ending }
    }

    fn run(&self, bytes: &[u8]) {
        let mut input = Input::new(bytes);
        let choices = input.byte();
        let port = if choices & 32 == 0 { PORTS[usize::from(choices & 1)] } else { PORTS[2] };
        let from_node = choices & 2 != 0 && port != PORTS[2];
        // In how large pieces the client sends.
        let piece = [usize::MAX, 1, 7, 100][usize::from(choices >> 2 & 3)];
        let rest = input.rest();
        let (sent, answer) = match (from_node, choices & 16 != 0) {
            (false, _) => (rest, OK),
            (true, false) => (&b"GET /fuzz/x HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"[..], rest),
            (true, true) => (&b"HEAD /fuzz/x HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"[..], rest),
        };
        *self.node.borrow_mut() = Node { answer: answer.to_vec(), wrong: None };
        let received = self.local.block_on(&self.runtime, async {
            let exchange = exchange(&self.edge, &self.ending, port, sent, piece);
            tokio::time::timeout(PATIENCE, exchange).await.expect("it hangs")
        });
        if let Some(wrong) = self.node.borrow_mut().wrong.take() {
            panic!("{wrong}");
        }
        let is_http1 = port != PORTS[1] || from_node;
        if is_http1 && !received.is_empty() {
            let text = String::from_utf8_lossy(&received);
            assert!(text.starts_with("HTTP/1.1 "), "no response: {text:?}");
            assert!(!text.starts_with("HTTP/1.1 500"), "an error of our own: {text:?}");
            if from_node {
                assert_one_response(&received, choices & 16 != 0);
            }
        }
    }
}

/// A data plane with one route, `/fuzz/*`, to this node.
fn edge(node: SocketAddr) -> Arc<Edge> {
    let mut config = Config::default();
    config.listeners.http = [PORTS[0], PORTS[2]].map(|port| SocketAddr::from(([127, 0, 0, 1], port))).to_vec();
    config.listeners.h2c = vec![SocketAddr::from(([127, 0, 0, 1], PORTS[1]))];
    config.client.proxy_protocol.ports = vec![PORTS[2]];
    config.client.proxy_protocol.from = vec!["192.0.2.0/24".parse().unwrap()];
    config.log.access.output = "off".to_owned();
    let patience = Duration::from_millis(500);
    config.client.header_timeout = patience;
    config.client.body_timeout = patience;
    config.client.h2_idle_timeout = patience;
    config.upstream.read_timeout = patience;
    let service = node.to_string();
    let objects = [
        (
            "routes/fuzz".to_owned(),
            json!({"prefix": "/fuzz/*", "service_name": "s", "status": 1, "plugins": ["discovery", "tracing", "rewrite"],
                "props": {"rewrite_url_regex": "^/fuzz/again/", "rewrite_replace": "/fuzz/"}}),
        ),
        ("discovery/s.0".to_owned(), json!({"service_name": "s", "upstream": service, "weight": 1, "status": 1})),
    ];
    let changes =
        objects.into_iter().map(|(key, value)| Change { key, value: Some(value.to_string().into()), revision: 1 });
    let factories = ws_cloud_plugin_standard::factories();
    bare::edge(&config, factories, changes.collect(), super::env).unwrap()
}

/// Sends bytes as a client does that then has no more to say; returns all that came back.
async fn exchange(edge: &Arc<Edge>, ending: &watch::Receiver<bool>, port: u16, sent: &[u8], piece: usize) -> Vec<u8> {
    let (wire, client) = Wire::to(SocketAddr::from(([127, 0, 0, 1], port)));
    let (mut from_gateway, mut to_gateway) = tokio::io::split(client);
    let sending = async {
        for piece in sent.chunks(piece.min(sent.len()).max(1)) {
            if to_gateway.write_all(piece).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
        // It may have closed its end already.
        drop(to_gateway.shutdown().await);
    };
    let mut received = Vec::new();
    let receiving = async { drop(from_gateway.read_to_end(&mut received).await) };
    tokio::join!(edge.process_new(Box::new(wire), ending), sending, receiving);
    received
}

/// A node that reads strictly and notes what is wrong.
async fn serve(listener: TcpListener, node: Rc<RefCell<Node>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let node = Rc::clone(&node);
        tokio::task::spawn_local(async move {
            if let Err(wrong) = converse(stream, &node).await {
                node.borrow_mut().wrong.get_or_insert(wrong);
            }
        });
    }
}

async fn converse(mut stream: TcpStream, node: &RefCell<Node>) -> Result<(), String> {
    drop(stream.set_nodelay(true));
    let mut buffer = Vec::new();
    loop {
        let length = loop {
            if let Some(length) = request_length(&buffer)? {
                break length;
            }
            match stream.read_buf(&mut buffer).await {
                Ok(1..) => {}
                // Its client had gone before the request was whole.
                _ => return Ok(()),
            }
        };
        if buffer.len() > length {
            return Err(format!("bytes after a request: {:?}", String::from_utf8_lossy(&buffer)));
        }
        buffer.clear();
        let answer = node.borrow().answer.clone();
        if stream.write_all(&answer).await.is_err() || answer != OK {
            return Ok(());
        }
    }
}

/// The length of the request at the beginning of these bytes, when it is whole. An error when it is
/// none that a strict server takes.
fn request_length(bytes: &[u8]) -> Result<Option<usize>, String> {
    let Some(head) = bytes.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4) else { return Ok(None) };
    let shown = || String::from_utf8_lossy(&bytes[..head]).into_owned();
    // Values may have any byte from 0x80 on.
    let text: String = bytes[..head - 4].iter().map(|byte| char::from(*byte)).collect();
    let mut lines = text.split("\r\n");
    let words: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
    let [_, target, "HTTP/1.1"] = words[..] else { return Err(format!("no request line: {:?}", shown())) };
    let path = target.split('?').next().unwrap_or_default().to_ascii_lowercase().replace("%2e", ".");
    if !path.starts_with("/fuzz/") || path.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err(format!("a path outside of the route: {:?}", shown()));
    }
    let (mut length, mut chunked, mut hosts) = (None, false, 0);
    for line in lines {
        let (name, value) = line.split_once(':').ok_or_else(|| format!("no header: {:?}", shown()))?;
        if name.is_empty()
            || name.bytes().any(|b| !b.is_ascii_graphic())
            || value.bytes().any(|b| matches!(b, b'\r' | b'\n' | 0))
        {
            return Err(format!("a bad header: {:?}", shown()));
        }
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "host" => hosts += 1,
            "content-length" if length.is_none() => {
                length = Some(value.parse::<usize>().map_err(|_| format!("a bad length: {:?}", shown()))?);
            }
            "content-length" => return Err(format!("two lengths: {:?}", shown())),
            "transfer-encoding" => chunked = value.eq_ignore_ascii_case("chunked"),
            _ => {}
        }
    }
    if hosts != 1 || (chunked && length.is_some()) {
        return Err(format!("an ambiguous request: {:?}", shown()));
    }
    if chunked {
        return Ok(chunked_length(&bytes[head..])?.map(|body| head + body));
    }
    let whole = head + length.unwrap_or_default();
    Ok((bytes.len() >= whole).then_some(whole))
}

/// The length of a chunked body with its last chunk, when it is whole.
fn chunked_length(bytes: &[u8]) -> Result<Option<usize>, String> {
    let mut at = 0;
    loop {
        let Some(end) = bytes[at..].windows(2).position(|w| w == b"\r\n").map(|end| at + end) else { return Ok(None) };
        let line = String::from_utf8_lossy(&bytes[at..end]);
        let size = usize::from_str_radix(line.split(';').next().unwrap_or_default(), 16)
            .map_err(|_| format!("no chunk: {line:?}"))?;
        let next = end + 2 + size + 2;
        if bytes.len() < next {
            return Ok(None);
        }
        if bytes[next - 2..next] != *b"\r\n" {
            return Err(format!("a chunk that does not end: {line:?}"));
        }
        if size == 0 {
            return Ok(Some(next));
        }
        at = next;
    }
}

/// That these bytes are no more than one final response, with nothing smuggled behind it.
fn assert_one_response(bytes: &[u8], to_head: bool) {
    let mut rest = bytes;
    loop {
        let shown = || format!("{:?}", String::from_utf8_lossy(bytes));
        let Some(head) = rest.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4) else {
            panic!("no whole response: {}", shown());
        };
        let text = String::from_utf8_lossy(&rest[..head - 4]).to_ascii_lowercase();
        assert!(!text.contains('\0') && !text.replace("\r\n", "").contains(['\r', '\n']), "a bad head: {}", shown());
        let status = text.split(' ').nth(1).unwrap_or_default().to_owned();
        rest = &rest[head..];
        if status.starts_with('1') && status != "101" {
            continue;
        }
        let header = |name: &str| text.split("\r\n").filter_map(|line| line.split_once(':')).find(|(n, _)| *n == name);
        if to_head || matches!(&*status, "204" | "304") {
            assert!(rest.is_empty(), "a body where none may be: {}", shown());
        } else if let Some((_, length)) = header("content-length") {
            let length: usize = length.trim().parse().unwrap_or_else(|_| panic!("a bad length: {}", shown()));
            assert!(header("transfer-encoding").is_none(), "two framings: {}", shown());
            assert!(rest.len() <= length, "more than the length: {}", shown());
        } else if header("transfer-encoding").is_some()
            && let Some(body) = chunked_length(rest).unwrap_or_else(|wrong| panic!("{wrong}: {}", shown()))
        {
            assert_eq!(rest.len(), body, "more than the chunks: {}", shown());
        }
        return;
    }
}

//! HTTP/2 headers are length-prefixed and may hold anything; what goes on as HTTP/1.1 must not. Each injection is
//! sent as frames, and the upstream looks at every byte.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::frames::{
    DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PREFACE, RST_STREAM, SETTINGS, block, frame, literal,
};
use crate::support::upstream::ok;
use crate::support::{Client, Gateway, Upstream, in_time};

type Field = (&'static [u8], &'static [u8]);

const PLAIN: [Field; 4] = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/x"), (b":authority", b"a")];

/// With one pseudo-header set to something else.
fn with(name: &'static [u8], value: &'static [u8]) -> Vec<Field> {
    PLAIN.iter().map(|(n, v)| (*n, if *n == name { value } else { *v })).collect()
}

fn and(more: &[Field]) -> Vec<Field> {
    PLAIN.iter().chain(more).copied().collect()
}

fn without(name: &[u8]) -> Vec<Field> {
    PLAIN.iter().filter(|(n, _)| *n != name).copied().collect()
}

/// Those that must go nowhere.
fn injections() -> Vec<Vec<Field>> {
    let mut all = Vec::new();
    // In names.
    let names: [&'static [u8]; 20] = [
        b"x\r\nx-evil",
        b"x\nx-evil",
        b"x\rx-evil",
        b"x-evil: 1\r\nx",
        b"x\0y",
        b"x y",
        b" x",
        b"x ",
        b"x:y",
        b"x:",
        b"",
        b"X-Upper",
        b"x\ty",
        b"x\x7f",
        b"x\xff",
        b"(x)",
        b"x\"y",
        b"x/y",
        b"x,y",
        b"x-a: 1\r\n\r\nGET /hidden HTTP/1.1\r\nx",
    ];
    all.extend(names.map(|name| and(&[(name, b"1")])));
    // In values.
    let values: [&'static [u8]; 9] = [
        b"1\r\nx-evil: 1",
        b"1\nx-evil: 1",
        b"1\rx-evil: 1",
        b"1\0",
        b"\x01",
        b"1\x7f",
        b"1\r\n\r\nGET /hidden HTTP/1.1\r\nHost: a",
        b"\r\n",
        b"\x0b1",
    ];
    all.extend(values.map(|value| and(&[(b"x-a", value)])));
    // In what becomes the request line and the host.
    let paths: [&'static [u8]; 13] = [
        b"/x HTTP/1.1\r\nx-evil: 1\r\nx: ",
        b"/x y",
        b"/x\ty",
        b"/x\r\nx-evil: 1",
        b"/x\nx-evil: 1",
        b"/x\0",
        b"/\x7f",
        b"",
        b"x",
        b"http://b/hidden",
        b"//b@/\r\n",
        b"\\x",
        b"/x HTTP/1.1",
    ];
    all.extend(paths.map(|path| with(b":path", path)));
    let methods: [&'static [u8]; 6] =
        [b"GET /hidden HTTP/1.1\r\nx: ", b"GET /hidden?", b"", b"G\0T", b"GET\r\nx-evil: 1", b"G T"];
    all.extend(methods.map(|method| with(b":method", method)));
    let authorities: [&'static [u8]; 9] =
        [b"a\r\nx-evil: 1", b"a b", b"u@a", b"a/hidden", b"a?x", b"a#x", b"a\0", b"", b"a:b"];
    all.extend(authorities.map(|authority| with(b":authority", authority)));
    all.extend([with(b":scheme", b"http\r\nx-evil: 1"), with(b":scheme", b"http://b/hidden?"), with(b":scheme", b"")]);
    // Pseudo-headers where they do not belong.
    all.extend([without(b":method"), without(b":path"), without(b":scheme"), without(b":authority")]);
    all.extend([
        and(&[(b":path", b"/hidden")]),
        and(&[(b":method", b"POST")]),
        and(&[(b":authority", b"b")]),
        and(&[(b":status", b"200")]),
        and(&[(b":x", b"1")]),
        and(&[(b"x-a", b"1"), (b":path", b"/hidden")]),
        [&[(&b"x-a"[..], &b"1"[..])], &PLAIN[..]].concat(),
        // What the framing of HTTP/2 has no room for.
        and(&[(b"transfer-encoding", b"chunked")]),
        and(&[(b"connection", b"x-real-ip")]),
        and(&[(b"connection", b"keep-alive")]),
        and(&[(b"keep-alive", b"timeout=5")]),
        and(&[(b"proxy-connection", b"keep-alive")]),
        and(&[(b"upgrade", b"h2c")]),
        and(&[(b"te", b"gzip")]),
        and(&[(b"host", b"b")]),
        and(&[(b"host", b"a"), (b"host", b"b")]),
        and(&[(b"content-length", b"5, 5")]),
        and(&[(b"content-length", b"5"), (b"content-length", b"5")]),
        and(&[(b"content-length", b"-1")]),
        and(&[(b"content-length", b"+0")]),
        and(&[(b"content-length", b"x")]),
        // The stream ends with its header.
        and(&[(b"content-length", b"5")]),
        and(&[(b"x_forwarded_for", b"6.6.6.6")]),
        and(&[(b"transfer_encoding", b"chunked")]),
    ]);
    all
}

/// Records every byte that comes, and answers each request.
async fn recorder() -> (Upstream, std::sync::Arc<std::sync::Mutex<Vec<u8>>>) {
    let record = std::sync::Arc::<std::sync::Mutex<Vec<u8>>>::default();
    let bytes = record.clone();
    let upstream = Upstream::scripted(move |mut stream, _| {
        let bytes = bytes.clone();
        async move {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = stream.read(&mut buffer).await {
                bytes.lock().unwrap().extend_from_slice(&buffer[..n]);
                // All there is: whatever its length is said to be.
                while let Ok(Ok(n @ 1..)) = timeout(Duration::from_millis(100), stream.read(&mut buffer)).await {
                    bytes.lock().unwrap().extend_from_slice(&buffer[..n]);
                }
                drop(stream.write_all(&ok("x")).await);
            }
        }
    })
    .await;
    (upstream, record)
}

/// How the stream ended.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Status(Vec<u8>),
    Reset,
    Closed,
}

/// Sends a stream and waits for its end.
async fn ask(gateway: &Gateway, frames: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(gateway.h2c).await.unwrap();
    stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[]), frames].concat()).await.unwrap();
    in_time("an answer", async {
        let mut head = [0; 9];
        while stream.read_exact(&mut head).await.is_ok() {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; length as usize];
            if stream.read_exact(&mut payload).await.is_err() {
                break;
            }
            match head[3] {
                HEADERS => return Answer::Status(payload),
                RST_STREAM => return Answer::Reset,
                GOAWAY => return Answer::Closed,
                _ => {}
            }
        }
        Answer::Closed
    })
    .await
}

/// HPACK's index of `:status 200`.
const OK: u8 = 0x88;

#[tokio::test]
async fn no_injection_over_http2_reaches_an_http1_upstream() {
    let gateway = Gateway::start().await;
    let (upstream, record) = recorder().await;
    gateway.serve("/*", &[upstream.address]).await;
    let plain = ask(&gateway, &frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&PLAIN))).await;
    assert!(matches!(&plain, Answer::Status(block) if block.contains(&OK)), "{plain:?}");
    let seen = String::from_utf8(std::mem::take(&mut *record.lock().unwrap())).unwrap();
    assert!(seen.starts_with("GET /x HTTP/1.1\r\n") && seen.to_lowercase().contains("\r\nhost: a\r\n"), "{seen}");

    let injections = injections();
    assert!(injections.len() >= 58, "{}", injections.len());
    let mut wrong = Vec::new();
    for headers in &injections {
        let block = block(headers);
        let answer = ask(&gateway, &frame(HEADERS, END_HEADERS | END_STREAM, 1, &block)).await;
        let seen = std::mem::take(&mut *record.lock().unwrap());
        let text = String::from_utf8_lossy(&seen).to_lowercase();
        // Some may go on, in a form that says only what was said.
        let is_clean = text.is_empty()
            || (text.starts_with("get /x http/1.1\r\n")
                && text.matches("\r\n\r\n").count() == 1
                && text.matches("\r\nhost: a\r\n").count() == 1
                && text.matches("\r\nx-real-ip: 127.0.0.1\r\n").count() == 1
                && text.matches("http/1.1").count() == 1
                && !["x-evil", "hidden", "\0", "6.6.6.6", "chunked", "upgrade", "content-length", "\r\nte:"]
                    .iter()
                    .any(|word| text.contains(word))
                && !text.replace("\r\n", "").contains(['\r', '\n']));
        if !is_clean {
            wrong.push(format!("{headers:?} reached the upstream: {text:?}"));
        }
        if text.is_empty() && matches!(&answer, Answer::Status(block) if block.contains(&OK)) {
            wrong.push(format!("{headers:?} is answered as if it had been served"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), injections.len(), wrong.join("\n"));
    gateway.get("/x").await.expect(200);
}

/// What a body says of its length must be true, and trailers are no headers.
#[tokio::test]
async fn lengths_and_trailers_over_http2_hide_no_request() {
    const HIDDEN: &[u8] = b"GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";
    let gateway = Gateway::start().await;
    let (upstream, record) = recorder().await;
    gateway.serve("/*", &[upstream.address]).await;
    let post = |length: &'static [u8]| {
        let mut headers = with(b":method", b"POST");
        headers.push((b"content-length", length));
        frame(HEADERS, END_HEADERS, 1, &block(&headers))
    };
    let trailers = |fields: &[Field]| frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(fields));
    for frames in [
        [post(b"0"), frame(DATA, END_STREAM, 1, HIDDEN)].concat(),
        [post(b"1"), frame(DATA, END_STREAM, 1, HIDDEN)].concat(),
        [post(b"1000"), frame(DATA, END_STREAM, 1, HIDDEN)].concat(),
        [post(b"1"), frame(DATA, 0, 1, b"x"), frame(DATA, END_STREAM, 1, HIDDEN)].concat(),
        [post(b"1"), frame(DATA, 0, 1, b"x"), trailers(&[(b":path", b"/hidden")])].concat(),
        [post(b"1"), frame(DATA, 0, 1, b"x"), trailers(&[(b"x-a\r\nx-evil", b"1")])].concat(),
        [post(b"1"), frame(DATA, 0, 1, b"x"), trailers(&[(b"content-length", b"100")])].concat(),
        [post(b"1"), frame(DATA, 0, 1, b"x"), frame(HEADERS, END_HEADERS | END_STREAM, 1, &literal(b"x\0", b"\r\n"))]
            .concat(),
    ] {
        let _answer = ask(&gateway, &frames).await;
    }
    // Told apart by what stands before it: a body may hold anything.
    let seen = std::mem::take(&mut *record.lock().unwrap());
    let text = String::from_utf8_lossy(&seen).to_lowercase();
    for (at, _) in text.match_indices("get /hidden") {
        let before = &text[..at];
        let (head, body) = before.rsplit_once("\r\n\r\n").unwrap_or((before, ""));
        let length = head.rsplit_once("content-length: ").and_then(|(_, rest)| rest.split("\r\n").next()?.parse().ok());
        assert!(length.unwrap_or(0) > body.len(), "a request of its own: {text:?}");
    }
    assert!(!text.contains("x-evil"), "{text:?}");
    let mut client = Client::connect(gateway.http).await;
    client.send(b"GET /y HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    client.response_to("GET").await.unwrap().expect(200);
}

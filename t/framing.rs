//! Requests that two servers could read in two ways (T19 and the smuggling classes of THREATS.md). Each is carried
//! out with another request hidden behind it; the upstream is strict about every byte that reaches it.

use std::sync::{Arc, Mutex};

use serde_json::json;

use crate::support::http1::{Head, exchange};
use crate::support::upstream::ok;
use crate::support::{Client, Gateway, Upstream};

const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: a\r\nX-Evil: 1\r\n\r\n";

/// What reached the upstream: heads, and what is wrong with them.
#[derive(Clone, Default)]
struct Strict(Arc<Mutex<Vec<Received>>>);

/// A request's head and body.
type Received = (Head, Vec<u8>);

impl Strict {
    async fn upstream(&self) -> Upstream {
        let record = self.clone();
        Upstream::scripted(move |stream, _| {
            let record = record.clone();
            async move {
                let mut client = Client::over(stream);
                while let Ok(head) = client.head().await {
                    let has_body =
                        head.header("content-length").is_some() || head.header("transfer-encoding").is_some();
                    let Ok(body) = (if has_body { client.body(&head).await } else { Ok(Vec::new()) }) else { return };
                    record.0.lock().unwrap().push((head, body));
                    drop(client.send(&ok("x")).await);
                }
            }
        })
        .await
    }

    fn take(&self) -> Vec<Received> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// Why a head could be read in another way than ours, if it could.
fn ambiguity(head: &Head) -> Option<String> {
    let is_token = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
    };
    let words: Vec<_> = head.first_line.split(' ').collect();
    let [method, target, "HTTP/1.1"] = words[..] else { return Some(format!("request line {:?}", head.first_line)) };
    if !is_token(method) || !target.starts_with(['/', '*']) || target.bytes().any(|b| b <= b' ' || b == 0x7f) {
        return Some(format!("request line {:?}", head.first_line));
    }
    for (name, value) in &head.headers {
        if !is_token(name) || value.bytes().any(|b| (b < b' ' && b != b'\t') || b == 0x7f) {
            return Some(format!("header {name:?}: {value:?}"));
        }
    }
    let count = |name: &str| head.all(name).len();
    let coding = head.header("transfer-encoding");
    if count("host") != 1 || count("content-length") > 1 || count("transfer-encoding") > 1 {
        return Some("how many".into());
    }
    if coding.is_some_and(|coding| coding != "chunked" || count("content-length") > 0) {
        return Some("two lengths".into());
    }
    if head.header("content-length").is_some_and(|length| !length.bytes().all(|b| b.is_ascii_digit())) {
        return Some("no length".into());
    }
    let evil = ["x-evil", "upgrade", "http2-settings", "transfer_encoding", "keep-alive", "proxy-connection"];
    evil.iter().find(|name| head.header(name).is_some()).map(|name| format!("has {name}"))
}

async fn gateway(config: serde_json::Value) -> (Gateway, Strict, Upstream) {
    let gateway = Gateway::with(config).await;
    let strict = Strict::default();
    let upstream = strict.upstream().await;
    gateway.serve("/*", &[upstream.address]).await;
    (gateway, strict, upstream)
}

fn post(headers: &str, body: &str) -> String {
    format!("POST /x HTTP/1.1\r\nHost: a\r\n{headers}\r\n\r\n{body}")
}

fn get(headers: &str) -> String {
    format!("GET /x HTTP/1.1\r\nHost: a\r\n{headers}\r\n\r\n")
}

/// Requests to be refused.
fn attacks() -> Vec<String> {
    let mut all = Vec::new();
    for length in [
        "+5",
        "-1",
        "-0",
        "0x5",
        "5,5",
        "5, 5",
        "5,6",
        "5 5",
        "",
        "5;",
        "5.0",
        "1e1",
        "\u{665}",
        "5\t5",
        "five",
        "5a",
        "\"5\"",
        "99999999999999999999",
        "18446744073709551616",
        "18446744073709551621",
        "_5",
        "5\x0b",
        "\x0c5",
    ] {
        all.push(post(&format!("Content-Length: {length}"), "hello"));
    }
    for coding in [
        "xchunked",
        "chunkedx",
        "chunked, identity",
        "identity, chunked",
        "gzip, chunked",
        "chunked, chunked",
        "chunked;q=1",
        "identity",
        "gzip",
        "\"chunked\"",
        "chun ked",
        "",
        ",chunked",
        "chunked,",
        "\x0bchunked",
        "chunked\x0c",
        "chunked\0",
        "\u{a0}chunked",
        "chunked identity",
        "[chunked]",
        "x\r\n chunked",
    ] {
        all.push(post(&format!("Transfer-Encoding: {coding}"), "0\r\n\r\n"));
    }
    for headers in [
        // Both, in every order and disguise.
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Content-Length: 5\r\nTransfer-Encoding: identity",
        "content-length: 0\r\ntransfer-encoding: CHUNKED",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\nContent-Length: 5",
        "Transfer-Encoding: chunked\r\nContent-Length : 5",
        "Transfer-Encoding: chunked\nContent-Length: 5",
        "Transfer-Encoding: chunked\r\nContent-Length: abc",
        // Several of one.
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 0",
        "Content-Length: 5\r\nX: y\r\ncontent-LENGTH: 6",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
        // Names that some take for the real one.
        "Transfer-Encoding : chunked",
        "Transfer-Encoding\t: chunked",
        " Transfer-Encoding: chunked",
        "\tTransfer-Encoding: chunked",
        "Transfer_Encoding: chunked",
        "Content_Length: 5",
        "Transfer-Encoding\0: chunked",
        "X: y\rTransfer-Encoding: chunked",
        "X: y\r\rTransfer-Encoding: chunked",
        "X: y\r\n Transfer-Encoding: chunked",
        "Transfer-Encoding\x0b: chunked",
        "\u{feff}Transfer-Encoding: chunked",
    ] {
        all.push(post(headers, "0\r\n\r\n"));
    }
    for host in [
        "Host:",
        "Host: ",
        "Host: a b",
        "Host: a,b",
        "Host: a/b",
        "Host: a@b",
        "Host: a?b",
        "Host: a#b",
        "Host: a\\b",
        "Host: a:b",
        "Host: a:99999999",
        "Host: a:80:80",
        "Host: [::1",
        "Host: ::1",
        "Host: [x]",
        "Host: a\0",
        "Host: \u{fc}.test",
        "Host: a\r\nHost: a",
        "Host: a\r\nHost: b",
        "Host : a",
        "X: y",
        "Host: a\r\nhost: b",
        "Host: a%00",
        "Host: <a>",
        "Host: http://a",
    ] {
        all.push(format!("GET /x HTTP/1.1\r\n{host}\r\n\r\n"));
    }
    for line in [
        "GET /x HTTP/1.2",
        "GET /x HTTP/2.0",
        "GET /x HTTP/0.9",
        "GET /x HTTP/1",
        "GET /x HTTP/1.10",
        "GET /x http/1.1",
        "GET /x HTTP/1.1 ",
        "GET /x  HTTP/1.1",
        "GET  /x HTTP/1.1",
        " GET /x HTTP/1.1",
        "GET\t/x\tHTTP/1.1",
        "GET /x",
        "GET",
        "GET /x y HTTP/1.1",
        "GET /x\ty HTTP/1.1",
        "GET /x\0 HTTP/1.1",
        "GET /\x7f HTTP/1.1",
        "GET x HTTP/1.1",
        "GET a/x HTTP/1.1",
        "GET \\x HTTP/1.1",
        "GET ?x HTTP/1.1",
        "G\0T /x HTTP/1.1",
        "G(T /x HTTP/1.1",
        "GE\u{fc} /x HTTP/1.1",
        "GET http:// HTTP/1.1",
        "GET http://b/x HTTP/1.1",
        "GET http://u@a/x HTTP/1.1",
        "GET http://a@b/x HTTP/1.1",
        "GET /x HTTP/1.1\rX: y",
        "GET /x HTTP/1.1\r X",
        "GET /a%00b HTTP/1.1",
        "GET /a%0d%0ab%zz HTTP/1.1",
        "CONNECT a:80 HTTP/1.1",
        "GET /x%2",
    ] {
        all.push(format!("{line}\r\nHost: a\r\n\r\n"));
    }
    for header in [
        "X A: 1",
        "X\0A: 1",
        ": 1",
        "X-A : 1",
        "(X): 1",
        "X@Y: 1",
        "X/Y: 1",
        "\u{fc}: 1",
        "no colon",
        "X: 1\0",
        "X: 1\x01",
        "X: \x0b1",
        "X: 1\x7f",
        "X: a\rb",
        "X: a\r\n b",
        "X: a\r\n\tb",
        "X: \x1b[31m",
        "{X}: 1",
        "X\\: 1",
        "X;: 1",
        "X_Real_IP: 6.6.6.6",
        "X_Forwarded_For: 6.6.6.6",
        "x_forwarded_proto: https",
        "X-Real_IP: 6.6.6.6",
        "Proxy_Authorization: x",
        "X_Consumer_Name: admin",
        "X_API_KEY: x",
    ] {
        all.push(get(header));
    }
    all.push("POST /x HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into());
    all.push("POST /x HTTP/1.0\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n".into());
    all
}

/// At least 118, so that it is no smaller than what other proxies were measured with.
#[tokio::test]
async fn what_could_be_read_in_two_ways_is_refused_with_all_that_follows_it() {
    let (gateway, strict, _upstream) = gateway(json!({})).await;
    let attacks = attacks();
    assert!(attacks.len() >= 118, "{}", attacks.len());
    let mut wrong = Vec::new();
    for attack in &attacks {
        let got = exchange(gateway.http, format!("{attack}{HIDDEN}").as_bytes()).await;
        if !matches!(got.statuses[..], [400 | 405]) {
            wrong.push(format!("{attack:?} is answered {:?}", got.statuses));
        }
        let seen = strict.take();
        if !seen.is_empty() {
            wrong.push(format!("{attack:?} reached the upstream: {seen:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), attacks.len(), wrong.join("\n"));
    // Each has its line in the log, those too that never became a request.
    crate::support::eventually("all are logged", || async {
        let log = gateway.access_log();
        let refused = log.lines().filter(|line| line.contains(r#""httpcode":40"#));
        refused.filter(|line| line.contains(r#""client":"127.0.0.1""#)).count() >= attacks.len()
    })
    .await;
}

/// Unusual, and clear: served, and clear to the upstream as well.
#[tokio::test]
async fn what_can_be_read_in_one_way_goes_on_in_a_plain_form() {
    let (gateway, strict, _upstream) = gateway(json!({})).await;
    for (request, body) in [
        (post("Transfer-Encoding: CHUNKED", "5\r\nhello\r\n0\r\n\r\n"), "hello"),
        (post("Transfer-Encoding:chunked", "5;a=b;c=\"d\"\r\nhello\r\n0\r\n\r\n"), "hello"),
        (post("Transfer-Encoding: \t chunked \t", "00005\r\nhello\r\n0\r\n\r\n"), "hello"),
        (post("Transfer-Encoding: chunked\r\nTrailer: X-Evil", "5\r\nhello\r\n0\r\nX-Evil: 1\r\n\r\n"), "hello"),
        (
            post(
                "Transfer-Encoding: chunked",
                "5\r\nhello\r\n0\r\nContent-Length: 9\r\nHost: b\r\nTransfer-Encoding: gzip\r\nAuthorization: x\r\n\r\n",
            ),
            "hello",
        ),
        (post("Content-Length:5", "hello"), "hello"),
        (post("Content-Length: 000000005", "hello"), "hello"),
        (post("Content-Length:\t5 \t", "hello"), "hello"),
        (post("Content-Length: 5\r\nExpect: 100-continue", "hello"), "hello"),
        (post("Content-Length: 0", ""), ""),
        (get("Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__"), ""),
        (get("Upgrade: foo\r\nConnection: upgrade"), ""),
        (get("Upgrade: h2c"), ""),
        (get("Connection: X-Evil\r\nX-Evil: 1"), ""),
        (get("Keep-Alive: timeout=5\r\nProxy-Connection: close"), ""),
        (get("Any_Name: 1\r\nX_Evil: 1"), ""),
        ("\r\n\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n".into(), ""),
        ("GET /x HTTP/1.1\nHost: a\n\n".into(), ""),
        ("GET http://a/x HTTP/1.1\r\nHost: a\r\n\r\n".into(), ""),
        ("GET /x HTTP/1.0\r\n\r\n".into(), ""),
    ] {
        let mut client = Client::connect(gateway.http).await;
        client.send(request.as_bytes()).await.unwrap();
        let answer = client.response_to("GET").await.unwrap_or_else(|e| panic!("{request:?}: {e}"));
        assert_eq!(answer.status, 200, "{request:?}");
        let seen = strict.take();
        let [(head, received)] = &seen[..] else { panic!("{request:?}: {seen:?}") };
        if request.contains("HTTP/1.0") {
            assert_eq!(head.header("x-real-ip"), Some("127.0.0.1"));
            continue;
        }
        assert_eq!(ambiguity(head), None, "{request:?}: {head:?}");
        assert_eq!(received, body.as_bytes(), "{request:?}");
        for (name, value) in
            [("host", "a"), ("x-real-ip", "127.0.0.1"), ("x-forwarded-for", "127.0.0.1"), ("x-forwarded-proto", "http")]
        {
            assert_eq!(head.all(name), [value], "{request:?}");
        }
        assert_eq!(head.headers.iter().find(|(name, _)| name.contains('_')), None, "{request:?}");
    }
}

/// A body that breaks the rules of chunks ends the connection; what follows is never a request.
#[tokio::test]
async fn a_broken_body_hides_no_request() {
    let (gateway, strict, _upstream) = gateway(json!({})).await;
    for body in [
        "5\r\nhelloX\r\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "zz\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5 5\r\nhello\r\n0\r\n\r\n",
        "\r\n5\r\nhello\r\n0\r\n\r\n",
        "ffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
        "5\rhello\r\n0\r\n\r\n",
        "5;\0\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\r0\r\n\r\n",
        "0\r\nX\0: y\r\n\r\n",
        "0\r\n no: fold\r\n\r\n",
        "5_0\r\nhello",
    ] {
        let attack = post("Transfer-Encoding: chunked", body);
        let mut client = Client::connect(gateway.http).await;
        drop(client.send(format!("{attack}{HIDDEN}").as_bytes()).await);
        client.finish().await;
        let got = String::from_utf8_lossy(&client.until_closed().await).into_owned();
        for (head, _) in strict.take() {
            assert!(!head.first_line.contains("/hidden"), "{body:?}: {got}");
        }
        assert!(got.matches("HTTP/1.1 200").count() <= 1, "{body:?}: {got}");
    }
}

#[tokio::test]
async fn names_with_underscores_are_as_configured() {
    for (setting, status, kept) in [("drop", 200, None), ("allow", 200, Some("1")), ("reject", 400, None)] {
        let (gateway, strict, _upstream) = gateway(json!({"client": {"underscore_headers": setting}})).await;
        let mut client = Client::connect(gateway.http).await;
        client.send(get("My_Header: 1\r\nmy_header: 2\r\nX-Kept: 3").as_bytes()).await.unwrap();
        assert_eq!(client.response_to("GET").await.unwrap().status, status, "{setting}");
        for (head, _) in strict.take() {
            assert_eq!(head.header("my_header"), kept, "{setting}");
            assert_eq!(head.header("x-kept"), Some("3"), "{setting}");
        }
        // Those that imitate what an upstream trusts are refused in any case.
        let got = exchange(gateway.http, get("X_Forwarded_For: 6.6.6.6").as_bytes()).await;
        assert_eq!(got.statuses, [400], "{setting}");
    }
}

/// A request that has passed more proxies than any path has goes in circles.
#[tokio::test]
async fn a_request_that_goes_in_circles_ends() {
    let (gateway, strict, _upstream) = gateway(json!({})).await;
    let passed = |proxies: usize| get(&format!("X-Forwarded-For: {}", vec!["10.0.0.1"; proxies].join(", ")));
    let mut client = Client::connect(gateway.http).await;
    client.send(passed(30).as_bytes()).await.unwrap();
    client.response_to("GET").await.unwrap().expect(200);
    strict.take();
    for request in [passed(40), get(&["X-Forwarded-For: 10.0.0.1, 10.0.0.2"; 20].join("\r\n"))] {
        let mut client = Client::connect(gateway.http).await;
        client.send(request.as_bytes()).await.unwrap();
        assert_eq!(client.response_to("GET").await.unwrap().status, 508);
        assert!(strict.take().is_empty());
    }
}

/// Two gateways, each the other's upstream: a mistake that must not take both down.
#[tokio::test]
async fn two_gateways_that_point_at_each_other_answer_508() {
    let (one, two) = (Gateway::start().await, Gateway::start().await);
    one.serve("/*", &[two.http]).await;
    two.serve("/*", &[one.http]).await;
    let answer = one.get("/x").await;
    assert_eq!(answer.status, 508, "{}", answer.text());
    assert_eq!(one.get("/x").await.status, 508, "and again: nothing is stuck");
}

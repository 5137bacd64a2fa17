//! What malformed and hostile clients get: an answer or a closed connection, never a hang, never
//! somebody else's request.

use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::json;

use crate::support::http1::exchange;
use crate::support::{Client, Gateway, Request, Upstream, in_time};

async fn gateway() -> (Gateway, Upstream) {
    let gateway = Gateway::with(json!({"client": {"header_timeout": "2s"}})).await;
    let upstream = Upstream::echo().await;
    gateway.serve("/*", &[upstream.address]).await;
    (gateway, upstream)
}

/// T19 of PINGORA.md and the smuggling classes of THREATS.md: each is refused with 400 and a short
/// body, the connection is closed, and neither the request nor what hides behind it goes upstream.
#[tokio::test]
async fn ambiguous_and_malformed_requests_are_400_and_closed() {
    const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";
    let (gateway, upstream) = gateway().await;
    let mut wrong = Vec::new();
    for head in [
        // Two servers could see different ends of these.
        "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\nhello",
        "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello",
        "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\nhello",
        "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5 5\r\n\r\nhello",
        "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n",
        "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "POST /x HTTP/1.1\r\nHost: a\r\nTransfer_Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        // Whose host?
        "GET /x HTTP/1.1\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: a/b\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: a@b\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost:\r\n\r\n",
        "GET http://b/x HTTP/1.1\r\nHost: a\r\n\r\n",
        // Bytes that parsers disagree about.
        "GET /x HTTP/1.1\r\nHost: a\r\nX-A: 1\0\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: a\r\nX-A: 1\x01\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: a\r\nX-A: 1\x7f\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: a\r\nX-A\0: 1\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: a\r\nX A: 1\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: a\r\nX-A : 1\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: a\r\n: 1\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: a\r\nX-A: 1\r\n folded\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: a\r\nX_Real_IP: 6.6.6.6\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: a\r\nX_Forwarded_For: 6.6.6.6\r\n\r\n",
        "G\0T /x HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /x\0y HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /x y HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET  HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET x HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /x HTTP/9.9\r\nHost: a\r\n\r\n",
        "GET /x HTTPS/1.1\r\nHost: a\r\n\r\n",
        "GET /x\r\n\r\n",
        "nonsense\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n",
    ] {
        for port in [gateway.http, gateway.h2c] {
            let got = exchange(port, format!("{head}{HIDDEN}").as_bytes()).await;
            let text = String::from_utf8_lossy(&got.bytes);
            let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
            if got.statuses != [400] || body.len() > 200 {
                wrong.push(format!("{head:?} on {port}: {text:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "not refused as it should be:\n{}", wrong.join("\n"));
    assert_eq!(upstream.count(), 0, "{:?}", upstream.seen());
    assert_eq!(gateway.get("/x").await.status, 200, "and it serves on");
}

#[tokio::test]
async fn a_malformed_chunked_body_does_not_become_a_request() {
    let (gateway, upstream) = gateway().await;
    for body in ["zz\r\nhello\r\n0\r\n\r\n", "5\r\nhelloX\r\n0\r\n\r\n", "-5\r\nhello\r\n0\r\n\r\n", "5;\0\r\nhello"] {
        let request = format!(
            "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n"
        );
        let mut client = Client::connect(gateway.http).await;
        client.send(request.as_bytes()).await.unwrap();
        client.finish().await;
        let bytes = client.until_closed().await;
        assert!(!bytes.starts_with(b"HTTP/1.1 2") && !bytes.starts_with(b"HTTP/1.1 5"), "{body:?}: {bytes:?}");
    }
    assert!(upstream.seen().iter().all(|seen| seen.target != "/hidden"), "{:?}", upstream.seen());
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_its_body_is_no_error_of_ours() {
    let (gateway, upstream) = gateway().await;
    for _ in 0..20 {
        let mut client = Client::connect(gateway.http).await;
        client.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nhalf").await.unwrap();
        drop(client);
    }
    assert_eq!(gateway.get("/after").await.status, 200);
    assert!(upstream.seen().iter().all(|seen| seen.target == "/after"), "no half of a body counts as one");
    assert!(!gateway.output().contains("panicked"), "{}", gateway.output());
}

/// T3: the shortest request there is must not hang, on either port.
#[tokio::test]
async fn a_request_shorter_than_the_http2_preface_is_answered() {
    let (gateway, _upstream) = gateway().await;
    for port in [gateway.http, gateway.h2c] {
        for request in ["GET / HTTP/1.0\r\n\r\n", "GET /x HTTP/1.0\r\n\r\n", "GET / HTTP/1.1\r\n\r\n"] {
            let got = in_time("a short request", exchange(port, request.as_bytes())).await;
            let expected = if request.contains("1.0") { 200 } else { 400 };
            assert_eq!(got.statuses, [expected], "{request:?} on {port}");
        }
    }
}

/// T3: a first byte must not keep a connection for ever, on either port.
#[tokio::test]
async fn a_half_preface_is_closed_in_time() {
    let (gateway, _upstream) = gateway().await;
    for port in [gateway.http, gateway.h2c] {
        for beginning in ["", "P", "PRI * HTTP/2.0\r\n\r\nSM", "GET / HT"] {
            let mut client = Client::connect(port).await;
            client.send(beginning.as_bytes()).await.unwrap();
            let bytes = client.until_closed().await;
            assert!(bytes.is_empty() || bytes.starts_with(b"HTTP/1.1 4") || beginning.starts_with("PRI"), "{bytes:?}");
        }
    }
}

/// T18: dripping header bytes does not move the deadline, neither on a new connection nor on one
/// that has been used.
#[tokio::test(flavor = "multi_thread")]
async fn slow_headers_are_closed_at_the_total_deadline() {
    let (gateway, _upstream) = gateway().await;
    let drip = |port, used: bool| async move {
        let mut client = Client::connect(port).await;
        if used {
            client.get("/first").await.unwrap().expect(200);
        }
        let started = Instant::now();
        client.send(b"GET /x HTTP/1.1\r\nHost: a\r\n").await.unwrap();
        for i in 0..200 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            if client.send(format!("X-{i}: 1\r\n").as_bytes()).await.is_err() {
                break;
            }
        }
        let answer = String::from_utf8_lossy(&client.until_closed().await).into_owned();
        assert!(started.elapsed() < Duration::from_secs(12), "closed after {:?}", started.elapsed());
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    };
    let mut all = Vec::new();
    for port in [gateway.http, gateway.h2c] {
        for _ in 0..50 {
            all.push(drip(port, false));
            all.push(drip(port, true));
        }
    }
    in_time("200 slow clients", join_all(all)).await;
    assert_eq!(gateway.get("/x").await.status, 200);
}

#[tokio::test]
async fn a_header_beyond_the_cap_is_431() {
    let (gateway, upstream) = gateway().await;
    let with = |length: usize| Request::get("/x").header("X-Long", &"a".repeat(length));
    gateway.send(with(60 * 1024)).await.expect(200);
    for port in [gateway.http, gateway.h2c] {
        for request in [with(66 * 1024), with(900 * 1024), Request::get(&format!("/{}", "a".repeat(70 * 1024)))] {
            let got = exchange(port, &request.to_bytes()).await;
            // Unread input resets the connection, and with it, at times, the answer.
            assert!(got.statuses == [431] || got.bytes.is_empty(), "{:?}", got.statuses);
        }
        let got = exchange(port, with(66 * 1024).to_bytes().as_slice()).await;
        assert!(got.statuses == [431] || got.bytes.is_empty(), "{:?}", got.statuses);
    }
    let mut answered = false;
    for _ in 0..20 {
        // In two steps, so that the answer is not lost to a reset.
        let bytes = with(66 * 1024).to_bytes();
        let mut client = Client::connect(gateway.http).await;
        client.send(&bytes[..65 * 1024]).await.unwrap();
        answered |= client.until_closed().await.starts_with(b"HTTP/1.1 431");
    }
    assert!(answered, "431 is said where it can be heard");
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn more_headers_than_anyone_needs_are_refused() {
    let (gateway, _upstream) = gateway().await;
    let many = (0..2_000).fold(Request::get("/x"), |request, i| request.header(&format!("X-{i}"), "1"));
    let got = exchange(gateway.http, &many.to_bytes()).await;
    assert!(matches!(got.statuses[..], [] | [400] | [431]), "{:?}", got.statuses);
    assert_eq!(gateway.get("/x").await.status, 200);
}

#[tokio::test]
async fn a_second_request_behind_the_first_is_its_own() {
    let (gateway, upstream) = gateway().await;
    let got = exchange(
        gateway.http,
        b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n",
    )
    .await;
    // Pipelined requests may be served or dropped with the connection; nothing else.
    assert!(got.statuses == [200, 200] || got.statuses == [200], "{:?}", got.statuses);
    let seen: Vec<_> = upstream.seen().into_iter().map(|seen| seen.target).collect();
    assert!(seen == ["/1", "/2"] || seen == ["/1"], "{seen:?}");
}

#[tokio::test]
async fn connect_and_trace_open_nothing() {
    let (gateway, upstream) = gateway().await;
    let got = exchange(gateway.http, b"CONNECT internal:22 HTTP/1.1\r\nHost: internal:22\r\n\r\n").await;
    assert!(matches!(got.statuses[..], [400 | 405]), "{:?}", got.statuses);
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn garbage_over_http2_ends_its_connection_only() {
    let (gateway, _upstream) = gateway().await;
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    for frames in [
        &b"\xff\xff\xff\xff\xff\xff\xff\xff\xff"[..],
        b"\x00\x00\x05\x01\x05\x00\x00\x00\x00hello",
        b"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00",
        b"\x00\x00\x01\x00\x00\x00\x00\x00\x01x",
    ] {
        let mut client = Client::connect(gateway.h2c).await;
        client.send(&[PREFACE, b"\x00\x00\x00\x04\x00\x00\x00\x00\x00", frames].concat()).await.unwrap();
        client.finish().await;
        client.until_closed().await;
    }
    assert_eq!(gateway.get("/x").await.status, 200);
    assert!(!gateway.output().contains("panicked"), "{}", gateway.output());
}

/// R15 in small: mutated requests end in an answer or a closed connection, and change nothing.
#[tokio::test(flavor = "multi_thread")]
async fn mutated_requests_neither_hang_nor_end_the_gateway() {
    let (mut gateway, _upstream) = gateway().await;
    let original =
        b"POST /a/b?c=d HTTP/1.1\r\nHost: example.com\r\nContent-Length: 5\r\nX-A: b\r\nConnection: close\r\n\r\nhello";
    // A small generator of its own: the same cases in every run.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap()
    };
    for port in [gateway.http, gateway.h2c] {
        for _ in 0..20 {
            let batch: Vec<_> = (0..50)
                .map(|_| {
                    let mut bytes = original.to_vec();
                    for _ in 0..=next(3) {
                        let at = next(bytes.len());
                        match next(4) {
                            0 => bytes[at] = u8::try_from(next(256)).unwrap(),
                            1 => drop(bytes.remove(at)),
                            2 => bytes.insert(at, b"\r\n\0 :;,%\xff"[next(9)]),
                            _ => bytes.truncate(at.max(1)),
                        }
                    }
                    bytes
                })
                .collect();
            let sent = batch.iter().map(|bytes| async move {
                let mut client = Client::connect(port).await;
                drop(client.send(bytes).await);
                client.finish().await;
                let got = client.until_closed().await;
                assert!(
                    !got.starts_with(b"HTTP/1.1 5"),
                    "{:?}: {:?}",
                    String::from_utf8_lossy(bytes),
                    String::from_utf8_lossy(&got)
                );
            });
            in_time("50 mutated requests", join_all(sent)).await;
        }
    }
    assert!(!gateway.process().has_crashed());
    assert!(!gateway.output().contains("panicked"), "{}", gateway.output());
    assert_eq!(gateway.get("/x").await.status, 200);
}

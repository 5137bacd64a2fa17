//! Which requests are sent again, to whom, and which never are.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use tokio::sync::mpsc;

use crate::support::upstream::{ok, read_request, respond};
use crate::support::{Client, Gateway, Request, Upstream, eventually, h2c, in_time};

/// Answers one request a connection, and ends the connection when the next one has arrived: as a
/// node does whose keep-alive ends just as the gateway uses it again. What arrives is reported.
async fn ending_kept_connections() -> (Upstream, mpsc::UnboundedReceiver<String>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let upstream = Upstream::scripted(move |stream, _| {
        let sender = sender.clone();
        async move {
            let mut client = Client::over(stream);
            for is_first in [true, false] {
                let Ok(seen) = read_request(&mut client).await else { return };
                drop(sender.send(format!("{} {}", seen.method, seen.target)));
                if is_first {
                    drop(client.send(&ok("served")).await);
                }
            }
        }
    })
    .await;
    (upstream, receiver)
}

/// Takes requests and never answers.
async fn silent() -> (Upstream, Arc<AtomicUsize>) {
    let requests = Arc::new(AtomicUsize::new(0));
    let count = requests.clone();
    let upstream = Upstream::scripted(move |stream, _| {
        let count = count.clone();
        async move {
            let mut client = Client::over(stream);
            if read_request(&mut client).await.is_ok() {
                count.fetch_add(1, Ordering::SeqCst);
                client.until_closed().await;
            }
        }
    })
    .await;
    (upstream, requests)
}

fn sent(receiver: &mut mpsc::UnboundedReceiver<String>, request: &str) -> usize {
    std::iter::from_fn(|| receiver.try_recv().ok()).filter(|seen| seen == request).count()
}

#[tokio::test]
async fn a_kept_connection_that_its_only_node_has_ended_fails_no_get() {
    let gateway = Gateway::with(json!({"workers": 1})).await;
    let (upstream, _seen) = ending_kept_connections().await;
    gateway.serve("/*", &[upstream.address]).await;
    for i in 0..12 {
        let response = gateway.get(&format!("/{i}")).await;
        assert_eq!((response.status, response.text().as_str()), (200, "served"), "request {i}");
    }
    for i in 0..12 {
        assert_eq!(h2c::get(gateway.h2c, "a.test", &format!("/{i}")).await.status, 200, "HTTP/2 request {i}");
    }
}

#[tokio::test]
async fn a_post_is_not_sent_twice_when_its_kept_connection_ends() {
    let gateway = Gateway::with(json!({"workers": 1})).await;
    let (upstream, mut seen) = ending_kept_connections().await;
    gateway.serve("/*", &[upstream.address]).await;
    gateway.get("/warm").await.expect(200);
    let response = gateway.send(Request::new("POST", "/order").body("one")).await;
    assert_eq!(response.status, 502, "the node had it, and may have acted on it");
    assert_eq!(sent(&mut seen, "POST /order"), 1);
    // The gateway has not lost the node over it.
    gateway.send(Request::new("POST", "/order").body("two")).await.expect(200);
}

/// The whole body is counted anew with each try.
#[tokio::test]
async fn a_put_is_replayed_whole_to_the_next_node_when_one_answers_502() {
    let gateway = Gateway::start().await;
    let failing = Upstream::answering(|_| respond(502, &[], "five!")).await;
    let good = Upstream::echo().await;
    gateway.serve_with("/*", &[failing.address, good.address], json!({"max_body_size": 1000})).await;
    for body in [vec![b'z'; 700], vec![b'y'; 1000], Vec::new()] {
        for round in 0..4 {
            let response = gateway.send(Request::new("PUT", "/x").body(body.clone())).await.expect(200);
            assert_eq!(response.json()["body_length"], body.len(), "round {round}");
            assert_eq!(good.last().body, body);
        }
    }
    assert!(failing.count() >= 3, "{} requests went to the failing node", failing.count());
    gateway.send(Request::new("PUT", "/x").body(vec![b'z'; 1001])).await.expect(413);
    // A POST's 502 is the client's to see.
    let statuses = [
        gateway.send(Request::new("POST", "/x").body("z")).await.status,
        gateway.send(Request::new("POST", "/x").body("z")).await.status,
    ];
    assert!(statuses.contains(&502), "{statuses:?}");
}

/// Otherwise every client would ask a slow service as often as it has nodes.
#[tokio::test]
async fn a_timeout_after_the_first_second_is_not_repeated_on_other_nodes() {
    let gateway = Gateway::start().await;
    let nodes = [silent().await, silent().await, silent().await];
    let addresses = nodes.each_ref().map(|(upstream, _)| upstream.address);
    gateway.serve_with("/*", &addresses, json!({"timeouts": {"read": "1200ms"}})).await;
    let requests = || nodes.iter().map(|(_, requests)| requests.load(Ordering::SeqCst)).sum::<usize>();
    for (method, expected) in [("GET", 1), ("DELETE", 2), ("POST", 3)] {
        gateway.send(Request::new(method, "/slow")).await.expect(504);
        assert_eq!(requests(), expected, "{method} went to more than one node");
    }
}

#[tokio::test]
async fn a_timeout_within_the_first_second_is_tried_on_another_node() {
    let gateway = Gateway::start().await;
    let (hanging, hung) = silent().await;
    let good = Upstream::saying("served").await;
    gateway.serve_with("/*", &[hanging.address, good.address], json!({"timeouts": {"read": "100ms"}})).await;
    for _ in 0..4 {
        assert_eq!(gateway.get("/x").await.expect(200).text(), "served");
    }
    assert!(hung.load(Ordering::SeqCst) >= 1);
}

/// Sends an interim response and dies.
async fn dying_after(interim: &'static str) -> Upstream {
    Upstream::scripted(move |stream, _| async move {
        let mut client = Client::over(stream);
        if client.head().await.is_ok() {
            drop(client.send(interim.as_bytes()).await);
        }
    })
    .await
}

#[tokio::test]
async fn a_node_that_dies_after_an_interim_response_is_a_502() {
    let gateway = Gateway::start().await;
    let continuing = dying_after("HTTP/1.1 100 Continue\r\n\r\n").await;
    let hinting = dying_after("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n").await;
    gateway.serve("/continue", &[continuing.address]).await;
    gateway.serve("/hints", &[hinting.address]).await;
    for port in [gateway.http, gateway.h2c] {
        let mut client = Client::connect(port).await;
        let head = b"POST /continue HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n";
        client.send(head).await.unwrap();
        let response = client.response_to("POST").await.expect("an answer");
        assert_eq!(response.status, 502, "{response:?}");
        let response = Request::get("/hints").try_send(port).await.expect("an answer");
        assert_eq!((response.status, response.interim), (502, vec![103]));
    }
    assert_eq!(h2c::get(gateway.h2c, "a.test", "/hints").await.status, 502);
}

#[tokio::test]
async fn an_interim_response_passes_before_the_final_one() {
    let gateway = Gateway::start().await;
    let upstream = Upstream::scripted(|stream, _| async move {
        let mut client = Client::over(stream);
        while read_request(&mut client).await.is_ok() {
            drop(client.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n").await);
            drop(client.send(&ok("late")).await);
        }
    })
    .await;
    gateway.serve("/*", &[upstream.address]).await;
    let response = gateway.get("/x").await.expect(200);
    assert_eq!((response.text().as_str(), response.interim), ("late", vec![103]));
}

#[tokio::test]
async fn a_body_that_grows_too_large_after_100_continue_is_413() {
    let gateway = Gateway::start().await;
    let upstream = Upstream::echo().await;
    gateway.serve_with("/*", &[upstream.address], json!({"max_body_size": 1000})).await;
    for port in [gateway.http, gateway.h2c] {
        let mut client = Client::connect(port).await;
        let head = b"POST /x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n";
        client.send(head).await.unwrap();
        let interim = client.head().await.unwrap();
        assert!(interim.first_line.starts_with("HTTP/1.1 100"), "{}", interim.first_line);
        client.send(&[b"7d0\r\n", &[b'x'; 2000][..], b"\r\n"].concat()).await.unwrap();
        let response = client.response_to("POST").await.expect("an answer");
        assert_eq!(response.status, 413, "{response:?}");
    }
}

#[tokio::test]
async fn a_head_to_a_dead_node_is_a_clean_502() {
    let gateway = Gateway::start().await;
    gateway.serve("/*", &[crate::support::free_address()]).await;
    for method in ["HEAD", "GET"] {
        let request = http::Request::builder().method(method).uri("http://a.test/x").body(()).unwrap();
        let client = h2c::connect(gateway.h2c).await;
        let (response, _) = client.ready().await.unwrap().send_request(request, true).unwrap();
        // Reading to the end fails on a reset.
        let response = h2c::read(response).await;
        assert_eq!((response.status, response.body.is_empty()), (502, method == "HEAD"), "{method}");
    }
    let mut client = Client::connect(gateway.http).await;
    client.send(&Request::new("HEAD", "/x").to_bytes()).await.unwrap();
    assert_eq!(client.response_to("HEAD").await.unwrap().status, 502);
}

#[tokio::test]
async fn clients_that_leave_are_no_failures_of_the_node() {
    let gateway = Gateway::start().await;
    let (upstream, requests) = silent().await;
    gateway.serve("/left/*", &[upstream.address]).await;
    for i in 1..=5 {
        let mut client = Client::connect(gateway.http).await;
        client.send(&Request::get("/left/x").to_bytes()).await.unwrap();
        eventually("the node has the request", || async { requests.load(Ordering::SeqCst) == i }).await;
    }
    // And one that leaves in the middle of its body, and one over HTTP/2.
    let mut client = Client::connect(gateway.http).await;
    client.send(b"POST /left/x HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf").await.unwrap();
    eventually("the node has a connection", || async { upstream.connections() == 6 }).await;
    drop(client);
    let client = h2c::connect(gateway.h2c).await;
    let request = http::Request::get("http://a.test/left/x").body(()).unwrap();
    let (response, _) = client.ready().await.unwrap().send_request(request, true).unwrap();
    eventually("the node has the HTTP/2 request", || async { requests.load(Ordering::SeqCst) == 6 }).await;
    drop(response);
    eventually("nothing is in flight", || async { gateway.metric("gateway_requests_in_flight", "").await == 0.0 })
        .await;
    let service = "service=\"service-0\"";
    assert_eq!(gateway.metric("gateway_upstream_failures_total", service).await, 0.0);
    assert_eq!(upstream.connections(), 7, "none was tried again");
    // A failure is still one.
    let dead = crate::support::free_address();
    gateway.serve("/dead", &[dead]).await;
    gateway.get("/dead").await.expect(502);
    assert_eq!(gateway.metric("gateway_upstream_failures_total", "service=\"service-1\"").await, 1.0);
}

/// The window of the HTTP/2 stream is the only thing that holds the upstream back here.
#[tokio::test]
async fn an_http2_client_that_does_not_read_is_cut_and_the_node_let_go() {
    let gateway = Gateway::with(json!({"client": {"send_timeout": "1s"}})).await;
    let (sender, mut ended) = mpsc::unbounded_channel();
    let upstream = Upstream::scripted(move |stream, _| {
        let sender = sender.clone();
        async move {
            let mut client = Client::over(stream);
            if read_request(&mut client).await.is_err() {
                return;
            }
            drop(client.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 50 << 20).as_bytes()).await);
            let block = vec![b'x'; 1 << 20];
            let mut sent = 0;
            while sent < 50 && client.send(&block).await.is_ok() {
                sent += 1;
            }
            sender.send(sent).ok();
        }
    })
    .await;
    gateway.serve("/*", &[upstream.address]).await;
    let client = h2c::connect(gateway.h2c).await;
    let request = http::Request::get("http://a.test/large").body(()).unwrap();
    let (response, _) = client.ready().await.unwrap().send_request(request, true).unwrap();
    let mut body = in_time("the head", response).await.unwrap().into_body();
    let sent = in_time("the node is let go", ended.recv()).await.unwrap();
    assert!(sent < 50, "the gateway took all of it");
    // What fitted the window is there, and then the stream ends as broken.
    let broken = in_time("the stream is cut", async {
        while let Some(chunk) = body.data().await {
            if chunk.is_err() {
                return true;
            }
        }
        false
    });
    assert!(broken.await, "a cut response looks whole");
    eventually("nothing is in flight", || async { gateway.metric("gateway_requests_in_flight", "").await == 0.0 })
        .await;
}

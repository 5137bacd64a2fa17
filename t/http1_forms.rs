//! Everything an HTTP/1 request may look like reaches its route, and its response the client.

use std::sync::Arc;

use serde_json::json;
use tokio::sync::{Semaphore, mpsc};

use crate::support::upstream::{ok, read_request};
use crate::support::{Client, Gateway, Request, Upstream};

/// Sends a request line as it is, and returns the answer.
async fn line(gateway: &Gateway, line: &str) -> crate::support::Response {
    let mut client = Client::connect(gateway.http).await;
    // In absolute form the host is said twice, and must be the same.
    let host = if line.contains(" http://a:1000/") { "a:1000" } else { "a" };
    client.send(format!("{line}\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
    let method = line.split(' ').next().unwrap();
    client.response_to(method).await.unwrap_or_else(|e| panic!("{line}: {e}"))
}

#[tokio::test]
async fn the_absolute_form_is_routed_by_its_path_and_goes_upstream_in_origin_form() {
    let gateway = Gateway::start().await;
    let (root, guarded, tree) = (Upstream::echo().await, Upstream::echo().await, Upstream::echo().await);
    gateway.serve("/", &[root.address]).await;
    gateway.serve("/y", &[guarded.address]).await;
    gateway.serve("/x/*", &[tree.address]).await;
    for (target, upstream, seen) in [
        ("http://a?q=/y", &root, "/?q=/y"),
        ("http://a", &root, "/"),
        ("http://a/", &root, "/"),
        ("http://a/y", &guarded, "/y"),
        ("http://a/y?q=http://b/x/1", &guarded, "/y?q=http://b/x/1"),
        ("http://a:1000/x/1", &tree, "/x/1"),
        ("http://a/x/../x/%41?b=%42", &tree, "/x/A?b=%42"),
        // No absolute form; two slashes are read as one.
        ("/x/http://b/y", &tree, "/x/http:/b/y"),
    ] {
        let answered = line(&gateway, &format!("GET {target} HTTP/1.1")).await.expect(200).json();
        assert_eq!(answered["upstream"], upstream.address.to_string(), "{target}");
        assert_eq!(answered["target"], seen, "{target}");
    }
    let fragment = line(&gateway, "GET http://a#/y HTTP/1.1").await;
    assert!(fragment.status == 400 || fragment.json()["upstream"] == root.address.to_string(), "{fragment:?}");
    assert_eq!(guarded.count(), 2);
}

/// Reports each request, and answers it when it is let.
async fn held() -> (Upstream, mpsc::UnboundedReceiver<String>, Arc<Semaphore>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let go = Arc::new(Semaphore::new(0));
    let let_go = go.clone();
    let upstream = Upstream::scripted(move |stream, _| {
        let (sender, go) = (sender.clone(), go.clone());
        async move {
            let mut client = Client::over(stream);
            while let Ok(seen) = read_request(&mut client).await {
                drop(sender.send(seen.target.clone()));
                go.acquire().await.unwrap().forget();
                drop(client.send(&ok(&seen.target)).await);
            }
        }
    })
    .await;
    (upstream, receiver, let_go)
}

#[tokio::test]
async fn requests_sent_in_one_write_are_answered_in_order() {
    let gateway = Gateway::start().await;
    let (upstream, mut seen, go) = held().await;
    gateway.serve("/a/*", &[upstream.address]).await;
    let get = |target: &str| Request::get(target).to_bytes();
    let post = Request::new("POST", "/a/2").body("body").to_bytes();
    for port in [gateway.http, gateway.h2c] {
        go.add_permits(3);
        let mut client = Client::connect(port).await;
        client.send(&[get("/a/1"), post.clone(), get("/a/3")].concat()).await.unwrap();
        for (method, target) in [("GET", "/a/1"), ("POST", "/a/2"), ("GET", "/a/3")] {
            let response = client.response_to(method).await.unwrap_or_else(|e| panic!("{target}: {e}"));
            assert_eq!(response.expect(200).text(), target);
            assert_eq!(seen.recv().await.as_deref(), Some(target));
        }
    }
}

#[tokio::test]
async fn requests_sent_while_another_is_answered_are_answered_in_order() {
    let gateway = Gateway::start().await;
    let (upstream, mut seen, go) = held().await;
    gateway.serve("/a/*", &[upstream.address]).await;
    let get = |target: &str| Request::get(target).to_bytes();
    for port in [gateway.http, gateway.h2c] {
        let mut client = Client::connect(port).await;
        client.send(&get("/a/1")).await.unwrap();
        assert_eq!(seen.recv().await.as_deref(), Some("/a/1"));
        client.send(&[get("/a/2"), get("/a/3")].concat()).await.unwrap();
        go.add_permits(3);
        for target in ["/a/1", "/a/2", "/a/3"] {
            let response = client.response_to("GET").await.unwrap_or_else(|e| panic!("{target}: {e}"));
            assert_eq!(response.expect(200).text(), target);
        }
        for target in ["/a/2", "/a/3"] {
            assert_eq!(seen.recv().await.as_deref(), Some(target));
        }
    }
}

#[tokio::test]
async fn requests_that_begin_before_the_response_and_end_after_it_are_answered_in_order() {
    let gateway = Gateway::start().await;
    let (upstream, mut seen, go) = held().await;
    gateway.serve("/a/*", &[upstream.address]).await;
    let mut client = Client::connect(gateway.http).await;
    let targets = ["/a/1", "/a/2", "/a/3", "/a/4%20", "/a/5", "/a/6"];
    let requests = targets.map(|target| Request::get(target).to_bytes());
    // Each time as much of the next request as there was of this one.
    const BEGINNING: usize = 7;
    client.send(&requests[0][..BEGINNING]).await.unwrap();
    for (n, target) in targets.iter().enumerate() {
        client.send(&requests[n][BEGINNING..]).await.unwrap();
        assert_eq!(seen.recv().await.as_deref(), Some(*target));
        if let Some(next) = requests.get(n + 1) {
            client.send(&next[..BEGINNING]).await.unwrap();
        }
        go.add_permits(1);
        let response = client.response_to("GET").await.unwrap_or_else(|e| panic!("{target}: {e}"));
        assert_eq!(response.expect(200).text(), *target);
    }
}

#[tokio::test]
async fn an_http_1_0_client_gets_its_response_and_then_the_end() {
    let gateway = Gateway::start().await;
    let upstream = Upstream::saying("abcdefg").await;
    gateway.serve("/*", &[upstream.address]).await;
    for (method, host, body) in [("GET", "", ""), ("GET", "Host: a\r\n", ""), ("POST", "Host: a\r\n", "body")] {
        let mut client = Client::connect(gateway.http).await;
        let request = format!("{method} /x HTTP/1.0\r\n{host}Content-Length: {}\r\n\r\n{body}", body.len());
        client.send(request.as_bytes()).await.unwrap();
        let head = client.head().await.unwrap();
        assert!(head.first_line.contains(" 200 "), "{}", head.first_line);
        assert_eq!(client.rest().await.unwrap(), b"abcdefg");
        let seen = upstream.last();
        assert_eq!(seen.body, body.as_bytes());
        // What goes to the node is HTTP/1.1, which must have one.
        let expected = if host.is_empty() { upstream.address.to_string() } else { "a".to_owned() };
        assert_eq!(seen.head.all("host"), [expected]);
    }
}

/// RFC 9112 section 6.1: no Transfer-Encoding in a response to HTTP/1.0. Its end is the connection's.
#[tokio::test]
async fn an_http_1_0_client_gets_no_chunks() {
    let gateway = Gateway::start().await;
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n";
    let upstream = Upstream::answering(|_| chunked.to_vec()).await;
    gateway.serve("/*", &[upstream.address]).await;
    for connection in ["", "Connection: keep-alive\r\n"] {
        let mut client = Client::connect(gateway.http).await;
        client.send(format!("GET /x HTTP/1.0\r\nHost: a\r\n{connection}\r\n").as_bytes()).await.unwrap();
        let head = client.head().await.unwrap();
        assert_eq!(head.header("transfer-encoding"), None, "{head:?}");
        assert_eq!(client.rest().await.unwrap(), b"abcdefg");
    }
}

#[tokio::test]
async fn responses_without_a_body_leave_the_connection_in_step() {
    let gateway = Gateway::start().await;
    let upstream = Upstream::answering(|seen| match (seen.method.as_str(), seen.target.as_str()) {
        ("HEAD", "/chunked") => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec(),
        ("HEAD", _) => b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nETag: \"x\"\r\n\r\n".to_vec(),
        ("OPTIONS", _) => b"HTTP/1.1 204 No Content\r\nAllow: GET, OPTIONS\r\n\r\n".to_vec(),
        (_, "/none") => b"HTTP/1.1 204 No Content\r\nX-Kept: 1\r\n\r\n".to_vec(),
        (_, "/unchanged") => b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\nETag: \"x\"\r\n\r\n".to_vec(),
        _ => ok("whole"),
    })
    .await;
    gateway.serve("/*", &[upstream.address]).await;
    for port in [gateway.http, gateway.h2c] {
        let mut client = Client::connect(port).await;
        for (method, path, status, header) in [
            ("HEAD", "/length", 200, ("content-length", "7")),
            ("HEAD", "/chunked", 200, ("server", "")),
            ("OPTIONS", "/any", 204, ("allow", "GET, OPTIONS")),
            ("GET", "/none", 204, ("x-kept", "1")),
            ("DELETE", "/none", 204, ("x-kept", "1")),
            ("GET", "/unchanged", 304, ("etag", "\"x\"")),
        ] {
            let request = Request::new(method, path).header("If-None-Match", "\"x\"");
            client.send(&request.to_bytes()).await.unwrap();
            let response = client.response_to(method).await.unwrap().expect(status);
            let value = response.header(header.0).unwrap_or_default();
            assert!(header.1.is_empty() || value == header.1, "{method} {path}: {:?}", response.head);
            if status == 204 {
                // RFC 9110 section 8.6.
                assert_eq!(response.header("content-length"), None, "{method} {path}");
                assert_eq!(response.header("transfer-encoding"), None, "{method} {path}");
            }
            // Whatever was sent as a body would be read as the next response.
            assert_eq!(client.get("/next").await.unwrap().expect(200).text(), "whole", "after {method} {path}");
        }
    }
    let star = line(&gateway, "OPTIONS * HTTP/1.1").await;
    assert!(star.status < 500, "{star:?}");
}

#[tokio::test]
async fn an_empty_replacement_takes_out_what_the_regex_finds() {
    let gateway = Gateway::start().await;
    let upstream = Upstream::echo().await;
    for (prefix, regex) in [("/api/*", "^/api"), ("/mid/*", "/secret")] {
        let more = json!({
            "plugins": ["discovery", "rewrite"],
            "props": {"rewrite_url_regex": regex, "rewrite_replace": ""},
        });
        gateway.serve_with(prefix, &[upstream.address], more).await;
    }
    for (sent, seen) in
        [("/api/x", "/x"), ("/api/a/b?c=/api", "/a/b?c=/api"), ("/mid/secret/x", "/mid/x"), ("/mid/x", "/mid/x")]
    {
        assert_eq!(gateway.get(sent).await.expect(200).json()["target"], seen, "{sent}");
    }
}

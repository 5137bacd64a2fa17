//! The tests; `main.rs` has their names.

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

use crate::support::certificates::{Issued, Wanted};
use crate::support::gateway::TOKEN;
use crate::support::sse::Stream;
use crate::support::tls::TlsGateway;
use crate::support::upstream::ok;
use crate::support::{Client, Gateway, Request, Upstream, eventually, h2c, in_time};

async fn gateway() -> Gateway {
    let mut gateway = Gateway::prepare(json!({})).running(std::env::current_exe().unwrap());
    gateway.boot().await;
    gateway
}

fn with(plugin: &str, settings: &Value) -> Value {
    json!({"plugins": ["discovery", plugin], "props": {plugin: settings}})
}

/// A body of several chunks, each sent when the one before is on its way.
const PIECES: [&[u8]; 4] = [b"one", b"two", b"three", b"four"];

async fn send_chunks(client: &mut Client) {
    client.send(b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
    for piece in PIECES {
        client.send(&[format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat()).await.unwrap();
        tokio::task::yield_now().await;
    }
    client.send(b"0\r\n\r\n").await.unwrap();
}

pub async fn gathered_to_http1() {
    let gateway = gateway().await;
    let upstream = Upstream::echo().await;
    gateway.serve_with("/*", &[upstream.address], with("example", &json!({"forbidden": ["secret"]}))).await;
    for port in [gateway.http, gateway.h2c] {
        let mut client = Client::connect(port).await;
        for _ in 0..3 {
            send_chunks(&mut client).await;
            client.response_to("POST").await.unwrap().expect(200);
            assert_eq!(upstream.last().body, PIECES.concat());
        }
    }
    // With a length, in two writes, and larger than any buffer on the way.
    let large = vec![b'x'; 60_000];
    let mut client = Client::connect(gateway.http).await;
    client.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n").await.unwrap();
    client.send(&large[..20_000]).await.unwrap();
    client.send(&large[20_000..]).await.unwrap();
    client.response_to("POST").await.unwrap().expect(200);
    assert_eq!(upstream.last().body, large);
    // And over HTTP/2.
    let (response, mut stream) = begin_post(&gateway, "/x").await;
    for piece in PIECES {
        stream.send_data(Bytes::from_static(piece), false).unwrap();
    }
    stream.send_data(Bytes::new(), true).unwrap();
    assert_eq!(h2c::read(response).await.status, 200);
    assert_eq!(upstream.last().body, PIECES.concat());
}

async fn begin_post(gateway: &Gateway, path: &str) -> (h2::client::ResponseFuture, h2::SendStream<Bytes>) {
    let request = http::Request::post(format!("http://a.test{path}")).body(()).unwrap();
    let client = h2c::connect(gateway.h2c).await;
    client.ready().await.unwrap().send_request(request, false).unwrap()
}

/// An HTTP/2 node that answers with the length of the body it got.
async fn http2_node() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(http2_connection(stream));
        }
    });
    address
}

async fn http2_connection(stream: TcpStream) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        tokio::spawn(async move {
            let (mut body, mut whole) = (request.into_body(), Vec::new());
            while let Some(Ok(chunk)) = body.data().await {
                drop(body.flow_control().release_capacity(chunk.len()));
                whole.extend_from_slice(&chunk);
            }
            let head = http::Response::builder().header("content-type", "application/grpc").body(()).unwrap();
            let mut stream = respond.send_response(head, false).unwrap();
            drop(stream.send_data(Bytes::from(whole), true));
        });
    }
}

pub async fn gathered_to_http2() {
    let gateway = gateway().await;
    let mut more = with("example", &json!({"forbidden": ["secret"]}));
    more["protocol"] = "grpc".into();
    gateway.serve_with("/svc/*", &[http2_node().await], more).await;
    for _ in 0..3 {
        let (response, mut stream) = h2c::begin_call(h2c::connect(gateway.h2c).await, "/svc/Method").await;
        let message = h2c::frame(&PIECES.concat());
        for byte in message.chunks(4) {
            stream.send_data(Bytes::copy_from_slice(byte), false).unwrap();
            tokio::task::yield_now().await;
        }
        stream.send_data(Bytes::new(), true).unwrap();
        let response = h2c::read(response).await;
        assert_eq!((response.status, response.body), (200, message));
    }
}

pub async fn gathered_and_refused() {
    let gateway = gateway().await;
    let upstream = Upstream::echo().await;
    let settings = json!({"forbidden": ["twothree"], "max_body": 20});
    gateway.serve_with("/*", &[upstream.address], with("example", &settings)).await;
    let mut client = Client::connect(gateway.http).await;
    send_chunks(&mut client).await;
    let refused = client.response_to("POST").await.unwrap().expect(422);
    assert_eq!(refused.json(), json!({"forbidden": "twothree"}), "found across chunks");
    let large = Request::new("POST", "/x").body(vec![b'x'; 21]);
    gateway.send(large).await.expect(413);
    gateway.send(Request::new("POST", "/x").body(vec![b'x'; 20])).await.expect(200);
    assert!(upstream.seen().iter().all(|seen| seen.body.len() == 20 || seen.target != "/x" || seen.method == "GET"));
}

/// Neither what a client sends nor what a plugin does is a failure of the node that was to get it.
pub async fn no_blame() {
    let gateway = gateway().await;
    let upstream = Upstream::echo().await;
    gateway
        .serve_with("/example", &[upstream.address], with("example", &json!({"forbidden": ["no"], "max_body": 20})))
        .await;
    gateway.serve_with("/panic", &[upstream.address], with("panic", &json!({}))).await;
    gateway.serve_with("/small", &[upstream.address], json!({"max_body_size": 10})).await;
    let failures = || gateway.metric("gateway_upstream_failures_total", "");
    gateway.send(Request::new("POST", "/example").body("no")).await.expect(422);
    assert_eq!(failures().await, 0.0, "a body that a plugin refuses");
    gateway.send(Request::new("POST", "/example").body(vec![b'x'; 21])).await.expect(413);
    assert_eq!(failures().await, 0.0, "a body too large for a plugin");
    let mut client = Client::connect(gateway.http).await;
    client.send(b"POST /small HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
    client.send(b"b\r\nhello world\r\n").await.unwrap();
    client.response_to("POST").await.unwrap().expect(413);
    assert_eq!(failures().await, 0.0, "a body over the limit");
    for phase in ["upstream_request", "request_body"] {
        gateway.send(Request::new("POST", "/panic").header("X-Panic", phase).body("body")).await.expect(500);
        assert_eq!(failures().await, 0.0, "a plugin that panics in {phase}");
    }
}

pub async fn gathered_response() {
    let gateway = gateway().await;
    let upstream = Upstream::answering(|seen| match seen.target.as_str() {
        "/chunked" => {
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n".to_vec()
        }
        _ => ok("abcdefg"),
    })
    .await;
    gateway.serve_with("/*", &[upstream.address], with("gather", &json!({"max_body": 100}))).await;
    for path in ["/chunked", "/length"] {
        let response = h2c::get(gateway.h2c, "a.test", path).await;
        assert_eq!(&response.body[..], b"<abcdefg>", "{path} over HTTP/2");
        let mut client = Client::connect(gateway.http).await;
        client.send(&Request::get(path).to_bytes()).await.unwrap();
        let head = client.head().await.unwrap();
        assert_eq!(client.body(&head).await.unwrap(), b"<abcdefg>", "{path}");
        // Ended by the connection it could be cut short and look whole.
        assert_eq!(head.header("transfer-encoding"), Some("chunked"), "{path}: {head:?}");
        client.get(path).await.unwrap().expect(200);
    }
}

/// Its head has gone out when it is found to be too large.
pub async fn gathered_response_too_large() {
    let gateway = gateway().await;
    let upstream = Upstream::answering(|_| ok(&"x".repeat(101))).await;
    gateway.serve_with("/*", &[upstream.address], with("gather", &json!({"max_body": 100}))).await;
    let mut client = Client::connect(gateway.http).await;
    client.send(&Request::get("/large").to_bytes()).await.unwrap();
    let response = client.response_to("GET").await;
    assert!(response.as_ref().map_or(true, |response| response.status == 502), "it looks whole: {response:?}");
}

pub async fn panics() {
    let gateway = gateway().await;
    let upstream = Upstream::echo().await;
    gateway.serve_with("/*", &[upstream.address], with("panic", &json!({}))).await;
    let early = ["request", "request_async", "upstream_peer", "upstream_request", "request_body"];
    let mut expected = 0.0;
    let listen = Request::get("/admin/v2/events").header("X-Api-Token", TOKEN);
    let mut events = Stream::open(gateway.admin, listen).await;
    for phase in early {
        let request = Request::new("POST", "/x").header("X-Panic", phase).body("body");
        for port in [gateway.http, gateway.h2c] {
            let response = request.send(port).await.expect(500);
            assert!(!response.text().contains("told to"), "the client learns no detail: {}", response.text());
        }
        let (response, mut stream) = begin_panic(&gateway, phase).await;
        stream.send_data(Bytes::from_static(b"body"), true).unwrap();
        assert_eq!(h2c::read(response).await.status, 500, "{phase} over HTTP/2");
        expected += 3.0;
        counted(&gateway, expected, phase).await;
    }
    let told = events.until("the panic", |event| event.name == "plugin_panic").await;
    assert_eq!((&told.data["plugin"], told.data["reason"].is_string()), (&json!("panic"), true), "{told:?}");
    // Here the head has gone out already: the response must not look whole.
    let mut client = Client::connect(gateway.http).await;
    client.send(&Request::get("/x").header("X-Panic", "response_body").to_bytes()).await.unwrap();
    let response = client.response_to("GET").await;
    assert!(response.as_ref().map_or(true, |response| response.status == 500), "{response:?}");
    eventually("it is counted", || async { gateway.metric("gateway_plugin_panics_total", "").await > expected }).await;
    let counted_so_far = gateway.metric("gateway_plugin_panics_total", "").await;
    // And here all of it.
    let mut client = Client::connect(gateway.http).await;
    client.send(&Request::get("/x").header("X-Panic", "logging").to_bytes()).await.unwrap();
    client.response_to("GET").await.unwrap().expect(200);
    client.get("/next").await.unwrap().expect(200);
    counted(&gateway, counted_so_far + 1.0, "logging").await;
    survives(&gateway).await;
}

/// What the plugin was to take out of the response must not pass.
pub async fn panic_over_a_response_head() {
    let gateway = gateway().await;
    let upstream = Upstream::echo().await;
    gateway.serve_with("/*", &[upstream.address], with("panic", &json!({}))).await;
    for port in [gateway.http, gateway.h2c] {
        let response = Request::get("/x").header("X-Panic", "response").send(port).await;
        assert_eq!(response.status, 500, "{}", response.text());
    }
    counted(&gateway, 2.0, "response").await;
}

async fn counted(gateway: &Gateway, expected: f64, phase: &str) {
    eventually(&format!("{phase} is counted"), || async {
        gateway.metric("gateway_plugin_panics_total", "plugin=\"panic\"").await == expected
    })
    .await;
    let logged = format!("plugin \"panic\" panicked: told to, in {phase}");
    eventually(&format!("{phase} is logged"), || async { gateway.output().contains(&logged) }).await;
}

async fn begin_panic(gateway: &Gateway, phase: &str) -> (h2::client::ResponseFuture, h2::SendStream<Bytes>) {
    let request = http::Request::post("http://a.test/x").header("x-panic", phase).body(()).unwrap();
    let client = h2c::connect(gateway.h2c).await;
    client.ready().await.unwrap().send_request(request, false).unwrap()
}

/// An HTTP/2 connection outlives the panic of a stream beside others, and an HTTP/1.1 one is
/// ended in order: the answer says so.
async fn survives(gateway: &Gateway) {
    let client = h2c::connect(gateway.h2c).await;
    let mut beside = Vec::new();
    for i in 0..10 {
        let phase = if i % 2 == 0 { "request" } else { "none" };
        let request = http::Request::get("http://a.test/x").header("x-panic", phase).body(()).unwrap();
        let (response, _) = client.clone().ready().await.unwrap().send_request(request, true).unwrap();
        beside.push((response, if i % 2 == 0 { 500 } else { 200 }));
    }
    for (response, status) in beside {
        assert_eq!(h2c::read(response).await.status, status);
    }
    let mut client = Client::connect(gateway.http).await;
    client.send(&Request::get("/x").header("X-Panic", "request").to_bytes()).await.unwrap();
    let response = client.response_to("GET").await.unwrap().expect(500);
    if response.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
        assert!(client.until_closed().await.is_empty());
    } else {
        client.get("/next").await.unwrap().expect(200);
    }
    eventually("nothing is in flight", || async { gateway.metric("gateway_requests_in_flight", "").await == 0.0 })
        .await;
}

pub async fn every_hook() {
    let gateway = gateway().await;
    let nodes = [Upstream::saying("served").await, Upstream::saying("served").await];
    let text =
        Upstream::answering(|_| crate::support::upstream::respond(200, &[("Content-Type", "text/plain")], "served"))
            .await;
    let settings = json!({
        "greeting": "good day", "forbidden": ["secret"], "footer": " -- example", "avoid": nodes[0].address.to_string(),
    });
    gateway.serve_with("/*", &[nodes[0].address, text.address], with("example", &settings)).await;
    for port in [gateway.http, gateway.h2c] {
        for _ in 0..3 {
            let response = Request::get("/x").send(port).await.expect(200);
            assert_eq!(response.text(), "served -- example", "the footer");
            assert_eq!(response.header("x-example"), Some("good day"));
            let seen = text.last();
            assert_eq!((seen.header("x-example"), seen.header("x-attempt")), (Some("good day"), Some("1")));
        }
    }
    assert_eq!(nodes[0].count(), 0, "the avoided node is not taken");
    gateway.send(Request::new("POST", "/x").body("a secret")).await.expect(422);
    let event = |name: &'static str| {
        let gateway = &gateway;
        async move { gateway.metric("gateway_plugin_events_total", &format!("event=\"{name}\"")).await }
    };
    in_time("the counters", async { eventually("refused", || async { event("refused").await == 1.0 }).await }).await;
    eventually("served", || async { event("served").await >= 7.0 }).await;
    let listed = gateway.get_admin("/admin/plugins/list").await.expect(200).text();
    assert!(listed.contains("示例插件_v1.0"), "{listed}");
    // A wrong setting is named when it is saved.
    let wrong = crate::support::gateway::route("/wrong", "s", with("example", &json!({"max_body": 0})));
    let refused = gateway.call_admin("/admin/routes/save", &wrong).await.expect(500);
    assert!(refused.text().contains("max_body: 0 is not in 1..=10485760"), "{}", refused.text());
}

pub async fn client_certificate() {
    let config = json!({"tls": {"client_ca": "clients.pem", "client_auth": "request"}});
    let prepare = |all| Gateway::prepare(all).running(std::env::current_exe().unwrap());
    let mut gateway = TlsGateway::prepare_with(config, prepare, &["a.example"]);
    let clients = Issued::ca("Clients");
    std::fs::write(gateway.file("clients.pem"), clients.cert_pem()).unwrap();
    gateway.boot().await;
    gateway.route("/*", "", with("whoami", &json!({}))).await;
    gateway.applied().await;

    let names = ["billing.internal", "billing@example.com", "spiffe://example.com/billing"];
    let identity = clients.issue(&Wanted { common_name: "billing", names: &names, ..Wanted::default() });
    let client = gateway.client("a.example");
    let shown = client.clone().showing(&identity, &[]).get("/").await.unwrap().body;
    let expected = format!("CN=billing by CN=Clients as {}, {}", names.join(" "), identity.fingerprint());
    assert_eq!(shown.trim(), format!("true Some(\"a.example\") Some({expected:?})"));
    assert_eq!(client.get("/").await.unwrap().body.trim(), "true Some(\"a.example\") None");
    assert_eq!(gateway.get("/").await.text().trim(), "false None None");
}

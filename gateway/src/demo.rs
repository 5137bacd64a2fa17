//! Small upstreams for `--demo`, inside the gateway's own process, and the first gateway's demo
//! data that routes to them.
//!
//! The HTTP ones answer with what reached them, so that rewriting, balancing and the added headers
//! can be seen with `curl`; the gRPC one greets. None of this runs without `--demo`.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use axum::Router;
use axum::body::Body;
use axum::response::Json;
use bytes::{BufMut, Bytes, BytesMut};
use futures::StreamExt;
use futures::future::{try_join, try_join_all};
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderValue, Request, Response};
use serde_json::{Map, Value, json};
use tokio::net::{TcpListener, TcpStream};

/// The one method the gRPC upstream has: `{string name = 1}` is answered `{string message = 1}`.
const SAY_HELLO: &str = "/grpc.hello.HelloService/SayHello";
/// More than any greeting needs.
const MAX_GRPC_REQUEST: usize = 64 * 1024;

/// Where the demo upstreams listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DemoAddresses {
    /// The HTTP upstreams.
    pub http: Vec<SocketAddr>,
    /// The gRPC upstream.
    pub grpc: SocketAddr,
}

/// The addresses that the demo data names.
impl Default for DemoAddresses {
    fn default() -> Self {
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self { http: (1024..=1027).map(local).collect(), grpc: local(2021) }
    }
}

/// The routes and nodes of the demo: keys relative to the store's data prefix, with their values.
pub fn demo_data() -> Vec<(String, Value)> {
    let families = [
        ("routes", include_str!("../../etc/demo/init_route.json")),
        ("discovery", include_str!("../../etc/demo/init_discovery.json")),
    ];
    families.into_iter().flat_map(|(family, text)| keyed(family, text)).collect()
}

fn keyed(family: &str, text: &str) -> Vec<(String, Value)> {
    let objects: Vec<Value> = serde_json::from_str(text).expect("the demo data is compiled in and tested");
    let key = |object: &Value| format!("{family}/{}", object["key"].as_str().expect("demo objects have a key"));
    objects.into_iter().map(|object| (key(&object), object)).collect()
}

/// Serves the demo upstreams until `shutdown` is done.
///
/// # Errors
/// When an address cannot be bound; the message names it.
pub async fn run(addresses: DemoAddresses, shutdown: impl Future<Output = ()> + Send) -> io::Result<()> {
    let http = try_join_all(addresses.http.into_iter().map(bind)).await?;
    let grpc = bind(addresses.grpc).await?;
    tokio::select! {
        ended = try_join(try_join_all(http.into_iter().map(echo)), greet(grpc)) => ended.map(drop),
        () = shutdown => Ok(()),
    }
}

async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .map_err(|e| io::Error::new(e.kind(), format!("cannot listen on {address} for a demo upstream: {e}")))
}

/// Answers each request with itself, as JSON.
async fn echo(listener: TcpListener) -> io::Result<()> {
    let me = listener.local_addr()?;
    axum::serve(listener, Router::new().fallback(move |request| reflect(me, request))).await
}

async fn reflect(me: SocketAddr, request: Request<Body>) -> Json<Value> {
    let (head, body) = request.into_parts();
    let mut headers = Map::new();
    for name in head.headers.keys() {
        let values: Vec<_> = head.headers.get_all(name).iter().map(|v| String::from_utf8_lossy(v.as_bytes())).collect();
        headers.insert(name.to_string(), values.join(", ").into());
    }
    Json(json!({
        "upstream": me.to_string(),
        "method": head.method.as_str(),
        "path": head.uri.path(),
        "query": head.uri.query().unwrap_or_default(),
        "headers": headers,
        "body_length": length(body).await,
    }))
}

/// Counts a body without keeping it; what arrived before a failure counts.
async fn length(body: Body) -> usize {
    body.into_data_stream().fold(0, async |sum, chunk| sum + chunk.map_or(0, |bytes| bytes.len())).await
}

async fn greet(listener: TcpListener) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            if let Err(error) = connection(stream).await {
                log::debug!("demo gRPC upstream: {error}");
            }
        });
    }
}

async fn connection(stream: TcpStream) -> Result<(), h2::Error> {
    let mut connection = h2::server::handshake(stream).await?;
    while let Some(accepted) = connection.accept().await {
        let (request, respond) = accepted?;
        tokio::spawn(async move {
            if let Err(error) = call(request, respond).await {
                log::debug!("demo gRPC upstream: {error}");
            }
        });
    }
    Ok(())
}

async fn call(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) -> Result<(), h2::Error> {
    if request.uri().path() != SAY_HELLO {
        let trailers = status("12", &format!("the demo knows only {SAY_HELLO}"));
        return respond.send_response(grpc_response(trailers), true).map(drop);
    }
    let body = collect(request.into_body()).await?;
    let Some(name) = read_name(&body) else {
        let trailers = status("3", "the request is no message with a string in field 1");
        return respond.send_response(grpc_response(trailers), true).map(drop);
    };
    let mut stream = respond.send_response(grpc_response(HeaderMap::new()), false)?;
    stream.send_data(write_message(&format!("Hello, {name}!")), false)?;
    stream.send_trailers(status("0", ""))
}

async fn collect(mut body: RecvStream) -> Result<Bytes, h2::Error> {
    let mut all = BytesMut::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        body.flow_control().release_capacity(chunk.len())?;
        if all.len() + chunk.len() > MAX_GRPC_REQUEST {
            return Err(Reason::ENHANCE_YOUR_CALM.into());
        }
        all.extend_from_slice(&chunk);
    }
    Ok(all.freeze())
}

fn grpc_response(mut headers: HeaderMap) -> Response<()> {
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    let mut response = Response::new(());
    *response.headers_mut() = headers;
    response
}

fn status(code: &'static str, message: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("grpc-status", HeaderValue::from_static(code));
    if !message.is_empty() {
        headers.insert("grpc-message", HeaderValue::from_str(message).expect("our messages are plain ASCII"));
    }
    headers
}

/// The string in field 1 of an uncompressed gRPC message; an absent field is an empty one.
fn read_name(body: &[u8]) -> Option<&str> {
    let (prefix, message) = body.split_at_checked(5)?;
    let length = u32::from_be_bytes(prefix[1..].try_into().ok()?) as usize;
    if prefix[0] != 0 || message.len() != length {
        return None;
    }
    if message.is_empty() {
        return Some("");
    }
    let (tag, rest) = message.split_first()?;
    let (length, rest) = read_varint(rest)?;
    (*tag == 0x0a).then(|| std::str::from_utf8(rest.get(..length)?).ok())?
}

fn read_varint(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0;
    for (i, byte) in bytes.iter().enumerate().take(4) {
        value |= usize::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[i + 1..]));
        }
    }
    None
}

/// A gRPC message with a string in field 1.
fn write_message(text: &str) -> Bytes {
    let mut message = BytesMut::new();
    message.put_u8(0x0a);
    let mut length = text.len();
    while length >= 0x80 {
        message.put_u8((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    message.put_u8((length & 0x7f) as u8);
    message.put_slice(text.as_bytes());
    let mut framed = BytesMut::with_capacity(message.len() + 5);
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).expect("a greeting is short"));
    framed.put_slice(&message);
    framed.freeze()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::oneshot;

    use super::*;

    fn unused() -> SocketAddr {
        std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
    }

    async fn connected(address: SocketAddr) -> TcpStream {
        for _ in 0..200 {
            if let Ok(stream) = TcpStream::connect(address).await {
                return stream;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("nothing listens on {address}")
    }

    #[test]
    fn the_demo_data_has_the_keys_of_the_first_gateway() {
        let keys: Vec<_> = demo_data().into_iter().map(|(key, _)| key).collect();
        assert_eq!(
            keys,
            [
                "routes/968bf1f8890b38d31051ec0a290348c9",
                "routes/07262efa5a8dffd8ff731b868b8af20b",
                "routes/d8cc52714b2d301569f296d9069fa3fb",
                "routes/65191760795629abae26000c28fe15a1",
                "discovery/demo1.33f075d48985fe1b26061756cd53593c",
                "discovery/demo1.69f7377e402fcf4284b818adec5f6086",
                "discovery/demo2.ce5d756c844f9285a27570e111dfe6a1",
                "discovery/demo2.e00c274086b48581a2a27ad8a071307d",
                "discovery/grpc-demo.12c776dfd3e6fd95d6cede29c5d95e53",
            ]
        );
    }

    #[test]
    fn every_demo_node_has_an_upstream() {
        let addresses = DemoAddresses::default();
        for (key, node) in demo_data().into_iter().filter(|(key, _)| key.starts_with("discovery/")) {
            let upstream: SocketAddr = node["upstream"].as_str().unwrap().parse().unwrap();
            assert!(addresses.http.contains(&upstream) || addresses.grpc == upstream, "{key}");
        }
    }

    #[tokio::test]
    async fn an_address_in_use_is_named() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let error = run(DemoAddresses { http: vec![], grpc: address }, std::future::pending()).await.unwrap_err();
        assert!(error.to_string().starts_with(&format!("cannot listen on {address} for a demo upstream: ")), "{error}");
    }

    #[tokio::test]
    async fn http_upstreams_answer_what_they_got_until_the_shutdown() {
        let (stop, stopped) = oneshot::channel::<()>();
        let addresses = DemoAddresses { http: vec![unused()], grpc: unused() };
        let running = tokio::spawn(run(addresses.clone(), async { drop(stopped.await) }));
        let mut client = connected(addresses.http[0]).await;
        let request =
            "POST /a/b?c=d HTTP/1.1\r\nHost: x\r\nX-One: 1\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc";
        client.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        let body: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
        assert_eq!(body["upstream"], addresses.http[0].to_string());
        assert_eq!((&body["method"], &body["path"], &body["query"]), (&json!("POST"), &json!("/a/b"), &json!("c=d")));
        assert_eq!((&body["headers"]["x-one"], &body["body_length"]), (&json!("1"), &json!(3)));
        stop.send(()).unwrap();
        running.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn the_grpc_upstream_greets() {
        let addresses = DemoAddresses { http: vec![], grpc: unused() };
        let running = tokio::spawn(run(addresses.clone(), std::future::pending()));
        let (mut client, connection) = h2::client::handshake(connected(addresses.grpc).await).await.unwrap();
        tokio::spawn(connection);
        let other = "/grpc.hello.HelloService/Other";
        for (path, name, expected) in [(SAY_HELLO, "Ada", ("0", "Hello, Ada!")), (other, "", ("12", ""))] {
            let request = Request::post(format!("http://{}{path}", addresses.grpc)).body(()).unwrap();
            let (response, mut stream) = client.send_request(request, false).unwrap();
            stream.send_data(write_message(name), true).unwrap();
            let (head, mut body) = response.await.unwrap().into_parts();
            let mut message = BytesMut::new();
            while let Some(chunk) = body.data().await {
                message.extend_from_slice(&chunk.unwrap());
            }
            let trailers = body.trailers().await.unwrap().unwrap_or(head.headers);
            let got = (trailers["grpc-status"].to_str().unwrap(), read_name(&message).unwrap_or_default());
            assert_eq!(got, expected, "{path}");
        }
        running.abort();
    }
}

//! HTTP/2 by prior knowledge, frame by frame where a test needs it.

use std::net::SocketAddr;

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request};
use tokio::net::TcpStream;

use super::in_time;

/// A whole response.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: HeaderMap,
    /// Whether the stream ended with the headers.
    pub headers_only: bool,
}

impl Response {
    /// The gRPC status and message, from trailers or from a trailers-only response.
    pub fn grpc(&self) -> (String, String) {
        let text = |name: &str| {
            let value = self.trailers.get(name).or_else(|| self.headers.get(name));
            value.map_or(String::new(), |v| v.to_str().unwrap().to_owned())
        };
        (text("grpc-status"), text("grpc-message"))
    }
}

/// Opens a connection.
pub async fn connect(to: SocketAddr) -> SendRequest<Bytes> {
    over(TcpStream::connect(to).await.unwrap()).await
}

/// Speaks HTTP/2 on a connection.
pub async fn over(stream: TcpStream) -> SendRequest<Bytes> {
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    client
}

/// A request without a body.
pub async fn get(to: SocketAddr, host: &str, path: &str) -> Response {
    get_on(connect(to).await, host, path).await
}

/// A request without a body on a connection that is open.
pub async fn get_on(client: SendRequest<Bytes>, host: &str, path: &str) -> Response {
    let request = Request::get(format!("http://{host}{path}")).body(()).unwrap();
    let (response, _) = client.ready().await.unwrap().send_request(request, true).unwrap();
    read(response).await
}

/// Begins a gRPC call.
pub async fn begin_call(client: SendRequest<Bytes>, path: &str) -> (ResponseFuture, SendStream<Bytes>) {
    let request = Request::post(format!("http://gateway.test{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap();
    client.ready().await.unwrap().send_request(request, false).unwrap()
}

/// A unary gRPC call with these message bytes.
pub async fn call(to: SocketAddr, path: &str, message: &[u8]) -> Response {
    let (response, mut stream) = begin_call(connect(to).await, path).await;
    stream.send_data(frame(message), true).unwrap();
    read(response).await
}

/// A message in gRPC's framing.
pub fn frame(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap());
    framed.put_slice(message);
    framed.freeze()
}

/// Reads a response to its end.
pub async fn read(response: ResponseFuture) -> Response {
    in_time("an HTTP/2 response", async {
        let (head, mut stream) = response.await.unwrap().into_parts();
        let headers_only = stream.is_end_stream();
        let body = drain(&mut stream).await;
        let trailers = stream.trailers().await.unwrap().unwrap_or_default();
        Response { status: head.status.as_u16(), headers: head.headers, body, trailers, headers_only }
    })
    .await
}

async fn drain(stream: &mut RecvStream) -> Bytes {
    let mut body = BytesMut::new();
    while let Some(chunk) = stream.data().await {
        let chunk = chunk.unwrap();
        stream.flow_control().release_capacity(chunk.len()).unwrap();
        body.extend_from_slice(&chunk);
    }
    body.freeze()
}

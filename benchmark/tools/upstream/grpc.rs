//! The gRPC side of the upstream: HTTP/2 without TLS, on which a unary call gets its own message back.

use anyhow::Result;
use bytes::{Bytes, BytesMut};
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderValue, Request, Response, header};
use tokio::net::TcpStream;

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

pub(crate) async fn serve(stream: TcpStream) -> Result<()> {
    let mut connection = Builder::new()
        .max_concurrent_streams(100_000)
        .initial_window_size(1 << 20)
        .initial_connection_window_size(16 << 20)
        .handshake(stream)
        .await?;
    while let Some(call) = connection.accept().await {
        let (request, respond) = call?;
        tokio::spawn(answer(request, respond));
    }
    Ok(())
}

/// A call that fails is reported by the load generator.
async fn answer(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    let called = request.headers().get(header::CONTENT_TYPE) == Some(&GRPC);
    if !called {
        respond.send_reset(Reason::REFUSED_STREAM);
    } else if let Err(error) = echo(request.into_body(), &mut respond).await {
        respond.send_reset(error.reason().unwrap_or(Reason::INTERNAL_ERROR));
    }
}

async fn echo(mut body: RecvStream, respond: &mut SendResponse<Bytes>) -> Result<(), h2::Error> {
    let mut message = BytesMut::new();
    while let Some(piece) = body.data().await.transpose()? {
        body.flow_control().release_capacity(piece.len())?;
        message.extend_from_slice(&piece);
    }
    let mut head = Response::new(());
    head.headers_mut().insert(header::CONTENT_TYPE, GRPC);
    let mut stream = respond.send_response(head, false)?;
    stream.send_data(message.freeze(), false)?;
    stream.send_trailers(HeaderMap::from_iter([(
        http::HeaderName::from_static("grpc-status"),
        HeaderValue::from_static("0"),
    )]))
}

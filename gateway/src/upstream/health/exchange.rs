//! One request over a fresh HTTP/2 connection: what grpc probes need, and http probes of nodes that
//! speak nothing else.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, Response};
use pingora::protocols::Stream;

/// No more of a body is kept. What comes after it is not read: the connection ends anyway.
pub(super) const MAX_BODY: usize = 64 * 1024;

/// Sends a request and reads its response to the end, or as far as bodies are read.
pub(super) async fn exchange(
    stream: Stream,
    request: Request<()>,
    body: Bytes,
) -> Result<(Response<Bytes>, HeaderMap), h2::Error> {
    let (sender, connection) = h2::client::Builder::new()
        .enable_push(false)
        .max_header_list_size(16 * 1024)
        .handshake::<_, Bytes>(stream)
        .await?;
    let exchange = async {
        let mut sender = sender.ready().await?;
        let (response, mut sending) = sender.send_request(request, body.is_empty())?;
        if !body.is_empty() {
            sending.send_data(body, true)?;
        }
        let (parts, mut incoming) = response.await?.into_parts();
        let mut read = BytesMut::new();
        while let Some(piece) = incoming.data().await {
            let piece = piece?;
            incoming.flow_control().release_capacity(piece.len())?;
            read.extend_from_slice(&piece);
            if read.len() > MAX_BODY {
                return Ok((Response::from_parts(parts, read.freeze()), HeaderMap::new()));
            }
        }
        let trailers = incoming.trailers().await?.unwrap_or_default();
        Ok((Response::from_parts(parts, read.freeze()), trailers))
    };
    // The connection only moves while it is polled, and ends with this function.
    tokio::select! {
        biased;
        done = exchange => done,
        ended = connection => Err(ended.err().unwrap_or_else(|| h2::Reason::NO_ERROR.into())),
    }
}

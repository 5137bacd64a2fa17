//! Request bodies, read whole and up to a limit.

use axum::body::{Body, HttpBody as _};
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use http::StatusCode;

/// Largest body of a call. A route is a few hundred bytes; a transaction of the store holds this.
pub(super) const MAX_BODY: usize = 1 << 20;

/// Reads a body; the error is the status to answer.
pub(super) async fn read(body: Body) -> Result<Bytes, StatusCode> {
    read_up_to(body, MAX_BODY).await
}

/// The same, up to another limit.
pub(super) async fn read_up_to(body: Body, most: usize) -> Result<Bytes, StatusCode> {
    // Said to be too large: refused before a byte of it is read.
    if body.size_hint().lower() > most as u64 {
        return Err(StatusCode::PAYLOAD_TOO_LARGE);
    }
    let mut whole = BytesMut::new();
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| StatusCode::BAD_REQUEST)?;
        if whole.len() + chunk.len() > most {
            return Err(StatusCode::PAYLOAD_TOO_LARGE);
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(whole.freeze())
}

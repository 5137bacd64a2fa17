//! WebSocket frames (RFC 6455), read and written by the upstream and the load generator.

use std::io::Result;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::{Buf as _, BytesMut};
use openssl::sha::sha1;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::http1::{Connection, invalid};

/// The longest payload; a benchmark sends messages, not files.
const LONGEST: usize = 64 << 10;

const MASKED: u8 = 0x80;

pub(crate) struct Frame {
    /// The final bit and the opcode.
    pub(crate) first: u8,
    pub(crate) payload: BytesMut,
}

/// What answers the key of a handshake (RFC 6455, section 4.2.2).
pub(crate) fn accept(key: &[u8]) -> String {
    BASE64_STANDARD.encode(sha1(&[key, b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"].concat()))
}

impl Frame {
    pub(crate) async fn read<S: AsyncRead + AsyncWrite + Unpin>(connection: &mut Connection<S>) -> Result<Self> {
        connection.fill(2).await?;
        let [first, second] = [connection.buffer[0], connection.buffer[1]];
        let (size_bytes, mask_bytes) = (size_bytes(second), if second & MASKED == 0 { 0 } else { 4 });
        let head = 2 + size_bytes + mask_bytes;
        connection.fill(head).await?;
        let length = length(second & !MASKED, &connection.buffer[2..2 + size_bytes])?;
        let mask: [u8; 4] = connection.buffer[2 + size_bytes..head].try_into().unwrap_or_default();
        connection.fill(head + length).await?;
        connection.buffer.advance(head);
        let mut payload = connection.buffer.split_to(length);
        apply(mask, &mut payload);
        Ok(Self { first, payload })
    }
}

/// How many bytes hold the length when the second byte of the frame cannot.
fn size_bytes(second: u8) -> usize {
    match second & !MASKED {
        126 => 2,
        127 => 8,
        _ => 0,
    }
}

fn length(short: u8, long: &[u8]) -> Result<usize> {
    let length = match long {
        [] => u64::from(short),
        bytes => bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
    };
    usize::try_from(length)
        .ok()
        .filter(|length| *length <= LONGEST)
        .ok_or_else(|| invalid(&format!("a frame of {length} bytes is longer than {LONGEST}")))
}

fn apply(mask: [u8; 4], payload: &mut [u8]) {
    if mask != [0; 4] {
        payload.chunks_mut(4).for_each(|four| four.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask));
    }
}

/// Appends a frame. A client must mask its frames, a server must not.
pub(crate) fn encode(out: &mut Vec<u8>, first: u8, payload: &[u8], mask: Option<[u8; 4]>) {
    let masked = if mask.is_some() { MASKED } else { 0 };
    out.push(first);
    match payload.len() {
        short @ 0..126 => out.push(masked | u8::try_from(short).expect("less than 126")),
        long @ 126..0x1_0000 => {
            out.push(masked | 126);
            out.extend(u16::try_from(long).expect("less than 65536").to_be_bytes());
        }
        longer => {
            out.push(masked | 127);
            out.extend((longer as u64).to_be_bytes());
        }
    }
    out.extend(mask.unwrap_or_default().iter().take(if mask.is_some() { 4 } else { 0 }));
    let start = out.len();
    out.extend_from_slice(payload);
    apply(mask.unwrap_or_default(), &mut out[start..]);
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[test]
    fn the_key_of_the_rfc_is_accepted_as_the_rfc_says() {
        assert_eq!(accept(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[tokio::test]
    async fn a_frame_is_read_as_it_was_written() {
        for size in [0, 1, 125, 126, 65_535, LONGEST] {
            for mask in [None, Some([1, 2, 3, 4])] {
                let (client, mut server) = tokio::io::duplex(1 << 20);
                let payload: Vec<u8> = (0..=255).cycle().take(size).collect();
                let mut sent = Vec::new();
                encode(&mut sent, 0x82, &payload, mask);
                server.write_all(&sent).await.unwrap();
                let frame = Frame::read(&mut Connection::new(client)).await.unwrap();
                assert_eq!((frame.first, &frame.payload[..]), (0x82, &payload[..]), "{size} {mask:?}");
            }
        }
    }
}

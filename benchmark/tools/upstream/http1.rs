//! As much of HTTP/1.1 as the upstream and the load generator share: where a head and a body end.

use std::io::{Error, ErrorKind, Result};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};

/// A read of a head; thousands of idle connections hold a buffer of this size.
const HEAD_READ: usize = 2 << 10;
const BODY_READ: usize = 64 << 10;

/// A connection, and what was read from it but not yet used.
pub(crate) struct Connection<S> {
    pub(crate) stream: S,
    pub(crate) buffer: BytesMut,
}

/// How the body after a head ends, and whether the connection ends with it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Framing {
    pub(crate) body: Body,
    pub(crate) close: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Body {
    Length(u64),
    Chunked,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, buffer: BytesMut::new() }
    }

    /// Reads the next head and parses it; `None` if the peer has closed the connection instead.
    pub(crate) async fn head<T>(&mut self, parse: impl FnOnce(&[u8]) -> Result<T>) -> Result<Option<T>> {
        let mut searched = 0;
        let end = loop {
            if let Some(end) = end_of_head(&self.buffer, searched) {
                break end;
            }
            searched = self.buffer.len();
            if self.read(HEAD_READ).await? == 0 {
                return if self.buffer.is_empty() { Ok(None) } else { Err(closed("a head")) };
            }
        };
        let parsed = parse(&self.buffer[..end])?;
        self.buffer.advance(end);
        Ok(Some(parsed))
    }

    /// Reads a body to its end and hands over the pieces as they come; returns its length.
    pub(crate) async fn body(&mut self, body: Body, mut each: impl FnMut(&[u8])) -> Result<u64> {
        match body {
            Body::Length(length) => self.take(length, &mut each).await.map(|()| length),
            Body::Chunked => self.chunks(&mut each).await,
        }
    }

    /// Reads until the buffer holds at least so many bytes.
    pub(crate) async fn fill(&mut self, length: usize) -> Result<()> {
        while self.buffer.len() < length {
            if self.read(length.max(HEAD_READ)).await? == 0 {
                return Err(closed("a message"));
            }
        }
        Ok(())
    }

    async fn read(&mut self, room: usize) -> Result<usize> {
        self.buffer.reserve(room);
        self.stream.read_buf(&mut self.buffer).await
    }

    async fn take(&mut self, mut length: u64, each: &mut impl FnMut(&[u8])) -> Result<()> {
        while length > 0 {
            if self.buffer.is_empty() && self.read(BODY_READ).await? == 0 {
                return Err(closed("a body"));
            }
            let piece = self.buffer.len().min(usize::try_from(length).unwrap_or(usize::MAX));
            each(&self.buffer[..piece]);
            self.buffer.advance(piece);
            length -= piece as u64;
        }
        Ok(())
    }

    /// RFC 9112, section 7.1. Trailers are skipped.
    async fn chunks(&mut self, each: &mut impl FnMut(&[u8])) -> Result<u64> {
        let mut total = 0;
        loop {
            let size = self.line(chunk_size).await??;
            if size == 0 {
                break;
            }
            self.take(size, each).await?;
            if !self.line(<[u8]>::is_empty).await? {
                return Err(invalid("a chunk is longer than it says"));
            }
            total += size;
        }
        while !self.line(<[u8]>::is_empty).await? {}
        Ok(total)
    }

    async fn line<T>(&mut self, parse: impl FnOnce(&[u8]) -> T) -> Result<T> {
        let end = loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                break end;
            }
            if self.read(BODY_READ).await? == 0 {
                return Err(closed("a chunked body"));
            }
        };
        let parsed = parse(self.buffer[..end].trim_ascii());
        self.buffer.advance(end + 1);
        Ok(parsed)
    }
}

impl Framing {
    pub(crate) fn of(head: &[u8]) -> Result<Self> {
        let old = head.split(|byte| *byte == b'\n').next().is_some_and(|line| contains(line, b"HTTP/1.0"));
        let mut framing = Self { body: Body::Length(0), close: old };
        for (name, value) in headers(head) {
            if name.eq_ignore_ascii_case(b"content-length") {
                framing.body = Body::Length(number(value, 10)?);
            } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
                framing.body = Body::Chunked;
            } else if name.eq_ignore_ascii_case(b"connection") {
                framing.close = value.eq_ignore_ascii_case(b"close");
            }
        }
        Ok(framing)
    }
}

pub(crate) fn headers(head: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    head.split(|byte| *byte == b'\n').skip(1).filter_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        Some((&line[..colon], line[colon + 1..].trim_ascii()))
    })
}

pub(crate) fn number(digits: &[u8], radix: u32) -> Result<u64> {
    let text = str::from_utf8(digits).map_err(|_| invalid("a number is not ASCII"))?;
    u64::from_str_radix(text, radix).map_err(|_| invalid(&format!("{text:?} is not a number")))
}

pub(crate) fn invalid(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, what)
}

fn closed(within: &str) -> Error {
    Error::new(ErrorKind::UnexpectedEof, format!("the connection was closed within {within}"))
}

fn chunk_size(line: &[u8]) -> Result<u64> {
    let digits = line.split(|byte| *byte == b';').next().unwrap_or(line);
    number(digits.trim_ascii(), 16)
}

/// `searched` bytes are known to hold no end, but may hold the first part of one.
fn end_of_head(buffer: &[u8], searched: usize) -> Option<usize> {
    let end = b"\r\n\r\n";
    let from = searched.saturating_sub(end.len() - 1);
    let at = buffer[from..].windows(end.len()).position(|window| window == end)?;
    Some(from + at + end.len())
}

fn contains(line: &[u8], part: &[u8]) -> bool {
    line.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_says_how_the_body_ends() {
        let cases: [(&str, Body, bool); 5] = [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Body::Length(0), false),
            ("GET / HTTP/1.0\r\n\r\n", Body::Length(0), true),
            ("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", Body::Length(0), false),
            ("POST / HTTP/1.1\r\ncontent-length: 12\r\nConnection: close\r\n\r\n", Body::Length(12), true),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Body::Chunked, false),
        ];
        for (head, body, close) in cases {
            assert_eq!(Framing::of(head.as_bytes()).unwrap(), Framing { body, close }, "{head}");
        }
    }

    #[tokio::test]
    async fn a_chunked_body_ends_where_its_last_chunk_ends() {
        let (client, mut server) = tokio::io::duplex(5);
        let sent = b"POST / HTTP/1.1\r\n\r\n4;x=1\r\nwiki\r\na\r\npedia in t\r\n0\r\nA: b\r\n\r\nnext";
        let sending = tokio::io::AsyncWriteExt::write_all(&mut server, sent);
        let reading = async {
            let mut connection = Connection::new(client);
            connection.head(|_| Ok(())).await.unwrap().unwrap();
            let mut body = Vec::new();
            let length = connection.body(Body::Chunked, |piece| body.extend_from_slice(piece)).await.unwrap();
            connection.fill(4).await.unwrap();
            (length, body, connection.buffer)
        };
        let (result, (length, body, rest)) = tokio::join!(sending, reading);
        result.unwrap();
        assert_eq!((length, &body[..], &rest[..]), (14, &b"wikipedia in t"[..], &b"next"[..]));
    }
}

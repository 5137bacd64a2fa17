//! The PROXY protocol, versions 1 and 2: the client's address as the load balancer in front of us tells it.
//!
//! What it tells is believed, so the caller reads such a header only from peers it was told to trust. Exactly the
//! header's bytes are read: what follows is TLS, HTTP/1 or HTTP/2. Specification:
//! <https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt};

/// Longest line of version 1, its line break included.
const MAX_LINE: usize = 107;
/// Longest variable part of version 2. Addresses take 216 bytes at most; the rest is extensions.
const MAX_LENGTH: usize = 4096;
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// For whom a load balancer opened a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// For this client.
    Client(SocketAddr),
    /// For itself, to see whether we are alive.
    Balancer,
    /// For a client that has no IP address, or whose address is not known.
    Unknown,
}

/// Why a header is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum HeaderError {
    #[error("the connection does not begin with a PROXY header")]
    Missing,
    #[error("the PROXY line is malformed")]
    Line,
    #[error("the version of the PROXY header is not known")]
    Version,
    #[error("the command of the PROXY header is not known")]
    Command,
    #[error("the address family of the PROXY header is not one of a stream")]
    Family,
    #[error("the PROXY header is shorter than its addresses")]
    TooShort,
    #[error("the PROXY header is too long")]
    TooLong,
    #[error("an extension of the PROXY header is cut off")]
    Extension,
}

impl From<HeaderError> for io::Error {
    fn from(error: HeaderError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

/// Reads the header, and not a byte more. `None`: the connection ended before its first byte, as those of simple
/// health checks do. The caller sets the deadline.
pub(super) async fn read<S: AsyncRead + Unpin + ?Sized>(stream: &mut S) -> io::Result<Option<Source>> {
    // Enough to tell both versions apart, and no more than the shortest header has.
    let mut start = [0; 12];
    let mut have = 0;
    while have < start.len() {
        have += match stream.read(&mut start[have..]).await? {
            0 if have == 0 => return Ok(None),
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => n,
        };
        // Said at once: a client that speaks something else may be waiting for us.
        if !SIGNATURE.starts_with(&start[..have]) && !is_line_start(&start[..have]) {
            return Err(HeaderError::Missing.into());
        }
    }
    let source = if start == *SIGNATURE { read_v2(stream).await } else { read_v1(stream, &start).await };
    source.map(Some)
}

fn is_line_start(bytes: &[u8]) -> bool {
    const START: &[u8] = b"PROXY ";
    let compared = bytes.len().min(START.len());
    bytes[..compared] == START[..compared]
}

async fn read_v1<S: AsyncRead + Unpin + ?Sized>(stream: &mut S, start: &[u8]) -> io::Result<Source> {
    let mut line = Vec::with_capacity(MAX_LINE);
    line.extend_from_slice(start);
    while line.last() != Some(&b'\n') {
        if line.len() == MAX_LINE {
            return Err(HeaderError::TooLong.into());
        }
        line.push(stream.read_u8().await?);
    }
    Ok(parse_v1(&line)?)
}

async fn read_v2<S: AsyncRead + Unpin + ?Sized>(stream: &mut S) -> io::Result<Source> {
    let mut fixed = [0; 4];
    stream.read_exact(&mut fixed).await?;
    let [command, family, high, low] = fixed;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > MAX_LENGTH {
        return Err(HeaderError::TooLong.into());
    }
    let mut rest = vec![0; length];
    stream.read_exact(&mut rest).await?;
    Ok(parse_v2(command, family, &rest)?)
}

/// A whole line with its line break.
fn parse_v1(line: &[u8]) -> Result<Source, HeaderError> {
    let line = line.strip_suffix(b"\r\n").and_then(|line| std::str::from_utf8(line).ok()).ok_or(HeaderError::Line)?;
    let words = line.strip_prefix("PROXY ").ok_or(HeaderError::Line)?;
    if words == "UNKNOWN" || words.starts_with("UNKNOWN ") {
        return Ok(Source::Unknown);
    }
    let mut words = words.split(' ');
    let mut next = || words.next().ok_or(HeaderError::Line);
    let (family, source, destination, port, destination_port) = (next()?, next()?, next()?, next()?, next()?);
    if words.next().is_some() {
        return Err(HeaderError::Line);
    }
    let address = |text: &str| -> Option<IpAddr> {
        match family {
            "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            "TCP6" => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let (Some(source), Some(_)) = (address(source), address(destination)) else { return Err(HeaderError::Line) };
    let (Some(port), Some(_)) = (parse_port(port), parse_port(destination_port)) else { return Err(HeaderError::Line) };
    Ok(Source::Client(SocketAddr::new(source, port)))
}

/// Digits without a sign or leading zeros.
fn parse_port(text: &str) -> Option<u16> {
    let is_plain = text.bytes().all(|b| b.is_ascii_digit()) && (text.len() == 1 || !text.starts_with('0'));
    if is_plain { text.parse().ok() } else { None }
}

/// The two bytes after the signature, and what follows the length.
fn parse_v2(command: u8, family: u8, rest: &[u8]) -> Result<Source, HeaderError> {
    if command >> 4 != 2 {
        return Err(HeaderError::Version);
    }
    let is_local = match command & 0xf {
        0 => true,
        1 => false,
        _ => return Err(HeaderError::Command),
    };
    let addresses = match family {
        0x00 => 0,
        0x11 => 12,
        0x21 => 36,
        0x31 => 216,
        // What a LOCAL header says of addresses is to be ignored.
        _ if is_local => return Ok(Source::Balancer),
        _ => return Err(HeaderError::Family),
    };
    if is_local {
        return Ok(Source::Balancer);
    }
    let (addresses, extensions) = rest.split_at_checked(addresses).ok_or(HeaderError::TooShort)?;
    check_extensions(extensions)?;
    let port = |at: usize| u16::from_be_bytes([addresses[at], addresses[at + 1]]);
    let source = match family {
        0x11 => {
            let ip: [u8; 4] = addresses[..4].try_into().map_err(|_| HeaderError::TooShort)?;
            SocketAddr::new(Ipv4Addr::from(ip).into(), port(8))
        }
        0x21 => {
            let ip: [u8; 16] = addresses[..16].try_into().map_err(|_| HeaderError::TooShort)?;
            SocketAddr::new(Ipv6Addr::from(ip).into(), port(32))
        }
        _ => return Ok(Source::Unknown),
    };
    Ok(Source::Client(source))
}

/// Type, length and value, one after the other. None of them is needed; all must be whole.
fn check_extensions(mut rest: &[u8]) -> Result<(), HeaderError> {
    while let [_, high, low, value @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        rest = value.get(length..).ok_or(HeaderError::Extension)?;
    }
    if rest.is_empty() { Ok(()) } else { Err(HeaderError::Extension) }
}

#[cfg(test)]
#[path = "proxy_protocol_tests.rs"]
mod tests;

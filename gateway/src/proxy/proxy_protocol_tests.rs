//! Every form of the header, whole and byte by byte, and everything that is none.

use std::pin::Pin;
use std::task::{Context, Poll};

use proptest::prelude::*;
use tokio::io::ReadBuf;

use super::*;

/// Gives one byte at a time, with a pause before each.
struct Drip(Vec<u8>, usize, bool);

impl AsyncRead for Drip {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.2 = !self.2;
        if self.2 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Some(byte) = self.0.get(self.1).copied() {
            buf.put_slice(&[byte]);
            self.1 += 1;
        }
        Poll::Ready(Ok(()))
    }
}

/// What is read, and how much of the input is left.
fn outcome(bytes: &[u8]) -> (Result<Option<Source>, String>, usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let run = |future: Pin<Box<dyn Future<Output = io::Result<Option<Source>>> + '_>>| {
        runtime.block_on(future).map_err(|e| e.to_string())
    };
    let mut whole = bytes;
    let at_once = run(Box::pin(read(&mut whole)));
    let mut drip = Drip(bytes.to_vec(), 0, false);
    let in_drops = run(Box::pin(read(&mut drip)));
    assert_eq!(at_once, in_drops, "the way it arrives makes no difference: {bytes:?}");
    if at_once.is_ok() {
        assert_eq!(whole.len(), bytes.len() - drip.1);
    }
    (at_once, whole.len())
}

fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [&SIGNATURE[..], &[command, family], &length, rest].concat()
}

fn client(text: &str) -> Source {
    Source::Client(text.parse().unwrap())
}

const V4: [u8; 12] = [203, 0, 113, 7, 10, 0, 0, 1, 0x12, 0x34, 0, 80];

#[test]
fn headers_of_both_versions_are_read_to_their_last_byte() {
    let mut v6 = [0; 36];
    v6[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
    v6[15] = 1;
    v6[32..34].copy_from_slice(&4711_u16.to_be_bytes());
    let unix = [b'x'; 216];
    let extended = [&V4[..], &[1, 0, 2, b'h', b'2', 4, 0, 0]].concat();
    for (bytes, source) in [
        (b"PROXY TCP4 203.0.113.7 10.0.0.1 4660 80\r\n".to_vec(), client("203.0.113.7:4660")),
        (b"PROXY TCP6 2001:db8::1 ::1 65535 0\r\n".to_vec(), client("[2001:db8::1]:65535")),
        (b"PROXY UNKNOWN\r\n".to_vec(), Source::Unknown),
        (b"PROXY UNKNOWN ffff::1 whatever 1 2 3\r\n".to_vec(), Source::Unknown),
        (v2(0x21, 0x11, &V4), client("203.0.113.7:4660")),
        (v2(0x21, 0x11, &extended), client("203.0.113.7:4660")),
        (v2(0x21, 0x21, &v6), client("[2001:db8::1]:4711")),
        (v2(0x21, 0x31, &unix), Source::Unknown),
        (v2(0x21, 0x00, &[]), Source::Unknown),
        (v2(0x20, 0x00, &[]), Source::Balancer),
        (v2(0x20, 0x11, &V4), Source::Balancer),
        (v2(0x20, 0xff, &[1, 2, 3]), Source::Balancer),
    ] {
        let followed = [&bytes[..], b"GET / HTTP/1.1\r\n"].concat();
        assert_eq!(outcome(&followed), (Ok(Some(source)), 16), "{bytes:?}");
        assert_eq!(outcome(&bytes).0, Ok(Some(source)), "{bytes:?}");
        for cut in 1..bytes.len() {
            assert!(outcome(&bytes[..cut]).0.is_err(), "{bytes:?} cut at {cut}");
        }
    }
}

#[test]
fn a_connection_without_a_byte_is_no_error() {
    assert_eq!(outcome(b"").0, Ok(None));
}

#[test]
fn what_is_no_header_is_an_error() {
    let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(107));
    for (bytes, error) in [
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), HeaderError::Missing),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), HeaderError::Missing),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), HeaderError::Missing),
        (b"proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n".to_vec(), HeaderError::Missing),
        (b"PROXYTCP4 1.2.3.4 1.2.3.4 1 2\r\n".to_vec(), HeaderError::Missing),
        (b"PROXY  TCP4 1.2.3.4 1.2.3.4 1 2\r\n".to_vec(), HeaderError::Line),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n".to_vec(), HeaderError::Line),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n".to_vec(), HeaderError::Line),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n".to_vec(), HeaderError::Line),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n".to_vec(), HeaderError::Line),
        (b"PROXY TCP4 01.2.3.4 1.2.3.4 1 2\r\n".to_vec(), HeaderError::Line),
        (b"PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n".to_vec(), HeaderError::Line),
        (b"PROXY TCP4 ::1 ::1 1 2\r\n".to_vec(), HeaderError::Line),
        (b"PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n".to_vec(), HeaderError::Line),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n".to_vec(), HeaderError::Line),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n".to_vec(), HeaderError::Line),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n".to_vec(), HeaderError::Line),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 \r\n".to_vec(), HeaderError::Line),
        (b"PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n".to_vec(), HeaderError::Line),
        (b"PROXY UNKNOWNS\r\n".to_vec(), HeaderError::Line),
        (b"PROXY \xff\xff\xff\xff\xff\xff\r\n".to_vec(), HeaderError::Line),
        (long.into_bytes(), HeaderError::TooLong),
        (v2(0x11, 0x11, &V4), HeaderError::Version),
        (v2(0x31, 0x11, &V4), HeaderError::Version),
        (v2(0x22, 0x11, &V4), HeaderError::Command),
        (v2(0x21, 0x12, &V4), HeaderError::Family),
        (v2(0x21, 0x41, &V4), HeaderError::Family),
        (v2(0x21, 0x11, &V4[..11]), HeaderError::TooShort),
        (v2(0x21, 0x21, &V4), HeaderError::TooShort),
        (v2(0x21, 0x31, &[0; 215]), HeaderError::TooShort),
        (v2(0x21, 0x11, &[&V4[..], &[1]].concat()), HeaderError::Extension),
        (v2(0x21, 0x11, &[&V4[..], &[1, 0, 3, 1, 2]].concat()), HeaderError::Extension),
        (v2(0x21, 0x11, &[0; 4097]), HeaderError::TooLong),
    ] {
        assert_eq!(outcome(&bytes).0, Err(error.to_string()), "{:?}", String::from_utf8_lossy(&bytes));
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), kind in 0..4_u8) {
        let bytes = match kind {
            0 => bytes,
            1 => [b"PROXY TCP4 ", &bytes[..]].concat(),
            2 => [&SIGNATURE[..], &bytes].concat(),
            _ => v2(0x21, [0x11, 0x21, 0x31, 0][bytes.len() % 4], &bytes),
        };
        let _either = outcome(&bytes);
    }

    #[test]
    fn every_address_comes_back(ip in any::<std::net::IpAddr>(), port in any::<u16>(), v1 in any::<bool>()) {
        let header = match (v1, ip) {
            (true, IpAddr::V4(ip)) => format!("PROXY TCP4 {ip} 127.0.0.1 {port} 80\r\n").into_bytes(),
            (true, IpAddr::V6(ip)) => format!("PROXY TCP6 {ip} ::1 {port} 80\r\n").into_bytes(),
            (false, IpAddr::V4(ip)) => v2(0x21, 0x11, &[&ip.octets()[..], &[0; 4], &port.to_be_bytes(), &[0; 2]].concat()),
            (false, IpAddr::V6(ip)) => v2(0x21, 0x21, &[&ip.octets()[..], &[0; 16], &port.to_be_bytes(), &[0; 2]].concat()),
        };
        prop_assert_eq!(outcome(&header), (Ok(Some(Source::Client(SocketAddr::new(ip, port)))), 0));
    }
}

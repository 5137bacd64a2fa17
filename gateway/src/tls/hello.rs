//! Reads the server name out of a TLS ClientHello, before TLS begins.
//!
//! The name decides on the whole TLS context: certificate, client certificates, session tickets.
//! OpenSSL's own callbacks come too late for that, since a session may be resumed before the name is
//! looked at.

/// Largest ClientHello. Those of browsers have up to 2 KB.
const MAX_HELLO: usize = 16 << 10;
/// Most records a ClientHello may be cut into.
const MAX_RECORDS: usize = 16;
const RECORD_HEADER: usize = 5;
const HANDSHAKE_RECORD: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;

/// What the first bytes of a connection are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hello {
    /// The beginning of a ClientHello; nothing can be said before so many bytes are there.
    Incomplete(usize),
    /// A whole ClientHello, and the server name in it, in lower case.
    Complete(Option<String>),
    /// No TLS at all.
    NotTls,
    /// TLS, but wrong, or larger than any client's.
    Malformed,
}

/// Reads the first bytes of a connection.
pub fn read(bytes: &[u8]) -> Hello {
    let mut message = Vec::new();
    let mut rest = bytes;
    for _ in 0..MAX_RECORDS {
        let read = bytes.len() - rest.len();
        match rest {
            [] => return Hello::Incomplete(read + RECORD_HEADER),
            [kind, ..] if *kind != HANDSHAKE_RECORD => {
                return if read == 0 { Hello::NotTls } else { Hello::Malformed };
            }
            [_, major, ..] if *major != 3 => return if read == 0 { Hello::NotTls } else { Hello::Malformed },
            [_, _, _, high, low, ..] => {
                let length = usize::from(u16::from_be_bytes([*high, *low]));
                if length == 0 || message.len() + length > MAX_HELLO {
                    return Hello::Malformed;
                }
                let Some(fragment) = rest.get(RECORD_HEADER..RECORD_HEADER + length) else {
                    return Hello::Incomplete(read + RECORD_HEADER + length);
                };
                message.extend_from_slice(fragment);
                rest = &rest[RECORD_HEADER + length..];
            }
            _ => return Hello::Incomplete(read + RECORD_HEADER),
        }
        if let Some(hello) = whole_message(&message) {
            return hello;
        }
    }
    Hello::Malformed
}

/// The hello, once the handshake message is whole.
fn whole_message(message: &[u8]) -> Option<Hello> {
    if message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
        return Some(Hello::Malformed);
    }
    let (header, body) = message.split_at_checked(4)?;
    let length = usize::from(header[1]) << 16 | usize::from(header[2]) << 8 | usize::from(header[3]);
    if length > MAX_HELLO {
        return Some(Hello::Malformed);
    }
    let body = body.get(..length)?;
    Some(server_name(body).map_or(Hello::Malformed, Hello::Complete))
}

/// The server name in the body of a ClientHello (RFC 8446 section 4.1.2, RFC 6066 section 3).
/// `Err` when the hello is malformed.
fn server_name(body: &[u8]) -> Result<Option<String>, Malformed> {
    let mut body = Reader(body);
    body.take(2 + 32)?;
    body.list8()?;
    body.list16()?;
    body.list8()?;
    if body.0.is_empty() {
        return Ok(None);
    }
    let mut extensions = body.list16()?;
    if !body.0.is_empty() {
        return Err(Malformed);
    }
    let mut name = None;
    while !extensions.0.is_empty() {
        let kind = extensions.u16()?;
        let mut content = extensions.list16()?;
        if kind == SERVER_NAME {
            if name.is_some() {
                return Err(Malformed);
            }
            name = Some(host_name(&mut content)?);
        }
    }
    Ok(name)
}

/// The one name of the list: RFC 6066 allows one of each type, and there is one type.
fn host_name(content: &mut Reader<'_>) -> Result<String, Malformed> {
    let mut list = content.list16()?;
    let kind = list.take(1)?[0];
    let name = list.list16()?.0;
    if kind != HOST_NAME || !list.0.is_empty() || !content.0.is_empty() || name.is_empty() || name.len() > 255 {
        return Err(Malformed);
    }
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b':');
    if !name.iter().all(is_name) {
        return Err(Malformed);
    }
    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
    Ok(name.strip_suffix('.').map_or(name.clone(), str::to_owned))
}

#[derive(Debug)]
struct Malformed;

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(n).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn list8(&mut self) -> Result<Reader<'a>, Malformed> {
        let length = usize::from(self.take(1)?[0]);
        self.take(length).map(Reader)
    }

    fn list16(&mut self) -> Result<Reader<'a>, Malformed> {
        let length = usize::from(self.u16()?);
        self.take(length).map(Reader)
    }
}

#[cfg(test)]
mod tests {
    use openssl::ssl::{Ssl, SslContext, SslMethod};
    use proptest::prelude::*;

    use super::*;

    /// The first flight of a real client.
    fn client_hello(name: Option<&str>) -> Vec<u8> {
        #[derive(Debug)]
        struct Sink(Vec<u8>);
        impl std::io::Read for Sink {
            fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::WouldBlock.into())
            }
        }
        impl std::io::Write for Sink {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0.extend_from_slice(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let mut ssl = Ssl::new(&SslContext::builder(SslMethod::tls_client()).unwrap().build()).unwrap();
        if let Some(name) = name {
            ssl.set_hostname(name).unwrap();
        }
        match ssl.connect(Sink(Vec::new())) {
            Err(openssl::ssl::HandshakeError::WouldBlock(stream)) => stream.get_ref().0.clone(),
            _ => panic!("a client waits for its server"),
        }
    }

    /// The same hello in records of so many bytes.
    fn fragmented(hello: &[u8], size: usize) -> Vec<u8> {
        let records = hello[RECORD_HEADER..].chunks(size);
        records.flat_map(|r| [&[22, 3, 1, 0, u8::try_from(r.len()).unwrap()], r].concat()).collect()
    }

    #[test]
    fn the_name_is_found_in_lower_case() {
        assert_eq!(read(&client_hello(Some("WWW.Example.com"))), Hello::Complete(Some("www.example.com".into())));
        assert_eq!(read(&client_hello(None)), Hello::Complete(None));
    }

    #[test]
    fn a_hello_cut_into_records_is_read() {
        let hello = client_hello(Some("a.example"));
        assert_eq!(read(&fragmented(&hello, 100)), Hello::Complete(Some("a.example".into())));
        assert_eq!(read(&fragmented(&hello, 1)), Hello::Malformed, "too many records");
    }

    #[test]
    fn each_beginning_of_a_hello_asks_for_more_than_it_has() {
        for hello in [client_hello(Some("a.example")), fragmented(&client_hello(Some("a.example")), 100)] {
            for n in 0..hello.len() {
                match read(&hello[..n]) {
                    Hello::Incomplete(needed) => assert!(needed > n && needed <= hello.len(), "{n}: {needed}"),
                    other => panic!("{n} of {}: {other:?}", hello.len()),
                }
            }
        }
    }

    #[test]
    fn what_is_no_tls_is_told_apart() {
        assert_eq!(read(b"GET / HTTP/1.1\r\n"), Hello::NotTls);
        assert_eq!(read(&[0x80, 0x2e, 1, 0, 2]), Hello::NotTls, "the hello of SSL 2");
        assert_eq!(read(&[22, 3, 1, 0, 0]), Hello::Malformed);
        assert_eq!(read(&[22, 3, 1, 0xff, 0xff]), Hello::Malformed);
        assert_eq!(read(&[22, 3, 1, 0, 1, 9]), Hello::Malformed, "no ClientHello, as the first byte tells");
        assert_eq!(read(&[22, 3, 1, 0, 4, 2, 0, 0, 0]), Hello::Malformed, "no ClientHello");
    }

    #[test]
    fn a_name_that_is_none_is_malformed() {
        let hello = client_hello(Some("a.example"));
        let at = hello.windows(9).position(|w| w == b"a.example").unwrap();
        for bad in [b'\0', b' ', b'/', 0xff] {
            let mut hello = hello.clone();
            hello[at] = bad;
            assert_eq!(read(&hello), Hello::Malformed, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            read(&bytes);
            read(&[&[22, 3, 1, 0, 250][..], &bytes].concat());
        }

        #[test]
        fn no_change_of_a_hello_makes_it_panic(at in 0usize..200, to in any::<u8>()) {
            let mut hello = client_hello(Some("a.example"));
            let at = at % hello.len();
            hello[at] = to;
            read(&hello);
        }
    }
}

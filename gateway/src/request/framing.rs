//! What Pingora lets pass and a gateway must not: requests that two servers could delimit or attribute in two ways
//! (request smuggling, RFC 9112 section 11.2). Allocates nothing.

use http::header::{CONTENT_LENGTH, HOST, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use http::{HeaderName, Version};

/// Why a request is refused; the client gets 400 and the connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// RFC 9112 section 3.2.
    #[error("the request has no Host")]
    MissingHost,
    /// Two or more Host fields.
    #[error("the request has more than one Host")]
    RepeatedHost,
    /// Empty, or not `name`, `name:port`, `[ipv6]`, `[ipv6]:port`.
    #[error("the Host is malformed")]
    InvalidHost,
    /// Absolute form or `:authority` against Host.
    #[error("the Host differs from the request target")]
    OtherHost,
    /// Two fields or a list.
    #[error("the request has more than one Content-Length")]
    RepeatedContentLength,
    /// Signs, blanks, letters, or beyond 64 bits.
    #[error("the Content-Length is not a number")]
    InvalidContentLength,
    /// The classic.
    #[error("the request has both Content-Length and Transfer-Encoding")]
    ContentLengthAndTransferEncoding,
    /// Anything but `chunked`, or not on HTTP/1.1.
    #[error("the Transfer-Encoding is not supported")]
    TransferEncoding,
    /// `x_real_ip` is `X-Real-IP` to CGI-like upstreams.
    #[error("a header name with an underscore imitates a trusted header")]
    ImitatedHeader,
    /// Any other one, where they are refused.
    #[error("a header name has an underscore")]
    Underscore,
    /// NUL or another control byte.
    #[error("a header value has a control character")]
    ControlCharacter,
}

/// What becomes of headers whose names have an underscore, which CGI-like upstreams cannot tell from a dash. Those that
/// imitate trusted headers are refused in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Underscores {
    /// They are left out, as nginx does.
    #[default]
    Drop,
    /// They pass.
    Allow,
    /// The request is refused.
    Reject,
}

/// Checks a request's header block. `uri_host` is the host or the authority of the request target, if it has one:
/// absolute form in HTTP/1, `:authority` in HTTP/2.
///
/// Says whether there are headers to be left out: see [`underscored`].
///
/// # Errors
/// The first fault found.
pub fn check(
    version: Version,
    headers: &HeaderMap,
    uri_host: Option<&str>,
    underscores: Underscores,
) -> Result<bool, FramingError> {
    check_host(version, headers, uri_host)?;
    check_length(version, headers)?;
    let mut has_underscore = false;
    for (name, value) in headers {
        let name = name.as_str().as_bytes();
        if name.contains(&b'_') {
            if imitates_trusted_header(name) {
                return Err(FramingError::ImitatedHeader);
            }
            has_underscore = true;
        }
        if has_control_character(value.as_bytes()) {
            return Err(FramingError::ControlCharacter);
        }
    }
    match underscores {
        Underscores::Reject if has_underscore => Err(FramingError::Underscore),
        Underscores::Drop => Ok(has_underscore),
        _ => Ok(false),
    }
}

/// The names with an underscore.
#[must_use]
pub fn underscored(headers: &HeaderMap) -> Vec<HeaderName> {
    headers.keys().filter(|name| name.as_str().contains('_')).cloned().collect()
}

fn check_host(version: Version, headers: &HeaderMap, uri_host: Option<&str>) -> Result<(), FramingError> {
    let target = uri_host.map(|host| split_host(host.as_bytes()).ok_or(FramingError::InvalidHost)).transpose()?;
    let Some(host) = only(headers, HOST, FramingError::RepeatedHost)? else {
        return if version == Version::HTTP_11 || (version > Version::HTTP_11 && target.is_none()) {
            Err(FramingError::MissingHost)
        } else {
            Ok(())
        };
    };
    let (name, port) = split_host(host.as_bytes()).ok_or(FramingError::InvalidHost)?;
    match target {
        // A port is compared only where both have one: routes are matched without it.
        Some((other, other_port))
            if !name.eq_ignore_ascii_case(other)
                || (!port.is_empty() && !other_port.is_empty() && port != other_port) =>
        {
            Err(FramingError::OtherHost)
        }
        _ => Ok(()),
    }
}

fn check_length(version: Version, headers: &HeaderMap) -> Result<(), FramingError> {
    let length = only(headers, CONTENT_LENGTH, FramingError::RepeatedContentLength)?;
    if let Some(length) = length.map(HeaderValue::as_bytes) {
        if length.contains(&b',') {
            return Err(FramingError::RepeatedContentLength);
        }
        // 18 digits always fit 64 bits, signed or not.
        if !(1..=18).contains(&length.len()) || !length.iter().all(u8::is_ascii_digit) {
            return Err(FramingError::InvalidContentLength);
        }
    }
    let Some(encoding) = only(headers, TRANSFER_ENCODING, FramingError::TransferEncoding)? else {
        return Ok(());
    };
    if length.is_some() {
        return Err(FramingError::ContentLengthAndTransferEncoding);
    }
    // HTTP/2 has no transfer codings (RFC 9113 section 8.2.2), HTTP/1.0 does not know chunked.
    if version == Version::HTTP_11 && encoding.as_bytes().eq_ignore_ascii_case(b"chunked") {
        Ok(())
    } else {
        Err(FramingError::TransferEncoding)
    }
}

fn only(headers: &HeaderMap, name: HeaderName, repeated: FramingError) -> Result<Option<&HeaderValue>, FramingError> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() { Err(repeated) } else { Ok(first) }
}

/// Name and port, if both are well formed. Names are letters, digits, `-`, `.` and `_`: what DNS and docker use.
fn split_host(host: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, rest) = if host.first() == Some(&b'[') {
        let end = host.iter().position(|&b| b == b']')?;
        let address = std::str::from_utf8(&host[1..end]).ok()?;
        address.parse::<std::net::Ipv6Addr>().ok()?;
        host.split_at(end + 1)
    } else {
        host.split_at(host.iter().position(|&b| b == b':').unwrap_or(host.len()))
    };
    let is_name = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    if name.is_empty() || (name[0] != b'[' && !name.iter().all(is_name)) {
        return None;
    }
    let port = rest.strip_prefix(b":").unwrap_or(rest);
    let is_port = port.len() <= 5 && port.iter().all(u8::is_ascii_digit);
    is_port.then_some((name, port))
}

/// Trusted because we, or an authentication plugin, write them, or because they delimit the message.
const TRUSTED: &[&[u8]] = &[
    b"cf-connecting-ip",
    b"content-length",
    b"proxy-authorization",
    b"transfer-encoding",
    b"true-client-ip",
    b"x-access-token",
    b"x-api-key",
    b"x-client-ip",
    b"x-id-token",
    b"x-original-url",
    b"x-real-ip",
    b"x-rewrite-url",
    b"x-userinfo",
];
const TRUSTED_PREFIXES: &[&[u8]] = &[b"x-consumer-", b"x-credential-", b"x-forwarded-"];

fn imitates_trusted_header(name: &[u8]) -> bool {
    let folds = |name: &[u8], trusted: &[u8]| {
        name.iter().zip(trusted).all(|(&have, &want)| have == want || (have == b'_' && want == b'-'))
    };
    TRUSTED.iter().any(|trusted| name.len() == trusted.len() && folds(name, trusted))
        || TRUSTED_PREFIXES.iter().any(|prefix| name.len() >= prefix.len() && folds(name, prefix))
}

/// No early exit, so that it becomes vector code. A tab is allowed (RFC 9110 section 5.5).
fn has_control_character(value: &[u8]) -> bool {
    value.iter().fold(false, |found, &b| found | ((b < 0x20) & (b != b'\t')) | (b == 0x7f))
}

#[cfg(test)]
#[path = "framing_tests.rs"]
mod tests;

//! W3C Trace Context (<https://www.w3.org/TR/trace-context/>): the `traceparent` header, read and written.
//!
//! Allocates only the header value that goes upstream.

use uuid::Uuid;
use ws_cloud_plugin_sdk::http::{HeaderMap, HeaderName, HeaderValue};

pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub(crate) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// `00-` 32 digits `-` 16 digits `-` 2 digits.
const LEN: usize = 55;
/// The bits of the flags that have a meaning: sampled, and random of level 2.
const KNOWN_FLAGS: u8 = 0b11;
const SAMPLED: u8 = 0b01;

/// A request's place in its trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TraceParent {
    /// The trace; never 0.
    pub(crate) trace: u128,
    flags: u8,
}

impl TraceParent {
    /// The first place of a new trace.
    pub(crate) fn begin(trace: Uuid, sampled: bool) -> Self {
        Self { trace: trace.as_u128(), flags: if sampled { SAMPLED } else { 0 } }
    }

    /// What the client sent, if there is exactly one and it is valid.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return None };
        Self::parse(value.as_bytes())
    }

    fn parse(value: &[u8]) -> Option<Self> {
        let (known, more) = value.split_at_checked(LEN)?;
        let version = hex(&known[..2])?;
        // A later version may have more fields; this one has none, and `ff` is no version.
        let ends = more.is_empty() || (version > 0 && more[0] == b'-');
        let dashes = [2, 35, 52].iter().all(|at| known[*at] == b'-');
        if version == 0xff || !ends || !dashes {
            return None;
        }
        let (trace, parent, flags) = (hex(&known[3..35])?, hex(&known[36..52])?, hex(&known[53..])?);
        let flags = u8::try_from(flags).ok()? & KNOWN_FLAGS;
        (trace != 0 && parent != 0).then_some(Self { trace, flags })
    }

    /// The header value for the next hop, of which this span is the parent.
    pub(crate) fn to_value(self, span: u64) -> HeaderValue {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        write_hex(&mut text[3..35], self.trace);
        // 0 is no span.
        write_hex(&mut text[36..52], span.max(1).into());
        write_hex(&mut text[53..], self.flags.into());
        HeaderValue::from_bytes(&text).expect("digits and dashes are a header value")
    }
}

/// Lower-case digits only.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(value))
    })
}

fn write_hex(digits: &mut [u8], mut number: u128) {
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number & 0xf) as usize];
        number >>= 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const TRACE: u128 = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;

    #[test]
    fn what_is_valid_is_read_and_what_is_not_is_none() {
        let parse = |text: &str| TraceParent::parse(text.as_bytes());
        let with = |flags| Some(TraceParent { trace: TRACE, flags });
        let cut = |text: &str| text.replace("4bf9", "");
        for (text, parsed) in [
            (VALID.to_owned(), with(1)),
            (VALID.replace("-01", "-00"), with(0)),
            (VALID.replace("-01", "-03"), with(3)),
            (VALID.replace("-01", "-ff"), with(3)),
            (VALID.replace("00-4", "01-4"), with(1)),
            (VALID.replace("00-4", "fe-4") + "-what-comes", with(1)),
            (VALID.replace("00-4", "cc-4") + "what-comes", None),
            (VALID.replace("00-4", "ff-4"), None),
            (VALID.to_owned() + "-", None),
            (VALID.to_owned() + " ", None),
            (VALID.to_uppercase(), None),
            (VALID.replace("-01", "-0g"), None),
            (VALID.replace("-01", "-1"), None),
            (VALID.replace('-', "_"), None),
            (VALID.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)), None),
            (VALID.replace("00f067aa0ba902b7", &"0".repeat(16)), None),
            (cut(VALID), None),
            (String::new(), None),
            ("00".into(), None),
            ("é".repeat(28), None),
        ] {
            assert_eq!(parse(&text), parsed, "{text}");
        }
    }

    #[test]
    fn what_is_written_can_be_read() {
        for (trace, flags, span) in [(TRACE, 1, 7), (1, 0, u64::MAX), (u128::MAX, 3, 1)] {
            let parent = TraceParent { trace, flags };
            assert_eq!(TraceParent::parse(parent.to_value(span).as_bytes()), Some(parent));
        }
        let value = TraceParent { trace: TRACE, flags: 1 }.to_value(0x00f0_67aa_0ba9_02b7);
        assert_eq!(value, VALID);
        assert!(TraceParent::parse(TraceParent { trace: 1, flags: 0 }.to_value(0).as_bytes()).is_some(), "span 0");
    }

    #[test]
    fn of_several_none_is_believed() {
        let mut headers = HeaderMap::new();
        assert_eq!(TraceParent::of(&headers), None);
        headers.append(TRACEPARENT, HeaderValue::from_static(VALID));
        assert!(TraceParent::of(&headers).is_some());
        headers.append(TRACEPARENT, HeaderValue::from_static(VALID));
        assert_eq!(TraceParent::of(&headers), None);
    }
}

//! W3C Trace Context (<https://www.w3.org/TR/trace-context/>): the `traceparent` header, read and written.
//!
//! Allocates only the header value that goes upstream.

use http::{HeaderMap, HeaderName, HeaderValue};

/// The header that says to which trace a request belongs, and to which span in it.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The header beside it with what vendors have to add.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// `00-` 32 digits `-` 16 digits `-` 2 digits.
const LEN: usize = 55;
/// The bits of the flags that have a meaning: sampled, and random of level 2.
const KNOWN_FLAGS: u8 = 0b11;
const SAMPLED: u8 = 0b01;

/// A request's place in its trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace; never 0.
    pub trace: u128,
    /// The span that made the request; 0 where a trace begins.
    pub span: u64,
    flags: u8,
}

impl TraceParent {
    /// The first place of a new trace.
    #[must_use]
    pub fn begin(trace: u128, sampled: bool) -> Self {
        // 0 is no trace.
        Self { trace: trace.max(1), span: 0, flags: if sampled { SAMPLED } else { 0 } }
    }

    /// Whether who sent it records the trace.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The same place, with this said of whether it is recorded.
    #[must_use]
    pub fn sampled(self, sampled: bool) -> Self {
        let flags = if sampled { self.flags | SAMPLED } else { self.flags & !SAMPLED };
        Self { flags, ..self }
    }

    /// What the client sent, if there is exactly one and it is valid.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Option<Self> {
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
        let span = u64::try_from(parent).ok()?;
        (trace != 0 && span != 0).then_some(Self { trace, span, flags })
    }

    /// The header value for the next hop, of which this span is the parent.
    #[must_use]
    #[allow(clippy::missing_panics_doc)]
    pub fn to_value(self, span: u64) -> HeaderValue {
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
    const SPAN: u64 = 0x00f0_67aa_0ba9_02b7;
    const TRACE: u128 = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;

    #[test]
    fn what_is_valid_is_read_and_what_is_not_is_none() {
        let parse = |text: &str| TraceParent::parse(text.as_bytes());
        let with = |flags| Some(TraceParent { trace: TRACE, span: SPAN, flags });
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
            let parent = TraceParent { trace, span, flags };
            assert_eq!(TraceParent::parse(parent.to_value(span).as_bytes()), Some(parent));
        }
        let value = TraceParent { trace: TRACE, span: 0, flags: 1 }.to_value(SPAN);
        assert_eq!(value, VALID);
        assert!(
            TraceParent::parse(TraceParent { trace: 1, span: 0, flags: 0 }.to_value(0).as_bytes()).is_some(),
            "span 0"
        );
    }

    #[test]
    fn whether_it_is_sampled_can_be_changed_and_nothing_else() {
        let parent = TraceParent { trace: TRACE, span: SPAN, flags: 3 };
        assert!(parent.is_sampled() && !parent.sampled(false).is_sampled());
        assert_eq!((parent.sampled(false).flags, parent.sampled(false).sampled(true)), (2, parent));
        assert!(TraceParent::begin(0, true).trace > 0);
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

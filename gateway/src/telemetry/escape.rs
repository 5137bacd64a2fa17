//! Escaping of bytes a client chose, so that what is logged stays one line and one JSON string.
//!
//! Escaped are `"` and `\`, all control characters (C0, DEL and C1, which terminals obey), the line
//! and paragraph separators some readers break lines at, and the bidirectional controls that make a
//! line read differently from what it says. Bytes that are not UTF-8 become `\ufffd`.

/// What the output is read as.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// The inside of a JSON string.
    Json,
    /// Plain text: quotes and backslashes stay as they are.
    Text,
}

/// Appends `bytes` as the inside of a JSON string.
pub(super) fn json(out: &mut Vec<u8>, bytes: &[u8]) {
    escape(out, bytes, Style::Json);
}

/// Appends `bytes` in the given style.
pub(super) fn escape(out: &mut Vec<u8>, mut bytes: &[u8], style: Style) {
    loop {
        let (plain, rest) = bytes.split_at(plain_run(bytes));
        out.extend_from_slice(plain);
        let Some(&first) = rest.first() else { return };
        if first < 0x80 {
            ascii(out, first, style);
            bytes = &rest[1..];
        } else {
            let end = rest.iter().position(u8::is_ascii).unwrap_or(rest.len());
            non_ascii(out, &rest[..end]);
            bytes = &rest[end..];
        }
    }
}

/// Whether a byte needs something else than being copied.
const fn special(byte: u8) -> bool {
    byte < 0x20 || byte >= 0x7f || byte == b'"' || byte == b'\\'
}

/// The length of the leading run of bytes that are copied as they are, eight at a time.
fn plain_run(bytes: &[u8]) -> usize {
    let mut clean = 0;
    while let Some(word) = bytes[clean..].first_chunk() {
        match first_special(*word) {
            Some(at) => return clean + at,
            None => clean += 8,
        }
    }
    match bytes.last_chunk() {
        // The last eight overlap what is known to be clean.
        Some(word) => first_special(*word).map_or(bytes.len(), |at| bytes.len() - 8 + at),
        None => bytes.iter().position(|&byte| special(byte)).unwrap_or(bytes.len()),
    }
}

/// Where the first special byte of eight is.
#[inline]
fn first_special(bytes: [u8; 8]) -> Option<usize> {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES << 7;
    let word = u64::from_le_bytes(bytes);
    // The high bit of a byte in these tells of it. A borrow or a carry can tell a lie of the byte
    // after one that was told of, which is why only the first is asked for.
    let below = |word: u64, than: u64| word.wrapping_sub(ONES * than) & !word;
    let equal = |to: u8| below(word ^ (ONES * u64::from(to)), 1);
    let delete = word.wrapping_add(ONES);
    let found = (word | below(word, 0x20) | equal(b'"') | equal(b'\\') | delete) & HIGH;
    (found != 0).then(|| (found.trailing_zeros() / 8) as usize)
}

fn ascii(out: &mut Vec<u8>, byte: u8, style: Style) {
    match byte {
        b'"' | b'\\' if style == Style::Text => out.push(byte),
        b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        _ => unicode(out, u32::from(byte)),
    }
}

fn non_ascii(out: &mut Vec<u8>, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        let valid = chunk.valid();
        let mut copied = 0;
        for (at, char) in valid.char_indices().filter(|&(_, char)| misleading(char)) {
            out.extend_from_slice(&valid.as_bytes()[copied..at]);
            unicode(out, u32::from(char));
            copied = at + char.len_utf8();
        }
        out.extend_from_slice(&valid.as_bytes()[copied..]);
        if !chunk.invalid().is_empty() {
            unicode(out, 0xfffd);
        }
    }
}

/// C1 controls, line separators, bidirectional controls, the byte order mark.
fn misleading(char: char) -> bool {
    matches!(char, '\u{80}'..='\u{9f}' | '\u{200e}' | '\u{200f}')
        || matches!(char, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// `\u` and four hex digits; all code points that come here fit.
fn unicode(out: &mut Vec<u8>, code: u32) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let digit = |shift: u32| HEX[(code >> shift & 15) as usize];
    out.extend_from_slice(&[b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]);
}

/// At most `max` bytes of `bytes`, without a character cut in two.
pub(super) fn cap(bytes: &[u8], max: usize) -> (&[u8], bool) {
    if bytes.len() <= max {
        return (bytes, false);
    }
    let mut end = max;
    // A character has at most three continuation bytes; more of them are not UTF-8 anyway.
    while end > max.saturating_sub(3) && bytes[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    (&bytes[..end], true)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(input: &[u8], json_text: &str) {
        let mut out = Vec::new();
        json(&mut out, input);
        assert_eq!(String::from_utf8_lossy(&out), json_text, "{input:?}");
    }

    #[test]
    fn what_is_escaped() {
        check(b"", "");
        check(
            b"plain text, longer than one chunk of sixteen bytes",
            "plain text, longer than one chunk of sixteen bytes",
        );
        check(b"a\nb\rc\td", r"a\nb\rc\td");
        check(b"\x1b[31m\x7f\0", r"\u001b[31m\u007f\u0000");
        check(br#"a"b\c/"#, r#"a\"b\\c/"#);
        check("a\u{2028}b\u{2029}c".as_bytes(), r"a\u2028b\u2029c");
        check("\u{9b}31m \u{202e}gpj".as_bytes(), r"\u009b31m \u202egpj");
        check("用户 é 😀".as_bytes(), "用户 é 😀");
        check(b"a\xffb\xc3", r"a\ufffdb\ufffd");
        check(b"0123456789abcdef\"0123456789abcdef", r#"0123456789abcdef\"0123456789abcdef"#);
    }

    #[test]
    fn a_special_byte_is_found_wherever_it_is() {
        for byte in 0..=255 {
            for (len, at) in (1..40).flat_map(|len| (0..len).map(move |at| (len, at))) {
                let mut bytes = vec![b'~'; len];
                bytes[at] = byte;
                assert_eq!(plain_run(&bytes), if special(byte) { at } else { len }, "{byte} at {at} of {len}");
            }
        }
    }

    #[test]
    fn text_keeps_quotes() {
        let mut out = Vec::new();
        escape(&mut out, b"say \"a\\b\"\n", Style::Text);
        assert_eq!(out, br#"say "a\b"\n"#);
    }

    #[test]
    fn a_character_is_not_cut_in_two() {
        assert_eq!(cap("aé".as_bytes(), 2), ("a".as_bytes(), true));
        assert_eq!(cap("aé".as_bytes(), 3), ("aé".as_bytes(), false));
        assert_eq!(cap("😀😀".as_bytes(), 7), ("😀".as_bytes(), true));
        assert_eq!(cap(&[0x80; 9], 8), (&[0x80; 5][..], true));
        assert_eq!(cap(b"ab", 0), (&b""[..], true));
    }

    proptest! {
        #[test]
        fn any_bytes_become_one_json_string(input in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut out = vec![b'"'];
            json(&mut out, &input);
            out.push(b'"');
            prop_assert!(!out.iter().any(|byte| byte.is_ascii_control()));
            let read: String = serde_json::from_slice(&out).unwrap();
            prop_assert_eq!(read, String::from_utf8_lossy(&input));
        }
    }
}

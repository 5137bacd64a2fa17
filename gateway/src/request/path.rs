//! The one normal form of a request path: what routes are matched on, what plugins see, what goes upstream.
//!
//! In normal form
//! - escapes of unreserved characters (RFC 3986 section 2.3) and of valid UTF-8 beyond ASCII are decoded, once:
//!   `%2541` stays `%2541`;
//! - all other escapes stay, with upper-case digits, and characters that may not stand raw in a path (space, `"`,
//!   `<`, `>`, `^`, `` ` ``, `{`, `|`, `}`, bytes that are not UTF-8) are escapes too, so that each has one spelling;
//! - dot segments are resolved and, with `merge_slashes`, runs of `/` are one.
//!
//! What two servers could read in two ways is refused rather than interpreted: a climb above the root, a backslash,
//! `.` or `..` followed by `;` or beside an escaped slash. Readings that only a sloppy upstream has are the business
//! of [`super::readings`].

use std::borrow::Cow;

/// What the operator decides about slashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathRules {
    /// `//` is `/`.
    pub merge_slashes: bool,
    /// What becomes of `%2F` and `%5C`.
    pub escaped_slashes: EscapedSlashes,
}

impl Default for PathRules {
    fn default() -> Self {
        Self { merge_slashes: true, escaped_slashes: EscapedSlashes::Keep }
    }
}

/// What becomes of `%2F` and `%5C`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EscapedSlashes {
    /// They stay as they are: a character of the segment, not a border.
    Keep,
    /// The request is refused.
    Reject,
    /// `%2F` is `/`, before dot segments are resolved. `%5C` would be a raw backslash and is refused like one:
    /// whether it divides segments depends on the upstream's operating system.
    Decode,
}

/// Why a path has no normal form; the client gets 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Not a path at all.
    #[error("the path does not start with /")]
    Relative,
    /// `%`, `%4`, `%zz`.
    #[error("the path has a malformed percent-escape")]
    Escape,
    /// NUL, raw or as `%00`.
    #[error("the path has a NUL byte")]
    Nul,
    /// A raw control byte.
    #[error("the path has a control character")]
    Control,
    /// `\`, or `%5C` where it is to be decoded.
    #[error("the path has a backslash")]
    Backslash,
    /// A raw `?` or `#`.
    #[error("the path has a raw ? or #")]
    Delimiter,
    /// `%2F` or `%5C` where they are not allowed.
    #[error("the path has an escaped slash")]
    EscapedSlash,
    /// `/..`
    #[error("the path climbs above the root")]
    AboveRoot,
    /// `/..;/`, `/..%2F`
    #[error("the path has an ambiguous dot segment")]
    DotSegment,
}

/// Brings a path (without its query) into normal form. A path that already is in it comes back borrowed.
///
/// # Errors
/// When the path has no meaning that all servers agree on: [`PathError`].
pub fn normalise<'a>(raw: &'a [u8], rules: &PathRules) -> Result<Cow<'a, str>, PathError> {
    if raw.first() != Some(&b'/') {
        return Err(PathError::Relative);
    }
    if is_normal(raw, rules)
        && let Ok(path) = std::str::from_utf8(raw)
    {
        return Ok(Cow::Borrowed(path));
    }
    let decoded = decode(raw, rules)?;
    let resolved = resolve(&decoded, rules.merge_slashes)?;
    Ok(Cow::Owned(into_text(resolved)))
}

/// The path of a request target: of its origin form, or of its absolute form, where it begins after the authority.
#[must_use]
pub fn of_target(target: &[u8]) -> &[u8] {
    let target = match target.windows(3).position(|w| w == b"://") {
        Some(scheme) if !target.starts_with(b"/") => {
            let rest = &target[scheme + 3..];
            match rest.iter().position(|b| matches!(b, b'/' | b'?' | b'#')) {
                Some(end) if rest[end] == b'/' => &rest[end..],
                _ => b"/",
            }
        }
        _ => target,
    };
    target.iter().position(|b| *b == b'?').map_or(target, |query| &target[..query])
}

/// Writes a path as it goes on the wire: whatever may not stand raw in a request line becomes an escape, valid
/// escapes stay. It also makes a path that a plugin has rewritten harmless.
#[must_use]
pub fn encode(path: &str) -> Cow<'_, str> {
    let bytes = path.as_bytes();
    let Some(first) = (0..bytes.len()).find(|&i| !stays(bytes, i)) else {
        return Cow::Borrowed(path);
    };
    let mut out = String::with_capacity(path.len() + 16);
    out.push_str(&path[..first]);
    for (i, &byte) in bytes.iter().enumerate().skip(first) {
        if stays(bytes, i) {
            out.push(char::from(byte));
        } else {
            push_escape(&mut out, byte);
        }
    }
    Cow::Owned(out)
}

/// Whether the byte at `i` may stand on the wire as it is.
fn stays(bytes: &[u8], i: usize) -> bool {
    match class(bytes[i]) {
        Class::Plain | Class::Slash => true,
        Class::Percent => escape(&bytes[i..]).is_some(),
        _ => false,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Stands for itself.
    Plain,
    Slash,
    Percent,
    /// Must not stand raw in a path; an escape stands for it.
    Unsafe,
    /// Beyond ASCII.
    High,
    Nul,
    Control,
    Backslash,
    /// `?` and `#`, which end a path.
    Delimiter,
}

static CLASSES: [Class; 256] = {
    let mut classes = [Class::Plain; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            0 => Class::Nul,
            1..=0x1f | 0x7f => Class::Control,
            b'/' => Class::Slash,
            b'%' => Class::Percent,
            b'\\' => Class::Backslash,
            b'?' | b'#' => Class::Delimiter,
            b' ' | b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}' => Class::Unsafe,
            0x80.. => Class::High,
            _ => Class::Plain,
        };
        byte += 1;
    }
    classes
};

pub(super) fn class(byte: u8) -> Class {
    CLASSES[usize::from(byte)]
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// The byte that the escape at the start of `bytes` stands for.
pub(super) fn escape(bytes: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = bytes else { return None };
    let digit = |b: u8| char::from(b).to_digit(16);
    u8::try_from(digit(*high)? << 4 | digit(*low)?).ok()
}

pub(super) fn push_escape(out: &mut String, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.push('%');
    out.push(char::from(DIGITS[usize::from(byte >> 4)]));
    out.push(char::from(DIGITS[usize::from(byte & 15)]));
}

/// One scan that says yes only when normalising would change nothing. A no only means: look closely. Bytes beyond
/// ASCII pass; the caller validates them.
fn is_normal(raw: &[u8], rules: &PathRules) -> bool {
    let mut i = 0;
    while let Some(&byte) = raw.get(i) {
        i += match class(byte) {
            Class::Plain | Class::High => 1,
            Class::Slash => {
                let rest = &raw[i + 1..];
                match rest.first() {
                    Some(b'/') if rules.merge_slashes => return false,
                    Some(b'.') if may_be_dot_segment(rest) => return false,
                    _ => 1,
                }
            }
            Class::Percent if escape_is_normal(raw, i, rules) => 3,
            _ => return false,
        };
    }
    true
}

fn may_be_dot_segment(segment: &[u8]) -> bool {
    let dots = segment.iter().take(3).take_while(|&&b| b == b'.').count();
    dots < 3 && matches!(segment.get(dots), None | Some(b'/' | b';' | b'%'))
}

fn escape_is_normal(raw: &[u8], at: usize, rules: &PathRules) -> bool {
    let Some(byte) = escape(&raw[at..]) else { return false };
    let upper = !raw[at + 1].is_ascii_lowercase() && !raw[at + 2].is_ascii_lowercase();
    let kept = match byte {
        0 | 0x80.. => false,
        b'/' | b'\\' => {
            rules.escaped_slashes == EscapedSlashes::Keep && raw[at - 1] != b'.' && raw.get(at + 3) != Some(&b'.')
        }
        _ => !is_unreserved(byte),
    };
    upper && kept
}

/// Undoes the escapes that are not kept. The result may hold bytes beyond ASCII that are not UTF-8.
fn decode(raw: &[u8], rules: &PathRules) -> Result<Vec<u8>, PathError> {
    let mut out = Vec::with_capacity(raw.len() + 16);
    let mut i = 0;
    while let Some(&byte) = raw.get(i) {
        i += 1;
        match class(byte) {
            Class::Plain | Class::Slash | Class::High => out.push(byte),
            Class::Unsafe => keep_escape(&mut out, byte),
            Class::Percent => {
                let byte = escape(&raw[i - 1..]).ok_or(PathError::Escape)?;
                i += 2;
                decode_escape(&mut out, byte, rules.escaped_slashes)?;
            }
            Class::Nul => return Err(PathError::Nul),
            Class::Control => return Err(PathError::Control),
            Class::Backslash => return Err(PathError::Backslash),
            Class::Delimiter => return Err(PathError::Delimiter),
        }
    }
    Ok(out)
}

fn decode_escape(out: &mut Vec<u8>, byte: u8, slashes: EscapedSlashes) -> Result<(), PathError> {
    match (byte, slashes) {
        (0, _) => return Err(PathError::Nul),
        (b'/' | b'\\', EscapedSlashes::Reject) => return Err(PathError::EscapedSlash),
        (b'\\', EscapedSlashes::Decode) => return Err(PathError::Backslash),
        (b'/', EscapedSlashes::Decode) | (0x80.., _) => out.push(byte),
        _ if is_unreserved(byte) => out.push(byte),
        _ => keep_escape(out, byte),
    }
    Ok(())
}

fn keep_escape(out: &mut Vec<u8>, byte: u8) {
    let mut text = String::with_capacity(3);
    push_escape(&mut text, byte);
    out.extend_from_slice(text.as_bytes());
}

/// Removes dot segments (RFC 3986 section 5.2.4) and, on demand, empty ones; slashes are merged first, as nginx does:
/// `/a//../b` is `/b`.
fn resolve(path: &[u8], merge_slashes: bool) -> Result<Vec<u8>, PathError> {
    let mut out = Vec::with_capacity(path.len());
    let mut segments = path[1..].split(|&b| b == b'/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            b"" if merge_slashes && !last => continue,
            b"." if !last => continue,
            b"." => out.push(b'/'),
            b".." => {
                let parent = out.iter().rposition(|&b| b == b'/').ok_or(PathError::AboveRoot)?;
                out.truncate(parent);
                if last {
                    out.push(b'/');
                }
            }
            _ if hides_dot_segment(segment) => return Err(PathError::DotSegment),
            _ => {
                out.push(b'/');
                out.extend_from_slice(segment);
            }
        }
    }
    Ok(out)
}

/// `..;x` is a parent directory to Tomcat and its kin, and `a%2F..` to whoever decodes before resolving.
fn hides_dot_segment(segment: &[u8]) -> bool {
    let starts_with_dots = |piece: &[u8]| {
        let dots = piece.iter().take(3).take_while(|&&b| b == b'.').count();
        matches!(dots, 1 | 2) && {
            let rest = &piece[dots..];
            rest.is_empty() || [b";".as_slice(), b"%3B", b"%2F", b"%5C"].iter().any(|border| rest.starts_with(border))
        }
    };
    starts_with_dots(segment)
        || segment
            .iter()
            .enumerate()
            .filter(|&(i, &b)| b == b'%' && matches!(escape(&segment[i..]), Some(b'/' | b'\\')))
            .any(|(i, _)| starts_with_dots(&segment[i + 3..]))
}

/// Bytes that are not UTF-8 become escapes again.
pub(super) fn into_text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| {
        let bytes = error.as_bytes();
        let mut out = String::with_capacity(bytes.len() + 16);
        for chunk in bytes.utf8_chunks() {
            out.push_str(chunk.valid());
            chunk.invalid().iter().for_each(|&byte| push_escape(&mut out, byte));
        }
        out
    })
}

#[cfg(test)]
#[path = "path_tests.rs"]
mod tests;

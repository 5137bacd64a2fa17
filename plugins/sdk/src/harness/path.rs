//! Paths on their way in and out. The gateway does more on the way in: it resolves dot segments,
//! merges slashes and refuses what is malformed.

/// The path as plugins see it: escapes of unreserved and of non-ASCII characters decoded, the
/// others in upper case.
pub(super) fn normalise(raw: &str) -> String {
    let raw = raw.as_bytes();
    let mut path = Vec::with_capacity(raw.len());
    let mut at = 0;
    while at < raw.len() {
        match escape(&raw[at..]) {
            Some(byte) if !byte.is_ascii() || is_unreserved(byte) => {
                path.push(byte);
                at += 3;
            }
            Some(_) => {
                path.extend(raw[at..at + 3].to_ascii_uppercase());
                at += 3;
            }
            None => {
                path.push(raw[at]);
                at += 1;
            }
        }
    }
    String::from_utf8(path).expect("the path is not UTF-8 when decoded: the gateway answers 400")
}

/// Path and query for the request line. An escape that is left in the path stays one.
pub(super) fn encode(path: &str, query: Option<&str>) -> String {
    let bytes = path.as_bytes();
    let mut target = String::with_capacity(path.len());
    for (at, &byte) in bytes.iter().enumerate() {
        if is_unreserved(byte) || b"/:@!$&'()*+,;=".contains(&byte) || escape(&bytes[at..]).is_some() {
            target.push(char::from(byte));
        } else {
            target.push_str(&format!("%{byte:02X}"));
        }
    }
    if let Some(query) = query {
        target.push('?');
        target.push_str(query);
    }
    target
}

/// The byte that `%XX` at the start stands for.
fn escape(bytes: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = bytes else { return None };
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    u8::try_from(digit(high)? << 4 | digit(low)?).ok()
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

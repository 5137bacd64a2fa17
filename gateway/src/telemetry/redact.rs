//! Takes secrets out of what is shown to people: by the names of headers and query parameters.
//!
//! Rather too much than too little: whoever may see requests need not be who may use their tokens.

use std::borrow::Cow;

use percent_encoding::percent_decode;

/// What is shown in place of a secret.
pub(super) const REDACTED: &str = "[redacted]";

/// Parts of names whose values are secret.
const SECRET: [&str; 11] = [
    "token",
    "secret",
    "password",
    "passwd",
    "key",
    "authorization",
    "cookie",
    "credential",
    "session",
    "signature",
    "jwt",
];

/// What separates the parameters of a query, or ends one that is in the midst of a text.
const SEPARATORS: &[u8] = b"?&;,#<>\"' \t";

/// Whether the value of a header or parameter of this name is secret.
pub(super) fn is_secret(name: &[u8]) -> bool {
    let name: Cow<'_, [u8]> = percent_decode(name).into();
    let name = String::from_utf8_lossy(&name).to_ascii_lowercase();
    SECRET.iter().any(|part| name.contains(part))
}

/// The value of a header. URLs in it lose the secrets of their queries, and who logs in by them.
pub(super) fn value(name: &[u8], value: &[u8]) -> String {
    if is_secret(name) { REDACTED.to_owned() } else { text(value) }
}

/// A text, such as a request's target, that may have a query or be a URL.
pub(super) fn text(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let text = without_users(&text);
    let Some(query) = text.find('?') else { return text.into_owned() };
    let (path, query) = text.split_at(query);
    let mut shown = String::with_capacity(text.len());
    shown.push_str(path);
    // Separators are ASCII, so no character is cut.
    for part in query.split_inclusive(|c: char| u8::try_from(c).is_ok_and(|c| SEPARATORS.contains(&c))) {
        let end = part.trim_end_matches(|c: char| u8::try_from(c).is_ok_and(|c| SEPARATORS.contains(&c)));
        match end.split_once('=') {
            Some((name, _)) if is_secret(name.as_bytes()) => {
                shown.push_str(name);
                shown.push('=');
                shown.push_str(REDACTED);
                shown.push_str(&part[end.len()..]);
            }
            _ => shown.push_str(part),
        }
    }
    shown
}

/// Without `user:password@` of URLs.
fn without_users(text: &str) -> Cow<'_, str> {
    if !text.contains("://") || !text.contains('@') {
        return Cow::Borrowed(text);
    }
    let mut parts = text.split("://");
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        shown.push_str("://");
        let authority = part.find(['/', '?', '#', ' ']).unwrap_or(part.len());
        match part[..authority].rfind('@') {
            Some(at) => {
                shown.push_str(REDACTED);
                shown.push_str(&part[at..]);
            }
            None => shown.push_str(part),
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_that_let_someone_in_are_not_shown() {
        for name in [
            "Authorization",
            "proxy-authorization",
            "Cookie",
            "Set-Cookie",
            "X-Token",
            "X-API-Token",
            "x-client-secret",
            "X-Amz-Security-Token",
            "apikey",
            "X-Session-Id",
        ] {
            assert_eq!(value(name.as_bytes(), b"canary"), REDACTED, "{name}");
        }
        for name in ["Accept", "Host", "X-Trace-Id", "Keep-Alive", "User-Agent"] {
            assert_eq!(value(name.as_bytes(), b"shown"), "shown", "{name}");
        }
    }

    #[test]
    fn a_query_keeps_its_names_and_loses_its_secrets() {
        for (given, shown) in [
            ("/a/b", "/a/b"),
            ("/a?x=1&y=2", "/a?x=1&y=2"),
            ("/a?token=canary", "/a?token=[redacted]"),
            ("/a?x=1&API_KEY=canary&y=2#f", "/a?x=1&API_KEY=[redacted]&y=2#f"),
            ("/a?%74oken=canary", "/a?%74oken=[redacted]"),
            ("/a?pass%77ord=canary=canary;b=1", "/a?pass%77ord=[redacted];b=1"),
            ("/a??token=canary", "/a??token=[redacted]"),
            ("https://u:canary@h/p?secret=canary", "https://[redacted]@h/p?secret=[redacted]"),
            (
                "<https://h/a?x=1>, <https://h/b?token=canary>; rel=n",
                "<https://h/a?x=1>, <https://h/b?token=[redacted]>; rel=n",
            ),
            ("/a?用户=1&token=canary", "/a?用户=1&token=[redacted]"),
            ("/a?token=", "/a?token=[redacted]"),
        ] {
            assert_eq!(text(given.as_bytes()), shown, "{given}");
        }
    }
}

//! Takes secrets out of what is shown to people: by the names of headers and query parameters.
//!
//! Rather too much than too little: whoever may see requests need not be who may use their tokens.

use std::borrow::Cow;

use percent_encoding::percent_decode;

/// What is shown in place of a secret.
pub(super) const REDACTED: &str = "[redacted]";

/// Parts of names whose values are secret.
const SECRET: [&str; 14] = [
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
    "assertion",
    "saml",
    "x-auth",
];

/// Whole names: short words that are parts of harmless ones.
const SECRET_NAMES: [&str; 8] = ["sig", "code", "auth", "pwd", "pass", "otp", "pin", "sid"];

/// What separates the parameters of a query, or ends one that is in the midst of a text.
const SEPARATORS: &[u8] = b"?&;,#<>\"' \t";

/// How often a value may be encoded to be looked into.
const NESTED: u8 = 3;

/// Whether the value of a header or parameter of this name is secret.
pub fn is_secret(name: &[u8]) -> bool {
    let name: Cow<'_, [u8]> = percent_decode(name).into();
    let name = String::from_utf8_lossy(&name).to_ascii_lowercase();
    SECRET.iter().any(|part| name.contains(part)) || SECRET_NAMES.contains(&name.as_str())
}

/// The value of a header. URLs in it lose the secrets of their queries, and who logs in by them.
pub(super) fn value(name: &[u8], value: &[u8]) -> String {
    if is_secret(name) { REDACTED.to_owned() } else { text(value) }
}

/// A text, such as a request's target, that may have a query or fragment, or be a URL.
pub(super) fn text(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let text = without_users(&text);
    let Some(query) = text.find(['?', '#']) else { return text.into_owned() };
    let (path, query) = text.split_at(query);
    let mut shown = String::with_capacity(text.len());
    shown.push_str(path);
    let is_separator = |c: char| u8::try_from(c).is_ok_and(|c| SEPARATORS.contains(&c));
    // Separators are ASCII, so no character is cut.
    let mut follows_secret = false;
    for part in query.split_inclusive(is_separator) {
        let end = part.trim_end_matches(is_separator);
        match end.split_once('=') {
            Some((name, value)) if is_secret(name.as_bytes()) || has_secret(value, NESTED) => {
                shown.push_str(name);
                shown.push('=');
                shown.push_str(REDACTED);
                follows_secret = true;
            }
            Some(_) => {
                shown.push_str(end);
                follows_secret = false;
            }
            // A value may have separators in it.
            None if follows_secret && !end.is_empty() => shown.push_str(REDACTED),
            None => shown.push_str(end),
        }
        shown.push_str(&part[end.len()..]);
        // These two end any value.
        follows_secret &= !part.ends_with(['&', '>']);
    }
    shown
}

/// Whether a value is a URL, percent-encoded, that has a secret.
fn has_secret(value: &str, depth: u8) -> bool {
    if depth == 0 || !value.contains('%') {
        return false;
    }
    let decoded: Cow<'_, [u8]> = percent_decode(value.as_bytes()).into();
    let decoded = String::from_utf8_lossy(&decoded);
    let is_pair_secret = |part: &str| {
        part.split_once('=').is_some_and(|(name, value)| is_secret(name.as_bytes()) || has_secret(value, depth - 1))
    };
    without_users(&decoded) != decoded
        || decoded.split(['?', '&', '#', ';']).skip(1).any(is_pair_secret)
        || has_secret(&decoded, depth - 1)
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
            "X-Auth",
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
            ("https://app/cb#access_token=canary&state=1", "https://app/cb#access_token=[redacted]&state=1"),
            ("/a?password=a,canary;canary&x=1", "/a?password=[redacted],[redacted];[redacted]&x=1"),
            ("/a?sig=canary&code=canary&design=1", "/a?sig=[redacted]&code=[redacted]&design=1"),
            ("/a?to=https%3A%2F%2Fh%3Fx%3D1%26token%3Dcanary", "/a?to=[redacted]"),
            ("/a?to=https%3A%2F%2Fu%3Acanary%40h%2F", "/a?to=[redacted]"),
            ("/a?to=https%3A%2F%2Fh%3Fx%3D1", "/a?to=https%3A%2F%2Fh%3Fx%3D1"),
            ("/a?to=https%253A%252F%252Fh%253Ftoken%253Dcanary", "/a?to=[redacted]"),
        ] {
            assert_eq!(text(given.as_bytes()), shown, "{given}");
        }
    }
}

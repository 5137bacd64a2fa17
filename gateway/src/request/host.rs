//! The name in a Host header as routes compare it: no port, lower case, no trailing dot.

use std::borrow::Cow;

/// The host without its port. An IPv6 address keeps its brackets.
#[must_use]
pub fn host_without_port(host: &str) -> &str {
    if host.starts_with('[') {
        return host.find(']').map_or(host, |end| &host[..=end]);
    }
    match host.split_once(':') {
        Some((name, port)) if !port.contains(':') => name,
        // No port, or an IPv6 address without brackets.
        _ => host,
    }
}

/// The host as the router wants it; borrowed when it is so already.
#[must_use]
pub fn normalise(host: &str) -> Cow<'_, str> {
    let name = host_without_port(host);
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_lose_port_case_and_trailing_dot() {
        let cases = [
            ("example.com", "example.com"),
            ("Example.COM:8080", "example.com"),
            ("example.com.", "example.com"),
            ("example.com.:443", "example.com"),
            ("example.com:", "example.com"),
            ("[::1]:80", "[::1]"),
            ("[2001:DB8::1]", "[2001:db8::1]"),
            ("::1", "::1"),
            ("[::1", "[::1"),
            ("10.0.0.1:1", "10.0.0.1"),
            ("", ""),
        ];
        for (raw, expected) in cases {
            assert_eq!(normalise(raw), expected, "{raw}");
        }
    }
}

//! The path of a call as nginx saw it: decoded, without dot segments and repeated slashes. The old
//! paths are compared with this form.

use percent_encoding::percent_decode_str;

/// `None` for what nginx answered with 400.
pub(super) fn normalised(path: &str) -> Option<String> {
    if !path.starts_with('/') || has_broken_escape(path) {
        return None;
    }
    let decoded = percent_decode_str(path).decode_utf8().ok()?;
    if decoded.contains('\0') {
        return None;
    }
    let mut segments: Vec<&str> = Vec::new();
    let mut parts = decoded.split('/').filter(|part| !part.is_empty()).peekable();
    let mut directory = decoded.ends_with('/');
    while let Some(part) = parts.next() {
        match part {
            "." => directory |= parts.peek().is_none(),
            ".." => {
                segments.pop()?;
                directory |= parts.peek().is_none();
            }
            name => segments.push(name),
        }
    }
    let end = if directory && !segments.is_empty() { "/" } else { "" };
    Some(format!("/{}{end}", segments.join("/")))
}

fn has_broken_escape(path: &str) -> bool {
    path.split('%').skip(1).any(|rest| {
        let mut digits = rest.bytes().take(2);
        !(digits.next().is_some_and(|b| b.is_ascii_hexdigit()) && digits.next().is_some_and(|b| b.is_ascii_hexdigit()))
    })
}

#[cfg(test)]
mod tests {
    use super::normalised;

    #[test]
    fn paths_are_read_as_nginx_did() {
        for (path, expected) in [
            ("/admin/login", Some("/admin/login")),
            ("/admin/%6Cogin", Some("/admin/login")),
            ("//admin///login", Some("/admin/login")),
            ("/x/../admin/./login", Some("/admin/login")),
            ("/admin/login/", Some("/admin/login/")),
            ("/admin/x/..", Some("/admin/")),
            ("/admin/.", Some("/admin/")),
            ("/%2e%2e/admin", None),
            ("/..", None),
            ("/admin%2Flogin", Some("/admin/login")),
            ("/a%00b", None),
            ("/a%zz", None),
            ("/a%4", None),
            ("/%ff", None),
            ("*", None),
            ("/", Some("/")),
        ] {
            assert_eq!(normalised(path).as_deref(), expected, "{path}");
        }
    }
}

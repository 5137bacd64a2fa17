//! Whether some server would find a `.` or `..` among the segments of a path.
//!
//! A matched path has none, so the rewrite made it: `^/api` by nothing makes `/../x` of `/api../x`.

pub(crate) fn has_dot_segment(path: &str) -> bool {
    is_suspicious(path.as_bytes()) && some_server_finds_one(path)
}

/// One cheap look, which is all that nearly every path takes: without a segment that begins with a
/// dot, and without what some servers decode, there is nothing to find.
fn is_suspicious(path: &[u8]) -> bool {
    path.iter().enumerate().any(|(at, byte)| match byte {
        b'%' | b'\\' => true,
        b'.' => at == 0 || path[at - 1] == b'/',
        _ => false,
    })
}

fn some_server_finds_one(path: &str) -> bool {
    let any = |path: &str| path.split('/').any(|segment| matches!(segment.split(';').next(), Some("." | "..")));
    if !path.contains(['%', '\\']) {
        return any(path);
    }
    // What the request's own path is checked for before routing: `..%2F`, `..%5C`, `%2e%2e`.
    let path = path.to_ascii_lowercase().replace("%2f", "/").replace("%5c", "/").replace('\\', "/");
    any(&path.replace("%2e", "."))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn dot_segments_are_found_however_they_are_written() {
        for path in ["/.", "/..", "/a/../b", "/..;x/a", "/..%2Fa", "/%2e%2E", "/a\\..\\b", ".", "../a"] {
            assert!(has_dot_segment(path), "{path}");
        }
        for path in ["", "/", "/a.", "/.a", "/...", "/a..b/c", "/%2", "/a\\b"] {
            assert!(!has_dot_segment(path), "{path}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]
        #[test]
        fn the_cheap_look_misses_nothing(path in r"(/|\.|;|\\|%|%2|%2e|%2E|%2f|%5C|a|é|\n){0,8}") {
            prop_assert_eq!(has_dot_segment(&path), some_server_finds_one(&path));
        }
    }
}

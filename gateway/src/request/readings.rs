//! Other ways an upstream could read a path that is in normal form, for those that decode twice, take `%2F` or `\`
//! for a slash, or cut off `;` parameters.
//!
//! A request whose route depends on the reading is refused: when the router finds another route for one of these
//! readings than for the path itself, no choice is safe, since the plugins of one route would guard the resource of
//! another. `/repos/group%2Fproject` passes, both readings being the same route's; `/admin%2Fsecret` does not where
//! `/admin/*` has a route of its own. See THREATS: 0 bypasses at levels 1 and 2.

use super::path::{self, Class};

/// How often an upstream may decode what it has already decoded.
const ROUNDS: usize = 3;

/// The paths, in normal form, that others could take `path` for; empty, with no allocation, for ordinary paths.
#[must_use]
pub fn readings(path: &str) -> Vec<String> {
    let mut found = Vec::new();
    if is_plain(path.as_bytes()) {
        return found;
    }
    let mut bytes = path.as_bytes().to_vec();
    for _ in 0..=ROUNDS {
        for (backslash, parameters) in [(false, false), (false, true), (true, false), (true, true)] {
            let reading = path::into_text(fold(&bytes, backslash, parameters));
            if reading != path && !found.contains(&reading) {
                found.push(reading);
            }
        }
        let decoded = decode(&bytes);
        if decoded == bytes {
            break;
        }
        bytes = decoded;
    }
    found
}

/// Whether there is nothing to read differently: no `;`, no `//`, no escape that [`decode`] would undo.
fn is_plain(path: &[u8]) -> bool {
    let mut previous = 0;
    path.iter().enumerate().all(|(i, &byte)| {
        let doubled = byte == b'/' && previous == b'/';
        previous = byte;
        match byte {
            b';' => false,
            b'/' => !doubled,
            b'%' => !path::escape(&path[i..]).is_some_and(is_decoded),
            _ => true,
        }
    })
}

/// The normal form keeps the other escapes for good, whichever way the character was spelled.
fn is_decoded(byte: u8) -> bool {
    matches!(path::class(byte), Class::Plain | Class::Slash | Class::Percent | Class::Backslash)
}

fn decode(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut i = 0;
    while let Some(&byte) = path.get(i) {
        match path::escape(&path[i..]) {
            Some(decoded) if is_decoded(decoded) || decoded >= 0x80 => {
                out.push(decoded);
                i += 3;
            }
            _ => {
                out.push(byte);
                i += 1;
            }
        }
    }
    out
}

/// Splits at `/` and perhaps at `\`, perhaps cuts parameters off, and resolves dot segments, staying at the root as most
/// upstreams do.
fn fold(path: &[u8], backslash: bool, parameters: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut segments = path.split(|&b| b == b'/' || (b == b'\\' && backslash)).skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        let end = segment.iter().position(|&b| b == b';' && parameters).unwrap_or(segment.len());
        match &segment[..end] {
            b"" | b"." => {}
            b".." => out.truncate(out.iter().rposition(|&b| b == b'/').unwrap_or(0)),
            name => {
                out.push(b'/');
                out.extend_from_slice(name);
                continue;
            }
        }
        if last {
            out.push(b'/');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_paths_have_no_other_reading() {
        for path in ["/", "/a/b", "/a%20b", "/用户/x", "/a.b/..c", "/%FF", "/a/"] {
            assert!(readings(path).is_empty(), "{path}");
        }
    }

    #[test]
    fn every_way_to_read_a_path_is_listed() {
        let cases: &[(&str, &[&str])] = &[
            ("/a%2Fb", &["/a/b"]),
            ("/a%5Cb", &["/a\\b", "/a/b"]),
            ("/a;x/b", &["/a/b"]),
            ("/a%3Bx/b", &["/a;x/b", "/a/b"]),
            ("/a%252Fb", &["/a%2Fb", "/a/b"]),
            ("/a//b", &["/a/b"]),
            ("/x/%252E%252E/a", &["/x/%2E%2E/a", "/a"]),
            ("/v1/x%3Apurge", &["/v1/x:purge"]),
            ("/100%25", &["/100%"]),
        ];
        for (path, expected) in cases {
            assert_eq!(readings(path), *expected, "{path}");
        }
    }
}

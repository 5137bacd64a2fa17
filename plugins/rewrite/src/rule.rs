//! A compiled rewrite: `ngx.re.gsub(path, regex, replace, "jo")` in linear time and safe hands.

use regex::bytes::{CaptureLocations, Match, Regex, RegexBuilder};
use ws_cloud_plugin_sdk::http::StatusCode;
use ws_cloud_plugin_sdk::{ConfigError, Response};

use crate::prefix::{Found, Prefix};
use crate::replacement::Replacement;

const MAX_PATTERN: usize = 1024;

/// Bounds of the compiled program and of the cache of its lazy DFA, per pattern. Time is linear in
/// the path, but also in the program: this keeps the worst of patterns in the milliseconds.
const MAX_PROGRAM: usize = 64 << 10;
const MAX_DFA_CACHE: usize = 256 << 10;

/// No path longer than this is rewritten, nor made.
const MAX_PATH: usize = 64 << 10;

/// One search is linear, but a search from each of n places may look at n² bytes: the lengths
/// still to be searched, summed over all matches, stay below this. A path up to 2 KiB may match at
/// every byte, one of 64 KiB in 32 places.
const MAX_SEARCHED: usize = 2 << 20;

#[derive(Debug)]
pub(crate) struct Rule {
    regex: Regex,
    /// The same, where its shape needs no regex.
    prefix: Option<Prefix>,
    replacement: Replacement,
}

/// Why a path was not rewritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The path, the result, or the work to make it is beyond the limits.
    TooLong,
    /// The result has `.` or `..` as a segment, or is not UTF-8: an upstream might read another
    /// path out of it than the one that was matched.
    Malformed,
}

impl Refused {
    pub(crate) fn response(self) -> Response {
        match self {
            Self::TooLong => Response::text(StatusCode::URI_TOO_LONG, "the path is too long to be rewritten\n"),
            Self::Malformed => Response::text(StatusCode::BAD_REQUEST, "the path cannot be rewritten\n"),
        }
    }
}

impl Rule {
    pub(crate) fn new(pattern: &str, replace: &str) -> Result<Self, ConfigError> {
        let (regex, prefix) = compile(pattern)?;
        Ok(Self { regex, prefix, replacement: Replacement::parse(replace)? })
    }

    /// The path with every match replaced; `None` when nothing matches.
    pub(crate) fn apply(&self, path: &str) -> Result<Option<String>, Refused> {
        if path.len() > MAX_PATH {
            return Err(Refused::TooLong);
        }
        if let Some(prefix) = &self.prefix {
            let found = prefix.find(path.as_bytes());
            return found.map(|found| finish(self.replace_prefix(path.as_bytes(), &found))).transpose();
        }
        match self.regex.find(path.as_bytes()) {
            Some(first) => self.replace_all(path.as_bytes(), first).and_then(finish).map(Some),
            None => Ok(None),
        }
    }

    fn replace_prefix(&self, path: &[u8], found: &Found) -> Vec<u8> {
        let mut result = Vec::with_capacity(1 + path.len() + self.replacement.len_hint());
        self.replacement.write(&mut result, |group| match group {
            0 => Some(&path[..found.end]),
            1 => found.group.map(|begins| &path[begins..found.end]),
            _ => None,
        });
        result.extend_from_slice(&path[found.end..]);
        result
    }

    /// Matches follow each other as in `ngx.re.gsub` (and Perl), which is not quite how the regex
    /// crate iterates: an empty match counts even right behind another match.
    fn replace_all<'p>(&self, path: &'p [u8], first: Match<'p>) -> Result<Vec<u8>, Refused> {
        let mut groups = self.replacement.has_groups().then(|| self.regex.capture_locations());
        let mut result = Vec::with_capacity(1 + path.len() + self.replacement.len_hint());
        let (mut copied, mut searched) = (0, 0);
        let mut next = Some(first);
        while let Some(found) = next {
            result.extend_from_slice(&path[copied..found.start()]);
            self.write_replacement(path, found, groups.as_mut(), &mut result);
            copied = found.end();
            let from = found.end() + usize::from(found.is_empty());
            searched += path.len().saturating_sub(from);
            if result.len() > MAX_PATH || searched > MAX_SEARCHED {
                return Err(Refused::TooLong);
            }
            next = if from <= path.len() { self.regex.find_at(path, from) } else { None };
        }
        result.extend_from_slice(&path[copied..]);
        Ok(result)
    }

    fn write_replacement(
        &self,
        path: &[u8],
        found: Match<'_>,
        groups: Option<&mut CaptureLocations>,
        result: &mut Vec<u8>,
    ) {
        let Some(groups) = groups else { return self.replacement.write(result, |_| None) };
        self.regex.captures_read_at(groups, path, found.start());
        self.replacement.write(result, |group| groups.get(group).map(|(start, end)| &path[start..end]));
    }
}

/// Bytes, not characters: that is how PCRE reads a pattern without its `u` flag, so `.` is a byte
/// and `\d`, `\w` and `\s` are ASCII. `(?u)` in a pattern asks for characters.
fn compile(pattern: &str) -> Result<(Regex, Option<Prefix>), ConfigError> {
    if pattern.len() > MAX_PATTERN {
        let reason = format!("is {} bytes long, more than {MAX_PATTERN}", pattern.len());
        return Err(ConfigError::at("regex", reason));
    }
    let syntax = regex_syntax::ParserBuilder::new().unicode(false).utf8(false).build().parse(pattern);
    let syntax = syntax.map_err(|e| ConfigError::at("regex", describe(&e, pattern)))?;
    let regex = RegexBuilder::new(pattern)
        .unicode(false)
        .size_limit(MAX_PROGRAM)
        .dfa_size_limit(MAX_DFA_CACHE)
        .build()
        .map_err(|_| {
            ConfigError::at("regex", format!("{pattern:?} takes more than {MAX_PROGRAM} bytes when compiled"))
        })?;
    Ok((regex, Prefix::of(&syntax)))
}

/// One line for what the regex crate says in five.
fn describe(error: &regex_syntax::Error, pattern: &str) -> String {
    use regex_syntax::Error;
    let (reason, column) = match error {
        Error::Parse(e) => (e.kind().to_string(), e.span().start.column),
        Error::Translate(e) => (e.kind().to_string(), e.span().start.column),
        other => return other.to_string(),
    };
    format!("{reason}, at character {column} of {pattern:?}")
}

/// A path out of the replaced bytes.
fn finish(mut result: Vec<u8>) -> Result<String, Refused> {
    // The request line needs it, whatever was replaced.
    if result.first() != Some(&b'/') {
        result.insert(0, b'/');
    }
    if result.len() > MAX_PATH {
        return Err(Refused::TooLong);
    }
    let path = String::from_utf8(result).map_err(|_| Refused::Malformed)?;
    if has_dot_segment(&path) { Err(Refused::Malformed) } else { Ok(path) }
}

/// Whether some server would find a `.` or `..` in the path. The one that was matched has none,
/// so the rewrite made it: `^/api` by nothing makes `/../x` out of `/api../x`.
fn has_dot_segment(path: &str) -> bool {
    // Nearly every path is done with after one look: it begins with a slash, as each segment does.
    let bytes = path.as_bytes();
    if !bytes.iter().any(|b| matches!(b, b'%' | b'\\')) && !bytes.windows(2).any(|pair| pair == b"/.") {
        return false;
    }
    let any = |path: &str| path.split('/').any(|segment| matches!(segment.split(';').next(), Some("." | "..")));
    if !path.contains(['%', '\\']) {
        return any(path);
    }
    // What the request's own path is checked for before routing: `..%2F`, `..%5C`, `%2e%2e`.
    let path = path.to_ascii_lowercase().replace("%2f", "/").replace("%5c", "/").replace('\\', "/");
    any(&path.replace("%2e", "."))
}

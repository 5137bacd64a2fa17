//! A compiled rewrite: `ngx.re.gsub(path, regex, replace, "jo")` in linear time and safe hands.

use regex::bytes::{CaptureLocations, Match, Regex, RegexBuilder};
use ws_cloud_plugin_sdk::http::StatusCode;
use ws_cloud_plugin_sdk::{ConfigError, Response};

use crate::dot_segment::has_dot_segment;
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
        match &self.prefix {
            Some(prefix) => prefix.find(path).map(|found| self.replace_prefix(&found)).transpose(),
            None => self.replace_all(path.as_bytes())?.map(finish).transpose(),
        }
    }

    fn replace_prefix(&self, found: &Found<'_>) -> Result<String, Refused> {
        let group = |number| found.group(number);
        let len = self.replacement.len(group) + found.after.len();
        if len > MAX_PATH {
            return Err(Refused::TooLong);
        }
        let mut result = String::with_capacity(1 + len);
        self.replacement.write(group, |piece: &str| result.push_str(piece));
        result.push_str(found.after);
        if !result.starts_with('/') {
            result.insert(0, '/');
        }
        check(result)
    }

    /// Matches follow each other as in `ngx.re.gsub` (and Perl), which is not quite how the regex
    /// crate iterates: an empty match counts even right behind another match.
    fn replace_all(&self, path: &[u8]) -> Result<Option<Vec<u8>>, Refused> {
        let mut groups = self.replacement.has_groups().then(|| self.regex.capture_locations());
        let Some(mut found) = self.find_at(path, 0, groups.as_mut()) else { return Ok(None) };
        let mut result = Vec::with_capacity(1 + path.len() + self.replacement.len(|_| None));
        let (mut copied, mut searched) = (0, 0);
        loop {
            result.extend_from_slice(&path[copied..found.start()]);
            let group = |number| groups.as_ref()?.get(number).map(|(start, end)| &path[start..end]);
            self.replacement.write(group, |piece: &[u8]| result.extend_from_slice(piece));
            copied = found.end();
            let from = found.end() + usize::from(found.is_empty());
            searched += path.len().saturating_sub(from);
            if result.len() > MAX_PATH || searched > MAX_SEARCHED {
                return Err(Refused::TooLong);
            }
            let Some(next) = self.find_at(path, from, groups.as_mut()) else { break };
            found = next;
        }
        result.extend_from_slice(&path[copied..]);
        Ok(Some(result))
    }

    /// The next match at or after `from`, and its groups where the replacement has some.
    fn find_at<'p>(&self, path: &'p [u8], from: usize, groups: Option<&mut CaptureLocations>) -> Option<Match<'p>> {
        match groups {
            _ if from > path.len() => None,
            Some(groups) => self.regex.captures_read_at(groups, path, from),
            None => self.regex.find_at(path, from),
        }
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
        return Err(Refused::TooLong); // also where it is no text
    }
    check(String::from_utf8(result).map_err(|_| Refused::Malformed)?)
}

fn check(path: String) -> Result<String, Refused> {
    if path.len() > MAX_PATH {
        return Err(Refused::TooLong);
    }
    if has_dot_segment(&path) { Err(Refused::Malformed) } else { Ok(path) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1024))]
        #[test]
        fn without_its_regex_a_prefix_rule_gives_the_same(
            literal in "[a-c/.%é]{0,4}",
            rest in r"(|\(\.\*\)\$?)",
            replace in r"([a-c/.%é\\]|\$[0-2$]|\$\{1\}){0,5}",
            path in r"[a-c/.%é\\\n]{0,10}",
            begins_so in any::<bool>(),
            repeat in prop_oneof![9 => Just(1_usize), 1 => 1..9000_usize],
        ) {
            let path = if begins_so { format!("{literal}{}", path.repeat(repeat)) } else { path };
            let fast = Rule::new(&format!("^{}{rest}", regex::escape(&literal)), &replace).unwrap();
            prop_assert!(fast.prefix.is_some());
            let (regex, _) = compile(fast.regex.as_str()).unwrap();
            let general = Rule { regex, prefix: None, replacement: Replacement::parse(&replace).unwrap() };
            prop_assert_eq!(fast.apply(&path), general.apply(&path));
        }
    }
}

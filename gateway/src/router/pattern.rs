//! The two patterns a route is found by: its path and its hosts.

use std::cmp::{Ordering, Reverse};
use std::fmt;
use std::sync::Arc;

use super::hash::Kind;
use crate::request::host;
use crate::request::path::{self, PathError, PathRules};

/// Which paths a route is for: one path (`/a`) or all that start with a text (`/a/*`, `/a*`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pattern {
    prefix: bool,
    text: Box<str>,
}

/// Why a path pattern is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// A `*` that is not the last character.
    #[error("{0:?}: * is allowed at the end only")]
    InnerStar(String),
    /// `/a/.*` would otherwise mean `/a/*`.
    #[error("{0:?}: a dot segment before * is ambiguous")]
    DotSegment(String),
    /// What is left without the `*` is not a path.
    #[error("{0:?}: {1}")]
    Path(String, PathError),
}

impl Pattern {
    /// Reads `/a` (that path only), `/a*` (all paths that start with `/a`), `/a/*` (`/a/` and below, not `/a`), `/*`
    /// and `*` (all). Blanks around it are ignored; the text is brought into normal form as request paths are.
    ///
    /// # Errors
    /// When it is none of these.
    pub fn parse(prefix: &str, rules: &PathRules) -> Result<Self, PatternError> {
        let trimmed = prefix.trim();
        let (text, is_prefix) = match trimmed.strip_suffix('*') {
            Some("") => ("/", true),
            Some(text) => (text, true),
            None => (trimmed, false),
        };
        if text.contains('*') {
            return Err(PatternError::InnerStar(trimmed.to_owned()));
        }
        let normal = path::normalise(text.as_bytes(), rules)
            .map_err(|error| PatternError::Path(trimmed.to_owned(), error))?
            .into_owned();
        // A dot segment at the very end is the only thing that makes a path that does not end in / end in it.
        if is_prefix && normal.ends_with('/') && !text.ends_with('/') && !ends_in_escaped_slash(text) {
            return Err(PatternError::DotSegment(trimmed.to_owned()));
        }
        Ok(Self { prefix: is_prefix, text: normal.into() })
    }

    /// Whether other paths than [`Self::text`] match.
    #[must_use]
    pub fn is_prefix(&self) -> bool {
        self.prefix
    }

    /// The path, or what paths must start with, in normal form.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether a path in normal form matches.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        if self.prefix { path.starts_with(&*self.text) } else { path == &*self.text }
    }

    pub(super) fn kind(&self) -> Kind {
        if self.prefix { Kind::Prefix } else { Kind::Exact }
    }
}

fn ends_in_escaped_slash(text: &str) -> bool {
    text.len() >= 3 && text.is_char_boundary(text.len() - 3) && text[text.len() - 3..].eq_ignore_ascii_case("%2f")
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.text, if self.prefix { "*" } else { "" })
    }
}

/// Which hosts a route is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// `*`
    Any,
    /// `example.com`
    Exact(Arc<str>),
    /// `*.example.com` (not `example.com` itself), `*foo.com` (`foo.com` and `afoo.com` too): the text after `*`.
    Suffix(Arc<str>),
}

/// Why a host pattern is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostPatternError {
    /// Nothing there.
    #[error("a host is empty")]
    Empty,
    /// A `*` that is not the first character.
    #[error("host {0:?}: * is allowed at the start only")]
    InnerStar(String),
    /// A blank, a slash, a control character or something beyond ASCII, which no Host header has.
    #[error("host {0:?}: {1:?} is not allowed; write international names as xn--...")]
    Character(String, char),
}

impl HostPattern {
    /// Reads a host pattern; its port is ignored and its case does not matter.
    ///
    /// # Errors
    /// When no host could ever match it.
    pub fn parse(pattern: &str) -> Result<Self, HostPatternError> {
        let trimmed = pattern.trim();
        let normal = host::normalise(trimmed);
        let (text, is_suffix) = match normal.strip_prefix('*') {
            Some("") => return Ok(Self::Any),
            Some(text) => (text, true),
            None => (normal.as_ref(), false),
        };
        if text.is_empty() {
            return Err(HostPatternError::Empty);
        }
        if text.contains('*') {
            return Err(HostPatternError::InnerStar(trimmed.to_owned()));
        }
        if let Some(odd) = text.chars().find(|c| !c.is_ascii_graphic() || matches!(c, '/' | '\\' | '@' | '?' | '#')) {
            return Err(HostPatternError::Character(trimmed.to_owned(), odd));
        }
        Ok(if is_suffix { Self::Suffix(text.into()) } else { Self::Exact(text.into()) })
    }

    /// Whether a host, lower case and without port, matches.
    #[must_use]
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(name) => **name == *host,
            Self::Suffix(suffix) => host.ends_with(&**suffix),
        }
    }

    /// The more specific first; equal patterns side by side.
    pub(super) fn order(&self, other: &Self) -> Ordering {
        let rank = |pattern: &Self| match pattern {
            Self::Exact(_) => (0, Reverse(0)),
            Self::Suffix(suffix) => (1, Reverse(suffix.len())),
            Self::Any => (2, Reverse(0)),
        };
        rank(self).cmp(&rank(other)).then_with(|| match (self, other) {
            (Self::Exact(a), Self::Exact(b)) | (Self::Suffix(a), Self::Suffix(b)) => a.cmp(b),
            _ => Ordering::Equal,
        })
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(name) => f.write_str(name),
            Self::Suffix(suffix) => write!(f, "*{suffix}"),
        }
    }
}

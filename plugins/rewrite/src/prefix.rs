//! The shape that most rules have, without a regex engine: a literal prefix, and maybe the rest.
//!
//! `^/api`, `^/api(.*)` and `^/api(.*)$`. It matches once at most, for `^` is only at the beginning.
//! What it finds is what the regex finds: held by a property test.

use regex_syntax::hir::{Dot, Hir, HirKind, Look};

/// An anchored literal, with or without a group of what follows.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Prefix {
    literal: Box<str>,
    rest: Rest,
}

/// What follows the literal. As `.` is no line break, neither group goes beyond one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    None,
    /// `(.*)`
    Group,
    /// `(.*)$`
    GroupToEnd,
}

/// A path taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found<'p> {
    /// The match, from the beginning of the path.
    matched: &'p str,
    /// Group 1, if there is one: the end of the match.
    rest: Option<&'p str>,
    /// What follows the match.
    pub(crate) after: &'p str,
}

impl<'p> Found<'p> {
    pub(crate) fn group(&self, number: usize) -> Option<&'p str> {
        match number {
            0 => Some(self.matched),
            1 => self.rest,
            _ => None,
        }
    }
}

impl Prefix {
    /// The rule's pattern, if it has this shape.
    pub(crate) fn of(pattern: &Hir) -> Option<Self> {
        let parts = match pattern.kind() {
            HirKind::Concat(parts) => parts.as_slice(),
            _ => std::slice::from_ref(pattern),
        };
        let [start, parts @ ..] = parts else { return None };
        if *start.kind() != HirKind::Look(Look::Start) {
            return None;
        }
        let (literal, parts) = match parts {
            [first, rest @ ..] if let HirKind::Literal(literal) = first.kind() => (&*literal.0, rest),
            _ => (Default::default(), parts),
        };
        let rest = match parts {
            [] => Rest::None,
            [group] if is_rest(group) => Rest::Group,
            [group, end] if is_rest(group) && *end.kind() == HirKind::Look(Look::End) => Rest::GroupToEnd,
            _ => return None,
        };
        // Half a character, `^(?-u:\xE7)`, is left to the regex: so everything here is text.
        let literal = str::from_utf8(literal).ok()?.into();
        Some(Self { literal, rest })
    }

    pub(crate) fn find<'p>(&self, path: &'p str) -> Option<Found<'p>> {
        let tail = path.strip_prefix(&*self.literal)?;
        let line = || tail.bytes().position(|byte| byte == b'\n');
        let rest = match self.rest {
            Rest::None => None,
            Rest::Group => Some(line().map_or(tail, |end| &tail[..end])),
            Rest::GroupToEnd => Some(line().is_none().then_some(tail)?),
        };
        let (matched, after) = path.split_at(self.literal.len() + rest.map_or(0, str::len));
        Some(Found { matched, rest, after })
    }
}

/// `(.*)`, as the first group.
fn is_rest(hir: &Hir) -> bool {
    let HirKind::Capture(group) = hir.kind() else { return false };
    let HirKind::Repetition(repeated) = group.sub.kind() else { return false };
    group.index == 1
        && (repeated.min, repeated.max, repeated.greedy) == (0, None, true)
        && *repeated.sub == Hir::dot(Dot::AnyByteExceptLF)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use regex::bytes::RegexBuilder;

    use super::*;

    fn parse(pattern: &str) -> Option<Prefix> {
        let hir = regex_syntax::ParserBuilder::new().unicode(false).utf8(false).build().parse(pattern).unwrap();
        Prefix::of(&hir)
    }

    #[test]
    fn which_patterns_have_the_shape() {
        for pattern in ["^", "^/api", "^/api(.*)", "^/api(.*)$", "^(.*)$", r"^/a\.b/(?<rest>.*)$", "^/用户(.*)$"] {
            assert!(parse(pattern).is_some(), "{pattern}");
        }
        for pattern in [
            "/api",
            "^/a+",
            "^/api$",
            "(?i)^/api",
            "(?m)^/api",
            "^/api(.*?)$",
            "^/api(.+)$",
            "^/api(?s:.*)$",
            "^/(a)(.*)$",
            "^/api(?:.*)$",
            "^/api/(.*)/x$",
            "^(.*)(.*)$",
            "^/api|^/b",
            r"^(?-u:\xE7)",
            "(?u)^/api(.*)$",
            "(^/api)(.*)$",
            "",
        ] {
            assert!(parse(pattern).is_none(), "{pattern}");
        }
    }

    proptest! {
        #[test]
        fn it_finds_what_the_regex_finds(
            literal in "[a-c/.]{0,4}", rest in 0..3_usize, path in "[a-c/.\n%é]{0,10}", begins_so in any::<bool>(),
        ) {
            let pattern = format!("^{}{}", regex::escape(&literal), ["", "(.*)", "(.*)$"][rest]);
            let path = if begins_so { format!("{literal}{path}") } else { path };
            let regex = RegexBuilder::new(&pattern).unicode(false).build().unwrap();
            let wanted = regex.captures(path.as_bytes()).map(|groups| {
                let text = |group: regex::bytes::Match<'_>| &path[group.range()];
                let end = groups.get_match().end();
                Found { matched: text(groups.get_match()), rest: groups.get(1).map(text), after: &path[end..] }
            });
            prop_assert_eq!(parse(&pattern).unwrap().find(&path), wanted);
        }
    }
}

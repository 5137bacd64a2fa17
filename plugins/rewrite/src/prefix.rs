//! The shape that most rules have, without a regex engine: a literal prefix, and maybe the rest.
//!
//! `^/api`, `^/api(.*)` and `^/api(.*)$`. It matches once at most, for `^` is only at the beginning.
//! What it finds is what the regex finds: held by a property test.

use regex_syntax::hir::{Dot, Hir, HirKind, Look};

/// An anchored literal, with or without a group of what follows.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Prefix {
    literal: Box<[u8]>,
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

/// Where the match is: it begins at 0.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) end: usize,
    /// Where group 1 begins, if there is one; it ends with the match.
    pub(crate) group: Option<usize>,
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
            [first, rest @ ..] if let HirKind::Literal(literal) = first.kind() => (literal.0.clone(), rest),
            _ => (Box::default(), parts),
        };
        let rest = match parts {
            [] => Rest::None,
            [group] if is_rest(group) => Rest::Group,
            [group, end] if is_rest(group) && *end.kind() == HirKind::Look(Look::End) => Rest::GroupToEnd,
            _ => return None,
        };
        Some(Self { literal, rest })
    }

    /// Where it matches.
    pub(crate) fn find(&self, path: &[u8]) -> Option<Found> {
        let rest = path.strip_prefix(&*self.literal)?;
        let begins = self.literal.len();
        if self.rest == Rest::None {
            return Some(Found { end: begins, group: None });
        }
        let line = rest.iter().position(|&b| b == b'\n');
        match (self.rest, line) {
            (Rest::GroupToEnd, Some(_)) => None,
            (_, line) => Some(Found { end: begins + line.unwrap_or(rest.len()), group: Some(begins) }),
        }
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
            let wanted = regex.captures(path.as_bytes()).map(|found| {
                let whole = found.get(0).unwrap();
                prop_assert_eq!(whole.start(), 0);
                let group = found.get(1).map(|group| { assert_eq!(group.end(), whole.end()); group.start() });
                Ok(Found { end: whole.end(), group })
            });
            prop_assert_eq!(parse(&pattern).unwrap().find(path.as_bytes()), wanted.transpose()?);
        }
    }
}

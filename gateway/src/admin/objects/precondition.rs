//! `If-Match` and `If-None-Match` (RFC 9110, section 13.1): which version a caller means.

use http::header::{IF_MATCH, IF_NONE_MATCH};
use http::{HeaderMap, HeaderName, StatusCode};

use crate::admin::problem::Problem;
use crate::admin::write::Refused;
use crate::store::{Kv, Revision};

/// What a caller says of the version that is there.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Precondition {
    if_match: Option<Versions>,
    if_none_match: Option<Versions>,
}

#[derive(Debug, PartialEq, Eq)]
enum Versions {
    Any,
    These(Vec<Revision>),
}

impl Versions {
    fn of(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Self>, Problem> {
        let mut versions = Vec::new();
        for value in headers.get_all(name) {
            for tag in value.to_str().unwrap_or("?").split(',').map(str::trim) {
                if tag == "*" {
                    return Ok(Some(Self::Any));
                }
                let strong = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).ok_or_else(|| {
                    let text = format!("{name}: {tag:?} is no entity tag; expected \"12\" with the quotes, or *");
                    Problem::new(StatusCode::BAD_REQUEST, text)
                })?;
                // A tag that is none of ours is that of no version.
                versions.push(strong.parse().unwrap_or(0));
            }
        }
        Ok((!versions.is_empty()).then_some(Self::These(versions)))
    }

    fn have(&self, revision: Revision) -> bool {
        match self {
            Self::Any => true,
            Self::These(versions) => versions.contains(&revision),
        }
    }
}

impl Precondition {
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let if_match = Versions::of(headers, &IF_MATCH)?;
        Ok(Self { if_match, if_none_match: Versions::of(headers, &IF_NONE_MATCH)? })
    }

    /// Whether the caller says which version it replaces.
    pub(super) fn names_a_version(&self) -> bool {
        self.if_match.is_some()
    }

    pub(super) fn check(&self, there: Option<&Kv>, shown: impl Fn() -> String) -> Result<(), Refused> {
        let has = |versions: &Versions| there.is_some_and(|kv| versions.have(kv.mod_revision));
        if self.if_match.as_ref().is_some_and(|versions| !has(versions)) || self.if_none_match.as_ref().is_some_and(has)
        {
            return Err(Refused::Stale(shown()));
        }
        Ok(())
    }
}

/// Whether who reads has this version already.
pub(super) fn is_known(headers: &HeaderMap, revision: Revision) -> bool {
    Versions::of(headers, &IF_NONE_MATCH).ok().flatten().is_some_and(|versions| versions.have(revision))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn entity_tags_are_read_as_rfc_9110_has_them() {
        let of = |value: &str| {
            Precondition::of(&HeaderMap::from_iter([(IF_MATCH, HeaderValue::from_str(value).unwrap())]))
                .map(|p| p.if_match)
        };
        assert_eq!(of("\"12\"").unwrap(), Some(Versions::These(vec![12])));
        assert_eq!(of("\"12\", \"13\"").unwrap(), Some(Versions::These(vec![12, 13])));
        assert_eq!(of("*").unwrap(), Some(Versions::Any));
        assert_eq!(of("\"abc\"").unwrap(), Some(Versions::These(vec![0])), "no version has this");
        for bad in ["12", "W/\"12\"", "\"12", ""] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }
}

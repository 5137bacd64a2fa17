//! What a route may demand beyond path and host: methods, headers, query arguments.

use http::{HeaderName, Method};

use super::Lookup;

/// A demand on one header or one query argument. Where it occurs several times, one value that passes is enough.
#[derive(Debug, Clone)]
pub struct Predicate {
    /// The header's name, in any case, or the argument's, decoded.
    pub name: String,
    /// What its value must be.
    pub test: Test,
}

/// A test of a value. Those of query arguments are compared decoded (`%41` is `A`, `+` is a space).
#[derive(Debug, Clone)]
pub enum Test {
    /// It is there, empty or not.
    Present,
    /// It is not there.
    Absent,
    /// It is this.
    Exact(String),
    /// It starts with this.
    Prefix(String),
    /// The expression matches somewhere; a value that is not UTF-8 does not match.
    Regex(regex::Regex),
}

impl Test {
    fn accepts(&self, value: Encoded<'_>) -> bool {
        match self {
            Self::Present => true,
            Self::Absent => false,
            Self::Exact(text) => value.decoded().eq(text.bytes()),
            Self::Prefix(text) => value.decoded().take(text.len()).eq(text.bytes()),
            Self::Regex(regex) => value.with_text(|text| regex.is_match(text)),
        }
    }

    fn holds<'a>(&self, mut values: impl Iterator<Item = Encoded<'a>>) -> bool {
        match self {
            Self::Absent => values.next().is_none(),
            _ => values.any(|value| self.accepts(value)),
        }
    }
}

/// All demands of one route.
#[derive(Debug)]
pub(super) struct Conditions {
    methods: Box<[Method]>,
    headers: Box<[HeaderPredicate]>,
    query: Box<[Predicate]>,
}

#[derive(Debug)]
struct HeaderPredicate {
    /// None for a name that no header can have.
    name: Option<HeaderName>,
    text: Box<str>,
    test: Test,
}

/// The first demand that a request does not meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unmet<'a> {
    Method,
    Header(&'a str),
    Query(&'a str),
}

impl Conditions {
    /// None when there are none.
    pub(super) fn compile(methods: Vec<Method>, headers: Vec<Predicate>, query: Vec<Predicate>) -> Option<Self> {
        let headers = headers.into_iter().map(|Predicate { name, test }| HeaderPredicate {
            name: name.parse().ok(),
            text: name.into(),
            test,
        });
        let conditions = Self { methods: methods.into(), headers: headers.collect(), query: query.into() };
        (conditions.len() > 0).then_some(conditions)
    }

    /// How specific they are. The methods together count once.
    pub(super) fn len(&self) -> usize {
        usize::from(!self.methods.is_empty()) + self.headers.len() + self.query.len()
    }

    pub(super) fn check(&self, lookup: &Lookup<'_>) -> Result<(), Unmet<'_>> {
        if !self.methods.is_empty() && !self.methods.contains(lookup.method) {
            return Err(Unmet::Method);
        }
        for HeaderPredicate { name, text, test } in &self.headers {
            let values = name.iter().flat_map(|name| lookup.headers.get_all(name));
            if !test.holds(values.map(|value| Encoded { bytes: value.as_bytes(), query: false })) {
                return Err(Unmet::Header(text));
            }
        }
        for Predicate { name, test } in &self.query {
            if !test.holds(arguments(lookup.query.unwrap_or_default(), name)) {
                return Err(Unmet::Query(name));
            }
        }
        Ok(())
    }
}

/// The first value of a query argument, decoded.
pub fn argument<'a>(query: &'a str, name: &'a str) -> Option<impl Iterator<Item = u8> + 'a> {
    arguments(query, name).next().map(Encoded::decoded)
}

/// The values of one argument.
fn arguments<'a>(query: &'a str, name: &'a str) -> impl Iterator<Item = Encoded<'a>> {
    let encoded = |text: &'a str| Encoded { bytes: text.as_bytes(), query: true };
    query.split('&').filter(|argument| !argument.is_empty()).filter_map(move |argument| {
        let (key, value) = argument.split_once('=').unwrap_or((argument, ""));
        encoded(key).decoded().eq(name.bytes()).then(|| encoded(value))
    })
}

/// A value as it came.
#[derive(Clone, Copy)]
struct Encoded<'a> {
    bytes: &'a [u8],
    /// Whether it is form-encoded, as arguments are, or plain, as headers are.
    query: bool,
}

impl<'a> Encoded<'a> {
    fn decoded(self) -> impl Iterator<Item = u8> + 'a {
        let mut rest = self.bytes;
        std::iter::from_fn(move || {
            let (&first, after) = rest.split_first()?;
            rest = after;
            if !self.query {
                return Some(first);
            }
            match first {
                b'+' => Some(b' '),
                b'%' => Some(escaped(after).map_or(b'%', |byte| {
                    rest = &after[2..];
                    byte
                })),
                _ => Some(first),
            }
        })
    }

    /// The only place that may allocate: a regex needs the decoded text in one piece.
    fn with_text(self, test: impl Fn(&str) -> bool) -> bool {
        if self.query && self.bytes.iter().any(|b| matches!(b, b'+' | b'%')) {
            String::from_utf8(self.decoded().collect()).is_ok_and(|text| test(&text))
        } else {
            std::str::from_utf8(self.bytes).is_ok_and(test)
        }
    }
}

fn escaped(digits: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(*digits.get(at)?).to_digit(16);
    u8::try_from(digit(0)? << 4 | digit(1)?).ok()
}

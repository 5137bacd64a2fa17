//! The replacement of `ngx.re.gsub`: `$1` and `${1}` are groups, `$$` is a dollar sign.
//!
//! It differs from the regex crate's own, where `$1abc` is a group named `1abc`.

use ws_cloud_plugin_sdk::ConfigError;

const MAX_LEN: usize = 8 << 10;

/// A replacement, taken apart once.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Replacement {
    parts: Vec<Part>,
}

#[derive(Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Group(usize),
}

impl Replacement {
    pub(crate) fn parse(source: &str) -> Result<Self, ConfigError> {
        if source.len() > MAX_LEN {
            return Err(ConfigError::at("replace", format!("is {} bytes long, more than {MAX_LEN}", source.len())));
        }
        if let Some(at) = source.chars().position(char::is_control) {
            let reason = format!("a control character, at character {} of {source:?}", at + 1);
            return Err(ConfigError::at("replace", reason));
        }
        let mut parts = Vec::new();
        let mut rest = source;
        while !rest.is_empty() {
            let (part, after) = next_part(rest).map_err(|reason| {
                let at = source[..source.len() - rest.len()].chars().count() + 1;
                ConfigError::at("replace", format!("{reason}, at character {at} of {source:?}"))
            })?;
            push(&mut parts, part);
            rest = after;
        }
        Ok(Self { parts })
    }

    pub(crate) fn has_groups(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Group(_)))
    }

    /// Hands out the replacement of one match, piece by piece, as text or as bytes. A group that did
    /// not take part, or that the pattern does not have, is empty.
    pub(crate) fn write<'p, T: ?Sized + 'p>(&self, group: impl Fn(usize) -> Option<&'p T>, mut append: impl FnMut(&T))
    where
        str: AsRef<T>,
    {
        for part in &self.parts {
            match part {
                Part::Text(text) => append(text.as_str().as_ref()),
                Part::Group(number) => group(*number).into_iter().for_each(&mut append),
            }
        }
    }

    /// How many bytes [`write`](Self::write) hands out.
    pub(crate) fn len<'p>(&self, group: impl Fn(usize) -> Option<&'p str>) -> usize {
        let mut len = 0;
        self.write(group, |piece: &str| len += piece.len());
        len
    }
}

/// The part at the start of `source`, which is not empty, and what follows it.
fn next_part(source: &str) -> Result<(Part, &str), &'static str> {
    const HINT: &str = "`$` begins a group: write $1 or ${1}, and $$ for a dollar sign";
    let Some(after) = source.strip_prefix('$') else {
        let (text, rest) = source.split_at(source.find('$').unwrap_or(source.len()));
        return Ok((Part::Text(text.to_owned()), rest));
    };
    if let Some(rest) = after.strip_prefix('$') {
        return Ok((Part::Text("$".to_owned()), rest));
    }
    let (after, braced) = match after.strip_prefix('{') {
        Some(after) => (after, true),
        None => (after, false),
    };
    let (digits, rest) = after.split_at(after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len()));
    if digits.is_empty() {
        return Err(HINT);
    }
    let number = digits.parse().map_err(|_| "the number of the group is too large")?;
    let rest = if braced { rest.strip_prefix('}').ok_or("`${` without its `}`")? } else { rest };
    Ok((Part::Group(number), rest))
}

/// Joins texts that follow each other, so that `a$$b` is one part.
fn push(parts: &mut Vec<Part>, part: Part) {
    match (parts.last_mut(), part) {
        (Some(Part::Text(before)), Part::Text(text)) => before.push_str(&text),
        (_, part) => parts.push(part),
    }
}

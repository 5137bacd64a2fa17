//! Objects of a family as the store has them, and their last good versions.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::change::{Change, Serving};
use crate::resource::Invalid;

/// An object as the store has it, and its last good version.
pub(super) struct Kept<T> {
    pub(super) value: Bytes,
    pub(super) good: Option<(u64, Bytes, T)>,
    /// Whether the store's version is not the good one.
    pub(super) is_broken: bool,
}

/// What happens in place of a broken object: its last good version, or this.
pub(super) fn last_good_or<T>(objects: &BTreeMap<String, Kept<T>>, id: &str, otherwise: Serving) -> Serving {
    if objects.get(id).is_some_and(|kept| kept.good.is_some()) { Serving::LastGood } else { otherwise }
}

/// The good versions in a family of nodes, or of what is said of them, that are of this service; by
/// id, in order.
pub(super) fn of_service<'a, T>(
    objects: &'a BTreeMap<String, Kept<T>>,
    service: &'a str,
) -> impl Iterator<Item = (&'a str, &'a T)> {
    // Behind the service's name comes a dot. The next character is that of no id of the service.
    let range = objects.range(format!("{service}.")..format!("{service}/"));
    let good = range.filter_map(|(id, kept)| Some((id.as_str(), &kept.good.as_ref()?.2)));
    // Those of a service whose name goes on behind the dot are among them: they have another one. To
    // look at all of the few characters is quicker than to search them.
    let has_dot = |text: &str| text.bytes().fold(false, |found, byte| found | (byte == b'.'));
    good.filter(move |(id, _)| !has_dot(&id[service.len() + 1..]))
}

/// Takes a change into a family. Returns the revision and the reason when the object is broken.
pub(super) fn keep<T>(
    objects: &mut BTreeMap<String, Kept<T>>,
    id: &str,
    change: Change,
    restored: Option<Change>,
    parse: impl Fn(&str, &[u8]) -> Result<T, Invalid>,
) -> Option<(u64, String)> {
    let Some(value) = change.value else {
        objects.remove(id);
        return None;
    };
    match parse(id, &value) {
        Ok(parsed) => {
            let good = Some((change.revision, value.clone(), parsed));
            objects.insert(id.to_owned(), Kept { value, good, is_broken: false });
            None
        }
        Err(invalid) => {
            let before = objects.remove(id).and_then(|kept| kept.good);
            let good = before.or_else(|| {
                let Change { value: Some(value), revision, .. } = restored? else { return None };
                let parsed = parse(id, &value).ok()?;
                Some((revision, value, parsed))
            });
            objects.insert(id.to_owned(), Kept { value, good, is_broken: true });
            Some((change.revision, invalid.to_string()))
        }
    }
}

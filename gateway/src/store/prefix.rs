//! Key prefixes as both stores use them.

/// Sorts prefixes and drops those another one covers.
pub(super) fn without_overlap(mut prefixes: Vec<String>) -> Vec<String> {
    prefixes.sort();
    // Sorted, so whatever covers a prefix comes right before those it covers.
    prefixes.dedup_by(|later, kept| later.starts_with(kept.as_str()));
    prefixes
}

pub(super) fn any_covers(prefixes: &[String], key: &str) -> bool {
    prefixes.iter().any(|prefix| key.starts_with(prefix.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn covered_prefixes_are_dropped() {
        let of = |prefixes: &[&str]| without_overlap(prefixes.iter().map(|p| (*p).to_owned()).collect());
        assert_eq!(of(&["b/", "a/x", "a/", "a/x/y", "b/"]), ["a/", "b/"]);
        assert_eq!(of(&["a", ""]), [""]);
        assert_eq!(of(&["ab", "aa", "a-"]), ["a-", "aa", "ab"]);
        assert_eq!(of(&[]), [""; 0]);
    }
}

//! Key ranges as etcd wants them: a first key, and an end that is not part of it.

/// etcd's end of a range that has none; also its smallest key, for it allows no empty one.
const OPEN: &[u8] = b"\0";

/// The range of all keys under a prefix.
pub(super) fn of_prefix(prefix: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let start = if prefix.is_empty() { OPEN } else { prefix };
    (start.to_vec(), end_of_prefix(prefix))
}

/// The smallest range that covers all these prefixes, which are in order.
pub(super) fn covering(prefixes: &[String]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (start, _) = of_prefix(prefixes.first()?.as_bytes());
    // In order and without overlap, so the last one's end is the greatest.
    Some((start, end_of_prefix(prefixes.last()?.as_bytes())))
}

/// The key right after `key`.
pub(super) fn after(key: &[u8]) -> Vec<u8> {
    [key, OPEN].concat()
}

fn end_of_prefix(prefix: &[u8]) -> Vec<u8> {
    // 0xff has no successor, so the byte before it takes the step.
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            return end;
        }
    }
    OPEN.to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_the_next_key_that_does_not_have_it() {
        for (prefix, start, end) in [
            (&b"a/"[..], &b"a/"[..], &b"a0"[..]),
            (b"a\xff", b"a\xff", b"b"),
            (b"a\xff\xff", b"a\xff\xff", b"b"),
            (b"a\xffb", b"a\xffb", b"a\xffc"),
            (b"\xff", b"\xff", b"\0"),
            (b"\xff\xff", b"\xff\xff", b"\0"),
            (b"", b"\0", b"\0"),
            (b"\0", b"\0", b"\x01"),
        ] {
            assert_eq!(of_prefix(prefix), (start.to_vec(), end.to_vec()), "{prefix:?}");
        }
    }

    #[test]
    fn the_covering_range_spans_the_prefixes() {
        let of = |prefixes: &[&str]| covering(&prefixes.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>());
        assert_eq!(of(&[]), None);
        assert_eq!(of(&["a/", "m/", "z/"]), Some((b"a/".to_vec(), b"z0".to_vec())));
        assert_eq!(of(&[""]), Some((b"\0".to_vec(), b"\0".to_vec())));
    }
}

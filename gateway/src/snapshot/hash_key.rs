//! What the `hash` balancer tells a request apart by. Nothing is allocated.

use std::hash::Hasher;
use std::net::IpAddr;

use http::{HeaderMap, header};
use twox_hash::XxHash64;
use ws_cloud_plugin_sdk::RequestState;

use crate::router::argument;
use crate::upstream::HashOn;

/// Decoded bytes that are hashed at a time.
const PIECE: usize = 64;

/// The hash of a request's key; `None` when it has no such header, cookie or argument.
pub fn hash_key(on: &HashOn, headers: &HeaderMap, state: &RequestState) -> Option<u64> {
    match on {
        HashOn::ClientIp => Some(match state.client_ip {
            IpAddr::V4(ip) => hash(&ip.octets()),
            IpAddr::V6(ip) => hash(&ip.octets()),
        }),
        HashOn::Path => Some(hash(state.path().as_bytes())),
        HashOn::Header(name) => headers.get(name).map(|value| hash(value.as_bytes())),
        HashOn::Cookie(name) => cookie(headers, name).map(hash),
        HashOn::Query(name) => argument(state.query()?, name).map(hash_decoded),
    }
}

fn hash(bytes: &[u8]) -> u64 {
    XxHash64::oneshot(0, bytes)
}

/// As [`hash`] of the bytes in one piece.
fn hash_decoded(mut bytes: impl Iterator<Item = u8>) -> u64 {
    let mut hasher = XxHash64::with_seed(0);
    let mut piece = [0; PIECE];
    loop {
        let mut filled = 0;
        for (slot, byte) in piece.iter_mut().zip(&mut bytes) {
            *slot = byte;
            filled += 1;
        }
        hasher.write(&piece[..filled]);
        if filled < PIECE {
            return hasher.finish();
        }
    }
}

/// The value of the first cookie of this name: RFC 6265 section 5.4. HTTP/2 may bring each in a
/// header of its own.
fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    let lines = headers.get_all(header::COOKIE).iter();
    let pairs = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    pairs.map(<[u8]>::trim_ascii).find_map(|pair| {
        let (found, value) = pair.split_at_checked(name.len())?;
        let value = value.trim_ascii_start().strip_prefix(b"=")?;
        (found == name.as_bytes()).then(|| value.trim_ascii_start())
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn key(on: &HashOn, headers: &[(&'static str, &str)], query: Option<&str>) -> Option<u64> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let ip = "192.0.2.7".parse().unwrap();
        hash_key(on, &map, &RequestState::new(Arc::default(), ip, "/a/b".into(), query.map(str::to_owned)))
    }

    /// Several gateways, of several versions, must agree: these values never change.
    #[test]
    fn keys_are_the_same_everywhere_and_for_ever() {
        assert_eq!(key(&HashOn::Path, &[], None), Some(12_032_446_498_354_195_496));
        assert_eq!(key(&HashOn::ClientIp, &[], None), Some(4_765_770_633_908_435_648));
    }

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        let on = HashOn::Cookie("id".into());
        let of = |lines: &[&str]| key(&on, &lines.iter().map(|line| ("cookie", *line)).collect::<Vec<_>>(), None);
        let expected = Some(hash(b"7"));
        for lines in [
            &["id=7"][..],
            &["a=1; id=7; b=2"],
            &["xid=1;id=7"],
            &["idx=1; id = 7 "],
            &["a=1", "id=7"],
            &["id=7; id=8"],
            &["a; id=7"],
        ] {
            assert_eq!(of(lines), expected, "{lines:?}");
        }
        for lines in [&["a=1"][..], &["idx=7"], &["id"], &["ID=7"], &["a=id=7"], &[""], &[]] {
            assert_eq!(of(lines), None, "{lines:?}");
        }
        assert_eq!(of(&["id="]), Some(hash(b"")));
    }

    #[test]
    fn an_argument_is_the_same_however_it_is_encoded() {
        let on = HashOn::Query("user".into());
        let long = "x".repeat(PIECE * 2);
        for (query, expected) in [
            ("user=ab", Some("ab")),
            ("a=1&user=%61b&user=other", Some("ab")),
            ("us%65r=a+b", Some("a b")),
            ("user=%zz", Some("%zz")),
            ("user", Some("")),
            ("users=1", None),
            (&format!("user={long}"), Some(&long)),
            (&format!("user={long}y"), Some(&format!("{long}y"))),
        ] {
            assert_eq!(key(&on, &[], Some(query)), expected.map(|text| hash(text.as_bytes())), "{query}");
        }
        assert_eq!(key(&on, &[], None), None);
    }

    #[test]
    fn a_header_is_found_in_any_case_and_may_be_missing() {
        let on = HashOn::Header("X-User".parse().unwrap());
        assert_eq!(key(&on, &[("x-user", "ann")], None), Some(hash(b"ann")));
        assert_eq!(key(&on, &[("x-other", "ann")], None), None);
    }
}

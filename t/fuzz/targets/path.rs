//! The normal form of paths: it is its own normal form, survives the wire, and climbs nowhere.

use ws_cloud_gateway::request::path::{EscapedSlashes, PathRules, encode, normalise};
use ws_cloud_gateway::request::readings::readings;

use super::input::Input;

pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let rules = PathRules {
        merge_slashes: input.below(2) == 0,
        escaped_slashes: input.choose([EscapedSlashes::Keep, EscapedSlashes::Reject, EscapedSlashes::Decode]),
    };
    let Ok(path) = normalise(input.rest(), &rules) else { return };
    assert!(path.starts_with('/'), "{path:?}");
    assert!(!path.split('/').any(|segment| matches!(segment, "." | "..")), "{path:?}");
    assert!(!rules.merge_slashes || !path.contains("//"), "{path:?}");
    assert_eq!(normalise(path.as_bytes(), &rules).as_deref(), Ok(&*path), "not its own normal form");
    let wire = encode(&path);
    assert!(wire.bytes().all(|byte| byte.is_ascii_graphic()), "{wire:?} is no request target");
    assert_eq!(normalise(wire.as_bytes(), &rules).as_deref(), Ok(&*path), "the wire changes it");
    for reading in readings(&path) {
        assert!(reading.starts_with('/') && reading != path, "{reading:?} of {path:?}");
    }
}

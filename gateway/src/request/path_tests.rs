//! Spellings as data, and the properties that make the normal form one.

use proptest::prelude::*;

use super::*;
use crate::request::readings::readings;

fn rules(merge_slashes: bool, escaped_slashes: EscapedSlashes) -> PathRules {
    PathRules { merge_slashes, escaped_slashes }
}

fn check(rules: PathRules, cases: &[(&str, &str)]) {
    for (raw, expected) in cases {
        let found = normalise(raw.as_bytes(), &rules).map_or_else(|error| error.to_string(), Cow::into_owned);
        assert_eq!(found, *expected, "{raw}");
    }
}

#[test]
fn one_normal_form() {
    check(
        PathRules::default(),
        &[
            ("/", "/"),
            ("/a/b.c-d_e~f", "/a/b.c-d_e~f"),
            ("/%61%2D%7e", "/a-~"),
            ("/%2541", "/%2541"),
            ("/%25%34%31", "/%2541"),
            ("/%20%2b%3a", "/%20%2B%3A"),
            ("/a b\"<>^`{|}", "/a%20b%22%3C%3E%5E%60%7B%7C%7D"),
            ("/%7b", "/%7B"),
            ("/%e7%94%a8", "/用"),
            ("/用", "/用"),
            ("/%e7%94", "/%E7%94"),
            ("/%ff%41%C3%A9", "/%FFAé"),
            ("/%0a%09", "/%0A%09"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/.%2e/b", "/b"),
            ("/a/.", "/a/"),
            ("/a/b/..", "/a/"),
            ("/a/..", "/"),
            ("/...", "/..."),
            ("/.a/..b", "/.a/..b"),
            ("/.well-known/x", "/.well-known/x"),
            ("//a///b//", "/a/b/"),
            ("/a//../b", "/b"),
            ("/a%2fb%5c", "/a%2Fb%5C"),
            ("/a;x=1/b;y", "/a;x=1/b;y"),
            ("/a%2F...", "/a%2F..."),
            ("/a.%2Fb", "/a.%2Fb"),
            ("", "the path does not start with /"),
            ("a", "the path does not start with /"),
            ("*", "the path does not start with /"),
            ("/..", "the path climbs above the root"),
            ("/a/../../b", "the path climbs above the root"),
            ("//..", "the path climbs above the root"),
            ("/%", "the path has a malformed percent-escape"),
            ("/%4", "the path has a malformed percent-escape"),
            ("/%zz", "the path has a malformed percent-escape"),
            ("/%+1", "the path has a malformed percent-escape"),
            ("/%u0041", "the path has a malformed percent-escape"),
            ("/%00", "the path has a NUL byte"),
            ("/\0", "the path has a NUL byte"),
            ("/\n", "the path has a control character"),
            ("/\u{7f}", "the path has a control character"),
            ("/a\\b", "the path has a backslash"),
            ("/a?b", "the path has a raw ? or #"),
            ("/a#b", "the path has a raw ? or #"),
            ("/a/..;/b", "the path has an ambiguous dot segment"),
            ("/a/%2e%2e;x=1/b", "the path has an ambiguous dot segment"),
            ("/a/.;", "the path has an ambiguous dot segment"),
            ("/a/..%3b/b", "the path has an ambiguous dot segment"),
            ("/a/..%2fb", "the path has an ambiguous dot segment"),
            ("/a/b%5C..", "the path has an ambiguous dot segment"),
            ("/a/b%2F.%2Fc", "the path has an ambiguous dot segment"),
        ],
    );
}

#[test]
fn escaped_slashes_as_the_operator_says() {
    check(
        rules(true, EscapedSlashes::Reject),
        &[("/a%2Fb", "the path has an escaped slash"), ("/a%5cb", "the path has an escaped slash")],
    );
    check(
        rules(true, EscapedSlashes::Decode),
        &[
            ("/a%2Fb", "/a/b"),
            ("/a%2f%2fb", "/a/b"),
            ("/a/b%2F..%2Fc", "/a/c"),
            ("/..%2F", "the path climbs above the root"),
            ("/a%5Cb", "the path has a backslash"),
        ],
    );
}

#[test]
fn empty_segments_stay_where_slashes_are_not_merged() {
    let rules = rules(false, EscapedSlashes::Keep);
    check(rules, &[("//a//b//", "//a//b//"), ("/a//../b", "/a/b"), ("//..", "/"), ("/a/..//b", "//b")]);
}

#[test]
fn a_normal_path_is_borrowed() {
    for path in ["/", "/a/b", "/a%20b", "/用户/x", "/.well-known/a..b/...", "/a%2Fb", "/a;b=c", "/%25"] {
        assert!(matches!(normalise(path.as_bytes(), &PathRules::default()), Ok(Cow::Borrowed(_))), "{path}");
    }
    assert!(matches!(encode("/a/b%20c;d=e"), Cow::Borrowed(_)));
}

#[test]
fn the_wire_form_is_plain_ascii() {
    let cases = [
        ("/用", "/%E7%94%A8"),
        ("/a b", "/a%20b"),
        ("/a%20b%2f", "/a%20b%2f"),
        ("/100%", "/100%25"),
        ("/%zz%4", "/%25zz%254"),
        ("/a?b#c", "/a%3Fb%23c"),
        ("/\r\nX: y\\", "/%0D%0AX:%20y%5C"),
        ("/\"<>^`{|}", "/%22%3C%3E%5E%60%7B%7C%7D"),
    ];
    for (path, expected) in cases {
        assert_eq!(encode(path), expected);
    }
}

/// All combinations of one choice per place.
fn spellings(places: &[&[&str]]) -> Vec<String> {
    places.iter().fold(vec![String::new()], |begun, choices| {
        begun.iter().flat_map(|begin| choices.iter().map(move |choice| format!("{begin}{choice}"))).collect()
    })
}

/// Ways to write `/admin/secret`, at levels 1 and 2 of THREATS, most of which only some servers would fold.
fn spellings_of_the_protected_path() -> Vec<String> {
    let slashes: &[&str] = &[
        "/",
        "//",
        "/./",
        "/%2e/",
        "/x/../",
        "/x/%2e%2e/",
        "/x/.%2E/",
        "%2F",
        "%2f",
        "%5C",
        "\\",
        "/%2F",
        "%252F",
        "%255C",
        "%25252f",
        ";/",
        ";a=b/",
        "%3B/",
        "%3Ba/",
        "/;/",
        "/;a/",
        "/.;/",
        "/x/..;/",
        "/x/..%3B/",
        "/x/..%2F",
        "/x%2F../",
        "/x%2F..%2F",
        "/x/%252e%252e/",
        "/%252e/",
        "/x/..%5C",
        "/x%5C..%5C",
        "/x/%2e%2e%2f",
        "/x//..//",
        "/x/..//",
        "/%25252e/",
        "%00/",
        "/%00/",
        "%2F%2F",
        "%2F.%2F",
    ];
    let starts: &[&str] = &[
        "/",
        "//",
        "/./",
        "/%2e/",
        "/x/../",
        "/x/%2E%2e/",
        "/..;/",
        "/x/..;/",
        "/;/",
        "/;x/",
        "/%2F",
        "/%5C",
        "/\\",
        "/%252F",
        "/x/..%2F",
        "/x%2F..%2F",
        "/x/%252e%252e/",
        "/x/%252e%252e%252f",
        "/%2e%2e/",
        "/../",
    ];
    let admins: &[&str] = &["admin", "%61dmin", "adm%69n", "%61%64%6D%69%6e", "%2561dmin", "%25%36%31dmin"];
    let ends: &[&str] = &[
        "secret",
        "s%65cret",
        "%73ecret",
        "s%2565cret",
        "secret;x=1",
        "secret%3Bx",
        "secret/.",
        "secret/",
        "secret//",
    ];
    let mut all = spellings(&[starts, admins, slashes, &["secret"]]);
    all.extend(spellings(&[&["/"], admins, slashes, ends]));
    all.extend(spellings(&[starts, &["admin", "%61dmin"], &["/"], ends]));
    all
}

/// Upstreams, from correct to sloppy: how often they decode, what a slash is, whether `;` ends a segment.
fn upstream_readings(wire: &str) -> Vec<String> {
    let mut all = Vec::new();
    for times in 0..=3 {
        let mut bytes = wire.as_bytes().to_vec();
        for _ in 0..times {
            let mut out = Vec::new();
            let mut i = 0;
            while i < bytes.len() {
                let byte = escape(&bytes[i..]);
                out.push(byte.unwrap_or(bytes[i]));
                i += if byte.is_some() { 3 } else { 1 };
            }
            bytes = out;
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        for backslash in [false, true] {
            for cut in [false, true] {
                let text = if backslash { text.replace('\\', "/") } else { text.clone() };
                let mut segments: Vec<&str> = Vec::new();
                for segment in text.split('/') {
                    let name = if cut { segment.split(';').next().unwrap_or_default() } else { segment };
                    match name {
                        "" | "." => {}
                        ".." => drop(segments.pop()),
                        _ => segments.push(name),
                    }
                }
                all.push(format!("/{}", segments.join("/")));
            }
        }
    }
    all
}

/// What the proxy does where `/admin/*` is protected and `/*` is not.
#[derive(PartialEq)]
enum Outcome {
    Refused,
    /// Refused too: which route it is depends on the reading.
    Ambiguous,
    Guarded,
    Open(String),
}

fn is_protected(path: &str) -> bool {
    path.starts_with("/admin/")
}

fn outcome(raw: &[u8], rules: PathRules) -> Outcome {
    match normalise(raw, &rules) {
        Err(_) => Outcome::Refused,
        Ok(path) if readings(&path).iter().any(|reading| is_protected(reading) != is_protected(&path)) => {
            Outcome::Ambiguous
        }
        Ok(path) if is_protected(&path) => Outcome::Guarded,
        Ok(path) => Outcome::Open(encode(&path).into_owned()),
    }
}

const SLASHES: [EscapedSlashes; 3] = [EscapedSlashes::Keep, EscapedSlashes::Reject, EscapedSlashes::Decode];

/// Each of these is the protected path to some upstream, so none may pass as unprotected.
#[test]
fn no_spelling_bypasses_a_protected_path() {
    let all = spellings_of_the_protected_path();
    let mut counts = [0; 3];
    for (merge, slashes) in [true, false].into_iter().flat_map(|merge| SLASHES.map(|slashes| (merge, slashes))) {
        for raw in &all {
            counts[match outcome(raw.as_bytes(), rules(merge, slashes)) {
                Outcome::Refused => 0,
                Outcome::Ambiguous => 1,
                Outcome::Guarded => 2,
                Outcome::Open(wire) => panic!("{raw} goes upstream as {wire}"),
            }] += 1;
        }
    }
    assert!(all.len() > 5000 && counts.iter().all(|&count| count > 1000), "{} {counts:?}", all.len());
}

/// What level 1 alone may spell is simply the protected path, with no need to refuse anything.
#[test]
fn plain_encodings_and_dot_segments_are_the_protected_path() {
    let borders: &[&str] = &["/", "//", "/./", "/%2e/", "/x/../", "/x/%2e%2E/", "/x/y/../.%2e/", "///"];
    let letters: &[&str] = &["admin", "%61dmin", "a%64%6din", "%61%64%6D%69%6E"];
    for raw in spellings(&[borders, letters, borders, &["secret", "%73ecret", "secre%74"]]) {
        let path = normalise(raw.as_bytes(), &PathRules::default());
        assert_eq!(path.as_deref(), Ok("/admin/secret"), "{raw}");
        assert!(readings("/admin/secret").is_empty());
    }
}

fn raw_path() -> impl Strategy<Value = Vec<u8>> {
    let pieces: Vec<&'static str> = vec![
        "/", "//", "a", ".", "..", ";", "%2e", "%2E", "%2f", "%5C", "%25", "25", "2", "f", "%41", "%3b", "%00", " ",
        "{", "%20", "%7b", "%e7", "%94", "%a8", "用", "%ff", "%C2", "%80", "+", "%", "~",
    ];
    let piece = prop_oneof![
        20 => prop::sample::select(pieces).prop_map(|piece: &str| piece.as_bytes().to_vec()),
        1 => any::<u8>().prop_map(|byte| vec![byte]),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| [vec![b'/'], pieces.concat()].concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]
    #[test]
    fn normalising_is_idempotent_and_survives_the_wire(
        raw in raw_path(),
        merge in any::<bool>(),
        slashes in prop::sample::select(&SLASHES[..]),
    ) {
        let rules = rules(merge, slashes);
        if let Ok(path) = normalise(&raw, &rules) {
            let again = normalise(path.as_bytes(), &rules);
            prop_assert_eq!(again.as_deref(), Ok(&*path));
            let wire = encode(&path);
            prop_assert!(wire.bytes().all(|b| b.is_ascii_graphic()));
            let arrived = normalise(wire.as_bytes(), &rules);
            prop_assert_eq!(arrived.as_deref(), Ok(&*path));
            prop_assert!(!path.split('/').any(|segment| matches!(segment, "." | "..")));
            prop_assert!(!merge || !path.contains("//"));
        }
    }

    /// What goes upstream as unprotected is not the protected path to any upstream, correct or sloppy.
    #[test]
    fn no_upstream_reads_an_open_path_as_protected(
        pieces in prop::collection::vec(prop::sample::select(PIECES), 1..9),
        merge in any::<bool>(),
        slashes in prop::sample::select(&SLASHES[..]),
    ) {
        let raw = format!("/{}", pieces.concat());
        if let Outcome::Open(wire) = outcome(raw.as_bytes(), rules(merge, slashes)) {
            let seen = upstream_readings(&wire);
            prop_assert!(!seen.iter().any(|path| is_protected(path)), "{} -> {} -> {:?}", raw, wire, seen);
        }
    }
}

const PIECES: &[&str] = &[
    "admin",
    "admin/",
    "admin%2F",
    "x",
    "x/",
    "/",
    "..",
    "../",
    "%2F",
    "%252F",
    "%25252F",
    "%5C",
    "%255C",
    ";",
    ";a",
    "%3B",
    "%253B",
    "%252E%252E",
    "%252e%252e%252f",
    "%25252E.",
    "%2561",
    "dmin",
    ".",
    "%25",
    "25",
    "2F",
    "%00",
];

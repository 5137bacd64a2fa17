use ws_cloud_plugin_sdk::harness::Harness;
use ws_cloud_plugin_sdk::http::StatusCode;
use ws_cloud_plugin_sdk::serde_json::{Value, json};

use super::*;
use crate::rule::Refused;

fn rewrite(regex: &str, replace: &str, path: &str) -> Result<Option<String>, Refused> {
    Rule::new(regex, replace).unwrap().apply(path)
}

/// What `ngx.re.gsub(path, regex, replace, "jo")` gives.
#[test]
fn replaces_as_gsub_did() {
    let check = |regex, replace, path, expected: &str| {
        assert_eq!(rewrite(regex, replace, path), Ok(Some(expected.to_owned())), "{regex:?} {replace:?} {path:?}");
    };
    // the routes of the old demo data
    check("^/openapi/(.*)/", "/openapi/", "/openapi/demo1/hello", "/openapi/hello");
    check("^/openapi/(.*)/", "/openapi/", "/openapi/demo1/a/b", "/openapi/b");
    // every match, not only the first
    check("a", "b", "/a/a/ca", "/b/b/cb");
    check("/+", "/", "//a///b", "/a/b");
    check("o", "", "/foo/o", "/f/");
    // groups
    check("^/(v[0-9]+)/(.*)$", "/$2/$1", "/v1/users/7", "/users/7/v1");
    check("/v(1)", "/$1abc", "/v1/x", "/1abc/x");
    check("/v(1)", "/${1}0", "/v1/x", "/10/x");
    check("/v(1)", "/$10", "/v1/x", "//x");
    check("x", "[$0]", "/x/y", "/[x]/y");
    check("(a)|(b)", "<$1$2>", "/ab", "/<a><b>");
    check("a", "$$1", "/a", "/$1");
    check("(?P<id>[0-9]+)", "n$1", "/42", "/n42");
    // an empty match behind another one counts
    check("(.*)", "/x$1", "/abc", "/x/abc/x");
    check("x*", "-", "/ab", "/-/-a-b-");
    // letters match in their case, classes are ASCII, unless the pattern asks
    check("(?i)ABC", "x", "/abc", "/x");
    check(r"\w+", "x", "/用户a", "/用户x");
    check(r"(?u)\w+", "x", "/用户a", "/x");
    check("用户", "user", "/用户/1", "/user/1");
    check("%2F", "/", "/a%2Fb", "/a/b");
    // a path begins with a slash
    check("^/api", "", "/api", "/");
    check("^/api/", "", "/api/x", "/x");
    check("^/api", "", "/api/x", "/x");
}

#[test]
fn leaves_what_does_not_match() {
    assert_eq!(rewrite("^/b", "/x", "/a"), Ok(None));
    assert_eq!(rewrite("ABC", "x", "/abc"), Ok(None));
}

#[test]
fn refuses_paths_an_upstream_might_read_otherwise() {
    let refused = Err(Refused::Malformed);
    for path in ["/api../admin", "/api.", "/api..", "/api..;x/admin", "/api..%2Fadmin", "/api..%5Cadmin", "/api..\\x"] {
        assert_eq!(rewrite("^/api", "", path), refused, "{path}");
    }
    assert_eq!(rewrite("x", "", "/.x/a"), refused);
    assert_eq!(rewrite("x", "%2E", "/a/x"), refused);
    assert_eq!(rewrite("%25", "%", "/%252e%252e/a"), refused);
    assert_eq!(rewrite("^/.", "/", "/用"), refused, "half a character");
    assert_eq!(rewrite("x", "", "/...x/a"), Ok(Some("/.../a".to_owned())));
    assert_eq!(rewrite("x", "", "/.ax"), Ok(Some("/.a".to_owned())));
}

#[test]
fn refuses_paths_beyond_the_limits() {
    let long = format!("/{}", "a".repeat(64 << 10));
    assert_eq!(rewrite("^/b", "/c", &long), Err(Refused::TooLong), "the path itself");
    let many = format!("/{}", "a".repeat(1000));
    assert_eq!(rewrite("a", &"b".repeat(100), &many), Err(Refused::TooLong), "the result");
    assert_eq!(rewrite("$", &"b".repeat(100), &long[..65_500]), Err(Refused::TooLong), "the end of the result");
    assert_eq!(rewrite("a+b|a", "c", &long[..32_768]), Err(Refused::TooLong), "the work");
    assert_eq!(rewrite("a", "b", &long[..2048]), Ok(Some(long[..2048].replace('a', "b"))));
}

/// Patterns that take exponential or high polynomial time in a backtracking engine, each on long
/// inputs of every kind. There is no clock here: the wrong engine would not come back.
#[test]
fn evil_patterns_terminate() {
    let options = "a?".repeat(100);
    let patterns = [
        "(a+)+$",
        "(a|a)*$",
        "(a|aa)+$",
        "(.*a){20}$",
        "(.*)*b",
        "^(([a-z])+.)+[A-Z]([a-z])+$",
        r"([\w.-]+)+@",
        "(/[^/]*)*/x$",
        r"^(\w+\s?)*$",
        r"(\d+)*\.(\d+)*x",
        ".*.*=.*",
        "(x+x+)+y",
        &options,
        "([ab]*a[ab]{12})+c",
        "([ab]*a[ab]{200})+c",
        "(.*)(.*)(.*)(.*)(.*)!",
        "a+b|a",
        "[^!]*!x|.",
        "(?u)(\\w+)+$",
        "",
    ];
    for pattern in patterns {
        let Ok(rule) = Rule::new(pattern, "/x$1") else { panic!("{pattern}") };
        for unit in ["a", "ab", "aab", "x", "1", "=", "/", "/a", "a.", "用"] {
            let path = format!("/{}!", unit.repeat((64 << 10) / unit.len() - 2));
            assert!(path.len() > 65_000);
            // Returning is what counts.
            drop(rule.apply(&path));
        }
    }
}

#[test]
fn wrong_settings_say_where_and_why() {
    let check = |settings: Value, expected: &str| {
        assert_eq!(Harness::new::<Rewrite>(settings).map(drop).unwrap_err().to_string(), expected);
    };
    check(json!({"regex": "a"}), r#"replace: is required when `regex` is set ("" deletes what matches)"#);
    check(json!({"rewrite_url_regex": "a"}), r#"replace: is required when `regex` is set ("" deletes what matches)"#);
    check(json!({"regex": "^/用户/(a", "replace": ""}), r#"regex: unclosed group, at character 6 of "^/用户/(a""#);
    check(
        json!({"regex": "a(?=b)", "replace": ""}),
        r#"regex: look-around, including look-ahead and look-behind, is not supported, at character 2 of "a(?=b)""#,
    );
    check(
        json!({"regex": r"(a)\1", "replace": ""}),
        r#"regex: backreferences are not supported, at character 4 of "(a)\\1""#,
    );
    check(json!({"regex": "a".repeat(1025), "replace": ""}), "regex: is 1025 bytes long, more than 1024");
    check(
        json!({"regex": "(?:(?:a{100}){100}){100}", "replace": ""}),
        r#"regex: "(?:(?:a{100}){100}){100}" takes more than 65536 bytes when compiled"#,
    );
    check(
        json!({"regex": "a", "replace": "x\r\nX-Evil: 1"}),
        r#"replace: a control character, at character 2 of "x\r\nX-Evil: 1""#,
    );
    check(json!({"regex": "a", "replace": "\0"}), r#"replace: a control character, at character 1 of "\0""#);
    for (replace, column) in [("/$name", 2), ("/${name}", 2), ("用$", 2)] {
        check(
            json!({"regex": "a", "replace": replace}),
            &format!(
                "replace: `$` begins a group: write $1 or ${{1}}, and $$ for a dollar sign, at character {column} of {replace:?}"
            ),
        );
    }
    check(json!({"regex": "a", "replace": "${1"}), r#"replace: `${` without its `}`, at character 1 of "${1""#);
    check(
        json!({"regex": "a", "replace": "$99999999999999999999"}),
        r#"replace: the number of the group is too large, at character 1 of "$99999999999999999999""#,
    );
    check(json!({"regex": 1, "replace": ""}), "regex: invalid type: integer `1`, expected a string");
    check(json!({"regex": "a", "rewrite_url_regex": "a", "replace": ""}), "duplicate field `regex`");
    check(
        json!({"regexp": "a"}),
        "regexp: unknown field `regexp`, expected one of `regex`, `rewrite_url_regex`, `replace`, `rewrite_replace`",
    );
}

#[tokio::test]
async fn rewrites_the_path_and_keeps_the_query() {
    let harness = Harness::new::<Rewrite>(json!({"regex": "^/api/(.*)", "replace": "/v1/$1"})).unwrap();
    let out = harness.get("/api/%E7%94%A8%2Fx?a=%2f&b").send().await;
    assert_eq!(out.upstream().path, "/v1/用%2Fx");
    assert_eq!(out.upstream().target, "/v1/%E7%94%A8%2Fx?a=%2f&b");
}

#[tokio::test]
async fn reads_the_old_flat_settings() {
    let settings = json!({"rewrite_url_regex": "^/openapi/(.*)/", "rewrite_replace": "/openapi/"});
    let out = Harness::new::<Rewrite>(settings).unwrap().get("/openapi/demo1/hello").send().await;
    assert_eq!(out.upstream().target, "/openapi/hello");
}

#[tokio::test]
async fn without_a_regex_nothing_is_rewritten() {
    for settings in [json!({}), json!({"replace": "/x"}), json!({"regex": "", "replace": "/x"}), json!({"regex": null})]
    {
        let out = Harness::new::<Rewrite>(settings).unwrap().get("/a?b").send().await;
        assert_eq!(out.upstream().target, "/a?b");
        assert!(!out.state.path_changed());
    }
}

#[tokio::test]
async fn a_question_mark_in_the_result_is_part_of_the_path() {
    let harness = Harness::new::<Rewrite>(json!({"regex": "^/a$", "replace": "/a?admin=1"})).unwrap();
    assert_eq!(harness.get("/a?b").send().await.upstream().target, "/a%3Fadmin=1?b");
}

#[tokio::test]
async fn refusals_are_answered_here() {
    let harness = Harness::new::<Rewrite>(json!({"regex": "^/api", "replace": ""})).unwrap();
    let out = harness.get("/api../admin").send().await;
    assert_eq!((out.status(), out.text()), (StatusCode::BAD_REQUEST, "the path cannot be rewritten\n"));
    let out = harness.get(&format!("/{}", "a".repeat(70_000))).send().await;
    assert_eq!(out.status(), StatusCode::URI_TOO_LONG);
}

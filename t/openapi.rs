//! The Admin API does what its own description says, whatever it is sent: schemathesis makes calls
//! of the description, good and bad ones, and holds every answer against it.

use std::time::Duration;

use serde_json::Value;

use crate::support::gateway::TOKEN;
use crate::support::{Gateway, Request, python};

/// Longest time for all of it. It takes half a minute; this is for a machine that has more to do.
const LONGEST: Duration = Duration::from_secs(400);

/// What is not checked, and why.
const EXCLUDED: [&str; 2] = [
    // Old forms are read that the description does not offer, such as `{}` for an empty list.
    "negative_data_rejection",
    // A schema does not say all that makes an object valid.
    "positive_data_acceptance",
];

/// The operations of a document by path, and whether each is a stream, which has no end.
fn operations(document: &Value) -> Vec<(&str, bool)> {
    let is_stream = |operation: &Value| !operation["responses"]["200"]["content"]["text/event-stream"].is_null();
    let paths = document["paths"].as_object().unwrap().iter();
    paths
        .flat_map(|(path, item)| item.as_object().unwrap().values().map(move |one| (path.as_str(), is_stream(one))))
        .collect()
}

#[tokio::test]
async fn whatever_is_sent_the_answer_is_one_that_is_described() {
    let gateway = Gateway::start().await;
    let document = Request::get("/admin/v2/openapi.json").send(gateway.admin).await.json();
    let operations = operations(&document);
    // By one worker: Python 3.11 cannot compile lambdas in two threads at a time, which Hypothesis does.
    let mut command = python::module("schemathesis.cli");
    command
        .args(["run", &format!("http://{}/admin/v2/openapi.json", gateway.admin)])
        .args(["--header", &format!("X-Api-Token: {TOKEN}")])
        .args(["--checks", "all", "--exclude-checks", &EXCLUDED.join(",")])
        .args(["--max-examples", "10", "--generation-deterministic"])
        .args(["--suppress-health-check", "all", "--no-shrink", "--continue-on-failure"])
        // A bad token beside the good one of `--header` is not looked at.
        .args(["--generation-with-security-parameters", "false", "--warnings", "off", "--no-color"])
        .current_dir(gateway.dir());
    for (path, _) in operations.iter().filter(|(_, is_stream)| *is_stream) {
        command.args(["--exclude-path", path]);
    }
    let output = tokio::time::timeout(LONGEST, command.output()).await.expect("it comes to its end").unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    // It has called all that is described, beside the path of the description.
    let called = operations.iter().filter(|(_, is_stream)| !is_stream).count() - 1;
    assert!(text.contains(&format!("Selected: {called}/{}", operations.len() - 1)), "{text}");
    assert!(text.contains(&format!("Tested: {called}")), "{text}");
}

#[tokio::test]
async fn odd_calls_get_a_problem_that_says_what_is_wrong() {
    let gateway = Gateway::start().await;
    for (method, path, header, body, status) in [
        ("GET", "/routes?limit=99999999999999999999999", None, "", 400),
        ("GET", "/history?limit=1&limit=2", None, "", 400),
        ("GET", "/history?limit=-1", None, "", 400),
        ("GET", "/history/99999999999999999999999", None, "", 400),
        ("GET", "/history/diff?from=0&to=18446744073709551615", None, "", 404),
        ("GET", "/routes/%00", None, "", 400),
        ("GET", "/routes/%ff", None, "", 400),
        ("GET", "/routes/a%2Fb", None, "", 400),
        ("GET", "/routes/%", None, "", 400),
        ("PUT", "/routes/a", None, "null", 400),
        ("PUT", "/routes/a", None, "[]", 400),
        ("PUT", "/routes/a", None, "{\"prefix\":\"/a\",\"priority\":1e400}", 400),
        ("PUT", "/routes/a", None, "{\"prefix\":\"/a\",\"priority\":99999999999}", 422),
        ("PUT", "/routes/a?dry_run=perhaps", None, "{}", 400),
        ("PUT", "/routes/a?confirm_within=99999999999999999999h", None, "{}", 400),
        ("PUT", "/routes/a", Some(("If-Match", "12")), "{}", 400),
        ("PUT", "/routes/a", Some(("If-Match", "\u{e9}")), "{}", 400),
        ("PUT", "/log-level", None, "null", 400),
        ("PUT", "/log-level", None, "{\"level\":\"loud\"}", 422),
        ("POST", "/apply?prune=", None, "{}", 400),
        ("POST", "/apply", None, "routes: [", 400),
        ("POST", "/apply", None, "- a", 400),
        ("PUT", "/registrations/a/b", None, "{\"ttl\":1e99}", 422),
        ("POST", "/explain", None, "{\"url\":", 400),
        ("POST", "/explain", None, "{\"url\":\"a\"}", 422),
        ("POST", "/login", None, "null", 422),
        ("POST", "/login", None, "{\"username\":\"a\",\"password\":\"b\"}", 401),
        ("GET", "/oidc/login", None, "", 404),
        ("GET", "/oidc/callback?code=a&code=b", None, "", 400),
        ("GET", "/events", Some(("Last-Event-ID", "a")), "", 400),
        ("GET", "/requests?status=6xx", None, "", 422),
        ("GET", "/figures?step=1", None, "", 422),
        ("GET", "/state/services?gateway=gone", None, "", 404),
        ("GET", "/audit?limit=-1", None, "", 400),
        ("PUT", "/me/password", None, "{\"old_password\":\"a\",\"new_password\":\"b\"}", 409),
        ("PUT", "/users/a%20b", None, "{\"role\":\"viewer\"}", 400),
        ("PUT", "/users/a", None, "{\"role\":\"owner\"}", 422),
        ("POST", "/tokens", None, "{\"name\":\"a\"}", 422),
        ("DELETE", "/tokens/a", None, "", 404),
        ("TRACE", "/routes", None, "", 405),
        ("BREW", "/routes", None, "", 405),
        ("PATCH", "/docs", None, "", 405),
        ("GET", "/nothing", None, "", 404),
        ("GET", "/docs/nothing", None, "", 404),
    ] {
        let mut request = Request::new(method, &format!("/admin/v2{path}")).header("X-Api-Token", TOKEN);
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        let response = request.body(body).send(gateway.admin).await;
        let kind = response.header("content-type").unwrap_or_default().to_owned();
        let problem: Value = response.json();
        assert_eq!(
            (response.status, kind.as_str()),
            (status, "application/problem+json"),
            "{method} {path}: {problem}"
        );
        assert_eq!(problem["status"], status, "{method} {path}: {problem}");
        assert!(!problem["detail"].as_str().unwrap().is_empty(), "{method} {path}: {problem}");
    }
}

use ws_cloud_plugin_sdk::Environment;
use ws_cloud_plugin_sdk::harness::Harness;
use ws_cloud_plugin_sdk::serde_json::{Value, json};

use super::*;

fn example(settings: Value) -> Harness {
    Harness::new::<Example>(settings).unwrap()
}

#[tokio::test]
async fn a_request_passes_with_a_greeting() {
    let harness = example(json!({"greeting": "good day"}));
    let out = harness.get("/a?b=1").send().await;
    assert_eq!((out.status(), out.text()), (StatusCode::OK, "hello from upstream"));
    assert_eq!(out.header("x-example"), Some("good day"));
    assert_eq!(out.upstream().header("x-example"), Some("good day"));
    assert_eq!(out.upstream().header("x-attempt"), Some("1"));
    assert_eq!(harness.environment().count("served"), 1);
}

#[tokio::test]
async fn the_key_closed_closes_the_doors() {
    let harness = example(json!({}));
    let keys = harness.environment().keys();
    keys.put("closed", Bytes::from_static(b"1")).await.unwrap();
    let out = harness.get("/").send().await;
    assert_eq!((out.status(), out.answered_by), (StatusCode::SERVICE_UNAVAILABLE, Some("example")));
    assert_eq!((out.header("retry-after"), out.header("x-example")), (Some("60"), Some("hello")));
    assert_eq!(harness.environment().count("refused"), 1);

    keys.delete("closed").await.unwrap();
    assert_eq!(harness.get("/").send().await.status(), StatusCode::OK);
}

#[tokio::test]
async fn banned_clients_are_refused() {
    let harness = example(json!({}));
    harness.environment().keys().put("banned/198.51.100.7", Bytes::new()).await.unwrap();
    let status = async |ip: [u8; 4]| harness.get("/").client_ip(ip).send().await.status();
    assert_eq!(status([198, 51, 100, 7]).await, StatusCode::FORBIDDEN);
    assert_eq!(status([198, 51, 100, 8]).await, StatusCode::OK);

    harness.environment().set_store_available(false);
    assert_eq!(status([198, 51, 100, 8]).await, StatusCode::FORBIDDEN, "nobody can be asked");
}

#[tokio::test]
async fn a_request_that_is_only_explained_is_refused_alike_and_not_counted() {
    let harness = example(json!({}));
    let out = harness.get("/").preview().await;
    assert_eq!((out.upstream().header("x-example"), out.upstream().header("x-attempt")), (Some("hello"), Some("1")));
    harness.environment().keys().put("closed", Bytes::from_static(b"1")).await.unwrap();
    let out = harness.get("/").preview().await;
    assert_eq!((out.status(), out.answered_by), (StatusCode::SERVICE_UNAVAILABLE, Some("example")));
    assert_eq!(harness.environment().count("refused"), 0);
}

#[tokio::test]
async fn bodies_are_searched_also_across_chunks() {
    let harness = example(json!({"forbidden": ["secret"], "max_body": 20})).chunk_size(4);
    let out = harness.post("/", "a secret").send().await;
    assert_eq!((out.status(), out.text()), (StatusCode::UNPROCESSABLE_ENTITY, r#"{"forbidden":"secret"}"#));
    let out = harness.post("/", "nothing").send().await;
    assert_eq!(out.upstream().text(), "nothing");
    let out = harness.post("/", "x".repeat(21)).send().await;
    assert_eq!(out.status(), StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn observing_counts_and_lets_pass() {
    let harness = example(json!({"mode": "observe", "forbidden": ["secret"]}));
    assert_eq!(harness.post("/", "secret").send().await.upstream().text(), "secret");
    assert_eq!(harness.environment().count("refused"), 1);
}

#[tokio::test]
async fn text_gets_a_footer() {
    let harness = example(json!({"footer": "\n-- \nexample"}));
    let out = harness.get("/").send().await;
    assert_eq!((out.text(), out.header("content-length")), ("hello from upstream\n-- \nexample", None));

    let harness = harness.upstream_answers(|_| Response::json(StatusCode::OK, &json!({})));
    assert_eq!(harness.get("/").send().await.text(), "{}");
}

#[tokio::test]
async fn the_avoided_node_is_not_taken() {
    let [a, b] = [1, 2].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    let out = example(json!({"avoid": a})).nodes([a, b]).get("/").send().await;
    assert_eq!(out.upstream().node, b);
}

#[tokio::test]
async fn each_try_says_which_it_is() {
    let nodes = [1, 2].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    let out = example(json!({})).nodes(nodes).failing_tries(1).get("/").send().await;
    assert_eq!((out.upstream().node, out.upstream().header("x-attempt")), (nodes[1], Some("2")));
}

#[tokio::test(start_paused = true)]
async fn served_requests_are_reported_every_minute() {
    let harness = example(json!({}));
    harness.get("/").send().await;
    tokio::time::sleep(Duration::from_secs(61)).await;
    let reported = harness.environment().keys().get("served").await.unwrap();
    assert_eq!(reported, Some(Bytes::from_static(b"1")));
}

#[test]
fn wrong_settings_say_where_and_why() {
    let check = |settings: Value, expected: &str| {
        assert_eq!(Harness::new::<Example>(settings).unwrap_err().to_string(), expected);
    };
    check(json!({"mode": "Deny"}), "mode: unknown variant `Deny`, expected `enforce` or `observe`");
    check(json!({"max_body": 0}), "max_body: 0 is not in 1..=10485760");
    check(json!({"forbidden": ["a", ""]}), "forbidden[1]: an empty word is in every body");
    check(json!({"greeting": "a\nb"}), r#"greeting: "a\nb" cannot be a header value"#);
    check(json!({"avoid": "localhost"}), "avoid: invalid socket address syntax");
}

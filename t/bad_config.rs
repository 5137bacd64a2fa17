//! Objects in the store that cannot be used: never an open door, never a broken neighbour.

use serde_json::{Value, json};

use crate::support::gateway::{node, node_key, put_node, put_route, route, route_key};
use crate::support::{Etcd, Gateway, Upstream, eventually};

async fn seeded() -> (Etcd, Gateway, Upstream) {
    let etcd = Etcd::start().await;
    let upstream = Upstream::saying("served").await;
    put_node(&etcd, "s", upstream.address).await;
    put_route(&etcd, &route("/*", "s", json!({}))).await;
    put_route(&etcd, &route("/good/*", "s", json!({}))).await;
    let gateway = Gateway::on(&etcd).await;
    (etcd, gateway, upstream)
}

/// Ways to break a stored route, each with what the reason must name.
fn broken(prefix: &str) -> Vec<(String, &'static str)> {
    let with = |more: Value| route(prefix, "s", more).to_string();
    vec![
        (with(json!({"protocol": "ftp"})), "protocol"),
        (with(json!({"hosts": [7]})), "hosts"),
        (with(json!({"methods": ["G T"]})), "methods"),
        (with(json!({"plugins": ["discovery", "no-such-plugin"]})), "no-such-plugin"),
        (with(json!({"plugins": ["rewrite"], "props": {"rewrite_url_regex": "(", "rewrite_replace": "/"}})), "rewrite"),
        (with(json!({"headers": {"x": {"regex": "("}}})), "headers"),
        (with(json!({"timeouts": {"read": "0s"}})), "timeouts.read"),
        (with(json!({"priority": "high"})), "priority"),
    ]
}

#[tokio::test]
async fn a_broken_route_without_a_good_version_is_503_and_hurts_no_other() {
    let (etcd, gateway, _upstream) = seeded().await;
    for (i, (value, named)) in broken("PREFIX").into_iter().enumerate() {
        let prefix = format!("/broken{i}/*");
        etcd.put_text(&route_key(&prefix), &value.replace("PREFIX", &prefix)).await;
        gateway.applied_from(&etcd).await;
        let path = format!("/broken{i}/x");
        let response = gateway.get(&path).await;
        assert_eq!(response.status, 503, "never through to /*: {value}");
        assert!(!response.text().contains(named), "the client learns no detail: {}", response.text());
        gateway.get("/good/x").await.expect(200);
        gateway.get("/other").await.expect(200);
        // The reason is where operators look.
        let status = gateway.get_admin("/admin/v2/status").await.expect(200).text();
        assert!(status.contains(&route_key(&prefix)["routes/".len()..]) && status.contains(named), "{status}");
        eventually("the log names it", || async { gateway.output().contains(named) }).await;
    }
    let count = broken("").len();
    assert_eq!(gateway.metric("gateway_config_rejected_objects", "").await, count as f64);
}

#[tokio::test]
async fn a_route_that_becomes_broken_keeps_its_last_good_version() {
    let (etcd, mut gateway, _upstream) = seeded().await;
    for (value, named) in broken("/good/*") {
        etcd.put_text(&route_key("/good/*"), &value).await;
        gateway.applied_from(&etcd).await;
        assert_eq!(gateway.get("/good/x").await.expect(200).text(), "served", "{named}");
        assert!(gateway.metric("gateway_config_rejected_objects", "").await >= 1.0);
    }
    for value in ["", "{", "null", "[]", "7", "\"text\"", "{}", "{\"prefix\":"] {
        etcd.put_text(&route_key("/good/*"), value).await;
        gateway.applied_from(&etcd).await;
        assert_eq!(gateway.get("/good/x").await.expect(200).text(), "served", "{value:?}");
    }
    // Also after a restart, from the disk.
    gateway.restart().await;
    assert_eq!(gateway.get("/good/x").await.expect(200).text(), "served");
    // A good version goes live as if nothing had been.
    put_route(&etcd, &route("/good/*", "none", json!({}))).await;
    eventually("the good version is live", || async { gateway.get("/good/x").await.status == 502 }).await;
    eventually("and nothing is rejected", || async {
        gateway.metric("gateway_config_rejected_objects", "").await == 0.0
    })
    .await;
}

#[tokio::test]
async fn a_broken_route_that_is_deleted_is_gone() {
    let (etcd, gateway, _upstream) = seeded().await;
    etcd.put(&route_key("/b/*"), &route("/b/*", "s", json!({"protocol": "ftp"}))).await;
    gateway.applied_from(&etcd).await;
    gateway.get("/b/x").await.expect(503);
    etcd.delete(&route_key("/b/*")).await;
    gateway.applied_from(&etcd).await;
    assert_eq!(gateway.get("/b/x").await.expect(200).text(), "served", "/* again");
}

#[tokio::test]
async fn a_broken_node_hurts_no_other_node() {
    let (etcd, gateway, _upstream) = seeded().await;
    let address = crate::support::free_address();
    for (field, value) in [
        ("upstream", json!("nowhere")),
        ("upstream", json!("127.0.0.1:0")),
        ("upstream", json!("169.254.169.254:80")),
        ("weight", json!(-1)),
        ("weight", json!("much")),
        ("service_name", json!(7)),
    ] {
        let mut broken = node("s", address, 1);
        broken[field] = value.clone();
        etcd.put(&node_key("s", address), &broken).await;
        gateway.applied_from(&etcd).await;
        for _ in 0..4 {
            gateway.get("/good/x").await.expect(200);
        }
        assert!(gateway.metric("gateway_config_rejected_objects", "").await >= 1.0, "{field}: {value}");
    }
}

#[tokio::test]
async fn a_broken_service_or_overlay_hurts_no_other() {
    let (etcd, gateway, _upstream) = seeded().await;
    etcd.put_text("gw/services/s", r#"{"max_tries": 99}"#).await;
    etcd.put_text("gw/services/other", "{").await;
    etcd.put_text("gw/nodes/s.nobody", "]").await;
    gateway.applied_from(&etcd).await;
    let status = gateway.get("/good/x").await.status;
    assert!(matches!(status, 200 | 503), "its own service may be refused, never misread: {status}");
    let text = gateway.get_admin("/admin/v2/status").await.expect(200).text();
    assert!(text.contains("max_tries"), "{text}");
}

#[tokio::test]
async fn an_unknown_global_plugin_closes_every_route_it_covers() {
    let (etcd, gateway, _upstream) = seeded().await;
    etcd.put("gw/plugins/no-such-plugin", &json!({"config": {}})).await;
    eventually("the routes are closed", || async { gateway.get("/good/x").await.status == 503 }).await;
    etcd.delete("gw/plugins/no-such-plugin").await;
    eventually("the routes are open again", || async { gateway.get("/good/x").await.status == 200 }).await;
}

#[tokio::test]
async fn a_global_plugin_runs_on_every_route() {
    let (etcd, gateway, _upstream) = seeded().await;
    assert_eq!(gateway.get("/good/x").await.header("x-trace-id"), None);
    etcd.put("gw/plugins/tracing", &json!({})).await;
    eventually("every route traces", || async { gateway.get("/good/x").await.header("x-trace-id").is_some() }).await;
    assert!(gateway.get("/other").await.header("x-trace-id").is_some());
    etcd.put("gw/plugins/tracing", &json!({"status": 0})).await;
    eventually("and no longer", || async { gateway.get("/good/x").await.header("x-trace-id").is_none() }).await;
}

#[tokio::test]
async fn plugin_names_on_the_ignore_list_do_not_matter() {
    let gateway = Gateway::with(json!({"plugins": {"ignore": ["old-one"]}})).await;
    let upstream = Upstream::saying("served").await;
    let more = json!({"plugins": ["default", "discovery", "old-one"]});
    gateway.serve_with("/i/*", &[upstream.address], more).await;
    gateway.get("/i/x").await.expect(200);
}

#[tokio::test]
async fn the_admin_api_refuses_what_would_be_rejected() {
    let gateway = Gateway::start().await;
    for (value, named) in broken("/b/*") {
        let saved = gateway.call_admin("/admin/routes/save", &serde_json::from_str(&value).unwrap()).await.expect(500);
        assert!(saved.text().starts_with("路由配置保存失败，请重试或联系系统维护人员："), "{}", saved.text());
        assert!(saved.text().contains(named), "{named}: {}", saved.text());
    }
    assert_eq!(gateway.get_admin("/admin/routes/list").await.text(), "[]");
}

/// R6 in small: mutated objects straight into etcd.
#[tokio::test(flavor = "multi_thread")]
async fn mutated_objects_in_etcd_hurt_nobody() {
    let (etcd, mut gateway, _upstream) = seeded().await;
    let original = route("/m/*", "s", json!({"plugins": ["discovery", "tracing", "rewrite"]})).to_string();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap()
    };
    let mut client = etcd.client().await;
    for i in 0..1_500 {
        let mut bytes = original.clone().into_bytes();
        for _ in 0..=next(2) {
            let at = next(bytes.len());
            match next(3) {
                0 => bytes[at] = b"{}[]\",:0-e\\x\xff"[next(13)],
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, b"{}[]\",:0-e\\x\0"[next(13)]),
            }
        }
        let family = ["routes/m", "discovery/s.m", "gw/services/m", "gw/nodes/m"][next(4)];
        client.put(format!("/my/cloud/{family}{}", i % 40), bytes, None).await.unwrap();
        if i % 100 == 0 {
            gateway.get("/good/x").await.expect(200);
        }
    }
    gateway.applied_from(&etcd).await;
    gateway.get("/good/x").await.expect(200);
    assert!(!gateway.process().has_crashed());
    assert!(!gateway.output().contains("panicked"), "{}", gateway.output());
}

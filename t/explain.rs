//! `POST /admin/v2/explain`: what becomes of a request, and why; and what would with a change.

use serde_json::{Value, json};

use crate::support::gateway::{TOKEN, node_key, route_key};
use crate::support::{Gateway, Request, Response, Upstream};

async fn ask(gateway: &Gateway, question: &Value) -> Response {
    let request = Request::new("POST", "/admin/v2/explain").header("X-Api-Token", TOKEN);
    request.body(question.to_string()).send(gateway.admin).await
}

async fn explain(gateway: &Gateway, question: Value) -> Value {
    ask(gateway, &question).await.expect(200).json()
}

/// What explain says of a path, asked as the tests' client asks.
async fn of(gateway: &Gateway, path: &str) -> Value {
    explain(gateway, json!({"url": path, "headers": {"Host": "gateway.test"}, "client_ip": "127.0.0.1"})).await
}

async fn two_nodes() -> (Gateway, [Upstream; 2]) {
    let gateway = Gateway::with(json!({"workers": 1})).await;
    let nodes = [Upstream::echo().await, Upstream::echo().await];
    for node in &nodes {
        gateway.node("s", node.address, 1).await;
    }
    (gateway, nodes)
}

#[tokio::test]
async fn a_request_goes_where_explain_says_and_as_it_says() {
    let (gateway, _nodes) = two_nodes().await;
    let rewrite = json!({"plugins": ["rewrite"], "props": {"rewrite": {"regex": "^/s/", "replace": "/inside/"}}});
    gateway.route("/s/*", "s", rewrite).await;
    for balancer in [json!({}), json!({"balancer": "hash", "hash": {"on": "query", "name": "user"}})] {
        gateway.service("s", balancer).await;
        gateway.applied().await;
        for user in 0..8 {
            let path = format!("/s/%61?user={user}");
            let told = of(&gateway, &path).await;
            assert_eq!((&told["outcome"], &told["route"]), (&json!("forwarded"), &json!(&route_key("/s/*")[7..])));
            assert_eq!(told["request"]["path"], "/s/a");
            assert_eq!(told["plugins"][0]["effects"]["path"], "/inside/a");
            assert_eq!(told["plugins"][0]["source"], "route");
            let request = Request::get(&path).header("Host", "gateway.test");
            let arrived = gateway.send(request).await.expect(200).json();
            assert_eq!(told["service"]["choice"], json!({"kind": "node", "nodes": [arrived["upstream"]]}), "{told:#}");
            assert_eq!(told["upstream"]["target"], arrived["target"]);
            assert_eq!(arrived["target"], format!("/inside/a?user={user}"));
            let headers = told["upstream"]["headers"].as_object().unwrap();
            for (name, values) in headers {
                assert!(
                    arrived["headers"].as_array().unwrap().contains(&json!([name, values[0]])),
                    "{name}: {arrived}"
                );
            }
            assert_eq!(headers["x-real-ip"], json!(["127.0.0.1"]));
        }
    }
    let told = of(&gateway, "/s/a").await;
    assert_eq!(told["service"]["nodes"].as_array().unwrap().len(), 2);
    assert_eq!(
        (&told["service"]["timeouts"]["connect"], &told["service"]["retry"]["max_tries"]),
        (&json!("5s"), &json!(3))
    );
    assert!(told["why"].as_array().unwrap().len() > 2, "{told:#}");
}

#[tokio::test]
async fn every_route_that_loses_has_its_reason() {
    let (gateway, _nodes) = two_nodes().await;
    for (prefix, more) in [
        ("/a/b/c/*", json!({"status": 0})),
        ("/a/b/c*", json!({"methods": ["POST"]})),
        ("/a/b/*", json!({"headers": {"X-One": "1"}})),
        ("/a/b*", json!({"query": {"one": {"present": true}}})),
        ("/a/*", json!({"hosts": ["shop.test"]})),
        ("/a*", json!({})),
        ("/*", json!({})),
    ] {
        gateway.route(prefix, "s", more).await;
    }
    gateway.applied().await;
    let told = of(&gateway, "/a/b/c/d").await;
    let candidates = told["candidates"].as_array().unwrap();
    let outcomes: Vec<_> =
        candidates.iter().map(|c| (c["pattern"].as_str().unwrap(), c["outcome"].as_str().unwrap())).collect();
    let expected = [
        ("/a/b/c/*", "disabled"),
        ("/a/b/c*", "method"),
        ("/a/b/*", "header"),
        ("/a/b*", "query"),
        ("/a/*", "host"),
        ("/a*", "chosen"),
        ("/*", "outranked"),
    ];
    assert_eq!(outcomes, expected);
    assert_eq!(candidates[2]["detail"], "its condition on the header X-One does not hold");
    assert!(candidates[6]["detail"].as_str().unwrap().contains("/a*"), "{}", candidates[6]);
    let told = explain(&gateway, json!({"method": "POST", "url": "http://Shop.test:8080/a/x?one=1"})).await;
    assert_eq!((&told["request"]["host"], &told["candidates"][0]["outcome"]), (&json!("shop.test"), &json!("chosen")));
    assert_eq!(told["upstream"]["headers"]["host"], json!(["Shop.test"]), "as the client wrote it, without its port");
}

#[tokio::test]
async fn what_the_gateway_refuses_explain_refuses_alike() {
    let (gateway, _nodes) = two_nodes().await;
    gateway.route("/a/*", "s", json!({})).await;
    gateway.route("/a/b/*", "s", json!({})).await;
    gateway.route("/none/*", "nobody", json!({})).await;
    gateway.applied().await;
    for (path, status, reason) in [
        ("/a/%zz", 400, "malformed percent-escape"),
        ("/..", 400, "above the root"),
        ("/a/x%2F..", 400, "ambiguous dot segment"),
        ("/a/b%2Fc", 400, "as /a/b/c it is that of route"),
        ("/b", 404, "no route"),
        ("/none/x", 502, "no node"),
    ] {
        gateway.get(path).await.expect(status);
        let told = of(&gateway, path).await;
        assert_eq!((&told["outcome"], &told["status"]), (&json!("refused"), &json!(status)), "{told:#}");
        assert!(told["reason"].as_str().unwrap().contains(reason), "{told:#}");
    }
}

#[tokio::test]
async fn explaining_takes_nobodys_turn_and_counts_nothing() {
    let (gateway, _nodes) = two_nodes().await;
    gateway.route("/s/*", "s", json!({"plugins": ["tracing"]})).await;
    gateway.applied().await;
    let mut turns = Vec::new();
    for count in 0..8 {
        turns.push(gateway.get("/s/x").await.expect(200).json()["upstream"].clone());
        for _ in 0..count {
            of(&gateway, "/s/x").await;
        }
    }
    assert!(turns.windows(3).all(|of| of[0] == of[2] && of[0] != of[1]), "{turns:?}");
    let before = gateway.metrics().await;
    let change = json!({"path": "routes/new", "value": {"prefix": "/s/x", "status": 1, "service_name": "t"}});
    for _ in 0..5 {
        explain(&gateway, json!({"url": "/s/x", "change": change})).await;
    }
    let after = gateway.metrics().await;
    let counted = |metrics: &str| -> Vec<String> {
        let ours = metrics.lines().filter(|line| line.contains("route=") || line.contains("service="));
        ours.map(str::to_owned).collect()
    };
    assert_eq!(counted(&before), counted(&after));
}

#[tokio::test]
async fn a_change_is_tried_out_and_changes_nothing() {
    let (gateway, nodes) = two_nodes().await;
    gateway.node("t", nodes[1].address, 1).await;
    gateway.route("/s/*", "s", json!({})).await;
    gateway.applied().await;
    let route = route_key("/s/*");
    let node = node_key("s", nodes[0].address)["discovery/".len()..].to_owned();
    let stored = gateway.call_admin("/admin/routes/list", &json!({})).await.text();
    let now = of(&gateway, "/s/x").await;
    let changed = |path: &str, value: Value| {
        let question =
            json!({"url": "/s/x", "headers": {"Host": "gateway.test"}, "change": {"path": path, "value": value}});
        let gateway = &gateway;
        async move { explain(gateway, question).await }
    };
    let to_t = json!({"prefix": "/s/*", "service_name": "t", "status": 1});
    let told = changed(&route, to_t.clone()).await;
    assert_eq!((&told["service"]["name"], &told["without_change"]["service"]["name"]), (&json!("t"), &json!("s")));
    assert_eq!((&told["differs"], &told["change"]["path"]), (&json!(["service"]), &json!(route)), "{told:#}");

    let told = changed("routes/better", json!({"prefix": "/s/x", "service_name": "t", "status": 1})).await;
    assert_eq!((&told["route"], &told["candidates"][1]["outcome"]), (&json!("better"), &json!("outranked")));
    let told = changed(&route, Value::Null).await;
    assert_eq!((&told["status"], &told["differs"][0]), (&json!(404), &json!("outcome")));
    let mut off = to_t.clone();
    off["status"] = 0.into();
    assert_eq!(changed(&route, off).await["candidates"][0]["outcome"], "disabled");

    let told = changed("services/s", json!({"balancer": "random", "timeouts": {"read": "7s"}})).await;
    assert_eq!((&told["service"]["balancer"], &told["service"]["timeouts"]["read"]), (&json!("random"), &json!("7s")));
    assert_eq!(told["service"]["choice"]["kind"], "one_of");
    let told = changed(&format!("node-overlays/{node}"), json!({"state": "drain"})).await;
    assert_eq!(told["service"]["choice"]["nodes"], json!([nodes[1].address]));
    assert!(told["service"]["nodes"].as_array().unwrap().iter().any(|node| node["state"] == "drained"));
    let told = changed(&format!("nodes/{node}"), Value::Null).await;
    assert_eq!(told["service"]["nodes"].as_array().unwrap().len(), 1);
    let told = changed("global-plugins/tracing", json!({"config": {}})).await;
    assert_eq!((&told["plugins"][0]["name"], &told["plugins"][0]["source"]), (&json!("tracing"), &json!("global")));
    assert!(told["upstream"]["headers"]["x-trace-id"].is_array());

    assert_eq!(gateway.call_admin("/admin/routes/list", &json!({})).await.text(), stored);
    let after = of(&gateway, "/s/x").await;
    assert_eq!(after, now);

    for (path, value, field) in [
        (route.as_str(), json!({"prefix": "/s/*", "protocol": "ftp", "status": 1}), "change.value.protocol"),
        ("services/s", json!({"balancer": "dice"}), "change.value.balancer"),
        ("nothing/x", json!({}), "change.path"),
        ("certificates/x", json!({}), "change.path"),
    ] {
        let answer = ask(&gateway, &json!({"url": "/s/x", "change": {"path": path, "value": value}})).await.expect(422);
        assert_eq!(answer.json()["field"], field, "{}", answer.text());
    }
}

#[tokio::test]
async fn who_may_only_read_cannot_hide_a_change_in_a_list() {
    let (gateway, _nodes) = two_nodes().await;
    let request = Request::new("POST", "/admin/v2/tokens").header("X-Api-Token", TOKEN);
    let made = request.body(r#"{"name": "reader", "role": "viewer"}"#).send(gateway.admin).await.expect(201).json();
    let (admin, token) = (gateway.admin, made["token"].as_str().unwrap());
    let ask = async |question: Value| {
        let request = Request::new("POST", "/admin/v2/explain").header("X-Api-Token", token);
        request.body(question.to_string()).send(admin).await
    };
    let change = json!({"path": "routes/new", "value": {"prefix": "/x", "status": 1, "service_name": "s"}});
    let as_list = json!([change["path"], change["value"]]);
    ask(json!({"url": "/x"})).await.expect(200);
    ask(json!({"url": "/x", "change": change})).await.expect(403);
    assert_eq!(ask(json!({"url": "/x", "change": as_list})).await.expect(422).json()["field"], "change");
    ask(json!(["GET", "/x", {}, null, as_list])).await.expect(422);
    ask(json!(["GET", "/x", {}, null, change])).await.expect(422);
}

#[tokio::test]
async fn the_admin_on_the_data_ports_is_told_apart() {
    let gateway = Gateway::with(json!({"admin": {"on_gateway_ports": true}})).await;
    assert_eq!(of(&gateway, "/admin/x").await["outcome"], "admin");
    assert_eq!(of(&gateway, "/administration").await["status"], 404);
}

//! A client written against the old Admin API, unchanged: a walk through all of it.

use serde_json::{Value, json};

use crate::support::gateway::{TOKEN, md5, node, route};
use crate::support::{Client, Etcd, Gateway, Request, Response, Upstream, eventually};

/// The password that the first start prints.
async fn printed_password(gateway: &Gateway) -> String {
    crate::support::eventually_some("the password is printed", || async {
        let output = gateway.output();
        output.lines().find_map(|line| line.strip_prefix("admin password: ")).map(str::to_owned)
    })
    .await
}

async fn login(gateway: &Gateway, username: &str, password: &str) -> Response {
    let body = json!({"username": username, "password": password}).to_string();
    Request::new("POST", "/admin/login").header("Content-Type", "application/json").body(body).send(gateway.admin).await
}

async fn as_user(gateway: &Gateway, method: &str, path: &str, token: &str, body: Option<Value>) -> Response {
    let request = Request::new(method, path).header("X-Token", token);
    match body {
        Some(body) => request.body(body.to_string()).send(gateway.admin).await,
        None => request.send(gateway.admin).await,
    }
}

#[tokio::test]
async fn the_panels_walk_from_login_to_logout() {
    let gateway = Gateway::start().await;
    let password = printed_password(&gateway).await;
    let answer = login(&gateway, "admin", &password).await.expect(200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert!(answer.text().ends_with("}\n"), "tables end with a newline: {:?}", answer.text());
    let token = answer.json()["token"].as_str().unwrap().to_owned();
    assert_eq!(token.split('.').count(), 3, "a JWT");

    for method in ["GET", "POST"] {
        let info = as_user(&gateway, method, "/admin/user/info", &token, None).await.expect(200).json();
        assert_eq!(info["username"], "admin");
        assert!(info["roles"].as_array().is_some_and(|roles| roles.contains(&json!("admin"))), "{info}");
        for field in ["introduction", "avatar", "name"] {
            assert!(info[field].is_string(), "{field}: {info}");
        }
        let plugins = as_user(&gateway, method, "/admin/plugins/list", &token, None).await.expect(200).json();
        let mut listed: Vec<_> = plugins
            .as_array()
            .unwrap()
            .iter()
            .map(|p| (p["name"].as_str().unwrap(), p["desc"].as_str().unwrap()))
            .collect();
        listed.sort_unstable();
        assert_eq!(
            listed,
            [("discovery", "服务发现插件_v1.0"), ("rewrite", "url重写插件_v1.0"), ("tracing", "链路跟踪插件_v1.0")]
        );
        for list in ["/admin/routes/list", "/admin/services/list"] {
            let empty = as_user(&gateway, method, list, &token, None).await.expect(200);
            assert_eq!(empty.text(), "[]", "{list}");
        }
    }
    let out = as_user(&gateway, "POST", "/admin/logout", &token, None).await.expect(200);
    assert_eq!(out.text(), "ok");
    // The one difference: logout revokes.
    assert_eq!(as_user(&gateway, "GET", "/admin/user/info", &token, None).await.status, 401);
}

#[tokio::test]
async fn routes_are_created_listed_changed_renamed_and_removed() {
    let gateway = Gateway::start().await;
    let upstream = Upstream::echo().await;
    gateway.node("demo1", upstream.address, 1).await;
    let first = route("/openapi/demo1/*", "demo1", json!({"remark": "one", "x-team": {"name": "unknown field"}}));
    let saved = gateway.call_admin("/admin/routes/save", &first).await.expect(200);
    assert_eq!(saved.text(), "ok", "raw, without a newline");
    assert_eq!(saved.header("content-type"), Some("application/json"));

    let again = gateway.call_admin("/admin/routes/save", &first).await.expect(500);
    assert_eq!(again.text(), "路由配置保存失败，请重试或联系系统维护人员：路由[/openapi/demo1/*]配置已存在");

    let list = gateway.get_admin("/admin/routes/list").await.expect(200);
    assert!(list.text().ends_with("]\n"));
    let stored = list.json()[0].clone();
    assert_eq!(stored["key"], "968bf1f8890b38d31051ec0a290348c9");
    assert!(stored["time"].as_u64().unwrap() > 1_600_000_000_000, "milliseconds: {}", stored["time"]);
    assert_eq!((&stored["remark"], &stored["x-team"]), (&json!("one"), &json!({"name": "unknown field"})));
    assert_eq!((&stored["hosts"], &stored["props"]), (&json!([]), &json!({})));

    // A save with a key replaces, whatever the key says (benchmark/run-wrk.sh).
    let mut changed = route("/openapi/demo1/*", "demo1", json!({"remark": "two"}));
    changed["key"] = "/openapi/demo1/*".into();
    gateway.call_admin("/admin/routes/save", &changed).await.expect(200);
    let list = gateway.get_admin("/admin/routes/list").await.json();
    assert_eq!(list.as_array().unwrap().len(), 1);
    assert_eq!(
        (&list[0]["remark"], &list[0]["x-team"]["name"]),
        (&json!("two"), &json!("unknown field")),
        "new fields survive the old panel"
    );

    // A new prefix under the old key renames.
    let mut renamed = list[0].clone();
    renamed["prefix"] = "/openapi/renamed/*".into();
    gateway.call_admin("/admin/routes/save", &renamed).await.expect(200);
    let list = gateway.get_admin("/admin/routes/list").await.json();
    assert_eq!(list.as_array().unwrap().len(), 1);
    assert_eq!(list[0]["key"], md5("/openapi/renamed/*"));
    eventually("the new name is served", || async { gateway.get("/openapi/renamed/x").await.status == 200 }).await;
    assert_eq!(gateway.get("/openapi/demo1/x").await.status, 404);

    for _ in 0..2 {
        let removed =
            gateway.call_admin("/admin/routes/remove", &json!({"key": md5("/openapi/renamed/*")})).await.expect(200);
        assert_eq!(removed.text(), "ok", "also for an unknown key");
    }
    assert_eq!(gateway.get_admin("/admin/routes/list").await.text(), "[]");
    eventually("it is gone", || async { gateway.get("/openapi/renamed/x").await.status == 404 }).await;
}

#[tokio::test]
async fn nodes_are_created_listed_changed_moved_and_removed() {
    let gateway = Gateway::start().await;
    let address = |port: u16| std::net::SocketAddr::from(([127, 0, 0, 1], port));
    for (service, port) in [("demo2", 1026), ("demo1", 1025), ("demo1", 1024), ("demo2", 1027)] {
        let saved = gateway.call_admin("/admin/services/save", &node(service, address(port), 1)).await.expect(200);
        assert_eq!(saved.text(), "ok");
    }
    let again = gateway.call_admin("/admin/services/save", &node("demo1", address(1024), 5)).await.expect(500);
    assert_eq!(again.text(), "服务节点已存在");

    let list = gateway.get_admin("/admin/services/list").await.expect(200).json();
    let keys: Vec<_> = list.as_array().unwrap().iter().map(|node| node["key"].as_str().unwrap()).collect();
    // In key order, so that the panel can merge the rows of a service.
    assert_eq!(
        keys,
        [
            "demo1.33f075d48985fe1b26061756cd53593c",
            "demo1.69f7377e402fcf4284b818adec5f6086",
            "demo2.ce5d756c844f9285a27570e111dfe6a1",
            "demo2.e00c274086b48581a2a27ad8a071307d",
        ]
    );
    let mut moved = list[0].clone();
    assert_eq!(
        (&moved["weight"], &moved["status"], &moved["upstream"]),
        (&json!(1), &json!(1), &json!("127.0.0.1:1024"))
    );
    moved["upstream"] = "127.0.0.1:1029".into();
    moved["weight"] = 7.into();
    gateway.call_admin("/admin/services/save", &moved).await.expect(200);
    let list = gateway.get_admin("/admin/services/list").await.json();
    assert_eq!(list.as_array().unwrap().len(), 4);
    assert!(!list.to_string().contains("127.0.0.1:1024"), "{list}");

    for node in list.as_array().unwrap() {
        gateway.call_admin("/admin/services/remove", &json!({"key": node["key"]})).await.expect(200);
    }
    assert_eq!(gateway.get_admin("/admin/services/list").await.text(), "[]");
}

#[tokio::test]
async fn one_prefix_may_have_routes_for_different_hosts() {
    let gateway = Gateway::start().await;
    let hosted = |host: &str| route("/p/*", host, json!({"hosts": [host]}));
    gateway.call_admin("/admin/routes/save", &hosted("a.test")).await.expect(200);
    gateway.call_admin("/admin/routes/save", &hosted("b.test")).await.expect(200);
    let list = gateway.get_admin("/admin/routes/list").await.json();
    let mut keys: Vec<_> =
        list.as_array().unwrap().iter().map(|route| route["key"].as_str().unwrap().to_owned()).collect();
    keys.sort();
    let mut expected = [md5("/p/*"), md5("/p/*\nb.test")];
    expected.sort();
    assert_eq!(keys, expected);
    // A save that could mean either is refused.
    let mut ambiguous = hosted("c.test");
    ambiguous["key"] = "/p/*".into();
    assert_eq!(gateway.call_admin("/admin/routes/save", &ambiguous).await.status, 500);
}

#[tokio::test]
async fn errors_have_the_old_statuses_and_texts() {
    let gateway = Gateway::start().await;
    let admin = gateway.admin;
    let post = async |path: &str, body: &str| {
        Request::new("POST", path).header("X-Api-Token", TOKEN).body(body).send(admin).await
    };
    for (path, body, status, text) in [
        ("/admin/login", "", 500, "用户名或密码为空"),
        ("/admin/login", "{}", 500, "用户名或密码为空"),
        ("/admin/login", r#"{"username":"admin"}"#, 500, "用户名或密码为空"),
        ("/admin/login", r#"{"username":"admin","password":"wrong"}"#, 500, "用户名或密码错误"),
        ("/admin/login", r#"{"username":"nobody","password":"wrong"}"#, 500, "用户名或密码错误"),
        ("/admin/routes/save", "", 500, "参数不能为空"),
        ("/admin/routes/remove", "", 400, "参数不能为空"),
    ] {
        let response = post(path, body).await;
        assert_eq!((response.status, response.text().trim_end()), (status, text), "{path} {body}");
    }
    for (path, body) in [("/admin/routes/save", "{"), ("/admin/services/save", "nonsense"), ("/admin/login", "{")] {
        let response = post(path, body).await.expect(500);
        assert!(
            response.text().contains("<html>") || response.text().contains("用户名"),
            "{path}: {}",
            response.text()
        );
    }
    for (method, path) in [
        ("GET", "/admin/nothing"),
        ("POST", "/admin/routes"),
        ("GET", "/admin/routes/save"),
        ("DELETE", "/admin/routes/list"),
    ] {
        let response = Request::new(method, path).header("X-Api-Token", TOKEN).send(gateway.admin).await.expect(404);
        assert!(response.text().contains("<html>"), "{method} {path}: {}", response.text());
    }
}

#[tokio::test]
async fn without_a_login_nothing_is_shown_or_changed() {
    let gateway = Gateway::start().await;
    let body = route("/mine/*", "s", json!({})).to_string();
    for path in [
        "/admin/user/info",
        "/admin/logout",
        "/admin/plugins/list",
        "/admin/routes/list",
        "/admin/routes/save",
        "/admin/routes/remove",
        "/admin/services/list",
        "/admin/services/save",
        "/admin/services/remove",
    ] {
        let response = Request::new("POST", path).body(body.clone()).send(gateway.admin).await;
        assert_eq!((response.status, response.text().trim_end()), (401, "用户未登录"), "{path}");
        for (header, value) in
            [("X-Token", "nonsense"), ("X-Token", "a.b.c"), ("X-Api-Token", "wrong"), ("X-Api-Token", "")]
        {
            let response =
                Request::new("POST", path).header(header, value).body(body.clone()).send(gateway.admin).await;
            assert_eq!(response.status, 401, "{path} with {header}: {value}");
        }
    }
    assert_eq!(gateway.get_admin("/admin/routes/list").await.text(), "[]");
}

/// The first gateway took any well-formed token (section 9.1 of COMPATIBILITY.md).
#[tokio::test]
async fn forged_tokens_are_refused() {
    let gateway = Gateway::with(json!({"admin": {"jwt_secret": "a secret of this test, long enough"}})).await;
    let password = printed_password(&gateway).await;
    let token = login(&gateway, "admin", &password).await.expect(200).json()["token"].as_str().unwrap().to_owned();
    assert_eq!(as_user(&gateway, "GET", "/admin/user/info", &token, None).await.status, 200);
    let parts: Vec<_> = token.split('.').collect();
    let encode = |text: &str| base64url(text.as_bytes());
    let payload = encode(r#"{"username":"admin","exp":4102444800.5}"#);
    let none = encode(r#"{"typ":"JWT","alg":"none"}"#);
    let flipped: String = parts[2].chars().rev().collect();
    for forged in [
        format!("{none}.{payload}."),
        format!("{none}.{payload}.{}", parts[2]),
        format!("{}.{payload}.{}", parts[0], parts[2]),
        format!("{}.{}.{flipped}", parts[0], parts[1]),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}.{}", parts[0], parts[1]),
        format!("{}.{payload}.{}", encode(r#"{"typ":"JWT","alg":"HS384"}"#), parts[2]),
        format!("{}.{payload}.{}", encode(r#"{"typ":"JWT","alg":"RS256"}"#), parts[2]),
    ] {
        let response = as_user(&gateway, "GET", "/admin/routes/list", &forged, None).await;
        assert_eq!(response.status, 401, "{forged}: {}", response.text());
    }
}

fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let n = chunk.iter().fold(0_u32, |n, byte| n << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for i in 0..=chunk.len() {
            text.push(char::from(DIGITS[(n >> (18 - 6 * i) & 63) as usize]));
        }
    }
    text
}

#[tokio::test]
async fn a_preflight_is_answered_and_no_strange_origin_is_welcomed() {
    let gateway = Gateway::with(json!({"admin": {"cors_origins": ["https://panel.test"]}})).await;
    let admin = gateway.admin;
    let preflight = async |origin: &str| {
        let request = Request::new("OPTIONS", "/admin/routes/save").header("Origin", origin);
        request.header("Access-Control-Request-Method", "POST").send(admin).await
    };
    let welcome = preflight("https://panel.test").await.expect(200);
    assert_eq!(welcome.header("access-control-allow-origin"), Some("https://panel.test"));
    assert_eq!(welcome.header("content-length"), Some("0"));
    for origin in ["https://evil.test", "null", "https://panel.test.evil.test", "http://panel.test"] {
        assert_eq!(preflight(origin).await.header("access-control-allow-origin"), None, "{origin}");
    }
    let listed = Request::get("/admin/routes/list")
        .header("X-Api-Token", TOKEN)
        .header("Origin", "https://evil.test")
        .send(gateway.admin)
        .await;
    assert_eq!(listed.header("access-control-allow-origin"), None);
}

#[tokio::test]
async fn accounts_and_tokens_of_the_old_configuration_work() {
    let info = json!({"roles": ["editor"], "introduction": "i", "avatar": "a", "name": "Ed"});
    let gateway = Gateway::with(json!({"admin": {"account": {"editor": {"password": "plain", "info": info}}}})).await;
    let token = login(&gateway, "editor", "plain").await.expect(200).json()["token"].as_str().unwrap().to_owned();
    let shown = as_user(&gateway, "GET", "/admin/user/info", &token, None).await.expect(200).json();
    assert_eq!(
        shown,
        json!({"roles": ["editor"], "introduction": "i", "avatar": "a", "name": "Ed", "username": "editor"})
    );
    let by_token = gateway.get_admin("/admin/user/info").await.expect(200);
    assert_eq!(by_token.text(), "", "empty when authenticated by an API token");
}

#[tokio::test]
async fn the_password_is_printed_once_and_survives_a_restart() {
    let mut gateway = Gateway::start().await;
    let password = printed_password(&gateway).await;
    login(&gateway, "admin", &password).await.expect(200);
    gateway.restart().await;
    login(&gateway, "admin", &password).await.expect(200);
    assert_eq!(gateway.output().matches("admin password: ").count(), 1);
    assert_ne!(password, "admin");
    assert!(password.len() >= 16, "{password}");
}

#[tokio::test]
async fn the_admin_api_is_not_on_the_data_ports_unless_asked_for() {
    let gateway = Gateway::start().await;
    assert_eq!(Request::get("/admin/routes/list").header("X-Api-Token", TOKEN).send(gateway.http).await.status, 404);
    let old_style = Gateway::with(json!({"admin": {"on_gateway_ports": true}})).await;
    for port in [old_style.http, old_style.h2c] {
        let list = Request::get("/admin/routes/list").header("X-Api-Token", TOKEN).send(port).await.expect(200);
        assert_eq!(list.text(), "[]");
        assert_eq!(Request::get("/admin/routes/list").send(port).await.status, 401);
        // Whatever the client says of itself, it is judged by its own address.
        let request =
            Request::get("/admin/routes/list").header("X-Gateway-Peer", "8.8.8.8").header("X-Api-Token", TOKEN);
        assert_eq!(request.send(port).await.status, 200);
    }
}

#[tokio::test]
async fn who_is_not_on_the_list_gets_403() {
    let strict = json!({"admin": {"on_gateway_ports": true, "allow": ["10.0.0.0/8"]}});
    let gateway = Gateway::with(strict).await;
    for port in [gateway.admin, gateway.http, gateway.h2c] {
        let request = Request::get("/admin/routes/list")
            .header("X-Api-Token", TOKEN)
            .header("X-Forwarded-For", "10.0.0.1")
            .header("X-Real-IP", "10.0.0.1")
            .header("X-Gateway-Peer", "10.0.0.1");
        // A refused peer may be answered, or not even be listened to.
        let refused = match request.try_send(port).await {
            Ok(response) => response.status == 403,
            Err(_) => true,
        };
        assert!(refused, "{port}");
    }
}

#[tokio::test]
async fn a_store_that_is_away_is_an_error_not_an_empty_list() {
    let mut etcd = Etcd::start().await;
    let gateway = Gateway::on_with(&etcd, json!({"store": {"etcd": {"request_timeout": "1s"}}})).await;
    gateway.route("/a/*", "s", json!({})).await;
    etcd.kill();
    for path in ["/admin/routes/list", "/admin/services/list"] {
        let response = gateway.get_admin(path).await;
        assert_eq!(response.status, 500, "{path}: {}", response.text());
    }
    let saved = gateway.call_admin("/admin/routes/save", &route("/b/*", "s", json!({}))).await.expect(500);
    assert!(saved.text().starts_with("路由配置保存失败，请重试或联系系统维护人员："), "{}", saved.text());
}

#[tokio::test]
async fn a_large_body_is_read_whole() {
    let gateway = Gateway::start().await;
    let big = route("/big/*", "s", json!({"remark": "r".repeat(100_000)}));
    gateway.call_admin("/admin/routes/save", &big).await.expect(200);
    assert_eq!(gateway.get_admin("/admin/routes/list").await.json()[0]["remark"].as_str().unwrap().len(), 100_000);
}

/// The old gateway put a second write over the first; here none is lost.
#[tokio::test(flavor = "multi_thread")]
async fn writes_at_the_same_time_are_all_there() {
    let gateway = Gateway::start().await;
    let writes = (0..20).map(|i| {
        let gateway = &gateway;
        async move { gateway.route(&format!("/w{i}/*"), "s", json!({})).await }
    });
    futures::future::join_all(writes).await;
    assert_eq!(gateway.get_admin("/admin/routes/list").await.json().as_array().unwrap().len(), 20);
    // And of two who create the same, one is told so.
    let body = route("/same/*", "s", json!({}));
    let (one, two) =
        tokio::join!(gateway.call_admin("/admin/routes/save", &body), gateway.call_admin("/admin/routes/save", &body));
    let mut statuses = [one.status, two.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 500]);
}

/// R10 in small: what was acknowledged is there after a kill.
#[tokio::test]
async fn no_acknowledged_write_is_lost_to_a_kill() {
    let mut gateway = Gateway::start().await;
    let mut written = Vec::new();
    for round in 0..5 {
        for i in 0..10 {
            let prefix = format!("/k{round}-{i}/*");
            gateway.route(&prefix, "s", json!({})).await;
            written.push(prefix);
        }
        // In the middle of one more.
        let mut client = Client::connect(gateway.admin).await;
        let request = Request::new("POST", "/admin/routes/save")
            .header("X-Api-Token", TOKEN)
            .body(route(&format!("/torn{round}"), "s", json!({})).to_string());
        client.send(&request.to_bytes()).await.unwrap();
        gateway.restart().await;
        let listed = gateway.get_admin("/admin/routes/list").await.expect(200).text();
        for prefix in &written {
            assert!(listed.contains(&format!("\"{prefix}\"")), "{prefix} is lost");
        }
    }
}

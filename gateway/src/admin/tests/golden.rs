//! COMPATIBILITY.md, section 4, row by row, byte by byte.

use super::*;

const DEMO1: &str = "968bf1f8890b38d31051ec0a290348c9";
const SAVE_FAILED: &str = "路由配置保存失败，请重试或联系系统维护人员：";

/// What an answer must be, to the byte.
enum Body_ {
    Is(String),
    Json(Value),
}

fn is(text: &str) -> Body_ {
    Body_::Is(text.to_owned())
}

async fn expect(api: &Api, method: &str, path: &str, body: &str, status: u16, expected: Body_) {
    let answer = api.call(method.parse().unwrap(), path, body).await;
    let what = format!("{method} {path} {body} -> {answer:?}");
    assert_eq!(answer.status, status, "{what}");
    let is_page = answer.body.starts_with("<html>");
    assert_eq!(answer.header("content-type"), Some(if is_page { "text/html" } else { "application/json" }), "{what}");
    assert_eq!(answer.header("server"), Some("Ws-Cloud-Gateway"), "{what}");
    match expected {
        Body_::Is(text) => assert_eq!(answer.body, text, "{what}"),
        Body_::Json(json) => {
            assert!(answer.body.ends_with('\n') && !answer.body.ends_with("\n\n"), "{what}");
            assert_eq!(answer.json(), json, "{what}");
        }
    }
}

#[tokio::test]
async fn plain_rows() {
    let api = Api::new();
    let error = || Body_::Is(page("500 Internal Server Error"));
    let not_found = || Body_::Is(page("404 Not Found"));
    for method in ["GET", "POST"] {
        expect(&api, method, "/admin/user/info", "", 200, is("")).await;
        expect(&api, method, "/admin/logout", "", 200, is("ok")).await;
        expect(&api, method, "/admin/routes/list", "", 200, is("[]")).await;
        expect(&api, method, "/admin/services/list", "", 200, is("[]")).await;
        let plugins = json!([
            {"name": "discovery", "desc": "服务发现插件_v1.0"},
            {"name": "tracing", "desc": "链路跟踪插件_v1.0"},
            {"name": "rewrite", "desc": "url重写插件_v1.0"},
        ]);
        expect(&api, method, "/admin/plugins/list", "", 200, Body_::Json(plugins)).await;
    }
    for (path, body, status, expected) in [
        ("/admin/login", "", 500, is("用户名或密码为空")),
        ("/admin/login", "{}", 500, is("用户名或密码为空")),
        ("/admin/login", "[]", 500, is("用户名或密码为空")),
        ("/admin/login", r#"{"username":"admin"}"#, 500, is("用户名或密码为空")),
        ("/admin/login", r#"{"password":"x"}"#, 500, is("用户名或密码为空")),
        ("/admin/login", r#"{"username":"admin","password":null}"#, 500, is("用户名或密码为空")),
        ("/admin/login", r#"{"username":"admin","password":"x"}"#, 500, is("用户名或密码错误")),
        ("/admin/login", r#"{"username":"nobody","password":"x"}"#, 500, is("用户名或密码错误")),
        ("/admin/login", r#"{"username":["admin"],"password":{}}"#, 500, is("用户名或密码错误")),
        ("/admin/login", "{", 500, error()),
        ("/admin/login", "1", 500, error()),
        ("/admin/routes/save", "", 500, is("参数不能为空")),
        ("/admin/routes/save", "{", 500, error()),
        ("/admin/routes/save", "null", 500, error()),
        ("/admin/routes/save", "{}", 500, error()),
        ("/admin/routes/remove", "", 400, is("参数不能为空")),
        ("/admin/routes/remove", "{}", 400, is("参数不能为空")),
        ("/admin/routes/remove", "{", 500, error()),
        ("/admin/routes/remove", r#"{"key":"unknown"}"#, 200, is("ok")),
        ("/admin/services/save", "", 500, error()),
        ("/admin/services/save", r#"{"service_name":"a"}"#, 500, error()),
        ("/admin/services/save", r#"{"upstream":"127.0.0.1:1"}"#, 500, error()),
        ("/admin/services/remove", "", 500, error()),
        ("/admin/services/remove", r#"{"key":"unknown"}"#, 200, is("ok")),
    ] {
        expect(&api, "POST", path, body, status, expected).await;
    }
    for (method, path) in [
        ("GET", "/admin/login"),
        ("GET", "/admin/routes/save"),
        ("GET", "/admin/routes/remove"),
        ("GET", "/admin/services/save"),
        ("GET", "/admin/services/remove"),
        ("PUT", "/admin/routes/save"),
        ("DELETE", "/admin/routes/remove"),
        ("GET", "/admin/routes/list/"),
        ("GET", "/admin/Routes/list"),
        ("GET", "/admin"),
        ("GET", "/admin/"),
        ("GET", "/adminfoo"),
        ("GET", "/"),
    ] {
        expect(&api, method, path, "", 404, not_found()).await;
    }
    assert_eq!(api.call(Method::HEAD, "/admin/routes/list", "").await.status, 404);
    assert_eq!(api.store.revision(), 0, "nothing of this wrote");
}

#[tokio::test]
async fn paths_are_compared_decoded_and_normalised() {
    let api = Api::new();
    for path in ["/admin/%72outes/list", "//admin//routes/list", "/admin/x/../routes/./list", "/admin/routes/list?a=b"]
    {
        expect(&api, "GET", path, "", 200, is("[]")).await;
    }
    for path in ["/admin/%zz", "/../admin/routes/list", "/admin/routes/list%00"] {
        expect(&api, "GET", path, "", 400, Body_::Is(page("400 Bad Request"))).await;
    }
}

#[tokio::test]
async fn a_login_and_its_user() {
    let api = Api::new();
    let answer = api.try_login("admin", PASSWORD, LOCAL).await;
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, Some("application/json")));
    assert!(answer.body.starts_with(r#"{"token":""#) && answer.body.ends_with("\"}\n"), "{}", answer.body);
    let token = answer.json()["token"].as_str().unwrap().to_owned();
    for method in [Method::GET, Method::POST] {
        let info = api.send(request(method, "/admin/user/info", &[("x-token", &token)], "")).await;
        assert_eq!(
            info.body,
            "{\"roles\":[\"admin\"],\"introduction\":\"i\",\"avatar\":\"a\",\"name\":\"Admin\",\"username\":\"admin\"}\n"
        );
    }
}

#[tokio::test]
async fn a_route_is_created_listed_updated_and_removed() {
    let api = Api::new();
    let route = json!({"key": "", "protocol": "http", "remark": "r", "hosts": {}, "prefix": " /openapi/demo1/* ",
        "service_name": "demo1", "status": 1, "plugins": ["discovery"], "props": [], "custom": {"a": 1}});
    let before = write_time();
    expect(&api, "POST", "/admin/routes/save", &route.to_string(), 200, is("ok")).await;
    let stored = api.store.json(&format!("{P}routes/{DEMO1}")).unwrap();
    let time = stored["time"].as_u64().unwrap();
    assert!(time >= before && time <= write_time());
    let expected = json!({"key": DEMO1, "protocol": "http", "remark": "r", "hosts": [], "prefix": "/openapi/demo1/*",
        "service_name": "demo1", "status": 1, "plugins": ["discovery"], "props": {}, "custom": {"a": 1}, "time": time});
    assert_eq!(stored, expected);
    expect(&api, "GET", "/admin/routes/list", "", 200, Body_::Json(json!([expected]))).await;

    let exists = format!("{SAVE_FAILED}路由[/openapi/demo1/*]配置已存在");
    expect(&api, "POST", "/admin/routes/save", &route.to_string(), 500, is(&exists)).await;

    let update = json!({"key": DEMO1, "prefix": "/openapi/demo1/*", "status": 0});
    expect(&api, "POST", "/admin/routes/save", &update.to_string(), 200, is("ok")).await;
    let stored = api.store.json(&format!("{P}routes/{DEMO1}")).unwrap();
    assert_eq!((&stored["status"], &stored["custom"]["a"], &stored["remark"]), (&json!(0), &json!(1), &json!("r")));

    expect(&api, "POST", "/admin/routes/remove", &json!({"key": DEMO1}).to_string(), 200, is("ok")).await;
    expect(&api, "GET", "/admin/routes/list", "", 200, is("[]")).await;
}

fn write_time() -> u64 {
    crate::admin::write::now_ms()
}

#[tokio::test]
async fn what_does_not_compile_is_refused_with_the_reason() {
    let api = Api::new();
    for (route, reason) in [
        (json!({"prefix": "/a", "props": {"rewrite_url_regex": "("}}), "props.rewrite_url_regex: "),
        (json!({"prefix": "/a", "protocol": "ftp"}), "protocol: \"ftp\" is no protocol"),
        (json!({"prefix": "  "}), "prefix: must not be empty"),
    ] {
        let answer = api.post("/admin/routes/save", &route).await;
        assert_eq!(answer.status, 500);
        assert!(answer.body.starts_with(&format!("{SAVE_FAILED}{reason}")), "{}", answer.body);
    }
    let answer = api.post("/admin/services/save", &json!({"service_name": "a", "upstream": "nowhere"})).await;
    assert_eq!(answer.status, 500);
    assert!(answer.body.starts_with("upstream: \"nowhere\" is no address"), "{}", answer.body);
    assert_eq!(api.store.revision(), 0);
}

#[tokio::test]
async fn a_node_is_created_listed_renamed_and_removed() {
    let api = Api::new();
    let (a, b) = ("demo1.33f075d48985fe1b26061756cd53593c", "demo1.69f7377e402fcf4284b818adec5f6086");
    let node = json!({"service_name": " demo1", "upstream": "127.0.0.1:1024 ", "weight": 1, "status": 1, "zone": "z"});
    expect(&api, "POST", "/admin/services/save", &node.to_string(), 200, is("ok")).await;
    expect(&api, "POST", "/admin/services/save", &node.to_string(), 500, is("服务节点已存在")).await;
    let list = api.services().await;
    assert_eq!(list[0]["key"], a);
    assert_eq!((&list[0]["service_name"], &list[0]["upstream"]), (&json!("demo1"), &json!("127.0.0.1:1024")));

    let renamed = json!({"key": a, "service_name": "demo1", "upstream": "127.0.0.1:1025", "weight": 2, "status": 1});
    expect(&api, "POST", "/admin/services/save", &renamed.to_string(), 200, is("ok")).await;
    let list = api.services().await;
    assert_eq!(list.as_array().unwrap().len(), 1);
    assert_eq!((&list[0]["key"], &list[0]["weight"], &list[0]["zone"]), (&json!(b), &json!(2), &json!("z")));

    expect(&api, "POST", "/admin/services/remove", &json!({"key": b}).to_string(), 200, is("ok")).await;
    expect(&api, "GET", "/admin/services/list", "", 200, is("[]")).await;
}

#[tokio::test]
async fn lists_are_in_key_order() {
    let api = Api::new();
    for key in ["b.2", "a.1", "b.1", "a.2"] {
        api.store.put(&format!("{P}discovery/{key}"), r#"{"service_name":"x","upstream":"127.0.0.1:1"}"#);
        api.store.put(&format!("{P}routes/{key}"), r#"{"prefix":"/x"}"#);
    }
    api.store.put(&format!("{P}routes/broken"), "{");
    for list in [api.services().await, api.routes().await] {
        let keys: Vec<&str> = list.as_array().unwrap().iter().map(|o| o["key"].as_str().unwrap()).collect();
        assert_eq!(keys, ["a.1", "a.2", "b.1", "b.2"]);
    }
}

#[tokio::test]
async fn a_store_that_is_away_is_an_error_and_never_an_empty_list() {
    let api = Api::new();
    api.login().await;
    api.store.set_down(true);
    let away = "the store is unavailable: it is down";
    for (method, path, body, text) in [
        ("GET", "/admin/routes/list", "", "查询路由配置异常".to_owned()),
        ("GET", "/admin/services/list", "", "查询服务节点异常".to_owned()),
        ("POST", "/admin/routes/save", r#"{"prefix":"/a"}"#, format!("{SAVE_FAILED}{away}")),
        ("POST", "/admin/routes/remove", r#"{"key":"a"}"#, format!("路由删除失败，请重试或联系系统维护人员：{away}")),
        ("POST", "/admin/services/save", r#"{"service_name":"a","upstream":"127.0.0.1:1"}"#, away.to_owned()),
        ("POST", "/admin/services/remove", r#"{"key":"a"}"#, "删除服务节点异常".to_owned()),
    ] {
        expect(&api, method, path, body, 500, Body_::Is(text)).await;
    }
}

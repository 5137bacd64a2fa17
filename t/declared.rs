//! What is declared is changed as a whole, kept in a history, and restored: by the Admin API and
//! from the shell, on either store.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::gateway::{TOKEN, binary};
use crate::support::{Etcd, Gateway, Request, Response, Upstream, eventually};

async fn both_stores() -> (Etcd, [Gateway; 2]) {
    let etcd = Etcd::start().await;
    let (embedded, on_etcd) = tokio::join!(Gateway::start(), Gateway::on(&etcd));
    (etcd, [embedded, on_etcd])
}

/// Runs a command against a gateway, with this as its standard input.
async fn shell(gateway: &Gateway, arguments: &[&str], input: &str) -> (i32, String, String) {
    let mut command = Command::new(binary());
    command.args(arguments).env("GATEWAY_URL", format!("http://{}", gateway.admin)).env("GATEWAY_TOKEN", TOKEN);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let input = input.to_owned();
    let run = move || -> Output {
        let mut child = command.spawn().unwrap();
        drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
        child.wait_with_output().unwrap()
    };
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

async fn call(gateway: &Gateway, method: &str, path: &str, body: &str) -> Response {
    let request = Request::new(method, &format!("/admin/v2/{path}")).header("X-Api-Token", TOKEN);
    request.body(body).send(gateway.admin).await
}

fn document(nodes: &[&Upstream], remark: &str) -> String {
    let nodes: serde_json::Map<String, Value> = nodes
        .iter()
        .map(|node| {
            let address = node.address.to_string();
            let name = crate::support::gateway::node_key("shop", node.address);
            (name.trim_start_matches("discovery/").to_owned(), json!({"service_name": "shop", "upstream": address}))
        })
        .collect();
    let route = json!({"prefix": "/shop/*", "service_name": "shop", "plugins": ["discovery"], "status": 1,
        "remark": remark, "labels": {"team": "shop"}});
    json!({"services": {"shop": {"max_tries": 2}}, "nodes": nodes, "routes": {"shop": route}}).to_string()
}

async fn serves(gateway: &Gateway, status: u16) {
    eventually(&format!("requests get {status}"), || async { gateway.get("/shop/x").await.status == status }).await;
}

#[tokio::test]
async fn a_document_goes_live_from_the_shell_and_its_export_applied_again_changes_nothing() {
    let (_etcd, gateways) = both_stores().await;
    let upstream = Upstream::saying("shop").await;
    for gateway in &gateways {
        let first = document(&[&upstream], "first");
        let (code, out, err) = shell(gateway, &["diff", "-f", "-"], &first).await;
        assert_eq!(code, 1, "{err}");
        assert!(out.contains("+ routes/shop") && out.contains("+ services/shop"), "{out}");
        let (code, out, err) = shell(gateway, &["apply", "-f", "-", "--reason", "a new shop"], &first).await;
        assert_eq!(code, 0, "{err}");
        assert!(out.contains("revision 1"), "{out}");
        serves(gateway, 200).await;

        let (code, export, _) = shell(gateway, &["export"], "").await;
        assert_eq!(code, 0);
        let (code, out, _) = shell(gateway, &["apply", "-f", "-"], &export).await;
        assert_eq!((code, out.trim()), (0, "nothing to change since revision 1"), "{export}");
        assert_eq!(shell(gateway, &["diff", "-f", "-"], &export).await.0, 0);

        let (_, out, _) = shell(gateway, &["apply", "-f", "-"], &document(&[&upstream], "second")).await;
        assert!(out.contains("~ routes/shop") && out.contains("remark: \"first\" -> \"second\""), "{out}");
        let (code, one, _) = shell(gateway, &["get", "routes", "shop"], "").await;
        assert!(code == 0 && one.contains("remark: second"), "{one}");
        let (_, names, _) = shell(gateway, &["get", "routes"], "").await;
        assert_eq!(names.trim(), "shop  /shop/*  shop");

        let nothing = "routes: {}\n";
        let (_, out, _) = shell(gateway, &["apply", "-f", "-", "--prune", "team=shop"], nothing).await;
        assert!(out.contains("- routes/shop") && !out.contains("services"), "{out}");
        serves(gateway, 404).await;
        let (code, out, err) = shell(gateway, &["rollback", "1", "--reason", "it was right"], "").await;
        assert_eq!((code, out.contains("+ routes/shop")), (0, true), "{out}{err}");
        serves(gateway, 200).await;
        let (_, history, _) = shell(gateway, &["history"], "").await;
        let lines: Vec<&str> = history.lines().collect();
        assert_eq!(lines.len(), 4, "{history}");
        assert!(lines[0].starts_with("4  ") && lines[0].contains("(cli)") && lines[0].contains("it was right"));
        assert!(lines[3].contains("a new shop"), "{history}");
        let (_, one, _) = shell(gateway, &["history", "2"], "").await;
        assert!(one.contains("remark: \"first\" -> \"second\""), "{one}");
    }
}

#[tokio::test]
async fn what_is_wrong_is_told_with_its_place_and_a_code() {
    let gateway = Gateway::start().await;
    let wrong = "routes:\n  a: {prefix: /a, hosts: [1]}\nservices:\n  s: {balancer: dice}\n";
    let (code, _, err) = shell(&gateway, &["apply", "-f", "-"], wrong).await;
    assert_eq!(code, 1);
    assert!(err.contains("routes.a.hosts") && err.contains("services.s.balancer"), "{err}");
    let (code, _, err) = shell(&gateway, &["diff", "-f", "-"], wrong).await;
    assert_eq!(code, 2, "{err}");
    let (code, _, err) = shell(&gateway, &["get", "routes", "none"], "").await;
    assert_eq!((code, err.trim()), (1, "error: there is no routes/none"));
    let (code, _, err) = shell(&gateway, &["apply", "-f", "/no/such/file"], "").await;
    assert!(code == 1 && err.contains("/no/such/file cannot be read"), "{err}");
    let (code, _, err) = shell(&gateway, &["export", "--url", "ftp://x"], "").await;
    assert!(code == 1 && err.contains("does not begin with http"), "{err}");
    let (code, _, err) = shell(&gateway, &["export", "--url", "http://127.0.0.1:1"], "").await;
    assert!(code == 1 && err.contains("cannot be reached"), "{err}");
    let mut command = Command::new(binary());
    command.arg("export").env_remove("GATEWAY_TOKEN").env("GATEWAY_URL", format!("http://{}", gateway.admin));
    let err = String::from_utf8(command.output().unwrap().stderr).unwrap();
    assert!(err.contains("set GATEWAY_TOKEN"), "{err}");
}

#[tokio::test]
async fn of_two_writers_on_two_gateways_one_gets_412() {
    let etcd = Etcd::start().await;
    let (one, two) = tokio::join!(Gateway::on(&etcd), Gateway::on(&etcd));
    one.service("shop", json!({"max_tries": 1})).await;
    for round in 0..10 {
        let there = call(&one, "GET", "services/shop", "").await.expect(200);
        let tag = there.header("etag").unwrap().to_owned();
        let put = |gateway: &Gateway, tries: u32| {
            let request = Request::new("PUT", "/admin/v2/services/shop")
                .header("X-Api-Token", TOKEN)
                .header("If-Match", &tag)
                .body(json!({"max_tries": tries, "labels": {"round": round.to_string()}}).to_string());
            let to = gateway.admin;
            async move { request.send(to).await.status }
        };
        let (a, b) = tokio::join!(put(&one, 2), put(&two, 3));
        assert!(matches!((a, b), (200, 412) | (412, 200)), "{a} {b}");
    }
}

#[tokio::test]
async fn a_change_that_nobody_confirms_comes_back_by_itself() {
    let (_etcd, gateways) = both_stores().await;
    let upstream = Upstream::saying("shop").await;
    for gateway in &gateways {
        call(gateway, "POST", "apply", &document(&[&upstream], "good")).await.expect(200);
        serves(gateway, 200).await;
        let risky = call(gateway, "DELETE", "routes/shop?confirm_within=3s", "").await.expect(200);
        assert!(risky.json()["undone_at"].is_u64());
        serves(gateway, 404).await;
        assert_eq!(call(gateway, "PATCH", "services/shop", r#"{"max_tries": 3}"#).await.status, 200, "not overlapping");
        serves(gateway, 200).await;

        call(gateway, "DELETE", "routes/shop?confirm_within=2s", "").await.expect(200);
        let (code, _, err) = shell(gateway, &["confirm", "5"], "").await;
        assert_eq!(code, 0, "{err}");
        serves(gateway, 404).await;
        tokio::time::sleep(Duration::from_millis(3500)).await;
        serves(gateway, 404).await;
    }
}

#[tokio::test]
async fn it_comes_back_though_the_gateway_that_made_the_change_was_killed() {
    let etcd = Etcd::start().await;
    let (mut one, two) = tokio::join!(Gateway::on(&etcd), Gateway::on(&etcd));
    let upstream = Upstream::saying("shop").await;
    call(&one, "POST", "apply", &document(&[&upstream], "good")).await.expect(200);
    serves(&two, 200).await;
    call(&one, "DELETE", "routes/shop?confirm_within=2s", "").await.expect(200);
    one.kill();
    serves(&two, 404).await;
    serves(&two, 200).await;

    let mut alone = Gateway::start().await;
    call(&alone, "POST", "apply", &document(&[&upstream], "good")).await.expect(200);
    serves(&alone, 200).await;
    call(&alone, "DELETE", "routes/shop?confirm_within=2s", "").await.expect(200);
    serves(&alone, 404).await;
    alone.kill();
    alone.restart().await;
    serves(&alone, 200).await;
}

/// Which variants the routes of a store have.
async fn variants(gateway: &Gateway) -> Vec<String> {
    let list = call(gateway, "GET", "routes?limit=1000", "").await.expect(200).json();
    let remark = |item: &Value| item["value"]["remark"].as_str().unwrap().to_owned();
    let mut variants: Vec<String> = list["items"].as_array().unwrap().iter().map(remark).collect();
    variants.dedup();
    variants
}

/// Applies documents of so many routes, each of one variant, and is killed while it does.
async fn is_never_mixed(mut gateway: Gateway, routes: usize) {
    let document = |variant: &str| {
        let route = |n: usize| {
            let prefix = format!("/{n}/*");
            (format!("r{n}"), json!({"prefix": prefix, "service_name": "s", "remark": variant}))
        };
        json!({"routes": (0..routes).map(route).collect::<serde_json::Map<_, _>>()}).to_string()
    };
    call(&gateway, "POST", "apply", &document("0")).await.expect(200);
    for round in 1..=6_u64 {
        let admin = gateway.admin;
        let documents: Vec<String> = (0..40).map(|n| document(&format!("{round}.{n}"))).collect();
        let writing = tokio::spawn(async move {
            for document in documents {
                let request = Request::new("POST", "/admin/v2/apply").header("X-Api-Token", TOKEN).body(document);
                if request.try_send(admin).await.is_err() {
                    return;
                }
            }
        });
        tokio::time::sleep(Duration::from_millis(20 + 37 * round)).await;
        gateway.kill();
        writing.abort();
        gateway.restart().await;
        // A large change whose writer died is finished first.
        eventually("one variant", || async { variants(&gateway).await.len() == 1 }).await;
        let history = call(&gateway, "GET", "history?limit=1000", "").await.expect(200).json();
        let revisions = history["items"].as_array().unwrap();
        assert_eq!(revisions.len() as u64, history["revision"].as_u64().unwrap(), "each revision has its record");
    }
    // And every state of it can be had again.
    call(&gateway, "POST", "history/1/restore", "").await.expect(200);
    assert_eq!(variants(&gateway).await, ["0"]);
}

#[tokio::test]
async fn a_kill_between_any_two_writes_leaves_no_mixed_state_on_the_embedded_store() {
    let (small, large) = tokio::join!(Gateway::start(), Gateway::start());
    tokio::join!(is_never_mixed(small, 60), is_never_mixed(large, 300));
}

#[tokio::test]
async fn a_kill_between_any_two_writes_leaves_no_mixed_state_on_etcd() {
    for routes in [60, 300] {
        let etcd = Etcd::start().await;
        is_never_mixed(Gateway::on(&etcd).await, routes).await;
    }
}

#[tokio::test]
async fn a_change_of_many_objects_goes_live_as_one_though_its_writer_is_killed() {
    const ROUTES: usize = 400;
    let etcd = Etcd::start().await;
    let (mut writer, reader) = tokio::join!(Gateway::on(&etcd), Gateway::on(&etcd));
    let (old, new) = tokio::join!(Upstream::saying("a"), Upstream::saying("b"));
    reader.node("a", old.address, 1).await;
    reader.node("b", new.address, 1).await;
    let document = |service: &str| {
        let route = |n: usize| {
            let prefix = format!("/{n}/*");
            let route = json!({"prefix": prefix, "service_name": service, "status": 1, "plugins": ["discovery"]});
            (format!("r{n}"), route)
        };
        json!({"routes": (0..ROUTES).map(route).collect::<serde_json::Map<_, _>>()}).to_string()
    };
    call(&reader, "POST", "apply", &document("a")).await.expect(200);
    eventually("all is served", || async { reader.get(&format!("/{}/x", ROUTES - 1)).await.status == 200 }).await;
    for round in 0..5_u64 {
        let (service, before) = if round % 2 == 0 { ("b", "a") } else { ("a", "b") };
        let request = Request::new("POST", "/admin/v2/apply").header("X-Api-Token", TOKEN).body(document(service));
        let to = writer.admin;
        let writing = tokio::spawn(async move { request.try_send(to).await.is_ok() });
        let killed = async {
            tokio::time::sleep(Duration::from_millis(60 + 30 * round)).await;
            writer.kill();
        };
        let watched = async {
            let mut seen = String::new();
            for n in (0..ROUTES).cycle().step_by(37).take(1500) {
                let answered = reader.get(&format!("/{n}/x")).await.expect(200).text();
                if !seen.ends_with(&answered) {
                    seen.push_str(&answered);
                }
                if seen == format!("{before}{service}") && n == 0 {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            seen
        };
        let ((), seen) = tokio::join!(killed, watched);
        drop(writing.await);
        assert!(seen == before || seen == format!("{before}{service}"), "round {round}: {seen}");
        writer.restart().await;
        call(&writer, "POST", "apply", &document(service)).await.expect(200);
        eventually("it is live", || async { reader.get("/0/x").await.text() == service }).await;
    }
}

#[tokio::test]
async fn what_is_changed_past_the_admin_api_is_in_the_history_once_and_can_be_taken_back() {
    let etcd = Etcd::start().await;
    let (mut one, two) = tokio::join!(Gateway::on(&etcd), Gateway::on(&etcd));
    one.service("shop", json!({"max_tries": 1})).await;
    let newest = async |gateway: &Gateway| -> Value {
        call(gateway, "GET", "history?limit=1", "").await.expect(200).json()["items"][0].clone()
    };
    eventually("both gateways look", || async { etcd.get("gw/external").await.is_some() }).await;
    etcd.put("gw/services/shop", &json!({"max_tries": 7})).await;
    etcd.put("gw/services/other", &json!({"max_tries": 1})).await;
    eventually("it is recorded", || async { newest(&one).await["author"]["origin"] == "external" }).await;
    let recorded = newest(&one).await;
    assert_eq!(recorded["revision"], 2, "{recorded}");
    let full = call(&one, "GET", "history/2", "").await.expect(200).json();
    assert_eq!(full["changes"][1]["fields"], json!([{"path": "max_tries", "before": 1, "after": 7}]), "{full}");
    // A node that registers itself is no change.
    etcd.put_leased("discovery/shop.1", &json!({"service_name": "shop", "upstream": "127.0.0.1:9"}), 30).await;

    let mut two = two;
    tokio::join!(one.stop(), two.stop());
    etcd.delete("gw/services/other").await;
    one.boot().await;
    eventually("what was changed meanwhile is found", || async { newest(&one).await["revision"] == 3 }).await;
    assert_eq!(newest(&one).await["changes"], json!([{"kind": "services", "name": "other", "action": "delete"}]));
    call(&one, "POST", "history/1/restore", "").await.expect(200);
    assert_eq!(call(&one, "GET", "services/shop", "").await.json()["max_tries"], 1);
    two.boot().await;
    call(&one, "PATCH", "services/shop", "{\"max_tries\": 2}").await.expect(200);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let all = call(&one, "GET", "history", "").await.expect(200).json();
    assert_eq!(all["revision"], 5, "what the Admin API does is recorded once: {all}");
}

#[tokio::test]
async fn what_is_legal_but_odd_is_told_in_the_answer() {
    let gateway = Gateway::start().await;
    let upstream = Upstream::saying("shop").await;
    gateway.serve("/a/*", &[upstream.address]).await;
    let route = json!({"prefix": "/a/*", "service_name": "none", "status": 0, "plugins": ["tracing"],
        "props": {"rewrite": {"regex": "a"}}});
    let warnings =
        call(&gateway, "POST", "routes", &route.to_string()).await.expect(201).json()["warnings"].to_string();
    for part in
        ["status: is not 1", "the service none has no nodes", "props.rewrite: has no effect", "1 other route(s)"]
    {
        assert!(warnings.contains(part), "{part}: {warnings}");
    }
    let fine = json!({"prefix": "/b", "service_name": "service-0", "status": 1, "plugins": ["tracing"]});
    assert_eq!(call(&gateway, "POST", "routes", &fine.to_string()).await.expect(201).json()["warnings"], json!([]));
}

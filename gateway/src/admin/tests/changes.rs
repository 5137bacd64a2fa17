//! How saves meet what is stored, and each other.

use super::store::bytes;
use super::*;
use crate::resource::key;
use crate::store::{Guard, Op, Store as _};

#[tokio::test]
async fn any_key_that_is_not_blank_forces_an_upsert_under_the_derived_key() {
    let api = Api::new();
    for status in [1, 0] {
        let route = json!({"key": "/innerapi/hello/*", "prefix": "/innerapi/hello/*", "service_name": "hello", "status": status});
        assert_eq!(api.post("/admin/routes/save", &route).await.body, "ok");
        let node = json!({"key": "/hello/127.0.0.1:8080", "service_name": "hello", "upstream": "127.0.0.1:8080", "weight": 1, "status": status});
        assert_eq!(api.post("/admin/services/save", &node).await.body, "ok");
    }
    assert_eq!(api.store.keys(&format!("{P}routes/")), [key::route("/innerapi/hello/*")]);
    assert_eq!(api.store.keys(&format!("{P}discovery/")), [key::node("hello", "127.0.0.1:8080")]);
    assert_eq!((&api.routes().await[0]["status"], &api.services().await[0]["status"]), (&json!(0), &json!(0)));
}

#[tokio::test]
async fn a_blank_key_creates() {
    let api = Api::new();
    for (i, blank) in [json!(""), json!("  "), json!(null)].into_iter().enumerate() {
        let route = json!({"key": blank, "prefix": format!("/{i}")});
        assert_eq!(api.post("/admin/routes/save", &route).await.status, 200);
        assert_eq!(api.post("/admin/routes/save", &route).await.status, 500);
    }
}

#[tokio::test]
async fn a_rename_is_one_transaction_and_keeps_what_the_save_does_not_send() {
    let api = Api::new();
    let old = key::route("/a");
    api.store.put(&format!("{P}routes/{old}"), r#"{"prefix":"/a","status":1,"timeouts":{"read":"9s"}}"#);
    let revision = api.store.revision();
    assert_eq!(api.post("/admin/routes/save", &json!({"key": old, "prefix": "/b", "status": 1})).await.body, "ok");
    assert_eq!(api.store.revision(), revision + 1);
    assert_eq!(api.store.keys(&format!("{P}routes/")), [key::route("/b")]);
    assert_eq!(api.routes().await[0]["timeouts"]["read"], "9s");
}

#[tokio::test]
async fn routes_of_one_prefix_live_side_by_side_while_their_hosts_differ() {
    let api = Api::new();
    let save = async |route: Value| api.post("/admin/routes/save", &route).await;
    assert_eq!(save(json!({"prefix": "/a", "hosts": ["a.com"]})).await.body, "ok");
    assert_eq!(save(json!({"prefix": "/a", "hosts": ["c.com", "b.com"]})).await.body, "ok");
    let (first, further) = (key::md5_hex("/a"), key::md5_hex("/a\nb.com,c.com"));
    let mut keys = vec![first.clone(), further.clone()];
    keys.sort();
    assert_eq!(api.store.keys(&format!("{P}routes/")), keys);

    // A shared host, and one for all hosts.
    for hosts in [json!(["a.com"]), json!(["x.com", "B.com"]), json!([])] {
        let answer = save(json!({"prefix": "/a", "hosts": hosts})).await;
        assert!(answer.status == 500 && answer.body.ends_with("路由[/a]配置已存在"), "{}", answer.body);
    }
    // A key stays what it is when the hosts change, and knows its route when they are not sent.
    assert_eq!(save(json!({"key": further, "prefix": "/a", "hosts": ["d.com"]})).await.body, "ok");
    assert_eq!(save(json!({"key": first, "prefix": "/a", "remark": "x"})).await.body, "ok");
    assert_eq!(api.store.keys(&format!("{P}routes/")), keys);
    // What could mean either is refused.
    let answer = save(json!({"key": "/a", "prefix": "/a", "status": 1})).await;
    assert!(answer.status == 500 && answer.body.contains("存在多条域名不同的配置"), "{}", answer.body);
    assert_eq!(save(json!({"key": "/a", "prefix": "/a", "hosts": ["a.com"], "status": 1})).await.body, "ok");
    assert_eq!(api.store.keys(&format!("{P}routes/")), keys);
}

#[tokio::test]
async fn every_write_bumps_the_head_and_nothing_else_does() {
    let api = Api::new();
    let head = || api.store.dump().iter().find(|kv| kv.key == format!("{P}gw/head")).map(|kv| kv.mod_revision);
    let mut last = head();
    for (path, body, bumps) in [
        ("/admin/routes/save", json!({"prefix": "/a"}), true),
        ("/admin/routes/save", json!({"prefix": "/a"}), false),
        ("/admin/routes/remove", json!({"key": key::route("/a")}), true),
        ("/admin/routes/remove", json!({"key": key::route("/a")}), false),
        ("/admin/services/save", json!({"service_name": "a", "upstream": "127.0.0.1:1"}), true),
        ("/admin/services/remove", json!({"key": key::node("a", "127.0.0.1:1")}), true),
        ("/admin/services/list", json!({}), false),
    ] {
        api.post(path, &body).await;
        assert_eq!(head() != last, bumps, "{path} {body}");
        last = head();
    }
}

#[tokio::test]
async fn a_write_between_reading_and_writing_is_read_again() {
    let api = Api::new();
    let id = key::route("/a");
    api.store.put(&format!("{P}routes/{id}"), r#"{"prefix":"/a","n":0}"#);
    let (mut n, full) = (0, format!("{P}routes/{id}"));
    // An old gateway, which knows no head, writes the same route three times.
    api.store.interfere(move |content| {
        if n < 3 {
            n += 1;
            content.write(vec![Op::put(full.clone(), bytes(&format!(r#"{{"prefix":"/a","n":{n}}}"#)))]);
        }
    });
    assert_eq!(api.post("/admin/routes/save", &json!({"key": id, "prefix": "/a", "mine": true})).await.body, "ok");
    let route = &api.routes().await[0];
    assert_eq!((&route["n"], &route["mine"]), (&json!(3), &json!(true)));
}

#[tokio::test]
async fn a_write_that_always_conflicts_is_given_up() {
    let api = Api::new();
    api.store.interfere(|content| content.write(vec![Op::put(format!("{P}gw/head"), bytes("{}"))]));
    let answer = api.post("/admin/routes/save", &json!({"prefix": "/a"})).await;
    assert_eq!(answer.status, 500);
    assert!(answer.body.ends_with("the key was changed by someone else"), "{}", answer.body);
    assert_eq!(api.store.keys(&format!("{P}routes/")), Vec::<String>::new());
}

#[tokio::test]
async fn of_concurrent_creations_one_wins() {
    // Two gateways on one store.
    let one = Api::new();
    let two = Api::on(Arc::clone(&one.store), config(), PeerSource::Socket);
    let node = json!({"service_name": "a", "upstream": "127.0.0.1:1"});
    let route = json!({"prefix": "/a", "status": 1});
    for (path, body) in [("/admin/services/save", &node), ("/admin/routes/save", &route)] {
        let tries = (0..20).map(|i| [&one, &two][i % 2].post(path, body));
        let answers = futures::future::join_all(tries).await;
        let won = answers.iter().filter(|answer| answer.status == 200).count();
        assert_eq!(won, 1, "{path}: {answers:?}");
        assert!(answers.iter().all(|a| a.status == 200 || a.body.contains("已存在")), "{answers:?}");
    }
}

#[tokio::test]
async fn concurrent_saves_of_one_gateway_all_succeed_and_lose_nothing() {
    let api = Api::new();
    let id = key::route("/a");
    let saves: Vec<Value> = (0..30).map(|i| json!({"key": id, "prefix": "/a", format!("f{i}"): i})).collect();
    let answers = futures::future::join_all(saves.iter().map(|save| api.post("/admin/routes/save", save))).await;
    assert!(answers.iter().all(|answer| answer.body == "ok"), "{answers:?}");
    let route = &api.routes().await[0];
    assert!((0..30).all(|i| route[format!("f{i}")] == i), "{route}");
}

#[tokio::test]
async fn the_test_store_keeps_its_guards() {
    let store = MemoryStore::new();
    store.put("a", "1");
    let guard = Guard::Absent("a".into());
    assert!(store.txn(vec![guard], vec![Op::delete("a")]).await.is_err());
    assert!(store.txn(vec![Guard::ModRevision("a".into(), 1)], vec![Op::delete("a")]).await.is_ok());
}

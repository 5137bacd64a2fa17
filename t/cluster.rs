//! Gateways of one store know each other, and answer for all of them together.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::support::gateway::{TOKEN, put_node, put_route, route};
use crate::support::sse::Stream;
use crate::support::{Etcd, Gateway, Request, Upstream, eventually, eventually_some, free_address};

/// A gateway of a cluster, which says where it can be reached.
async fn member(etcd: &Etcd, more: Value) -> Gateway {
    let mut gateway = Gateway::prepare_on(etcd, more);
    let mut config = gateway.read_config();
    config["admin"]["advertise"] = format!("http://{}", gateway.admin).into();
    gateway.write_config(&config);
    gateway.boot().await;
    gateway
}

async fn three(etcd: &Etcd) -> [Gateway; 3] {
    [member(etcd, json!({})).await, member(etcd, json!({})).await, member(etcd, json!({})).await]
}

/// The gateways as one of them lists them.
async fn listed(by: &Gateway) -> Vec<Value> {
    by.get_admin("/admin/v2/gateways").await.expect(200).json()["gateways"].as_array().unwrap().clone()
}

fn of<'a>(listed: &'a [Value], gateway: &Gateway) -> Option<&'a Value> {
    let url = format!("http://{}", gateway.admin);
    listed.iter().find(|one| one["url"] == url)
}

async fn all_listed(by: &Gateway, count: usize) {
    eventually(&format!("{count} are listed"), || async { listed(by).await.len() == count }).await;
}

async fn figures(by: &Gateway, query: &str) -> Value {
    by.get_admin(&format!("/admin/v2/figures?{query}")).await.expect(200).json()
}

/// Requests of a series over the hour.
fn total(figures: &Value, id: &str) -> u64 {
    let series = figures["series"].as_array().unwrap().iter().find(|one| one["id"] == id);
    series.map_or(0, |one| one["total"]["requests"].as_u64().unwrap())
}

fn missing(figures: &Value) -> Vec<String> {
    let gateways = figures["gateways"].as_array().unwrap();
    gateways.iter().filter_map(|one| one["missing"].as_str().map(str::to_owned)).collect()
}

#[tokio::test]
async fn all_gateways_are_listed_and_one_that_ends_is_gone() {
    let etcd = Etcd::start().await;
    let [mut a, mut b, c] = three(&etcd).await;
    for gateway in [&a, &b, &c] {
        all_listed(gateway, 3).await;
    }
    let list = listed(&a).await;
    assert_eq!((&list[0]["self"], of(&list, &a).unwrap()), (&json!(true), &list[0]), "itself first");
    for gateway in [&a, &b, &c] {
        let one = of(&list, gateway).unwrap();
        assert_eq!((&one["version"], &one["stale"]), (&json!(env!("CARGO_PKG_VERSION")), &json!(false)), "{one}");
        assert!(!one["hostname"].as_str().unwrap().is_empty(), "{one}");
    }
    let mut events = Stream::open(c.admin, Request::get("/admin/v2/events").header("X-Api-Token", TOKEN)).await;
    let id = |gateway: &Gateway| of(&list, gateway).unwrap()["id"].clone();
    let (of_a, of_b) = (id(&a), id(&b));
    // One that is told to end says goodbye; one that is killed is gone with its lease.
    a.stop().await;
    let left = events.until("the one that ended left", |event| event.name == "gateway").await;
    assert_eq!((&left.data["change"], &left.data["gateway"]), (&json!("left"), &of_a), "{left:?}");
    b.kill();
    eventually("the killed one is stale", || async {
        let list = listed(&c).await;
        of(&list, &b).is_none_or(|one| one["stale"] == true)
    })
    .await;
    all_listed(&c, 1).await;
    let left = events.until("the killed one left", |event| event.name == "gateway").await;
    assert_eq!((&left.data["change"], &left.data["gateway"]), (&json!("left"), &of_b), "{left:?}");
    a.boot().await;
    let joined = events.until("one joined", |event| event.name == "gateway").await;
    assert_eq!(joined.data["change"], "joined", "{joined:?}");
    assert_ne!(joined.data["gateway"], of_a, "a new process is another one");
}

#[tokio::test]
async fn how_far_each_gateway_is_and_what_it_rejects_is_shown() {
    let etcd = Etcd::start().await;
    let broken = route("/a/*", "s", json!({"plugins": ["rewrite"], "props": {"rewrite_url_regex": "("}}));
    put_route(&etcd, &broken).await;
    put_route(&etcd, &route("/b/*", "s", json!({}))).await;
    let (a, b) = (member(&etcd, json!({})).await, member(&etcd, json!({"store": {"empty_hold": "10m"}})).await);
    all_listed(&a, 2).await;
    let shown = eventually_some("what the other rejects", || async {
        let list = listed(&a).await;
        of(&list, &b).filter(|one| one["rejected"]["count"] == 1).cloned()
    })
    .await;
    let first = &shown["rejected"]["first"][0];
    assert!(
        first["key"].as_str().unwrap().starts_with("routes/") && first["reason"].as_str().unwrap().contains("rewrite")
    );
    assert_eq!(shown["lag"], 0, "{shown}");
    // A store that lost all of its configuration is not believed at once: the gateway stays behind.
    etcd.wipe_family("routes/").await;
    eventually("the other lags behind", || async {
        let list = listed(&a).await;
        of(&list, &b).is_some_and(|one| one["lag"].as_u64().unwrap() > 0)
    })
    .await;
}

#[tokio::test]
async fn figures_are_those_of_all_gateways_and_say_who_is_missing() {
    let etcd = Etcd::start().await;
    let upstream = Upstream::saying("fine").await;
    put_node(&etcd, "s", upstream.address).await;
    put_route(&etcd, &route("/s/*", "s", json!({}))).await;
    let [a, b, c] = three(&etcd).await;
    all_listed(&a, 3).await;
    for (gateway, count) in [(&a, 3), (&b, 4), (&c, 5)] {
        for _ in 0..count {
            gateway.get("/s/x").await.expect(200);
        }
        gateway.get("/none").await.expect(404);
    }
    let id = crate::support::gateway::md5("/s/*");
    eventually("all requests are in the figures", || async {
        total(&figures(&a, &format!("by=route&id={id}")).await, &id) == 12
    })
    .await;
    let node = upstream.address.to_string();
    for (query, of, count) in [
        ("by=route", id.as_str(), 12),
        ("by=service", "s", 12),
        ("by=node", node.as_str(), 12),
        ("by=total&step=60", "total", 15),
    ] {
        let figures = figures(&a, query).await;
        assert_eq!((total(&figures, of), missing(&figures)), (count, vec![]), "{query}: {figures}");
    }
    let own = figures(&b, &format!("by=route&id={id}&scope=self")).await;
    assert_eq!((total(&own, &id), own["gateways"].as_array().unwrap().len()), (4, 1), "{own}");
    let point = &own["series"][0]["points"][0];
    assert_eq!((&point["classes"]["2xx"], &point["errors"]), (&json!(4), &json!(0)), "{own}");
    assert!(point["p50_ms"].as_f64().unwrap() <= point["p99_ms"].as_f64().unwrap(), "{own}");
    assert_eq!(point["bytes"], 16, "{own}");

    let list = listed(&a).await;
    let id_of_c = of(&list, &c).unwrap()["id"].as_str().unwrap().to_owned();
    let of_c = a.get_admin(&format!("/admin/v2/state/services/s?gateway={id_of_c}")).await.expect(200).json();
    assert_eq!(of_c["nodes"][0]["total"]["requests"], 5, "{of_c}");

    c.signal("STOP");
    let frozen = figures(&a, "by=route").await;
    assert_eq!(total(&frozen, &id), 7, "{frozen}");
    assert!(missing(&frozen)[0].contains("no answer within"), "{frozen}");
    a.get_admin(&format!("/admin/v2/state/services?gateway={id_of_c}")).await.expect(502);
    c.signal("CONT");
    eventually("it answers again", || async { total(&figures(&a, "by=route").await, &id) == 12 }).await;
}

#[tokio::test]
async fn a_gateway_that_cannot_be_asked_is_missing_with_the_reason() {
    let etcd = Etcd::start().await;
    let a = member(&etcd, json!({})).await;
    // It says nothing of where it is; it lets nobody in; nobody is there; what is there sends elsewhere.
    let _silent = Gateway::on(&etcd).await;
    let _closed = member(&etcd, json!({"admin": {"allow": ["10.0.0.0/8"]}})).await;
    let target = Upstream::saying("{\"series\": []}").await;
    let there = format!("http://{}/", target.address);
    let elsewhere =
        Upstream::answering(move |_| crate::support::upstream::respond(302, &[("Location", &there)], "")).await;
    let report = |url: String| json!({"version": "9", "hostname": "h", "url": url});
    let listed_there = async |id: &str, address: SocketAddr| {
        etcd.put_leased(&format!("gw/gateways/{id}"), &report(format!("http://{address}")), 600).await;
    };
    listed_there("redirecting", elsewhere.address).await;
    listed_there("nobody", free_address()).await;
    etcd.put_leased("gw/gateways/odd", &report("ftp://127.0.0.1".into()), 600).await;
    etcd.put_text("gw/gateways/broken", "{").await;
    all_listed(&a, 6).await;
    let reasons = missing(&figures(&a, "").await);
    for reason in ["admin.advertise", "admin.allow", "302", "refused", "not like http"] {
        assert_eq!(reasons.iter().filter(|r| r.contains(reason)).count(), 1, "{reason}: {reasons:?}");
    }
    assert_eq!((reasons.len(), target.count()), (5, 0), "redirects are not followed: {reasons:?}");
    let asked = elsewhere.last();
    assert!(asked.header("x-gateway-credential").is_some() && asked.header("x-api-token").is_none(), "{asked:?}");
    // What a false gateway was shown is of no use elsewhere, nor when it is older.
    let credential = asked.header("x-gateway-credential").unwrap().to_owned();
    let replayed = Request::get(&asked.target).header("X-Gateway-Credential", &credential);
    replayed.send(a.admin).await.expect(401);
}

#[tokio::test]
async fn forged_credentials_of_gateways_are_refused() {
    let etcd = Etcd::start().await;
    let (a, b) = (member(&etcd, json!({})).await, member(&etcd, json!({})).await);
    all_listed(&a, 2).await;
    let id = listed(&a).await[0]["id"].as_str().unwrap().to_owned();
    let of_b = listed(&b).await[0]["id"].as_str().unwrap().to_owned();
    let secret: Value = serde_json::from_str(&etcd.get("gw/secrets/peer").await.unwrap()).unwrap();
    let secret = hex::decode(secret["secret"].as_str().unwrap()).unwrap();
    let target = "/admin/v2/figures?by=route&scope=self&raw=true";
    let send = async |method: &str, target: &str, credential: String| {
        Request::new(method, target).header("X-Gateway-Credential", &credential).send(a.admin).await.status
    };
    assert_eq!(send("GET", target, credential(&secret, &id, target, 0)).await, 200);
    for (what, forged) in [
        ("with a secret of its own", credential(&[1; 32], &id, target, 0)),
        ("replayed after half a minute", credential(&secret, &id, target, -31)),
        ("for later", credential(&secret, &id, target, 40)),
        ("for another gateway", credential(&secret, &of_b, target, 0)),
        ("for another question", credential(&secret, &id, "/admin/v2/figures", 0)),
        ("empty", String::new()),
        ("a code of nothing", format!("x;{};", now())),
    ] {
        assert_eq!(send("GET", target, forged.clone()).await, 401, "{what}: {forged}");
    }
    for (method, target) in [("GET", "/admin/v2/status"), ("PUT", "/admin/v2/log-level"), ("GET", "/admin/v2/requests")]
    {
        assert_eq!(send(method, target, credential(&secret, &id, target, 0)).await, 403, "{method} {target}");
    }
    assert_eq!(send("GET", "/admin/routes/list", credential(&secret, &id, "/admin/routes/list", 0)).await, 401);
}

#[tokio::test]
async fn a_store_that_was_emptied_has_its_gateways_again() {
    let etcd = Etcd::start().await;
    let (a, _b) = (member(&etcd, json!({})).await, member(&etcd, json!({})).await);
    all_listed(&a, 2).await;
    etcd.wipe().await;
    all_listed(&a, 1).await;
    all_listed(&a, 2).await;
    eventually("they have a secret again", || async { missing(&figures(&a, "").await).is_empty() }).await;
}

#[tokio::test]
async fn a_gateway_with_an_embedded_store_is_alone_and_writes_nothing() {
    let gateway = Gateway::start().await;
    let list = listed(&gateway).await;
    assert_eq!((list.len(), &list[0]["self"], &list[0]["stale"]), (1, &json!(true), &json!(false)), "{list:?}");
    let own = figures(&gateway, "").await;
    assert_eq!((own["gateways"].as_array().unwrap().len(), missing(&own)), (1, vec![]), "{own}");
    let forged = Request::get("/admin/v2/figures").header("X-Gateway-Credential", &credential(b"", "x", "/", 0));
    forged.send(gateway.admin).await.expect(401);
}

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

/// As a gateway makes it, so many seconds from now.
fn credential(secret: &[u8], to: &str, target: &str, shift: i64) -> String {
    use hmac::{Hmac, KeyInit as _, Mac as _};
    let time = now().checked_add_signed(shift).unwrap();
    let mut code = Hmac::<sha2::Sha256>::new_from_slice(secret).unwrap();
    code.update(format!("gateway to gateway, 1\nother\n{to}\nGET\n{target}\n{time}\n").as_bytes());
    format!("other;{time};{}", hex::encode(code.finalize().into_bytes()))
}

//! Nodes at host names: resolved beside the requests, kept fresh by their TTL, and never at an
//! address that is ruled out, whatever a name server says later.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::dns::{Dns, Says};
use crate::support::gateway::{md5, put_route, put_service, route};
use crate::support::nginx::Nginx;
use crate::support::pki::Ca;
use crate::support::{Client, Etcd, Gateway, Request, Upstream, eventually, free_address};

/// A gateway that asks this name server.
async fn gateway(dns: &Dns, more: Value) -> Gateway {
    let mut config = json!({"upstream": {"resolver": {"servers": [dns.address], "timeout": "300ms"}}});
    crate::support::merge(&mut config, more);
    Gateway::with(config).await
}

/// Adds a node at a host name, with a route to it, by the old paths of the Admin API.
async fn add(gateway: &Gateway, prefix: &str, service: &str, upstream: &str) {
    gateway.route(prefix, service, json!({})).await;
    let node = json!({"key": "", "service_name": service, "upstream": upstream, "weight": 1, "status": 1});
    gateway.call_admin("/admin/services/save", &node).await.expect(200);
    gateway.applied().await;
}

/// Servers on one port at several addresses of loopback, each of which says its address.
async fn servers(addresses: &[&str]) -> (u16, Nginx) {
    let list: Vec<String> = addresses.iter().map(|a| (*a).to_owned()).collect();
    let mut port = 0;
    let nginx = Nginx::serving(|address: SocketAddr, _| {
        port = address.port();
        let at: Vec<String> = list.iter().map(|ip| format!("listen {ip}:{port};")).collect();
        format!("server {{ listen {address}; {} location / {{ return 200 $server_addr; }} }}", at.join(" "))
    })
    .await;
    (port, nginx)
}

async fn comes_from(gateway: &Gateway, path: &str, expected: &[&str]) {
    eventually(&format!("{path} is answered by {expected:?} alone"), || async {
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..8 {
            let response = gateway.get(path).await;
            seen.insert(if response.status == 200 { response.text() } else { response.status.to_string() });
        }
        seen.iter().map(String::as_str).eq(expected.iter().copied())
    })
    .await;
}

async fn status_says(gateway: &Gateway, text: &str) {
    eventually(&format!("the status says {text:?}"), || async {
        gateway.get_admin("/admin/v2/status").await.expect(200).json()["warnings"].to_string().contains(text)
    })
    .await;
}

#[tokio::test]
async fn every_address_of_a_name_is_a_node_and_changes_come_with_the_ttl() {
    let (port, _nginx) = servers(&["127.0.0.2", "127.0.0.3", "127.0.0.4", "[::1]"]).await;
    let dns = Dns::start().await;
    dns.at("api.internal", &["127.0.0.2", "127.0.0.3"], 1);
    let gateway = gateway(&dns, json!({})).await;
    add(&gateway, "/a", "a", &format!("API.internal:{port}")).await;
    comes_from(&gateway, "/a", &["127.0.0.2", "127.0.0.3"]).await;
    dns.at("api.internal", &["127.0.0.4"], 1);
    comes_from(&gateway, "/a", &["127.0.0.4"]).await;
    dns.at("api.internal", &["::1"], 1);
    comes_from(&gateway, "/a", &["::1"]).await;
    assert!(gateway.output().contains("api.internal is at 127.0.0.4"));
}

#[tokio::test]
async fn a_long_ttl_is_honoured() {
    let (port, _nginx) = servers(&["127.0.0.2"]).await;
    let dns = Dns::start().await;
    dns.at("slow.internal", &["127.0.0.2"], 600);
    dns.at("quick.internal", &["127.0.0.2"], 1);
    let gateway = gateway(&dns, json!({})).await;
    add(&gateway, "/slow", "slow", &format!("slow.internal:{port}")).await;
    add(&gateway, "/quick", "quick", &format!("quick.internal:{port}")).await;
    comes_from(&gateway, "/slow", &["127.0.0.2"]).await;
    eventually("the other name is asked for again", || async { dns.asked("quick.internal") >= 6 }).await;
    // Once for each family.
    assert_eq!(dns.asked("slow.internal"), 2);
}

#[tokio::test]
async fn the_last_addresses_stay_while_the_name_server_is_in_trouble() {
    let (port, _nginx) = servers(&["127.0.0.2"]).await;
    let dns = Dns::start().await;
    dns.at("api.internal", &["127.0.0.2"], 1);
    let gateway = gateway(&dns, json!({})).await;
    add(&gateway, "/a", "a", &format!("api.internal:{port}")).await;
    comes_from(&gateway, "/a", &["127.0.0.2"]).await;
    for (says, problem) in [
        (Says::NoSuchName, "there is no such name; its last addresses stay"),
        (Says::Failure, "its last addresses stay"),
        (Says::Nothing, "do not answer; its last addresses stay"),
    ] {
        dns.say("api.internal", says);
        status_says(&gateway, problem).await;
        assert_eq!(gateway.get("/a").await.expect(200).text(), "127.0.0.2");
        dns.at("api.internal", &["127.0.0.2"], 1);
        eventually("it is well again", || async {
            gateway.get_admin("/admin/v2/status").await.expect(200).json()["warnings"] == json!([])
        })
        .await;
    }
}

#[tokio::test]
async fn an_unknown_name_is_left_out_without_a_wait_until_it_is_known() {
    let (port, _nginx) = servers(&["127.0.0.2"]).await;
    let dns = Dns::start().await;
    dns.say("late.internal", Says::Nothing);
    let gateway = gateway(&dns, json!({})).await;
    add(&gateway, "/a", "a", &format!("late.internal:{port}")).await;
    let began = Instant::now();
    gateway.get("/a").await.expect(502);
    assert!(began.elapsed() < Duration::from_secs(5), "no request waits for a name server");
    status_says(&gateway, "it is left out").await;
    dns.at("late.internal", &["127.0.0.2"], 60);
    comes_from(&gateway, "/a", &["127.0.0.2"]).await;
}

#[tokio::test]
async fn a_start_waits_for_the_names_so_that_no_request_fails() {
    let (port, _nginx) = servers(&["127.0.0.2"]).await;
    let dns = Dns::start().await;
    dns.at("api.internal", &["127.0.0.2"], 60);
    let mut gateway = gateway(&dns, json!({})).await;
    add(&gateway, "/a", "a", &format!("api.internal:{port}")).await;
    comes_from(&gateway, "/a", &["127.0.0.2"]).await;
    gateway.stop().await;
    gateway.spawn();
    let first = loop {
        if let Ok(response) = Request::get("/a").try_send(gateway.http).await {
            break response;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!(first.expect(200).text(), "127.0.0.2");
}

/// DNS rebinding: a name is harmless when it is registered, and later points to where it must not.
#[tokio::test]
async fn a_name_that_turns_to_a_forbidden_address_is_not_followed() {
    let (port, _nginx) = servers(&["127.0.0.2", "127.0.0.9"]).await;
    let secret = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let dns = Dns::start().await;
    dns.at("evil.example", &["127.0.0.2"], 1);
    let gateway = gateway(&dns, json!({"upstream": {"deny": ["127.0.0.9/32", "169.254.0.0/16"]}})).await;
    add(&gateway, "/a", "a", &format!("evil.example:{port}")).await;
    add(&gateway, "/admin-port", "b", &format!("evil.example:{}", gateway.admin.port())).await;
    comes_from(&gateway, "/a", &["127.0.0.2"]).await;

    dns.at("evil.example", &["127.0.0.9", "169.254.169.254", "0.0.0.0"], 1);
    comes_from(&gateway, "/a", &["502"]).await;
    status_says(&gateway, "127.0.0.9/32, which upstream.deny rules out").await;
    status_says(&gateway, "169.254.169.254").await;
    status_says(&gateway, "is no address one can connect to").await;

    dns.at("evil.example", &["127.0.0.1"], 1);
    status_says(&gateway, "is an address of the gateway itself").await;
    gateway.get("/admin-port").await.expect(502);

    dns.at("evil.example", &["127.0.0.2", "127.0.0.9"], 1);
    comes_from(&gateway, "/a", &["127.0.0.2"]).await;
    drop(secret);
}

#[tokio::test]
async fn a_removed_name_is_no_longer_asked_for() {
    let dns = Dns::start().await;
    dns.at("gone.internal", &["127.0.0.2"], 1);
    dns.at("other.internal", &["127.0.0.2"], 1);
    let gateway = gateway(&dns, json!({})).await;
    add(&gateway, "/a", "a", "gone.internal:8080").await;
    add(&gateway, "/b", "b", "other.internal:8080").await;
    eventually("it is asked for", || async { dns.asked("gone.internal") > 0 }).await;
    let key = format!("a.{}", md5("agone.internal:8080"));
    gateway.call_admin("/admin/services/remove", &json!({"key": key})).await.expect(200);
    gateway.applied().await;
    // One question may be under way.
    tokio::time::sleep(Duration::from_millis(400)).await;
    let (before, other) = (dns.asked("gone.internal"), dns.asked("other.internal"));
    eventually("the other is asked for", || async { dns.asked("other.internal") >= other + 4 }).await;
    assert_eq!(dns.asked("gone.internal"), before);
}

/// The name a node is registered by is the name that its certificate must have, and that is asked
/// for; the client's Host is not.
#[tokio::test]
async fn a_node_at_a_name_is_verified_under_that_name() {
    let ca = Ca::new("good");
    let identity = ca.issue(&["api.internal"]);
    let node = Nginx::serving(|address, dir| {
        let (cert, key) = identity.write(dir, "node");
        format!(
            "server {{ listen {address} ssl; ssl_certificate {}; ssl_certificate_key {};
               location / {{ return 200 $ssl_server_name; }} }}",
            cert.display(),
            key.display()
        )
    })
    .await;
    let dns = Dns::start().await;
    dns.at("api.internal", &["127.0.0.1"], 60);
    dns.at("other.internal", &["127.0.0.1"], 60);
    let etcd = Etcd::start().await;
    let resolver = json!({"upstream": {"resolver": {"servers": [dns.address]}}});
    let gateway = Gateway::on_with(&etcd, resolver).await;
    for (service, host) in [("right", "api.internal."), ("wrong", "other.internal")] {
        put_service(&etcd, &format!("/{service}"), service, &json!({"tls": {"ca": ca.pem()}}), &[]).await;
        let upstream = format!("{host}:{}", node.address.port());
        let key = format!("discovery/{service}.{}", md5(&format!("{service}{upstream}")));
        etcd.put(&key, &json!({"service_name": service, "upstream": upstream})).await;
    }
    put_route(&etcd, &route("/none", "none", json!({}))).await;
    gateway.applied_from(&etcd).await;
    comes_from(&gateway, "/right", &["api.internal"]).await;
    eventually("the other's certificate is refused", || async {
        gateway.get("/wrong").await.expect(502).text().contains("did not answer")
    })
    .await;
}

#[tokio::test]
async fn names_of_the_hosts_file_work_without_a_name_server() {
    let (port, _nginx) = servers(&[]).await;
    let dead = free_address();
    let config = json!({"upstream": {"resolver": {"servers": [dead], "timeout": "200ms"}}});
    let gateway = Gateway::with(config).await;
    add(&gateway, "/a", "a", &format!("localhost:{port}")).await;
    eventually("localhost is found", || async { gateway.get("/a").await.status == 200 }).await;
}

#[tokio::test]
async fn a_response_under_way_finishes_though_its_node_is_gone() {
    let (more, wait) = tokio::sync::watch::channel(false);
    let upstream = Upstream::scripted(move |stream, _| {
        let mut wait = wait.clone();
        async move {
            let mut client = Client::over(stream);
            if client.head().await.is_err() {
                return;
            }
            drop(client.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n").await);
            drop(wait.wait_for(|go| *go).await);
            drop(client.send(b"4\r\nlast\r\n0\r\n\r\n").await);
        }
    })
    .await;
    let dns = Dns::start().await;
    dns.at("api.internal", &["127.0.0.1"], 1);
    let gateway = gateway(&dns, json!({})).await;
    add(&gateway, "/a", "a", &format!("api.internal:{}", upstream.address.port())).await;
    eventually("the node is there", || async {
        // A probe would be a request; the metrics know.
        gateway.metrics().await.contains(&format!("node=\"{}\"", upstream.address))
    })
    .await;
    let mut client = Client::connect(gateway.http).await;
    client.send(b"GET /a HTTP/1.1\r\nHost: a.test\r\n\r\n").await.unwrap();
    client.head().await.unwrap();
    assert_eq!(client.chunk().await.unwrap().as_deref(), Some(b"first".as_slice()));
    dns.at("api.internal", &["127.0.0.7"], 1);
    eventually("the node is gone", || async {
        !gateway.metrics().await.contains(&format!("node=\"{}\"", upstream.address))
    })
    .await;
    more.send(true).unwrap();
    assert_eq!(client.chunk().await.unwrap().as_deref(), Some(b"last".as_slice()));
    assert_eq!(client.chunk().await.unwrap(), None, "the response has ended as it should");
}

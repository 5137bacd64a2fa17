//! The Rust client crate against the real gateway and the real etcd.

use serde_json::json;
use std::time::Duration;
use ws_cloud_gateway_client::{Node, Registration, State};

use crate::registration::{REGISTRAR, with_registrar};
use crate::support::gateway::{node_key, put_node, put_route, route};
use crate::support::{Etcd, Gateway, Upstream, eventually};

async fn serves(gateway: &Gateway, status: u16) {
    eventually(&format!("requests get {status}"), || async { gateway.get("/d").await.status == status }).await;
}

fn node(upstream: &Upstream) -> Node {
    Node::new("demo1", upstream.address.to_string()).ttl(Duration::from_secs(3))
}

#[tokio::test]
async fn a_registration_over_http_lives_until_it_is_closed_or_dropped() {
    let mut gateway = Gateway::with(with_registrar()).await;
    gateway.route("/d", "demo1", json!({})).await;
    let upstream = Upstream::saying("served").await;
    // The first of the two is not there.
    let urls = ["http://127.0.0.1:9".to_owned(), format!("http://{}/", gateway.admin)];
    let registration = Registration::http(&urls, REGISTRAR, node(&upstream)).await.unwrap();
    assert_eq!(registration.state(), State::Registered);
    serves(&gateway, 200).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(gateway.get("/d").await.status, 200, "it beats");
    gateway.restart().await;
    serves(&gateway, 200).await;
    registration.close().await.unwrap();
    serves(&gateway, 502).await;

    let registration =
        Registration::http(&urls, REGISTRAR, node(&upstream).ttl(Duration::from_secs(3600))).await.unwrap();
    serves(&gateway, 200).await;
    drop(registration);
    serves(&gateway, 502).await;

    let refused = Registration::http(&urls, "wrong", node(&upstream)).await.unwrap_err();
    assert!(refused.to_string().contains("401") && !refused.to_string().contains("wrong"), "{refused}");
}

#[tokio::test]
async fn a_registration_in_etcd_lives_until_it_is_closed_or_dropped() {
    let mut etcd = Etcd::start().await;
    put_route(&etcd, &route("/d", "demo1", json!({}))).await;
    let gateway = Gateway::on(&etcd).await;
    let upstream = Upstream::saying("served").await;
    let key = node_key("demo1", upstream.address);
    let endpoints = ["http://127.0.0.1:9".to_owned(), etcd.endpoint()];
    let registration = Registration::etcd(&endpoints, node(&upstream)).await.unwrap();
    serves(&gateway, 200).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(etcd.get(&key).await.is_some(), "it beats");
    for lose_data in [false, true] {
        etcd.kill();
        if lose_data {
            etcd.restart_empty().await
        } else {
            etcd.restart().await
        }
        tokio::time::sleep(Duration::from_secs(4)).await;
        eventually("it is registered again", || async { etcd.get(&key).await.is_some() }).await;
    }
    etcd.delete(&key).await;
    eventually("it is registered after a deletion", || async { etcd.get(&key).await.is_some() }).await;
    registration.close().await.unwrap();
    assert_eq!(etcd.get(&key).await, None);

    let registration = Registration::etcd(&endpoints, node(&upstream).ttl(Duration::from_secs(3600))).await.unwrap();
    eventually("the node is there", || async { etcd.get(&key).await.is_some() }).await;
    drop(registration);
    eventually("the node is gone", || async { etcd.get(&key).await.is_none() }).await;

    put_node(&etcd, "demo1", upstream.address).await;
    let refused = Registration::etcd([etcd.endpoint()], node(&upstream)).await.unwrap_err();
    assert!(refused.to_string().contains("permanent node"), "{refused}");
    let registration = Registration::etcd([etcd.endpoint()], node(&upstream).replace(true)).await.unwrap();
    registration.close().await.unwrap();
    assert_eq!(etcd.get(&key).await, None);
}

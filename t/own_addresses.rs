//! No route leads into the gateway itself, or into its store.

use serde_json::json;

use crate::support::gateway::{node, put_node, put_route, route};
use crate::support::{Etcd, Gateway, Upstream};

#[tokio::test]
async fn nodes_at_the_gateways_own_ports_and_at_etcd_are_left_out() {
    let etcd = Etcd::start().await;
    let gateway = Gateway::on(&etcd).await;
    let ports = [
        ("http", gateway.http),
        ("h2c", gateway.h2c),
        ("admin", gateway.admin),
        ("status", gateway.status),
        ("etcd", etcd.address),
    ];
    let good = Upstream::saying("served").await;
    for (name, address) in ports {
        put_node(&etcd, name, address).await;
        put_route(&etcd, &route(&format!("/{name}/*"), name, json!({}))).await;
        // Beside a good node too.
        put_node(&etcd, &format!("{name}-and-good"), address).await;
        put_node(&etcd, &format!("{name}-and-good"), good.address).await;
        put_route(&etcd, &route(&format!("/{name}-and-good/*"), &format!("{name}-and-good"), json!({}))).await;
    }
    gateway.applied_from(&etcd).await;
    let status = gateway.get_admin("/admin/v2/status").await.expect(200).json();
    let rejected = status["rejected"].to_string();
    for (name, address) in ports {
        let response = gateway.get(&format!("/{name}/version")).await.expect(502);
        assert_eq!(response.text(), "no node of the service is available\n", "{name}");
        for _ in 0..4 {
            assert_eq!(gateway.get(&format!("/{name}-and-good/x")).await.expect(200).text(), "served", "{name}");
        }
        let reason = format!("{address} is an address of the gateway itself or of its store");
        assert!(rejected.contains(&reason), "{name}: {rejected}");
    }
    assert_eq!(gateway.metric("gateway_config_rejected_objects", "").await, 10.0);
}

#[tokio::test]
async fn the_admin_api_refuses_a_node_at_the_gateways_own_port() {
    let gateway = Gateway::start().await;
    for address in [gateway.http, gateway.h2c, gateway.admin, gateway.status] {
        let saved = gateway.call_admin("/admin/services/save", &node("s", address, 1)).await.expect(500);
        assert!(saved.text().contains("is an address of the gateway itself"), "{}", saved.text());
    }
}

#[tokio::test]
async fn a_gateway_on_every_interface_is_known_by_its_loopback_address() {
    let port = crate::support::free_address().port();
    let http = format!("0.0.0.0:{port}");
    let mut gateway = Gateway::prepare(json!({"listeners": {"http": [http]}}));
    gateway.http.set_port(port);
    gateway.boot().await;
    let saved = gateway.call_admin("/admin/services/save", &node("s", gateway.http, 1)).await.expect(500);
    assert!(saved.text().contains("is an address of the gateway itself"), "{}", saved.text());
}

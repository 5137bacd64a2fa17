//! Sessions that are resumed, and what a scanner finds; many handshakes leave nothing behind.

use serde_json::json;

use crate::support::certificates::{Issued, Wanted};
use crate::support::tls::TlsGateway;
use crate::support::{Upstream, eventually, python};

async fn resume(gateway: &TlsGateway, version: &str, names: [&str; 2], identity: &[&str]) -> String {
    let mut arguments = vec![gateway.address.port().to_string(), version.into(), names[0].into(), names[1].into()];
    arguments.extend(identity.iter().map(|name| gateway.file(name).display().to_string()));
    python::run("tls/resume.py", arguments).await.trim().replace('\n', ", ")
}

#[tokio::test]
async fn sessions_are_resumed_for_their_own_name_only() {
    let of = |name: &str| json!({"cert": format!("{name}.pem"), "key": format!("{name}.key")});
    let mut demands = of("demands");
    demands["client_ca"] = "clients.pem".into();
    let certificates = json!([of("open"), of("other"), demands]);
    let mut gateway = TlsGateway::prepare(&[], json!({"tls": {"certificates": certificates}}));
    for name in ["open", "other", "demands"] {
        gateway.put_pair(name, &gateway.ca.host(&[&format!("{name}.example")]));
    }
    let clients = Issued::ca("Clients");
    std::fs::write(gateway.file("clients.pem"), clients.cert_pem()).unwrap();
    gateway.put_pair("client", &clients.issue(&Wanted { common_name: "billing", ..Wanted::default() }));
    gateway.boot().await;
    let upstream = Upstream::saying("hello").await;
    gateway.serve("/*", &[upstream.address]).await;

    let identity: &[&str] = &["client.pem", "client.key"];
    for version in ["TLSv1_2", "TLSv1_3"] {
        let open = resume(&gateway, version, ["open.example"; 2], &[]).await;
        assert_eq!(open, "200 full, 200 resumed", "{version}");
        let demands = resume(&gateway, version, ["demands.example"; 2], identity).await;
        assert_eq!(demands, "200 full, 200 resumed", "{version}, with a client certificate");
        let other = resume(&gateway, version, ["open.example", "other.example"], &[]).await;
        assert_eq!(other, "200 full, 200 full", "{version}, another certificate");
        let strict = resume(&gateway, version, ["demands.example", "open.example"], identity).await;
        assert_eq!(strict, "200 full, 200 full", "{version}, to a looser policy");
        let lent = resume(&gateway, version, ["open.example", "demands.example"], &[]).await;
        assert!(lent.starts_with("200 full, refused"), "{version}, to a stricter policy: {lent}");
    }
    let metrics = gateway.metrics().await;
    assert!(metrics.contains("gateway_tls_handshakes_total{result=\"resumed\"} 4"), "{metrics}");
}

#[tokio::test]
async fn a_scanner_finds_nothing_weak() {
    let mut gateway = TlsGateway::prepare(&["scan.example"], json!({}));
    let rsa = Wanted { names: &["scan.example"], rsa_bits: Some(2048), ..Wanted::default() };
    gateway.put_pair("host", &gateway.ca.issue(&rsa));
    gateway.boot().await;
    let arguments = vec!["127.0.0.1".into(), gateway.address.port().to_string(), "scan.example".into()];
    let found = python::run("tls/scan.py", arguments).await;
    assert!(found.contains("TLS_AES_128_GCM_SHA256") && found.trim().ends_with("scanned"), "{found}");
    assert!(!found.contains("WEAK"), "{found}");
}

#[tokio::test]
async fn thousands_of_handshakes_leave_nothing_behind() {
    let gateway = TlsGateway::start(&["a.example"]).await;
    let client = gateway.client("a.example");
    let round = async |n: usize| {
        for _ in 0..n / 20 {
            futures::future::join_all((0..20).map(|_| client.connect()))
                .await
                .into_iter()
                .for_each(|c| drop(c.unwrap()));
        }
    };
    round(500).await;
    let before = gateway.rss_kib();
    round(2000).await;
    eventually("all connections have ended", || async {
        gateway.metrics().await.contains("gateway_connections_active 0")
    })
    .await;
    let grown = gateway.rss_kib().saturating_sub(before);
    assert!(grown < 8 << 10, "{grown} KiB more after 2000 handshakes");
}

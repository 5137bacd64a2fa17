//! Certificates of clients: demanded by server name, and never lent from one name to another.

use serde_json::{Value, json};

use crate::support::Upstream;
use crate::support::certificates::{Issued, Wanted};
use crate::support::tls::{TlsClient, TlsGateway};

/// A gateway where each host demands something else, and the CA of its clients.
async fn gateway() -> (TlsGateway, Issued, Upstream) {
    let of = |name: &str, more: Value| {
        let mut certificate = json!({"cert": format!("{name}.pem"), "key": format!("{name}.key")});
        crate::support::merge(&mut certificate, more);
        certificate
    };
    let certificates = json!([
        of("open", json!({})),
        of("asks", json!({"client_ca": "clients.pem", "client_auth": "request"})),
        of("demands", json!({"client_ca": "clients.pem"})),
        of("other", json!({"client_ca": "others.pem", "client_auth": "require"})),
    ]);
    let mut gateway = TlsGateway::prepare(&[], json!({"tls": {"certificates": certificates}}));
    let clients = Issued::ca("Clients");
    std::fs::write(gateway.file("clients.pem"), clients.cert_pem()).unwrap();
    std::fs::write(gateway.file("others.pem"), Issued::ca("Others").cert_pem()).unwrap();
    for name in ["open", "asks", "demands", "other"] {
        gateway.put_pair(name, &gateway.ca.host(&[&format!("{name}.example")]));
    }
    gateway.boot().await;
    let upstream = Upstream::echo().await;
    gateway.serve("/*", &[upstream.address]).await;
    (gateway, clients, upstream)
}

fn client_of(ca: &Issued) -> Issued {
    ca.issue(&Wanted { common_name: "billing", names: &["billing.internal"], ..Wanted::default() })
}

async fn status(client: &TlsClient) -> Result<u16, String> {
    client.get("/").await.map(|response| response.status)
}

#[tokio::test]
async fn each_name_demands_what_its_certificate_says() {
    let (gateway, clients, _upstream) = gateway().await;
    let (good, bad) = (client_of(&clients), client_of(&Issued::ca("Stranger")));
    let expired = clients.issue(&Wanted { common_name: "late", ends_in: -60, ..Wanted::default() });
    for (name, expected) in
        [("open", [true; 4]), ("asks", [true, true, false, false]), ("demands", [false, true, false, false])]
    {
        let client = gateway.client(&format!("{name}.example"));
        let shows = |identity: &Issued| client.clone().showing(identity, &[]);
        let outcomes = [client.clone(), shows(&good), shows(&bad), shows(&expired)];
        for (i, (client, expected)) in outcomes.iter().zip(expected).enumerate() {
            let outcome = status(client).await;
            assert_eq!(outcome == Ok(200), expected, "{name} {i}: {outcome:?}");
        }
    }
    let client = gateway.client("other.example").showing(&good, &[]);
    assert!(status(&client).await.is_err(), "signed by the CA of another name");
}

#[tokio::test]
async fn a_client_certificate_may_come_with_an_intermediate() {
    let (gateway, clients, _upstream) = gateway().await;
    let between = clients.intermediate("between");
    let client = gateway.client("demands.example");
    assert_eq!(status(&client.clone().showing(&client_of(&between), &[&between])).await, Ok(200));
    assert!(status(&client.showing(&client_of(&between), &[])).await.is_err());
}

#[tokio::test]
async fn a_host_of_another_policy_is_misdirected() {
    let (gateway, clients, upstream) = gateway().await;
    let good = client_of(&clients);
    let ask = async |sni: &str, host: &str| {
        let client = gateway.client(&format!("{sni}.example")).showing(&good, &[]);
        client.connect().await.unwrap().get_of(&format!("{host}.example"), "/").await.unwrap().status
    };
    for (sni, host, expected) in [
        ("open", "open", 200),
        ("open", "unknown", 200),
        ("open", "demands", 421),
        ("asks", "demands", 421),
        ("demands", "demands", 200),
        ("demands", "open", 421),
        ("demands", "other", 421),
    ] {
        assert_eq!(ask(sni, host).await, expected, "{sni} asks for {host}");
    }
    let mut open = gateway.client("open.example").connect().await.unwrap();
    assert_eq!(open.get_of("DEMANDS.example.:443", "/").await.unwrap().status, 421, "however it is written");
    assert_eq!(upstream.count(), 3, "no misdirected request reaches the upstream");
    // In clear text nothing was demanded and nothing is promised; a route's plugins decide.
    assert_eq!(gateway.get("/").await.status, 200);
}

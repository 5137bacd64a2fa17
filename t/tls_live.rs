//! Certificates that change while the gateway runs: files and the store's.

use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use crate::support::certificates::{Issued, Wanted};
use crate::support::gateway::TOKEN;
use crate::support::tls::TlsGateway;
use crate::support::{Etcd, Gateway, Request, Response, Upstream, eventually, eventually_some};

impl TlsGateway {
    async fn delete(&self, id: &str) -> Response {
        let request = Request::new("DELETE", &format!("/admin/v2/certificates/{id}"));
        request.header("X-Api-Token", TOKEN).send(self.admin).await
    }

    /// What is shown to who asks for a host; the reason when there is nothing.
    async fn shown(&self, host: &str) -> String {
        self.client(host).connect().await.map_or_else(|e| e, |connection| connection.shown())
    }

    async fn shows(&self, host: &str, issued: &Issued) {
        let expected = issued.fingerprint();
        eventually(&format!("{host} has its new certificate"), || async { self.shown(host).await == expected }).await;
    }
}

fn pair(issued: &Issued) -> Value {
    json!({"cert": issued.cert_pem(), "key": issued.key_pem()})
}

#[tokio::test]
async fn a_changed_file_is_live_without_dropping_a_connection_and_a_bad_one_is_refused() {
    let gateway = TlsGateway::start(&["a.example"]).await;
    let upstream = Upstream::saying("hello").await;
    gateway.serve("/*", &[upstream.address]).await;
    let mut open = gateway.client("a.example").connect().await.unwrap();
    assert_eq!(open.get("/").await.unwrap().status, 200);

    let next = gateway.ca.host(&["a.example"]);
    gateway.put_pair("host", &next);
    gateway.shows("a.example", &next).await;

    // A key that is not the certificate's: the pair before stays.
    std::fs::write(gateway.file("host.key"), Issued::ca("x").key_pem()).unwrap();
    eventually("the bad pair is refused", || async {
        gateway.output().contains("host.key: is not the key of the certificate; what was read before stays in use")
    })
    .await;
    assert_eq!(gateway.shown("a.example").await, next.fingerprint());

    let last = gateway.ca.host(&["a.example", "b.example"]);
    gateway.put_pair("host", &last);
    gateway.shows("b.example", &last).await;
    assert_eq!(open.get("/").await.unwrap().body, "hello", "the connection of the first certificate");
}

/// Puts a pair into a folder of its own, and points the link at it.
fn put_folder(gateway: &TlsGateway, version: &str, issued: &Issued) {
    let dir = gateway.file(version);
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("tls.crt"), issued.cert_pem()).unwrap();
    std::fs::write(dir.join("tls.key"), issued.key_pem()).unwrap();
    symlink(version, gateway.file("next")).unwrap();
    std::fs::rename(gateway.file("next"), gateway.file("..data")).unwrap();
}

#[tokio::test]
async fn files_behind_a_swapped_link_are_read_anew_at_once_on_sighup() {
    let certificates = json!([{"cert": "live/tls.crt", "key": "live/tls.key"}]);
    let mut gateway = TlsGateway::prepare(&[], json!({"tls": {"certificates": certificates}}));
    // As Kubernetes mounts a secret: the files are links through a link to a folder.
    put_folder(&gateway, "1", &gateway.ca.host(&["a.example"]));
    std::fs::create_dir(gateway.file("live")).unwrap();
    for name in ["tls.crt", "tls.key"] {
        symlink(format!("../..data/{name}"), gateway.file("live").join(name)).unwrap();
    }
    let second = gateway.ca.host(&["a.example"]);
    gateway.boot().await;
    put_folder(&gateway, "2", &second);
    gateway.process().signal("HUP");
    gateway.shows("a.example", &second).await;
}

#[tokio::test]
async fn certificates_of_the_store_are_put_replaced_and_deleted_live() {
    let gateway = TlsGateway::start(&["file.example"]).await;
    let upstream = Upstream::saying("hello").await;
    gateway.serve("/*", &[upstream.address]).await;
    let mut open = gateway.client("file.example").connect().await.unwrap();

    let (first, second) = (gateway.ca.host(&["a.example", "*.b.example"]), gateway.ca.host(&["a.example"]));
    let made = gateway.put("certificates", "web", &pair(&first)).await.expect(201).json();
    // The same key again is no change, though each of its ciphertexts is another.
    let again = gateway.put("certificates", "web", &pair(&first)).await.expect(200).json();
    assert_eq!(again["revision"], made["revision"], "{again}");
    gateway.shows("a.example", &first).await;
    assert_eq!(gateway.shown("x.b.example").await, first.fingerprint());
    let mut of_first = gateway.client("a.example").connect().await.unwrap();

    assert_eq!(gateway.put("certificates", "web", &pair(&second)).await.status, 200);
    gateway.shows("a.example", &second).await;
    assert_ne!(gateway.shown("x.b.example").await, first.fingerprint());

    // Other fields change while the key stays.
    let kept = json!({"cert": second.cert_pem(), "key": "unchanged", "hosts": ["c.example"]});
    assert_eq!(gateway.put("certificates", "web", &kept).await.status, 200);
    gateway.shows("c.example", &second).await;

    assert_eq!(gateway.delete("web").await.status, 200);
    eventually("the certificate is gone", || async { gateway.shown("c.example").await != second.fingerprint() }).await;
    assert_eq!(gateway.delete("web").await.status, 404);
    for connection in [&mut open, &mut of_first] {
        assert_eq!(connection.get("/").await.unwrap().body, "hello");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_certificate_is_said_and_nothing_is_stored() {
    let gateway = TlsGateway::start(&["file.example"]).await;
    let issued = gateway.ca.host(&["a.example"]);
    let other = Issued::ca("other");
    for (certificate, reason) in [
        (json!({"cert": issued.cert_pem()}), "key: is missing"),
        (json!({"cert": issued.cert_pem(), "key": "unchanged"}), "key: is \\\"unchanged\\\", but none is stored"),
        (json!({"cert": issued.cert_pem(), "key": other.key_pem()}), "key: is not the key of the certificate"),
        (json!({"cert": "x", "key": issued.key_pem()}), "cert: has no certificate"),
        (json!({"cert": issued.cert_pem(), "key": issued.key_pem(), "hosts": ["a b"]}), "hosts[0]:"),
        (
            json!({"cert": issued.cert_pem(), "key": issued.key_pem(), "client_auth": "require"}),
            "client_ca: is missing",
        ),
        (json!({"cert": issued.cert_pem(), "key": issued.key_pem(), "client_auth": "sometimes"}), "client_auth"),
    ] {
        let refused = gateway.put("certificates", "web", &certificate).await;
        assert_eq!(refused.status, 422, "{reason}");
        assert!(refused.text().contains(reason), "{reason}: {}", refused.text());
        assert!(!refused.text().contains("PRIVATE KEY"));
    }
    assert_eq!(gateway.get_admin("/admin/v2/certificates/web").await.status, 404);
}

#[tokio::test]
async fn a_private_key_is_nowhere_in_plain_text() {
    let mut gateway = TlsGateway::prepare(&["file.example"], json!({"log": {"error": {"level": "trace"}}}));
    gateway.boot().await;
    let issued = gateway.ca.host(&["a.example"]);
    assert_eq!(gateway.put("certificates", "web", &pair(&issued)).await.status, 201);
    gateway.shows("a.example", &issued).await;

    let shown = gateway.get_admin("/admin/v2/certificates/web").await;
    let one: Value = serde_json::from_str(&shown.text()).unwrap();
    assert_eq!(one["key"], "unchanged");
    assert_eq!(one["details"]["subject"], "CN=a.example");
    assert_eq!(one["details"]["fingerprint"], issued.fingerprint());
    assert_eq!(one["details"]["names"], json!(["a.example"]));
    let list = gateway.get_admin("/admin/v2/certificates").await.text();
    let status = gateway.get_admin("/admin/v2/status").await.text();
    assert!(status.contains(&issued.fingerprint()), "{status}");

    let disk = gateway.file("data/snapshot");
    eventually("the copy on disk has the certificate", || async {
        files_below(&disk).iter().any(|(_, bytes)| contains(bytes, b"gw/certificates/web"))
    })
    .await;
    let pem = issued.key_pem();
    let canary = pem.lines().nth(1).unwrap();
    for text in [&shown.text(), &list, &status, &gateway.output(), &gateway.metrics().await] {
        assert!(!text.contains(canary));
    }
    for (path, bytes) in files_below(&gateway.file("data")).into_iter().chain(files_below(&gateway.file("logs"))) {
        assert!(!contains(&bytes, canary.as_bytes()), "{}", path.display());
    }
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(gateway.file("data/secrets.key")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);

    // The copy on disk and the key are enough to serve again.
    gateway.restart().await;
    gateway.shows("a.example", &issued).await;
}

fn contains(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

fn files_below(dir: &std::path::Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files_below(&path));
        } else {
            found.push((path.clone(), std::fs::read(path).unwrap_or_default()));
        }
    }
    found
}

const KEYS: [&str; 2] =
    ["MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=", "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA="];

fn on_etcd(etcd: &Etcd, key: Option<&str>) -> TlsGateway {
    let config = match key {
        Some(key) => json!({"secrets": {"key": key}}),
        None => json!({}),
    };
    TlsGateway::prepare_with(config, |all| Gateway::prepare_on(etcd, all), &["file.example"])
}

#[tokio::test]
async fn gateways_of_a_cluster_need_the_same_key_and_rotate_to_another() {
    let etcd = Etcd::start().await;
    let mut first = on_etcd(&etcd, Some(KEYS[0]));
    first.boot().await;
    let issued = first.ca.host(&["a.example"]);
    assert_eq!(first.put("certificates", "web", &pair(&issued)).await.status, 201);
    first.shows("a.example", &issued).await;
    let before = etcd.get("gw/certificates/web").await.unwrap();
    assert!(before.contains("sealed:v1:") && !before.contains("PRIVATE KEY"));

    for (key, said) in [(Some(KEYS[1]), "all gateways of a store need the same"), (None, "and this gateway has none")] {
        let mut other = on_etcd(&etcd, key);
        other.spawn();
        assert_eq!(other.process().ended().await.code(), Some(1), "{said}");
        let output = other.process().output();
        assert!(output.contains("the secrets in the store are encrypted with the key"), "{output}");
        assert!(output.contains(said), "{output}");
    }

    let both = format!("{},{}", KEYS[1], KEYS[0]);
    let rotating = on_etcd(&etcd, Some(&both));
    let rotated = std::process::Command::new(crate::support::gateway::binary())
        .args(["secrets", "rotate", "-c"])
        .arg(rotating.config())
        .current_dir(rotating.dir())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&rotated.stdout).into_owned();
    assert_eq!(said.trim(), "secrets: 1 encrypted anew, 0 had the key already", "{rotated:?}");
    assert_ne!(etcd.get("gw/certificates/web").await.unwrap(), before);
    let mut second = on_etcd(&etcd, Some(KEYS[1]));
    second.boot().await;
    second.shows("a.example", &issued).await;
    // The old gateway cannot read it any more, and goes on with what it has.
    eventually("the old gateway says so", || async { first.output().contains("which this gateway does not have") })
        .await;
    assert_eq!(first.shown("a.example").await, issued.fingerprint());
}

#[tokio::test]
async fn a_broken_certificate_of_the_store_keeps_the_last_good_one_or_closes_its_host() {
    let etcd = Etcd::start().await;
    let mut gateway = on_etcd(&etcd, Some(KEYS[0]));
    gateway.boot().await;
    let wildcard = gateway.ca.host(&["*.example.com", "a.example"]);
    assert_eq!(gateway.put("certificates", "web", &pair(&wildcard)).await.status, 201);
    gateway.shows("a.example", &wildcard).await;

    etcd.put_text("gw/certificates/web", "{\"cert\": \"nothing\"}").await;
    // A key that someone wrote in plain text is refused too.
    let plain = gateway.ca.host(&["b.example.com"]);
    etcd.put("gw/certificates/plain", &pair(&plain)).await;
    eventually_some("both are rejected", || async {
        let status = gateway.get_admin("/admin/v2/status").await.text();
        let rejected = ["gw/certificates/web", "gw/certificates/plain"].iter().all(|key| status.contains(key));
        rejected.then_some(())
    })
    .await;
    assert_eq!(gateway.shown("a.example").await, wildcard.fingerprint(), "the last good one");
    assert_eq!(gateway.shown("x.example.com").await, wildcard.fingerprint());
    let closed = gateway.shown("b.example.com").await;
    assert!(closed.contains("unrecognized name"), "no wildcard stands in: {closed}");
}

#[tokio::test]
async fn the_end_of_a_certificate_is_told_before_it_comes() {
    let mut gateway = TlsGateway::prepare(&["a.example"], json!({}));
    let soon = Wanted { names: &["a.example"], ends_in: 5 * 86_400 - 3600, ..Wanted::default() };
    gateway.put_pair("host", &gateway.ca.issue(&soon));
    gateway.boot().await;
    eventually("the log tells", || async {
        gateway.output().contains("certificate host.pem of a.example ends in 4 days")
    })
    .await;
    let metrics = gateway.metrics().await;
    let line = metrics.lines().find(|line| line.starts_with("gateway_certificate_expiry_seconds{")).unwrap();
    assert!(line.contains("certificate=\"host.pem\",host=\"a.example\""), "{line}");
    let seconds: i64 = line.rsplit(' ').next().unwrap().parse().unwrap();
    assert!((4 * 86_400..=5 * 86_400).contains(&seconds), "{line}");
}

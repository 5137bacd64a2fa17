//! What certificates are taken, and which one a server name gets.

use std::sync::Arc;

use super::test_certificates::{Issued, Wanted};
use super::{CertStore, Closed, Entry, Found, OwnPolicy, Settings};
use crate::resource::{ClientAuth, Pair};

fn entry(id: &str, issued: &Issued, default: bool) -> Arc<Entry> {
    entry_with(id, issued, default, OwnPolicy::Listeners)
}

fn entry_with(id: &str, issued: &Issued, default: bool, policy: OwnPolicy) -> Arc<Entry> {
    let pair = Pair::parse(issued.cert_pem().as_bytes(), issued.key_pem().as_bytes()).unwrap();
    Arc::new(Entry::new(id.into(), pair, Vec::new(), default, policy, &Arc::default()).unwrap())
}

fn id(store: &CertStore, name: Option<&str>) -> String {
    match store.find(name) {
        Some((_, Found::Entry(entry))) => entry.id.clone(),
        Some((_, Found::Closed(_))) => "closed".into(),
        None => "none".into(),
    }
}

#[test]
fn the_most_exact_certificate_is_taken() {
    let ca = Issued::ca("ca");
    let store = CertStore::new(
        vec![
            entry("wildcard", &ca.host(&["*.example.com"]), false),
            entry("exact", &ca.host(&["www.example.com", "example.com"]), false),
            entry("default", &ca.host(&["other.example"]), true),
        ],
        [],
    );
    for (name, expected) in [
        (Some("www.example.com"), "exact"),
        (Some("example.com"), "exact"),
        (Some("api.example.com"), "wildcard"),
        (Some("a.api.example.com"), "default"),
        (Some("com"), "default"),
        (Some("other.example"), "default"),
        (None, "default"),
    ] {
        assert_eq!(id(&store, name), expected, "{name:?}");
    }
    let without = CertStore::new(vec![entry("a", &ca.host(&["a.example"]), false)], []);
    assert_eq!(id(&without, Some("b.example")), "none");
    assert_eq!(id(&without, None), "none");
}

#[test]
fn of_two_for_one_host_the_stricter_wins_then_the_longer_lasting() {
    let ca = Issued::ca("ca");
    let lasting = |days: i64| ca.issue(&Wanted { names: &["a.example"], ends_in: days * 86_400, ..Wanted::default() });
    let (short, long) = (entry("short", &lasting(10), false), entry("long", &lasting(100), false));
    for order in [[&short, &long], [&long, &short]] {
        assert_eq!(id(&CertStore::new(order.map(Arc::clone).to_vec(), []), Some("a.example")), "long");
    }
    let policy = OwnPolicy::new(Some(ClientAuth::Require), Some(ca.cert_pem().as_bytes())).unwrap();
    let strict = entry_with("strict", &lasting(1), false, policy);
    for order in [[&strict, &long], [&long, &strict]] {
        assert_eq!(id(&CertStore::new(order.map(Arc::clone).to_vec(), []), Some("a.example")), "strict");
    }
}

#[test]
fn a_broken_certificate_closes_its_host_and_no_looser_one_stands_in() {
    let ca = Issued::ca("ca");
    let wildcard = entry("wildcard", &ca.host(&["*.example.com", "a.example.com"]), true);
    let closed = |host: &str, strict| (host.to_owned(), Closed { strict });
    let store =
        CertStore::new(vec![Arc::clone(&wildcard)], [closed("b.example.com", false), closed("a.example.com", false)]);
    assert_eq!(id(&store, Some("b.example.com")), "closed");
    assert_eq!(id(&store, Some("a.example.com")), "wildcard", "a good one for the same host");
    assert_eq!(id(&store, Some("c.example.com")), "wildcard");
    let store = CertStore::new(vec![wildcard], [closed("a.example.com", true)]);
    assert_eq!(id(&store, Some("a.example.com")), "closed", "it may have demanded client certificates");
}

#[test]
fn of_two_stores_the_better_match_is_taken() {
    let ca = Issued::ca("ca");
    let stored = CertStore::new(vec![entry("stored", &ca.host(&["*.example.com", "both.example"]), true)], []);
    let files = CertStore::new(vec![entry("file", &ca.host(&["a.example.com", "both.example"]), true)], []);
    let id = |name| match stored.find_in_both(&files, name) {
        Some(Found::Entry(entry)) => entry.id.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(id(Some("a.example.com")), "file");
    assert_eq!(id(Some("b.example.com")), "stored");
    assert_eq!(id(Some("both.example")), "stored");
    assert_eq!(id(None), "stored");
}

#[test]
fn pairs_that_do_not_fit_are_refused_and_the_reason_names_the_field() {
    let (ca, other) = (Issued::ca("ca"), Issued::ca("other"));
    let between = ca.intermediate("between");
    let host = between.host(&["a.example"]);
    let reason = |cert: &str, key: &str| Pair::parse(cert.as_bytes(), key.as_bytes()).unwrap_err().to_string();
    Pair::parse(host.chain_pem(&[&between, &ca]).as_bytes(), host.key_pem().as_bytes()).unwrap();
    assert_eq!(reason(&host.cert_pem(), &other.key_pem()), "key: is not the key of the certificate");
    let disorder = reason(&host.chain_pem(&[&ca, &between]), &host.key_pem());
    assert!(disorder.starts_with("cert: certificate 2 of the chain did not issue certificate 1"), "{disorder}");
    assert!(reason("", &host.key_pem()).starts_with("cert: has no certificate"));
    assert!(reason(&host.cert_pem(), "x").starts_with("key: is not a private key in PEM"));
    assert!(reason(&host.cert_pem(), &host.cert_pem()).starts_with("key: is not a private key in PEM"));
    let cipher = openssl::symm::Cipher::aes_256_cbc();
    let locked = host.key.private_key_to_pem_pkcs8_passphrase(cipher, b"secret").unwrap();
    assert!(reason(&host.cert_pem(), std::str::from_utf8(&locked).unwrap()).contains("passphrase"));
    let weak = ca.issue(&Wanted { names: &["a.example"], rsa_bits: Some(1024), ..Wanted::default() });
    assert_eq!(reason(&weak.cert_pem(), &weak.key_pem()), "key: an RSA key has at least 2048 bits, this one 1024");
}

#[test]
fn a_summary_says_what_the_certificate_is() {
    let ca = Issued::ca("The CA, Inc.");
    let wanted =
        Wanted { common_name: "a.example", names: &["a.example", "*.b.example"], ends_in: 86_400, ..Wanted::default() };
    let issued = ca.issue(&wanted);
    let pair = Pair::parse(issued.cert_pem().as_bytes(), issued.key_pem().as_bytes()).unwrap();
    let summary = pair.summary();
    assert_eq!(summary.subject, "CN=a.example");
    assert_eq!(summary.issuer, "CN=The CA\\, Inc.");
    assert_eq!(summary.names, ["a.example", "*.b.example"]);
    assert_eq!(summary.fingerprint, issued.fingerprint());
    assert!((86_300..=86_400).contains(&summary.remaining(std::time::SystemTime::now())));
    assert!(!format!("{pair:?}").contains("PRIVATE"));
}

#[test]
fn a_context_is_made_anew_when_the_listeners_policy_changes() {
    let ca = Issued::ca("ca");
    let settings: Arc<Settings> = Arc::default();
    let issued = ca.host(&["a.example"]);
    let pair = Pair::parse(issued.cert_pem().as_bytes(), issued.key_pem().as_bytes()).unwrap();
    let entry = Entry::new("a".into(), pair, Vec::new(), false, OwnPolicy::Listeners, &settings).unwrap();
    let before = entry.secure();
    entry.refresh().unwrap();
    assert!(Arc::ptr_eq(&before, &entry.secure()), "nothing has changed");
    settings.policy.store(Arc::new(super::Policy::new(ClientAuth::Require, vec![ca.certificate]).unwrap()));
    entry.refresh().unwrap();
    assert_eq!(entry.secure().policy.auth, ClientAuth::Require);
}

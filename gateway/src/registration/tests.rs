//! Registrations on the embedded store.

use std::sync::Arc;

use super::*;
use crate::store::embedded::EmbeddedStore;

const P: &str = "/p/";
const UPSTREAM: &str = "10.0.0.5:8080";

struct Rig {
    store: SharedStore,
    registrar: Registrar,
    _dir: tempfile::TempDir,
}

fn rig() -> Rig {
    let dir = tempfile::tempdir().unwrap();
    let store: SharedStore = Arc::new(EmbeddedStore::open(&dir.path().join("store.redb")).unwrap());
    Rig { registrar: Registrar::new(Arc::clone(&store), P), store, _dir: dir }
}

fn node() -> Registration {
    Registration::new("demo1", UPSTREAM)
}

impl Rig {
    async fn stored(&self) -> Option<Kv> {
        self.store.get(&format!("{P}{}", node().key())).await.unwrap()
    }
}

#[tokio::test]
async fn a_node_is_registered_as_the_first_gateway_stores_it() {
    let rig = rig();
    let registered = rig.registrar.register(&Registration { weight: 5, ..node() }).await.unwrap();
    assert_eq!(registered, Registered { created: true, left: DEFAULT_TTL });
    let kv = rig.stored().await.unwrap();
    assert_eq!(kv.key, format!("/p/discovery/demo1.{}", key::md5_hex("demo110.0.0.5:8080")));
    assert!(kv.lease.is_some());
    let value: Value = serde_json::from_slice(&kv.value).unwrap();
    assert_eq!((&value["service_name"], &value["upstream"]), (&json!("demo1"), &json!(UPSTREAM)));
    assert_eq!((&value["weight"], &value["status"]), (&json!(5), &json!(1)));
    assert!(value["time"].as_u64().unwrap() > 1_600_000_000_000);
}

#[tokio::test]
async fn registering_again_renews_and_writes_nothing() {
    let rig = rig();
    rig.registrar.register(&node()).await.unwrap();
    let before = rig.stored().await.unwrap();
    let again = rig.registrar.register(&node()).await.unwrap();
    assert_eq!(again, Registered { created: false, left: DEFAULT_TTL });
    assert_eq!(rig.stored().await.unwrap(), before);
}

#[tokio::test]
async fn another_weight_or_ttl_is_written_under_a_new_lease_and_the_old_one_ends() {
    let rig = rig();
    rig.registrar.register(&node()).await.unwrap();
    let mut before = rig.stored().await.unwrap();
    for changed in [
        Registration { weight: 7, ..node() },
        Registration { ttl: Duration::from_millis(29_001), ..node() },
        Registration { enabled: false, ..node() },
    ] {
        assert!(!rig.registrar.register(&changed).await.unwrap().created);
        let after = rig.stored().await.unwrap();
        assert_ne!((&after.value, after.lease), (&before.value, before.lease), "{changed:?}");
        let old = before.lease.unwrap();
        assert_eq!(rig.store.lease_left(old).await, Err(StoreError::LeaseNotFound(old)));
        before = after;
    }
}

#[tokio::test]
async fn a_heartbeat_after_the_lease_has_ended_says_to_register_again() {
    let rig = rig();
    let not_registered = rig.registrar.heartbeat("demo1", UPSTREAM).await.unwrap_err();
    assert!(matches!(&not_registered, Refused::NotRegistered(_)), "{not_registered}");
    rig.registrar.register(&node()).await.unwrap();
    assert_eq!(rig.registrar.heartbeat("demo1", UPSTREAM).await.unwrap(), DEFAULT_TTL);
    rig.store.revoke_lease(rig.stored().await.unwrap().lease.unwrap()).await.unwrap();
    let gone = rig.registrar.heartbeat("demo1", UPSTREAM).await.unwrap_err();
    assert!(gone.to_string().contains("register again"), "{gone}");
}

#[tokio::test]
async fn an_operators_node_is_never_replaced_or_removed_unasked() {
    let rig = rig();
    let key = format!("{P}{}", node().key());
    rig.store.txn(vec![], vec![Op::put(key, "{}")]).await.unwrap();
    let before = rig.stored().await.unwrap();
    for refused in [
        rig.registrar.register(&node()).await.map(drop),
        rig.registrar.heartbeat("demo1", UPSTREAM).await.map(drop),
        rig.registrar.remove("demo1", UPSTREAM).await,
    ] {
        assert!(matches!(&refused, Err(Refused::Permanent(_))), "{refused:?}");
    }
    assert_eq!(rig.stored().await.unwrap(), before);
    assert!(!rig.registrar.register(&Registration { replace: true, ..node() }).await.unwrap().created);
    assert!(rig.stored().await.unwrap().lease.is_some());
}

#[tokio::test]
async fn a_removed_node_takes_its_own_lease_along_but_no_one_elses() {
    let rig = rig();
    rig.registrar.register(&node()).await.unwrap();
    let lease = rig.stored().await.unwrap().lease.unwrap();
    rig.registrar.remove("demo1", UPSTREAM).await.unwrap();
    assert_eq!(rig.stored().await, None);
    assert_eq!(rig.store.lease_left(lease).await, Err(StoreError::LeaseNotFound(lease)));
    rig.registrar.remove("demo1", UPSTREAM).await.unwrap();

    // A service that registers straight in the store may have several nodes under one lease.
    let lease = rig.store.grant_lease(DEFAULT_TTL).await.unwrap();
    let put = |key: String| Op::Put { key, value: "{}".into(), lease: Lease::Attach(lease) };
    let other = format!("{P}discovery/other.x");
    rig.store.txn(vec![], vec![put(format!("{P}{}", node().key())), put(other.clone())]).await.unwrap();
    rig.registrar.remove("demo1", UPSTREAM).await.unwrap();
    assert_eq!(rig.stored().await, None);
    assert!(rig.store.get(&other).await.unwrap().is_some());
}

#[tokio::test]
async fn a_list_has_what_registered_and_the_time_left() {
    let rig = rig();
    rig.registrar.register(&node()).await.unwrap();
    rig.registrar.register(&Registration::new("demo1.eu", UPSTREAM)).await.unwrap();
    rig.store.txn(vec![], vec![Op::put(format!("{P}discovery/demo1.operator"), "{}")]).await.unwrap();
    let names = |listed: &[Listed]| -> Vec<_> { listed.iter().map(|l| l.node["service_name"].clone()).collect() };
    let all = rig.registrar.list(None).await.unwrap();
    assert_eq!(names(&all), ["demo1", "demo1.eu"]);
    let one = rig.registrar.list(Some("demo1")).await.unwrap();
    assert_eq!(names(&one), ["demo1"]);
    assert_eq!(one[0].ttl, Some(DEFAULT_TTL));
    assert!(one[0].left.is_some_and(|left| left > Duration::ZERO && left <= DEFAULT_TTL), "{one:?}");
}

#[tokio::test]
async fn a_service_cannot_grow_without_bounds() {
    let rig = rig();
    for chunk in (0..MAX_NODES).collect::<Vec<_>>().chunks(100) {
        let ops = chunk.iter().map(|n| Op::put(format!("{P}discovery/demo1.{n}"), "{}")).collect();
        rig.store.txn(vec![], ops).await.unwrap();
    }
    let refused = rig.registrar.register(&node()).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the service \"demo1\" has 1000 nodes already, which is the most that may register"
    );
}

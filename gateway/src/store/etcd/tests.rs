//! What only etcd can do to us: faults of the real server and of the way to it.

use std::path::{Path, PathBuf};
use std::process::Command;

use etcd_client::{
    AlarmAction, AlarmOptions, AlarmType, Client as RawClient, CompactionOptions, Permission, PermissionType,
};

use super::super::SharedStore;
use super::super::conformance::etcd_server::{EtcdServer, free_port};
use super::super::conformance::tcp_proxy::{Fate, TcpProxy};
use super::super::conformance::{Mirror, etcd_store, eventually};
use super::*;

async fn put(store: &SharedStore, key: &str, value: &str) -> Revision {
    store.txn(vec![], vec![Op::put(key, value.to_owned())]).await.unwrap()
}

async fn raw(server: &EtcdServer) -> RawClient {
    RawClient::connect([server.url()], None).await.unwrap()
}

/// Writes past the store under test, as another gateway would, and waits for etcd to be there.
async fn put_raw(server: &EtcdServer, key: &str, value: &str) -> Revision {
    put(&etcd_store(server.options()).await, key, value).await
}

fn copy_dir(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-r").args([from, to]).status().unwrap().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_connects_only_when_used() {
    let options = EtcdOptions { endpoints: vec![format!("127.0.0.1:{}", free_port())], ..EtcdOptions::default() };
    let store: SharedStore = Arc::new(EtcdStore::connect(options).unwrap());
    let Err(StoreError::Unavailable(reason)) = store.get("k").await else { panic!("a dead etcd answered") };
    assert!(reason.contains("refused"), "{reason}");
    assert!(!store.health().await.ok);
    let mut mirror = Mirror::of(&store, &["k/"]);
    assert!(matches!(mirror.next().await, WatchItem::Disconnected { reason } if reason.contains("refused")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_does_not_wait_for_delayed_acknowledgements() {
    let server = EtcdServer::start();
    let store = etcd_store(server.options()).await;
    let mut fastest = Duration::MAX;
    for _ in 0..50 {
        let start = std::time::Instant::now();
        store.get("k").await.unwrap();
        fastest = fastest.min(start.elapsed());
    }
    // With Nagle's algorithm on, none takes less than Linux delays an acknowledgement: 40 ms.
    assert!(fastest < Duration::from_millis(35), "{fastest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_of_etcd_loses_no_change() {
    let mut server = EtcdServer::start();
    let store = etcd_store(server.options()).await;
    let mut mirror = Mirror::of(&store, &["k/"]);
    mirror.resync().await;
    put(&store, "k/1", "1").await;
    mirror.events().await;
    for round in 0..3 {
        server.kill();
        mirror.disconnected().await;
        server.restart();
        let mut last = 0;
        for n in 0..5 {
            last = put_raw(&server, &format!("k/{n}"), &format!("{round}")).await;
        }
        assert!(!mirror.reach(last).await, "nothing was missed, so no resync");
        assert_eq!(mirror.content.len(), 5);
        assert_eq!(put(&store, "k/4", "x").await, last + 1, "calls work again, too");
        mirror.reach(last + 1).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quiet_restart_yields_disconnected_then_connected() {
    let mut server = EtcdServer::start();
    let store = etcd_store(server.options()).await;
    put(&store, "k/1", "1").await;
    let mut mirror = Mirror::of(&store, &["k/"]);
    mirror.resync().await;
    server.kill();
    assert!(matches!(mirror.next().await, WatchItem::Disconnected { .. }));
    server.restart();
    assert_eq!(mirror.next().await, WatchItem::Connected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_etcd_is_noticed() {
    let server = EtcdServer::start();
    let store = etcd_store(server.options()).await;
    put(&store, "k/1", "1").await;
    let mut mirror = Mirror::of(&store, &["k/"]);
    mirror.resync().await;
    server.freeze();
    let frozen = std::time::Instant::now();
    mirror.disconnected().await;
    // 4.5 s and half a second to reconnect on an idle machine; the rest is for a busy one.
    assert!(frozen.elapsed() < Duration::from_secs(15), "{:?}", frozen.elapsed());
    server.thaw();
    let last = put_raw(&server, "k/2", "2").await;
    assert!(!mirror.reach(last).await, "nothing was missed, so no resync");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_endpoint_is_left_for_another() {
    let server = EtcdServer::start();
    let proxy = TcpProxy::to(server.port()).await;
    let options = EtcdOptions { endpoints: vec![proxy.url(), server.url()], ..EtcdOptions::default() };
    let store = etcd_store(options).await;
    put(&store, "k/1", "1").await;
    let mut mirror = Mirror::of(&store, &["k/"]);
    mirror.resync().await;
    proxy.set(Fate::Freeze);
    assert_eq!(store.get("k/1").await.unwrap().unwrap().value, "1", "a read goes to the other endpoint");
    let last = put(&store, "k/2", "2").await;
    assert!(!mirror.reach(last).await, "nothing was missed, so no resync");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_endpoint_fails_no_call() {
    let server = EtcdServer::start();
    let dead = format!("http://127.0.0.1:{}", free_port());
    for endpoints in [vec![dead.clone(), server.url()], vec![server.url(), dead]] {
        let store = etcd_store(EtcdOptions { endpoints, ..EtcdOptions::default() }).await;
        let mut mirror = Mirror::of(&store, &["k/"]);
        assert!(matches!(mirror.next().await, WatchItem::Resync(_)));
        for n in 0..10 {
            let last = put(&store, "k/1", &n.to_string()).await;
            assert!(store.get("k/1").await.unwrap().is_some());
            mirror.reach(last).await;
        }
        let lease = store.grant_lease(Duration::from_secs(60)).await.unwrap();
        store.renew_lease(lease).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_loss_of_a_leader_fails_no_guarded_call() {
    let mut members = EtcdServer::start_cluster(3);
    let endpoints = members.iter().map(EtcdServer::url).collect();
    // Patient, for an election on a busy machine takes its time.
    let options = EtcdOptions { endpoints, request_timeout: Duration::from_secs(30), ..EtcdOptions::default() };
    let store = etcd_store(options).await;
    let mut mirror = Mirror::of(&store, &["k"]);
    mirror.resync().await;
    let mut last = put(&store, "k", "0").await;
    let leader = raw(&members[0]).await.status().await.unwrap().leader();
    for n in 1..=40 {
        if n == 10 {
            for member in &mut members {
                if raw(member).await.status().await.unwrap().header().unwrap().member_id() == leader {
                    member.kill();
                }
            }
        }
        let guard = Guard::ModRevision("k".into(), last);
        last = store.txn(vec![guard], vec![Op::put("k", n.to_string())]).await.unwrap();
        assert_eq!(store.get("k").await.unwrap().unwrap().mod_revision, last);
    }
    assert!(!mirror.reach(last).await, "nothing was missed, so no resync");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_whose_answer_is_lost_is_done_once() {
    let server = EtcdServer::start();
    let proxy = TcpProxy::to(server.port()).await;
    let store = etcd_store(EtcdOptions { endpoints: vec![proxy.url()], ..EtcdOptions::default() }).await;
    // Guarded by what it writes itself: a second try cannot do it twice, and tells what it did.
    let first = {
        proxy.set(Fate::LoseAnswer);
        let ops = vec![Op::put("a", "1"), Op::put("b", "1")];
        store.txn(vec![Guard::Absent("a".into())], ops).await.unwrap()
    };
    let kv = store.get("a").await.unwrap().unwrap();
    assert_eq!((kv.mod_revision, kv.create_revision), (first, first));
    proxy.set(Fate::LoseAnswer);
    let second = store.txn(vec![Guard::ModRevision("a".into(), first)], vec![Op::put("a", "2")]).await.unwrap();
    assert_eq!(second, first + 1);
    // Unguarded, a second try could undo somebody else's write in between.
    proxy.set(Fate::LoseAnswer);
    let unguarded = store.txn(vec![], vec![Op::put("a", "3")]).await;
    assert!(matches!(unguarded, Err(StoreError::Unavailable(_))), "{unguarded:?}");
    let kv = store.get("a").await.unwrap().unwrap();
    assert_eq!((kv.value.as_ref(), kv.mod_revision), (&b"3"[..], first + 2));
    // Of a guarded deletion nothing is left to know it by.
    proxy.set(Fate::LoseAnswer);
    let deletion = store.txn(vec![Guard::ModRevision("a".into(), first + 2)], vec![Op::delete("a")]).await;
    assert!(matches!(deletion, Err(StoreError::Unavailable(_))), "{deletion:?}");
    assert_eq!(store.get("a").await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compaction_during_an_outage_makes_a_resync() {
    let server = EtcdServer::start();
    let proxy = TcpProxy::to(server.port()).await;
    let store = etcd_store(EtcdOptions { endpoints: vec![proxy.url()], ..EtcdOptions::default() }).await;
    put(&store, "k/1", "1").await;
    put(&store, "k/2", "1").await;
    let mut mirror = Mirror::of(&store, &["k/"]);
    mirror.resync().await;
    proxy.set(Fate::Freeze);
    mirror.disconnected().await;
    let mut client = raw(&server).await;
    client.delete("k/1", None).await.unwrap();
    for _ in 0..3 {
        client.put("k/3", "3", None).await.unwrap();
    }
    let now = put_raw(&server, "k/4", "4").await;
    client.compact(i64::try_from(now).unwrap(), None).await.unwrap();
    proxy.set(Fate::Pass);
    assert!(mirror.reach(now).await, "changes were missed, so a resync");
    assert_eq!(mirror.content.keys().collect::<Vec<_>>(), ["k/2", "k/3", "k/4"]);
    let last = put(&store, "k/5", "5").await;
    assert!(!mirror.reach(last).await, "then it goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_etcd_makes_a_resync() {
    let mut server = EtcdServer::start();
    let store = etcd_store(server.options()).await;
    put(&store, "k/1", "1").await;
    put(&store, "k/2", "1").await;
    let mut mirror = Mirror::of(&store, &["k/"]);
    let known = mirror.resync().await.revision;
    // At a lower revision than before, and with the same one but other keys.
    for writes in [0, known] {
        server.wipe();
        mirror.disconnected().await;
        server.restart();
        for n in 0..writes {
            put_raw(&server, &format!("other/{n}"), "x").await;
        }
        assert_eq!(mirror.resync().await.entries, []);
        let last = put(&store, "k/1", "new").await;
        mirror.reach(last).await;
        assert_eq!(mirror.content.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_etcd_restored_from_a_copy_makes_a_resync() {
    let mut server = EtcdServer::start();
    let backup = tempfile::tempdir().unwrap();
    let store = etcd_store(server.options()).await;
    put(&store, "k/1", "1").await;
    let mut mirror = Mirror::of(&store, &["k/"]);
    mirror.resync().await;
    server.kill();
    copy_dir(&server.data_dir(), &backup.path().join("data"));
    server.restart();
    put_raw(&server, "k/lost", "1").await;
    let known = put_raw(&server, "k/lost", "2").await;
    mirror.reach(known).await;
    server.wipe();
    mirror.disconnected().await;
    copy_dir(&backup.path().join("data"), &server.data_dir());
    server.restart();
    // It has come further than we knew, by another way.
    for n in 0..5 {
        put_raw(&server, "other", &n.to_string()).await;
    }
    let listing = mirror.resync().await;
    assert!(listing.revision > known);
    assert_eq!(listing.entries.iter().map(|kv| kv.key.as_str()).collect::<Vec<_>>(), ["k/1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_and_passwords_are_used() {
    let mut server = EtcdServer::start();
    let login = |user: &str, password: &str| EtcdOptions {
        user: Some(user.into()),
        password: Some(password.into()),
        ..server.options()
    };
    // Before authentication is on, a login does no harm; afterwards it is used.
    let early = etcd_store(login("gateway", "secret")).await;
    put(&early, "k/1", "1").await;
    let mut mirror = Mirror::of(&early, &["k/"]);
    mirror.resync().await;
    let mut client = raw(&server).await;
    client.user_add("root", "root", None).await.unwrap();
    client.user_grant_role("root", "root").await.unwrap();
    client.user_add("gateway", "secret", None).await.unwrap();
    client.role_add("gateway").await.unwrap();
    let permission = Permission::new(PermissionType::Readwrite, "k/").with_prefix();
    client.role_grant_permission("gateway", permission).await.unwrap();
    client.user_grant_role("gateway", "gateway").await.unwrap();
    client.auth_enable().await.unwrap();

    let last = put(&early, "k/1", "2").await;
    mirror.reach(last).await;
    let store = etcd_store(login("gateway", "secret")).await;
    let last = put(&store, "k/1", "3").await;
    mirror.reach(last).await;
    let denied = |result: Result<Revision, StoreError>, reason: &str| {
        assert_eq!(result, Err(StoreError::Denied(reason.into())));
    };
    let write = |key: &'static str| vec![Op::put(key, "x")];
    denied(store.txn(vec![], write("other")).await, "etcdserver: permission denied");
    assert!(matches!(store.list("other").await, Err(StoreError::Denied(_))));
    let mut other = Mirror::of(&store, &["k/", "other/"]);
    assert!(other.disconnected().await.contains("permission denied"));

    let wrong = EtcdStore::connect(login("gateway", "wrong")).unwrap();
    denied(wrong.txn(vec![], write("k/1")).await, "etcdserver: authentication failed, invalid user ID or password");
    assert!(!wrong.health().await.ok);
    let none = EtcdStore::connect(server.options()).unwrap();
    denied(none.txn(vec![], write("k/1")).await, "etcdserver: user name is empty");

    // Tokens do not survive a restart.
    server.kill();
    mirror.disconnected().await;
    server.restart();
    eventually("the store works again", || async { store.health().await.ok }).await;
    let last = put(&store, "k/1", "4").await;
    assert!(!mirror.reach(last).await, "nothing was missed, so no resync");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_etcd_says_so() {
    let server = EtcdServer::start_with(&["--quota-backend-bytes=4194304".into()]);
    let store = etcd_store(server.options()).await;
    let value = vec![7; 500 << 10];
    let mut result = Ok(0);
    for _ in 0..50 {
        result = store.txn(vec![], vec![Op::put("k", value.clone())]).await;
        if result.is_err() {
            break;
        }
    }
    assert_eq!(result, Err(StoreError::Full("etcdserver: mvcc: database space exceeded".into())));
    assert!(store.get("k").await.unwrap().is_some(), "reads go on");
    let health = store.health().await;
    assert!(health.ok && health.detail.contains("NOSPACE"), "{health:?}");
    let now = store.list("").await.unwrap().revision;
    let mut client = raw(&server).await;
    let physical = CompactionOptions::new().with_physical();
    client.compact(i64::try_from(now).unwrap(), Some(physical)).await.unwrap();
    client.defragment().await.unwrap();
    let mut member = AlarmOptions::new();
    member.with_member(client.status().await.unwrap().header().unwrap().member_id());
    client.alarm(AlarmAction::Deactivate, AlarmType::Nospace, Some(member)).await.unwrap();
    assert_eq!(put(&store, "k", "small").await, now + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_checks_both_sides() {
    let certs = Certs::new();
    let file = |name: &str| certs.path(name);
    let arg = |name: &str, cert: &str| format!("--{name}={}", file(cert).display());
    let server = EtcdServer::start_with(&[
        arg("cert-file", "server.crt"),
        arg("key-file", "server.key"),
        arg("trusted-ca-file", "ca.crt"),
        "--client-cert-auth".into(),
    ]);
    let tls = EtcdTls {
        ca_file: Some(file("ca.crt")),
        cert_file: Some(file("client.crt")),
        key_file: Some(file("client.key")),
        server_name: Some("etcd.test".into()),
    };
    let options = |tls: EtcdTls| EtcdOptions { tls: Some(tls), ..server.options() };
    // The certificate is for etcd.test, the endpoint is 127.0.0.1.
    let store = etcd_store(options(tls.clone())).await;
    let mut mirror = Mirror::of(&store, &["k"]);
    mirror.resync().await;
    let last = put(&store, "k", "1").await;
    mirror.reach(last).await;
    let schemeless = EtcdOptions { endpoints: vec![format!("127.0.0.1:{}", server.port())], ..options(tls.clone()) };
    assert!(etcd_store(schemeless).await.get("k").await.unwrap().is_some());

    for (what, tls, reason) in [
        ("no server name", EtcdTls { server_name: None, ..tls.clone() }, "IP address mismatch"),
        ("another server name", EtcdTls { server_name: Some("other.test".into()), ..tls.clone() }, "hostname mismatch"),
        ("another address", EtcdTls { server_name: Some("127.0.0.2".into()), ..tls.clone() }, "IP address mismatch"),
        (
            "the system's authorities",
            EtcdTls { ca_file: None, ..tls.clone() },
            "unable to get local issuer certificate",
        ),
        // TLS 1.3 lets the server say so after the handshake, when it is too late to be heard.
        ("no client certificate", EtcdTls { cert_file: None, key_file: None, ..tls.clone() }, ""),
    ] {
        let store = EtcdStore::connect(options(tls)).unwrap();
        let Err(StoreError::Unavailable(error)) = store.get("k").await else { panic!("{what} was accepted") };
        assert!(error.contains(reason), "{what}: {error}");
    }
}

#[test]
fn wrong_options_are_named() {
    let certs = Certs::new();
    let file = |name: &str| Some(certs.path(name));
    let base = EtcdOptions::default;
    let endpoint = |endpoint: &str| EtcdOptions { endpoints: vec![endpoint.into()], ..base() };
    let tls = |tls: EtcdTls| EtcdOptions { tls: Some(tls), ..endpoint("127.0.0.1:2379") };
    let missing = certs.path("missing");
    let missing = missing.display();
    let key = certs.path("client.key");
    let key = key.display();
    for (options, message) in [
        (EtcdOptions { endpoints: vec![], ..base() }, "etcd: endpoints: at least one is needed".to_owned()),
        (endpoint("ftp://h:1"), "etcd: endpoints: \"ftp://h:1\" is neither http:// nor https://".into()),
        (endpoint("http://host"), "etcd: endpoints: \"http://host\" is not host:port".into()),
        (endpoint("host"), "etcd: endpoints: \"host\" is not host:port".into()),
        (endpoint("a b:1"), "etcd: endpoints: \"a b:1\" is no address: invalid uri character".into()),
        (EtcdOptions { user: Some("u".into()), ..base() }, "etcd: password: is needed with user".into()),
        (EtcdOptions { password: Some("p".into()), ..base() }, "etcd: user: is needed with password".into()),
        (
            EtcdOptions { user: Some(String::new()), password: Some("p".into()), ..base() },
            "etcd: user: must not be empty".into(),
        ),
        (EtcdOptions { request_timeout: Duration::ZERO, ..base() }, "etcd: request_timeout: must not be 0".into()),
        (
            EtcdOptions { tls: Some(EtcdTls::default()), ..endpoint("http://h:1") },
            "etcd: endpoints: \"http://h:1\" is not https, but tls is set".into(),
        ),
        (
            tls(EtcdTls { ca_file: file("missing"), ..EtcdTls::default() }),
            format!("etcd: tls.ca_file: {missing}: No such file or directory (os error 2)"),
        ),
        (
            tls(EtcdTls { ca_file: file("client.key"), ..EtcdTls::default() }),
            format!("etcd: tls.ca_file: {key} has no certificate"),
        ),
        (
            tls(EtcdTls { cert_file: file("client.crt"), ..EtcdTls::default() }),
            "etcd: tls.key_file: is needed with tls.cert_file".into(),
        ),
        (
            tls(EtcdTls { key_file: file("client.key"), ..EtcdTls::default() }),
            "etcd: tls.cert_file: is needed with tls.key_file".into(),
        ),
        (
            tls(EtcdTls { cert_file: file("client.crt"), key_file: file("server.key"), ..EtcdTls::default() }),
            "etcd: tls.key_file: is not the key of tls.cert_file".into(),
        ),
    ] {
        let error = EtcdStore::connect(options).err().expect("wrong options");
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn the_password_is_not_shown() {
    let options = EtcdOptions { user: Some("root".into()), password: Some("hunter2".into()), ..EtcdOptions::default() };
    let shown = format!("{options:?}");
    assert!(shown.contains("root") && shown.contains("***") && !shown.contains("hunter2"), "{shown}");
}

/// An authority with a certificate for `etcd.test` and one for a client.
struct Certs(tempfile::TempDir);

impl Certs {
    fn new() -> Self {
        let certs = Self(tempfile::tempdir().unwrap());
        let ec = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2";
        certs.openssl(&format!("req -x509 {ec} -subj /CN=authority -keyout ca.key -out ca.crt"));
        for (name, subject) in [("server", "etcd.test"), ("client", "gateway")] {
            certs.openssl(&format!(
                "req -x509 {ec} -subj /CN={subject} -addext subjectAltName=DNS:{subject} -CA ca.crt -CAkey ca.key \
                 -addext basicConstraints=critical,CA:FALSE -keyout {name}.key -out {name}.crt"
            ));
        }
        certs
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn openssl(&self, args: &str) {
        let output = Command::new("openssl").args(args.split_whitespace()).current_dir(self.0.path()).output().unwrap();
        assert!(output.status.success(), "openssl {args}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

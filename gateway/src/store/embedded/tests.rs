//! What only the embedded store can do: restart, be locked, be damaged, run out of disk.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::{FutureExt as _, StreamExt as _};
use proptest::prelude::*;
use redb::StorageBackend;
use redb::backends::FileBackend;

use super::super::conformance::{Mirror, eventually};
use super::super::{Lease, SharedStore};
use super::*;

fn shared(store: EmbeddedStore) -> SharedStore {
    Arc::new(store)
}

fn file(dir: &tempfile::TempDir) -> PathBuf {
    dir.path().join("new/deep/store.redb")
}

fn refusal(path: &Path) -> StoreError {
    EmbeddedStore::open(path).err().expect("a refusal")
}

async fn put(store: &SharedStore, key: &str, value: &str, lease: Lease) -> Result<Revision, StoreError> {
    store.txn(vec![], vec![Op::Put { key: key.into(), value: value.to_owned().into(), lease }]).await
}

#[tokio::test]
async fn content_and_revision_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = shared(EmbeddedStore::open(&file(&dir)).unwrap());
    put(&store, "a", "1", Lease::None).await.unwrap();
    let last = put(&store, "b", "2", Lease::None).await.unwrap();
    let listing = store.list("").await.unwrap();
    drop(store);
    let store = shared(EmbeddedStore::open(&file(&dir)).unwrap());
    assert_eq!(store.list("").await.unwrap(), listing);
    assert_eq!(put(&store, "a", "3", Lease::None).await, Ok(last + 1));
}

#[tokio::test]
async fn an_acknowledged_write_survives_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("copy.redb");
    let store = shared(EmbeddedStore::open(&file(&dir)).unwrap());
    let lease = store.grant_lease(Duration::from_secs(600)).await.unwrap();
    for n in 0..20 {
        put(&store, &format!("k/{n}"), "v", Lease::Attach(lease)).await.unwrap();
        // What a crash would leave, as the store has not been closed.
        fs::copy(file(&dir), &copy).unwrap();
        let crashed = shared(EmbeddedStore::open(&copy).unwrap());
        assert_eq!(crashed.list("").await.unwrap(), store.list("").await.unwrap());
        crashed.renew_lease(lease).await.unwrap();
    }
}

#[tokio::test]
async fn a_lease_gets_its_full_time_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = shared(EmbeddedStore::open(&file(&dir)).unwrap());
    let lease = store.grant_lease(Duration::from_secs(2)).await.unwrap();
    put(&store, "k", "v", Lease::Attach(lease)).await.unwrap();
    drop(store);
    // Down for longer than the lease lasts.
    std::thread::sleep(Duration::from_millis(2500));
    let store = shared(EmbeddedStore::open(&file(&dir)).unwrap());
    assert_eq!(store.get("k").await.unwrap().unwrap().lease, Some(lease));
    assert_eq!(store.renew_lease(lease).await, Ok(Duration::from_secs(2)));
    eventually("the lease expires", || async { store.get("k").await.unwrap().is_none() }).await;
    drop(store);
    let store = shared(EmbeddedStore::open(&file(&dir)).unwrap());
    assert_eq!(store.renew_lease(lease).await, Err(StoreError::LeaseNotFound(lease)));
}

#[test]
fn opening_needs_no_runtime() {
    let dir = tempfile::tempdir().unwrap();
    drop(EmbeddedStore::open(&file(&dir)).unwrap());
    drop(EmbeddedStore::open(&file(&dir)).unwrap());
}

#[test]
fn only_the_owner_may_read_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    drop(EmbeddedStore::open(&file(&dir)).unwrap());
    assert_eq!((mode(&file(&dir)), mode(&dir.path().join("new"))), (0o600, 0o700));
    fs::set_permissions(file(&dir), fs::Permissions::from_mode(0o644)).unwrap();
    drop(EmbeddedStore::open(&file(&dir)).unwrap());
    assert_eq!(mode(&file(&dir)), 0o600);
}

#[test]
fn a_second_process_is_sent_to_the_admin_api() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(&file(&dir)).unwrap();
    let path = file(&dir);
    let expected = format!(
        "the store is unavailable: {} is in use by another process; use the admin API of the running gateway instead",
        path.display()
    );
    assert_eq!(refusal(&path).to_string(), expected);
    drop(store);
    EmbeddedStore::open(&path).unwrap();
}

#[test]
fn a_damaged_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    fs::write(&path, "certainly not a store").unwrap();
    let text = refusal(&path).to_string();
    assert!(text.starts_with(&format!("{} is damaged or not a store (", path.display())), "{text}");
    assert!(text.ends_with("); restore it from a backup, or move it away to start empty"), "{text}");
    assert_eq!(fs::read(&path).unwrap(), b"certainly not a store", "it is left as it was");
}

#[tokio::test]
async fn a_file_damaged_inside_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(&dir);
    let store = shared(EmbeddedStore::open(&path).unwrap());
    for n in 0..100 {
        put(&store, &format!("k/{n}"), &"value".repeat(100), Lease::None).await.unwrap();
    }
    drop(store);
    let mut bytes = fs::read(&path).unwrap();
    let mut damaged = 0;
    for at in 4096..bytes.len() - 5 {
        if &bytes[at..at + 5] == b"value" {
            bytes[at] = b'V';
            damaged += 1;
        }
    }
    assert!(damaged > 0);
    fs::write(&path, &bytes).unwrap();
    assert!(matches!(refusal(&path), StoreError::Invalid(text) if text.contains("is damaged")));
}

#[test]
fn a_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let text = refusal(dir.path()).to_string();
    assert!(text.contains(&dir.path().display().to_string()), "{text}");
}

/// A disk that can be full.
#[derive(Debug)]
struct Disk {
    file: FileBackend,
    full: Arc<AtomicBool>,
}

impl Disk {
    fn room(&self) -> io::Result<()> {
        if self.full.load(Ordering::SeqCst) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.room()?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.room()?;
        self.file.write(offset, data)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_writes_until_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    let full = Arc::new(AtomicBool::new(false));
    let opener: Opener = {
        let full = Arc::clone(&full);
        Box::new(move |path| {
            let file = fs::OpenOptions::new().read(true).write(true).open(path)?;
            let backend = Disk { file: FileBackend::new(file)?, full: Arc::clone(&full) };
            redb::Builder::new().create_with_backend(backend)
        })
    };
    let store = shared(EmbeddedStore::open_with(&path, opener).unwrap());
    let before = put(&store, "k/1", "1", Lease::None).await.unwrap();
    let mut mirror = Mirror::of(&store, &["k/"]);
    mirror.resync().await;
    let lease = store.grant_lease(Duration::from_secs(1)).await.unwrap();
    let leased = put(&store, "k/leased", "1", Lease::Attach(lease)).await.unwrap();
    mirror.reach(leased).await;
    full.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        let result = put(&store, "k/2", "2", Lease::None).await;
        assert!(matches!(&result, Err(StoreError::Full(_))), "{result:?}");
    }
    assert!(matches!(store.grant_lease(Duration::from_secs(9)).await, Err(StoreError::Full(_))));
    // Long enough for the lease to fall due, and not to be lost for that.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    full.store(false, Ordering::SeqCst);
    eventually("the lease expires", || async { store.get("k/leased").await.is_ok_and(|kv| kv.is_none()) }).await;
    let last = put(&store, "k/3", "3", Lease::None).await.unwrap();
    assert_eq!(last, before + 3, "what was refused was not written");
    mirror.reach(last).await;
    assert_eq!(mirror.content.keys().collect::<Vec<_>>(), ["k/1", "k/3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_ends_with_the_store_and_does_not_keep_it_open() {
    let dir = tempfile::tempdir().unwrap();
    let store = shared(EmbeddedStore::open(&file(&dir)).unwrap());
    let mut stream = store.watch(vec!["k".into()]);
    assert!(matches!(futures::StreamExt::next(&mut stream).await, Some(WatchItem::Resync(_))));
    drop(store);
    let _store = EmbeddedStore::open(&file(&dir)).unwrap();
    assert_eq!(futures::StreamExt::next(&mut stream).await, None);
}

#[test]
fn a_change_that_is_in_the_first_listing_is_not_yielded_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = shared(EmbeddedStore::open(&file(&dir)).unwrap());
    // One blocking thread, held until both the write and the watcher's listing wait for it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap();
    runtime.block_on(async {
        let (release, held) = std::sync::mpsc::channel::<()>();
        let holder = tokio::task::spawn_blocking(move || held.recv());
        let mut first = put_later(&store, "k/1");
        assert!((&mut first).now_or_never().is_none());
        let mut mirror = Mirror::of(&store, &["k/"]);
        let mut resync = Box::pin(mirror.resync());
        assert!((&mut resync).now_or_never().is_none());
        release.send(()).unwrap();
        holder.await.unwrap().unwrap();
        let first = first.await.unwrap();
        assert_eq!(resync.await.revision, first);
        let second = put_later(&store, "k/2").await.unwrap();
        let events = mirror.events().await;
        assert_eq!((events.len(), mirror.revision), (1, second));
    });
}

fn put_later(store: &SharedStore, key: &str) -> futures::future::BoxFuture<'static, Result<Revision, StoreError>> {
    let (store, key) = (store.clone(), key.to_owned());
    Box::pin(async move { store.txn(vec![], vec![Op::put(key, "v")]).await })
}

/// The semantics, as plainly as they can be said.
#[derive(Default)]
struct Model {
    revision: Revision,
    keys: BTreeMap<String, Kv>,
}

impl Model {
    fn txn(&mut self, guards: &[Guard], ops: &[Op]) -> Result<Revision, StoreError> {
        super::super::check_txn(guards, ops)?;
        for guard in guards {
            let holds = match guard {
                Guard::Absent(key) => !self.keys.contains_key(key),
                Guard::ModRevision(key, revision) => self.keys.get(key).is_some_and(|kv| kv.mod_revision == *revision),
            };
            if !holds {
                return Err(StoreError::Conflict);
            }
        }
        let next = self.revision + 1;
        for op in ops {
            match op {
                Op::Put { key, value, lease } => {
                    let old = self.keys.get(key);
                    let kv = Kv {
                        key: key.clone(),
                        value: value.clone(),
                        create_revision: old.map_or(next, |old| old.create_revision),
                        mod_revision: next,
                        lease: match lease {
                            Lease::None => None,
                            Lease::Keep => old.and_then(|old| old.lease),
                            Lease::Attach(lease) => Some(*lease),
                        },
                    };
                    self.keys.insert(key.clone(), kv);
                    self.revision = next;
                }
                Op::Delete(key) => {
                    if self.keys.remove(key).is_some() {
                        self.revision = next;
                    }
                }
            }
        }
        Ok(self.revision)
    }

    fn revoke(&mut self, lease: LeaseId) {
        let before = self.keys.len();
        self.keys.retain(|_, kv| kv.lease != Some(lease));
        if self.keys.len() < before {
            self.revision += 1;
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Txn { guards: Vec<(usize, Option<u64>)>, ops: Vec<(usize, Option<usize>)> },
    Revoke(usize),
    Reopen,
}

const KEYS: [&str; 5] = ["a", "a/", "a/b", "b", "\u{10FFFF}"];
const LEASES: usize = 3;

fn step() -> impl Strategy<Value = Step> {
    // A revision is said as how long ago it was, so that guards hold often enough.
    let guard = (0..KEYS.len(), prop::option::of(0..4u64));
    // None deletes; otherwise keep, none, or one of the leases.
    let op = (0..KEYS.len(), prop::option::of(0..LEASES + 2));
    prop_oneof![
        20 => (prop::collection::vec(guard, 0..2), prop::collection::vec(op, 0..4))
            .prop_map(|(guards, ops)| Step::Txn { guards, ops }),
        2 => (0..LEASES).prop_map(Step::Revoke),
        1 => Just(Step::Reopen),
    ]
}

async fn matches_the_model(steps: Vec<Step>) {
    let dir = tempfile::tempdir().unwrap();
    let mut store = shared(EmbeddedStore::open(&file(&dir)).unwrap());
    let mut model = Model { revision: 1, ..Model::default() };
    let mut mirror = Mirror::of(&store, &[""]);
    mirror.resync().await;
    let mut leases = Vec::new();
    for _ in 0..LEASES {
        leases.push(store.grant_lease(Duration::from_secs(600)).await.unwrap());
    }
    for step in steps {
        match step {
            Step::Txn { guards, ops } => {
                let guard = |(key, ago): (usize, Option<u64>)| match ago {
                    None => Guard::Absent(KEYS[key].into()),
                    Some(ago) => Guard::ModRevision(KEYS[key].into(), model.revision.saturating_sub(ago)),
                };
                let op = |(key, lease): (usize, Option<usize>)| match lease {
                    None => Op::delete(KEYS[key]),
                    Some(n) => Op::Put {
                        key: KEYS[key].into(),
                        value: vec![u8::try_from(n).unwrap()].into(),
                        lease: match n {
                            0 => Lease::Keep,
                            1 => Lease::None,
                            n => Lease::Attach(leases[n - 2]),
                        },
                    },
                };
                let guards: Vec<_> = guards.into_iter().map(guard).collect();
                let ops: Vec<_> = ops.into_iter().map(op).collect();
                assert_eq!(store.txn(guards.clone(), ops.clone()).await, model.txn(&guards, &ops));
            }
            Step::Revoke(n) => {
                store.revoke_lease(leases[n]).await.unwrap();
                model.revoke(leases[n]);
                leases[n] = store.grant_lease(Duration::from_secs(600)).await.unwrap();
            }
            Step::Reopen => {
                drop(store);
                store = shared(EmbeddedStore::open(&file(&dir)).unwrap());
                mirror = Mirror::of(&store, &[""]);
                mirror.resync().await;
            }
        }
        let listing = store.list("").await.unwrap();
        assert_eq!(listing.revision, model.revision);
        assert_eq!(listing.entries, model.keys.values().cloned().collect::<Vec<_>>());
        mirror.reach(model.revision).await;
        assert_eq!(mirror.content, model.keys);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_store_does_what_the_model_does(steps in prop::collection::vec(step(), 1..40)) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(matches_the_model(steps));
    }
}

#[tokio::test]
async fn another_process_takes_the_file_over_with_its_leases() {
    let dir = tempfile::tempdir().unwrap();
    let old = EmbeddedStore::open(&file(&dir)).unwrap();
    let lease = old.grant_lease(Duration::from_secs(600)).await.unwrap();
    let ops = vec![Op::Put { key: "a".into(), value: "1".into(), lease: Lease::Attach(lease) }];
    let last = old.txn(vec![], ops).await.unwrap();

    let new = EmbeddedStore::take_over(&file(&dir)).unwrap();
    let mut items = new.watch(vec![String::new()]);
    assert!(matches!(items.next().await, Some(WatchItem::Disconnected { .. })));
    assert!(new.is_elsewhere() && !old.is_elsewhere());
    assert!(matches!(new.get("a").await, Err(StoreError::Unavailable(_))));
    assert_eq!(old.get("a").await.unwrap().unwrap().value, "1", "the old one still works");

    old.release();
    assert!(old.is_elsewhere());
    assert!(matches!(old.get("a").await, Err(StoreError::Unavailable(_))));
    let Some(WatchItem::Resync(listing)) = items.next().await else { panic!("the content") };
    assert_eq!((listing.revision, listing.entries[0].lease), (last, Some(lease)));
    assert!(new.renew_lease(lease).await.is_ok());
    assert_eq!(new.txn(vec![], vec![Op::put("b", "2")]).await, Ok(last + 1));
    assert!(matches!(items.next().await, Some(WatchItem::Events { revision, .. }) if revision == last + 1));
}

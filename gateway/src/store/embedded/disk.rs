//! The redb file: opening, reading, committing, and reopening after the disk failed.
//!
//! redb refuses all work after its first I/O error until the file is opened again, so a full disk
//! would end the store for good. Here the next call opens it again instead.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use redb::{
    CommitError, Database, DatabaseError, ReadTransaction, ReadableDatabase, ReadableTable, StorageError,
    TableDefinition, TableError, TransactionError,
};

use super::super::{Event, Kv, LeaseId, Listing, Revision, StoreError};
use super::is_full;
use super::tx::{Refusal, Tx};

/// Key: create revision, mod revision, lease or 0, value.
pub(super) const KEYS: TableDefinition<'_, &str, Row<'_>> = TableDefinition::new("keys");
/// Lease: time to live in seconds.
pub(super) const LEASES: TableDefinition<'_, LeaseId, u64> = TableDefinition::new("leases");
/// The keys of each lease.
pub(super) const LEASE_KEYS: TableDefinition<'_, (LeaseId, &str), ()> = TableDefinition::new("lease_keys");
pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
pub(super) const REVISION: &str = "revision";
const FORMAT: &str = "format";
const CURRENT_FORMAT: u64 = 1;

/// Memory redb may use to cache pages. A gateway reads its store once, at the start.
const CACHE_BYTES: usize = 2 << 20;

pub(super) type Row<'a> = (u64, u64, LeaseId, &'a [u8]);
pub(super) type Opener = Box<dyn Fn(&Path) -> Result<Database, DatabaseError> + Send + Sync>;

/// What a transaction did.
pub(super) struct Committed {
    pub(super) revision: Revision,
    pub(super) events: Vec<Event>,
}

pub(super) struct Disk {
    path: PathBuf,
    opener: Opener,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    /// `None` after an I/O error, until the next call.
    database: Option<Arc<Database>>,
    /// The one that failed, which calls still under way may hold.
    failed: Weak<Database>,
    /// The file belongs to another process: the one before this, or the one after.
    elsewhere: bool,
}

impl fmt::Display for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.display().fmt(f)
    }
}

pub(super) fn open_file(path: &Path) -> Result<Database, DatabaseError> {
    // Without the check a damaged file panics later, in the middle of a call.
    redb::Builder::new().set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true).create(path)
}

impl Disk {
    pub(super) fn open(path: &Path, opener: Opener) -> Result<Self, StoreError> {
        let disk = Self { path: path.to_owned(), opener, open: Mutex::default() };
        create_private(path).map_err(|e| disk.io_error(&e))?;
        disk.initialise()?;
        Ok(disk)
    }

    /// As [`Disk::open`]; a file that another process has open can be opened with [`Disk::take`] once
    /// that lets go.
    pub(super) fn open_or_await(path: &Path, opener: Opener) -> Result<Self, StoreError> {
        let disk = Self::awaiting(path, opener);
        create_private(path).map_err(|e| disk.io_error(&e))?;
        match (disk.opener)(path) {
            Ok(database) => {
                *disk.lock() = Open { database: Some(Arc::new(database)), ..Open::default() };
                disk.initialise()?;
            }
            Err(DatabaseError::DatabaseAlreadyOpen) => {}
            Err(e) => return Err(disk.open_error(e)),
        }
        Ok(disk)
    }

    fn awaiting(path: &Path, opener: Opener) -> Self {
        let open = Open { elsewhere: true, ..Open::default() };
        Self { path: path.to_owned(), opener, open: Mutex::new(open) }
    }

    /// Opens the file if the process that had it has let go, and calls `before` ahead of all others.
    pub(super) fn take(&self, before: impl FnOnce(&Self) -> Result<(), StoreError>) -> Result<(), StoreError> {
        let database = (self.opener)(&self.path).map_err(|e| self.open_error(e))?;
        let own = Self::awaiting(&self.path, Box::new(|_| Err(DatabaseError::DatabaseAlreadyOpen)));
        let database = Arc::new(database);
        *own.lock() = Open { database: Some(Arc::clone(&database)), ..Open::default() };
        own.initialise()?;
        before(&own)?;
        *self.lock() = Open { database: Some(database), ..Open::default() };
        Ok(())
    }

    /// Lets go of the file for good, as soon as the calls under way are over.
    pub(super) fn release(&self) {
        *self.lock() = Open { elsewhere: true, ..Open::default() };
    }

    pub(super) fn is_elsewhere(&self) -> bool {
        self.lock().elsewhere
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, key: &str) -> Result<Option<Kv>, StoreError> {
        self.read(|tx| {
            let keys = tx.open_table(KEYS)?;
            Ok(keys.get(key)?.map(|row| kv(key, row.value())))
        })
    }

    /// The prefixes do not overlap and are in order.
    pub(super) fn list(&self, prefixes: &[String]) -> Result<Listing, StoreError> {
        self.read(|tx| {
            let keys = tx.open_table(KEYS)?;
            let mut entries = Vec::new();
            for prefix in prefixes {
                for row in keys.range(prefix.as_str()..)? {
                    let (key, row) = row?;
                    if !key.value().starts_with(prefix.as_str()) {
                        break;
                    }
                    entries.push(kv(key.value(), row.value()));
                }
            }
            Ok(Listing { revision: revision(tx)?, entries })
        })
    }

    pub(super) fn revision(&self) -> Result<Revision, StoreError> {
        self.read(revision)
    }

    pub(super) fn leases(&self) -> Result<Vec<(LeaseId, Duration)>, StoreError> {
        self.read(|tx| {
            tx.open_table(LEASES)?
                .iter()?
                .map(|row| {
                    let (lease, ttl) = row?;
                    Ok((lease.value(), Duration::from_secs(ttl.value())))
                })
                .collect()
        })
    }

    /// Commits what `work` does, on disk when this returns `Ok`. What changes nothing is not
    /// committed.
    pub(super) fn write(&self, work: impl FnOnce(&mut Tx<'_>) -> Result<(), Refusal>) -> Result<Committed, StoreError> {
        let database = self.database()?;
        let result = (|| {
            let txn = database.begin_write()?;
            let mut tx = Tx::open(&txn)?;
            work(&mut tx)?;
            let (changed, committed) = tx.finish()?;
            if changed {
                txn.commit()?;
            } else {
                txn.abort()?;
            }
            Ok(committed)
        })();
        result.map_err(|refusal| match refusal {
            Refusal::Store(e) => e,
            Refusal::Disk(e) => self.fail(database, e),
        })
    }

    fn read<T>(&self, work: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>) -> Result<T, StoreError> {
        let database = self.database()?;
        let result = database.begin_read().map_err(redb::Error::from).and_then(|tx| work(&tx));
        result.map_err(|e| self.fail(database, e))
    }

    fn initialise(&self) -> Result<(), StoreError> {
        let create = |database: &Database| -> Result<u64, redb::Error> {
            let txn = database.begin_write()?;
            txn.open_table(KEYS)?;
            txn.open_table(LEASES)?;
            txn.open_table(LEASE_KEYS)?;
            let format = {
                let mut meta = txn.open_table(META)?;
                let format = meta.get(FORMAT)?.map(|v| v.value());
                if format.is_none() {
                    meta.insert(FORMAT, CURRENT_FORMAT)?;
                    // As etcd: an empty store is at revision 1, so 0 is never a revision.
                    meta.insert(REVISION, 1)?;
                }
                format.unwrap_or(CURRENT_FORMAT)
            };
            txn.commit()?;
            Ok(format)
        };
        let database = self.database()?;
        match create(&database).map_err(|e| self.fail(database, e))? {
            CURRENT_FORMAT => Ok(()),
            other => Err(StoreError::Invalid(format!(
                "{self} has format {other}, this version reads {CURRENT_FORMAT}: it was written by another version"
            ))),
        }
    }

    fn database(&self) -> Result<Arc<Database>, StoreError> {
        let mut open = self.lock();
        if let Some(database) = &open.database {
            return Ok(Arc::clone(database));
        }
        if open.elsewhere {
            return Err(StoreError::Unavailable(format!("{self} is being handed over to another process")));
        }
        // The file stays locked until the last call on the failed one is over, which is soon.
        while open.failed.strong_count() > 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
        let database = Arc::new((self.opener)(&self.path).map_err(|e| self.open_error(e))?);
        open.database = Some(Arc::clone(&database));
        Ok(database)
    }

    /// Lets the next call open the file again, and says what went wrong.
    fn fail(&self, failed: Arc<Database>, error: redb::Error) -> StoreError {
        let failed = {
            let weak = Arc::downgrade(&failed);
            drop(failed);
            weak
        };
        {
            let mut open = self.lock();
            let current = open.database.take_if(|database| Weak::ptr_eq(&Arc::downgrade(database), &failed));
            if current.is_some() {
                open.failed = failed;
            }
        }
        match error {
            redb::Error::Io(e) => self.io_error(&e),
            redb::Error::Corrupted(e) => self.damaged(&e),
            e => StoreError::Unavailable(format!("{self}: {e}")),
        }
    }

    fn open_error(&self, error: DatabaseError) -> StoreError {
        match error {
            DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => StoreError::Unavailable(
                format!("{self} is in use by another process; use the admin API of the running gateway instead"),
            ),
            DatabaseError::Storage(StorageError::Io(e)) => self.io_error(&e),
            DatabaseError::Storage(StorageError::Corrupted(e)) => self.damaged(&e),
            DatabaseError::UpgradeRequired(version) => {
                StoreError::Invalid(format!("{self} has the file format {version} of another version"))
            }
            e => StoreError::Unavailable(format!("{self}: {e}")),
        }
    }

    fn io_error(&self, error: &io::Error) -> StoreError {
        match error.kind() {
            _ if is_full(error) => StoreError::Full(format!("{self}: {error}")),
            io::ErrorKind::PermissionDenied => StoreError::Denied(format!("{self}: {error}")),
            // redb says so of a file that it did not write.
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => self.damaged(error),
            _ => StoreError::Unavailable(format!("{self}: {error}")),
        }
    }

    fn damaged(&self, error: &dyn fmt::Display) -> StoreError {
        StoreError::Invalid(format!(
            "{self} is damaged or not a store ({error}); restore it from a backup, or move it away to start empty"
        ))
    }
}

/// Makes sure that the file exists and that only its owner may read it.
fn create_private(path: &Path) -> io::Result<()> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    match options.clone().create_new(true).open(path) {
        // The new name has to survive a power cut as well as the content.
        Ok(_) => File::open(parent)?.sync_all(),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            options.open(path)?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o600))
        }
        Err(e) => Err(e),
    }
}

fn revision(tx: &ReadTransaction) -> Result<Revision, redb::Error> {
    let meta = tx.open_table(META)?;
    Ok(meta.get(REVISION)?.map_or(1, |v| v.value()))
}

pub(super) fn kv(key: &str, (create_revision, mod_revision, lease, value): Row<'_>) -> Kv {
    Kv {
        key: key.to_owned(),
        value: value.to_vec().into(),
        create_revision,
        mod_revision,
        lease: (lease != 0).then_some(lease),
    }
}

macro_rules! disk_errors {
    ($($error:ty),*) => {$(
        impl From<$error> for Refusal {
            fn from(error: $error) -> Self {
                Self::Disk(error.into())
            }
        }
    )*};
}
disk_errors!(CommitError, StorageError, TableError, TransactionError);

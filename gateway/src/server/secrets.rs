//! The keys of secrets: where they come from, and that all gateways of a store have the same.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use serde_json::{Value, json};

use super::Parts;
use crate::config::{Config, StoreKind};
use crate::resource::key::{CERTIFICATES, HEAD, SECRETS_KEY, SERVICES, TOTP};
use crate::secret::Secrets;
use crate::store::{Guard, Op, SharedStore, StoreError};

const TRIES: usize = 5;
/// How long until the store is asked again.
const RETRY: Duration = Duration::from_secs(1);

/// The file the keys are in, if they are in one.
fn file(config: &Config) -> Option<PathBuf> {
    if config.secrets.key.is_some() {
        return None;
    }
    config.secrets.key_file.clone().or_else(|| {
        // One machine needs no key that its operator knows; it lies beside the database.
        let beside = || config.store.embedded.path.with_file_name("secrets.key");
        (config.store.kind == StoreKind::Embedded).then(beside)
    })
}

/// The keys as configured; of the embedded store, those of its own file, when there is one.
///
/// # Errors
/// When keys are configured that cannot be read.
pub(crate) fn load(config: &Config) -> anyhow::Result<Secrets> {
    if let Some(key) = &config.secrets.key {
        return Secrets::parse(key).context("secrets.key");
    }
    let Some(file) = file(config) else { return Ok(Secrets::default()) };
    match std::fs::read_to_string(&file) {
        Ok(text) => Secrets::parse(&text).with_context(|| format!("the key file {}", file.display())),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && config.secrets.key_file.is_none() => {
            Ok(Secrets::default())
        }
        Err(e) => Err(e).with_context(|| format!("cannot read the key file {}", file.display())),
    }
}

/// As [`load`], and makes the embedded store's key file at the first start.
pub(super) fn load_or_make(config: &Config) -> anyhow::Result<Secrets> {
    let secrets = load(config)?;
    let file = file(config).filter(|_| secrets.fingerprint().is_none() && config.secrets.key_file.is_none());
    let Some(file) = file else { return Ok(secrets) };
    let text = Secrets::generate();
    write_new(&file, &text).with_context(|| format!("cannot write the key file {}", file.display()))?;
    log::info!("made the key of secrets, {}; keep a copy of it apart from the database", file.display());
    Ok(Secrets::parse(&text)?)
}

fn write_new(file: &Path, text: &str) -> std::io::Result<()> {
    if let Some(dir) = file.parent() {
        std::fs::create_dir_all(dir)?;
    }
    let mut made = File::options().write(true).create_new(true).mode(0o600).open(file)?;
    made.write_all(format!("{text}\n").as_bytes())?;
    made.sync_all()
}

/// Runs [`check`] until the store has answered. A mismatch found after the start ends nothing: what
/// is live stays, and secrets of the other key are rejected one by one.
pub(super) async fn hold_against_store(parts: Arc<Parts>) -> Result<(), String> {
    loop {
        match check(&parts.store, &parts.config.store.data_prefix, &parts.secrets).await {
            Ok(checked) => {
                if let Err(mismatch) = &checked {
                    log::error!("{mismatch}");
                }
                return checked;
            }
            Err(e) => log::debug!("the key of secrets cannot be held against the store yet: {e}"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Holds the fingerprint of the key against that of the store, and puts it there at the first start.
/// The inner error is a mismatch, the outer a store that does not answer.
pub(super) async fn check(
    store: &SharedStore,
    prefix: &str,
    secrets: &Secrets,
) -> Result<Result<(), String>, StoreError> {
    let key = format!("{prefix}{SECRETS_KEY}");
    if let Some(fingerprint) = secrets.fingerprint() {
        let put = Op::put(key.clone(), fingerprint_object(fingerprint));
        match store.txn(vec![Guard::Absent(key.clone())], vec![put]).await {
            Ok(_) => return Ok(Ok(())),
            Err(StoreError::Conflict) => {}
            Err(e) => return Err(e),
        }
    }
    let Some(stored) = store.get(&key).await? else { return Ok(Ok(())) };
    let stored: Value = serde_json::from_slice(&stored.value).unwrap_or_default();
    let stored = stored["fingerprint"].as_str().unwrap_or_default();
    if secrets.knows(stored) {
        return Ok(Ok(()));
    }
    let short = |fingerprint: &str| fingerprint.get(..8).unwrap_or(fingerprint).to_owned();
    Ok(Err(match secrets.fingerprint() {
        Some(ours) => format!(
            "the secrets in the store are encrypted with the key {}, and this gateway has {}; all gateways of a store need the same, see secrets.key and secrets.key_file",
            short(stored),
            short(ours)
        ),
        None => format!(
            "the secrets in the store are encrypted with the key {}, and this gateway has none; set secrets.key or secrets.key_file",
            short(stored)
        ),
    }))
}

fn fingerprint_object(fingerprint: &str) -> String {
    json!({"fingerprint": fingerprint}).to_string()
}

/// What a rotation did.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Rotated {
    /// Objects that were encrypted anew.
    pub(crate) changed: usize,
    /// Objects that had the key already.
    pub(crate) current: usize,
}

/// Encrypts every secret of the store with the first of the keys.
///
/// # Errors
/// When the store fails, or a secret is of a key that is not here; some may have been changed then.
pub(crate) async fn rotate(store: &SharedStore, prefix: &str, secrets: &Secrets) -> anyhow::Result<Rotated> {
    let fingerprint = secrets.fingerprint().ok_or_else(|| anyhow!("no key is configured; see secrets.key"))?;
    if let Err(mismatch) = check(store, prefix, secrets).await? {
        bail!("{mismatch}; give the old key after the new one");
    }
    let mut rotated = Rotated::default();
    for (family, at) in SECRETS {
        for kv in store.list(&format!("{prefix}{family}")).await?.entries {
            let place = kv.key.strip_prefix(prefix).unwrap_or(&kv.key);
            match reseal(store, prefix, place, at, secrets).await.with_context(|| place.to_owned())? {
                Some(true) => rotated.changed += 1,
                Some(false) => rotated.current += 1,
                None => {}
            }
        }
    }
    // Last: until then a gateway with only the old key may start.
    let key = format!("{prefix}{SECRETS_KEY}");
    store.txn(Vec::new(), vec![Op::put(key, fingerprint_object(fingerprint))]).await?;
    Ok(rotated)
}

/// The families that hold encrypted keys, and where in an object they are.
const SECRETS: [(&str, &str); 3] = [(CERTIFICATES, "/key"), (SERVICES, "/tls/key"), (TOTP, "/secret")];

/// Encrypts one object's key anew. Whether that was needed; `None` when it has none that is encrypted.
async fn reseal(
    store: &SharedStore,
    prefix: &str,
    place: &str,
    at: &str,
    secrets: &Secrets,
) -> anyhow::Result<Option<bool>> {
    for _ in 0..TRIES {
        let Some(kv) = store.get(&format!("{prefix}{place}")).await? else { return Ok(None) };
        let mut value: Value = serde_json::from_slice(&kv.value).context("is not valid JSON")?;
        let Some(key) = value.pointer_mut(at) else { return Ok(None) };
        let Some(sealed) = key.as_str().filter(|key| Secrets::is_sealed(key)) else { return Ok(None) };
        if secrets.is_current(sealed) {
            return Ok(Some(false));
        }
        let plain = secrets.open(place, sealed).context("key")?;
        *key = secrets.seal(place, &plain)?.into();
        let guard = Guard::ModRevision(kv.key.clone(), kv.mod_revision);
        let head = Op::put(format!("{prefix}{HEAD}"), json!({"time": 0}).to_string());
        match store.txn(vec![guard], vec![Op::put(kv.key, value.to_string()), head]).await {
            Ok(_) => return Ok(Some(true)),
            Err(StoreError::Conflict) => {}
            Err(e) => return Err(e.into()),
        }
    }
    bail!("others keep writing it; try again")
}

/// Puts a new key before those of the key file.
///
/// # Errors
/// When the keys are not in a file, or it cannot be written.
pub(crate) fn add_key(config: &Config) -> anyhow::Result<PathBuf> {
    let file =
        file(config).ok_or_else(|| anyhow!("secrets.key is not a file; put the new key before the old one there"))?;
    let before = std::fs::read_to_string(&file).unwrap_or_default();
    replace(&file, &format!("{}\n{before}", Secrets::generate()))?;
    Ok(file)
}

/// Takes all keys but the first out of a key file.
pub(crate) fn drop_old_keys(file: &Path) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let first = text.split(|c: char| c.is_whitespace() || c == ',').find(|word| !word.is_empty());
    replace(file, first.unwrap_or_default())
}

fn replace(file: &Path, text: &str) -> anyhow::Result<()> {
    let next = file.with_extension("key.new");
    // What a broken attempt left behind.
    std::fs::remove_file(&next).ok();
    let replaced = write_new(&next, text.trim()).and_then(|()| std::fs::rename(&next, file));
    replaced.with_context(|| format!("cannot write {}", file.display()))
}

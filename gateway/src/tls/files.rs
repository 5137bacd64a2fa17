//! Certificates from the PEM files of the configuration, read anew when they change.
//!
//! What decides is the content, so a symbolic link that is swapped (as Kubernetes does) is seen like
//! any other change. A bad pair is refused and the one before stays.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};
use openssl::sha::Sha256;

use super::{CertStore, Entry, OwnPolicy, Policy, Settings};
use crate::resource::{ClientAuth, Invalid, Pair, client_cas, host_patterns};

/// The files of one certificate.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PemFiles {
    /// The chain.
    pub cert: PathBuf,
    /// The key.
    pub key: PathBuf,
    /// The hosts it is for; those it names when empty.
    pub hosts: Vec<String>,
    /// Whether it is for hosts that no other is for.
    pub default: bool,
    /// CAs that sign client certificates; those of the listeners when absent.
    pub client_ca: Option<PathBuf>,
    /// Whether clients are asked for a certificate; as the listeners do when absent.
    pub client_auth: Option<ClientAuth>,
}

/// Why files are not used. Displays with their names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FileError(String);

type Digest = [u8; 32];
/// What is in files; nothing where none is named.
type Contents<const N: usize> = [Option<Vec<u8>>; N];

/// A set of files that are read together, and what was made of them.
struct Watched<T> {
    /// Of the content that `live` was made from.
    digest: Digest,
    live: T,
    /// Of content that was refused, and how often it was seen.
    refused: Option<(Digest, u32)>,
}

struct State {
    policy: Option<Watched<()>>,
    certificates: Vec<(PemFiles, Watched<Arc<Entry>>)>,
}

/// The certificates from files.
pub struct Files {
    settings: Arc<Settings>,
    listener_ca: Option<PathBuf>,
    listener_auth: ClientAuth,
    state: Mutex<State>,
    store: ArcSwap<CertStore>,
}

impl Files {
    /// Reads all files. `client_ca` and `client_auth` are for certificates that say nothing of client
    /// certificates themselves, those of the store too; the settings get them.
    pub fn open(
        settings: Arc<Settings>,
        certificates: Vec<PemFiles>,
        client_ca: Option<PathBuf>,
        client_auth: ClientAuth,
    ) -> Result<Self, FileError> {
        let policy = match read_all([client_ca.as_deref()]) {
            Ok((digest, [ca])) => {
                let policy = listener_policy(client_auth, ca.as_deref())
                    .map_err(|e| FileError(format!("{}: {e}", shown(client_ca.as_deref()))))?;
                settings.policy.store(Arc::new(policy));
                client_ca.is_some().then_some(Watched { digest, live: (), refused: None })
            }
            Err(e) => return Err(e),
        };
        let mut live = Vec::new();
        for files in certificates {
            let watched = files.read(&settings).map_err(|(_, e)| e)?;
            live.push((files, watched));
        }
        let store = ArcSwap::from_pointee(store_of(&live));
        let state = Mutex::new(State { policy, certificates: live });
        Ok(Self { settings, listener_ca: client_ca, listener_auth: client_auth, state, store })
    }

    /// The certificates as they are now.
    pub fn store(&self) -> Arc<CertStore> {
        self.store.load_full()
    }

    /// The certificates as they are now, for the moment of a lookup.
    pub fn load(&self) -> Guard<Arc<CertStore>> {
        self.store.load()
    }

    /// What holds for every certificate.
    pub fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    /// Reads again what has changed. Files that do not fit together are given a second look before
    /// the log is told, since they may be in the middle of being replaced; `at_once`, when a person
    /// asked, they are not. Blocks for the files.
    pub fn reload(&self, at_once: bool) {
        let patience = if at_once { 1 } else { 2 };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(watched) = &mut state.policy {
            self.reload_policy(watched, patience);
        }
        let mut changed = false;
        for (files, watched) in &mut state.certificates {
            let outcome = match files.digest() {
                Ok(digest) if digest == watched.digest => {
                    watched.refused = None;
                    continue;
                }
                _ => files.read(&self.settings),
            };
            match outcome {
                Ok(new) => {
                    log::info!("tls: {files} read anew; it ends in {} days", days_left(&new.live));
                    *watched = new;
                    changed = true;
                }
                Err((digest, e)) => watched.refuse(digest, patience, &e),
            }
        }
        if changed {
            self.store.store(Arc::new(store_of(&state.certificates)));
        }
    }

    fn reload_policy(&self, watched: &mut Watched<()>, patience: u32) {
        let path = self.listener_ca.as_deref();
        match read_all([path]) {
            Ok((digest, _)) if digest == watched.digest => watched.refused = None,
            Ok((digest, [ca])) => match listener_policy(self.listener_auth, ca.as_deref()) {
                Ok(policy) => {
                    log::info!("tls: {} read anew", shown(path));
                    self.settings.policy.store(Arc::new(policy));
                    *watched = Watched { digest, live: (), refused: None };
                }
                Err(e) => watched.refuse(digest, patience, &FileError(format!("{}: {e}", shown(path)))),
            },
            Err(e) => watched.refuse(digest_of(&e), patience, &e),
        }
    }
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Files").field("store", &self.store.load()).finish_non_exhaustive()
    }
}

impl<T> Watched<T> {
    /// Notes that content is refused, and tells the log once.
    fn refuse(&mut self, digest: Digest, patience: u32, error: &FileError) {
        let seen_before = match self.refused {
            Some((known, seen)) if known == digest => seen,
            _ => 0,
        };
        let seen = seen_before.saturating_add(1);
        self.refused = Some((digest, seen));
        if seen >= patience && seen_before < patience {
            log::error!("tls: {error}; what was read before stays in use");
        }
    }
}

impl fmt::Display for PemFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} and {}", self.cert.display(), self.key.display())
    }
}

impl PemFiles {
    fn paths(&self) -> [Option<&Path>; 3] {
        [Some(&self.cert), Some(&self.key), self.client_ca.as_deref()]
    }

    fn digest(&self) -> Result<Digest, FileError> {
        read_all(self.paths()).map(|(digest, _)| digest)
    }

    fn read(&self, settings: &Arc<Settings>) -> Result<Watched<Arc<Entry>>, (Digest, FileError)> {
        let (digest, [cert, key, ca]) = read_all(self.paths()).map_err(|e| (digest_of(&e), e))?;
        let refused = |e: &Invalid| {
            let file = match e.path.as_str() {
                "cert" => format!("{}: ", self.cert.display()),
                "key" => format!("{}: ", self.key.display()),
                "client_ca" if self.client_ca.is_some() => format!("{}: ", shown(self.client_ca.as_deref())),
                _ => format!("{self}: {}: ", e.path),
            };
            (digest, FileError(format!("{file}{}", e.reason)))
        };
        let entry = self.entry(&cert.unwrap_or_default(), &key.unwrap_or_default(), ca.as_deref(), settings);
        let live = Arc::new(entry.map_err(|e| refused(&e))?);
        Ok(Watched { digest, live, refused: None })
    }

    fn entry(&self, cert: &[u8], key: &[u8], ca: Option<&[u8]>, settings: &Arc<Settings>) -> Result<Entry, Invalid> {
        let pair = Pair::parse(cert, key)?;
        let policy = OwnPolicy::new(self.client_auth, ca)?;
        let hosts = host_patterns(&self.hosts)?;
        Entry::new(self.cert.display().to_string(), pair, hosts, self.default, policy, settings)
    }
}

fn store_of(certificates: &[(PemFiles, Watched<Arc<Entry>>)]) -> CertStore {
    CertStore::new(certificates.iter().map(|(_, watched)| Arc::clone(&watched.live)).collect(), [])
}

fn listener_policy(auth: ClientAuth, ca: Option<&[u8]>) -> Result<Policy, Invalid> {
    Policy::new(auth, ca.map(client_cas).transpose()?.unwrap_or_default())
}

/// Reads files; the digest is of their contents.
fn read_all<const N: usize>(paths: [Option<&Path>; N]) -> Result<(Digest, Contents<N>), FileError> {
    let mut contents = [const { None }; N];
    let mut hash = Sha256::new();
    for (path, content) in paths.into_iter().zip(&mut contents) {
        let Some(path) = path else { continue };
        let bytes = std::fs::read(path).map_err(|e| FileError(format!("cannot read {}: {e}", path.display())))?;
        hash.update(&(bytes.len() as u64).to_be_bytes());
        hash.update(&bytes);
        *content = Some(bytes);
    }
    Ok((hash.finish(), contents))
}

/// Files that cannot be read are refused as such content is: by what is said of them.
fn digest_of(error: &FileError) -> Digest {
    openssl::sha::sha256(error.0.as_bytes())
}

fn days_left(entry: &Entry) -> i64 {
    entry.summary.remaining(std::time::SystemTime::now()).div_euclid(86_400)
}

fn shown(path: Option<&Path>) -> String {
    path.map_or_else(|| "tls.client_ca".into(), |path| path.display().to_string())
}

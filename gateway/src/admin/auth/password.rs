//! Passwords: argon2id, off the async threads, a few at a time, and one verification for every
//! login, whether there is such an account or not.

use std::sync::{Arc, LazyLock};

use argon2::Argon2;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Each verification takes 19 MiB and a core for tens of milliseconds.
const AT_ONCE: usize = 2;
/// More waiting than this are refused, so that guessing cannot pile up work.
const WAITING: usize = 32;

/// What an account's password is compared with.
#[derive(Clone)]
pub(super) enum Secret {
    /// An argon2id hash in PHC form.
    Hash(String),
    /// A password in plain text, from an old configuration.
    Plain(String),
}

impl Secret {
    /// Of a configured password, which may be either.
    pub(super) fn configured(password: &str) -> Self {
        if password.starts_with("$argon2") { Self::Hash(password.into()) } else { Self::Plain(password.into()) }
    }

    fn admits(&self, password: &str) -> bool {
        match self {
            Self::Hash(hash) => matches_hash(hash, password),
            Self::Plain(plain) => {
                // The same work as for a hash: the kind of an account is nobody's business. An
                // empty password is no password.
                matches_hash(&DECOY, password);
                equal(plain.as_bytes(), password.as_bytes()) && !plain.is_empty()
            }
        }
    }
}

/// The hash that unknown accounts are compared with; no one knows its password.
static DECOY: LazyLock<String> = LazyLock::new(|| hash(&generate()).unwrap_or_default());

/// Verifies passwords.
#[derive(Clone)]
pub(super) struct Verifier {
    running: Arc<Semaphore>,
    admitted: Arc<Semaphore>,
}

impl Verifier {
    pub(super) fn new() -> Self {
        Self { running: Arc::new(Semaphore::new(AT_ONCE)), admitted: Arc::new(Semaphore::new(AT_ONCE + WAITING)) }
    }

    /// A place among those whose passwords are verified; none when there are too many.
    pub(super) fn admit(&self) -> Option<Admitted> {
        let place = Arc::clone(&self.admitted).try_acquire_owned();
        place.inspect_err(|_| log::warn!("admin: too many logins at the same time; refused one")).ok().map(Admitted)
    }

    /// Whether the password is the account's. `None` as the secret is an account that does not
    /// exist; it costs the same.
    pub(super) async fn verify(&self, _place: Admitted, secret: Option<Secret>, password: String) -> bool {
        let Ok(permit) = Arc::clone(&self.running).acquire_owned().await else { return false };
        let check = tokio::task::spawn_blocking(move || {
            // Held by the work itself: a client that goes away does not make room for more work.
            let _permit = permit;
            let known = secret.is_some();
            secret.unwrap_or_else(|| Secret::Hash(DECOY.clone())).admits(&password) && known
        });
        check.await.unwrap_or(false)
    }
}

/// A place among those whose passwords are verified.
pub(super) struct Admitted(#[allow(dead_code, reason = "it is held")] OwnedSemaphorePermit);

/// Hashes a password.
pub(super) fn hash(password: &str) -> Result<String, argon2::password_hash::Error> {
    let hash: PasswordHash = Argon2::default().hash_password(password.as_bytes())?;
    Ok(hash.to_string())
}

/// A password no one guesses, of characters no one mistakes: 20 of 32, which is 100 bits.
pub(in crate::admin) fn generate() -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    rand::random::<[u8; 20]>().iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect()
}

/// Compares secrets by their digests, in a time that does not depend on them.
pub(super) fn equal(a: &[u8], b: &[u8]) -> bool {
    Sha256::digest(a).ct_eq(&Sha256::digest(b)).into()
}

fn matches_hash(hash: &str, password: &str) -> bool {
    PasswordHash::new(hash).is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}

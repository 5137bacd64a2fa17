//! Accounts in the store: the first one, and a new password for one.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{password, token};
use crate::config::AdminConfig;
use crate::store::{Guard, Op, SharedStore, StoreError};

/// Accounts: `gw/users/<name>`.
pub(super) const USERS: &str = "gw/users/";
/// Secrets of the Admin API itself: `gw/secrets/<name>`.
pub(super) const SECRETS: &str = "gw/secrets/";
/// The secret logins are signed with.
pub(super) const JWT_SECRET: &str = "gw/secrets/jwt";

/// The account of the first start.
const FIRST_USER: &str = "admin";
const TRIES: usize = 5;

/// An account as stored.
#[derive(Clone, Serialize, Deserialize, Default)]
#[serde(default)]
pub(super) struct User {
    /// The argon2id hash of its password, in PHC form.
    pub(super) password_hash: String,
    /// What `/admin/user/info` answers, beside the name.
    pub(super) info: Map<String, Value>,
    /// Tokens made before this are void; set when the password is reset. Seconds since 1970.
    pub(super) tokens_from: f64,
    /// What this version does not know.
    #[serde(flatten)]
    other: Map<String, Value>,
}

/// A signing secret as stored.
#[derive(Serialize, Deserialize)]
pub(super) struct StoredSecret {
    pub(super) secret: String,
}

/// Makes what the Admin API needs at its first start: the secret logins are signed with, unless one
/// is configured, and the account `admin`, unless the store or the configuration has any account.
/// Returns the new account's password, to be shown once; of several gateways that start together,
/// only the one whose account it is gets it.
///
/// # Errors
/// When the store cannot be read or written.
pub async fn first_start(
    store: &SharedStore,
    prefix: &str,
    config: &AdminConfig,
) -> Result<Option<String>, StoreError> {
    let secret_key = format!("{prefix}{JWT_SECRET}");
    if config.jwt_secret.is_none() && store.get(&secret_key).await?.is_none() {
        let secret = StoredSecret { secret: hex::encode(rand::random::<[u8; 32]>()) };
        create(store, secret_key, &secret).await?;
    }
    let users = format!("{prefix}{USERS}");
    if !config.account.is_empty() || !store.list(&users).await?.entries.is_empty() {
        return Ok(None);
    }
    let password = password::generate();
    let user = User { password_hash: hash(&password).await?, info: info(FIRST_USER), ..User::default() };
    let won = create(store, format!("{users}{FIRST_USER}"), &user).await?;
    Ok(won.then_some(password))
}

/// Gives an account of the store a new password, and ends its logins. The account `admin` is made
/// if there is none; it wins over one of that name in the configuration. Returns the password.
///
/// # Errors
/// When there is no such account, or the store cannot be read or written.
pub async fn reset_password(store: &SharedStore, prefix: &str, name: &str) -> Result<String, StoreError> {
    let key = format!("{prefix}{USERS}{name}");
    let password = password::generate();
    let password_hash = hash(&password).await?;
    for _ in 0..TRIES {
        let (guard, mut user) = match store.get(&key).await? {
            Some(kv) => (
                Guard::ModRevision(key.clone(), kv.mod_revision),
                serde_json::from_slice(&kv.value).unwrap_or_else(|_| User { info: info(name), ..User::default() }),
            ),
            None if name == FIRST_USER => (Guard::Absent(key.clone()), User { info: info(name), ..User::default() }),
            None => return Err(StoreError::Invalid(format!("there is no account \"{name}\" in the store"))),
        };
        user.password_hash.clone_from(&password_hash);
        user.tokens_from = token::now();
        match store.txn(vec![guard], vec![Op::put(key.clone(), json(&user)?)]).await {
            Ok(_) => return Ok(password),
            Err(StoreError::Conflict) => {}
            Err(e) => return Err(e),
        }
    }
    Err(StoreError::Conflict)
}

/// Creates a key; `false` when someone else was faster.
async fn create(store: &SharedStore, key: String, value: &impl Serialize) -> Result<bool, StoreError> {
    let put = Op::put(key.clone(), json(value)?);
    match store.txn(vec![Guard::Absent(key)], vec![put]).await {
        Ok(_) => Ok(true),
        Err(StoreError::Conflict) => Ok(false),
        Err(e) => Err(e),
    }
}

async fn hash(password: &str) -> Result<String, StoreError> {
    let password = password.to_owned();
    let hashed = tokio::task::spawn_blocking(move || password::hash(&password)).await;
    hashed.ok().and_then(Result::ok).ok_or_else(|| StoreError::Invalid("the password could not be hashed".into()))
}

fn json(value: &impl Serialize) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(value).map_err(|e| StoreError::Invalid(e.to_string()))
}

/// The old panel needs a role; `admin` unlocks its menu.
fn info(name: &str) -> Map<String, Value> {
    let info = json!({"roles": ["admin"], "introduction": "", "avatar": "", "name": name});
    info.as_object().cloned().unwrap_or_default()
}

//! Accounts in the store: the first one, and a new password for one.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::audit::{self, Entry};
use super::rights::{Rights, Role, Services};
use super::totp::TOTP;
use super::{password, token};
use crate::config::AdminConfig;
use crate::store::{Guard, Op, SharedStore, StoreError};

/// Accounts: `gw/users/<name>`.
pub(in crate::admin) const USERS: &str = "gw/users/";
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
pub(in crate::admin) struct User {
    /// The argon2id hash of its password, in PHC form.
    pub(in crate::admin) password_hash: String,
    /// What it may do; absent in accounts of older versions, whose `info` says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::admin) role: Option<Role>,
    /// The services that is for; absent is all there is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::admin) services: Option<Services>,
    /// The person's name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(in crate::admin) display_name: String,
    /// What `/admin/user/info` answers, beside the name.
    pub(in crate::admin) info: Map<String, Value>,
    /// Logins made before this are void; set when the password changes. Seconds since 1970.
    pub(in crate::admin) tokens_from: f64,
    /// What this version does not know.
    #[serde(flatten)]
    other: Map<String, Value>,
}

impl User {
    /// What it may do.
    pub(in crate::admin) fn rights(&self) -> Rights {
        Rights { role: self.role.unwrap_or_else(|| role_of(&self.info)), services: self.services.clone() }
    }
}

/// The role of an account that has none but in what the old panel is told.
pub(in crate::admin) fn role_of(info: &Map<String, Value>) -> Role {
    let named = |role: &str| info.get("roles").and_then(Value::as_array).is_some_and(|r| r.iter().any(|r| r == role));
    if named("admin") {
        Role::Admin
    } else if named("editor") {
        Role::Editor
    } else {
        Role::Viewer
    }
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
    let password_hash = hash(&password).await?;
    let user = User { password_hash, role: Some(Role::Admin), info: info(FIRST_USER, Role::Admin), ..User::default() };
    let won = create(store, format!("{users}{FIRST_USER}"), &user).await?;
    Ok(won.then_some(password))
}

/// Gives an account of the store a new password, ends its logins, and takes its authenticator away. The account `admin` is made
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
                serde_json::from_slice(&kv.value).unwrap_or_else(|_| fresh(name)),
            ),
            None if name == FIRST_USER => (Guard::Absent(key.clone()), fresh(name)),
            None => return Err(StoreError::Invalid(format!("there is no account \"{name}\" in the store"))),
        };
        user.password_hash.clone_from(&password_hash);
        user.tokens_from = token::now();
        // Who lost the phone has lost the password too, as far as this command is concerned.
        let entry = Entry::by_command("password.reset").to(name);
        let ops = vec![
            Op::put(key.clone(), json(&user)?),
            Op::delete(format!("{prefix}{TOTP}{name}")),
            audit::op(prefix, &entry),
        ];
        match store.txn(vec![guard], ops).await {
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

/// Hashes a password, off the async threads.
pub(in crate::admin) async fn hash(password: &str) -> Result<String, StoreError> {
    let password = password.to_owned();
    let hashed = tokio::task::spawn_blocking(move || password::hash(&password)).await;
    hashed.ok().and_then(Result::ok).ok_or_else(|| StoreError::Invalid("the password could not be hashed".into()))
}

/// The form of an object in the store.
pub(in crate::admin) fn json(value: &impl Serialize) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(value).map_err(|e| StoreError::Invalid(e.to_string()))
}

/// An account in the place of one that cannot be read, or of the first.
fn fresh(name: &str) -> User {
    User { role: Some(Role::Admin), info: info(name, Role::Admin), ..User::default() }
}

/// What the old panel is told of an account. It needs a role; `admin` unlocks its menu.
pub(in crate::admin) fn info(name: &str, role: Role) -> Map<String, Value> {
    let info = json!({"roles": [role], "introduction": "", "avatar": "", "name": name});
    info.as_object().cloned().unwrap_or_default()
}

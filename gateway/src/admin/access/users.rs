//! `/admin/v2/users`: accounts with a role, and the services it is for.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::IntoResponse as _;
use axum::routing::get;
use http::StatusCode;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::{Answer, Caller, TRIES, absent, check_match, check_services, check_text, failed, tagged, unchanged};
use crate::admin::auth::{self, Entry, Role, Services, TOTP, USERS, User};
use crate::admin::problem::Problem;
use crate::admin::{Admin, answer, objects};
use crate::store::{Guard, Kv, Op, StoreError};

/// Most accounts.
const MAX_USERS: usize = 1_000;

pub(super) fn router() -> Router<Arc<Admin>> {
    Router::new()
        .route("/users", get(list))
        .route("/users/{name}", get(one).put(put).patch(patch).delete(delete))
        .route("/users/{name}/totp", axum::routing::delete(drop_totp))
        .route("/users/{name}/sessions", axum::routing::delete(end_sessions))
}

/// What a put says, and what a patch comes to. What is only shown may be sent back, and means nothing.
#[derive(Clone, Deserialize, ToSchema)]
#[schema(as = UserChange)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "some fields are named so that they are accepted")]
pub(super) struct Wanted {
    /// How much it may do.
    role: Role,
    /// The services that is for, such as `team-*`; all when absent.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    services: Option<Services>,
    /// What people call it.
    #[serde(default)]
    #[schema(max_length = 128)]
    display_name: String,
    /// What the panel of the first gateway shows, at most 4096 bytes.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    info: Option<Map<String, Value>>,
    /// The password; of a new account one is made when absent, and shown once.
    #[serde(default)]
    #[schema(min_length = 10, max_length = 1024)]
    password: Option<String>,
    /// Means nothing here.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    name: Option<IgnoredAny>,
    /// Means nothing here.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    source: Option<IgnoredAny>,
    /// Means nothing here.
    #[serde(default)]
    #[schema(value_type = Option<bool>)]
    totp: Option<IgnoredAny>,
}

async fn list(State(admin): State<Arc<Admin>>, caller: Caller) -> Answer {
    caller.administers()?;
    let family = admin.key(USERS);
    let listing = admin.deps.store.list(&family).await.map_err(|e| failed(&e))?;
    let configured = admin.auth.configured().keys().map(|name| (name.clone(), shown_configured(&admin, name)));
    let mut items: Map<String, Value> = configured.filter_map(|(name, user)| Some((name, user?))).collect();
    // One of the store wins over one of the configuration.
    items.extend(listing.entries.iter().filter_map(|kv| {
        let name = kv.key.strip_prefix(&family)?;
        Some((name.to_owned(), shown(&admin, name, &read(kv)?)))
    }));
    items.sort_keys();
    Ok(answer::json(&json!({"revision": listing.revision, "items": items})))
}

async fn one(State(admin): State<Arc<Admin>>, Path(name): Path<String>, caller: Caller) -> Answer {
    caller.administers()?;
    match admin.deps.store.get(&key(&admin, &name)?).await.map_err(|e| failed(&e))? {
        Some(kv) => {
            let user = read(&kv).ok_or_else(|| Problem::new(StatusCode::CONFLICT, "the account cannot be read"))?;
            Ok(tagged(StatusCode::OK, &shown(&admin, &name, &user), kv.mod_revision))
        }
        None => Ok(answer::json(&shown_configured(&admin, &name).ok_or_else(|| absent("user"))?)),
    }
}

async fn put(State(admin): State<Arc<Admin>>, Path(name): Path<String>, caller: Caller, body: Body) -> Answer {
    caller.administers()?;
    let wanted: Wanted = super::json(body).await?;
    check(&wanted)?;
    save(&admin, &name, &caller, &Edit::Replace(Box::new(wanted))).await
}

async fn patch(State(admin): State<Arc<Admin>>, Path(name): Path<String>, caller: Caller, body: Body) -> Answer {
    caller.administers()?;
    save(&admin, &name, &caller, &Edit::Merge(super::json(body).await?)).await
}

/// How an account is changed.
enum Edit {
    Replace(Box<Wanted>),
    /// RFC 7396.
    Merge(Map<String, Value>),
}

impl Edit {
    fn password(&self) -> Option<&str> {
        match self {
            Self::Replace(wanted) => wanted.password.as_deref(),
            Self::Merge(object) => object.get("password").and_then(Value::as_str),
        }
    }

    /// The account as it is wanted; refused when that takes a version, or an account, that is not there.
    fn wanted(&self, admin: &Admin, name: &str, caller: &Caller, before: Option<&User>) -> Result<Wanted, Problem> {
        match (self, before) {
            (Self::Replace(_), Some(_)) if !caller.headers.contains_key(http::header::IF_MATCH) => {
                let detail = "there is such a user: send If-Match with the ETag you read, or `If-Match: *`";
                Err(Problem::new(StatusCode::PRECONDITION_REQUIRED, detail))
            }
            (Self::Replace(wanted), _) => Ok(Wanted::clone(wanted)),
            (Self::Merge(object), Some(before)) => {
                let mut merged = shown(admin, name, before);
                objects::merge(&mut merged, &Value::Object(object.clone()));
                let wanted: Wanted = super::parsed(merged)?;
                check(&wanted)?;
                Ok(wanted)
            }
            (Self::Merge(_), None) if admin.auth.configured().contains_key(name) => Err(in_the_configuration()),
            (Self::Merge(_), None) => Err(absent("user")),
        }
    }
}

async fn save(admin: &Admin, name: &str, caller: &Caller, edit: &Edit) -> Answer {
    let key = key(admin, name)?;
    if let Some(password) = edit.password() {
        super::check_password("password", password)?;
    }
    // A patch makes no account, and so needs none made up.
    let generated = matches!(edit, Edit::Replace(wanted) if wanted.password.is_none()).then(auth::generate_password);
    // Made before the store is read: it takes a while.
    let hash = match edit.password().or(generated.as_deref()) {
        Some(password) => Some(auth::hash(password).await.map_err(|e| failed(&e))?),
        None => None,
    };
    for _ in 0..TRIES {
        let kv = admin.deps.store.get(&key).await.map_err(|e| failed(&e))?;
        check_match(&caller.headers, kv.as_ref())?;
        let before = kv.as_ref().and_then(read);
        if kv.is_some() && before.is_none() && matches!(edit, Edit::Merge(_)) {
            return Err(Problem::new(StatusCode::CONFLICT, "the account cannot be read; replace it"));
        }
        let there = kv.as_ref().map(|_| before.clone().unwrap_or_default());
        let user = changed(name, &edit.wanted(admin, name, caller, there.as_ref())?, before.as_ref(), hash.as_deref());
        let mut guards = vec![unchanged(&key, kv.as_ref())];
        if before.is_none() {
            check_room(admin).await?;
        }
        if !user.rights().may_administer() {
            guards.extend(if_last(admin, name, before.as_ref()).await?);
        }
        let action = if before.is_none() { "user.created" } else { "user.changed" };
        let entry = Entry::by(&caller.principal, caller.from, action).to(name).saying(rights_text(&user));
        let ops = vec![Op::put(key.clone(), auth::json(&user).map_err(|e| failed(&e))?)];
        match admin.auth.change(guards, ops, Some(&entry)).await {
            Ok(revision) => {
                let mut body = shown(admin, name, &user);
                let status = if before.is_none() { StatusCode::CREATED } else { StatusCode::OK };
                if let (None, Some(generated)) = (&before, &generated) {
                    body["password"] = generated.as_str().into();
                }
                return Ok(tagged(status, &body, revision));
            }
            Err(StoreError::Conflict) => {}
            Err(e) => return Err(failed(&e)),
        }
    }
    Err(failed(&StoreError::Conflict))
}

async fn delete(State(admin): State<Arc<Admin>>, Path(name): Path<String>, caller: Caller) -> Answer {
    caller.administers()?;
    let key = key(&admin, &name)?;
    for _ in 0..TRIES {
        let kv = admin.deps.store.get(&key).await.map_err(|e| failed(&e))?;
        let is_configured = admin.auth.configured().contains_key(&name);
        let Some(kv) = kv else {
            return Err(if is_configured { in_the_configuration() } else { absent("user") });
        };
        check_match(&caller.headers, Some(&kv))?;
        let mut guards = vec![unchanged(&key, Some(&kv))];
        let becomes_configured = configured_rights(&admin, &name).is_some_and(|rights| rights.may_administer());
        if !becomes_configured {
            guards.extend(if_last(&admin, &name, read(&kv).as_ref()).await?);
        }
        let mut ops = vec![Op::delete(key.clone()), Op::delete(admin.key(&format!("{TOTP}{name}")))];
        // An account of the configuration may take its place, with rights that these were not begun with.
        ops.extend(admin.auth.session_ends(&name));
        let entry = Entry::by(&caller.principal, caller.from, "user.deleted").to(&name);
        match admin.auth.change(guards, ops, Some(&entry)).await {
            Ok(_) => return Ok(StatusCode::NO_CONTENT.into_response()),
            Err(StoreError::Conflict) => {}
            Err(e) => return Err(failed(&e)),
        }
    }
    Err(failed(&StoreError::Conflict))
}

/// For who has lost the phone.
async fn drop_totp(State(admin): State<Arc<Admin>>, Path(name): Path<String>, caller: Caller) -> Answer {
    caller.administers()?;
    key(&admin, &name)?;
    let key = admin.key(&format!("{TOTP}{name}"));
    let kv = admin.deps.store.get(&key).await.map_err(|e| failed(&e))?.ok_or_else(|| absent("authenticator"))?;
    let entry = Entry::by(&caller.principal, caller.from, "totp.removed").to(&name);
    let change = admin.auth.change(vec![unchanged(&key, Some(&kv))], vec![Op::delete(key)], Some(&entry));
    change.await.map_err(|e| failed(&e))?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// For who has left a panel open somewhere, or was removed at the provider.
async fn end_sessions(State(admin): State<Arc<Admin>>, Path(name): Path<String>, caller: Caller) -> Answer {
    caller.administers()?;
    let entry = Entry::by(&caller.principal, caller.from, "sessions.ended").to(&name);
    let ended = admin.auth.end_sessions(&name, &entry).await.map_err(|e| failed(&e))?;
    ended.then(|| StatusCode::NO_CONTENT.into_response()).ok_or_else(|| absent("session"))
}

fn key(admin: &Admin, name: &str) -> Result<String, Problem> {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || ['.', '_', '-', '@'].contains(&c);
    if (1..=64).contains(&name.len()) && name.chars().all(is_fine) {
        return Ok(admin.key(&format!("{USERS}{name}")));
    }
    Err(Problem::new(StatusCode::BAD_REQUEST, "a user's name has 1 to 64 letters, digits, and . _ - @"))
}

fn check(wanted: &Wanted) -> Result<(), Problem> {
    check_services(wanted.services.as_ref())?;
    check_text("display_name", &wanted.display_name, 0)?;
    if wanted.info.as_ref().is_some_and(|info| auth::json(info).map_or(true, |json| json.len() > 4096)) {
        return Err(Problem::at("info", "must be at most 4096 bytes of JSON"));
    }
    wanted.password.as_ref().map_or(Ok(()), |password| super::check_password("password", password))
}

/// The account as it will be.
fn changed(name: &str, wanted: &Wanted, before: Option<&User>, hash: Option<&str>) -> User {
    let mut user = before.cloned().unwrap_or_default();
    if let Some(hash) = hash.filter(|_| before.is_none() || wanted.password.is_some()) {
        hash.clone_into(&mut user.password_hash);
        // Also of one that is new: there may have been another of its name.
        user.tokens_from = auth::now();
    }
    user.role = Some(wanted.role);
    user.services.clone_from(&wanted.services);
    user.display_name.clone_from(&wanted.display_name);
    let called = if wanted.display_name.is_empty() { name } else { &wanted.display_name };
    user.info = wanted.info.clone().unwrap_or_else(|| auth::info(called, wanted.role));
    // The old panel shows its menu by this.
    user.info.insert("roles".into(), json!([wanted.role]));
    user
}

async fn check_room(admin: &Admin) -> Result<(), Problem> {
    let users = admin.deps.store.list(&admin.key(USERS)).await.map_err(|e| failed(&e))?;
    if users.entries.len() < MAX_USERS {
        return Ok(());
    }
    Err(Problem::new(StatusCode::CONFLICT, format!("there are {MAX_USERS} users already, which is the most")))
}

/// What must hold so that an administrator is left when this one is none any more: that another
/// stays as it was read.
async fn if_last(admin: &Admin, name: &str, before: Option<&User>) -> Result<Option<Guard>, Problem> {
    let rights = before.map(User::rights).or_else(|| configured_rights(admin, name));
    if !rights.is_some_and(|rights| rights.may_administer()) {
        return Ok(None);
    }
    let family = admin.key(USERS);
    let stored = admin.deps.store.list(&family).await.map_err(|e| failed(&e))?.entries;
    let own = format!("{family}{name}");
    let other = stored.iter().find(|kv| kv.key != own && read(kv).is_some_and(|user| user.rights().may_administer()));
    if let Some(other) = other {
        return Ok(Some(unchanged(&other.key, Some(other))));
    }
    let configured = admin.auth.configured().keys().filter(|other| *other != name).find(|other| {
        let is_hidden = stored.iter().any(|kv| kv.key.strip_prefix(&family) == Some(other));
        !is_hidden && configured_rights(admin, other).is_some_and(|rights| rights.may_administer())
    });
    let other = configured
        .ok_or_else(|| Problem::new(StatusCode::CONFLICT, "this is the last administrator; make another one first"))?;
    Ok(Some(Guard::Absent(format!("{family}{other}"))))
}

fn configured_rights(admin: &Admin, name: &str) -> Option<auth::Rights> {
    let account = admin.auth.configured().get(name)?;
    Some(auth::Rights { role: auth::role_of(&account.info), services: None })
}

fn in_the_configuration() -> Problem {
    Problem::new(StatusCode::CONFLICT, "the account is in the configuration file, and is changed there")
}

fn read(kv: &Kv) -> Option<User> {
    serde_json::from_slice(&kv.value).ok()
}

/// An account as it is shown: without its hash.
fn shown(admin: &Admin, name: &str, user: &User) -> Value {
    let rights = user.rights();
    json!({
        "name": name,
        "role": rights.role,
        "services": rights.services,
        "display_name": user.display_name,
        "info": user.info,
        "totp": admin.auth.has_totp(name),
        "source": "store",
    })
}

fn shown_configured(admin: &Admin, name: &str) -> Option<Value> {
    let account = admin.auth.configured().get(name)?;
    Some(json!({
        "name": name,
        "role": auth::role_of(&account.info),
        "services": null,
        "display_name": "",
        "info": account.info,
        "totp": admin.auth.has_totp(name),
        "source": "configuration",
    }))
}

fn rights_text(user: &User) -> String {
    let rights = json!({"role": user.role, "services": user.services});
    rights.to_string()
}

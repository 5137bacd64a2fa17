//! `/admin/v2/tokens`: API tokens. A token is shown once, when it is made.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::IntoResponse as _;
use axum::routing::get;
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::{Answer, Caller, absent, check_match, check_services, check_text, failed, shown_time, tagged, unchanged};
use crate::admin::auth::{self, Entry, Role, Scope, Services, StoredToken, TOKENS};
use crate::admin::problem::Problem;
use crate::admin::{Admin, answer};
use crate::store::{Guard, Kv, Op};

/// Most tokens.
const MAX_TOKENS: usize = 1_000;
/// Longest life of one that has an end.
const MAX_LIFE: Duration = Duration::from_secs(3650 * 86_400);

pub(super) fn router() -> Router<Arc<Admin>> {
    Router::new().route("/tokens", get(list).post(create)).route("/tokens/{id}", get(one).delete(delete))
}

/// What a token is to be for.
#[derive(Deserialize, ToSchema)]
#[schema(as = NewToken)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// What people call it.
    #[schema(min_length = 1, max_length = 128)]
    name: String,
    /// How much it may do; of a token for registrations absent.
    #[serde(default)]
    role: Option<Role>,
    /// The services that is for, such as `team-*`; all when absent.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    services: Option<Services>,
    /// What it is restricted to.
    #[serde(default)]
    scope: Option<Scope>,
    /// How long it is good, at most 3650 days; without end when neither this nor `expires_at` is there.
    #[serde(default, with = "humantime_serde::option")]
    #[schema(value_type = Option<String>, example = "30d")]
    expires_in: Option<Duration>,
    /// Until when, in place of `expires_in`.
    #[serde(default)]
    #[schema(format = DateTime)]
    expires_at: Option<String>,
}

async fn list(State(admin): State<Arc<Admin>>, caller: Caller) -> Answer {
    caller.administers()?;
    let family = admin.key(TOKENS);
    let listing = admin.deps.store.list(&family).await.map_err(|e| failed(&e))?;
    let items = listing.entries.iter().filter_map(|kv| {
        let id = kv.key.strip_prefix(&family)?;
        Some((id.to_owned(), shown(id, &read(kv)?)))
    });
    Ok(answer::json(&json!({"revision": listing.revision, "items": items.collect::<Map<_, _>>()})))
}

async fn one(State(admin): State<Arc<Admin>>, Path(id): Path<String>, caller: Caller) -> Answer {
    caller.administers()?;
    let kv = stored(&admin, &id).await?;
    let token = read(&kv).ok_or_else(|| Problem::new(StatusCode::CONFLICT, "the token cannot be read"))?;
    Ok(tagged(StatusCode::OK, &shown(&id, &token), kv.mod_revision))
}

async fn create(State(admin): State<Arc<Admin>>, caller: Caller, body: Body) -> Answer {
    caller.administers()?;
    let wanted: Wanted = super::json(body).await?;
    let expires = checked(&wanted)?;
    let family = admin.key(TOKENS);
    if admin.deps.store.list(&family).await.map_err(|e| failed(&e))?.entries.len() >= MAX_TOKENS {
        let detail = format!("there are {MAX_TOKENS} tokens already, which is the most; delete some");
        return Err(Problem::new(StatusCode::CONFLICT, detail));
    }
    let (id, token) = auth::generate_token();
    let stored = StoredToken {
        name: wanted.name,
        role: wanted.role.unwrap_or(Role::Viewer),
        services: wanted.services,
        scope: wanted.scope,
        digest: auth::digest(&token),
        last_four: token[token.len() - 4..].to_owned(),
        creator: caller.principal.name().to_owned(),
        created: auth::now(),
        expires,
    };
    let key = format!("{family}{id}");
    let value = auth::json(&stored).map_err(|e| failed(&e))?;
    let entry = Entry::by(&caller.principal, caller.from, "token.created").to(&id).saying(text(&stored));
    let change = admin.auth.change(vec![Guard::Absent(key.clone())], vec![Op::put(key, value)], Some(&entry));
    let revision = change.await.map_err(|e| failed(&e))?;
    let mut body = shown(&id, &stored);
    body["token"] = token.into();
    let mut response = tagged(StatusCode::CREATED, &body, revision);
    if let Ok(place) = HeaderValue::try_from(format!("/admin/v2/tokens/{id}")) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    Ok(response)
}

async fn delete(State(admin): State<Arc<Admin>>, Path(id): Path<String>, caller: Caller) -> Answer {
    caller.administers()?;
    let kv = stored(&admin, &id).await?;
    check_match(&caller.headers, Some(&kv))?;
    let name = read(&kv).map(|token| token.name).unwrap_or_default();
    let entry = Entry::by(&caller.principal, caller.from, "token.deleted").to(&id).saying(format!("{name:?}"));
    let guard = unchanged(&kv.key, Some(&kv));
    admin.auth.change(vec![guard], vec![Op::delete(kv.key)], Some(&entry)).await.map_err(|e| failed(&e))?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Checks what is wanted. Returns when it ends.
fn checked(wanted: &Wanted) -> Result<Option<f64>, Problem> {
    check_text("name", &wanted.name, 1)?;
    check_services(wanted.services.as_ref())?;
    match (wanted.scope, wanted.role) {
        (None, None) => return Err(Problem::at("role", "is missing; expected admin, editor or viewer")),
        (Some(Scope::Register), Some(_)) => {
            return Err(Problem::at("role", "a token for registrations has none; leave it out"));
        }
        (Some(Scope::Register), None) if wanted.services.is_none() => {
            return Err(Problem::at("services", "name the services it may register, such as [\"demo1\", \"team-*\"]"));
        }
        _ => {}
    }
    let now = auth::now();
    let (field, left) = match (wanted.expires_in, &wanted.expires_at) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => return Err(Problem::at("expires_at", "give either this or expires_in")),
        (Some(left), None) => ("expires_in", left.as_secs_f64()),
        (None, Some(at)) => {
            let at = chrono::DateTime::parse_from_rfc3339(at);
            let at = at.map_err(|_| Problem::at("expires_at", "is not a time such as 2030-01-31T12:00:00Z"))?;
            #[allow(clippy::cast_precision_loss)]
            let at = at.timestamp() as f64;
            ("expires_at", at - now)
        }
    };
    if left <= 0.0 || left > MAX_LIFE.as_secs_f64() {
        return Err(Problem::at(field, "must be later than now, and at most 3650 days"));
    }
    Ok(Some(now + left))
}

async fn stored(admin: &Admin, id: &str) -> Result<Kv, Problem> {
    let is_id = id.len() == 16 && id.bytes().all(|b| b.is_ascii_hexdigit());
    let key = is_id.then(|| admin.key(&format!("{TOKENS}{id}"))).ok_or_else(|| absent("token"))?;
    admin.deps.store.get(&key).await.map_err(|e| failed(&e))?.ok_or_else(|| absent("token"))
}

fn read(kv: &Kv) -> Option<StoredToken> {
    serde_json::from_slice(&kv.value).ok()
}

/// A token as it is shown: what can be told of it without giving it away.
fn shown(id: &str, token: &StoredToken) -> Value {
    json!({
        "id": id,
        "name": token.name,
        "role": token.scope.is_none().then_some(token.role),
        "services": token.services,
        "scope": token.scope,
        "last_four": token.last_four,
        "creator": token.creator,
        "created": shown_time(token.created),
        "expires": token.expires.map(shown_time),
        "has_expired": token.expires.is_some_and(|expires| expires <= auth::now()),
    })
}

fn text(token: &StoredToken) -> String {
    let rights = json!({"name": token.name, "role": token.role, "services": token.services, "scope": token.scope});
    rights.to_string()
}

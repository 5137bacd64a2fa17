//! `/admin/v2/me/totp`: the caller's authenticator app. It counts once the caller has shown a code.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::IntoResponse as _;
use axum::routing::post;
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use super::me::{confirm, own_account};
use super::{Answer, Caller, absent, failed, unchanged};
use crate::admin::auth::{self, Entry, StoredTotp, TOTP};
use crate::admin::problem::Problem;
use crate::admin::{Admin, answer};
use crate::store::{Kv, Op};

pub(super) fn router() -> Router<Arc<Admin>> {
    Router::new().route("/me/totp", post(begin).put(finish).delete(end))
}

/// The caller's password, once more.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Password {
    /// The password.
    password: String,
}

/// What the app shows.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Code {
    /// The code of now.
    #[schema(example = "123456")]
    code: String,
}

/// Makes a secret. Whoever finds an open panel must not be able to lock its user out with one.
async fn begin(State(admin): State<Arc<Admin>>, caller: Caller, body: Body) -> Answer {
    let Password { password } = super::json(body).await?;
    let name = own_account(&caller)?;
    confirm(&admin, &caller, name, password, "password").await?;
    let (place, kv) = stored(&admin, name).await?;
    if kv.as_ref().is_some_and(|kv| read(kv).is_none_or(|totp| totp.confirmed)) {
        return Err(Problem::new(StatusCode::CONFLICT, "there is an authenticator already; remove it first"));
    }
    let secret = auth::generate_totp();
    let sealed = (admin.deps.seal)(&place, &secret).map_err(|e| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, e))?;
    let totp = StoredTotp { secret: sealed, confirmed: false, last_step: 0 };
    write(&admin, &place, kv.as_ref(), Some(&totp), None).await?;
    Ok(answer::json(&json!({"secret": secret, "url": auth::totp_url(name, &secret)})))
}

/// From now on logins ask for codes.
async fn finish(State(admin): State<Arc<Admin>>, caller: Caller, body: Body) -> Answer {
    let Code { code } = super::json(body).await?;
    let name = own_account(&caller)?;
    let (place, kv) = stored(&admin, name).await?;
    let kv = kv.ok_or_else(|| absent("authenticator"))?;
    let unreadable = |e: String| Problem::new(StatusCode::CONFLICT, format!("the authenticator cannot be used: {e}"));
    let totp = read(&kv).ok_or_else(|| unreadable("not valid".into()))?;
    if totp.confirmed {
        return Err(Problem::new(StatusCode::CONFLICT, "the authenticator is confirmed already"));
    }
    let secret = admin.auth.open(&place, &totp.secret).map_err(unreadable)?;
    let step = auth::totp_step(&secret, &code, auth::now(), totp.last_step)
        .ok_or_else(|| Problem::at("code", "is not the app's code of now; is its clock right?"))?;
    let totp = StoredTotp { confirmed: true, last_step: step, ..totp };
    let entry = Entry::by(&caller.principal, caller.from, "totp.enrolled").to(name);
    write(&admin, &place, Some(&kv), Some(&totp), Some(&entry)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn end(State(admin): State<Arc<Admin>>, caller: Caller, body: Body) -> Answer {
    let Password { password } = super::json(body).await?;
    let name = own_account(&caller)?;
    confirm(&admin, &caller, name, password, "password").await?;
    let (place, kv) = stored(&admin, name).await?;
    let kv = kv.ok_or_else(|| absent("authenticator"))?;
    let entry = Entry::by(&caller.principal, caller.from, "totp.removed").to(name);
    write(&admin, &place, Some(&kv), None, Some(&entry)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn stored(admin: &Admin, name: &str) -> Result<(String, Option<Kv>), Problem> {
    let place = format!("{TOTP}{name}");
    let kv = admin.deps.store.get(&admin.key(&place)).await.map_err(|e| failed(&e))?;
    Ok((place, kv))
}

fn read(kv: &Kv) -> Option<StoredTotp> {
    serde_json::from_slice(&kv.value).ok()
}

async fn write(
    admin: &Admin,
    place: &str,
    before: Option<&Kv>,
    totp: Option<&StoredTotp>,
    entry: Option<&Entry>,
) -> Result<(), Problem> {
    let key = admin.key(place);
    let op = match totp {
        Some(totp) => Op::put(key.clone(), auth::json(totp).map_err(|e| failed(&e))?),
        None => Op::delete(key.clone()),
    };
    admin.auth.change(vec![unchanged(&key, before)], vec![op], entry).await.map(drop).map_err(|e| failed(&e))
}

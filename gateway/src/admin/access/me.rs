//! `/admin/v2/me`: who the caller is, and a new password.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::routing::{get, put};
use http::{StatusCode, header};
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use super::{Answer, Caller, TRIES, failed, shown_time, unchanged};
use crate::admin::auth::{self, Entry, Login, LoginFailed, Principal, Renewed, USERS, User};
use crate::admin::problem::Problem;
use crate::admin::{Admin, answer};
use crate::store::{Op, StoreError};

pub(super) fn router() -> Router<Arc<Admin>> {
    Router::new().route("/me", get(me)).route("/me/password", put(password))
}

async fn me(State(admin): State<Arc<Admin>>, caller: Caller) -> Answer {
    let rights = caller.principal.rights();
    let mut body = json!({
        "name": caller.principal.name(),
        "role": rights.role,
        "services": rights.services,
        "credential": caller.principal.credential(),
    });
    if let Principal::User { name, login, .. } = &caller.principal {
        let ends = match login {
            Login::Token { ends, .. } => ends,
            Login::Session { ends, csrf, .. } => {
                body["csrf_token"] = csrf.0.as_str().into();
                ends
            }
        };
        body["expires"] = shown_time(*ends);
        body["totp"] = admin.auth.has_totp(name).into();
    }
    Ok(answer::json(&body))
}

/// A new password, and the one so far.
#[derive(Deserialize, ToSchema)]
#[schema(as = PasswordChange)]
#[serde(deny_unknown_fields)]
pub(super) struct Change {
    /// The password so far.
    old_password: String,
    /// The new one: at least 10 characters, and at most 1024 bytes.
    #[schema(min_length = 10, max_length = 1024)]
    new_password: String,
}

/// A new password ends all logins of the user. The caller gets another one in its place.
async fn password(State(admin): State<Arc<Admin>>, caller: Caller, body: Body) -> Answer {
    let Change { old_password, new_password } = super::json(body).await?;
    let name = own_account(&caller)?;
    super::check_password("new_password", &new_password)?;
    confirm(&admin, &caller, name, old_password, "old_password").await?;
    let hash = auth::hash(&new_password).await.map_err(|e| failed(&e))?;
    store(&admin, &caller, name, &hash).await?;
    let renewed = admin.auth.renew(&caller.principal, caller.from).await.map_err(super::login::refused)?;
    let mut response = match &renewed {
        Renewed::Session(session) => answer::json(&json!({"csrf_token": session.csrf.0})),
        Renewed::Token(token) => answer::json(&json!({"token": token})),
        Renewed::Nothing => answer::json(&json!({})),
    };
    if let Renewed::Session(session) = renewed {
        response.headers_mut().append(header::SET_COOKIE, session.cookie(&caller.headers, false));
    }
    Ok(response)
}

async fn store(admin: &Admin, caller: &Caller, name: &str, hash: &str) -> Result<(), Problem> {
    let key = admin.key(&format!("{USERS}{name}"));
    for _ in 0..TRIES {
        let Some(kv) = admin.deps.store.get(&key).await.map_err(|e| failed(&e))? else {
            let detail = "the account is in the configuration file, and its password is changed there";
            return Err(Problem::new(StatusCode::CONFLICT, detail));
        };
        let user: Result<User, _> = serde_json::from_slice(&kv.value);
        let mut user = user.map_err(|_| Problem::new(StatusCode::CONFLICT, "the account cannot be read"))?;
        hash.clone_into(&mut user.password_hash);
        user.tokens_from = auth::now();
        let put = Op::put(key.clone(), auth::json(&user).map_err(|e| failed(&e))?);
        let entry = Entry::by(&caller.principal, caller.from, "password.changed").to(name);
        match admin.auth.change(vec![unchanged(&key, Some(&kv))], vec![put], Some(&entry)).await {
            Ok(_) => return Ok(()),
            Err(StoreError::Conflict) => {}
            Err(e) => return Err(failed(&e)),
        }
    }
    Err(failed(&StoreError::Conflict))
}

/// The caller's account, if it has one here.
pub(super) fn own_account(caller: &Caller) -> Result<&str, Problem> {
    match &caller.principal {
        Principal::User { login: Login::Session { is_foreign: true, .. }, .. } => {
            Err(Problem::new(StatusCode::CONFLICT, "your account is not kept here; change it where you logged in"))
        }
        Principal::User { name, .. } => Ok(name),
        _ => Err(Problem::new(StatusCode::CONFLICT, "an API token has no account; log in")),
    }
}

/// Has the caller show the password again: who finds an open panel does not have it.
pub(super) async fn confirm(
    admin: &Admin,
    caller: &Caller,
    name: &str,
    password: String,
    field: &str,
) -> Result<(), Problem> {
    admin.auth.confirm_password(name, password, caller.from).await.map_err(|why| match why {
        LoginFailed::Busy | LoginFailed::Unavailable => super::login::refused(why),
        _ => Problem::new(StatusCode::FORBIDDEN, "the password is wrong, or too many were").with_field(field),
    })
}

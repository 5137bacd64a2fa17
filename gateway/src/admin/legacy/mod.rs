//! The paths of the first gateway, with its statuses and texts, mistakes included where clients
//! may rely on them. COMPATIBILITY.md, section 4, is the contract; section 10 says where it ends:
//! tokens are verified, a logout revokes, an unreachable store is an error and never an empty list.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Map, Value, json};

mod identity;
mod login;
mod permission;
mod routes;
mod services;

use super::auth::{Denied, Principal};
use super::front::Call;
use super::{Admin, answer, body, dashboard, write};
use crate::history::{Author, Origin};

/// What a path does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Login,
    UserInfo,
    Logout,
    ListPlugins,
    ListRoutes,
    SaveRoute,
    RemoveRoute,
    ListServices,
    SaveService,
    RemoveService,
}

use Action::{
    ListPlugins, ListRoutes, ListServices, Login, Logout, RemoveRoute, RemoveService, SaveRoute, SaveService, UserInfo,
};

/// Every path, its methods, and what it does. All but the login need credentials.
pub(super) const PATHS: [(&str, &[Method], Action); 10] = [
    ("/admin/login", &[Method::POST], Login),
    ("/admin/user/info", &[Method::GET, Method::POST], UserInfo),
    ("/admin/logout", &[Method::GET, Method::POST], Logout),
    ("/admin/plugins/list", &[Method::GET, Method::POST], ListPlugins),
    ("/admin/routes/list", &[Method::GET, Method::POST], ListRoutes),
    ("/admin/routes/save", &[Method::POST], SaveRoute),
    ("/admin/routes/remove", &[Method::POST], RemoveRoute),
    ("/admin/services/list", &[Method::GET, Method::POST], ListServices),
    ("/admin/services/save", &[Method::POST], SaveService),
    ("/admin/services/remove", &[Method::POST], RemoveService),
];

/// Who calls, and from where.
pub(super) struct Caller {
    pub(super) principal: Principal,
    pub(super) from: IpAddr,
}

impl Caller {
    /// What it wants, as a change is asked for.
    fn request(&self) -> write::Request {
        let name = self.principal.name().to_owned();
        let author = Author { name, origin: Origin::OldApi, address: Some(self.from) };
        write::Request { author, reason: None, confirm_within: None, is_dry_run: false }
    }

    /// Notes a change in the log.
    fn changed(&self, what: &str, key: &str) {
        log::info!("admin: {} from {} {what} {key:?}", self.principal.name(), self.from);
    }
}

/// Answers all that the new API does not.
pub(super) async fn handle(State(admin): State<Arc<Admin>>, request: Request) -> Response {
    let Some(Call { from, path }) = request.extensions().get::<Call>().cloned() else {
        return answer::page(StatusCode::INTERNAL_SERVER_ERROR);
    };
    if path.starts_with("/dashboard") {
        return dashboard::answer(request.method(), &path, request.headers());
    }
    let called = PATHS.iter().find(|(known, methods, _)| *known == path && methods.contains(request.method()));
    let Some((.., action)) = called else { return answer::page(StatusCode::NOT_FOUND) };
    let (parts, body) = request.into_parts();
    if *action == Login {
        return match body::read(body).await {
            Ok(body) => login::login(&admin, from, &body).await,
            Err(status) => answer::page(status),
        };
    }
    // A logout changes something, by GET too.
    let method = if *action == Logout { &Method::POST } else { &parts.method };
    let principal = match admin.auth.authenticate(method, &parts.headers).await {
        Ok(principal) if !principal.is_full() => {
            return answer::text(StatusCode::FORBIDDEN, "this token may only register nodes");
        }
        Ok(principal) => principal,
        Err(denied) => return refused(denied),
    };
    match body::read(body).await {
        Ok(body) => act(&admin, *action, &Caller { principal, from }, &body).await,
        Err(status) => answer::page(status),
    }
}

async fn act(admin: &Admin, action: Action, caller: &Caller, body: &Bytes) -> Response {
    if let Err(refusal) = permission::check(admin, action, &caller.principal.rights(), body).await {
        return refusal;
    }
    match action {
        Login => answer::page(StatusCode::NOT_FOUND),
        UserInfo => login::user_info(&caller.principal),
        Logout => login::logout(admin, &caller.principal, caller.from).await,
        ListPlugins => list_plugins(admin),
        ListRoutes => routes::list(admin).await,
        SaveRoute => routes::save(admin, caller, body).await,
        RemoveRoute => routes::remove(admin, caller, body).await,
        ListServices => services::list(admin).await,
        SaveService => services::save(admin, caller, body).await,
        RemoveService => services::remove(admin, caller, body).await,
    }
}

fn refused(denied: Denied) -> Response {
    match denied {
        Denied::NoToken => answer::text(StatusCode::UNAUTHORIZED, "用户未登录"),
        Denied::BadToken => answer::text(StatusCode::UNAUTHORIZED, "未登录"),
        Denied::UnknownUser => answer::text(StatusCode::INTERNAL_SERVER_ERROR, "用户不存在"),
        Denied::Forged => answer::text(StatusCode::FORBIDDEN, "没有权限"),
        Denied::Unavailable => lua_error(),
    }
}

fn list_plugins(admin: &Admin) -> Response {
    // `default` was never shown.
    let shown = admin.deps.plugins.iter().filter(|plugin| plugin.name != "default");
    let list: Vec<Value> = shown
        .map(|plugin| json!({"name": plugin.name, "desc": format!("{}_{}", plugin.description, plugin.version)}))
        .collect();
    answer::json(&list)
}

/// What an uncaught Lua error came to.
fn lua_error() -> Response {
    answer::page(StatusCode::INTERNAL_SERVER_ERROR)
}

/// A body as Lua saw it: its fields; `None` without a body. An error where Lua threw one.
fn fields(body: &[u8]) -> Result<Option<Map<String, Value>>, serde_json::Error> {
    if body.is_empty() {
        return Ok(None);
    }
    match serde_json::from_slice(body)? {
        Value::Object(fields) => Ok(Some(fields)),
        // Lua finds no field in them, and does not mind.
        Value::Array(_) | Value::String(_) => Ok(Some(Map::new())),
        other => Err(serde::de::Error::custom(format!("{other} has no fields"))),
    }
}

/// A text field, or a number as Lua would have joined it to a text. `None` if it is neither.
fn text_field(fields: &Map<String, Value>, name: &str) -> Option<String> {
    match fields.get(name)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The `key` of a save: `None` when it is blank, which means to create.
fn key_field(fields: &Map<String, Value>) -> Option<String> {
    text_field(fields, "key").filter(|key| !key.trim().is_empty())
}

/// A list of objects: JSON and a newline, but without one when it is empty.
fn listed(objects: &[Map<String, Value>]) -> Response {
    if objects.is_empty() { answer::text(StatusCode::OK, "[]") } else { answer::json(&objects) }
}

/// A stored object with the key it really has. One that is no object is left out; status and log
/// say why it is not live.
fn stored_object(id: &str, value: &[u8]) -> Option<Map<String, Value>> {
    let mut object: Map<String, Value> = serde_json::from_slice(value)
        .inspect_err(|e| log::warn!("admin: the stored object {id:?} is not listed, it is no JSON object: {e}"))
        .ok()?;
    object.insert("key".into(), id.into());
    Some(object)
}

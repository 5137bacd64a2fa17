//! `/admin/login`, `/admin/user/info` and `/admin/logout`.

use std::net::IpAddr;

use axum::response::Response;
use http::StatusCode;
use serde_json::{Value, json};

use super::{Admin, answer, fields, lua_error};
use crate::admin::auth::{LoginFailed, Principal};

pub(super) async fn login(admin: &Admin, from: IpAddr, body: &[u8]) -> Response {
    let Ok(fields) = fields(body) else { return lua_error() };
    let fields = fields.unwrap_or_default();
    let (username, password) = match (given(fields.get("username")), given(fields.get("password"))) {
        (Some(username), Some(password)) => (username, password),
        _ => return answer::text(StatusCode::INTERNAL_SERVER_ERROR, "用户名或密码为空"),
    };
    // Anything that is no text equals no name and no password.
    let (Value::String(username), Value::String(password)) = (username, password) else { return wrong() };
    match admin.auth.login(username, password.clone(), from).await {
        Ok(token) => answer::json(&json!({"token": token})),
        Err(LoginFailed::Wrong | LoginFailed::CodeNeeded) => wrong(),
        Err(LoginFailed::Busy | LoginFailed::Unavailable) => lua_error(),
    }
}

fn given(field: Option<&Value>) -> Option<&Value> {
    field.filter(|value| !value.is_null())
}

fn wrong() -> Response {
    answer::text(StatusCode::INTERNAL_SERVER_ERROR, "用户名或密码错误")
}

pub(super) fn user_info(principal: &Principal) -> Response {
    match principal {
        Principal::User { name, info, .. } => {
            let mut info = info.clone();
            info.insert("username".into(), name.as_str().into());
            answer::json(&info)
        }
        // A token has no user; the first gateway said nothing at all.
        Principal::ApiToken | Principal::Token { .. } | Principal::Registrar(_) => answer::text(StatusCode::OK, ""),
    }
}

pub(super) async fn logout(admin: &Admin, principal: &Principal, from: IpAddr) -> Response {
    match admin.auth.logout(principal, from).await {
        Ok(()) => answer::text(StatusCode::OK, "ok"),
        Err(e) => {
            log::error!("admin: a logout holds on this gateway only: {e}");
            answer::text(StatusCode::INTERNAL_SERVER_ERROR, "退出登录失败，请重试")
        }
    }
}

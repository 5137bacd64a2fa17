//! Whether a caller may make a change by the old paths: one for some services only may neither write
//! what belongs to others, nor take it over.

use axum::response::Response;
use http::StatusCode;
use serde_json::{Map, Value};

use super::Action::{self, RemoveRoute, RemoveService, SaveRoute, SaveService};
use super::{Admin, answer, fields, key_field, lua_error, text_field};
use crate::admin::auth::{Rights, Role};
use crate::resource::key;
use crate::store::{Kv, StoreError};

/// Checks a call before it is handled. The error is the answer.
pub(super) async fn check(admin: &Admin, action: Action, rights: &Rights, body: &[u8]) -> Result<(), Response> {
    if !matches!(action, SaveRoute | RemoveRoute | SaveService | RemoveService) || rights.may_edit_everything() {
        return Ok(());
    }
    let forbidden = || answer::text(StatusCode::FORBIDDEN, "没有权限");
    if rights.role < Role::Editor {
        return Err(forbidden());
    }
    // What is no object changes nothing; its handler says why.
    let Ok(Some(fields)) = fields(body) else { return Ok(()) };
    let concerned = match action {
        SaveRoute | RemoveRoute => routes(admin, &fields, action == SaveRoute).await,
        _ => nodes(admin, &fields).await,
    };
    match concerned {
        Ok(services) if services.iter().all(|service| rights.may_edit(service.trim())) => Ok(()),
        Ok(_) => Err(forbidden()),
        Err(e) => {
            log::error!("admin: what a call may change cannot be looked up: {e}");
            Err(lua_error())
        }
    }
}

/// The services of the routes a call may write: of the one it brings, and of all that it may mean.
async fn routes(admin: &Admin, fields: &Map<String, Value>, is_save: bool) -> Result<Vec<String>, StoreError> {
    let family = admin.key(key::ROUTES);
    let (sent, prefix) = (key_field(fields), text_field(fields, "prefix").filter(|_| is_save));
    let is_meant = |kv: &&Kv| {
        let stored: Value = serde_json::from_slice(&kv.value).unwrap_or_default();
        let same_prefix = prefix.as_deref().is_some_and(|p| stored["prefix"].as_str().map(str::trim) == Some(p.trim()));
        same_prefix || kv.key.strip_prefix(&family) == sent.as_deref()
    };
    let listing = admin.deps.store.list(&family).await?;
    let mut concerned: Vec<String> = listing.entries.iter().filter(is_meant).map(service).collect();
    // A save that does not say keeps what is stored.
    if is_save && (fields.contains_key("service_name") || concerned.is_empty()) {
        concerned.push(text_field(fields, "service_name").unwrap_or_default());
    }
    Ok(concerned)
}

/// The services of the nodes a call may write.
async fn nodes(admin: &Admin, fields: &Map<String, Value>) -> Result<Vec<String>, StoreError> {
    let mut concerned: Vec<String> = text_field(fields, "service_name").into_iter().collect();
    if let Some(sent) = text_field(fields, "key")
        && let Some(kv) = admin.deps.store.get(&admin.key(&format!("{}{sent}", key::NODES))).await?
    {
        concerned.push(service(&kv));
        concerned.extend(key::service_of_node(&sent).map(str::to_owned));
    }
    Ok(concerned)
}

/// The service of a stored route or node; none of anyone's if it cannot be read.
fn service(kv: &Kv) -> String {
    let stored: Value = serde_json::from_slice(&kv.value).unwrap_or_default();
    stored["service_name"].as_str().unwrap_or_default().to_owned()
}

//! `/admin/routes/list`, `save` and `remove`.

use async_trait::async_trait;
use axum::response::Response;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::identity::{self, Known, NoKey};
use super::{Admin, Caller, answer, fields, key_field, listed, lua_error, stored_object, text_field};
use crate::admin::write::{Change, Plan, Refused, now_ms};
use crate::history::Head;
use crate::resource::{key, stored};
use crate::store::Kv;

const SAVE_FAILED: &str = "路由配置保存失败，请重试或联系系统维护人员：";
const REMOVE_FAILED: &str = "路由删除失败，请重试或联系系统维护人员：";
const NO_PARAMETER: &str = "参数不能为空";

pub(super) async fn list(admin: &Admin) -> Response {
    let prefix = admin.key(key::ROUTES);
    match admin.deps.store.list(&prefix).await {
        Ok(listing) => {
            let routes =
                listing.entries.iter().filter_map(|kv| stored_object(kv.key.strip_prefix(&prefix)?, &kv.value));
            listed(&routes.collect::<Vec<_>>())
        }
        Err(e) => {
            log::error!("admin: routes cannot be listed: {e}");
            answer::text(StatusCode::INTERNAL_SERVER_ERROR, "查询路由配置异常")
        }
    }
}

pub(super) async fn save(admin: &Admin, caller: &Caller, body: &[u8]) -> Response {
    let fields = match fields(body) {
        Ok(Some(fields)) => fields,
        Ok(None) => return answer::text(StatusCode::INTERNAL_SERVER_ERROR, NO_PARAMETER),
        Err(_) => return lua_error(),
    };
    let Some(prefix) = text_field(&fields, "prefix") else { return lua_error() };
    let change = Save { sent_key: key_field(&fields), prefix: prefix.trim().to_owned(), fields };
    match admin.apply(&change, &caller.request()).await {
        Ok(_) => {
            caller.changed("saved the route of", &change.prefix);
            answer::text(StatusCode::OK, "ok")
        }
        Err(refused) => answer::text(StatusCode::INTERNAL_SERVER_ERROR, format!("{SAVE_FAILED}{refused}")),
    }
}

pub(super) async fn remove(admin: &Admin, caller: &Caller, body: &[u8]) -> Response {
    let Ok(fields) = fields(body) else { return lua_error() };
    let Some(id) = fields.as_ref().and_then(key_field) else {
        return answer::text(StatusCode::BAD_REQUEST, NO_PARAMETER);
    };
    match admin.apply(&Remove { id: &id }, &caller.request()).await {
        Ok(_) => {
            caller.changed("removed the route", &id);
            answer::text(StatusCode::OK, "ok")
        }
        Err(refused) => answer::text(StatusCode::INTERNAL_SERVER_ERROR, format!("{REMOVE_FAILED}{refused}")),
    }
}

struct Save {
    sent_key: Option<String>,
    prefix: String,
    fields: Map<String, Value>,
}

#[async_trait]
impl Change for Save {
    async fn plan(&self, admin: &Admin, _: Head) -> Result<Plan, Refused> {
        let family = admin.key(key::ROUTES);
        let entries = self.candidates(admin, &family).await?;
        let known: Vec<Known> = entries.iter().filter_map(|kv| known(&family, kv)).collect();
        let id = self.id(&known)?;

        let entry = |id: &str| entries.iter().find(|kv| kv.key.strip_prefix(&family) == Some(id));
        let (target, moved) = (entry(&id), self.sent_key.as_deref().filter(|sent| *sent != id).and_then(entry));
        let object = self.object(&id, moved.or(target));
        let value = serde_json::to_vec(&object).map_err(|e| Refused::Change(e.to_string()))?;
        admin.check(&format!("{}{id}", key::ROUTES), &value)?;

        let mut plan = Plan::default();
        plan.put_keeping_lease(format!("{family}{id}"), target, value);
        if let Some(moved) = moved {
            plan.delete(moved);
        }
        Ok(plan)
    }
}

impl Save {
    /// The stored routes that decide what the save means: all of them, or only the one it names
    /// when its prefix and hosts stay, which is most saves and need not read a large table.
    async fn candidates(&self, admin: &Admin, family: &str) -> Result<Vec<Kv>, Refused> {
        if let Some(sent) = &self.sent_key
            && let Some(kv) = admin.deps.store.get(&format!("{family}{sent}")).await?
            && known(family, &kv).is_some_and(|route| {
                let hosts = identity::hosts(&self.fields);
                route.prefix == self.prefix && hosts.is_none_or(|hosts| identity::same_hosts(&route.hosts, &hosts))
            })
        {
            return Ok(vec![kv]);
        }
        Ok(admin.deps.store.list(family).await?.entries)
    }

    fn id(&self, known: &[Known]) -> Result<String, Refused> {
        let hosts = identity::hosts(&self.fields);
        identity::key_of_save(known, self.sent_key.as_deref(), &self.prefix, hosts.as_deref()).map_err(|why| {
            Refused::Change(match why {
                NoKey::Exists => format!("路由[{}]配置已存在", self.prefix),
                NoKey::Ambiguous => format!("路由[{}]存在多条域名不同的配置，请指定要修改的路由", self.prefix),
            })
        })
    }

    /// What is stored: the save over what was there.
    fn object(&self, id: &str, before: Option<&Kv>) -> Map<String, Value> {
        let before = before.and_then(|kv| serde_json::from_slice(&kv.value).ok());
        let mut object = stored::merged(before.as_ref(), self.fields.clone());
        stored::tidy(&mut object);
        object.insert("key".into(), id.into());
        object.insert("prefix".into(), self.prefix.as_str().into());
        object.insert("time".into(), now_ms().into());
        object
    }
}

/// Reads of a stored route what tells it from others. One that cannot be read still has its key.
fn known(family: &str, kv: &Kv) -> Option<Known> {
    #[derive(Deserialize, Default)]
    struct Place {
        #[serde(default)]
        prefix: Value,
        #[serde(default)]
        hosts: Value,
    }
    let id = kv.key.strip_prefix(family)?.to_owned();
    let place: Place = serde_json::from_slice(&kv.value).unwrap_or_default();
    let hosts = Map::from_iter([("hosts".to_owned(), place.hosts)]);
    Some(Known {
        id,
        prefix: place.prefix.as_str().unwrap_or_default().trim().to_owned(),
        hosts: identity::hosts(&hosts).unwrap_or_default(),
    })
}

struct Remove<'a> {
    id: &'a str,
}

#[async_trait]
impl Change for Remove<'_> {
    async fn plan(&self, admin: &Admin, _: Head) -> Result<Plan, Refused> {
        let mut plan = Plan::default();
        let full = admin.key(&format!("{}{}", key::ROUTES, self.id));
        if let Some(kv) = admin.deps.store.get(&full).await? {
            plan.delete(&kv);
        }
        Ok(plan)
    }
}

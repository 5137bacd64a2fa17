//! `/admin/services/list`, `save` and `remove`.
//!
//! A node that a service registered itself belongs to that service's lease: what an operator says
//! of it goes into an overlay beside it (`gw/nodes/<key>`), and lists show both as one.

use std::collections::HashMap;

use async_trait::async_trait;
use axum::response::Response;
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::{Admin, Caller, answer, fields, key_field, listed, lua_error, stored_object, text_field};
use crate::admin::write::{Change, Plan, Refused, now_ms};
use crate::history::Head;
use crate::resource::{NodeOverlay, NodeState, key, stored};
use crate::store::{Kv, StoreError};

pub(super) async fn list(admin: &Admin) -> Response {
    match nodes(admin).await {
        Ok(nodes) => listed(&nodes),
        Err(e) => {
            log::error!("admin: nodes cannot be listed: {e}");
            answer::text(StatusCode::INTERNAL_SERVER_ERROR, "查询服务节点异常")
        }
    }
}

pub(super) async fn save(admin: &Admin, caller: &Caller, body: &[u8]) -> Response {
    let Ok(Some(fields)) = fields(body) else { return lua_error() };
    let (Some(service), Some(upstream)) = (text_field(&fields, "service_name"), text_field(&fields, "upstream")) else {
        return lua_error();
    };
    let change = Save {
        id: key::node(&service, &upstream),
        sent_key: key_field(&fields),
        service: service.trim().to_owned(),
        upstream: upstream.trim().to_owned(),
        fields,
    };
    match admin.apply(&change, &caller.request()).await {
        Ok(_) => {
            caller.changed("saved the node", &change.id);
            answer::text(StatusCode::OK, "ok")
        }
        Err(refused) => answer::text(StatusCode::INTERNAL_SERVER_ERROR, refused.to_string()),
    }
}

pub(super) async fn remove(admin: &Admin, caller: &Caller, body: &[u8]) -> Response {
    let Ok(Some(fields)) = fields(body) else { return lua_error() };
    let Some(id) = text_field(&fields, "key") else { return lua_error() };
    match admin.apply(&Remove { id: &id }, &caller.request()).await {
        Ok(_) => {
            caller.changed("removed the node", &id);
            answer::text(StatusCode::OK, "ok")
        }
        Err(refused) => {
            log::error!("admin: the node {id:?} cannot be removed: {refused}");
            answer::text(StatusCode::INTERNAL_SERVER_ERROR, "删除服务节点异常")
        }
    }
}

/// All nodes in key order, each with its overlay.
async fn nodes(admin: &Admin) -> Result<Vec<Map<String, Value>>, StoreError> {
    let (nodes, overlays) = (admin.key(key::NODES), admin.key(key::OVERLAYS));
    let listing = admin.deps.store.list(&nodes).await?;
    let overlaid = admin.deps.store.list(&overlays).await?;
    let overlaid: HashMap<&str, &Kv> =
        overlaid.entries.iter().filter_map(|kv| Some((kv.key.strip_prefix(&overlays)?, kv))).collect();
    let shown = listing.entries.iter().filter_map(|kv| {
        let id = kv.key.strip_prefix(&nodes)?;
        let mut node = stored_object(id, &kv.value)?;
        if let Some(overlay) = overlaid.get(id).and_then(|kv| NodeOverlay::parse(&kv.value).ok()) {
            lay_over(&mut node, &overlay);
        }
        Some(node)
    });
    Ok(shown.collect())
}

fn lay_over(node: &mut Map<String, Value>, overlay: &NodeOverlay) {
    if let Some(weight) = overlay.weight {
        node.insert("weight".into(), weight.into());
    }
    if overlay.state != NodeState::Enabled {
        node.insert("status".into(), 0.into());
    }
}

struct Save {
    id: String,
    sent_key: Option<String>,
    service: String,
    upstream: String,
    fields: Map<String, Value>,
}

#[async_trait]
impl Change for Save {
    async fn plan(&self, admin: &Admin, _: Head) -> Result<Plan, Refused> {
        let node_key = admin.key(&format!("{}{}", key::NODES, self.id));
        let overlay_key = admin.key(&format!("{}{}", key::OVERLAYS, self.id));
        let node = admin.deps.store.get(&node_key).await?;
        let overlay = admin.deps.store.get(&overlay_key).await?;
        if node.is_some() && self.sent_key.is_none() {
            return Err(Refused::Change("服务节点已存在".into()));
        }

        let mut plan = Plan::default();
        let renamed = self.sent_key.as_deref().filter(|sent| *sent != self.id);
        let moved = match renamed {
            Some(sent) => remove_node(admin, sent, &mut plan).await?,
            None => None,
        };
        match node.as_ref().filter(|node| node.lease.is_some()) {
            Some(leased) => {
                let value = self.overlay(leased, overlay.as_ref());
                admin.check(&format!("{}{}", key::OVERLAYS, self.id), &value)?;
                plan.expect(&node_key, node.as_ref());
                plan.put(overlay_key, overlay.as_ref(), value);
            }
            None => {
                let value = self.object(moved.as_ref().or(node.as_ref()));
                admin.check(&format!("{}{}", key::NODES, self.id), &value)?;
                plan.put(node_key, node.as_ref(), value);
                // The save has the weight and status that lists showed; under an overlay they
                // would have no effect.
                match &overlay {
                    Some(overlay) => plan.delete(overlay),
                    None => plan.expect(&overlay_key, None),
                }
            }
        }
        Ok(plan)
    }
}

impl Save {
    /// What is stored of a node of our own: the save over what was there.
    fn object(&self, before: Option<&Kv>) -> Vec<u8> {
        let before = before.and_then(|kv| serde_json::from_slice(&kv.value).ok());
        let mut object = stored::merged(before.as_ref(), self.fields.clone());
        object.insert("key".into(), self.id.as_str().into());
        object.insert("service_name".into(), self.service.as_str().into());
        object.insert("upstream".into(), self.upstream.as_str().into());
        object.insert("time".into(), now_ms().into());
        Value::Object(object).to_string().into_bytes()
    }

    /// What an operator's save of a leased node comes to: the differences from what the list shows.
    fn overlay(&self, node: &Kv, before: Option<&Kv>) -> Vec<u8> {
        let parsed = before.and_then(|kv| NodeOverlay::parse(&kv.value).ok()).unwrap_or_default();
        let mut overlay: Map<String, Value> =
            before.and_then(|kv| serde_json::from_slice(&kv.value).ok()).unwrap_or_default();
        let mut shown: Map<String, Value> = serde_json::from_slice(&node.value).unwrap_or_default();
        shown.entry("weight").or_insert(1.into());
        shown.entry("status").or_insert(1.into());
        lay_over(&mut shown, &parsed);

        let number = |object: &Map<String, Value>, name: &str| object.get(name).and_then(Value::as_f64);
        let differs = |name: &str| number(&self.fields, name) != number(&shown, name);
        if let Some(weight) = self.fields.get("weight").filter(|weight| !weight.is_null() && differs("weight")) {
            overlay.insert("weight".into(), weight.clone());
        }
        if self.fields.get("status").is_some_and(|status| !status.is_null()) && differs("status") {
            let on = number(&self.fields, "status") == Some(1.0);
            overlay.insert("state".into(), json!(if on { NodeState::Enabled } else { NodeState::Disabled }));
        }
        overlay.insert("time".into(), now_ms().into());
        Value::Object(overlay).to_string().into_bytes()
    }
}

struct Remove<'a> {
    id: &'a str,
}

#[async_trait]
impl Change for Remove<'_> {
    async fn plan(&self, admin: &Admin, _: Head) -> Result<Plan, Refused> {
        let mut plan = Plan::default();
        remove_node(admin, self.id, &mut plan).await?;
        Ok(plan)
    }
}

/// Plans to remove a node and what was said of it. Returns the node.
async fn remove_node(admin: &Admin, id: &str, plan: &mut Plan) -> Result<Option<Kv>, StoreError> {
    let node_key = admin.key(&format!("{}{id}", key::NODES));
    let Some(node) = admin.deps.store.get(&node_key).await? else { return Ok(None) };
    plan.delete(&node);
    let overlay_key = admin.key(&format!("{}{id}", key::OVERLAYS));
    if let Some(overlay) = admin.deps.store.get(&overlay_key).await? {
        plan.delete(&overlay);
    }
    Ok(Some(node))
}

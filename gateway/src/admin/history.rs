//! `/admin/v2/history`: what was declared when and by whom; any state of it restored; and changes
//! that are undone unless somebody confirms them.

use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, Request, State};
use axum::routing::{get, post};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::asked::Asked;
use super::auth::Rights;
use super::kinds::{self, described};
use super::objects::{Answer, outcome};
use super::problem::Problem;
use super::write::{Change, Plan, Refused};
use super::{Admin, answer};
use crate::history::{Head, KEPT, PENDING, Pending, RECORDS, Record, Written, total};
use crate::resource::key::HEAD;
use crate::store::{Guard, Kv, Op, StoreError};

mod describe;
pub(super) use describe::describe;

/// Most revisions of a list, and how many there are when nobody says.
const MOST: usize = 1000;
const USUAL: usize = 50;

pub(super) fn router() -> Router<Arc<Admin>> {
    Router::new()
        .route("/history", get(list))
        .route("/history/diff", get(diff))
        .route("/history/pending", get(pending))
        .route("/history/{revision}", get(one))
        .route("/history/{revision}/restore", post(restore))
        .route("/history/{revision}/confirm", post(confirm))
        .route("/history/{revision}/undo", post(undo))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Wanted {
    limit: Option<usize>,
    /// Only revisions before this one.
    before: Option<u64>,
    kind: Option<String>,
    name: Option<String>,
    author: Option<String>,
}

impl Wanted {
    fn admits(&self, record: &Record) -> bool {
        let wrote = |written: &Written| {
            let (kind, name) = kinds::of_key(&written.key).map_or(("other", &*written.key), |(k, name)| (k.path, name));
            self.kind.as_ref().is_none_or(|wanted| wanted == kind) && self.name.as_ref().is_none_or(|n| n == name)
        };
        self.before.is_none_or(|before| record.revision < before)
            && self.author.as_ref().is_none_or(|author| *author == record.author.name)
            && ((self.kind.is_none() && self.name.is_none()) || record.written.iter().any(wrote))
    }
}

type Revision = Result<Path<u64>, PathRejection>;

fn revision(path: Revision) -> Result<u64, Problem> {
    path.map(|Path(revision)| revision)
        .map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "a revision is a number, such as 12"))
}

fn query<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, Problem> {
    query
        .map(|Query(wanted)| wanted)
        .map_err(|e| Problem::new(StatusCode::BAD_REQUEST, format!("the query cannot be read: {}", e.body_text())))
}

/// `GET /admin/v2/history`: the newest first.
async fn list(State(admin): State<Arc<Admin>>, wanted: Result<Query<Wanted>, QueryRejection>) -> Answer {
    let wanted = query(wanted)?;
    let limit = wanted.limit.unwrap_or(USUAL).min(MOST);
    let (head, pending) = (admin.head().await?, admin.pending().await?);
    let stored = admin.deps.store.list(&admin.key(RECORDS)).await.map_err(Refused::from)?.entries;
    // One after the other: all of them read at once may be more than there is memory.
    let items = stored.iter().rev().filter_map(readable).filter(|record| wanted.admits(record)).take(limit);
    let items: Vec<Value> = items.map(|record| shown(&record, &pending, false)).collect();
    Ok(answer::json(&json!({"revision": head.revision, "items": items})))
}

/// `GET /admin/v2/history/<revision>`
async fn one(State(admin): State<Arc<Admin>>, path: Revision) -> Answer {
    let record = admin.one_record(revision(path)?).await?;
    Ok(answer::json(&shown(&record, &admin.pending().await?, true)))
}

/// `GET /admin/v2/history/pending`
async fn pending(State(admin): State<Arc<Admin>>) -> Answer {
    Ok(answer::json(&json!({"items": admin.pending().await?})))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Between {
    from: u64,
    to: u64,
}

/// `GET /admin/v2/history/diff?from=&to=`: what makes the one state the other.
async fn diff(State(admin): State<Arc<Admin>>, between: Result<Query<Between>, QueryRejection>) -> Answer {
    let Between { from, to } = query(between)?;
    let head = admin.head().await?;
    let (earlier, later) = (from.min(to), from.max(to));
    let mut changes = total(&admin.records(earlier, later, head).await?);
    if from > to {
        for Written { before, after, .. } in &mut changes {
            std::mem::swap(before, after);
        }
    }
    let changes: Vec<Value> = changes.iter().map(described).collect();
    Ok(answer::json(&json!({"from": from, "to": to, "changes": changes})))
}

/// `POST /admin/v2/history/<revision>/restore`: makes the state what it was after that revision.
async fn restore(State(admin): State<Arc<Admin>>, path: Revision, request: Request<Body>) -> Answer {
    let to = revision(path)?;
    let (asked, _) = Asked::of(request).await?;
    let done = admin.apply(&Restore { to, rights: &asked.rights }, &asked.request).await?;
    asked.note_text(&format!("restored revision {to}"), &done);
    Ok(answer::json(&outcome(&done)))
}

/// `POST /admin/v2/history/<revision>/confirm`
async fn confirm(State(admin): State<Arc<Admin>>, path: Revision, request: Request<Body>) -> Answer {
    let revision = revision(path)?;
    let (asked, _) = Asked::of(request).await?;
    let done = admin.apply(&Confirm { revision, rights: &asked.rights }, &asked.request).await?;
    asked.note_text(&format!("confirmed revision {revision}"), &done);
    Ok(answer::json(&outcome(&done)))
}

/// `POST /admin/v2/history/<revision>/undo`: takes back a change that waits to be confirmed.
async fn undo(State(admin): State<Arc<Admin>>, path: Revision, request: Request<Body>) -> Answer {
    let revision = revision(path)?;
    let (asked, _) = Asked::of(request).await?;
    let done = admin.apply(&Undo { revision, rights: Some(&asked.rights) }, &asked.request).await?;
    asked.note_text(&format!("took back revision {revision}"), &done);
    Ok(answer::json(&outcome(&done)))
}

fn shown(record: &Record, pending: &[Pending], with_fields: bool) -> Value {
    let changes: Vec<Value> = record.written.iter().map(described).collect();
    let mut shown = json!({
        "revision": record.revision,
        "time": record.time,
        "author": record.author,
        "reason": record.reason,
        "restored": record.restored,
        "changes": changes,
    });
    if !with_fields && let Some(changes) = shown["changes"].as_array_mut() {
        for change in changes.iter_mut().filter_map(Value::as_object_mut) {
            change.shift_remove("fields");
        }
    }
    if let Some(pending) = pending.iter().find(|pending| pending.revision == record.revision) {
        shown["undone_at"] = pending.until.into();
    }
    shown
}

fn readable(kv: &Kv) -> Option<Record> {
    let record = Record::decode(&kv.value);
    record.inspect_err(|e| log::warn!("admin: {:?} cannot be read and is left out: {e}", kv.key)).ok()
}

impl Admin {
    async fn head(&self) -> Result<Head, Refused> {
        let kv = self.deps.store.get(&self.key(HEAD)).await?;
        Ok(kv.and_then(|kv| serde_json::from_slice(&kv.value).ok()).unwrap_or_default())
    }

    /// The records after one state, up to another. No other is read: all of them may be more than there is memory.
    async fn records(&self, after: u64, to: u64, head: Head) -> Result<Vec<Record>, Refused> {
        if after.max(to) > head.revision {
            return Err(Refused::Absent(format!("revision {}; the last is {}", after.max(to), head.revision)));
        }
        let stored = self.deps.store.list(&self.key(RECORDS)).await?.entries;
        let revision = |kv: &Kv| kv.key.rsplit('/').next().and_then(|revision| revision.parse::<u64>().ok());
        let is_wanted = |kv: &&Kv| revision(kv).is_some_and(|revision| revision > after && revision <= to);
        let records: Vec<Record> = stored.iter().filter(is_wanted).filter_map(readable).collect();
        if records.len() as u64 == to.saturating_sub(after) {
            return Ok(records);
        }
        let first = stored.first().and_then(revision).map_or(head.revision, |first| first.saturating_sub(1));
        Err(Refused::Absent(format!("record of revision {after} any more; the earliest is {first}")))
    }

    async fn pending(&self) -> Result<Vec<Pending>, Refused> {
        let listing = self.deps.store.list(&self.key(PENDING)).await?;
        Ok(listing.entries.iter().filter_map(|kv| serde_json::from_slice(&kv.value).ok()).collect())
    }

    async fn one_record(&self, revision: u64) -> Result<Record, Refused> {
        let kv = self.deps.store.get(&self.key(&Record::key(revision))).await?;
        let absent = || Refused::Absent(format!("record of revision {revision}"));
        Record::decode(&kv.ok_or_else(absent)?.value).map_err(|_| absent())
    }

    async fn declared(&self, key: &str) -> Result<Option<Kv>, Refused> {
        Ok(self.deps.store.get(&self.key(key)).await?)
    }
}

/// Whether the rights reach to what a revision writes.
fn allow(rights: &Rights, written: &Written) -> Result<(), Refused> {
    let Some((kind, name)) = kinds::of_key(&written.key) else {
        let may = rights.may_edit_everything();
        return if may { Ok(()) } else { Err(Refused::Forbidden(written.key.clone())) };
    };
    for value in [&written.before, &written.after].into_iter().flatten() {
        kind.allows(rights, name, &serde_json::from_slice(value).unwrap_or_default())?;
    }
    Ok(())
}

struct Restore<'a> {
    to: u64,
    rights: &'a Rights,
}

#[async_trait]
impl Change for Restore<'_> {
    async fn plan(&self, admin: &Admin, head: Head) -> Result<Plan, Refused> {
        let mut plan = Plan::restoring(self.to);
        for written in total(&admin.records(self.to, head.revision, head).await?) {
            allow(self.rights, &written)?;
            let now = admin.declared(&written.key).await?;
            // What a service registered since is the service's.
            if now.as_ref().is_some_and(|kv| kv.lease.is_some()) {
                continue;
            }
            if let Some(value) = &written.before {
                admin.check(&written.key, value)?;
            }
            plan.make(admin.key(&written.key), now.as_ref(), written.before);
        }
        Ok(plan)
    }
}

/// The keys of a revision that waits to be confirmed, which must be there.
async fn waiting(admin: &Admin, revision: u64) -> Result<Kv, Refused> {
    let kv = admin.declared(&Pending::key(revision)).await?;
    kv.ok_or_else(|| Refused::Absent(format!("revision {revision} that waits to be confirmed")))
}

/// Takes away the record of a revision that was only kept because it waited.
fn outlived(admin: &Admin, revision: u64, head: Head) -> Option<Op> {
    (revision + KEPT <= head.revision).then(|| Op::delete(admin.key(&Record::key(revision))))
}

struct Confirm<'a> {
    revision: u64,
    rights: &'a Rights,
}

#[async_trait]
impl Change for Confirm<'_> {
    async fn plan(&self, admin: &Admin, head: Head) -> Result<Plan, Refused> {
        let pending = waiting(admin, self.revision).await?;
        let awaited = admin.declared(&Pending::awaited_key(self.revision)).await?;
        let awaited =
            awaited.ok_or_else(|| Refused::Absent(format!("time left to confirm revision {}", self.revision)))?;
        for written in &admin.one_record(self.revision).await?.written {
            allow(self.rights, written)?;
        }
        let mut plan = Plan::default();
        for kv in [pending, awaited] {
            plan.expect(&kv.key, Some(&kv));
            plan.beside.push(Op::delete(kv.key));
        }
        plan.beside.extend(outlived(admin, self.revision, head));
        Ok(plan)
    }
}

/// Takes back a change that waits to be confirmed: by someone, or because its time is over.
pub(super) struct Undo<'a> {
    pub(super) revision: u64,
    /// Of who takes it back; none when its time is over.
    pub(super) rights: Option<&'a Rights>,
}

#[async_trait]
impl Change for Undo<'_> {
    async fn plan(&self, admin: &Admin, head: Head) -> Result<Plan, Refused> {
        let pending = waiting(admin, self.revision).await?;
        let mut plan = Plan::undoing(self.revision);
        plan.expect(&pending.key, Some(&pending));
        plan.beside.push(Op::delete(pending.key));
        plan.beside.extend(outlived(admin, self.revision, head));
        let awaited = admin.key(&Pending::awaited_key(self.revision));
        match self.rights {
            Some(_) => plan.beside.push(Op::delete(awaited)),
            None => plan.demand(Guard::Absent(awaited)),
        }
        for Written { key, before, after } in admin.one_record(self.revision).await?.written {
            let written = Written { key, before, after };
            if let Some(rights) = self.rights {
                allow(rights, &written)?;
            }
            let now = admin.declared(&written.key).await?;
            // Someone has written it past the Admin API since; that stays.
            if now.as_ref().map(|kv| &kv.value) == written.after.as_ref() {
                plan.make(admin.key(&written.key), now.as_ref(), written.before);
            }
        }
        Ok(plan)
    }
}

/// A reading failed.
impl From<StoreError> for Problem {
    fn from(e: StoreError) -> Self {
        Refused::from(e).into()
    }
}

//! A call that changes something: who makes it, why, and how it is meant.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Query, Request};
use bytes::Bytes;
use http::StatusCode;
use http::header::USER_AGENT;
use http::request::Parts;
use serde::Deserialize;

use super::auth::{Login, Principal, Rights};
use super::body;
use super::front::Call;
use super::kinds::Kind;
use super::problem::Problem;
use super::write::{self, Done};
use crate::history::{Author, Origin};

/// What the command line calls itself; its version follows.
pub const CLI_AGENT: &str = "ws-cloud-gateway-cli/";

/// Longest reason, in bytes.
const LONGEST_REASON: usize = 1000;
/// For how long a change may wait to be confirmed.
const CONFIRM_WITHIN: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(24 * 3600);

/// What the query of a change says of it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct How {
    dry_run: bool,
    reason: Option<String>,
    #[serde(with = "humantime_serde")]
    confirm_within: Option<Duration>,
}

fn origin(principal: &Principal, parts: &Parts) -> Origin {
    let agent = parts.headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
    match principal {
        Principal::User { login: Login::Session { .. }, .. } => Origin::Panel,
        _ if agent.starts_with(CLI_AGENT) => Origin::Cli,
        _ => Origin::Api,
    }
}

/// Who wants what.
#[derive(Debug)]
pub(super) struct Asked {
    /// What the caller may.
    pub(super) rights: Rights,
    /// How the change is meant.
    pub(super) request: write::Request,
}

impl Asked {
    /// Reads a call, its body up to the usual limit.
    pub(super) async fn of(request: Request<Body>) -> Result<(Self, Bytes), Problem> {
        Self::of_large(request, body::MAX_BODY).await
    }

    /// Reads a call, its body up to a limit.
    pub(super) async fn of_large(request: Request<Body>, most: usize) -> Result<(Self, Bytes), Problem> {
        let (parts, body) = request.into_parts();
        let asked = Self::parse(&parts)?;
        let body = body::read_up_to(body, most).await;
        Ok((asked, body.map_err(|s| Problem::new(s, "the body cannot be read, or is too large"))?))
    }

    fn parse(parts: &Parts) -> Result<Self, Problem> {
        let (Some(principal), Some(call)) = (parts.extensions.get::<Principal>(), parts.extensions.get::<Call>())
        else {
            return Err(Problem::new(StatusCode::UNAUTHORIZED, "log in first"));
        };
        let Query(how) = Query::<How>::try_from_uri(&parts.uri).map_err(|e| {
            Problem::new(StatusCode::BAD_REQUEST, format!("the query cannot be read: {}", e.body_text()))
        })?;
        if how.confirm_within.is_some_and(|within| !CONFIRM_WITHIN.contains(&within)) {
            return Err(Problem::new(StatusCode::BAD_REQUEST, "confirm_within: from 1s to 24h, such as 5m"));
        }
        if how.reason.as_ref().is_some_and(|reason| reason.len() > LONGEST_REASON) {
            let text = format!("reason: has at most {LONGEST_REASON} bytes");
            return Err(Problem::new(StatusCode::BAD_REQUEST, text));
        }
        let author =
            Author { name: principal.name().to_owned(), origin: origin(principal, parts), address: Some(call.from) };
        let request = write::Request {
            author,
            reason: how.reason.filter(|reason| !reason.is_empty()),
            confirm_within: how.confirm_within,
            is_dry_run: how.dry_run,
        };
        Ok(Self { rights: principal.rights(), request })
    }

    /// Notes a change of an object in the log.
    pub(super) fn note(&self, kind: &Kind, name: &str, done: &Done) {
        self.note_text(&format!("changed {}/{name:?}", kind.path), done);
    }

    /// Notes a change in the log.
    pub(super) fn note_text(&self, what: &str, done: &Done) {
        if done.stored.is_some() {
            let write::Request { author, .. } = &self.request;
            let from = author.address.map_or_else(String::new, |from| format!(" from {from}"));
            log::info!("admin: {}{from} {what}: revision {}", author.name, done.revision);
        }
    }
}

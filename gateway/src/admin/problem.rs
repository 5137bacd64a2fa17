//! Errors of the new API: problem details as in RFC 9457.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde_json::json;

use super::answer;
use super::write::Refused;
use crate::resource::Invalid;
use crate::store::StoreError;

/// What went wrong with a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    status: StatusCode,
    detail: String,
    field: Option<String>,
    /// When there are several.
    errors: Vec<Invalid>,
}

impl Problem {
    /// A problem; the detail is for the caller and holds no secret.
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), field: None, errors: Vec::new() }
    }

    /// Names the field it is about.
    pub(super) fn with_field(mut self, field: &str) -> Self {
        self.field = Some(field.to_owned());
        self
    }

    /// A problem with a field of what was sent; an empty name is the whole.
    pub(super) fn at(field: &str, reason: impl std::fmt::Display) -> Self {
        let detail = if field.is_empty() { reason.to_string() } else { format!("{field}: {reason}") };
        let field = (!field.is_empty()).then(|| field.to_owned());
        Self { status: StatusCode::UNPROCESSABLE_ENTITY, detail, field, errors: Vec::new() }
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let status = match &refused {
            Refused::Invalid(invalid) => return Self::at(&invalid.path, &invalid.reason),
            Refused::Name(_) => StatusCode::BAD_REQUEST,
            Refused::Change(_) | Refused::Many(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Refused::Absent(_) => StatusCode::NOT_FOUND,
            Refused::Exists(_) | Refused::Awaited { .. } | Refused::Store(StoreError::Conflict) => StatusCode::CONFLICT,
            Refused::Stale(_) => StatusCode::PRECONDITION_FAILED,
            Refused::Unread(_) => StatusCode::PRECONDITION_REQUIRED,
            Refused::Forbidden(_) => StatusCode::FORBIDDEN,
            Refused::Store(StoreError::Full(_)) => StatusCode::INSUFFICIENT_STORAGE,
            Refused::Store(StoreError::Invalid(_)) => StatusCode::PAYLOAD_TOO_LARGE,
            Refused::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        let mut problem = Self::new(status, refused.to_string());
        if let Refused::Many(errors) = refused {
            problem.field = errors.first().map(|first| first.path.clone());
            problem.errors = errors;
        }
        problem
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        // Without a `type` of its own a problem is its status (RFC 9457, section 4.2.1).
        let mut body = json!({
            "type": "about:blank",
            "title": self.status.canonical_reason().unwrap_or("Error"),
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        if let Some(field) = self.field {
            body["field"] = field.into();
        }
        if !self.errors.is_empty() {
            let errors = self.errors.iter().map(|e| json!({"field": e.path, "detail": e.reason}));
            body["errors"] = errors.collect();
        }
        let kind = HeaderValue::from_static("application/problem+json");
        let mut response = answer::with_type(self.status, kind, Body::from(body.to_string()));
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("X-Token"));
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

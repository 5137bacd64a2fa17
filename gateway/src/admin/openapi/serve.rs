//! The document and the page that shows it, to anyone whose address may call.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::response::Response;
use axum::routing::get;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY};
use http::{HeaderValue, StatusCode};
use utoipa::openapi::schema::{ObjectBuilder, Type};

use super::{Api, DOCUMENT, Operation};
use crate::admin::objects::Answer;
use crate::admin::problem::Problem;
use crate::admin::{Admin, answer, v2};

/// Nothing from elsewhere, nothing inline, in no one's frame.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// Files of the page.
const FILES: [(&str, &str, &str); 2] = [
    ("docs.js", "text/javascript; charset=utf-8", include_str!("page/docs.js")),
    ("docs.css", "text/css; charset=utf-8", include_str!("page/docs.css")),
];

/// Paths that need no credentials; merged outside of what asks for them.
pub(in crate::admin) fn router() -> Router<Arc<Admin>> {
    Router::new()
        .route("/openapi.json", get(document))
        .route("/docs", get(|| async { text("text/html; charset=utf-8", include_str!("page/docs.html")) }))
        .route("/docs/{file}", get(file))
        .method_not_allowed_fallback(v2::method_not_allowed)
}

pub(super) fn describe(api: &mut Api) {
    api.group("documents", "This description. It needs no credentials.");
    api.add(Operation::get("/openapi.json", "This document").public().answers_as(
        200,
        &["application/json"],
        ObjectBuilder::new(),
        "The document, in the form of OpenAPI 3.1.",
    ));
    let text = || ObjectBuilder::new().schema_type(Type::String);
    api.add(Operation::get("/docs", "A page that shows it").public().answers_as(
        200,
        &["text/html"],
        text(),
        "The page.",
    ));
    api.add(
        Operation::get("/docs/{file}", "A file of the page")
            .public()
            .at::<String>("file", "The file, such as `docs.js`.")
            .answers_as(200, &["text/javascript", "text/css"], text(), "The file.")
            .refuses(&[404]),
    );
}

async fn document() -> Answer {
    match &*DOCUMENT {
        Ok(document) => Ok(text("application/json", document)),
        Err(e) => Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, e.as_str())),
    }
}

async fn file(Path(name): Path<String>) -> Answer {
    let found = FILES.iter().find(|(file, ..)| *file == name);
    let (_, kind, content) = found.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "there is no such file"))?;
    Ok(text(kind, content))
}

fn text(kind: &'static str, content: &'static str) -> Response {
    let mut response = answer::with_type(StatusCode::OK, HeaderValue::from_static(kind), Body::from(content));
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

//! What the document says of explanations. How one is made is not the Admin API's business, so the
//! forms are told here once more, the inner ones in short.
#![allow(dead_code)]

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::admin::openapi::{Api, Operation};

/// A request, and perhaps a change of the configuration.
#[derive(ToSchema)]
struct Question {
    /// The method; `GET` when absent.
    #[schema(nullable = false, required = false, example = "GET")]
    method: Option<String>,
    /// A path with its query, or an absolute URL. With `https` the client is taken to come by TLS.
    #[schema(example = "/a?b=1")]
    url: String,
    /// Headers.
    #[schema(nullable = false, required = false)]
    headers: Option<BTreeMap<String, HeaderValues>>,
    /// The address of the connection; `127.0.0.1` when absent.
    #[schema(required = false, example = "203.0.113.7")]
    client_ip: Option<String>,
    /// A change that is laid over the configuration, and stored nowhere.
    #[schema(required = false)]
    change: Option<WantedChange>,
}

/// One value of a header, or several.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
enum HeaderValues {
    One(String),
    Several(Vec<String>),
}

/// A change of one object.
#[derive(ToSchema)]
struct WantedChange {
    /// Its kind and name, or its key in the store.
    #[schema(example = "routes/a")]
    path: String,
    /// The object; null deletes it.
    #[schema(value_type = Option<Object>, required = true)]
    value: Option<Value>,
}

/// What would become of a request, and why.
#[derive(ToSchema)]
struct Explanation {
    /// The store's revision of the configuration.
    revision: u64,
    /// The request as the gateway reads it.
    #[schema(value_type = Object)]
    request: Value,
    outcome: Fate,
    /// The status of an answer that is not the service's.
    #[schema(nullable = false, required = false)]
    status: Option<u16>,
    /// Why it is not the service that answers.
    #[schema(nullable = false, required = false)]
    reason: Option<String>,
    /// The route that takes it.
    route: Option<String>,
    /// Every route whose path pattern matches, in the order of the router; those that lost say why.
    #[schema(value_type = Vec<Object>)]
    candidates: Vec<Value>,
    /// How many more there are.
    #[schema(nullable = false, required = false)]
    candidates_left_out: Option<u64>,
    /// The plugins in the order in which they run, with their settings and effects.
    #[schema(value_type = Vec<Object>)]
    plugins: Vec<Value>,
    /// Where it goes: the nodes, the choice among them, times and retries.
    #[schema(value_type = Option<Object>)]
    service: Option<Value>,
    /// The request as it goes there.
    #[schema(value_type = Option<Object>)]
    upstream: Option<Value>,
    /// All of it in a few sentences.
    why: Vec<String>,
    /// The change that was asked about.
    #[schema(nullable = false, required = false)]
    change: Option<AskedChange>,
    /// The fields in which it makes a difference.
    #[schema(nullable = false, required = false)]
    differs: Option<Vec<String>>,
    /// The explanation without it.
    #[schema(value_type = Object, nullable = false, required = false)]
    without_change: Option<Value>,
}

/// The change that was asked about.
#[derive(ToSchema)]
struct AskedChange {
    /// Of which object.
    path: String,
    /// Whether it deletes it.
    deletes: bool,
}

/// What becomes of a request.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum Fate {
    /// It goes to a node.
    Forwarded,
    /// A plugin answers it.
    Answered,
    /// The gateway refuses it.
    Refused,
    /// It is a call of the Admin API.
    Admin,
    /// A plugin has not decided in time.
    Unknown,
}

pub(in crate::admin) fn describe(api: &mut Api) {
    api.group("explain", "What would become of a request, now or with a change. Nothing is sent or stored.");
    api.add(
        Operation::post("/explain", "Explain a request")
            .about("To ask about a change takes the rights to make it; `differs` of the answer says what it would do.")
            .takes::<Question>("The request, and perhaps a change.")
            .answers::<Explanation>(200, "What would become of it.")
            .refuses(&[413, 422]),
    );
}

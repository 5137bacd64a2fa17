//! What is tried again at another node, and how often.

use std::time::Duration;

use serde::{Deserialize, Deserializer};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, OneOfBuilder, Schema, Type};

use crate::resource::Invalid;

/// What is tried again, of a service or of a route. Only a request that may be repeated is: one
/// that did not reach a node, or an idempotent one whose body is still known (up to 64 KiB).
#[derive(Debug, Clone, PartialEq, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// What counts as a failed try.
    #[schema(schema_with = retry_on)]
    pub on: Option<RetryOn>,
    /// How long after its start a request that reached a node may be tried again.
    #[serde(with = "humantime_serde")]
    #[schema(value_type = Option<String>, example = "5s")]
    pub within: Option<Duration>,
    /// The share of the service's requests that may be retries, 0 to 1. Ten in ten seconds are
    /// always allowed.
    pub budget: Option<f64>,
}

/// What counts as a failed try: `connect`, `reset`, `timeout` and statuses of 500 and above.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryOn {
    /// No connection was made.
    pub connect: bool,
    /// The connection broke before the response had begun.
    pub reset: bool,
    /// The node took too long.
    pub timeout: bool,
    /// It answered with one of these.
    pub statuses: Vec<u16>,
}

impl Default for RetryOn {
    /// As the first gateway: what broke, what took too long, and 502.
    fn default() -> Self {
        Self { connect: true, reset: true, timeout: true, statuses: vec![502] }
    }
}

impl<'de> Deserialize<'de> for RetryOn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut on = Self { connect: false, reset: false, timeout: false, statuses: Vec::new() };
        for item in Vec::<Value>::deserialize(deserializer)? {
            match (item.as_str(), item.as_u64()) {
                (Some("connect"), _) => on.connect = true,
                (Some("reset"), _) => on.reset = true,
                (Some("timeout"), _) => on.timeout = true,
                (None, Some(status @ 500..=599)) => on.statuses.push(u16::try_from(status).unwrap_or(500)),
                _ => {
                    return Err(serde::de::Error::custom(format!(
                        "{item} is not one of \"connect\", \"reset\", \"timeout\" or a status from 500 to 599"
                    )));
                }
            }
        }
        Ok(on)
    }
}

/// How [`RetryOn`] is written.
fn retry_on() -> Schema {
    let name = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(["connect", "reset", "timeout"]));
    let status = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(500)).maximum(Some(599));
    ArrayBuilder::new()
        .items(OneOfBuilder::new().item(name).item(status))
        .description(Some("What counts as a failed try: these words, and statuses of 500 and above."))
        .into()
}

impl Retry {
    /// These settings, and where they say nothing, those.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        Self {
            on: self.on.clone().or_else(|| other.on.clone()),
            within: self.within.or(other.within),
            budget: self.budget.or(other.budget),
        }
    }

    pub(in crate::resource) fn validate(&self, field: &str) -> Result<(), Invalid> {
        if self.budget.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
            return Err(Invalid::at(format!("{field}.budget"), "must be from 0 to 1, such as 0.2"));
        }
        Ok(())
    }
}

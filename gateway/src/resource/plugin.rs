//! A plugin that runs on every route.

use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{Invalid, from_json, lenient};

/// A global plugin as declared; its name is its key.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
pub struct GlobalPlugin {
    /// Whether it is on: `status` is 1, or absent.
    #[serde(rename = "status", default = "on", deserialize_with = "lenient::status")]
    #[schema(value_type = u8, maximum = 1, default = 1)]
    pub enabled: bool,
    /// Its settings.
    #[serde(default, deserialize_with = "lenient::object")]
    #[schema(value_type = Object)]
    pub config: Map<String, Value>,
}

fn on() -> bool {
    true
}

impl GlobalPlugin {
    /// Reads a stored global plugin.
    ///
    /// # Errors
    /// When it is not JSON or a field is not what it should be.
    pub fn parse(value: &[u8]) -> Result<Self, Invalid> {
        from_json(value)
    }
}

//! How a gateway makes plugins from settings without knowing their types.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use crate::plugin::Shared;
use crate::{DynPlugin, Phases, Plugin};

/// Why settings were refused. Displays as `<path>: <reason>`, the path within the settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// Where in the settings, such as `regex` or `limits.rate`; empty for the whole.
    pub path: String,
    /// What is wrong and what would be right.
    pub reason: String,
}

impl ConfigError {
    /// An error at a field.
    pub fn at(path: impl Into<String>, reason: impl fmt::Display) -> Self {
        Self { path: path.into(), reason: reason.to_string() }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() { f.write_str(&self.reason) } else { write!(f, "{}: {}", self.path, self.reason) }
    }
}

/// A kind of plugin that a gateway knows: its metadata, and how to make one from settings.
#[derive(Clone)]
pub struct Factory {
    /// [`Plugin::NAME`]
    pub name: &'static str,
    /// [`Plugin::VERSION`]
    pub version: &'static str,
    /// [`Plugin::DESCRIPTION`]
    pub description: &'static str,
    /// [`Plugin::PRIORITY`]
    pub priority: i32,
    /// [`Plugin::PHASES`]
    pub phases: Phases,
    /// [`Plugin::LEGACY_PROPS`]
    pub legacy_props: &'static [&'static str],
    build: fn(Value) -> Result<Shared, ConfigError>,
    schema: fn() -> schemars::Schema,
}

impl Factory {
    /// The factory of a plugin type.
    pub fn of<P: Plugin>() -> Self {
        Self {
            name: P::NAME,
            version: P::VERSION,
            description: P::DESCRIPTION,
            priority: P::PRIORITY,
            phases: P::PHASES,
            legacy_props: P::LEGACY_PROPS,
            build: build::<P>,
            schema: || schemars::schema_for!(P::Config),
        }
    }

    /// Makes a plugin from its settings; does not start it.
    ///
    /// # Errors
    /// When the settings are refused; the path names the field.
    pub fn build(&self, settings: Value) -> Result<Arc<dyn DynPlugin>, ConfigError> {
        (self.build)(settings)
    }

    /// The JSON Schema of the settings.
    pub fn schema(&self) -> schemars::Schema {
        (self.schema)()
    }
}

impl fmt::Debug for Factory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Factory").field("name", &self.name).field("priority", &self.priority).finish_non_exhaustive()
    }
}

fn build<P: Plugin>(settings: Value) -> Result<Shared, ConfigError> {
    let config = serde_path_to_error::deserialize(settings).map_err(|e| {
        let path = e.path().to_string();
        // The crate's name for the whole.
        ConfigError::at(if path == "." { "" } else { &path }, e.inner())
    })?;
    Ok(Arc::new(P::new(config)?))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize, schemars::JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Config {
        /// Requests a second.
        limits: Vec<Limit>,
    }

    #[derive(Debug, Deserialize, schemars::JsonSchema)]
    struct Limit {
        rate: u32,
    }

    struct Limiter;

    impl Plugin for Limiter {
        const NAME: &'static str = "limiter";
        const VERSION: &'static str = "v1.0";
        const DESCRIPTION: &'static str = "limits";
        const PRIORITY: i32 = 7;
        const PHASES: Phases = Phases::REQUEST;
        type Config = Config;

        fn new(config: Config) -> Result<Self, ConfigError> {
            match config.limits.iter().position(|limit| limit.rate == 0) {
                Some(at) => Err(ConfigError::at(format!("limits[{at}].rate"), "must not be 0")),
                None => Ok(Self),
            }
        }
    }

    #[test]
    fn refused_settings_name_the_field() {
        let check = |settings: Value, expected: &str| {
            assert_eq!(Factory::of::<Limiter>().build(settings).map(drop).unwrap_err().to_string(), expected);
        };
        check(
            json!({"limits": [{"rate": 1}, {"rate": "x"}]}),
            "limits[1].rate: invalid type: string \"x\", expected u32",
        );
        check(json!({"limits": [{"rate": 1}, {"rate": 0}]}), "limits[1].rate: must not be 0");
        check(json!({}), "missing field `limits`");
        check(json!(null), "invalid type: null, expected struct Config");
    }

    #[test]
    fn a_factory_tells_what_it_makes() {
        let factory = Factory::of::<Limiter>();
        let plugin = factory.build(json!({"limits": []})).unwrap();
        assert_eq!((plugin.name(), plugin.priority(), plugin.phases()), ("limiter", 7, Phases::REQUEST));
        let schema = factory.schema().to_value();
        assert_eq!(schema["properties"]["limits"]["description"], "Requests a second.");
        assert_eq!(schema["additionalProperties"], false);
    }
}

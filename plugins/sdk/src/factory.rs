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
    let config = serde_path_to_error::deserialize(settings)
        .map_err(|e| ConfigError::at(match e.path().to_string() { p if p == "." => String::new(), p => p }, e.inner()))?;
    Ok(Arc::new(P::new(config)?))
}

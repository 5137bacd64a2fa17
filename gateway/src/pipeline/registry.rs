//! Which plugins this binary knows, and how a route's names and settings become instances.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value};
use ws_cloud_plugin_sdk::Factory;

use super::Instance;
use crate::resource::Invalid;
use crate::telemetry::Metrics;

/// Names the first gateway's routes carry that are no plugins here: `discovery` is what a route
/// with a `service_name` does anyway, `default` never did anything.
pub const BUILT_IN: [&str; 2] = ["discovery", "default"];

/// The plugins of this binary.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    factories: BTreeMap<&'static str, Factory>,
    ignored: BTreeSet<String>,
    metrics: Option<Arc<Metrics>>,
}

impl Registry {
    /// A registry of these plugins. `ignored` names may stand in routes and mean nothing.
    ///
    /// # Errors
    /// When two plugins have the same name or claim the same flat setting.
    pub fn new(factories: Vec<Factory>, ignored: &[String]) -> Result<Self, String> {
        let mut registry = Self { ignored: ignored.iter().cloned().collect(), ..Self::default() };
        let mut legacy = BTreeMap::new();
        for factory in factories {
            if BUILT_IN.contains(&factory.name) {
                return Err(format!(
                    "a plugin must not be named \"{}\": the gateway itself uses the name",
                    factory.name
                ));
            }
            for prop in factory.legacy_props {
                if let Some(other) = legacy.insert(*prop, factory.name) {
                    return Err(format!("plugins \"{other}\" and \"{}\" both claim the setting {prop}", factory.name));
                }
            }
            if let Some(twice) = registry.factories.insert(factory.name, factory) {
                return Err(format!("two plugins are named \"{}\"", twice.name));
            }
        }
        Ok(registry)
    }

    /// Has plugins' times told to these metrics.
    #[must_use]
    pub fn measured_by(self, metrics: &Arc<Metrics>) -> Self {
        Self { metrics: Some(Arc::clone(metrics)), ..self }
    }

    /// All plugins, by name.
    pub fn factories(&self) -> impl Iterator<Item = &Factory> {
        self.factories.values()
    }

    /// Whether a name in a route's list means nothing.
    pub fn is_inert(&self, name: &str) -> bool {
        BUILT_IN.contains(&name) || self.ignored.contains(name)
    }

    /// The settings a route's `props` hold for a plugin: the object under its name, and the flat
    /// settings it has from the first gateway.
    pub fn settings(&self, name: &str, props: &Map<String, Value>) -> Value {
        let mut settings = match props.get(name) {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(settings)) => settings.clone(),
            Some(other) => return other.clone(),
        };
        let flat = self.factories.get(name).map_or(&[][..], |f| f.legacy_props);
        let flat: Vec<_> = flat.iter().filter_map(|p| Some((*p, props.get(*p).filter(|v| !v.is_null())?))).collect();
        // The old panel sends empty texts for settings that are not made.
        if flat.iter().any(|(_, value)| value.as_str() != Some("")) {
            for (prop, value) in flat {
                settings.entry(prop).or_insert_with(|| value.clone());
            }
        }
        Value::Object(settings)
    }

    /// A plugin's settings with the defaults of those that are not made, as far as its schema names them.
    pub fn effective(&self, name: &str, settings: &Value) -> Value {
        let mut effective = settings.clone();
        let schema = self.factories.get(name).map(|factory| factory.schema().to_value());
        let fields = schema.as_ref().and_then(|schema| schema.get("properties")?.as_object());
        if let (Some(fields), Some(effective)) = (fields, effective.as_object_mut()) {
            for (field, described) in fields {
                if let Some(default) = described.get("default").filter(|_| !effective.contains_key(field)) {
                    effective.insert(field.clone(), default.clone());
                }
            }
        }
        effective
    }

    /// Makes a plugin from its settings; does not start it.
    ///
    /// # Errors
    /// When no plugin has the name, or it refuses the settings.
    pub fn build(&self, name: &str, settings: Value) -> Result<Arc<Instance>, Invalid> {
        let factory = self.factories.get(name).ok_or_else(|| {
            let known: Vec<_> = self.factories.keys().copied().collect();
            Invalid::at(
                "plugins",
                format!("this gateway has no plugin \"{name}\" (it has {}); add the name to plugins.ignore if it may be left out", known.join(", ")),
            )
        })?;
        match factory.build(settings.clone()) {
            Ok(plugin) => {
                let times = self.metrics.as_ref().map(|metrics| metrics.plugin_times(factory.name));
                Ok(Arc::new(Instance::new(plugin, settings, times)))
            }
            Err(e) if e.path.is_empty() => Err(Invalid::at(format!("props.{name}"), e.reason)),
            Err(e) => Err(Invalid::at(format!("props.{name}.{}", e.path), e.reason)),
        }
    }
}

#![doc = include_str!("../README.md")]

mod dot_segment;
mod prefix;
mod replacement;
mod rule;

use ws_cloud_plugin_sdk::serde::Deserialize;
use ws_cloud_plugin_sdk::{ConfigError, Flow, Phases, Plugin, RequestCtx, schemars};

use crate::rule::Rule;

/// The settings. The old flat names `rewrite_url_regex` and `rewrite_replace` are read too.
#[derive(Debug, Default, Deserialize, schemars::JsonSchema)]
#[serde(crate = "ws_cloud_plugin_sdk::serde", deny_unknown_fields, default)]
pub struct Config {
    /// What to look for in the path: a regular expression of at most 1024 bytes, in linear time
    /// and so without look-around and back references. Absent or empty: nothing is rewritten.
    #[serde(alias = "rewrite_url_regex")]
    #[schemars(length(max = 1024))]
    pub regex: Option<String>,
    /// What every match is replaced by: `$1` or `${1}` is a group, `$0` the match, `$$` a dollar
    /// sign. Required with `regex`; may be empty, to delete the match.
    #[serde(alias = "rewrite_replace")]
    pub replace: Option<String>,
}

/// The plugin.
#[derive(Debug)]
pub struct Rewrite {
    rule: Option<Rule>,
}

impl Plugin for Rewrite {
    const NAME: &'static str = "rewrite";
    const VERSION: &'static str = "v1.0";
    const DESCRIPTION: &'static str = "url重写插件";
    // Late: whoever checks access judges the path that the client asked for.
    const PRIORITY: i32 = 1_000;
    const PHASES: Phases = Phases::REQUEST;
    const LEGACY_PROPS: &'static [&'static str] = &["rewrite_url_regex", "rewrite_replace"];

    type Config = Config;

    fn new(config: Config) -> Result<Self, ConfigError> {
        let Some(regex) = config.regex.filter(|regex| !regex.is_empty()) else {
            return Ok(Self { rule: None });
        };
        let Some(replace) = config.replace else {
            return Err(ConfigError::at("replace", "is required when `regex` is set (\"\" deletes what matches)"));
        };
        Ok(Self { rule: Some(Rule::new(&regex, &replace)?) })
    }

    fn request_filter(&self, request: &mut RequestCtx<'_>) -> Flow {
        let Some(rule) = &self.rule else { return Flow::Continue };
        match rule.apply(request.path()) {
            Ok(None) => Flow::Continue,
            Ok(Some(path)) => {
                request.state.set_path(path);
                Flow::Continue
            }
            Err(refused) => refused.response().into(),
        }
    }
}

#[cfg(test)]
mod tests;

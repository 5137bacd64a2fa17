//! `check`: what a start would find, without one.

use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use ws_cloud_plugin_sdk::Factory;

use super::say;
use crate::config::{Config, StoreKind};
use crate::pipeline::Registry;
use crate::resource::key::WATCHED;
use crate::server;

/// Checks plugins and every object of the store. 1 when an object is not valid.
pub(super) fn run(config: &Config, factories: Vec<Factory>) -> anyhow::Result<ExitCode> {
    let registry = Registry::new(factories, &config.plugins.ignore).map_err(|e| anyhow!(e))?;
    let secrets = std::sync::Arc::new(server::secrets::load(config)?);
    let checker = server::checker(config, registry, secrets, &server::certificate_files(config)?);
    say("configuration: ok")?;
    if config.store.kind == StoreKind::Embedded && !config.store.embedded.path.exists() {
        say(&format!("store: {} does not exist yet, nothing to check", config.store.embedded.path.display()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut good, mut bad) = (0, 0);
    for family in WATCHED {
        let prefix = format!("{}{family}", config.store.data_prefix);
        let listing = runtime.block_on(async {
            let store = server::store::open(&config.store)?;
            anyhow::Ok(store.list(&prefix).await.with_context(|| format!("cannot read {prefix} from the store"))?)
        })?;
        for kv in listing.entries {
            let key = kv.key.strip_prefix(&config.store.data_prefix).unwrap_or(&kv.key);
            match checker.check(key, &kv.value) {
                Ok(()) => good += 1,
                Err(invalid) => {
                    bad += 1;
                    say(&format!("{}: {invalid}", kv.key))?;
                }
            }
        }
    }
    say(&format!("store: {good} objects ok, {bad} rejected"))?;
    Ok(if bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

//! `secrets rotate`: encrypts the secrets of the store with another key.

use super::say;
use crate::config::Config;
use crate::server;

/// Rotates. With `generate`, to a new key of the key file, whose old ones are dropped in the end.
pub(super) fn rotate(config: &Config, generate: bool) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Before the keys: a store in use must change nothing.
    let store = runtime.block_on(async { server::store::open(&config.store) })?;
    let generated = if generate { Some(server::secrets::add_key(config)?) } else { None };
    let secrets = server::secrets::load(config)?;
    let rotated = runtime.block_on(server::secrets::rotate(&store, &config.store.data_prefix, &secrets))?;
    if let Some(file) = generated {
        server::secrets::drop_old_keys(&file)?;
    }
    say(&format!("secrets: {} encrypted anew, {} had the key already", rotated.changed, rotated.current))
}

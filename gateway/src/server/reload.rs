//! SIGHUP: reads the configuration file again, takes over what a running process can, and says what
//! it cannot.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;
use tokio::signal::unix::Signal;

use super::{Parts, notify};
use crate::config::{self, Config};

/// Reloads at each SIGHUP.
pub(super) async fn on_hangup(parts: Arc<Parts>, mut hangup: Signal) {
    while hangup.recv().await.is_some() {
        // What there is to say is in the log.
        drop(reload(&parts).await);
    }
}

/// Reloads once. Says in words what came of it.
///
/// # Errors
/// When the file cannot be read or is wrong; nothing has changed then.
pub(super) async fn reload(parts: &Parts) -> Result<String, String> {
    notify::reloading();
    let reloaded = read_again(parts).await;
    notify::ready(if reloaded.is_ok() { "serving" } else { "serving; the last reload failed, see the log" });
    reloaded
}

async fn read_again(parts: &Parts) -> Result<String, String> {
    let file: PathBuf = parts.config_file.clone();
    let loaded = tokio::task::spawn_blocking(move || config::load(&file)).await;
    let new = match loaded.map_err(|e| e.to_string()).and_then(|loaded| loaded.map_err(|e| e.to_string())) {
        Ok(new) => new,
        Err(e) => {
            log::error!("the configuration was not reloaded, all stays as it is: {e}");
            return Err(e);
        }
    };
    let running = Arc::clone(&parts.reloads.borrow());
    let next = with_live_fields(&running, &new);
    let (applied, refused) = (changes(&running, &next), changes(&next, &new));

    parts.reopen_logs();
    if running.log.error.level != next.log.error.level {
        parts.errors.set_level(next.log.error.level.into());
    }
    // Even when nothing in the file changed: who watches it may read files that it names.
    parts.reloads.send_replace(Arc::new(next));

    let list = |fields: &[String]| if fields.is_empty() { "nothing".to_owned() } else { fields.join(", ") };
    let mut said = format!("configuration reloaded; changed: {}", list(&applied));
    log::info!("{said}");
    if !refused.is_empty() {
        let rest = format!("needs a restart or `upgrade`: {}", refused.join(", "));
        log::warn!("{rest}");
        said = format!("{said}\n{rest}");
    }
    Ok(said)
}

/// The running configuration with those fields of the new one that are read while running.
fn with_live_fields(running: &Config, new: &Config) -> Config {
    let mut next = running.clone();
    next.log.error.level = new.log.error.level;
    next.shutdown = new.shutdown.clone();
    next.upgrade = new.upgrade.clone();
    next
}

/// The fields that differ, by their names in the file.
fn changes(old: &Config, new: &Config) -> Vec<String> {
    let mut found = Vec::new();
    if let (Ok(a), Ok(b)) = (serde_json::to_value(old), serde_json::to_value(new)) {
        compare("", &a, &b, &mut found);
    }
    // Secrets are not in the serialised form.
    let secrets = [
        ("plugins.secrets", old.plugins.secrets != new.plugins.secrets),
        ("store.etcd.password", old.store.etcd.password != new.store.etcd.password),
        ("admin.jwt_secret", old.admin.jwt_secret != new.admin.jwt_secret),
        ("admin.account", old.admin.account != new.admin.account),
        ("telemetry.tracing.headers", old.telemetry.tracing.headers != new.telemetry.tracing.headers),
        ("admin.tokens", old.admin.tokens != new.admin.tokens),
    ];
    found.extend(secrets.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name.to_owned()));
    if found.is_empty() && old != new {
        found.push("a value that is not shown".into());
    }
    found
}

fn compare(path: &str, old: &Value, new: &Value, found: &mut Vec<String>) {
    match (old, new) {
        (Value::Object(a), Value::Object(b)) => {
            for (key, old) in a {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                compare(&path, old, b.get(key).unwrap_or(&Value::Null), found);
            }
            let added = b.keys().filter(|key| !a.contains_key(*key));
            found.extend(added.map(|key| format!("{path}.{key}")));
        }
        _ if old != new => found.push(path.to_owned()),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(change: impl FnOnce(&mut Config)) -> Vec<String> {
        let old = Config::default();
        let mut new = old.clone();
        change(&mut new);
        changes(&old, &new)
    }

    #[test]
    fn a_changed_field_is_named_as_in_the_file() {
        assert_eq!(changed(|_| {}), [""; 0]);
        assert_eq!(changed(|c| c.workers = 3), ["workers"]);
        assert_eq!(changed(|c| c.listeners.http.clear()), ["listeners.http"]);
        assert_eq!(changed(|c| c.healthcheck = None), ["healthcheck"]);
        let both = changed(|c| {
            c.client.header_timeout *= 2;
            c.log.error.output = "x".into();
        });
        assert_eq!(both, ["client.header_timeout", "log.error.output"]);
    }

    #[test]
    fn a_changed_secret_is_named_though_never_shown() {
        assert_eq!(changed(|c| c.admin.jwt_secret = Some("x".into())), ["admin.jwt_secret"]);
        assert_eq!(changed(|c| c.store.etcd.password = Some("x".into())), ["store.etcd.password"]);
        assert_eq!(changed(|c| drop(c.plugins.secrets.insert("a".into(), "b".into()))), ["plugins.secrets"]);
    }

    #[test]
    fn what_cannot_change_is_said_again_at_the_next_reload() {
        let running = Config::default();
        let mut new = running.clone();
        new.workers = 3;
        new.shutdown.drain *= 2;
        let next = with_live_fields(&running, &new);
        assert_eq!(changes(&running, &next), ["shutdown.drain"]);
        assert_eq!(changes(&next, &new), ["workers"]);
    }
}

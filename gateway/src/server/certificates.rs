//! Looks after certificates while the gateway runs: files that change, session tickets that age.

use std::sync::Arc;
use std::time::Duration;

use super::Parts;

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(3);

/// Reads changed files anew, and renews the keys of session tickets. Runs until the process ends.
pub(super) async fn watch(parts: Arc<Parts>) {
    let mut reloads = parts.reloads.subscribe();
    loop {
        let asked = tokio::time::timeout(LOOK, reloads.changed()).await.is_ok();
        let parts = Arc::clone(&parts);
        if let Err(e) = tokio::task::spawn_blocking(move || look(&parts, asked)).await {
            log::error!("tls: the certificates could not be looked after: {e}");
        }
    }
}

/// Looks once; `asked` when a person wants it. Blocks for the files.
fn look(parts: &Parts, asked: bool) {
    parts.certificates.reload(asked);
    let (files, stored) = (parts.certificates.store(), Arc::clone(&parts.handle.load().certificates));
    for entry in files.entries().iter().chain(stored.entries()) {
        if let Err(e) = entry.refresh() {
            log::error!("tls: {}: {e}; it stays as it is", entry.id);
        }
    }
}

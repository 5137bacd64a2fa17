//! How many files the process may have open: every connection is one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit as far as it goes without privileges. Returns what it then is.
pub(super) fn raise_limit() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let now = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(e) => {
            log::warn!("the limit of open files stays at {}: {e}", text(limit.current));
            limit.current
        }
    };
    log::info!("at most {} open files", text(now));
    now.and_then(|files| usize::try_from(files).ok()).unwrap_or(usize::MAX)
}

fn text(limit: Option<u64>) -> String {
    limit.map_or_else(|| "any number of".into(), |files| files.to_string())
}

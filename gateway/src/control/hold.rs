//! The hold: a store that is suddenly empty is not believed at once.

use std::time::Duration;

use futures::future::BoxFuture;
use tokio::time::Instant;

use super::table;
use crate::resource::key::WATCHED;
use crate::store::{SharedStore, StoreError};

/// Once entries come back, the hold ends when no more came for this long.
const SETTLE: Duration = Duration::from_secs(1);
/// How long until the store is asked again after it could not answer.
const RETRY: Duration = Duration::from_secs(1);
/// How long the store may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the store said when asked whether it is really empty.
pub(super) enum Verdict {
    Empty,
    /// It is not: the watch must start anew.
    Full,
    /// It could not answer.
    Unknown,
}

/// A store that lost everything, and the time until that is believed.
pub(super) struct Hold {
    until: Instant,
    /// No later than this.
    limit: Instant,
    returning: bool,
    asking: Option<BoxFuture<'static, Result<bool, StoreError>>>,
}

impl Hold {
    pub(super) fn new(empty_hold: Duration) -> Self {
        let until = Instant::now() + empty_hold;
        Self { until, limit: until, returning: false, asking: None }
    }

    pub(super) fn until(&self) -> Instant {
        self.until
    }

    /// Notes that entries come back, one by one.
    pub(super) fn entries_return(&mut self) {
        self.returning = true;
        self.asking = None;
        self.until = (Instant::now() + SETTLE).min(self.limit);
    }

    /// Notes that what came back is gone again.
    pub(super) fn entries_vanish(&mut self) {
        self.returning = false;
        self.until = self.limit;
    }

    /// Whether no more entries come back: what is still gone need not be asked for.
    pub(super) fn has_settled(&self) -> bool {
        self.returning && Instant::now() >= self.until
    }

    /// When something is to be done.
    pub(super) fn due(&self) -> Option<Instant> {
        self.asking.is_none().then_some(self.until)
    }

    /// Asks the store whether it is really empty. Nodes count only if nothing else was known.
    pub(super) fn ask(&mut self, store: SharedStore, data_prefix: &str, only_nodes: bool) {
        let families = WATCHED.into_iter().filter(move |family| only_nodes || table::is_declared(family));
        let prefixes: Vec<_> = families.map(|family| format!("{data_prefix}{family}")).collect();
        self.asking = Some(Box::pin(async move {
            for prefix in prefixes {
                let listing = tokio::time::timeout(PATIENCE, store.list(&prefix)).await;
                let listing = listing.map_err(|_| StoreError::Unavailable("no answer".to_owned()))??;
                if !listing.entries.is_empty() {
                    return Ok(false);
                }
            }
            Ok(true)
        }));
    }

    /// Waits for the answer.
    pub(super) async fn answer(hold: &mut Option<Self>) -> Verdict {
        let Some(hold) = hold else { return std::future::pending().await };
        let Some(asking) = &mut hold.asking else { return std::future::pending().await };
        let answer = asking.await;
        hold.asking = None;
        match answer {
            Ok(true) => Verdict::Empty,
            Ok(false) => {
                hold.until = Instant::now() + RETRY;
                Verdict::Full
            }
            Err(e) => {
                log::debug!("the emptied store cannot be read again: {e}");
                hold.until = Instant::now() + RETRY;
                Verdict::Unknown
            }
        }
    }
}

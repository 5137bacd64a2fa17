//! The endpoints: one client each, failover between them, a deadline for every call.
//!
//! The library spreads calls over endpoints and lets them fail with whichever is dead, so it gets
//! one endpoint a client and the choice is made here: the last that worked, until it fails.

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use etcd_client::{Client, Error};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::failure::Failure;
use super::options::EtcdOptions;
use crate::store::StoreError;

/// The pause before the endpoints are tried again in the same call.
const PAUSE: Duration = Duration::from_millis(100);

/// When a call may be tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Retry {
    /// Whenever it failed: doing it twice is doing it once.
    Always,
    /// When it was certainly not carried out.
    NotDone,
}

/// The answer to a call.
pub(super) struct Answer<T> {
    pub(super) value: T,
    /// An earlier try of the same call may have been carried out, too.
    pub(super) maybe_repeated: bool,
}

pub(super) struct Endpoints {
    options: EtcdOptions,
    all: Vec<Endpoint>,
    /// Index of the endpoint to ask first.
    preferred: AtomicUsize,
    /// No endpoint answered the last call.
    unreachable: AtomicBool,
    generation: AtomicU64,
}

struct Endpoint {
    url: String,
    client: Mutex<Option<Numbered>>,
}

/// A client, numbered so that only the one that failed is thrown away.
#[derive(Clone)]
struct Numbered {
    generation: u64,
    client: Client,
}

impl Endpoints {
    pub(super) fn new(options: EtcdOptions) -> Result<Self, StoreError> {
        let all = options.validate()?.into_iter().map(|url| Endpoint { url, client: Mutex::new(None) }).collect();
        Ok(Self {
            options,
            all,
            preferred: AtomicUsize::new(0),
            unreachable: AtomicBool::new(false),
            generation: AtomicU64::new(0),
        })
    }

    pub(super) fn options(&self) -> &EtcdOptions {
        &self.options
    }

    /// The endpoint that calls go to now.
    pub(super) fn current(&self) -> &str {
        &self.all[self.preferred.load(Ordering::Relaxed)].url
    }

    /// Has `op` carried out by the first endpoint that answers, within the request timeout.
    pub(super) async fn call<T, F>(
        &self,
        retry: Retry,
        op: impl Fn(Client) -> F + Send + Sync,
    ) -> Result<Answer<T>, Failure>
    where
        F: Future<Output = Result<T, Error>> + Send,
        T: Send,
    {
        let deadline = Instant::now() + self.options.request_timeout;
        let first = self.preferred.load(Ordering::Relaxed);
        let count = self.all.len();
        let mut maybe_repeated = false;
        let mut last = None;
        let mut hopeless_in_a_row = 0;
        // While a cluster elects a leader another try may go better; when no endpoint can be
        // reached or takes our login the caller had better know at once. One try more than there
        // are endpoints: a connection that died unnoticed, as over a restart of etcd, fails the
        // first call on it.
        for attempt in 0.. {
            if attempt >= count && attempt % count == 0 {
                tokio::time::sleep(PAUSE).await;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || hopeless_in_a_row > count {
                break;
            }
            let index = (first + attempt) % count;
            // A frozen endpoint may not use up the time of those after it.
            let share = if attempt < count { count - attempt } else { count };
            let failure = match self.attempt(index, left / u32::try_from(share).unwrap_or(1), &op).await {
                Ok(value) => {
                    self.worked(index);
                    return Ok(Answer { value, maybe_repeated });
                }
                Err(failure) if failure.is_retryable() => failure,
                Err(answered) => return Err(answered),
            };
            self.leave(index, &failure);
            let hopeless = matches!(failure, Failure::Unreached(_) | Failure::NotDone(StoreError::Denied(_)));
            hopeless_in_a_row = if hopeless { hopeless_in_a_row + 1 } else { 0 };
            if matches!(failure, Failure::Unknown(_)) {
                if retry == Retry::NotDone {
                    return Err(failure);
                }
                maybe_repeated = true;
            }
            last = Some(StoreError::from(failure));
        }
        let error = last.unwrap_or_else(|| StoreError::Unavailable("etcd did not answer in time".into()));
        if !self.unreachable.swap(true, Ordering::Relaxed) {
            log::warn!("no endpoint of etcd works: {error}");
        }
        Err(if maybe_repeated { Failure::Unknown(error) } else { Failure::NotDone(error) })
    }

    async fn attempt<T, F>(&self, index: usize, budget: Duration, op: impl Fn(Client) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let endpoint = &self.all[index];
        let mut used = None;
        let result = timeout(budget, async {
            let numbered = self.client(endpoint).await.map_err(not_done)?;
            used = Some(numbered.generation);
            Ok(op(numbered.client).await?)
        })
        .await
        .unwrap_or_else(|_| {
            let error = StoreError::Unavailable(format!("{} did not answer in time", endpoint.url));
            Err(if used.is_some() { Failure::Unknown(error) } else { Failure::Unreached(error) })
        });
        if let (Err(failure), Some(generation)) = (&result, used)
            && failure.is_retryable()
        {
            endpoint.client.lock().await.take_if(|numbered| numbered.generation == generation);
        }
        result
    }

    async fn client(&self, endpoint: &Endpoint) -> Result<Numbered, Failure> {
        let mut slot = endpoint.client.lock().await;
        if let Some(numbered) = &*slot {
            return Ok(numbered.clone());
        }
        let client = self.options.client(&endpoint.url).await?;
        let numbered = Numbered { generation: self.generation.fetch_add(1, Ordering::Relaxed), client };
        *slot = Some(numbered.clone());
        Ok(numbered)
    }

    fn worked(&self, index: usize) {
        self.preferred.store(index, Ordering::Relaxed);
        if self.unreachable.swap(false, Ordering::Relaxed) {
            log::info!("etcd works again at {}", self.all[index].url);
        }
    }

    /// Leaves an endpoint, unless another call has done so already. Says so once an outage.
    fn leave(&self, failed: usize, failure: &Failure) {
        let next = (failed + 1) % self.all.len();
        let left = self.preferred.compare_exchange(failed, next, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if left && next != failed && !self.unreachable.load(Ordering::Relaxed) {
            log::warn!("etcd at {} failed, trying {}: {failure}", self.all[failed].url, self.all[next].url);
        }
    }
}

/// Whatever fails before the call is sent has not carried it out.
fn not_done(failure: Failure) -> Failure {
    match failure {
        Failure::Unknown(e) => Failure::NotDone(e),
        other => other,
    }
}

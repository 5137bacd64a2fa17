//! Watching etcd: the content first, then changes without a gap, over any outage.
//!
//! One watch covers the range of all prefixes, and what lies between them is dropped here. etcd
//! sends a transaction whole to one watch but not to several, not even on one stream: after a
//! reconnection each catches up at its own pace.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Client, EventType, GetOptions, WatchOptions, WatchResponse, WatchStream};
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use tokio::time::timeout;

use super::connect::{Endpoints, Retry};
use super::failure::Failure;
use super::range;
use super::read::{self, MAX_ANSWER_BYTES, Stamp};
use crate::store::{Event, Kv, Listing, Revision, StoreError, WatchItem, prefix};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// A connection replaced this fast is no outage worth telling.
const GRACE: Duration = Duration::from_millis(500);
/// Silences in a row after which the connection is given up; all but the last end with a probe.
const SILENCES: u32 = 3;

pub(super) fn stream(endpoints: Arc<Endpoints>, prefixes: Vec<String>) -> BoxStream<'static, WatchItem> {
    let prefixes = prefix::without_overlap(prefixes);
    let options = endpoints.options();
    // Three silences and the grace make a little less than the time keep-alive may take, and each
    // silence is shorter than its interval: answers to probes make pings needless, of which etcd
    // allows few.
    let silence = (options.keep_alive_interval + options.keep_alive_timeout) * 11 / 40;
    let watcher = Watcher {
        endpoints,
        prefixes,
        silence,
        known: None,
        live: None,
        disconnected: false,
        pause: FIRST_PAUSE,
        wait: false,
    };
    stream::unfold(watcher, |mut watcher| async move { Some((watcher.next().await, watcher)) }).boxed()
}

struct Watcher {
    endpoints: Arc<Endpoints>,
    prefixes: Vec<String>,
    silence: Duration,
    /// What was yielded so far; `None` when a resync is due.
    known: Option<Known>,
    live: Option<Live>,
    /// `Disconnected` was yielded and nothing since.
    disconnected: bool,
    /// How long to wait before connecting again, and whether to wait at all.
    pause: Duration,
    wait: bool,
}

/// The point in etcd's history up to which everything was yielded.
#[derive(Debug, Clone)]
struct Known {
    stamp: Stamp,
    /// A key with its mod revision at that point. Another history, such as that of an etcd
    /// restored from a backup, does not have it, whatever revision it is at.
    anchor: Option<(String, Revision)>,
}

struct Live {
    stream: WatchStream,
    /// Holds the connection.
    _client: Client,
}

/// Why a watch ended.
struct Lost {
    reason: String,
    resync: bool,
}

impl Watcher {
    async fn next(&mut self) -> WatchItem {
        loop {
            let item = if self.live.is_some() {
                match self.receive().await {
                    Ok(item) => Some(item),
                    Err(lost) => self.recover(lost).await,
                }
            } else if self.prefixes.is_empty() && self.known.is_some() {
                // Nothing to watch: the empty listing was all there is to say.
                std::future::pending().await
            } else {
                self.start().await
            };
            if let Some(item) = item {
                self.disconnected = matches!(item, WatchItem::Disconnected { .. });
                return item;
            }
        }
    }

    /// Connects once.
    async fn start(&mut self) -> Option<WatchItem> {
        if std::mem::take(&mut self.wait) {
            // Half of it at random, so that gateways do not return all at once.
            tokio::time::sleep(self.pause.mul_f64(rand::random_range(0.5..=1.0))).await;
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        }
        match self.connect().await {
            Ok(Some(resync)) => Some(resync),
            Ok(None) => self.disconnected.then_some(WatchItem::Connected),
            Err(failure) => {
                self.wait = true;
                let reason = self.explain(failure);
                (!self.disconnected).then_some(WatchItem::Disconnected { reason })
            }
        }
    }

    /// After a watch broke: tries to replace it before anyone notices.
    async fn recover(&mut self, lost: Lost) -> Option<WatchItem> {
        self.live = None;
        if lost.resync {
            self.known = None;
        }
        log::debug!("the watch of etcd ended: {}", lost.reason);
        // Not when the last one broke before it brought anything, or this would spin.
        if self.pause == FIRST_PAUSE {
            self.pause *= 2;
            if let Ok(Ok(item)) = timeout(GRACE, self.connect()).await {
                return item;
            }
        }
        self.wait = true;
        Some(WatchItem::Disconnected { reason: lost.reason })
    }

    /// Opens a watch that goes on where the last one ended, or yields everything anew. Changes
    /// nothing of `self` before it is done, since it may be dropped half-way.
    async fn connect(&mut self) -> Result<Option<WatchItem>, Failure> {
        let mut known = None;
        if let Some(last) = &self.known {
            known = self.still_valid(last).await?;
        }
        let mut resync = None;
        let known = match known {
            Some(known) => known,
            None => {
                let (listing, stamp) = read::list(&self.endpoints, &self.prefixes).await?;
                let anchor = anchor_of(&listing);
                resync = Some(WatchItem::Resync(listing));
                Known { stamp, anchor }
            }
        };
        let live = match range::covering(&self.prefixes) {
            Some(range) => Some(self.open(range, &known).await?),
            None => None,
        };
        self.known = Some(known);
        self.live = live;
        Ok(resync)
    }

    /// What is known, if etcd still has the history it belongs to.
    async fn still_valid(&self, known: &Known) -> Result<Option<Known>, Failure> {
        let Some((key, mod_revision)) = &known.anchor else { return Ok(None) };
        let at = i64::try_from(known.stamp.revision).unwrap_or(i64::MAX);
        let options = GetOptions::new().with_revision(at).with_keys_only();
        let response = match read::get(&self.endpoints, key, Some(options)).await {
            Err(Failure::NoHistory) => return Ok(None),
            response => response?,
        };
        let now = Stamp::of(response.header())?;
        let found = response.kvs().first().map(|kv| read::revision(kv.mod_revision()));
        // Terms only ever grow, except when an etcd starts from a backup.
        let same = now.cluster == known.stamp.cluster
            && now.term >= known.stamp.term
            && now.revision >= known.stamp.revision
            && found == Some(*mod_revision);
        Ok(same.then(|| Known { stamp: Stamp { term: now.term, ..known.stamp }, anchor: known.anchor.clone() }))
    }

    async fn open(&self, (key, end): (Vec<u8>, Vec<u8>), known: &Known) -> Result<Live, Failure> {
        let options = WatchOptions::new()
            .with_range(end)
            .with_start_revision(i64::try_from(known.stamp.revision).unwrap_or(i64::MAX - 1) + 1)
            .with_progress_notify();
        let answer = self
            .endpoints
            .call(Retry::Always, |client| {
                let (key, options) = (key.clone(), options.clone());
                async move {
                    let mut watch = client.watch_client().max_decoding_message_size(MAX_ANSWER_BYTES);
                    let mut stream = watch.watch(key, Some(options)).await?;
                    let created = stream.message().await?;
                    Ok((Live { stream, _client: client }, created))
                }
            })
            .await?;
        let (live, created) = answer.value;
        match created {
            Some(created) if !created.canceled() => Ok(live),
            Some(created) if created.cancel_reason().contains("permission denied") => {
                Err(Failure::Final(StoreError::Denied(format!(
                    "{}; the user needs to read all keys from \"{}\" on",
                    created.cancel_reason(),
                    String::from_utf8_lossy(&key)
                ))))
            }
            Some(created) => Err(Failure::Unknown(StoreError::Unavailable(created.cancel_reason().to_owned()))),
            None => Err(Failure::Unknown(StoreError::Unavailable("etcd closed the watch".into()))),
        }
    }

    /// The next changes.
    async fn receive(&mut self) -> Result<WatchItem, Lost> {
        let (Some(live), Some(known)) = (&mut self.live, &mut self.known) else {
            return Err(Lost { reason: "the watch is not open".into(), resync: true });
        };
        let mut silences = 0;
        loop {
            let Ok(message) = timeout(self.silence, live.stream.message()).await else {
                silences += 1;
                if silences >= SILENCES {
                    return Err(Lost { reason: "etcd does not answer".into(), resync: false });
                }
                // Both etcd and the way to it may be dead without the connection showing it.
                if !matches!(timeout(self.silence, live.stream.request_progress()).await, Ok(Ok(()))) {
                    return Err(Lost { reason: "the connection to etcd broke".into(), resync: false });
                }
                continue;
            };
            let response = message
                .map_err(|e| Lost::by(e.into()))?
                .ok_or_else(|| Lost { reason: "etcd closed the watch".into(), resync: false })?;
            silences = 0;
            self.pause = FIRST_PAUSE;
            let events = known.advance(&response)?;
            let events: Vec<_> =
                events.into_iter().filter(|event| prefix::any_covers(&self.prefixes, event.key())).collect();
            if !events.is_empty() {
                return Ok(WatchItem::Events { revision: known.stamp.revision, events });
            }
        }
    }

    fn explain(&self, failure: Failure) -> String {
        let unreachable = failure.is_retryable();
        let reason = StoreError::from(failure).to_string();
        // The endpoints tell of their own outages.
        if !unreachable && !self.disconnected {
            log::warn!("cannot watch etcd: {reason}");
        }
        reason
    }
}

impl Lost {
    fn by(failure: Failure) -> Self {
        // What does not fit in one answer has to come page by page.
        let resync = matches!(failure, Failure::TooLarge | Failure::NoHistory);
        Self { reason: StoreError::from(failure).to_string(), resync }
    }
}

impl Known {
    /// Takes in an answer and returns its changes.
    fn advance(&mut self, response: &WatchResponse) -> Result<Vec<Event>, Lost> {
        let resync = |reason: &str| Lost { reason: reason.to_owned(), resync: true };
        if response.compact_revision() != 0 {
            return Err(resync("etcd has compacted the revisions still to come"));
        }
        if response.canceled() {
            return Err(resync(&format!("etcd cancelled the watch: {}", response.cancel_reason())));
        }
        let stamp = Stamp::of(response.header()).map_err(Lost::by)?;
        if stamp.cluster != self.stamp.cluster {
            return Err(resync("etcd is another cluster now"));
        }
        let mut events = Vec::with_capacity(response.events().len());
        for event in response.events() {
            let Some(kv) = event.kv() else { continue };
            let revision = read::revision(kv.mod_revision());
            self.stamp.revision = self.stamp.revision.max(revision);
            match (event.event_type(), read::kv(kv)) {
                (EventType::Put, Some(kv)) => {
                    self.anchor = Some((kv.key.clone(), revision));
                    events.push(Event::Put(kv));
                }
                (EventType::Delete, Some(Kv { key, .. })) => {
                    self.anchor.take_if(|(anchor, _)| *anchor == key);
                    events.push(Event::Delete { key, revision });
                }
                (_, None) => {}
            }
        }
        // etcd's own progress reports come after the events they cover. Answers to our probes
        // (-1) may overtake events before 3.4.25 and 3.5.8 (etcd-io/etcd#15220) and count for
        // nothing but a sign of life.
        if response.events().is_empty() && response.watch_id() != -1 && !response.created() {
            self.stamp.revision = self.stamp.revision.max(stamp.revision);
        }
        Ok(events)
    }
}

fn anchor_of(listing: &Listing) -> Option<(String, Revision)> {
    listing.entries.iter().max_by_key(|kv| kv.mod_revision).map(|kv| (kv.key.clone(), kv.mod_revision))
}

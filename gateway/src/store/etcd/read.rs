//! Reads: one key, or everything under prefixes at one revision.

use etcd_client::{GetOptions, GetResponse, KeyValue, ResponseHeader};

use super::connect::{Endpoints, Retry};
use super::failure::Failure;
use super::range;
use crate::store::{Kv, Listing, Revision, StoreError};

/// Entries per page of a listing.
const PAGE: i64 = 500;
/// Largest answer accepted. The library's 4 MiB is less than a page may have.
pub(super) const MAX_ANSWER_BYTES: usize = 64 << 20;
/// How often a listing is begun anew because compaction overtook it.
const LIST_ATTEMPTS: u32 = 3;

/// What an answer says of the cluster that gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) cluster: u64,
    pub(super) term: u64,
    pub(super) revision: Revision,
}

impl Stamp {
    pub(super) fn of(header: Option<&ResponseHeader>) -> Result<Self, Failure> {
        let header = header
            .ok_or_else(|| Failure::Unknown(StoreError::Unavailable("an answer of etcd has no header".into())))?;
        Ok(Self { cluster: header.cluster_id(), term: header.raft_term(), revision: revision(header.revision()) })
    }
}

/// etcd counts in signed numbers but never below 0.
pub(super) fn revision(etcd: i64) -> Revision {
    u64::try_from(etcd).unwrap_or(0)
}

/// `None` for keys that are not UTF-8: none of ours.
pub(super) fn kv(kv: &KeyValue) -> Option<Kv> {
    Some(Kv {
        key: kv.key_str().ok()?.to_owned(),
        value: kv.value().to_vec().into(),
        create_revision: revision(kv.create_revision()),
        mod_revision: revision(kv.mod_revision()),
        lease: (kv.lease() != 0).then_some(kv.lease()),
    })
}

pub(super) async fn get(endpoints: &Endpoints, key: &str, options: Option<GetOptions>) -> Result<GetResponse, Failure> {
    let answer = endpoints
        .call(Retry::Always, |client| {
            let (key, options) = (key.to_owned(), options.clone());
            async move { client.kv_client().max_decoding_message_size(MAX_ANSWER_BYTES).get(key, options).await }
        })
        .await?;
    Ok(answer.value)
}

/// Lists prefixes that do not overlap.
pub(super) async fn list(endpoints: &Endpoints, prefixes: &[String]) -> Result<(Listing, Stamp), Failure> {
    let mut attempt = 1;
    loop {
        match list_once(endpoints, prefixes, None).await {
            Err(Failure::NoHistory) if attempt < LIST_ATTEMPTS => attempt += 1,
            result => return result,
        }
    }
}

/// Lists prefixes that do not overlap, as they were; `None` when etcd does not know that any more.
pub(super) async fn list_at(
    endpoints: &Endpoints,
    prefixes: &[String],
    revision: Revision,
) -> Result<Option<Vec<Kv>>, Failure> {
    match list_once(endpoints, prefixes, Some(revision)).await {
        Ok((listing, _)) => Ok(Some(listing.entries)),
        Err(Failure::NoHistory) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Without a revision all is read at that of the first answer.
async fn list_once(
    endpoints: &Endpoints,
    prefixes: &[String],
    revision: Option<Revision>,
) -> Result<(Listing, Stamp), Failure> {
    let mut stamp: Option<Stamp> = None;
    let mut entries = Vec::new();
    for prefix in prefixes {
        let (mut key, end) = range::of_prefix(prefix.as_bytes());
        let mut limit = PAGE;
        loop {
            // Every page but the first is read at the first one's revision.
            let at = revision.or(stamp.map(|stamp| stamp.revision)).unwrap_or(0);
            let at = i64::try_from(at).unwrap_or(0);
            let page = match page(endpoints, &key, &end, limit, at).await {
                Err(Failure::TooLarge) if limit > 1 => {
                    limit = (limit / 4).max(1);
                    continue;
                }
                page => page?,
            };
            if stamp.is_none() {
                stamp = Some(Stamp::of(page.header())?);
            }
            entries.extend(page.kvs().iter().filter_map(kv));
            match page.kvs().last() {
                Some(last) if page.more() => key = range::after(last.key()),
                _ => break,
            }
        }
    }
    let stamp = match stamp {
        Some(stamp) => stamp,
        None => Stamp::of(get(endpoints, "\0", Some(GetOptions::new().with_keys_only())).await?.header())?,
    };
    Ok((Listing { revision: stamp.revision, entries }, stamp))
}

async fn page(endpoints: &Endpoints, key: &[u8], end: &[u8], limit: i64, at: i64) -> Result<GetResponse, Failure> {
    let options = GetOptions::new().with_range(end).with_limit(limit).with_revision(at);
    let answer = endpoints
        .call(Retry::Always, |client| {
            let (key, options) = (key.to_owned(), options.clone());
            async move { client.kv_client().max_decoding_message_size(MAX_ANSWER_BYTES).get(key, Some(options)).await }
        })
        .await?;
    Ok(answer.value)
}

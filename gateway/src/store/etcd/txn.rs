//! Transactions in etcd's words.

use std::collections::{BTreeSet, HashSet};

use etcd_client::{Compare, CompareOp, GetOptions, PutOptions, Txn, TxnOp};

use crate::store::{Guard, Lease, Op, StoreError};

/// What fits in a request of etcd (1.5 MiB) with room for keys and framing.
const MAX_REQUEST_BYTES: usize = 1_300_000;
/// etcd's limit (`--max-txn-ops`).
const MAX_COMPARES: usize = 128;

/// Whether carrying it out makes one of its own guards fail, so that a second try does nothing.
pub(super) fn is_replayable(guards: &[Guard], ops: &[Op]) -> bool {
    let written: HashSet<&str> = ops.iter().map(Op::key).collect();
    let put: HashSet<&str> = ops.iter().filter(|op| matches!(op, Op::Put { .. })).map(Op::key).collect();
    guards.iter().any(|guard| match guard {
        Guard::Absent(key) => put.contains(key.as_str()),
        Guard::ModRevision(key, _) => written.contains(key.as_str()),
    })
}

/// The keys whose lease is to be kept when the transaction is too large to say both what to do
/// with a lease and without in one request; empty otherwise.
pub(super) fn keys_to_look_up(ops: &[Op]) -> BTreeSet<String> {
    let size = |op: &Op| match op {
        Op::Put { key, value, lease: Lease::Keep } => 2 * (key.len() + value.len()),
        Op::Put { key, value, .. } => key.len() + value.len(),
        Op::Delete(key) => key.len(),
    };
    if ops.iter().map(size).sum::<usize>() <= MAX_REQUEST_BYTES {
        return BTreeSet::new();
    }
    let kept = ops.iter().filter(|op| matches!(op, Op::Put { lease: Lease::Keep, .. }));
    kept.map(|op| op.key().to_owned()).collect()
}

/// The request. `absent` are those of the keys to look up that were not there, when there were any
/// to look up.
pub(super) fn request(guards: &[Guard], ops: &[Op], absent: Option<&BTreeSet<String>>) -> Result<Txn, StoreError> {
    let mut compares = Vec::new();
    for guard in guards {
        compares.push(match guard {
            Guard::Absent(key) => is_absent(key),
            Guard::ModRevision(key, revision) => match i64::try_from(*revision) {
                // 0 is what etcd says of a key that does not exist.
                Ok(revision) if revision > 0 => Compare::mod_revision(key.as_str(), CompareOp::Equal, revision),
                _ => return Err(StoreError::Conflict),
            },
        });
    }
    let mut operations: Vec<_> = ops.iter().map(|op| operation(op, absent)).collect();
    for key in absent.into_iter().flatten() {
        if !guards.contains(&Guard::Absent(key.clone())) {
            compares.push(is_absent(key));
        }
    }
    if compares.len() > MAX_COMPARES {
        return Err(StoreError::Invalid(format!(
            "etcd compares at most {MAX_COMPARES} keys in a transaction; keep fewer leases in one this large"
        )));
    }
    let mut otherwise = Vec::new();
    if operations.is_empty() {
        // etcd answers a transaction without reads or writes from what the asked member happens
        // to know. A read makes it ask the cluster.
        let key = guards.first().map_or("\0", Guard::key);
        let read = TxnOp::get(key, Some(GetOptions::new().with_keys_only()));
        operations.push(read.clone());
        otherwise.push(read);
    }
    Ok(Txn::new().when(compares).and_then(operations).or_else(otherwise))
}

fn operation(op: &Op, absent: Option<&BTreeSet<String>>) -> TxnOp {
    let put = |key: &str, value: &bytes::Bytes, options| TxnOp::put(key, value.as_ref(), options);
    match op {
        Op::Delete(key) => TxnOp::delete(key.as_str(), None),
        Op::Put { key, value, lease: Lease::None } => put(key, value, None),
        Op::Put { key, value, lease: Lease::Attach(lease) } => {
            put(key, value, Some(PutOptions::new().with_lease(*lease)))
        }
        Op::Put { key, value, lease: Lease::Keep } => {
            let keep = put(key, value, Some(PutOptions::new().with_ignore_lease()));
            let create = put(key, value, None);
            match absent {
                Some(absent) if absent.contains(key) => create,
                Some(_) => keep,
                // etcd keeps the lease only of a key that exists, so it has to decide by itself.
                None => TxnOp::txn(Txn::new().when([is_absent(key)]).and_then([create]).or_else([keep])),
            }
        }
    }
}

fn is_absent(key: &str) -> Compare {
    Compare::create_revision(key, CompareOp::Equal, 0)
}

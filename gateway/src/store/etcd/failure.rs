//! What an error of etcd, or of the way to it, means for the call.

use std::error::Error;
use std::fmt;

use tonic::{Code, ConnectError, Status};

use crate::store::StoreError;

/// Why a call failed, by what can be done about it.
#[derive(Debug)]
pub(super) enum Failure {
    /// etcd answered; asking again changes nothing.
    Final(StoreError),
    /// No connection, so certainly not carried out.
    Unreached(StoreError),
    /// Certainly not carried out, and worth another try.
    NotDone(StoreError),
    /// No answer: it may or may not have been carried out.
    Unknown(StoreError),
    /// The lease does not exist.
    NoLease,
    /// A key whose lease was to be kept does not exist.
    NoKey,
    /// The revision is compacted or not reached yet: not the history we know.
    NoHistory,
    /// The answer is larger than we accept.
    TooLarge,
    /// etcd wants no login.
    AuthOff,
}

impl Failure {
    /// Whether another try may go better.
    pub(super) fn is_retryable(&self) -> bool {
        matches!(self, Self::Unreached(_) | Self::NotDone(_) | Self::Unknown(_))
    }
}

impl From<etcd_client::Error> for Failure {
    fn from(error: etcd_client::Error) -> Self {
        use etcd_client::Error;
        match error {
            Error::GRpcStatus(status) => of_status(&status),
            Error::LeaseKeepAliveError(e) if e == "lease not found" => Self::NoLease,
            Error::InvalidArgs(_) | Error::InvalidUri(_) | Error::InvalidMetadataValue(_) => {
                Self::Final(StoreError::Invalid(format!("etcd: {error}")))
            }
            error => Self::Unknown(StoreError::Unavailable(error.to_string())),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Final(e) | Self::Unreached(e) | Self::NotDone(e) | Self::Unknown(e) => e.fmt(f),
            Self::NoLease => f.write_str("etcd no longer knows the lease"),
            Self::NoKey => f.write_str("a key is gone"),
            Self::NoHistory => f.write_str("etcd no longer has the revision"),
            Self::TooLarge => f.write_str("an answer of etcd is too large"),
            Self::AuthOff => f.write_str("etcd has no users"),
        }
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Final(e) | Failure::Unreached(e) | Failure::NotDone(e) | Failure::Unknown(e) => e,
            Failure::NoKey => Self::Conflict,
            failure => Self::Unavailable(failure.to_string()),
        }
    }
}

/// etcd's own messages are part of its API (`rpctypes/error.go`): several errors share a code.
fn of_status(status: &Status) -> Failure {
    let message = status.message();
    let says = |part: &str| message.contains(part);
    let unavailable = || StoreError::Unavailable(describe(status));
    let denied = || StoreError::Denied(message.to_owned());
    match status.code() {
        Code::PermissionDenied => Failure::Final(denied()),
        // The token, or what it stands for, is out of date: another try logs in anew.
        Code::Unauthenticated => Failure::NotDone(denied()),
        Code::InvalidArgument if says("user name is empty") || says("auth store is old") => Failure::NotDone(denied()),
        Code::InvalidArgument if says("authentication failed") => Failure::Final(denied()),
        Code::InvalidArgument if says("key not found") => Failure::NoKey,
        Code::InvalidArgument => Failure::Final(StoreError::Invalid(message.to_owned())),
        Code::FailedPrecondition if says("authentication is not enabled") => Failure::AuthOff,
        Code::NotFound if says("lease not found") => Failure::NoLease,
        Code::ResourceExhausted if says("database space exceeded") => {
            Failure::Final(StoreError::Full(message.to_owned()))
        }
        Code::ResourceExhausted if says("too many requests") => Failure::NotDone(unavailable()),
        Code::ResourceExhausted => Failure::Final(StoreError::Invalid(message.to_owned())),
        Code::OutOfRange if says("revision") => Failure::NoHistory,
        Code::OutOfRange if says("message length too large") => Failure::TooLarge,
        Code::Unavailable if never_connected(status) => Failure::Unreached(unavailable()),
        Code::Unavailable if says("no leader") => Failure::NotDone(unavailable()),
        // The transport's queue is gone: nothing went out.
        Code::Unknown if says("Service was not ready") => Failure::NotDone(unavailable()),
        _ => Failure::Unknown(unavailable()),
    }
}

fn never_connected(status: &Status) -> bool {
    causes(status).any(|cause| cause.is::<ConnectError>())
}

/// The message and what lies under it, for "transport error" alone helps nobody.
fn describe(status: &Status) -> String {
    let mut text = status.message().to_owned();
    for cause in causes(status) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn causes(status: &Status) -> impl Iterator<Item = &(dyn Error + 'static)> {
    let mut next = status.source();
    std::iter::from_fn(move || {
        let cause = next?;
        next = cause.source();
        Some(cause)
    })
}

//! What control hands over to be compiled and published. Plain data: the snapshot knows no store.

use bytes::Bytes;

/// One object of the configuration as the store has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The key, without the data prefix, such as `routes/968b…`.
    pub key: String,
    /// The value; `None` when the key was deleted.
    pub value: Option<Bytes>,
    /// The revision that wrote it.
    pub revision: u64,
}

/// An object that is not live as the store has it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Rejected {
    /// The key, without the data prefix.
    pub key: String,
    /// The revision that was rejected.
    pub revision: u64,
    /// Why, and where in the object.
    pub reason: String,
    /// What happens in its place.
    pub serving: Serving,
}

/// What is live as the store has it, and still should be looked at.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Warning {
    /// The service it is about.
    pub service: String,
    /// What it is.
    pub reason: String,
}

/// What happens in place of a rejected object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Serving {
    /// Its last good version stays live.
    LastGood,
    /// Requests it covers are answered 503.
    Unavailable,
    /// It is left out; what it names has no effect.
    LeftOut,
}

/// Compiles changes and makes the result live. Implemented by the snapshot; control drives it.
pub trait Publish: Send {
    /// The whole configuration: what is not among `entries` is gone.
    fn replace(&mut self, revision: u64, entries: &mut dyn Iterator<Item = Change>);

    /// Changes after what was published before. An object that did not change keeps its state.
    fn apply(&mut self, revision: u64, changes: Vec<Change>);

    /// Nothing in the store has changed, but what it names has: the addresses of host names.
    fn refresh(&mut self) {}

    /// The versions that are live though the store has a later, rejected one; control keeps them
    /// with its copy on disk.
    fn last_good(&self) -> Vec<Change>;

    /// Makes these the last good versions known, before the first `replace`.
    fn restore_last_good(&mut self, versions: Vec<Change>);
}

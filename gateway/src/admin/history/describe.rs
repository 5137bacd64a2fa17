//! What the document says of the history.
#![allow(dead_code)]

use utoipa::ToSchema;

use crate::admin::openapi::{Api, Change, Operation, Outcome};
use crate::history;

/// A revision of what is declared.
#[derive(ToSchema)]
struct Revision {
    /// Its number; each is one more than the one before.
    revision: u64,
    /// Milliseconds since 1970.
    time: u64,
    /// Who made it.
    author: history::Author,
    /// Why.
    reason: Option<String>,
    /// The revision whose state it restored.
    restored: Option<u64>,
    /// What it did.
    changes: Vec<Change>,
    /// When it is undone unless somebody confirms it, in milliseconds since 1970.
    #[schema(nullable = false, required = false)]
    undone_at: Option<u64>,
}

/// Revisions.
#[derive(ToSchema)]
struct Revisions {
    /// The last there is.
    revision: u64,
    /// Those asked for, the newest first.
    items: Vec<Revision>,
}

/// Revisions that wait to be confirmed.
#[derive(ToSchema)]
struct Waiting {
    /// The oldest first.
    items: Vec<history::Pending>,
}

/// What makes one state another.
#[derive(ToSchema)]
struct Difference {
    /// The one.
    from: u64,
    /// The other.
    to: u64,
    /// What differs.
    changes: Vec<Change>,
}

pub(in crate::admin) fn describe(api: &mut Api) {
    api.group("history", "The revisions of what is declared: who changed what, when and why; and the way back.");
    api.add(
        Operation::get("/history", "List revisions")
            .query::<u64>("limit", "How many at most; 50 when absent, and at most 1000.")
            .query::<u64>("before", "Only those before this one.")
            .query::<String>("kind", "Only those that changed this kind.")
            .query::<String>("name", "Only those that changed an object of this name.")
            .query::<String>("author", "Only those of this author.")
            .answers::<Revisions>(200, "The newest first; without the fields that differ."),
    );
    api.add(
        Operation::get("/history/diff", "What differs between two revisions")
            .needs::<u64>("from", "The one revision; 0 is before the first.")
            .needs::<u64>("to", "The other.")
            .answers::<Difference>(200, "What makes the state after the one that after the other.")
            .refuses(&[404]),
    );
    api.add(
        Operation::get("/history/pending", "List what waits to be confirmed")
            .answers::<Waiting>(200, "Revisions that are undone unless somebody confirms them."),
    );
    api.add(
        revision(Operation::get("/history/{revision}", "Show a revision")).answers::<Revision>(200, "The revision."),
    );
    for (what, summary) in [
        ("restore", "Make all what it was after a revision"),
        ("confirm", "Confirm a revision that waits for it"),
        ("undo", "Take back a revision that waits to be confirmed"),
    ] {
        let operation = revision(Operation::post(format!("/history/{{revision}}/{what}"), summary)).changes();
        api.add(operation.answers::<Outcome>(200, "It is done; or it is a dry run."));
    }
}

fn revision(operation: Operation) -> Operation {
    operation.at::<u64>("revision", "Its number.").refuses(&[404])
}

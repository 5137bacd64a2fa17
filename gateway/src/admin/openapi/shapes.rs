//! The forms of answers that several modules give. They are made field by field where they are
//! answered; these types only describe them, and the tests hold both against each other.
#![allow(dead_code)]

use utoipa::ToSchema;

use crate::history::fields::Field;

/// What went wrong (RFC 9457).
#[derive(ToSchema)]
pub(super) struct Problem {
    /// `about:blank`: it is what its status says.
    #[schema(rename = "type")]
    kind: String,
    /// The status in words.
    title: String,
    /// The status.
    status: u16,
    /// What is wrong, and what would be right.
    detail: String,
    /// Where in what was sent, such as `hosts[1]`.
    #[schema(nullable = false, required = false)]
    field: Option<String>,
    /// All errors, when there are several.
    #[schema(nullable = false, required = false)]
    errors: Option<Vec<FieldProblem>>,
}

/// One of several errors.
#[derive(ToSchema)]
struct FieldProblem {
    /// Where.
    field: String,
    /// What is wrong.
    detail: String,
}

/// What came of a change.
#[derive(ToSchema)]
pub(in crate::admin) struct Outcome {
    /// The revision of what is declared.
    revision: u64,
    /// Whether anything was written; not in a dry run.
    changed: bool,
    /// What was written, or would be.
    changes: Vec<Change>,
    /// When it is undone unless somebody confirms it, in milliseconds since 1970.
    #[schema(nullable = false, required = false)]
    undone_at: Option<u64>,
}

/// What a change does to an object.
#[derive(ToSchema)]
pub(in crate::admin) struct Change {
    /// The kind, as in paths; `other` for what is none.
    kind: String,
    /// The object.
    name: String,
    action: Action,
    /// The fields that differ; left out of lists.
    #[schema(nullable = false, required = false)]
    fields: Option<Vec<Field>>,
}

/// What is done.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
enum Action {
    Create,
    Update,
    Delete,
}

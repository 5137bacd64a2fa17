//! What the document says of export and apply.
#![allow(dead_code)]

use utoipa::ToSchema;
use utoipa::openapi::path::ParameterIn;
use utoipa::openapi::schema::{AdditionalProperties, ArrayBuilder, ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Schema};

use crate::admin::kinds::KINDS;
use crate::admin::openapi::{Api, Change, Operation, named};

const YAML: &str = "application/yaml";
const JSON: &str = "application/json";

/// What came of applying a document.
#[derive(ToSchema)]
struct Applied {
    /// The revision of what is declared.
    revision: u64,
    /// Whether anything was written; not in a dry run.
    changed: bool,
    /// What was written, or would be.
    changes: Vec<Change>,
    /// What is legal but odd, by object.
    warnings: Vec<Odd>,
    /// When it is undone unless somebody confirms it, in milliseconds since 1970.
    #[schema(nullable = false, required = false)]
    undone_at: Option<u64>,
}

/// What is odd about an object.
#[derive(ToSchema)]
struct Odd {
    /// Its kind.
    kind: String,
    /// Its name.
    name: String,
    /// What it is.
    warnings: Vec<String>,
}

pub(in crate::admin) fn describe(api: &mut Api) {
    api.group("export and apply", "All that operators declare, as one document.");
    let kinds = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(KINDS.iter().map(|kind| kind.path)));
    let format = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(["yaml", "json"]));
    api.add(
        Operation::get("/export", "Export what is declared")
            .about("As YAML, or as JSON where `format` or `Accept` say so. Applied again it changes nothing.")
            .parameter(ParameterIn::Query, "kind", "Only these kinds.", ArrayBuilder::new().items(kinds), false)
            .parameter(ParameterIn::Query, "label", "Only what has these labels.", labels(), false)
            .parameter(ParameterIn::Query, "format", "`yaml` or `json`.", format, false)
            .answers_as(200, &[YAML, JSON], document(), "The document; secrets are `unchanged`."),
    );
    api.add(
        Operation::post("/apply", "Apply a document")
            .about("All of it is one change. What the document does not have stays, unless `prune` names labels that it has.")
            .takes_as(&[YAML, JSON], document(), "The objects by kind and name, at most 16 MiB.")
            .parameter(ParameterIn::Query, "prune", "Delete what has these labels and is not in the document.", labels(), false)
            .changes()
            .answers::<Applied>(200, "It is applied; or it is a dry run."),
    );
}

/// Labels, each an argument of its own.
fn labels() -> ArrayBuilder {
    ArrayBuilder::new().items(ObjectBuilder::new().schema_type(Type::String).examples(["team=shop"]))
}

/// Objects by kind and name.
fn document() -> RefOr<Schema> {
    let kinds = KINDS.iter().fold(ObjectBuilder::new(), |document, kind| {
        let name = kind.shape.add_to(&mut Vec::new());
        document.property(kind.path, ObjectBuilder::new().additional_properties(Some(named(&name))))
    });
    kinds.additional_properties(Some(AdditionalProperties::FreeForm(false))).into()
}

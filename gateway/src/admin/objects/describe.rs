//! What the document says of objects: the same of every kind.

use serde_json::json;
use utoipa::PartialSchema as _;
use utoipa::ToSchema;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn, ParameterStyle};
use utoipa::openapi::schema::{ArrayBuilder, Object, ObjectBuilder, SchemaType, Type};
use utoipa::openapi::{RefOr, Schema};

use crate::admin::kinds::{KINDS, Kind, Naming};
use crate::admin::openapi::{Api, Change, Operation, Outcome, Schemas, named};
use crate::resource::Summary;

const JSON: &[&str] = &["application/json"];
const ETAG: &str = "The version, for `If-Match`.";

/// What came of saving an object.
#[derive(ToSchema)]
#[allow(dead_code)]
struct Saved {
    /// The object's name.
    name: String,
    /// The revision of what is declared.
    revision: u64,
    /// Whether anything was written; not in a dry run.
    changed: bool,
    /// What was written, or would be.
    changes: Vec<Change>,
    /// What is legal but odd.
    warnings: Vec<String>,
    /// When it is undone unless somebody confirms it, in milliseconds since 1970.
    #[schema(nullable = false, required = false)]
    undone_at: Option<u64>,
}

/// Describes the operations of all kinds.
pub(in crate::admin) fn describe(api: &mut Api) {
    for kind in &KINDS {
        api.group(kind.path, kind.about);
        let mut schemas = Schemas::new();
        let name = kind.shape.add_to(&mut schemas);
        if let Some((_, RefOr::T(Schema::Object(object)))) = schemas.iter_mut().find(|(other, _)| *other == name) {
            add_fields(kind, object);
        }
        let value = || named(&name);
        let all = format!("/{}", kind.path);
        api.add(list(kind, &all, value()).referring_to(&schemas));
        if !matches!(kind.names, Naming::Given) {
            api.add(create(kind, &all, value()));
        }
        let one = format!("{all}/{{name}}");
        api.add(read(&one, value()));
        api.add(put(&one, value()));
        api.add(patch(&one));
        api.add(delete(&one));
    }
}

/// What every object may have, and what the gateway adds when it shows one.
fn add_fields(kind: &Kind, object: &mut Object) {
    let mut add = |name: &str, schema: ObjectBuilder| object.properties.insert(name.into(), schema.into());
    let text = || ObjectBuilder::new().schema_type(Type::String);
    let labels = ObjectBuilder::new()
        .additional_properties(Some(text()))
        .description(Some("Labels of your own; export and apply can be limited to them."))
        .examples([json!({"team": "shop"})]);
    add("labels", labels);
    if kind.is_stamped {
        add("key", text().read_only(true).description(Some("Its name.")));
        let time = ObjectBuilder::new().schema_type(Type::Integer).read_only(true);
        add("time", time.description(Some("When it was last changed, in milliseconds since 1970.")));
    }
    if let (Some((name, _)), RefOr::T(Schema::Object(summary))) = (kind.derived, Summary::schema()) {
        let left = ObjectBuilder::new().schema_type(Type::Integer).description(Some("Seconds until it ends."));
        let details = ObjectBuilder::from(summary).schema_type(SchemaType::Array(vec![Type::Object, Type::Null]));
        add(name, details.property("ends_in_seconds", left).read_only(true));
    }
}

/// An object all of whose fields are there.
fn whole<const N: usize>(fields: [(&str, RefOr<Schema>); N]) -> ObjectBuilder {
    let add = |object: ObjectBuilder, (name, schema)| object.property(name, schema).required(name);
    fields.into_iter().fold(ObjectBuilder::new(), add)
}

fn list(kind: &Kind, path: &str, value: RefOr<Schema>) -> Operation {
    let number = || ObjectBuilder::new().schema_type(Type::Integer);
    let registered = ObjectBuilder::new().schema_type(Type::Boolean);
    let item = whole([
        ("name", String::schema()),
        ("etag", String::schema()),
        ("registered", registered.description(Some("Whether a service registered it, under a lease.")).into()),
        ("value", value),
    ]);
    let page = whole([
        ("revision", number().description(Some("The store's revision that was read.")).into()),
        ("total", number().description(Some("How many there are on all pages.")).into()),
        ("items", ArrayBuilder::new().items(item).into()),
    ]);
    let limit = number().minimum(Some(0)).maximum(Some(10_000)).default(Some(100.into()));
    Operation::get(path, format!("List {}", kind.path))
        .query::<String>("search", "Only those that have this text somewhere, in any case.")
        .query::<String>("sort", "The field to sort by, such as `prefix`; `-prefix` for the other way round.")
        .query::<u64>("offset", "How many to skip.")
        .parameter(ParameterIn::Query, "limit", "How many at most.", limit, false)
        .other_parameter(filter())
        .answers_as(200, JSON, page, "A page of them.")
}

/// Any field is a filter by its path.
fn filter() -> Parameter {
    let fields = ObjectBuilder::new().additional_properties(Some(ObjectBuilder::new().schema_type(Type::String)));
    ParameterBuilder::new()
        .name("filter")
        .parameter_in(ParameterIn::Query)
        .description(Some("Fields and what they must be, each an argument of its own: `status=1&labels.team=shop`."))
        .schema(Some(fields))
        .style(Some(ParameterStyle::Form))
        .explode(Some(true))
        .build()
}

fn read(path: &str, value: RefOr<Schema>) -> Operation {
    with_name(Operation::get(path, "Read one"))
        .header("If-None-Match", "Versions that the caller has already.")
        .answers_as(200, JSON, value, "The object; secrets are shown as `unchanged`.")
        .with("ETag", ETAG)
        .answers_nothing(304, "The caller has it already.")
        .with("ETag", ETAG)
        .refuses(&[404])
}

fn create(kind: &Kind, path: &str, value: RefOr<Schema>) -> Operation {
    let about = match kind.names {
        Naming::Fixed(_) => "Its name follows from its content.",
        _ => "It gets a name.",
    };
    Operation::post(path, "Create one")
        .about(about)
        .takes_as(JSON, value, "The object.")
        .changes()
        .answers::<Saved>(201, "It is created.")
        .with("ETag", ETAG)
        .with("Location", "Its path.")
        .answers::<Saved>(200, "It would be created: a dry run.")
        .with("Location", "The path it would have.")
}

fn put(path: &str, value: RefOr<Schema>) -> Operation {
    with_precondition(with_name(Operation::put(path, "Create or replace one")))
        .about(
            "One that is there is replaced only with `If-Match`. A secret that is `unchanged` stays as it is stored.",
        )
        .takes_as(JSON, value, "The object.")
        .changes()
        .answers::<Saved>(200, "It is replaced, or was so already; or it is a dry run.")
        .with("ETag", ETAG)
        .answers::<Saved>(201, "It is created.")
        .with("ETag", ETAG)
        .refuses(&[412, 428])
}

fn patch(path: &str) -> Operation {
    with_precondition(with_name(Operation::patch(path, "Change fields of one")))
        .about("A JSON merge patch (RFC 7396): fields replace those that are there, null removes one.")
        .takes_as(&["application/merge-patch+json", "application/json"], ObjectBuilder::new(), "The fields.")
        .changes()
        .answers::<Saved>(200, "It is changed, or was so already; or it is a dry run.")
        .with("ETag", ETAG)
        .refuses(&[404, 412])
}

fn delete(path: &str) -> Operation {
    with_precondition(with_name(Operation::delete(path, "Delete one")))
        .changes()
        .answers::<Outcome>(200, "It is deleted; or it is a dry run.")
        .refuses(&[404, 412])
}

fn with_name(operation: Operation) -> Operation {
    operation.at::<String>("name", "The object's name.")
}

fn with_precondition(operation: Operation) -> Operation {
    operation
        .header("If-Match", "The version it must have, such as `\"12\"`; `*` for any.")
        .header("If-None-Match", "Versions it must not have; `*` when it must not be there.")
}

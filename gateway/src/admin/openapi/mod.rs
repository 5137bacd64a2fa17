//! What `/admin/v2` takes and answers, as a document in the form of OpenAPI 3.1, and a page that
//! shows it. Both are for anyone who may call at all: the software is public, and neither says
//! anything of this gateway.
//!
//! A module that answers paths has a `describe` beside its `router`, and [`DESCRIBED`] lists it:
//!
//! ```text
//! pub(super) fn describe(api: &mut Api) {
//!     api.group("log level", "How much the error log says.");
//!     api.add(Operation::get("/log-level", "Read the log level").answers::<Level>(200, "The level."));
//!     api.add(
//!         Operation::put("/log-level", "Set the log level")
//!             .takes::<Level>("The level wanted.")
//!             .answers::<Level>(200, "The level now.")
//!             .refuses(&[413, 422]),
//!     );
//! }
//! ```
//!
//! Types are described by `#[derive(utoipa::ToSchema)]` and their doc comments. What every call may
//! be answered (400, 401, 403, 408, 503) is added to each; [`Operation::changes`] adds what every
//! change takes and may be answered. A test holds the document against the router, both ways, and
//! `t/openapi.rs` holds it against what the binary answers.

use std::sync::LazyLock;

use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Components, InfoBuilder, OpenApi, OpenApiBuilder, Paths, ServerBuilder, tag};

mod operation;
mod serve;
mod shapes;

pub(super) use operation::{Operation, Schemas, Shape, named};
pub(super) use serve::router;
pub(super) use shapes::{Change, Outcome};

use super::{access, declared, explain, history, live, objects, plugins, registrations, v2};

/// Every module with paths of `/admin/v2`.
const DESCRIBED: &[fn(&mut Api)] = &[
    objects::describe,
    declared::describe,
    history::describe,
    registrations::describe,
    v2::describe,
    plugins::describe,
    explain::describe,
    live::describe,
    access::describe,
    serve::describe,
];

/// The document, made when it is asked for the first time.
static DOCUMENT: LazyLock<Result<String, String>> = LazyLock::new(|| described().to_json().map_err(|e| e.to_string()));

pub(super) fn described() -> OpenApi {
    let mut api = Api::default();
    for describe in DESCRIBED {
        describe(&mut api);
    }
    api.finish()
}

/// The document while it is made.
#[derive(Default)]
pub(super) struct Api {
    paths: Paths,
    schemas: Schemas,
    groups: Vec<tag::Tag>,
}

impl Api {
    /// Begins a group of operations; those that are added next are of it.
    pub(super) fn group(&mut self, name: &str, about: &str) {
        self.groups.push(tag::TagBuilder::new().name(name).description(Some(about)).build());
    }

    /// Adds an operation.
    pub(super) fn add(&mut self, operation: Operation) {
        let group = self.groups.last().map_or("other", |group| &group.name);
        let (path, method, operation, schemas) = operation.finish(group);
        self.paths.add_path_operation(path, vec![method], operation);
        self.schemas.extend(schemas);
    }

    fn finish(self) -> OpenApi {
        let mut components = Components::new();
        components.schemas.extend(self.schemas);
        components.schemas.extend(operation::problem_schemas());
        components.responses.extend(operation::refusals());
        let header = |name, about| SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::with_description(name, about)));
        components.add_security_scheme("token", header("X-Token", "The token that a login answers."));
        components
            .add_security_scheme("api-token", header("X-Api-Token", "A token of `admin.tokens` in the configuration."));
        let info = InfoBuilder::new()
            .title("ws-cloud-gateway Admin API")
            .version(env!("CARGO_PKG_VERSION"))
            .description(Some(ABOUT))
            .build();
        let either = ["token", "api-token"].map(|scheme| SecurityRequirement::new(scheme, [""; 0]));
        OpenApiBuilder::new()
            .info(info)
            .servers(Some([ServerBuilder::new().url("/admin/v2").build()]))
            .paths(self.paths)
            .components(Some(components))
            .security(Some(either))
            .tags(Some(self.groups))
            .build()
    }
}

const ABOUT: &str = "Objects are declared, checked as the gateway would compile them, and written in one transaction that a \
record is kept of. Errors are problem details (RFC 9457); of an object they name the field. A path that takes other methods \
answers 405.\n\nDurations are texts such as `5s`, `100ms` or `1h 30m`. Objects keep fields that are not described here.\n\n\
The schemas say what should be sent. Forms of the first gateway are read too, such as one host as a text or `{}` for an empty \
list; what is stored so is shown so.";

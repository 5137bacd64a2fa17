//! One operation of the document: a method of a path, what it takes, and all it may answer.

use http::StatusCode;
use utoipa::openapi::path::{HttpMethod, OperationBuilder, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{
    Content, HeaderBuilder, Ref, RefOr, Required, Response, ResponseBuilder, Schema, path::Operation as Described,
};
use utoipa::{PartialSchema, ToSchema};

use super::shapes::Problem;

/// Schemas by name, for the document's components.
pub(in crate::admin) type Schemas = Vec<(String, RefOr<Schema>)>;

const JSON: &str = "application/json";
const PROBLEM: &str = "application/problem+json";

/// What calls are refused with, and why.
const REFUSALS: [(u16, &str); 13] = [
    (400, "The path, the query, a header or the body cannot be read."),
    (401, "There are no credentials, or they are not valid."),
    (403, "The caller may not do this, or not from this address or for this host."),
    (404, "It is not there."),
    (408, "The call took too long."),
    (409, "It clashes with what is there, or with a change that waits to be confirmed; or others kept changing it."),
    (412, "The object has been changed since it was read."),
    (413, "The body is too large, or the change is for one transaction."),
    (422, "What was sent is not valid; `field` and `errors` say where."),
    (428, "It would overwrite what nobody has read: send `If-Match`."),
    (502, "Another gateway, or the provider of logins, does not answer as it should."),
    (503, "The store cannot be asked now, or too many ask; try again after `Retry-After` seconds."),
    (507, "The store is full."),
];
/// Those that any call may get.
const ANY: [u16; 4] = [400, 403, 408, 503];
/// Those that a change may get.
const CHANGE: [u16; 4] = [409, 413, 422, 507];

/// A type that is described by name.
#[derive(Debug, Clone, Copy)]
pub(in crate::admin) struct Shape(fn(&mut Schemas) -> String);

impl Shape {
    /// That of a type.
    pub(in crate::admin) const fn of<T: ToSchema>() -> Self {
        Self(|schemas| {
            let name = T::name().into_owned();
            schemas.push((name.clone(), T::schema()));
            T::schemas(schemas);
            name
        })
    }

    /// Adds its schema, and those it refers to; returns its name.
    pub(in crate::admin) fn add_to(self, schemas: &mut Schemas) -> String {
        (self.0)(schemas)
    }
}

/// A reference to a schema of the document.
pub(in crate::admin) fn named(name: &str) -> RefOr<Schema> {
    Ref::from_schema_name(name).into()
}

/// An operation. Its methods read as a sentence: what it takes, what it answers, what it refuses.
pub(in crate::admin) struct Operation {
    method: HttpMethod,
    path: String,
    summary: String,
    about: Option<String>,
    parameters: Vec<Parameter>,
    body: Option<RequestBodyBuilder>,
    answers: Vec<(u16, Response)>,
    refusals: Vec<u16>,
    schemas: Schemas,
    is_public: bool,
}

impl Operation {
    fn new(method: HttpMethod, path: impl Into<String>, summary: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            summary: summary.into(),
            about: None,
            parameters: Vec::new(),
            body: None,
            answers: Vec::new(),
            refusals: Vec::new(),
            schemas: Schemas::new(),
            is_public: false,
        }
    }

    /// `GET`; the path is relative to `/admin/v2`.
    pub(in crate::admin) fn get(path: impl Into<String>, summary: impl Into<String>) -> Self {
        Self::new(HttpMethod::Get, path, summary)
    }

    /// `POST`
    pub(in crate::admin) fn post(path: impl Into<String>, summary: impl Into<String>) -> Self {
        Self::new(HttpMethod::Post, path, summary)
    }

    /// `PUT`
    pub(in crate::admin) fn put(path: impl Into<String>, summary: impl Into<String>) -> Self {
        Self::new(HttpMethod::Put, path, summary)
    }

    /// `PATCH`
    pub(in crate::admin) fn patch(path: impl Into<String>, summary: impl Into<String>) -> Self {
        Self::new(HttpMethod::Patch, path, summary)
    }

    /// `DELETE`
    pub(in crate::admin) fn delete(path: impl Into<String>, summary: impl Into<String>) -> Self {
        Self::new(HttpMethod::Delete, path, summary)
    }

    /// More than fits into the summary.
    pub(in crate::admin) fn about(mut self, text: impl Into<String>) -> Self {
        self.about = Some(text.into());
        self
    }

    /// It needs no credentials.
    pub(in crate::admin) fn public(mut self) -> Self {
        self.is_public = true;
        self
    }

    /// A part of the path: `{name}` in it.
    pub(in crate::admin) fn at<T: PartialSchema>(self, name: &str, about: &str) -> Self {
        self.parameter(ParameterIn::Path, name, about, T::schema(), true)
    }

    /// An argument of the query that may be left out.
    pub(in crate::admin) fn query<T: PartialSchema>(self, name: &str, about: &str) -> Self {
        self.parameter(ParameterIn::Query, name, about, T::schema(), false)
    }

    /// An argument of the query that must be there.
    pub(in crate::admin) fn needs<T: PartialSchema>(self, name: &str, about: &str) -> Self {
        self.parameter(ParameterIn::Query, name, about, T::schema(), true)
    }

    /// A header that may be left out.
    pub(in crate::admin) fn header(self, name: &str, about: &str) -> Self {
        self.parameter(ParameterIn::Header, name, about, String::schema(), false)
    }

    /// A parameter of any schema.
    pub(in crate::admin) fn parameter(
        self,
        place: ParameterIn,
        name: &str,
        about: &str,
        schema: impl Into<RefOr<Schema>>,
        is_required: bool,
    ) -> Self {
        let required = if is_required { Required::True } else { Required::False };
        let parameter = ParameterBuilder::new()
            .name(name)
            .parameter_in(place)
            .required(required)
            .description(Some(about))
            .schema(Some(schema));
        self.other_parameter(parameter.build())
    }

    /// A parameter that is written in a way of its own.
    pub(in crate::admin) fn other_parameter(mut self, parameter: Parameter) -> Self {
        self.parameters.push(parameter);
        self
    }

    /// What every change takes, and what each may be refused with.
    pub(in crate::admin) fn changes(self) -> Self {
        let reason = ObjectBuilder::new().schema_type(Type::String).max_length(Some(1000));
        let within = ObjectBuilder::new().schema_type(Type::String).examples(["5m"]);
        self.query::<bool>("dry_run", "Only say what it would do.")
            .parameter(ParameterIn::Query, "reason", "Why; kept in the history.", reason, false)
            .parameter(
                ParameterIn::Query,
                "confirm_within",
                "It is undone unless somebody confirms it within this time, 1s to 24h.",
                within,
                false,
            )
            .refuses(&CHANGE)
    }

    /// A body of JSON.
    pub(in crate::admin) fn takes<T: ToSchema>(mut self, about: &str) -> Self {
        let schema = named(&Shape::of::<T>().add_to(&mut self.schemas));
        self.takes_as(&[JSON], schema, about)
    }

    /// A body of one of these types.
    pub(in crate::admin) fn takes_as(mut self, types: &[&str], schema: impl Into<RefOr<Schema>>, about: &str) -> Self {
        let schema = schema.into();
        let body = RequestBodyBuilder::new().description(Some(about)).required(Some(Required::True));
        let content = || Content::new(Some(schema.clone()));
        self.body = Some(types.iter().fold(body, |body, kind| body.content(*kind, content())));
        self
    }

    /// The body may be left out.
    pub(in crate::admin) fn or_nothing(mut self) -> Self {
        self.body = self.body.map(|body| body.required(Some(Required::False)));
        self
    }

    /// An answer of JSON.
    pub(in crate::admin) fn answers<T: ToSchema>(mut self, status: u16, about: &str) -> Self {
        let schema = named(&Shape::of::<T>().add_to(&mut self.schemas));
        self.answers_as(status, &[JSON], schema, about)
    }

    /// An answer of one of these types; without types it has no content.
    pub(in crate::admin) fn answers_as(
        mut self,
        status: u16,
        types: &[&str],
        schema: impl Into<RefOr<Schema>>,
        about: &str,
    ) -> Self {
        let schema = schema.into();
        let content = || Content::new(Some(schema.clone()));
        let answer = ResponseBuilder::new().description(about);
        self.answers.push((status, types.iter().fold(answer, |answer, kind| answer.content(*kind, content())).build()));
        self
    }

    /// An answer without content.
    pub(in crate::admin) fn answers_nothing(self, status: u16, about: &str) -> Self {
        self.answers_as(status, &[], String::schema(), about)
    }

    /// A header of the answer named last.
    pub(in crate::admin) fn with(mut self, name: &str, about: &str) -> Self {
        if let Some((_, answer)) = self.answers.last_mut() {
            let header = HeaderBuilder::new().schema(Some(String::schema())).description(Some(about)).build();
            answer.headers.insert(name.to_owned(), header.into());
        }
        self
    }

    /// Statuses of errors, beside those that any call may get.
    pub(in crate::admin) fn refuses(mut self, statuses: &[u16]) -> Self {
        self.refusals.extend(statuses);
        self
    }

    /// The schemas that its own refer to.
    pub(in crate::admin) fn referring_to(mut self, schemas: &Schemas) -> Self {
        self.schemas.extend(schemas.iter().cloned());
        self
    }

    pub(super) fn finish(mut self, group: &str) -> (String, HttpMethod, Described, Schemas) {
        self.refusals.extend(ANY);
        if !self.is_public {
            self.refusals.push(401);
        }
        let mut operation = OperationBuilder::new()
            .tag(group)
            .operation_id(Some(self.id()))
            .summary(Some(self.summary))
            .description(self.about)
            .parameters(Some(self.parameters))
            .request_body(self.body.map(RequestBodyBuilder::build));
        for (status, answer) in self.answers {
            operation = operation.response(status.to_string(), answer);
        }
        for status in self.refusals {
            operation = operation.response(status.to_string(), Ref::from_response_name(refusal_name(status)));
        }
        if self.is_public {
            operation = operation.securities(Some(Vec::<SecurityRequirement>::new()));
        }
        (self.path, self.method, operation.build(), self.schemas)
    }

    fn id(&self) -> String {
        let method = match self.method {
            HttpMethod::Post => "post",
            HttpMethod::Put => "put",
            HttpMethod::Patch => "patch",
            HttpMethod::Delete => "delete",
            _ => "get",
        };
        let words = self.path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        words.fold(method.to_owned(), |id, word| id + "_" + word)
    }
}

/// Such as `NotFound`.
fn refusal_name(status: u16) -> String {
    let reason = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    reason.unwrap_or("Error").split(' ').collect()
}

/// The answers of errors, by name.
pub(super) fn refusals() -> impl Iterator<Item = (String, RefOr<Response>)> {
    REFUSALS.iter().map(|(status, about)| {
        let content = Content::new(Some(named("Problem")));
        let mut response = ResponseBuilder::new().description(*about).content(PROBLEM, content).build();
        if *status == 503 {
            let header = HeaderBuilder::new().schema(Some(String::schema())).description(Some("Seconds.")).build();
            response.headers.insert("Retry-After".into(), header.into());
        }
        (refusal_name(*status), response.into())
    })
}

/// What is in them.
pub(super) fn problem_schemas() -> Schemas {
    let mut schemas = Schemas::new();
    Shape::of::<Problem>().add_to(&mut schemas);
    schemas
}

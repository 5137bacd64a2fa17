//! What the document says of logins, accounts, tokens and the record of all that.
#![allow(dead_code)]

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa::openapi::path::ParameterIn;
use utoipa::openapi::schema::{ObjectBuilder, Type};

use super::login::Credentials;
use super::{audit, me, tokens, totp, users};
use crate::admin::auth::{Role, Scope};
use crate::admin::openapi::{Api, Operation};

const COOKIE: &str = "Set-Cookie";

/// How one may log in.
#[derive(ToSchema)]
struct Ways {
    /// Whether an OpenID Connect provider is set up; begin at `/oidc/login`.
    oidc: bool,
}

/// A session that has begun.
#[derive(ToSchema)]
struct Session {
    /// Whose.
    user: String,
    /// How much the user may do.
    role: Option<Role>,
    /// The services that is for; all when null.
    services: Option<Vec<String>>,
    /// What changes send as `X-CSRF-Token` beside the cookie.
    csrf_token: String,
}

/// Who calls.
#[derive(ToSchema)]
struct Me {
    /// The name of the account or token.
    name: String,
    /// How much the caller may do.
    role: Role,
    /// The services that is for; all when null.
    services: Option<Vec<String>>,
    /// What the caller showed, such as `session`.
    credential: String,
    /// What changes send as `X-CSRF-Token`; only of a session.
    #[schema(nullable = false, required = false)]
    csrf_token: Option<String>,
    /// When the login ends; only of a login.
    #[schema(required = false)]
    expires: Option<String>,
    /// Whether logins need a code; only of a login.
    #[schema(nullable = false, required = false)]
    totp: Option<bool>,
}

/// The login that takes the place of the caller's; an API token has none.
#[derive(ToSchema)]
struct Renewed {
    /// Of a session.
    #[schema(nullable = false, required = false)]
    csrf_token: Option<String>,
    /// Of a login with a token.
    #[schema(nullable = false, required = false)]
    token: Option<String>,
}

/// The secret of an authenticator app.
#[derive(ToSchema)]
struct Enrolment {
    /// In the letters that apps take.
    secret: String,
    /// What an app reads as a QR code.
    url: String,
}

/// An account.
#[derive(ToSchema)]
struct User {
    /// Its name.
    name: String,
    /// How much it may do.
    role: Role,
    /// The services that is for; all when null.
    services: Option<Vec<String>>,
    /// What people call it.
    display_name: String,
    /// What the panel of the first gateway shows.
    #[schema(value_type = Object)]
    info: Map<String, Value>,
    /// Whether logins need a code.
    totp: bool,
    /// Where it is: `store` or `configuration`.
    source: String,
    /// A password that was made; shown once.
    #[schema(nullable = false, required = false)]
    password: Option<String>,
}

/// The accounts.
#[derive(ToSchema)]
struct Users {
    /// The store's revision.
    revision: u64,
    /// By name.
    items: BTreeMap<String, User>,
}

/// An API token, without what it is shown as.
#[derive(ToSchema)]
struct Token {
    /// What it is called in paths.
    id: String,
    /// What people call it.
    name: String,
    /// How much it may do; null of one for registrations.
    role: Option<Role>,
    /// The services that is for; all when null.
    services: Option<Vec<String>>,
    /// What it is restricted to.
    scope: Option<Scope>,
    /// Its last four letters.
    last_four: String,
    /// Who made it.
    creator: String,
    /// When.
    created: String,
    /// When it ends, if it does.
    expires: Option<String>,
    /// Whether it has.
    has_expired: bool,
    /// The token itself; shown once, when it is made.
    #[schema(nullable = false, required = false)]
    token: Option<String>,
}

/// The API tokens of the store.
#[derive(ToSchema)]
struct Tokens {
    /// The store's revision.
    revision: u64,
    /// By id.
    items: BTreeMap<String, Token>,
}

/// What somebody did.
#[derive(ToSchema)]
struct AuditEntry {
    /// Its id; later ones are greater.
    id: String,
    /// When.
    time: Option<String>,
    /// Who; empty when nobody was logged in.
    actor: String,
    /// What the actor showed.
    credential: String,
    /// From where.
    address: Option<String>,
    /// What, such as `user.created`.
    action: String,
    /// To whom, or to which token.
    target: String,
    /// More of it.
    detail: String,
}

/// A part of the record.
#[derive(ToSchema)]
struct AuditPage {
    /// The newest first.
    items: Vec<AuditEntry>,
    /// `before` of the next part, when there is one.
    next: Option<String>,
}

pub(in crate::admin) fn describe(api: &mut Api) {
    logins(api);
    own(api);
    accounts(api);
    api_tokens(api);
    record(api);
}

fn logins(api: &mut Api) {
    api.group("logins", "Sessions of the panel, begun with a password or by an OpenID Connect provider.");
    api.add(
        Operation::post("/login", "Begin a session")
            .about("Only for pages of this gateway. Wrong logins are slowed down by account and address.")
            .public()
            .takes::<Credentials>("Who wants to log in.")
            .answers::<Session>(200, "The session has begun; its cookie is set.")
            .with(COOKIE, "The session.")
            .refuses(&[401, 413, 422]),
    );
    api.add(
        Operation::get("/login", "How one may log in")
            .about("With a password always; this says what else.")
            .public()
            .answers::<Ways>(200, "The ways."),
    );
    api.add(
        Operation::post("/logout", "End the caller's login")
            .about("An API token goes on being good.")
            .answers_nothing(204, "It has ended.")
            .with(COOKIE, "Takes the session's cookie away."),
    );
    api.add(
        Operation::get("/oidc/login", "Begin a login by the provider")
            .about("For a browser. It is not there unless `admin.oidc` is configured.")
            .public()
            .answers_nothing(302, "To the provider.")
            .with("Location", "Where the provider asks who it is.")
            .with(COOKIE, "Ties the login to the browser.")
            .refuses(&[404, 502]),
    );
    api.add(
        Operation::get("/oidc/callback", "End a login by the provider")
            .about("Where the provider sends the browser back to.")
            .public()
            .query::<String>("state", "Which login it is.")
            .query::<String>("code", "What the provider says who it is for.")
            .query::<String>("error", "Why there is no code.")
            .query::<String>("iss", "The provider.")
            .answers_nothing(302, "To the panel; a session has begun.")
            .with("Location", "The panel.")
            .with(COOKIE, "The session.")
            .refuses(&[401, 404, 502]),
    );
}

fn own(api: &mut Api) {
    api.group("own account", "Who the caller is, and the caller's own password and authenticator app.");
    api.add(Operation::get("/me", "Who the caller is").answers::<Me>(200, "The caller."));
    api.add(
        changes(Operation::put("/me/password", "Change the own password"))
            .about("It ends all logins of the account; the caller gets another one.")
            .takes::<me::Change>("The new password, and the one so far.")
            .answers::<Renewed>(200, "It is changed.")
            .with(COOKIE, "Another session, when the caller has one."),
    );
    let app = "/me/totp";
    api.add(
        changes(Operation::post(app, "Begin to use an authenticator app"))
            .takes::<totp::Password>("The password, once more.")
            .answers::<Enrolment>(200, "The secret for the app. It counts once a code was shown."),
    );
    api.add(
        changes(Operation::put(app, "Show a code of the app"))
            .takes::<totp::Code>("The code.")
            .answers_nothing(204, "From now on logins need codes.")
            .refuses(&[404]),
    );
    api.add(
        changes(Operation::delete(app, "Use the app no longer"))
            .takes::<totp::Password>("The password, once more.")
            .answers_nothing(204, "Logins need no codes.")
            .refuses(&[404]),
    );
}

fn accounts(api: &mut Api) {
    api.group("users", "Accounts with a role, and the services it is for. For administrators.");
    api.add(
        Operation::get("/users", "List the accounts")
            .answers::<Users>(200, "Those of the store and of the configuration."),
    );
    let one = "/users/{name}";
    api.add(
        user(Operation::get(one, "Show an account"))
            .answers::<User>(200, "The account.")
            .with("ETag", "Its version, when it is in the store.")
            .refuses(&[404]),
    );
    api.add(
        changes(preconditions(user(Operation::put(one, "Make or change an account"))))
            .takes::<users::Wanted>("The account.")
            .answers::<User>(201, "It is made.")
            .with("ETag", "Its version.")
            .answers::<User>(200, "It is changed.")
            .with("ETag", "Its version.")
            .refuses(&[428]),
    );
    api.add(
        changes(preconditions(user(Operation::patch(one, "Change fields of an account"))))
            .about("A JSON merge patch (RFC 7396): fields replace those that are there, null removes one.")
            .takes_as(&["application/merge-patch+json", "application/json"], ObjectBuilder::new(), "The fields.")
            .answers::<User>(200, "It is changed.")
            .with("ETag", "Its version.")
            .refuses(&[404]),
    );
    api.add(
        preconditions(user(Operation::delete(one, "Delete an account")))
            .answers_nothing(204, "It is deleted, and its logins have ended.")
            .refuses(&[404, 507]),
    );
    for (what, summary, about) in [
        ("totp", "Take an authenticator app from an account", "Its logins need no codes."),
        ("sessions", "End the sessions of an account", "They have ended."),
    ] {
        api.add(
            user(Operation::delete(format!("{one}/{what}"), summary)).answers_nothing(204, about).refuses(&[404, 507]),
        );
    }
}

fn api_tokens(api: &mut Api) {
    api.group("tokens", "API tokens that are kept in the store. For administrators.");
    api.add(Operation::get("/tokens", "List the tokens").answers::<Tokens>(200, "Those of the store."));
    api.add(
        changes(Operation::post("/tokens", "Make a token"))
            .takes::<tokens::Wanted>("What it is to be for.")
            .answers::<Token>(201, "The token, which is shown only now.")
            .with("ETag", "Its version.")
            .with("Location", "Its path."),
    );
    let one = "/tokens/{id}";
    api.add(
        token(Operation::get(one, "Show a token"))
            .answers::<Token>(200, "What can be told of it.")
            .with("ETag", "Its version."),
    );
    api.add(
        preconditions(token(Operation::delete(one, "Delete a token")))
            .answers_nothing(204, "It is good no longer.")
            .refuses(&[507]),
    );
}

fn record(api: &mut Api) {
    let (default, most) = (audit::DEFAULT_LIMIT, audit::MAX_LIMIT);
    let limit = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0));
    api.group("record", "Who did what with accounts, tokens and logins. For administrators.");
    api.add(
        Operation::get("/audit", "Read the record")
            .parameter(
                ParameterIn::Query,
                "limit",
                &format!("How many at most; {default} when absent, and at most {most}."),
                limit,
                false,
            )
            .query::<String>("before", "Only those older than the one of this id.")
            .query::<String>("actor", "Only what this one did.")
            .query::<String>("action", "Only this, such as `user.created`.")
            .answers::<AuditPage>(200, "The newest first."),
    );
}

fn user(operation: Operation) -> Operation {
    operation.at::<String>("name", "Its name: 1 to 64 letters, digits, and `.`, `_`, `-`, `@`.").refuses(&[409])
}

fn token(operation: Operation) -> Operation {
    operation.at::<String>("id", "Its id.").refuses(&[404, 409])
}

/// What has a body may be refused with, and is written.
fn changes(operation: Operation) -> Operation {
    operation.refuses(&[409, 413, 422, 507])
}

fn preconditions(operation: Operation) -> Operation {
    operation
        .header("If-Match", "The `ETag` that was read, or `*`.")
        .header("If-None-Match", "`*`: only if it is not there.")
        .refuses(&[412])
}

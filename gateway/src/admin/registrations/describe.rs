//! What the document says of registrations.
#![allow(dead_code)]

use utoipa::ToSchema;

use super::Wanted;
use crate::admin::openapi::{Api, Operation};

/// A node that is registered.
#[derive(ToSchema)]
struct Registration {
    /// The service.
    service_name: String,
    /// Where the node listens.
    upstream: String,
    /// Its share of the requests.
    #[schema(required = false)]
    weight: Option<u32>,
    /// 1 when it takes requests.
    #[schema(required = false)]
    status: Option<u8>,
    /// How long it stays without a heartbeat, in seconds.
    ttl: Option<u64>,
    /// How long it stays from now, in seconds.
    expires_in: Option<u64>,
}

/// Nodes that are registered.
#[derive(ToSchema)]
struct Registrations {
    /// The nodes.
    registrations: Vec<Registration>,
}

/// A heartbeat was heard.
#[derive(ToSchema)]
struct Heard {
    /// How long the node stays from now, in seconds.
    expires_in: u64,
}

pub(in crate::admin) fn describe(api: &mut Api) {
    api.group(
        "registrations",
        "Nodes that services register themselves, each under a lease. The one part that a token for registrations may use.",
    );
    api.add(
        Operation::get("/registrations", "List the nodes that are registered")
            .query::<String>("service", "Only of this service.")
            .answers::<Registrations>(200, "The nodes of services that the caller may register."),
    );
    let one = "/registrations/{service}/{upstream}";
    api.add(
        node(Operation::put(one, "Register a node"))
            .takes::<Wanted>("All of it is optional.")
            .or_nothing()
            .answers::<Registration>(201, "It is registered.")
            .answers::<Registration>(200, "It was registered already, and is renewed.")
            .refuses(&[413, 422]),
    );
    api.add(node(Operation::delete(one, "Remove a node")).answers_nothing(204, "It is removed.").refuses(&[404]));
    api.add(
        node(Operation::post(format!("{one}/heartbeat"), "Say that a node is still there"))
            .answers::<Heard>(200, "It is heard.")
            .refuses(&[404]),
    );
}

fn node(operation: Operation) -> Operation {
    operation
        .at::<String>("service", "The service.")
        .at::<String>("upstream", "Where the node listens, such as `10.0.0.5:8080`.")
        .refuses(&[409, 422, 507])
}

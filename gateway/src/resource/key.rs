//! The keys of the store: families and the derivation the first gateway laid down.
//!
//! Keys here are relative to the data prefix. No family of ours may begin with `routes` or
//! `discovery`: old gateways read those as ranges.

use md5::{Digest, Md5};

/// Routes: `routes/<id>`.
pub const ROUTES: &str = "routes/";
/// Nodes: `discovery/<service>.<md5>`.
pub const NODES: &str = "discovery/";
/// Services: `gw/services/<name>`.
pub const SERVICES: &str = "gw/services/";
/// Global plugins: `gw/plugins/<name>`.
pub const PLUGINS: &str = "gw/plugins/";
/// What an operator says of a node, beside the node itself: `gw/nodes/<node key>`.
pub const OVERLAYS: &str = "gw/nodes/";
/// Certificates: `gw/certificates/<id>`.
pub const CERTIFICATES: &str = "gw/certificates/";
/// The fingerprint of the key that secrets are encrypted with.
pub const SECRETS_KEY: &str = "gw/secrets/key";
/// Authenticators of users: `gw/totp/<name>`. Not configuration, but they hold secrets too.
pub const TOTP: &str = "gw/totp/";
/// Guarded and bumped by every admin write.
pub const HEAD: &str = "gw/head";
/// What gateways say of themselves, each under a lease: `gw/gateways/<id>`.
pub const GATEWAYS: &str = "gw/gateways/";
/// What gateways make credentials with, to ask each other.
pub const PEER_SECRET: &str = "gw/secrets/peer";
/// There while a change larger than a transaction is being made: nothing is published meanwhile.
pub const JOURNAL: &str = "gw/journal/open";
/// What control watches; nothing else in the store is configuration.
pub const WATCHED: [&str; 6] = [ROUTES, NODES, SERVICES, PLUGINS, OVERLAYS, CERTIFICATES];

/// Lower-case hexadecimal MD5, as `ngx.md5`. Only a name: nothing relies on its strength.
pub fn md5_hex(text: &str) -> String {
    hex::encode(Md5::digest(text.as_bytes()))
}

/// The id of the first route of a prefix.
pub fn route(prefix: &str) -> String {
    md5_hex(prefix.trim())
}

/// The id of a further route of a prefix, told apart by its hosts.
pub fn route_with_hosts(prefix: &str, hosts: &[String]) -> String {
    let mut hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    hosts.sort_unstable();
    md5_hex(&format!("{}\n{}", prefix.trim(), hosts.join(",")))
}

/// The id of a node.
pub fn node(service: &str, upstream: &str) -> String {
    let (service, upstream) = (service.trim(), upstream.trim());
    format!("{service}.{}", md5_hex(&format!("{service}{upstream}")))
}

/// The service a node's id names: the text before its last dot, since a service name may have
/// dots and the MD5 has none.
pub fn service_of_node(id: &str) -> Option<&str> {
    id.rsplit_once('.').map(|(service, _)| service)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_the_first_gateway() {
        for (prefix, key) in [
            ("/openapi/demo1/*", "968bf1f8890b38d31051ec0a290348c9"),
            ("/innerapi/demo1/*", "07262efa5a8dffd8ff731b868b8af20b"),
            ("/openapi/demo2/*", "d8cc52714b2d301569f296d9069fa3fb"),
            (" /grpc.hello.* ", "65191760795629abae26000c28fe15a1"),
        ] {
            assert_eq!(route(prefix), key, "{prefix}");
        }
        for (service, upstream, key) in [
            ("demo1", "127.0.0.1:1024", "demo1.33f075d48985fe1b26061756cd53593c"),
            ("demo1", "127.0.0.1:1025", "demo1.69f7377e402fcf4284b818adec5f6086"),
            ("demo2", "127.0.0.1:1026", "demo2.ce5d756c844f9285a27570e111dfe6a1"),
            ("demo2", " 127.0.0.1:1027", "demo2.e00c274086b48581a2a27ad8a071307d"),
            ("grpc-demo", "127.0.0.1:2021", "grpc-demo.12c776dfd3e6fd95d6cede29c5d95e53"),
        ] {
            assert_eq!(node(service, upstream), key, "{service}");
        }
    }

    #[test]
    fn the_service_of_a_node_ends_at_the_last_dot() {
        assert_eq!(service_of_node("demo1.33f0"), Some("demo1"));
        assert_eq!(service_of_node("com.example.users.33f0"), Some("com.example.users"));
        assert_eq!(service_of_node("demo1"), None);
    }

    #[test]
    fn the_order_of_hosts_does_not_matter() {
        let hosts = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(route_with_hosts("/a", &hosts(&["b", "a"])), route_with_hosts("/a", &hosts(&["a", "b"])));
        assert_ne!(route_with_hosts("/a", &hosts(&["a"])), route("/a"));
    }
}

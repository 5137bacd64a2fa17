//! How a node is chosen.

use http::HeaderName;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::resource::Invalid;

/// How a node is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Balancer {
    /// In turn, by weight, evenly interleaved.
    #[default]
    RoundRobin,
    /// By chance, by weight.
    Random,
    /// Of two by chance the one with fewer requests in flight for its weight.
    LeastRequests,
    /// Of two by chance the one that answered sooner of late, for its load.
    Ewma,
    /// The same node for the same key, on a ring that a change of nodes disturbs little. Requests
    /// without the key take turns.
    Hash,
}

/// What requests are told apart by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HashPolicy {
    /// Where the key is found.
    pub on: HashOn,
    /// The header, cookie or query argument.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How many times the average load of its weight a node may have before its keys go on to the
    /// next, such as 1.25; no bound when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bounded_load: Option<f64>,
}

/// Where the key of a request is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HashOn {
    /// The client's address, as the trusted proxies say it.
    ClientIp,
    /// A header.
    Header,
    /// A cookie.
    Cookie,
    /// The path.
    Path,
    /// A query argument.
    Query,
}

pub(super) fn validate(balancer: Balancer, hash: Option<&HashPolicy>) -> Result<(), Invalid> {
    let Some(hash) = hash else {
        return match balancer {
            Balancer::Hash => Err(Invalid::at("hash", "is needed by the balancer, such as {\"on\": \"client_ip\"}")),
            _ => Ok(()),
        };
    };
    if balancer != Balancer::Hash {
        return Err(Invalid::at("hash", "is for the balancer \"hash\" only; set it, or leave this out"));
    }
    let name = hash.name.as_deref();
    let (needed, what) = match hash.on {
        HashOn::Header => (name.is_some_and(|name| name.parse::<HeaderName>().is_ok()), "the header, such as X-User"),
        HashOn::Cookie => (name.is_some_and(is_token), "the cookie, such as session"),
        HashOn::Query => (name.is_some_and(|name| !name.is_empty()), "the query argument, such as user"),
        HashOn::ClientIp | HashOn::Path => (name.is_none(), ""),
    };
    if !needed {
        let problem =
            if what.is_empty() { "is for header, cookie and query only".into() } else { format!("must name {what}") };
        return Err(Invalid::at("hash.name", problem));
    }
    if hash.bounded_load.is_some_and(|bound| !(1.0..=100.0).contains(&bound)) {
        return Err(Invalid::at("hash.bounded_load", "must be from 1 to 100, such as 1.25"));
    }
    Ok(())
}

/// Whether it can be a cookie's name: RFC 6265 section 4.1.1.
fn is_token(name: &str) -> bool {
    // Header names are tokens too.
    name.parse::<HeaderName>().is_ok()
}

#[cfg(test)]
mod tests {
    use crate::resource::Service;

    #[test]
    fn a_hash_says_what_it_is_of() {
        for json in [
            r#"{"balancer":"hash","hash":{"on":"client_ip"}}"#,
            r#"{"balancer":"hash","hash":{"on":"header","name":"X-User","bounded_load":1.25}}"#,
            r#"{"balancer":"hash","hash":{"on":"cookie","name":"session"}}"#,
            r#"{"balancer":"hash","hash":{"on":"query","name":"user id"}}"#,
            r#"{"balancer":"least_requests"}"#,
        ] {
            Service::parse(json.as_bytes()).unwrap();
        }
        for (json, field) in [
            (r#"{"balancer":"hash"}"#, "hash"),
            (r#"{"hash":{"on":"path"}}"#, "hash"),
            (r#"{"balancer":"hash","hash":{"on":"header"}}"#, "hash.name"),
            (r#"{"balancer":"hash","hash":{"on":"header","name":"X User"}}"#, "hash.name"),
            (r#"{"balancer":"hash","hash":{"on":"cookie","name":"a=b"}}"#, "hash.name"),
            (r#"{"balancer":"hash","hash":{"on":"query","name":""}}"#, "hash.name"),
            (r#"{"balancer":"hash","hash":{"on":"path","name":"x"}}"#, "hash.name"),
            (r#"{"balancer":"hash","hash":{"on":"path","bounded_load":0.9}}"#, "hash.bounded_load"),
            (r#"{"slow_start":"0s"}"#, "slow_start"),
            (r#"{"slow_start":"2h"}"#, "slow_start"),
            (r#"{"limits":{"requests":0}}"#, "limits.requests"),
            (r#"{"limits":{"connections":0}}"#, "limits.connections"),
            (r#"{"limits":{"pending":5}}"#, "limits.pending"),
            (r#"{"limits":{"requests":1,"pending":1000000}}"#, "limits.pending"),
        ] {
            assert_eq!(Service::parse(json.as_bytes()).unwrap_err().path, field, "{json}");
        }
    }
}

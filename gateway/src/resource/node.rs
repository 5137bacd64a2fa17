//! A node of a service, written by the service itself or by an operator; and what an operator says
//! of a node without touching the node's own key, which belongs to the service's lease.

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::service::is_host_name;
use super::{Invalid, from_json, lenient};

/// Largest weight. The first gateway's panel offers 1 to 100.
const MAX_WEIGHT: u32 = 10_000;

/// A node as declared.
#[derive(Debug, Clone, PartialEq, Eq, ToSchema)]
pub struct Node {
    /// The service it belongs to.
    pub service_name: String,
    /// Where it listens.
    #[schema(value_type = String, example = "10.0.0.5:8080")]
    pub upstream: NodeAddress,
    /// Its share of the requests; 0 = none. Each address of a host name has the whole of it.
    #[schema(required = false, maximum = 10_000)]
    pub weight: u32,
    /// Whether it is on: `status` is 1, or absent.
    #[schema(rename = "status", value_type = u8, maximum = 1, default = 1, required = false)]
    pub enabled: bool,
}

/// Where a node listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeAddress {
    /// At an address.
    Ip(SocketAddr),
    /// At all addresses of a host name.
    Name {
        /// The name, in lower case. With a dot at its end it is complete, whatever the search list.
        host: String,
        /// The port.
        port: u16,
    },
}

impl fmt::Display for NodeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

#[derive(Deserialize)]
struct Stored {
    service_name: String,
    upstream: String,
    #[serde(default)]
    weight: Option<f64>,
    #[serde(default = "on", deserialize_with = "lenient::status")]
    status: bool,
}

/// A service that registers itself may leave the status out.
fn on() -> bool {
    true
}

impl Node {
    /// Reads a stored node.
    ///
    /// # Errors
    /// When it is not JSON or a field is not what it should be.
    pub fn parse(value: &[u8]) -> Result<Self, Invalid> {
        let stored: Stored = from_json(value)?;
        let service_name = stored.service_name.trim().to_owned();
        if service_name.is_empty() {
            return Err(Invalid::at("service_name", "must not be empty"));
        }
        if service_name.contains('/') || service_name.chars().any(char::is_control) {
            return Err(Invalid::at(
                "service_name",
                format!("\"{service_name}\" must not contain `/` or control characters"),
            ));
        }
        Ok(Self {
            upstream: address(&stored.upstream)?,
            weight: weight(stored.weight)?,
            enabled: stored.status,
            service_name,
        })
    }
}

fn address(text: &str) -> Result<NodeAddress, Invalid> {
    let unusable = || Invalid::at("upstream", format!("\"{text}\" is no address one can connect to"));
    if let Ok(address) = text.trim().parse::<SocketAddr>() {
        let usable = address.port() != 0 && !address.ip().to_canonical().is_unspecified();
        return usable.then_some(NodeAddress::Ip(address)).ok_or_else(unusable);
    }
    let name = text.trim().rsplit_once(':').and_then(|(host, port)| {
        let port: u16 = port.parse().ok()?;
        is_host_name(host.strip_suffix('.').unwrap_or(host)).then(|| (host.to_ascii_lowercase(), port))
    });
    match name {
        Some((_, 0)) => Err(unusable()),
        Some((host, port)) => Ok(NodeAddress::Name { host, port }),
        None => Err(Invalid::at(
            "upstream",
            format!(
                "\"{text}\" is no address; expected ip:port or host:port, such as 10.0.0.5:8080, [fd00::5]:8080 or api.internal:8080"
            ),
        )),
    }
}

fn weight(weight: Option<f64>) -> Result<u32, Invalid> {
    match weight {
        None => Ok(1),
        // The bounds make the cast exact.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        Some(w) if w.fract() == 0.0 && (0.0..=f64::from(MAX_WEIGHT)).contains(&w) => Ok(w as u32),
        Some(w) => Err(Invalid::at("weight", format!("{w} is not a whole number from 0 to {MAX_WEIGHT}"))),
    }
}

/// Whether an operator lets a node take requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// As the node itself says.
    #[default]
    Enabled,
    /// No new requests; those in flight finish.
    Drain,
    /// Off.
    Disabled,
}

/// What an operator says of a node.
#[derive(Debug, Clone, PartialEq, Eq, Default, ToSchema)]
pub struct NodeOverlay {
    /// A weight instead of the node's own.
    #[schema(maximum = 10_000)]
    pub weight: Option<u32>,
    /// Whether it takes requests.
    #[schema(required = false)]
    pub state: NodeState,
}

#[derive(Deserialize)]
struct StoredOverlay {
    #[serde(default)]
    weight: Option<f64>,
    #[serde(default)]
    state: NodeState,
}

impl NodeOverlay {
    /// Reads a stored overlay.
    ///
    /// # Errors
    /// When it is not JSON or a field is not what it should be.
    pub fn parse(value: &[u8]) -> Result<Self, Invalid> {
        let stored: StoredOverlay = from_json(value)?;
        Ok(Self { weight: stored.weight.map(|w| weight(Some(w))).transpose()?, state: stored.state })
    }

    /// The weight a node has under this overlay: 0 when it takes no requests.
    pub fn effective_weight(&self, node: &Node) -> u32 {
        if !node.enabled || self.state != NodeState::Enabled { 0 } else { self.weight.unwrap_or(node.weight) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_weight_is_1_and_an_absent_status_on() {
        let node = Node::parse(br#"{"service_name":" demo1 ","upstream":" 127.0.0.1:1024 "}"#).unwrap();
        assert_eq!(
            node,
            Node {
                service_name: "demo1".into(),
                upstream: NodeAddress::Ip("127.0.0.1:1024".parse().unwrap()),
                weight: 1,
                enabled: true
            }
        );
    }

    #[test]
    fn a_node_may_be_at_a_host_name() {
        let upstream = |text: &str| {
            let json = serde_json::json!({"service_name": "a", "upstream": text}).to_string();
            Node::parse(json.as_bytes()).unwrap().upstream
        };
        for (text, host) in
            [("orders:80", "orders"), (" API.Internal:80 ", "api.internal"), ("a_b.svc.local.:80", "a_b.svc.local.")]
        {
            assert_eq!(upstream(text), NodeAddress::Name { host: host.into(), port: 80 });
        }
    }

    #[test]
    fn other_than_status_1_is_off() {
        assert!(!Node::parse(br#"{"service_name":"a","upstream":"127.0.0.1:1","status":0}"#).unwrap().enabled);
    }

    #[test]
    fn errors_name_the_field() {
        for (json, field) in [
            (r#"{"service_name":"a","upstream":"nowhere"}"#, "upstream"),
            (r#"{"service_name":"a","upstream":"127.0.0.1:0"}"#, "upstream"),
            (r#"{"service_name":"a","upstream":"0.0.0.0:80"}"#, "upstream"),
            (r#"{"service_name":"a","upstream":"[::ffff:0.0.0.0]:80"}"#, "upstream"),
            (r#"{"service_name":"a","upstream":"api.internal"}"#, "upstream"),
            (r#"{"service_name":"a","upstream":"api.internal:0"}"#, "upstream"),
            (r#"{"service_name":"a","upstream":"api.internal:99999"}"#, "upstream"),
            (r#"{"service_name":"a","upstream":"api..internal:80"}"#, "upstream"),
            (r#"{"service_name":"a","upstream":"http://api.internal:80"}"#, "upstream"),
            (r#"{"service_name":"a","upstream":"10.0.0.300:80"}"#, "upstream"),
            (r#"{"service_name":"a","upstream":"127.1:80"}"#, "upstream"),
            (r#"{"service_name":"","upstream":"127.0.0.1:1"}"#, "service_name"),
            (r#"{"service_name":"a/b","upstream":"127.0.0.1:1"}"#, "service_name"),
            (r#"{"service_name":"a","upstream":"127.0.0.1:1","weight":-1}"#, "weight"),
            (r#"{"service_name":"a","upstream":"127.0.0.1:1","weight":1.5}"#, "weight"),
        ] {
            assert_eq!(Node::parse(json.as_bytes()).unwrap_err().path, field, "{json}");
        }
    }

    #[test]
    fn an_overlay_drains_without_touching_the_node() {
        let node = Node::parse(br#"{"service_name":"a","upstream":"[::1]:1","weight":5}"#).unwrap();
        let weight = |json: &str| NodeOverlay::parse(json.as_bytes()).unwrap().effective_weight(&node);
        assert_eq!((weight("{}"), weight(r#"{"weight":7}"#), weight(r#"{"state":"drain"}"#)), (5, 7, 0));
    }
}

//! A service: how its nodes are chosen, reached, watched and spared. All of it is optional; a
//! service that no one declares has the defaults of the configuration file.

use std::time::Duration;

use serde::Deserialize;
use utoipa::ToSchema;

use super::{Invalid, from_json};

mod balancer;
mod connection;
mod health;
mod limits;
mod retry;
mod timeouts;

pub use balancer::{Balancer, HashOn, HashPolicy};
pub(super) use connection::is_host_name;
pub use connection::{NodeProtocol, NodeTls, ProxyVersion};
pub use health::{ActiveCheck, CheckKind, Health, PassiveCheck};
pub use limits::Limits;
pub use retry::{Retry, RetryOn};
pub use timeouts::Timeouts;

const MAX_SLOW_START: Duration = Duration::from_secs(3600);

/// A service as declared.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, ToSchema)]
#[serde(default)]
pub struct Service {
    /// How a node is chosen.
    pub balancer: Balancer,
    /// What requests are told apart by, for the `hash` balancer.
    pub hash: Option<HashPolicy>,
    /// How long a new or recovered node takes to reach its whole weight.
    #[serde(with = "humantime_serde")]
    #[schema(value_type = Option<String>, example = "5s")]
    pub slow_start: Option<Duration>,
    /// Timeouts of its own.
    pub timeouts: Timeouts,
    /// Most nodes tried for one request, the first included.
    pub max_tries: Option<u32>,
    /// What is tried again.
    #[schema(default = json!({}))]
    pub retry: Retry,
    /// The most a node is given at a time.
    pub limits: Limits,
    /// How nodes are watched.
    #[schema(default = json!({}))]
    pub health: Health,
    /// What its nodes speak.
    pub protocol: NodeProtocol,
    /// TLS towards its nodes; none when absent.
    #[schema(default = json!(null))]
    pub tls: Option<NodeTls>,
    /// The PROXY protocol's header its nodes expect; none when absent.
    pub proxy_protocol: Option<ProxyVersion>,
}

impl Service {
    /// Reads a stored service.
    ///
    /// # Errors
    /// When it is not JSON or a field is not what it should be.
    pub fn parse(value: &[u8]) -> Result<Self, Invalid> {
        let service: Self = from_json(value)?;
        service.timeouts.validate()?;
        service.retry.validate("retry")?;
        service.limits.validate()?;
        service.health.validate()?;
        balancer::validate(service.balancer, service.hash.as_ref())?;
        if let Some(tls) = &service.tls {
            tls.validate()?;
        }
        if service.slow_start.is_some_and(|time| time.is_zero() || time > MAX_SLOW_START) {
            return Err(Invalid::at("slow_start", "must be greater than 0 and at most 1h, such as 30s"));
        }
        if service.max_tries.is_some_and(|n| n == 0 || n > 10) {
            return Err(Invalid::at("max_tries", "must be from 1 to 10"));
        }
        Ok(service)
    }
}

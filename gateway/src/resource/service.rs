//! A service: how requests are spread over its nodes. All of it is optional; a service that no one
//! declares has the defaults of the configuration file.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Invalid, from_json};

/// Timeouts that override the configuration file's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// Time to connect to a node.
    #[serde(with = "humantime_serde", skip_serializing_if = "Option::is_none")]
    pub connect: Option<Duration>,
    /// Longest silence while a response is read.
    #[serde(with = "humantime_serde", skip_serializing_if = "Option::is_none")]
    pub read: Option<Duration>,
    /// Longest wait for a node to take request bytes.
    #[serde(with = "humantime_serde", skip_serializing_if = "Option::is_none")]
    pub send: Option<Duration>,
}

impl Timeouts {
    /// These, and where they say nothing, those.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self { connect: self.connect.or(other.connect), read: self.read.or(other.read), send: self.send.or(other.send) }
    }

    pub(super) fn validate(&self) -> Result<(), Invalid> {
        for (field, value) in [("connect", self.connect), ("read", self.read), ("send", self.send)] {
            if value == Some(Duration::ZERO) {
                return Err(Invalid::at(format!("timeouts.{field}"), "must be greater than 0, such as 5s"));
            }
        }
        Ok(())
    }
}

/// How a node is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Balancer {
    /// In turn, by weight, evenly interleaved.
    #[default]
    RoundRobin,
}

/// A service as declared.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct Service {
    /// How a node is chosen.
    pub balancer: Balancer,
    /// Timeouts of its own.
    pub timeouts: Timeouts,
    /// Most nodes tried for one request, the first included.
    pub max_tries: Option<u32>,
}

impl Service {
    /// Reads a stored service.
    ///
    /// # Errors
    /// When it is not JSON or a field is not what it should be.
    pub fn parse(value: &[u8]) -> Result<Self, Invalid> {
        let service: Self = from_json(value)?;
        service.timeouts.validate()?;
        if service.max_tries.is_some_and(|n| n == 0 || n > 10) {
            return Err(Invalid::at("max_tries", "must be from 1 to 10"));
        }
        Ok(service)
    }
}

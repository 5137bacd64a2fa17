//! Timeouts towards nodes, of a service or of a route.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::resource::Invalid;

/// Timeouts that override the configuration file's; a route's override its service's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// Time to connect to a node, TLS included.
    #[serde(with = "humantime_serde", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "5s")]
    pub connect: Option<Duration>,
    /// Longest silence while a response is read.
    #[serde(with = "humantime_serde", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "5s")]
    pub read: Option<Duration>,
    /// Longest wait for a node to take request bytes.
    #[serde(with = "humantime_serde", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "5s")]
    pub send: Option<Duration>,
    /// Longest wait for the header of a response, from when the request was sent. When it is
    /// shorter than `read`, each request to an HTTP/1.1 node makes a connection of its own.
    #[serde(with = "humantime_serde", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "5s")]
    pub first_byte: Option<Duration>,
    /// Time for the whole exchange, all tries and both bodies included.
    #[serde(with = "humantime_serde", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "5s")]
    pub total: Option<Duration>,
}

impl Timeouts {
    /// These, and where they say nothing, those.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            connect: self.connect.or(other.connect),
            read: self.read.or(other.read),
            send: self.send.or(other.send),
            first_byte: self.first_byte.or(other.first_byte),
            total: self.total.or(other.total),
        }
    }

    pub(in crate::resource) fn validate(&self) -> Result<(), Invalid> {
        for (field, value) in [
            ("connect", self.connect),
            ("read", self.read),
            ("send", self.send),
            ("first_byte", self.first_byte),
            ("total", self.total),
        ] {
            if value == Some(Duration::ZERO) {
                return Err(Invalid::at(format!("timeouts.{field}"), "must be greater than 0, such as 5s"));
            }
        }
        Ok(())
    }
}

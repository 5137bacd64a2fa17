//! What is told to others than the logs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What is told to others than the logs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryConfig {
    /// Traces by OpenTelemetry.
    pub tracing: TracingConfig,
}

/// Traces, sent to a collector by OTLP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TracingConfig {
    /// The collector, such as `http://127.0.0.1:4318`; `null` = none, and no traces.
    pub endpoint: Option<String>,
    /// What it speaks.
    pub protocol: OtlpProtocol,
    /// Share of the traces that begin here and are recorded, from 0 to 1.
    pub sample: f64,
    /// The gateway's name in traces.
    pub service_name: String,
    /// Sent with each message, such as a key for the collector.
    #[serde(skip_serializing)]
    pub headers: BTreeMap<String, String>,
    /// Longest time for one message.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// PEM file of the authorities that may sign the collector's certificate, instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Most requests waiting to be exported; more are dropped and counted.
    pub queue: usize,
}

impl Default for TracingConfig {
    fn default() -> Self {
        Self {
            endpoint: None,
            protocol: OtlpProtocol::Http,
            sample: 0.01,
            service_name: "ws-cloud-gateway".into(),
            headers: BTreeMap::new(),
            timeout: Duration::from_secs(5),
            ca_file: None,
            queue: 4096,
        }
    }
}

/// What a collector speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub enum OtlpProtocol {
    /// Protobuf over HTTP/1.1.
    #[default]
    #[serde(rename = "http/protobuf")]
    Http,
    /// gRPC.
    #[serde(rename = "grpc")]
    Grpc,
}

//! How nodes are watched: by probes, and by what requests show.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::resource::Invalid;

/// How the nodes of a service are watched.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Health {
    /// Probes instead of those of the configuration file.
    #[schema(default = json!(null))]
    pub active: Option<ActiveCheck>,
    /// What requests show.
    #[schema(default = json!({}))]
    pub passive: PassiveCheck,
}

/// How a node is probed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum CheckKind {
    /// A connection is made and closed.
    #[default]
    Tcp,
    /// A GET is answered with an expected status.
    Http,
    /// `grpc.health.v1.Health/Check` says SERVING.
    Grpc,
}

/// Probes of a service's nodes. What is absent is as in the configuration file.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ActiveCheck {
    /// How a node is probed.
    #[serde(rename = "type")]
    pub kind: Option<CheckKind>,
    /// Whether nodes are probed at all; absent = yes.
    pub enabled: Option<bool>,
    /// A port other than the node's own.
    pub port: Option<u16>,
    /// The path of an http probe, `/` when absent; the service asked for by a grpc probe.
    pub path: Option<String>,
    /// The `Host` of an http probe.
    pub host: Option<String>,
    /// The statuses that are a success; 200 to 399 when empty.
    pub statuses: Vec<u16>,
    /// Time for one probe.
    #[serde(with = "humantime_serde")]
    #[schema(value_type = Option<String>, example = "5s")]
    pub timeout: Option<Duration>,
    /// Between probes of a healthy node.
    #[serde(with = "humantime_serde")]
    #[schema(value_type = Option<String>, example = "5s")]
    pub interval: Option<Duration>,
    /// Between probes of an unhealthy node.
    #[serde(with = "humantime_serde")]
    #[schema(value_type = Option<String>, example = "5s")]
    pub unhealthy_interval: Option<Duration>,
    /// The share of the interval that is left to chance, 0 to 1.
    pub jitter: Option<f64>,
    /// Successes that make an unhealthy node healthy.
    pub successes: Option<u32>,
    /// Failures that make a healthy node unhealthy.
    pub failures: Option<u32>,
}

/// When a node is left out because of what requests show. Off where absent; a refused connection
/// always counts.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PassiveCheck {
    /// Errors in a row: no connection, broken, too slow, or a status of 500 and above.
    pub consecutive_errors: Option<u32>,
    /// The share of requests that fail within the window, 0 to 1.
    pub error_ratio: Option<f64>,
    /// How many times slower than the other nodes' median it answers.
    pub latency_factor: Option<f64>,
    /// The window of ratio and latency; 10 s when absent.
    #[serde(with = "humantime_serde")]
    #[schema(value_type = Option<String>, example = "5s")]
    pub window: Option<Duration>,
    /// Fewest requests in the window for it to say anything; 20 when absent.
    pub min_requests: Option<u32>,
    /// How long a node is left out the first time; doubled each time after, up to ten times.
    #[serde(with = "humantime_serde")]
    #[schema(value_type = Option<String>, example = "5s")]
    pub eject_time: Option<Duration>,
    /// Largest share of the nodes that may be left out at a time, 0 to 1; 0.5 when absent.
    pub max_ejected: Option<f64>,
}

impl Health {
    pub(super) fn validate(&self) -> Result<(), Invalid> {
        if let Some(active) = &self.active {
            active.validate().map_err(|(field, why)| Invalid::at(format!("health.active.{field}"), why))?;
        }
        self.passive.validate().map_err(|(field, why)| Invalid::at(format!("health.passive.{field}"), why))
    }
}

/// The field and what is wrong with it.
type Problem = (&'static str, String);

impl ActiveCheck {
    fn validate(&self) -> Result<(), Problem> {
        for (field, time) in
            [("timeout", self.timeout), ("interval", self.interval), ("unhealthy_interval", self.unhealthy_interval)]
        {
            check_time(field, time)?;
        }
        check_share("jitter", self.jitter)?;
        check_count("successes", self.successes)?;
        check_count("failures", self.failures)?;
        if self.port == Some(0) {
            return Err(("port", "must be from 1 to 65535".into()));
        }
        if let Some(path) = &self.path {
            check_path(self.kind, path).map_err(|why| ("path", why))?;
        }
        if let Some(host) = &self.host {
            check_host(host).map_err(|why| ("host", why))?;
        }
        match self.statuses.iter().find(|status| !(200..=599).contains(*status)) {
            Some(status) => Err(("statuses", format!("{status} is not from 200 to 599"))),
            None => Ok(()),
        }
    }
}

impl PassiveCheck {
    fn validate(&self) -> Result<(), Problem> {
        check_count("consecutive_errors", self.consecutive_errors)?;
        check_count("min_requests", self.min_requests)?;
        check_share("error_ratio", self.error_ratio)?;
        check_share("max_ejected", self.max_ejected)?;
        if self.error_ratio == Some(0.0) {
            return Err(("error_ratio", "must be greater than 0, such as 0.5".into()));
        }
        if self.latency_factor.is_some_and(|factor| !(1.0..=1000.0).contains(&factor) || factor == 1.0) {
            return Err(("latency_factor", "must be greater than 1, such as 3".into()));
        }
        check_time("window", self.window)?;
        check_time("eject_time", self.eject_time)
    }
}

/// Longest of any time here.
const DAY: Duration = Duration::from_secs(86_400);
/// Shortest: below it probes are an attack.
const SHORTEST: Duration = Duration::from_millis(50);

fn check_time(field: &'static str, time: Option<Duration>) -> Result<(), Problem> {
    match time {
        Some(time) if time < SHORTEST || time > DAY => Err((field, "must be from 50ms to 1day, such as 5s".into())),
        _ => Ok(()),
    }
}

fn check_share(field: &'static str, share: Option<f64>) -> Result<(), Problem> {
    match share {
        Some(share) if !(0.0..=1.0).contains(&share) => Err((field, "must be from 0 to 1, such as 0.5".into())),
        _ => Ok(()),
    }
}

fn check_count(field: &'static str, count: Option<u32>) -> Result<(), Problem> {
    if count == Some(0) { Err((field, "must be at least 1".into())) } else { Ok(()) }
}

fn check_path(kind: Option<CheckKind>, path: &str) -> Result<(), String> {
    if path.bytes().any(|b| !b.is_ascii_graphic()) {
        return Err(format!("\"{path}\" has a character that must be written as %XX"));
    }
    // Of a check whose kind is the configuration file's, either may be meant.
    match kind {
        Some(CheckKind::Http) if !path.starts_with('/') => Err(format!("\"{path}\" must begin with `/`")),
        _ => Ok(()),
    }
}

fn check_host(host: &str) -> Result<(), String> {
    let good = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
    if host.is_empty() || !host.bytes().all(good) {
        return Err(format!("\"{host}\" is no host name, such as app.example.com"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: serde_json::Value) -> String {
        let health: Health = serde_json::from_value(json).unwrap();
        health.validate().map_or_else(|e| e.to_string(), |()| "fine".into())
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_field() {
        use serde_json::json;
        for (health, says) in [
            (json!({"active": {"type": "http", "path": "health"}}), "health.active.path"),
            (json!({"active": {"type": "http", "path": "/a b"}}), "health.active.path"),
            (json!({"active": {"host": "a\r\nX: y"}}), "health.active.host"),
            (json!({"active": {"port": 0}}), "health.active.port"),
            (json!({"active": {"statuses": [99]}}), "health.active.statuses"),
            (json!({"active": {"timeout": "0s"}}), "health.active.timeout"),
            (json!({"active": {"interval": "1ms"}}), "health.active.interval"),
            (json!({"active": {"jitter": 1.5}}), "health.active.jitter"),
            (json!({"active": {"failures": 0}}), "health.active.failures"),
            (json!({"passive": {"consecutive_errors": 0}}), "health.passive.consecutive_errors"),
            (json!({"passive": {"error_ratio": 1.1}}), "health.passive.error_ratio"),
            (json!({"passive": {"error_ratio": 0.0}}), "health.passive.error_ratio"),
            (json!({"passive": {"latency_factor": 1.0}}), "health.passive.latency_factor"),
            (json!({"passive": {"max_ejected": -0.1}}), "health.passive.max_ejected"),
            (json!({"passive": {"eject_time": "0s"}}), "health.passive.eject_time"),
        ] {
            let said = check(health.clone());
            assert!(said.contains(says), "{health}: {said}");
        }
    }

    #[test]
    fn what_makes_sense_is_taken() {
        use serde_json::json;
        for health in [
            json!({}),
            json!({"active": {"enabled": false}}),
            json!({"active": {"type": "grpc", "path": "pkg.Service", "port": 9000, "interval": "2s"}}),
            json!({"active": {"type": "http", "path": "/healthz?full=1", "host": "[::1]:80", "statuses": [200, 503]}}),
            json!({"passive": {"consecutive_errors": 5, "error_ratio": 0.5, "latency_factor": 3, "max_ejected": 1}}),
        ] {
            assert_eq!(check(health.clone()), "fine", "{health}");
        }
    }
}

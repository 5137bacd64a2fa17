//! From what a service says of its health, and the configuration file's defaults, to its check.

use std::sync::Arc;
use std::time::Duration;

use crate::resource::{ActiveCheck, CheckKind, PassiveCheck};
use crate::upstream::Passive;
use crate::upstream::health::{Check, GrpcProbe, HttpProbe, Probe};

/// The check of services that say nothing, and the defaults of those that do.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CheckDefaults {
    /// Whether services that say nothing are checked.
    pub on: bool,
    /// How.
    pub check: Check,
}

impl CheckDefaults {
    /// The check of a service, if it is to have one.
    pub(super) fn check(&self, declared: Option<&ActiveCheck>) -> Option<Arc<Check>> {
        let Some(declared) = declared else {
            return self.on.then(|| Arc::new(self.check.clone()));
        };
        if declared.enabled == Some(false) {
            return None;
        }
        let defaults = &self.check;
        let kind = declared.kind.unwrap_or(match defaults.probe {
            Probe::Tcp => CheckKind::Tcp,
            Probe::Http(_) => CheckKind::Http,
            Probe::Grpc(_) => CheckKind::Grpc,
        });
        Some(Arc::new(Check {
            probe: probe(kind, declared, &defaults.probe),
            port: declared.port.or(defaults.port),
            timeout: declared.timeout.unwrap_or(defaults.timeout),
            interval: declared.interval.unwrap_or(defaults.interval),
            unhealthy_interval: declared.unhealthy_interval.unwrap_or(defaults.unhealthy_interval),
            jitter: declared.jitter.unwrap_or(defaults.jitter),
            successes: declared.successes.unwrap_or(defaults.successes),
            failures: declared.failures.unwrap_or(defaults.failures),
            single: true,
        }))
    }
}

/// When nodes are left out, if the service says anything of it.
pub(super) fn passive(declared: &PassiveCheck) -> Option<Passive> {
    let PassiveCheck { consecutive_errors, error_ratio, latency_factor, .. } = *declared;
    let on = consecutive_errors.is_some() || error_ratio.is_some() || latency_factor.is_some();
    on.then(|| Passive {
        consecutive_errors,
        error_ratio,
        latency_factor,
        window: declared.window.unwrap_or(Duration::from_secs(10)),
        min_requests: declared.min_requests.unwrap_or(20),
        max_ejected: declared.max_ejected.unwrap_or(0.5),
    })
}

/// What the file says of path, host and statuses holds for probes of the same kind.
fn probe(kind: CheckKind, declared: &ActiveCheck, defaults: &Probe) -> Probe {
    match kind {
        CheckKind::Tcp => Probe::Tcp,
        CheckKind::Http => {
            let mut probe = if let Probe::Http(probe) = defaults { probe.clone() } else { HttpProbe::default() };
            if let Some(path) = &declared.path {
                probe.path = if path.starts_with('/') { path.clone() } else { format!("/{path}") };
            }
            probe.host = declared.host.clone().or(probe.host);
            if !declared.statuses.is_empty() {
                probe.statuses.clone_from(&declared.statuses);
            }
            Probe::Http(probe)
        }
        CheckKind::Grpc => {
            let mut probe = if let Probe::Grpc(probe) = defaults { probe.clone() } else { GrpcProbe::default() };
            if let Some(service) = &declared.path {
                probe.service = service.trim_start_matches('/').to_owned();
            }
            probe.host = declared.host.clone().or(probe.host);
            Probe::Grpc(probe)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(json: serde_json::Value) -> ActiveCheck {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_service_that_says_nothing_is_checked_as_the_file_says() {
        let defaults = CheckDefaults::default();
        assert_eq!(defaults.check(None), None);
        let check = CheckDefaults { on: true, ..defaults }.check(None).unwrap();
        assert_eq!(*check, Check::default());
        assert!(!check.single, "as the first gateway: one node has no alternative");
    }

    #[test]
    fn a_service_may_turn_checks_off() {
        let defaults = CheckDefaults { on: true, ..CheckDefaults::default() };
        assert_eq!(defaults.check(Some(&declared(serde_json::json!({"enabled": false})))), None);
    }

    #[test]
    fn what_a_service_does_not_say_is_as_in_the_file() {
        let file = HttpProbe { path: "/up".into(), host: Some("h".into()), statuses: vec![204] };
        let check = Check { probe: Probe::Http(file.clone()), timeout: Duration::from_secs(9), ..Check::default() };
        let defaults = CheckDefaults { on: false, check };
        let own = defaults.check(Some(&declared(serde_json::json!({"interval": "7s"})))).unwrap();
        assert_eq!((&own.probe, own.timeout), (&Probe::Http(file), Duration::from_secs(9)));
        assert_eq!((own.interval, own.single), (Duration::from_secs(7), true));
        let own = defaults.check(Some(&declared(serde_json::json!({"type": "grpc", "path": "a.B"})))).unwrap();
        assert_eq!(own.probe, Probe::Grpc(GrpcProbe { service: "a.B".into(), host: None }));
    }
}

//! `GET /requests`: requests as they are answered, those that are asked for.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::sse;
use http::Method;
use ipnet::IpNet;
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::super::Admin;
use super::super::problem::Problem;
use super::events::written;
use super::{Answer, parameters, stream, too_many};
use crate::telemetry::{Filter, StatusFilter, TapListener};

/// Most requests a second that may be asked for.
pub(super) const MOST_PER_SECOND: u32 = 500;
/// How often it is told what was dropped.
const ACCOUNT: Duration = Duration::from_secs(1);

/// What is asked for.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Wanted {
    route: Option<String>,
    service: Option<String>,
    status: Option<String>,
    min_latency_ms: Option<u64>,
    client: Option<String>,
    trace_id: Option<String>,
    method: Option<String>,
    path: Option<String>,
    sample: Option<f64>,
    rate: Option<u32>,
}

impl Wanted {
    fn filter(self) -> Result<Filter, Problem> {
        let default = Filter::default();
        let status = self.status.map(|text| {
            let status = StatusFilter::parse(&text);
            status.ok_or_else(|| Problem::at("status", format!("\"{text}\" is neither like 5xx nor like 404")))
        });
        let client = self.client.map(|text| {
            let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
            network.map_err(|_| Problem::at("client", format!("\"{text}\" is neither an address nor a network")))
        });
        let method = self.method.map(|text| {
            let method = Method::from_bytes(text.to_ascii_uppercase().as_bytes());
            method.map_err(|_| Problem::at("method", format!("\"{text}\" is no method")))
        });
        let sample = self.sample.unwrap_or(default.sample);
        if !(sample > 0.0 && sample <= 1.0) {
            return Err(Problem::at("sample", "more than 0, and 1 at most"));
        }
        let per_second = self.rate.unwrap_or(default.per_second);
        if !(1..=MOST_PER_SECOND).contains(&per_second) {
            return Err(Problem::at("rate", format!("1 to {MOST_PER_SECOND} requests a second")));
        }
        Ok(Filter {
            route: self.route,
            service: self.service,
            status: status.transpose()?,
            min_latency: self.min_latency_ms.map_or(Duration::ZERO, Duration::from_millis),
            client: client.transpose()?,
            trace_id: self.trace_id,
            method: method.transpose()?.map(|method| method.to_string()),
            path: self.path,
            sample,
            per_second,
        })
    }
}

pub(super) async fn watch(State(admin): State<Arc<Admin>>, request: Request) -> Answer {
    let (call, _) = request.into_parts();
    let filter = parameters::<Wanted>(&call.uri)?.filter()?;
    let requests = admin.deps.live.tap.watch(filter).ok_or_else(|| too_many("watch requests"))?;
    let mut account = interval(ACCOUNT);
    account.set_missed_tick_behavior(MissedTickBehavior::Delay);
    Ok(stream::respond(&admin, &call, Requests { requests, account }))
}

struct Requests {
    requests: TapListener,
    account: Interval,
}

impl stream::Source for Requests {
    async fn next(&mut self) -> sse::Event {
        loop {
            tokio::select! {
                biased;
                _ = self.account.tick() => {
                    let dropped = self.requests.dropped();
                    if dropped > 0 {
                        return written("dropped", &json!({"count": dropped}));
                    }
                }
                request = self.requests.next() => return written("request", &*request),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(query: &str) -> Result<Filter, Problem> {
        parameters::<Wanted>(&format!("/requests?{query}").parse().unwrap())?.filter()
    }

    #[test]
    fn what_is_asked_for_is_understood() {
        assert_eq!(asked("").unwrap(), Filter::default());
        let filter = asked(
            "route=r&service=s&status=5xx&min_latency_ms=20&client=10.0.0.0/8&trace_id=t&method=get&path=/a%20b&sample=0.5&rate=9",
        );
        let expected = Filter {
            route: Some("r".into()),
            service: Some("s".into()),
            status: Some(StatusFilter::Class(5)),
            min_latency: Duration::from_millis(20),
            client: Some("10.0.0.0/8".parse().unwrap()),
            trace_id: Some("t".into()),
            method: Some("GET".into()),
            path: Some("/a b".into()),
            sample: 0.5,
            per_second: 9,
        };
        assert_eq!(filter.unwrap(), expected);
        assert_eq!(asked("client=::1").unwrap().client, Some("::1/128".parse().unwrap()));
    }

    #[test]
    fn what_is_not_is_refused_by_its_name() {
        for (query, field) in [
            ("status=6xx", "status"),
            ("client=a", "client"),
            ("method=a%20b", "method"),
            ("sample=0", "sample"),
            ("sample=1.1", "sample"),
            ("sample=NaN", "sample"),
            ("rate=0", "rate"),
            ("rate=501", "rate"),
            ("rate=x", "rate"),
            ("servce=a", "servce"),
        ] {
            let problem = format!("{:?}", asked(query).unwrap_err());
            assert!(problem.contains(field) || problem.contains("invalid digit"), "{query}: {problem}");
        }
    }
}

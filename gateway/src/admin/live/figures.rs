//! `GET /figures`: the last hour by route, service or node, of this gateway or of all of them together.
//!
//! Gateways are asked with `scope=self&raw=true`, which answers with histograms: percentiles can only be
//! had of all times together.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::{Request, State};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::super::problem::Problem;
use super::super::{Admin, answer};
use super::{Answer, FIGURES, LiveDeps, aside, parameters};
use crate::telemetry::{Figures, Point, STEP, Series};

/// Seconds that are kept.
const HOUR: u64 = 3600;
/// The finest step of many series at once, in seconds.
const MINUTE: u64 = 60;
/// Series that are shown unless it is said how many, and at most.
pub(super) const SHOWN: usize = 50;
pub(super) const MOST_SHOWN: usize = 200;
/// Series that are taken of another gateway.
const MOST_TAKEN: usize = 1000;
/// The labels of the classes.
const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "other"];

/// What the figures are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// All requests together.
    #[default]
    Total,
    /// Each route.
    Route,
    /// Each service.
    Service,
    /// Each node.
    Node,
}

impl By {
    fn name(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::Route => "route",
            Self::Service => "service",
            Self::Node => "node",
        }
    }

    /// The series that one of routes or nodes belongs to.
    fn names(self, names: [String; 2]) -> [String; 2] {
        let [_, service] = &names;
        match self {
            Self::Total => ["total".to_owned(), String::new()],
            Self::Service => [service.clone(), service.clone()],
            Self::Route | Self::Node => names,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Scope {
    #[default]
    All,
    #[serde(rename = "self")]
    Own,
}

/// What is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Wanted {
    by: By,
    id: Option<String>,
    since: Option<u64>,
    step: Option<u64>,
    scope: Scope,
    limit: Option<usize>,
    raw: bool,
}

/// The same, with nothing left open.
#[derive(Debug, Clone, PartialEq)]
struct Span {
    by: By,
    id: Option<String>,
    since: u64,
    step: u64,
}

impl Wanted {
    fn span(&self, now: u64) -> Result<Span, Problem> {
        // Every series at the finest step would be a lot.
        let finest = if self.id.is_some() || self.by == By::Total { STEP } else { MINUTE };
        let step = self.step.unwrap_or(finest);
        if step < finest || !step.is_multiple_of(STEP) || step > HOUR {
            return Err(Problem::at("step", format!("a multiple of {STEP} seconds, {finest} to {HOUR}")));
        }
        if self.limit.is_some_and(|limit| !(1..=MOST_SHOWN).contains(&limit)) {
            return Err(Problem::at("limit", format!("1 to {MOST_SHOWN} series")));
        }
        let oldest = now.saturating_sub(HOUR);
        let since = self.since.unwrap_or(oldest).max(oldest);
        Ok(Span { by: self.by, id: self.id.clone(), since: since - since % step, step })
    }
}

/// The body of an answer to another gateway.
#[derive(Serialize, Deserialize)]
struct Raw {
    series: Vec<Series>,
}

pub(super) async fn show(State(admin): State<Arc<Admin>>, request: Request) -> Answer {
    let wanted: Wanted = parameters(request.uri())?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let span = wanted.span(now)?;
    let live = &admin.deps.live;
    let mut merged = Merged::default();
    let (of, own_span) = (live.clone(), span.clone());
    merged.add(aside(move || own(&of, &own_span)).await?);
    if wanted.scope == Scope::Own && wanted.raw {
        return Ok(answer::json(&Raw { series: merged.into_series() }));
    }
    let own_report = live.cluster.own_report();
    let mut gateways = vec![json!({"id": live.cluster.id(), "hostname": own_report.hostname, "missing": null})];
    if wanted.scope == Scope::All {
        for answer in live.cluster.ask_others(&target(&span)).await {
            let read = answer.body.and_then(|body| read(&body, &span));
            let missing = read.map(|series| merged.add(series)).err();
            gateways.push(json!({"id": answer.id, "hostname": answer.hostname, "missing": missing}));
        }
    }
    let series = merged.into_series();
    Ok(answer::json(&json!({
        "by": span.by,
        "step": span.step,
        "since": span.since,
        "until": now,
        "gateways": gateways,
        "series": shown(series, wanted.limit.unwrap_or(SHOWN)),
    })))
}

/// What other gateways are asked for.
fn target(span: &Span) -> String {
    let Span { by, since, step, .. } = span;
    let mut target = format!("{FIGURES}?by={}&since={since}&step={step}&scope=self&raw=true", by.name());
    if let Some(id) = &span.id {
        target.push_str("&id=");
        target.extend(percent_encoding::utf8_percent_encode(id, percent_encoding::NON_ALPHANUMERIC));
    }
    target
}

/// What another gateway answered: not more than it was asked for.
fn read(body: &[u8], span: &Span) -> Result<Vec<Series>, String> {
    let raw: Raw = serde_json::from_slice(body).map_err(|e| format!("its answer is not understood: {e}"))?;
    if raw.series.len() > MOST_TAKEN {
        return Err(format!("it answered with more than {MOST_TAKEN} series"));
    }
    let in_time = |point: &Point| point.at >= span.since && point.at < span.since + 2 * HOUR;
    let mut series = raw.series;
    series.iter_mut().for_each(|one| one.points.retain(in_time));
    Ok(at_step(series, span))
}

/// This gateway's.
fn own(live: &LiveDeps, span: &Span) -> Vec<Series> {
    at_step((live.figures)(span.by == By::Node, span.since), span)
}

/// As they were asked for: by what, of whom, and at which steps.
fn at_step(series: Vec<Series>, span: &Span) -> Vec<Series> {
    let mut merged = Merged::default();
    for mut one in series {
        one.names = span.by.names(one.names);
        if span.id.as_ref().is_some_and(|id| *id != one.names[0]) {
            continue;
        }
        one.points.iter_mut().for_each(|point| point.at -= point.at % span.step);
        merged.add(vec![one]);
    }
    merged.into_series()
}

/// Series by their names, each point once.
#[derive(Default)]
struct Merged(HashMap<[String; 2], BTreeMap<u64, Figures>>);

impl Merged {
    fn add(&mut self, series: Vec<Series>) {
        for one in series {
            let points = self.0.entry(one.names).or_default();
            one.points.iter().for_each(|point| points.entry(point.at).or_default().add(&point.figures));
        }
    }

    fn into_series(self) -> Vec<Series> {
        let points = |points: BTreeMap<u64, Figures>| points.into_iter().map(|(at, figures)| Point { at, figures });
        self.0.into_iter().map(|(names, of)| Series { names, points: points(of).collect() }).collect()
    }
}

/// Those with the most requests first.
fn shown(series: Vec<Series>, most: usize) -> Vec<Value> {
    let mut summed: Vec<(Figures, Series)> = series
        .into_iter()
        .map(|one| {
            let mut sum = Figures::default();
            one.points.iter().for_each(|point| sum.add(&point.figures));
            (sum, one)
        })
        .collect();
    summed.sort_by(|(a, one), (b, other)| b.requests.cmp(&a.requests).then_with(|| one.names.cmp(&other.names)));
    summed.iter().take(most).map(|(sum, one)| shown_one(sum, one)).collect()
}

fn shown_one(sum: &Figures, series: &Series) -> Value {
    let [id, service] = &series.names;
    let points: Vec<Value> = series
        .points
        .iter()
        .map(|point| {
            let mut shown = shown_figures(&point.figures);
            shown["at"] = point.at.into();
            shown
        })
        .collect();
    let service = (!service.is_empty()).then_some(service);
    json!({"id": id, "service": service, "total": shown_figures(sum), "points": points})
}

fn shown_figures(figures: &Figures) -> Value {
    let [p50, p95, p99] = figures.times.percentiles();
    let mut shown = json!({
        "requests": figures.requests,
        "errors": figures.errors,
        "bytes": figures.bytes,
        "p50_ms": p50,
        "p95_ms": p95,
        "p99_ms": p99,
    });
    let classes = CLASSES.iter().zip(figures.classes).filter(|(_, count)| *count > 0);
    let classes: serde_json::Map<String, Value> = classes.map(|(name, n)| ((*name).to_owned(), n.into())).collect();
    if !classes.is_empty() {
        shown["classes"] = classes.into();
    }
    shown
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::telemetry::AtomicHistogram;

    const NOW: u64 = 1_700_000_004;

    fn series(name: &str, service: &str, points: &[(u64, u64, u64)]) -> Series {
        let point = |(at, requests, millis): &(u64, u64, u64)| {
            let times = AtomicHistogram::default();
            (0..*requests).for_each(|_| times.observe(Duration::from_millis(*millis)));
            let figures = Figures { requests: *requests, times: times.read(), bytes: 1, ..Figures::default() };
            Point { at: *at, figures }
        };
        Series { names: [name.into(), service.into()], points: points.iter().map(point).collect() }
    }

    fn span(query: &str) -> Result<Span, Problem> {
        parameters::<Wanted>(&format!("/figures?{query}").parse().unwrap())?.span(NOW)
    }

    #[test]
    fn spans_lie_on_their_steps() {
        let hour = span("").unwrap();
        assert_eq!((hour.by, hour.since, hour.step), (By::Total, NOW - 3604, 10));
        let routes = span("by=route&since=1").unwrap();
        assert_eq!((routes.since % 60, routes.step), (0, 60), "no more than an hour, and all at a coarser step");
        assert!(NOW - routes.since >= 3600);
        for wrong in [
            "step=0",
            "step=15",
            "step=3610",
            "by=route&step=10",
            "limit=0",
            "limit=201",
            "by=host",
            "scope=x",
            "stepp=10",
        ] {
            assert!(span(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn routes_become_services_and_all_of_them_the_total() {
        let at = NOW - NOW % 60;
        let of_two = || vec![series("a", "s", &[(at, 3, 1), (at + 10, 2, 1)]), series("b", "s", &[(at + 10, 5, 900)])];
        for (query, names, points) in [
            ("by=service&step=10&id=s", "s", vec![(at, 3), (at + 10, 7)]),
            ("by=total&step=60", "total", vec![(at, 10)]),
            ("by=route&step=60&id=a", "a", vec![(at, 5)]),
        ] {
            let found = at_step(of_two(), &span(query).unwrap());
            assert_eq!(found.len(), 1, "{query}");
            let counts: Vec<_> = found[0].points.iter().map(|p| (p.at, p.figures.requests)).collect();
            assert_eq!((found[0].names[0].as_str(), counts), (names, points), "{query}");
        }
        let total = shown(at_step(of_two(), &span("step=60").unwrap()), 1);
        assert!(total[0]["total"]["p50_ms"].as_f64().unwrap() <= 500.0);
        assert!(total[0]["total"]["p95_ms"].as_f64().unwrap() > 500.0, "of all times together");
    }

    #[test]
    fn what_gateways_answer_is_added_and_bounded() {
        let at = NOW - NOW % 60;
        let span = span("by=route&step=60").unwrap();
        let body = |series: Vec<Series>| serde_json::to_vec(&Raw { series }).unwrap();
        let theirs = vec![series("a", "s", &[(at, 4, 1), (1, 9, 1), (u64::MAX - 1, 9, 1)])];
        let mut merged = Merged::default();
        merged.add(vec![series("a", "s", &[(at, 3, 1)])]);
        merged.add(read(&body(theirs), &span).unwrap());
        let all = merged.into_series();
        assert_eq!((all.len(), all[0].points.len(), all[0].points[0].figures.requests), (1, 1, 7));
        let many = (0..=MOST_TAKEN).map(|n| series(&n.to_string(), "", &[])).collect();
        assert!(read(&body(many), &span).is_err());
        for broken in ["", "[]", "{\"series\": 1}", "<html>"] {
            assert!(read(broken.as_bytes(), &span).unwrap_err().contains("not understood"), "{broken}");
        }
    }

    #[test]
    fn the_busiest_come_first_and_the_rest_is_left_out() {
        let of =
            vec![series("a", "s", &[(10, 1, 1)]), series("b", "s", &[(10, 3, 1)]), series("c", "s", &[(10, 2, 1)])];
        let shown = shown(of, 2);
        assert_eq!(shown.iter().map(|one| one["id"].as_str().unwrap()).collect::<Vec<_>>(), ["b", "c"]);
    }

    #[test]
    fn an_id_cannot_add_parameters() {
        let span = Span { by: By::Route, id: Some("a&scope=all b".into()), since: 0, step: 10 };
        assert!(target(&span).ends_with("&id=a%26scope%3Dall%20b"), "{}", target(&span));
    }
}

//! The board in `etc/grafana/` asks for what a gateway tells, and is made as Grafana wants it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use regex::Regex;
use serde_json::{Value, json};

use crate::support::{Gateway, Upstream, eventually, free_address, python};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../etc/grafana")
}

fn board() -> Value {
    serde_json::from_slice(&std::fs::read(folder().join("ws-cloud-gateway.json")).unwrap()).unwrap()
}

/// Everything below that has an `expr`, a `query` of a variable included.
fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value.as_str() {
                    Some(text) if ["expr", "query", "definition"].contains(&name.as_str()) => found.push(text.into()),
                    _ => expressions(value, found),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| expressions(value, found)),
        _ => {}
    }
}

/// The metrics an expression names, and the labels it filters or groups by.
fn names(expression: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let metrics = Regex::new(r"\b(gateway|process)_[a-z0-9_]+").unwrap();
    let metrics = metrics.find_iter(expression).map(|found| found.as_str().to_owned()).collect();
    let filters = Regex::new(r#"([a-z_]+)(?:=~|!~|!=|=)""#).unwrap();
    let groups = Regex::new(r"by \(([a-z_, ]+)\)").unwrap();
    let mut labels: BTreeSet<String> = filters.captures_iter(expression).map(|c| c[1].to_owned()).collect();
    for group in groups.captures_iter(expression) {
        labels.extend(group[1].split(", ").map(str::to_owned));
    }
    (metrics, labels)
}

#[tokio::test]
async fn all_that_the_board_asks_for_is_told_by_a_gateway() {
    let gateway = Gateway::start().await;
    let upstream = Upstream::saying("x").await;
    let more = json!({"plugins": ["discovery", "tracing"]});
    gateway.serve_with("/*", &[upstream.address, free_address()], more).await;
    for _ in 0..200 {
        gateway.get("/x").await.expect(200);
    }
    eventually("plugins have been measured", || async {
        gateway.metric("gateway_plugin_duration_seconds_count", "").await > 0.0
    })
    .await;
    let told = python::run("metrics/parse.py", vec![gateway.status.to_string()]).await;
    let told: Value = serde_json::from_str(&told).unwrap();
    let families = told["families"].as_object().unwrap();
    let family = |metric: &str| {
        let ends = ["", "_total", "_bucket", "_sum", "_count"];
        ends.iter().find_map(|end| families.get(metric.strip_suffix(end)?))
    };

    let mut all = Vec::new();
    expressions(&board(), &mut all);
    let mut asked = BTreeSet::new();
    for expression in &all {
        let (metrics, labels) = names(expression);
        let mut known: BTreeSet<String> = ["job", "instance", "le"].map(String::from).into();
        for metric in &metrics {
            let family = family(metric).unwrap_or_else(|| panic!("no gateway tells {metric}: {expression}"));
            let is_counter = family["type"] == "counter";
            assert_eq!(metric.ends_with("_total"), is_counter, "{metric} in {expression}");
            assert!(
                !is_counter
                    || expression.contains("rate(")
                    || expression.contains("increase(")
                    || metric == "gateway_metrics_over_budget_total"
                    || expression.starts_with("label_values"),
                "{expression}"
            );
            // One that has seen nothing tells no labels.
            match family["samples"].as_u64() {
                Some(0) => known.extend(labels.clone()),
                _ => known.extend(family["labels"].as_array().unwrap().iter().map(|l| l.as_str().unwrap().to_owned())),
            }
        }
        assert!(metrics.is_empty() || labels.is_subset(&known), "{labels:?} of {metrics:?}: {expression}");
        asked.extend(metrics);
    }
    assert!(asked.len() > 40, "{asked:?}");
    let unused: Vec<_> = families
        .keys()
        .filter(|name| name.starts_with("gateway_") && !asked.iter().any(|metric| metric.starts_with(name.as_str())))
        .collect();
    assert!(unused.is_empty(), "the board shows nothing of {unused:?}");
}

#[test]
fn the_board_is_made_as_grafana_wants_it() {
    let board = board();
    assert!(board["schemaVersion"].as_u64().unwrap() >= 38, "Grafana 10");
    assert_eq!((&board["uid"], &board["title"]), (&json!("ws-cloud-gateway"), &json!("ws-cloud-gateway")));
    let panels = board["panels"].as_array().unwrap();
    let rows: Vec<_> = panels.iter().filter(|p| p["type"] == "row").map(|p| p["title"].as_str().unwrap()).collect();
    assert_eq!(
        rows,
        [
            "Traffic",
            "Errors",
            "Latency",
            "Upstream nodes",
            "Plugins",
            "Gateway process",
            "Configuration and store",
            "Admin API"
        ]
    );
    let (mut ids, mut taken) = (BTreeSet::new(), BTreeSet::new());
    for panel in panels {
        let title = panel["title"].as_str().unwrap();
        assert!(!title.is_empty() && ids.insert(panel["id"].as_u64().unwrap()), "{title}: an id of its own");
        let of = |side: &str| panel["gridPos"][side].as_u64().unwrap();
        assert!(of("x") + of("w") <= 24, "{title} is as wide as the board at most");
        for (x, y) in (of("x")..of("x") + of("w")).flat_map(|x| (of("y")..of("y") + of("h")).map(move |y| (x, y))) {
            assert!(taken.insert((x, y)), "{title} lies upon another panel");
        }
        if panel["type"] != "row" {
            let targets = panel["targets"].as_array().unwrap();
            assert!(
                !targets.is_empty() && targets.iter().all(|t| t["datasource"]["uid"] == "${datasource}"),
                "{title}"
            );
        }
    }
    let variables: Vec<_> =
        board["templating"]["list"].as_array().unwrap().iter().map(|v| v["name"].as_str().unwrap()).collect();
    assert_eq!(variables, ["datasource", "job", "instance", "service"]);
}

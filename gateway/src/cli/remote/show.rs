//! What the Admin API answers, as lines for people.

use chrono::{Local, TimeZone as _};
use serde_json::Value;

use super::say;

/// Longest value that is shown, in characters.
const LONGEST: usize = 200;

/// The changes of an answer: an object a line, its fields below.
pub(super) fn changes(answer: &Value) -> anyhow::Result<()> {
    for change in answer["changes"].as_array().into_iter().flatten() {
        let sign = match change["action"].as_str() {
            Some("create") => '+',
            Some("delete") => '-',
            _ => '~',
        };
        say(&format!("{sign} {}/{}", text(&change["kind"]), text(&change["name"])))?;
        for field in change["fields"].as_array().into_iter().flatten().filter(|_| sign == '~') {
            let value = |side: &str| field.get(side).map_or_else(|| "-".to_owned(), short);
            say(&format!("    {}: {} -> {}", text(&field["path"]), value("before"), value("after")))?;
        }
    }
    for odd in answer["warnings"].as_array().into_iter().flatten() {
        for warning in odd["warnings"].as_array().into_iter().flatten() {
            say(&format!("  warning: {}/{}: {}", text(&odd["kind"]), text(&odd["name"]), text(warning)))?;
        }
    }
    Ok(())
}

/// What came of a change.
pub(super) fn outcome(answer: &Value) -> anyhow::Result<()> {
    changes(answer)?;
    let revision = &answer["revision"];
    say(&if answer["changed"] == true {
        format!("revision {revision}")
    } else if answer["changes"].as_array().is_some_and(|changes| !changes.is_empty()) {
        format!("nothing was changed; it is revision {revision} still")
    } else {
        format!("nothing to change since revision {revision}")
    })?;
    if let Some(at) = answer["undone_at"].as_u64() {
        say(&format!("taken back at {} unless you run: ws-cloud-gateway confirm {revision}", time(at)))?;
    }
    Ok(())
}

/// A revision in a line.
pub(super) fn revision(record: &Value) -> String {
    let objects: Vec<String> = record["changes"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|change| format!("{} {}/{}", text(&change["action"]), text(&change["kind"]), text(&change["name"])))
        .collect();
    let more = if objects.len() > 3 { format!(" and {} more", objects.len() - 3) } else { String::new() };
    let author = &record["author"];
    let mut line = format!(
        "{}  {}  {} ({})  {}{more}",
        record["revision"],
        time(record["time"].as_u64().unwrap_or_default()),
        text(&author["name"]),
        text(&author["origin"]),
        objects[..objects.len().min(3)].join(", "),
    );
    if let Some(reason) = record["reason"].as_str() {
        line.push_str(&format!("  \"{reason}\""));
    }
    if record["undone_at"].is_u64() {
        line.push_str("  waits to be confirmed");
    }
    line
}

/// What would become of a request, a sentence a line.
pub(super) fn explanation(answer: &Value) -> anyhow::Result<()> {
    for sentence in answer["why"].as_array().into_iter().flatten() {
        say(&text(sentence))?;
    }
    let status = answer["status"].as_u64().map_or_else(String::new, |status| format!(" with {status}"));
    say(&format!("=> {}{status}", text(&answer["outcome"])))
}

/// The names of a list, each with the version.
pub(super) fn names(list: &Value) -> anyhow::Result<()> {
    for item in list["items"].as_array().into_iter().flatten() {
        let value = &item["value"];
        let about = ["prefix", "service_name", "upstream"].map(|field| value[field].as_str().unwrap_or_default());
        let about: Vec<&str> = about.into_iter().filter(|text| !text.is_empty()).collect();
        say(format!("{}  {}", text(&item["name"]), about.join("  ")).trim_end())?;
    }
    Ok(())
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn short(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= LONGEST {
        return text;
    }
    text.chars().take(LONGEST).chain("...".chars()).collect()
}

fn time(milliseconds: u64) -> String {
    let time = i64::try_from(milliseconds).ok().and_then(|time| Local.timestamp_millis_opt(time).single());
    time.map_or_else(String::new, |time| time.format("%Y-%m-%d %H:%M:%S").to_string())
}

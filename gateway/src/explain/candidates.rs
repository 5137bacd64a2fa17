//! The routes that were considered, and why each but one lost.

use std::sync::Arc;

use super::answer::{Candidate, Explanation, Lost};
use crate::resource::key;
use crate::router::{self, Lookup, Verdict};
use crate::snapshot::{CompiledRoute, Preview};

/// Most candidates that are listed.
const LISTED: usize = 500;

/// Lists the candidates.
pub(super) fn list(preview: &Preview, lookup: &Lookup<'_>, explanation: &mut Explanation) {
    let mut chosen: Option<Candidate> = None;
    let all = preview.candidates(lookup, |found| {
        let mut shown = show(preview, lookup, &found, chosen.as_ref());
        // A route that is off has been taken for the one that matches.
        if chosen.is_none() && !found.target.is_off() && is_match(found.verdict) {
            shown.outcome = Lost::Chosen;
            shown.detail = "it is the first that takes the request".into();
            chosen = Some(shown.clone());
        }
        shown
    });
    explanation.candidates_left_out = all.len().saturating_sub(LISTED);
    explanation.candidates = all.into_iter().take(LISTED).collect();
}

fn is_match(verdict: Verdict<'_>) -> bool {
    matches!(verdict, Verdict::Match | Verdict::Outranked)
}

fn show(
    preview: &Preview,
    lookup: &Lookup<'_>,
    found: &router::Candidate<'_, Arc<CompiledRoute>>,
    chosen: Option<&Candidate>,
) -> Candidate {
    let (outcome, detail) = match found.verdict {
        Verdict::Match | Verdict::Outranked => (Lost::Outranked, outranked(found, chosen)),
        Verdict::Host => (Lost::Host, format!("it is for the host {}, not for \"{}\"", found.host, lookup.host)),
        Verdict::Method => (Lost::Method, format!("it is not for the method {}", lookup.method)),
        Verdict::Header(name) => (Lost::Header, format!("its condition on the header {name} does not hold")),
        Verdict::Query(name) => (Lost::Query, format!("its condition on the query argument {name} does not hold")),
    };
    let (outcome, detail) = match found.target.is_off() {
        true if is_match(found.verdict) => (Lost::Disabled, "it is off: its status is not 1".into()),
        true => (Lost::Disabled, format!("it is off: its status is not 1; on, it would lose: {detail}")),
        false => (outcome, detail),
    };
    let full_key = format!("{}{}", key::ROUTES, found.key);
    let rejected = preview.snapshot.rejected.iter().find(|rejected| rejected.key == full_key);
    Candidate {
        route: found.key.to_owned(),
        pattern: found.pattern.clone(),
        host: found.host.clone(),
        priority: found.priority,
        conditions: found.conditions,
        service: found.target.info.service.clone(),
        outcome,
        detail,
        broken: found.target.is_broken() && !found.target.is_off(),
        rejected: rejected.map(|rejected| rejected.reason.clone()),
    }
}

/// In which way the chosen route is better.
fn outranked(found: &router::Candidate<'_, Arc<CompiledRoute>>, chosen: Option<&Candidate>) -> String {
    let Some(chosen) = chosen else { return "a better route takes the request".into() };
    let by = if chosen.route == found.key {
        "is this very route, at a better host".to_owned()
    } else if chosen.pattern != found.pattern {
        format!("has the more specific path {}", chosen.pattern)
    } else if chosen.host != found.host {
        format!("has the more specific host {}", chosen.host)
    } else if chosen.priority != found.priority {
        format!("has the priority {}, and this {}", chosen.priority, found.priority)
    } else if chosen.conditions != found.conditions {
        format!("has {} conditions, and this {}", chosen.conditions, found.conditions)
    } else {
        "has the smaller key".to_owned()
    };
    format!("route {} comes before it: it {by}", chosen.route)
}

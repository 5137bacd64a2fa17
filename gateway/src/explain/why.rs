//! An explanation in a few sentences.

use super::answer::{ChoiceKind, Explanation, Lost, Outcome, Plugin, Service, ServiceState};

pub(super) fn sentences(explanation: &Explanation) -> Vec<String> {
    let mut why = Vec::new();
    route(explanation, &mut why);
    explanation.plugins.iter().filter(|plugin| plugin.ran).filter_map(effect).for_each(|effect| why.push(effect));
    if matches!(explanation.outcome, Outcome::Forwarded | Outcome::Refused)
        && let Some(service) = &explanation.service
    {
        why.push(choice(service));
    }
    why.push(outcome(explanation));
    why
}

fn route(explanation: &Explanation, why: &mut Vec<String>) {
    let host = match explanation.request.host.as_str() {
        "" => "no host".to_owned(),
        host => format!("the host {host}"),
    };
    let Some(path) = &explanation.request.path else { return };
    let chosen = explanation.candidates.iter().find(|candidate| candidate.outcome == Lost::Chosen);
    why.push(match chosen {
        Some(chosen) => {
            let (pattern, route) = (&chosen.pattern, &chosen.route);
            format!("The path {path} at {host} is that of the route {route}, {pattern}.")
        }
        None => format!("No route takes the path {path} at {host}."),
    });
    let others = explanation.candidates.iter().filter(|candidate| candidate.outcome != Lost::Chosen).take(5);
    why.extend(others.map(|lost| format!("The route {}, {}, does not: {}.", lost.route, lost.pattern, lost.detail)));
}

fn effect(plugin: &Plugin) -> Option<String> {
    let effects = &plugin.effects;
    let mut what = Vec::new();
    what.extend(effects.path.as_ref().map(|path| format!("makes the path {path}")));
    for changes in [&effects.headers, &effects.upstream_headers] {
        what.extend(changes.set.keys().map(|name| format!("sets {name}")));
        what.extend(changes.removed.iter().map(|name| format!("removes {name}")));
    }
    what.extend(effects.response.as_ref().map(|response| format!("answers {}", response.status)));
    what.extend(effects.prefers.map(|node| format!("prefers {node}")));
    what.extend(effects.excludes.iter().map(|node| format!("rules out {node}")));
    what.extend(effects.panics.as_ref().map(|message| format!("panics: {message}")));
    what.extend(effects.timed_out.then(|| "has not decided in time".to_owned()));
    (!what.is_empty()).then(|| format!("The plugin {} {}.", plugin.name, what.join(", ")))
}

fn choice(service: &Service) -> String {
    let name = &service.name;
    let nodes = |choice: &super::Choice| choice.nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    match &service.choice {
        _ if service.state == ServiceState::Broken => format!("The declaration of the service {name} is broken."),
        None => format!("No node of the service {name} takes requests."),
        Some(choice) => match choice.kind {
            ChoiceKind::Node => format!("Of the service {name} the node {} is next.", nodes(choice)),
            ChoiceKind::OneOf => format!("Of the service {name} it is one of the nodes {}.", nodes(choice)),
            ChoiceKind::Wait => format!("Every node of the service {name} is at its limit; the request waits."),
            ChoiceKind::Full => format!("Every node of the service {name} is at its limit."),
            ChoiceKind::Nobody => format!("No node of the service {name} can be chosen."),
        },
    }
}

fn outcome(explanation: &Explanation) -> String {
    let reason = explanation.reason.as_deref().unwrap_or_default();
    let status = explanation.status.unwrap_or_default();
    match explanation.outcome {
        Outcome::Forwarded => match &explanation.upstream {
            Some(upstream) => format!("The request goes on as {} {}.", upstream.method, upstream.target),
            None => "The request goes on.".to_owned(),
        },
        Outcome::Answered | Outcome::Refused => format!("The answer is {status}: {reason}."),
        Outcome::Admin => "It is a call of the Admin API.".to_owned(),
        Outcome::Unknown => format!("What becomes of it is not known: {reason}."),
    }
}

//! From the route to the node: what the plugins would do, the choice, and the request as it goes on.

use std::sync::Arc;

use super::answer::{Explanation, Outcome};
use super::find::Found;
use super::plugins::{self, Ended, Place};
use super::service::With;
use super::{Explainer, Unexplained, blocking, onward, service};
use crate::snapshot::{Change, CompiledRoute, DeclaredNode};

impl Explainer {
    pub(super) async fn follow(
        self: &Arc<Self>,
        explanation: &mut Explanation,
        found: Found,
        change: Option<Arc<Change>>,
        place: Place,
    ) -> Result<(), Unexplained> {
        let Found { course, route, upstream, state, carriage, arrived } = found;
        let shown = &mut explanation.plugins;
        let (mut course, mut ended) = plugins::request(course, &route, shown, &place).await;
        if ended.is_none() {
            (course, ended) = plugins::upstream_peer(course, &route, shown, &place).await;
        }
        let with = With { route: &route, upstream: upstream.as_ref(), carriage, state };
        let (service, index) = service::show(&with, course.as_ref(), self.nodes_of(&route, change).await?);
        let refusal = service::refusal(service.as_ref());
        explanation.service = service;
        if ended.is_none() {
            ended = match (refusal, course) {
                (Some(refusal), _) => Some(Ended::Refused(refusal)),
                (None, None) => None,
                (None, Some(course)) => {
                    let is_trusted = self.options.trusted_proxies.contains(arrived.peer);
                    let sent = onward::Sent { with: &with, index, arrived: &arrived, is_trusted };
                    let (onward, ended) = onward::show(sent, course, &mut explanation.plugins, &place).await;
                    explanation.upstream = onward;
                    ended
                }
            };
        }
        conclude(explanation, ended);
        Ok(())
    }

    async fn nodes_of(
        self: &Arc<Self>,
        route: &Arc<CompiledRoute>,
        change: Option<Arc<Change>>,
    ) -> Result<Vec<DeclaredNode>, Unexplained> {
        if route.info.service.is_empty() {
            return Ok(Vec::new());
        }
        let (explainer, route) = (Arc::clone(self), Arc::clone(route));
        Ok(blocking(move || explainer.compiler.nodes_of(&route.info.service, change.as_deref())).await??)
    }
}

fn conclude(explanation: &mut Explanation, ended: Option<Ended>) {
    match ended {
        None => explanation.outcome = Outcome::Forwarded,
        Some(Ended::Answered(plugin, status)) => {
            explanation.outcome = Outcome::Answered;
            explanation.status = Some(status);
            explanation.reason = Some(format!("the plugin {plugin} answers the request itself"));
        }
        Some(Ended::Refused(refusal)) => explanation.refuse(&refusal),
        Some(Ended::Unknown(plugin)) => {
            explanation.outcome = Outcome::Unknown;
            explanation.reason = Some(format!("the plugin {plugin} has not decided in time"));
        }
    }
}

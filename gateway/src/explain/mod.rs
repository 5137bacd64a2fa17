//! What would become of a request, and why: its path, every route that was considered, what each
//! plugin would do, the node it would go to, and how it would go there.
//!
//! It calls what the data path calls, and disturbs it in nothing: no turn is taken, nothing is
//! counted, no lock is touched that a request waits for. With a change laid over the configuration
//! it tells what would become of the request then; the change is stored nowhere.

mod answer;
mod asked;
mod candidates;
mod differences;
mod find;
mod follow;
mod head;
mod onward;
mod plugins;
mod refusal;
mod service;
#[cfg(test)]
mod tests;
mod why;

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::Semaphore;

pub use self::answer::{
    Candidate, Choice, ChoiceKind, Effects, Explanation, HeaderChanges, Health, Lost, Node, NodeState, Onward, Outcome,
    Plugin, Request, Response, Retry, RetryOn, Service, ServiceState, Source, Timeouts, Tls,
};
pub use self::asked::{Asked, Changed, Values};
use crate::request::forwarded::TrustedProxies;
use crate::request::framing::Underscores;
use crate::request::path::PathRules;
use crate::resource::Invalid;
use crate::snapshot::{Change, SharedCompiler};

/// Most explanations at a time. A plugin that does not return keeps its place.
const AT_A_TIME: usize = 8;

/// What explain must know of the configuration file: the same as the proxy.
#[derive(Debug)]
pub struct ExplainOptions {
    /// How paths are read.
    pub rules: PathRules,
    /// Whose X-Forwarded-* is believed.
    pub trusted_proxies: TrustedProxies,
    /// What becomes of headers whose names have an underscore.
    pub underscores: Underscores,
    /// Largest request body; 0 = no limit.
    pub max_body_size: u64,
    /// Whether `/admin` and `/dashboard` are answered on the data ports too.
    pub admin_on_gateway_ports: bool,
}

/// Explains requests.
pub struct Explainer {
    options: ExplainOptions,
    compiler: SharedCompiler,
    places: Arc<Semaphore>,
}

/// Why there is no explanation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unexplained {
    /// The question, or the change in it, is not valid.
    #[error("{0}")]
    Invalid(#[from] Invalid),
    /// Too many ask at a time.
    #[error("too many requests are being explained; try again")]
    Busy,
    /// It should not have happened.
    #[error("the explanation has failed")]
    Failed,
}

impl Explainer {
    /// Explains by what this compiler has published.
    #[must_use]
    pub fn new(options: ExplainOptions, compiler: SharedCompiler) -> Self {
        Self { options, compiler, places: Arc::new(Semaphore::new(AT_A_TIME)) }
    }

    /// Explains a request given as JSON. With a change, what would be with it, and beside it what is
    /// without and where the two differ.
    ///
    /// # Errors
    /// When the question is not valid, or too many are asked.
    pub async fn answer(self: &Arc<Self>, question: Value) -> Result<Value, Unexplained> {
        let mut asked = Asked::parse(question)?;
        let change = asked.change.take();
        let now = self.explain(&asked, None).await?;
        let Some(change) = change else { return Ok(json!(now)) };
        let then = self.explain(&asked, Some(change.as_change()?)).await;
        let then = then.map_err(|reason| match reason {
            Unexplained::Invalid(invalid) => Unexplained::Invalid(in_change(invalid)),
            other => other,
        })?;
        let mut answer = json!(then);
        answer["change"] = json!({"path": change.path, "deletes": change.value.is_null()});
        answer["differs"] = json!(differences::between(&now, &then));
        answer["without_change"] = json!(now);
        Ok(answer)
    }

    /// Explains a request, with this change laid over the configuration.
    ///
    /// # Errors
    /// When request or change is not valid, or too many are asked.
    pub async fn explain(self: &Arc<Self>, asked: &Asked, change: Option<Change>) -> Result<Explanation, Unexplained> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| Unexplained::Busy)?;
        let place = Arc::new(place);
        let read = asked.read()?;
        let (explainer, change) = (Arc::clone(self), change.map(Arc::new));
        let asked_change = change.clone();
        // It may have to wait for the compiler.
        let begun = blocking(move || explainer.begin(read, asked_change.as_deref())).await??;
        let mut explanation = begun.explanation;
        if let Some(found) = begun.found {
            self.follow(&mut explanation, found, change, place).await?;
        }
        explanation.why = why::sentences(&explanation);
        Ok(explanation)
    }
}

/// The rest of the question has been found good before.
fn in_change(invalid: Invalid) -> Invalid {
    let dot = if invalid.path.is_empty() { "" } else { "." };
    Invalid { path: format!("change.value{dot}{}", invalid.path), ..invalid }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Unexplained> {
    tokio::task::spawn_blocking(work).await.map_err(|e| {
        log::error!("a request could not be explained: {e}");
        Unexplained::Failed
    })
}

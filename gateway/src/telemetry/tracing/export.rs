//! From the queue to the collector. A collector that is away or hangs costs spans, and nothing else.

use std::sync::Arc;
use std::time::{Duration, Instant};

use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use super::transport::{self, TracingOptions};
use super::{Exchange, span};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::spans::Lost;

/// How often the queue is emptied.
const TICK: Duration = Duration::from_millis(200);
/// Spans in one message.
const BATCH: usize = 512;
/// How often it is said again that a collector takes nothing.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// Takes what ended from the queue and exports it.
pub struct Exporter {
    queue: mpsc::Receiver<Box<Exchange>>,
    exporter: SpanExporter,
    scope: InstrumentationScope,
    timeout: Duration,
    endpoint: String,
    metrics: Arc<Metrics>,
    trouble: Option<Trouble>,
}

/// Nothing is exported just now.
struct Trouble {
    said: Instant,
    lost: usize,
}

impl Exporter {
    pub(super) fn new(
        options: TracingOptions,
        queue: mpsc::Receiver<Box<Exchange>>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, String> {
        let mut exporter = transport::exporter(&options)?;
        let version = env!("CARGO_PKG_VERSION");
        let resource = Resource::builder_empty().with_attributes([
            KeyValue::new("service.name", options.service_name),
            KeyValue::new("service.version", version),
            KeyValue::new("process.pid", i64::from(std::process::id())),
        ]);
        let resource = match rustix::system::uname().nodename().to_str() {
            Ok(host) => resource.with_attribute(KeyValue::new("host.name", host.to_owned())),
            Err(_) => resource,
        };
        exporter.set_resource(&resource.build());
        let scope = InstrumentationScope::builder("ws-cloud-gateway").with_version(version).build();
        let (timeout, endpoint) = (options.timeout, options.endpoint);
        Ok(Self { queue, exporter, scope, timeout, endpoint, metrics, trouble: None })
    }

    /// Exports until told to stop, and then what still waits.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        loop {
            let last = tokio::select! {
                () = sleep(TICK) => false,
                // An error is a sender that is gone, which means the same.
                _stopped = stop.wait_for(|stop| *stop) => true,
            };
            while let Some(batch) = self.next_batch() {
                self.send(batch).await;
            }
            if last {
                return;
            }
        }
    }

    /// What waits, up to the size of a message. Never waits itself: who hands something over then wakes
    /// nobody.
    fn next_batch(&mut self) -> Option<Vec<SpanData>> {
        let mut spans = Vec::new();
        while spans.len() < BATCH
            && let Ok(exchange) = self.queue.try_recv()
        {
            spans.extend(span::spans(&exchange, &self.scope));
        }
        (!spans.is_empty()).then_some(spans)
    }

    async fn send(&mut self, batch: Vec<SpanData>) {
        let spans = batch.len();
        // The exporter has this limit as well, for all of its own retries; this one holds for sure.
        let sent = timeout(self.timeout + TICK, self.exporter.export(batch)).await;
        let failure = match sent {
            Ok(Ok(())) => None,
            Ok(Err(e)) => Some(e.to_string()),
            Err(_) => Some(format!("no answer within {:?}", self.timeout)),
        };
        match failure {
            None => {
                self.metrics.spans.took(spans);
                if let Some(trouble) = self.trouble.take() {
                    log::info!("spans are exported to {} again; {} were lost", self.endpoint, trouble.lost);
                }
            }
            Some(why) => {
                self.metrics.spans.lost(Lost::Export, spans);
                self.complain(spans, &why);
            }
        }
    }

    fn complain(&mut self, spans: usize, why: &str) {
        let now = Instant::now();
        match &mut self.trouble {
            Some(trouble) if now.duration_since(trouble.said) < SAY_AGAIN => trouble.lost += spans,
            Some(trouble) => {
                trouble.lost += spans;
                trouble.said = now;
                log::warn!("spans are not exported to {}, {} lost so far: {why}", self.endpoint, trouble.lost);
            }
            None => {
                log::warn!("spans are not exported to {}: {why}", self.endpoint);
                self.trouble = Some(Trouble { said: now, lost: spans });
            }
        }
    }
}

impl std::fmt::Debug for Exporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exporter").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

//! Starts the export of traces, and ends it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::options;
use crate::config::TracingConfig;
use crate::telemetry::Metrics;
use crate::telemetry::tracing::Tracer;

/// How long the end of the process waits for spans to be sent.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// The export of traces.
#[derive(Default)]
pub(super) struct Tracing {
    pub(super) tracer: Option<Arc<Tracer>>,
    export: Option<(watch::Sender<bool>, JoinHandle<()>)>,
}

/// Begins to export, if there is a collector.
pub(super) fn start(config: &TracingConfig, metrics: &Arc<Metrics>, runtime: &Runtime) -> anyhow::Result<Tracing> {
    let Some(options) = options::tracing(config) else { return Ok(Tracing::default()) };
    log::info!("traces are exported to {}", options.endpoint);
    // A channel for gRPC is made within the runtime that drives it.
    let _entered = runtime.enter();
    let (tracer, exporter) = Tracer::new(options, metrics).map_err(|e| anyhow!("telemetry.tracing: {e}"))?;
    let (stop, stopped) = watch::channel(false);
    Ok(Tracing { tracer: Some(tracer), export: Some((stop, runtime.spawn(exporter.run(stopped)))) })
}

impl Tracing {
    /// Sends what still waits, for as long as that may take.
    pub(super) async fn end(self) {
        let Some((stop, export)) = self.export else { return };
        stop.send_replace(true);
        if tokio::time::timeout(LAST_WAIT, export).await.is_err() {
            log::warn!("some spans were not exported: the collector took longer than {LAST_WAIT:?}");
        }
    }
}

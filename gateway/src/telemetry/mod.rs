//! What the gateway tells its operators: access log, error log and metrics.
//!
//! - [`AccessLog`] takes one [`AccessRecord`] a request; [`AccessLog::record`] never blocks.
//! - [`error_log::init`] is the backend of the `log` crate; keep its [`ErrorLog`] handle, change the
//!   level with it, and call [`ErrorLog::shutdown`] before the process ends.
//! - [`tracing`] sends spans to a collector.
//! - [`Metrics`] hands out handles ([`RouteMetrics`], [`ServiceMetrics`], plain counters) when the
//!   configuration is compiled; the request path only adds to atomics.
//!
//! ```no_run
//! # use std::time::Duration;
//! # use ws_cloud_gateway::telemetry::*;
//! # fn main() -> std::io::Result<()> {
//! let options = ErrorLogOptions { level: log::LevelFilter::Info, json: false, output: Output::Stderr };
//! let errors = error_log::init(&options)?;
//! let access = AccessLog::open(&AccessOptions {
//!     lines: Lines::Requests,
//!     output: Output::File("logs/gateway-access.log".into()),
//!     rotate_size: 100 << 20,
//!     rotate_keep: 5,
//!     queue: 65_536,
//! })?;
//! let metrics = Metrics::new(1000);
//! metrics.watch_drops("access_log", access.drops());
//! metrics.watch_drops("error_log", errors.drops());
//!
//! let route = metrics.route("968bf1f8890b38d31051ec0a290348c9", "demo1"); // when compiled
//!
//! let request = metrics.begin_request(); // the in-flight guard: lives in the request's context
//! access.record(&AccessRecord { status: Some(200), method: Some("GET"), ..AccessRecord::default() });
//! route.observe(Some(200), Duration::from_millis(3));
//! drop(request);
//!
//! access.reopen(); // after logrotate moved the file
//! access.shutdown(Duration::from_secs(1));
//! errors.shutdown(Duration::from_secs(1));
//! # Ok(())
//! # }
//! ```

mod access;
mod admin;
mod clock;
mod edge;
pub mod error_log;
mod escape;
mod events;
mod file;
mod histogram;
mod hour;
mod labels;
mod listeners;
mod metrics;
mod plugin_time;
mod process;
mod redact;
mod scrape;
mod scrape_nodes;
mod sink;
mod spans;
mod tap;
mod throttle;
pub mod tracing;

pub use access::{AccessLog, AccessOptions, AccessRecord, Lines, Try};
pub use admin::{AdminMetrics, Surface};
pub use edge::{EdgeMetrics, Refused, Shed};
pub use error_log::{ErrorLog, ErrorLogOptions};
pub use events::{Event, Events, Heard, Listener};
pub use histogram::{AtomicHistogram, BUCKETS, Times};
pub use hour::{Figures, Hour, Point, STEP, Series};
pub use metrics::{
    ConfigMetrics, ConnectionGuard, Handshake, HealthFigures, METRICS_CONTENT_TYPE, Metrics, NodeFigures, RequestGuard,
    RouteMetrics, ServiceMetrics,
};
pub use plugin_time::{Phase, PluginTimes, is_measured};
pub use redact::is_secret;
pub use spans::{Lost, SpanMetrics};
pub use tap::{Filter, Head, LiveRequest, LiveTry, Sampled, StatusFilter, Tap, TapListener, Timings};

use std::path::PathBuf;

/// Where a log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// A file, appended to; its folder is made when missing.
    File(PathBuf),
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// Nowhere.
    Off,
}

//! The figures as OpenMetrics text: names, help, and the order they come in.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::labels::{Family, Live, clean};
use super::metrics::{CLASSES, HANDSHAKES, Metrics, RouteMetrics, ServiceMetrics};
use super::plugin_time::ONE_IN;
use super::process::Process;
use super::scrape_nodes;

/// Appends all figures.
pub(super) fn encode(metrics: &Arc<Metrics>, out: &mut String) -> fmt::Result {
    let mut registry = Registry::with_prefix("gateway");
    registry.register_collector(Box::new(Scrape(Arc::clone(metrics))));
    text::encode_registry(out, &registry)?;
    let mut process = Registry::with_prefix("process");
    process.register_collector(Box::new(Process { started: metrics.started }));
    text::encode_registry(out, &process)?;
    text::encode_eof(out)
}

#[derive(Debug)]
struct Scrape(Arc<Metrics>);

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page(encoder);
        let metrics = &self.0;
        page.traffic(metrics)?;
        page.certificates(metrics)?;
        page.routes(&metrics.routes.live())?;
        page.upstreams(metrics)?;
        page.config(metrics)?;
        page.plugins(metrics)?;
        page.admin(metrics)?;
        page.spans(metrics)?;
        page.itself(metrics)
    }
}

/// What is being written.
pub(super) struct Page<'a>(pub(super) DescriptorEncoder<'a>);

impl Page<'_> {
    fn traffic(&mut self, metrics: &Metrics) -> fmt::Result {
        self.gauge("requests_in_flight", "Requests being answered.", metrics.in_flight())?;
        self.gauge("connections_active", "Open client connections.", metrics.connections_active())?;
        self.counter("connections", "Client connections accepted.", metrics.connections_accepted())?;
        let refused = metrics.edge.refused().map(|(reason, count)| ([("reason", reason)], count));
        self.counters("connections_refused", "Client connections closed unread, by reason.", refused)?;
        let shed = metrics.edge.shed_requests().map(|(reason, count)| ([("reason", reason)], count));
        self.counters("requests_shed", "Requests answered with 503 under load, by reason.", shed)?;
        let handshakes = HANDSHAKES.iter().zip(&metrics.handshakes.0);
        let handshakes = handshakes.map(|(ended, count)| ([("result", *ended)], count.load(Ordering::Relaxed)));
        self.counters("tls_handshakes", "TLS handshakes by how they ended.", handshakes.filter(|(_, count)| *count > 0))
    }

    fn certificates(&mut self, metrics: &Metrics) -> fmt::Result {
        let Some(certificates) = metrics.certificates.get() else { return Ok(()) };
        let help = "Time until a certificate ends; negative when it has.";
        let unit = Some(&Unit::Seconds);
        let mut family = self.0.encode_descriptor("certificate_expiry", help, unit, MetricType::Gauge)?;
        let (mut shown, mut result) = (0, Ok(()));
        certificates(&mut |id, host, seconds| {
            shown += 1;
            if shown <= metrics.max_labels && result.is_ok() {
                let labels = [("certificate", clean(id)), ("host", clean(host))];
                result = family.encode_family(&labels).and_then(|mut one| one.encode_gauge(&seconds));
            }
        });
        result
    }

    /// Classes and routes that have seen nothing are left out: ten thousand idle routes cost nothing.
    fn routes(&mut self, routes: &[Live<2, RouteMetrics>]) -> fmt::Result {
        let help = "Requests answered, by route, service and class of the status.";
        let mut family = self.0.encode_descriptor("requests", help, None, MetricType::Counter)?;
        for (labels, route) in routes {
            for (class, count) in CLASSES.iter().zip(&route.requests) {
                let count = count.load(Ordering::Relaxed);
                if count > 0 {
                    let labels = [("route", &*labels[0]), ("service", &*labels[1]), ("class", *class)];
                    count_of(&mut family.encode_family(&labels)?, count)?;
                }
            }
        }
        let help = "Time from a request's first byte to the end of its response.";
        let mut family =
            self.0.encode_descriptor("request_duration", help, Some(&Unit::Seconds), MetricType::Histogram)?;
        for (labels, route) in routes.iter().filter(|(_, route)| route.latency.count() > 0) {
            let labels = [("route", &*labels[0]), ("service", &*labels[1])];
            route.latency.encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn upstreams(&mut self, metrics: &Metrics) -> fmt::Result {
        let services = metrics.services.live();
        let counts = |of: fn(&ServiceMetrics) -> &AtomicU64| {
            services
                .iter()
                .map(move |(labels, service)| ([("service", &*labels[0])], of(service).load(Ordering::Relaxed)))
        };
        let help = "Attempts at a node, by service.";
        self.counters("upstream_tries", help, counts(|service| &service.tries))?;
        let help = "Attempts at a node that ended without a response, by service.";
        self.counters("upstream_failures", help, counts(|service| &service.failures))?;
        let help = "Attempts at a node after the first of a request, by service.";
        self.counters("upstream_retries", help, counts(|service| &service.retries))?;
        let help = "Requests refused because every node was at its limit, by service.";
        self.counters("upstream_limited", help, counts(|service| &service.limited))?;
        let help = "Requests that wait because every node is at its limit, by service.";
        let mut family = self.0.encode_descriptor("upstream_pending", help, None, MetricType::Gauge)?;
        for (labels, waiting) in counts(|service| &service.pending) {
            family.encode_family(&labels)?.encode_gauge(&waiting)?;
        }

        scrape_nodes::nodes(self, metrics)?;
        scrape_nodes::health(self, metrics)
    }

    fn config(&mut self, metrics: &Metrics) -> fmt::Result {
        let config = &metrics.config;
        let stored = config.stored_revision.load(Ordering::Relaxed);
        let applied = config.applied_revision.load(Ordering::Relaxed);
        let rejected = config.rejected_objects.load(Ordering::Relaxed);
        let stale = config.stale();
        self.gauge("config_stored_revision", "The store's newest revision.", stored)?;
        self.gauge("config_applied_revision", "The revision requests see.", applied)?;
        let lag = stored.saturating_sub(applied);
        self.gauge("config_lag_revisions", "Revisions stored but not applied.", lag)?;
        self.gauge("config_rejected_objects", "Stored objects that are not live as stored.", rejected)?;
        let kept = config.kept_beyond_lease.load(Ordering::Relaxed);
        self.gauge("nodes_beyond_lease", "Nodes kept though their lease has ended, since they answer.", kept)?;
        self.gauge("config_routes", "Routes that are live.", config.routes.load(Ordering::Relaxed))?;
        self.gauge("config_services", "Services that are live.", config.services.load(Ordering::Relaxed))?;
        self.gauge("store_connected", "Whether the store is connected.", u64::from(stale.is_none()))?;
        let help = "Time since the store was last connected; 0 while it is.";
        let mut gauge = self.0.encode_descriptor("config_stale", help, Some(&Unit::Seconds), MetricType::Gauge)?;
        gauge.encode_gauge(&stale.unwrap_or_default().as_secs_f64())
    }

    fn plugins(&mut self, metrics: &Metrics) -> fmt::Result {
        let panics = metrics.plugin_panics.live();
        let panics = panics.iter().map(|(labels, count)| ([("plugin", &*labels[0])], count.load(Ordering::Relaxed)));
        self.counters("plugin_panics", "Panics of a plugin that were contained.", panics)?;
        let events = metrics.plugin_events.live();
        let events = events
            .iter()
            .map(|(labels, count)| ([("plugin", &*labels[0]), ("event", &*labels[1])], count.load(Ordering::Relaxed)));
        self.counters("plugin_events", "What plugins count themselves.", events)?;
        let help =
            format!("Time of a plugin's runs, by plugin and phase; one in {ONE_IN} runs of a phase is measured.");
        let unit = Some(&Unit::Seconds);
        let mut family = self.0.encode_descriptor("plugin_duration", &help, unit, MetricType::Histogram)?;
        for (labels, times) in metrics.plugin_times.live() {
            for (phase, times) in times.phases().filter(|(_, times)| times.count() > 0) {
                times.encode(family.encode_family(&[("plugin", &*labels[0]), ("phase", phase)])?)?;
            }
        }
        Ok(())
    }

    fn admin(&mut self, metrics: &Metrics) -> fmt::Result {
        let calls = metrics.admin.calls().filter(|(_, count)| *count > 0).map(|([surface, method, class], count)| {
            ([("surface", surface), ("method", method), ("class", class)], count)
        });
        self.counters("admin_requests", "Calls of the Admin API, by surface, method and class of the status.", calls)?;
        let (help, unit) = ("Time of a call of the Admin API, by surface.", Some(&Unit::Seconds));
        let mut family = self.0.encode_descriptor("admin_request_duration", help, unit, MetricType::Histogram)?;
        for (surface, times) in metrics.admin.times().filter(|(_, times)| times.count() > 0) {
            times.encode(family.encode_family(&[("surface", surface)])?)?;
        }
        Ok(())
    }

    fn spans(&mut self, metrics: &Metrics) -> fmt::Result {
        let spans = &metrics.spans;
        self.counter("trace_spans_exported", "Spans a collector took.", spans.exported())?;
        let dropped = spans.dropped().map(|(reason, count)| ([("reason", reason)], count));
        self.counters("trace_spans_dropped", "Spans lost, by reason.", dropped)
    }

    fn itself(&mut self, metrics: &Metrics) -> fmt::Result {
        let drops = metrics.drops.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (log, count) in drops {
            self.counter(&format!("{log}_dropped"), "Log lines lost.", count.load(Ordering::Relaxed))?;
        }
        fn folded<const N: usize, T: Default>(family: &Family<N, T>) -> u64 {
            family.folded()
        }
        let over = folded(&metrics.routes)
            + folded(&metrics.services)
            + folded(&metrics.plugin_panics)
            + folded(&metrics.plugin_events)
            + folded(&metrics.plugin_times);
        self.counter("metrics_over_budget", "Handles that share the series other, beyond the label budget.", over)?;
        let mut info = self.0.encode_descriptor("build_info", "The running version.", None, MetricType::Gauge)?;
        info.encode_family(&[("version", env!("CARGO_PKG_VERSION"))])?.encode_gauge(&1u64)
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
    }

    pub(super) fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        count_of(&mut self.0.encode_descriptor(name, help, None, MetricType::Counter)?, value)
    }

    fn counters<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        values: impl Iterator<Item = ([(&'static str, &'l str); N], u64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in values {
            count_of(&mut family.encode_family(&labels)?, value)?;
        }
        Ok(())
    }
}

pub(super) fn count_of(encoder: &mut MetricEncoder<'_>, value: u64) -> fmt::Result {
    encoder.encode_counter::<NoLabelSet, _, u64>(&value, None)
}

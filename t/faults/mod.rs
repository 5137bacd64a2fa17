//! What breaks around a gateway, while it serves: each fault under a steady load, with its bar.
//!
//! Each fault runs twice: in short as a test, and at length by `make soak`, which prints a table.

// Part of two programs, each of which uses what the other does not.
#![allow(dead_code)]

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use crate::support::load::{Load, Outcome};
use crate::support::{Gateway, Request};

mod changes;
mod clients;
mod disk;
mod etcd;
mod kills;
mod upgrade;
mod upstreams;

/// How long and how much.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    /// At length, and then by which factor; otherwise in short.
    soak: Option<f64>,
}

impl Scale {
    pub const SHORT: Self = Self { soak: None };

    /// At length; a factor below 1 shortens it.
    pub fn soak(factor: f64) -> Self {
        Self { soak: Some(factor) }
    }

    fn is_soak(self) -> bool {
        self.soak.is_some()
    }

    /// Requests a second.
    fn rate(self) -> u32 {
        if self.soak.is_some() { 500 } else { 200 }
    }

    /// So many seconds at length, so many in short.
    fn seconds(self, soak: f64, short: f64) -> Duration {
        Duration::from_secs_f64(self.soak.map_or(short, |factor| (soak * factor).max(short.min(soak))))
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    fn count(self, soak: usize, short: usize) -> usize {
        self.soak.map_or(short, |factor| ((soak as f64 * factor) as usize).max(short.min(soak)))
    }

    /// How long something may take. In short many tests share the machine, and only what never
    /// ends is wrong.
    fn limit(self, limit: Duration) -> Duration {
        if self.soak.is_some() { limit } else { limit.max(Duration::from_secs(25)) }
    }
}

/// What came of a fault.
#[derive(Debug, Default)]
pub struct Row {
    pub outcome: Outcome,
    /// What had to be, and whether it was.
    pub bars: Vec<(String, bool)>,
    /// Figures beside the common ones.
    pub notes: Vec<String>,
}

impl Row {
    fn of(outcome: Outcome) -> Self {
        Self { outcome, ..Self::default() }
    }

    /// No request failed, and no idle connection was closed.
    fn lossless(self) -> Self {
        let held = self.outcome.failed.is_empty() && self.outcome.stale == 0 && self.outcome.sent > 0;
        self.bar("0 failed, 0 stale", held)
    }

    fn bar(mut self, what: impl Into<String>, held: bool) -> Self {
        self.bars.push((what.into(), held));
        self
    }

    /// A length of time that has a limit.
    fn within(self, scale: Scale, what: &str, took: Duration, limit: Duration) -> Self {
        self.note(format!("{what} after {took:.1?}"))
            .bar(format!("{what} within {limit:?}"), took <= scale.limit(limit))
    }

    fn note(mut self, figure: impl Into<String>) -> Self {
        self.notes.push(figure.into());
        self
    }

    pub fn held(&self) -> bool {
        self.bars.iter().all(|(_, held)| *held)
    }
}

/// A fault that can be made.
pub struct Fault {
    /// What the table calls it.
    pub name: &'static str,
    pub run: fn(Scale) -> Pin<Box<dyn Future<Output = Row> + Send>>,
}

/// The faults: what the table calls them, the test that makes them in short, and the function.
macro_rules! faults {
    ($($name:literal $test:ident $module:ident::$function:ident;)*) => {
        pub const FAULTS: &[Fault] = &[
            $(Fault { name: $name, run: |scale| Box::pin($module::$function(scale)) },)*
        ];
        $(#[tokio::test(flavor = "multi_thread")]
        async fn $test() {
            let row = $module::$function(Scale::SHORT).await;
            assert!(row.held(), "{row:#?}");
        })*
    };
}

faults! {
    "etcd killed" an_etcd_that_is_killed_loses_no_request etcd::killed;
    "etcd frozen 10 s" an_etcd_that_freezes_loses_no_request etcd::frozen;
    "etcd flapping (stop, go)" an_etcd_that_stutters_loses_no_request etcd::stuttering;
    "etcd flapping (kill, start)" an_etcd_that_restarts_again_and_again_loses_no_request etcd::restarting;
    "etcd NOSPACE" a_full_etcd_refuses_writes_and_loses_no_request etcd::full;
    "etcd compacted while away" history_compacted_during_a_partition_is_made_good etcd::compacted;
    "etcd wiped, filled again" a_wiped_prefix_is_doubted_and_its_return_loses_no_request etcd::wiped;
    "start without etcd" a_start_without_etcd_serves_the_copy_on_disk etcd::absent;
    "start without etcd, corrupt copy" a_start_without_etcd_serves_the_copy_before_a_corrupt_one etcd::corrupt;
    "node killed, GET" a_node_that_is_killed_loses_no_get upstreams::killed;
    "node killed, POST" a_node_that_is_killed_loses_no_more_than_its_posts upstreams::killed_over_posts;
    "node frozen 2 s" a_node_that_freezes_delays_and_loses_nothing upstreams::frozen;
    "node frozen 2 s, timeout 500 ms" a_node_that_freezes_is_found_out_by_a_timeout upstreams::frozen_with_timeout;
    "nodes refusing" nodes_that_refuse_connections_lose_no_request upstreams::refusing;
    "node answering garbage" a_node_that_answers_garbage_loses_no_request upstreams::babbling_among_good;
    "node closing mid-body" a_response_that_is_cut_never_looks_whole upstreams::closing_mid_body;
    "binary upgraded three times" three_upgrades_in_a_row_lose_no_request upgrade::three_times;
    "upgrades that fail" upgrades_that_fail_lose_no_request upgrade::failing;
    "node dripping" a_slow_node_slows_nobody_else upstreams::slow;
    "disk full: store and log" a_full_disk_loses_no_request_and_no_acknowledged_write disk::of_store_and_log;
    "disk full: snapshot" a_full_disk_leaves_the_copy_before_whole disk::of_snapshot;
    "1,000 changes a second" a_storm_of_changes_loses_no_request changes::storm;
    "invalid config in etcd" invalid_objects_hurt_nobody_else changes::invalid;
    "kill -9 during writes, embedded" no_acknowledged_write_to_the_embedded_store_is_lost kills::on_embedded;
    "kill -9 during writes, etcd" no_acknowledged_write_to_etcd_is_lost kills::on_etcd;
    "slowloris" clients_that_never_end_their_headers_are_cut clients::slowloris;
    "idle connections" idle_connections_are_kept_and_cheap clients::idle;
    "steady load" a_steady_load_makes_nothing_grow clients::steady;
}

/// GETs of a path, at the scale's rate.
fn load(scale: Scale, gateway: &Gateway, path: &str) -> Load {
    Load::start(gateway.http, &Request::get(path), scale.rate())
}

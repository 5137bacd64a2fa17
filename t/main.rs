//! Tests of the real binary through real sockets: one file for each promise.
//!
//! They run in parallel on free ports, each gateway with a folder of its own. They need etcd,
//! nginx and the Python packages of `requirements.txt`: `make test` installs them.

// Helpers panic as tests do; the lints' exception for tests covers only `#[test]` functions. And a
// test crate has no outside that `pub` could reach.
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::too_many_lines, unreachable_pub)]

mod admin_old_api;
mod admin_on_data_ports;
mod bad_config;
mod bad_requests;
mod balancers;
mod balancing;
mod broken_ranks;
mod cli;
mod client_address;
mod cluster;
mod connection_limits;
mod declared;
mod deployment;
mod etcd;
mod explain;
mod explain_property;
mod faults;
mod framing;
mod fuzz;
mod grafana;
mod grpc;
mod h2_attacks;
mod h2_downgrade;
mod headers;
mod health;
mod http1_forms;
mod lapses;
mod layering;
mod lifecycle;
mod live;
mod logs_metrics;
mod metrics;
mod oidc;
mod openapi;
mod otlp;
mod overload;
mod own_addresses;
mod panel;
mod plugins_readme;
mod proxy_protocol;
mod proxy_protocol_out;
mod register_command;
mod register_examples;
mod registration;
mod registration_client;
mod resolver;
mod retries;
mod rewrite_tracing;
mod routing;
mod service_manager;
mod slow_clients;
mod store_copy;
mod streaming;
mod support;
mod timeouts;
mod tls;
mod tls_clients;
mod tls_live;
mod tls_sessions;
mod upgrade_binary;
mod upgrades;
mod upstream_h2;
mod upstream_tls;
mod users;
mod websocket;

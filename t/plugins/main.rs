//! Plugins in a running gateway: what only a gateway with plugins of the tests' own can show.
//!
//! This program is both: started as a gateway is (`run -c …`) it is one, with the example plugin
//! and those of `plugins.rs`; otherwise it runs the tests, with itself as the gateway.

#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::print_stdout, unreachable_pub)]
// The support is shared with `t/main.rs`, which uses all of it.
#![allow(dead_code, unused_imports)]

use std::pin::Pin;
use std::process::ExitCode;

mod cases;
mod plugins;
#[path = "../support/mod.rs"]
mod support;

type Case = fn() -> Pin<Box<dyn Future<Output = ()>>>;

/// The tests by their names.
const CASES: &[(&str, Case)] = &[
    ("a_body_that_a_plugin_gathers_reaches_an_http1_node_whole", || Box::pin(cases::gathered_to_http1())),
    ("a_body_that_a_plugin_gathers_reaches_an_http2_node_whole", || Box::pin(cases::gathered_to_http2())),
    ("a_body_that_a_plugin_gathers_may_be_too_large_or_refused", || Box::pin(cases::gathered_and_refused())),
    ("no_node_is_blamed_for_a_client_or_a_plugin", || Box::pin(cases::no_blame())),
    ("a_response_that_a_plugin_gathers_and_finds_too_large_does_not_look_whole", || {
        Box::pin(cases::gathered_response_too_large())
    }),
    ("a_panic_over_a_response_head_ends_its_request", || Box::pin(cases::panic_over_a_response_head())),
    ("a_response_that_a_plugin_gathers_arrives_whole", || Box::pin(cases::gathered_response())),
    ("a_panic_in_any_phase_ends_its_request_and_nothing_else", || Box::pin(cases::panics())),
    ("a_plugin_sees_the_verified_certificate_of_the_client", || Box::pin(cases::client_certificate())),
    ("every_hook_of_the_example_works_on_the_wire", || Box::pin(cases::every_hook())),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "run") {
        return plugins::gateway().main();
    }
    if arguments.iter().any(|argument| argument == "--list") {
        CASES.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    run(&filters(&arguments))
}

/// The arguments that are no options, nor values of those that have one.
fn filters(arguments: &[String]) -> Vec<&str> {
    let mut filters = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--test-threads" | "--skip" | "--format" | "--color" => drop(rest.next()),
            option if option.starts_with('-') => {}
            filter => filters.push(filter),
        }
    }
    filters
}

/// Runs the tests one after the other; says which fail.
fn run(filters: &[&str]) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut failed = 0;
    for (name, case) in CASES.iter().filter(|(name, _)| filters.is_empty() || filters.iter().any(|f| name.contains(f)))
    {
        let result = std::panic::catch_unwind(|| runtime.block_on(case()));
        println!("test {name} ... {}", if result.is_ok() { "ok" } else { "FAILED" });
        failed += usize::from(result.is_err());
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

//! `make soak`: every fault at length, and a table of what came of it.
//!
//! Does nothing unless `SOAK=1` is set, for `cargo test` runs it too. `SOAK_ONLY=text` runs the
//! faults whose names contain the text, `SOAK_SCALE=0.1` makes everything last a tenth,
//! `GATEWAY_BINARY` names the binary to test.

#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::print_stdout, unreachable_pub)]
// The support is shared with `t/main.rs`, which uses all of it.
#![allow(dead_code, unused_imports)]

use std::process::ExitCode;
use std::time::Instant;

#[path = "../faults/mod.rs"]
mod faults;
#[path = "../support/mod.rs"]
mod support;

use faults::{FAULTS, Row, Scale};

fn main() -> ExitCode {
    let set = |name: &str| std::env::var(name).unwrap_or_default();
    if set("SOAK") != "1" {
        println!("soak: set SOAK=1 to run it (make soak does)");
        return ExitCode::SUCCESS;
    }
    let factor = set("SOAK_SCALE").parse().unwrap_or(1.0);
    let only = set("SOAK_ONLY");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let mut held = true;
    println!("{}", line(["fault", "requests", "failed", "stale", "longest", "p99", "held?"]));
    for fault in FAULTS.iter().filter(|fault| fault.name.contains(&only)) {
        let started = Instant::now();
        let row = runtime.block_on(async { tokio::spawn((fault.run)(Scale::soak(factor))).await });
        let seconds = started.elapsed().as_secs();
        held &= match row {
            Ok(row) => {
                print(fault.name, &row, seconds);
                row.held()
            }
            // What panicked has said why.
            Err(_) => {
                println!("{}", line([fault.name, "-", "-", "-", "-", "-", "NO: broken off"]));
                false
            }
        };
    }
    if held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn print(name: &str, row: &Row, seconds: u64) {
    let outcome = &row.outcome;
    println!(
        "{}",
        line([
            name,
            &outcome.sent.to_string(),
            &outcome.failures().to_string(),
            &outcome.stale.to_string(),
            &format!("{:.2} s", outcome.longest().as_secs_f64()),
            &format!("{:.0} ms", outcome.p99().as_secs_f64() * 1000.0),
            if row.held() { "yes" } else { "NO" },
        ])
    );
    for (bar, held) in &row.bars {
        println!("    {} {bar}", if *held { "held:  " } else { "MISSED:" });
    }
    for (failure, count) in &outcome.failed {
        println!("    failed: {count} x {}", failure.trim_end());
    }
    println!("    {}{}took {seconds} s", row.notes.join("; "), if row.notes.is_empty() { "" } else { "; " });
}

fn line(cells: [&str; 7]) -> String {
    let [fault, requests, failed, stale, longest, p99, held] = cells;
    format!("{fault:<34} {requests:>8} {failed:>7} {stale:>6} {longest:>9} {p99:>8}  {held}")
}

//! The standard gateway.

use std::process::ExitCode;

/// Pingora allocates some 70 times a request; the system's allocator costs a seventh of all of it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    ws_cloud_gateway::Gateway::standard().main()
}

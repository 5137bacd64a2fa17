//! What the tests drive the gateway with: the real binary, real etcd, scripted upstreams, and
//! clients that send exactly the bytes they are told to.
//!
//! Nothing here knows the gateway's code. A test waits for conditions, never for a length of time.

use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

pub mod certificates;
pub mod dns;
pub mod etcd;
pub mod frames;
pub mod gateway;
pub mod h2c;
pub mod http1;
pub mod load;
pub mod nginx;
pub mod pki;
pub mod process;
pub mod python;
pub mod sse;
pub mod tcp_proxy;
pub mod tls;
pub mod tmpfs;
pub mod tunnel;
pub mod upstream;

pub use etcd::Etcd;
pub use gateway::Gateway;
pub use http1::{Client, Request, Response};
pub use upstream::Upstream;

/// How long a condition may take before its test fails: much longer than it ever does.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until a condition holds.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    eventually_some(what, || {
        let holds = condition();
        async move { holds.await.then_some(()) }
    })
    .await;
}

/// Waits until there is something, and returns it.
pub async fn eventually_some<T, F: Future<Output = Option<T>>>(what: &str, mut find: impl FnMut() -> F) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = find().await {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "still not so after {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits for something that must not hang.
pub async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("hangs: {what}"))
}

/// An address on loopback that nothing listens on. From below the ephemeral range, so that no
/// outgoing connection takes it before the test does.
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const FIRST: u16 = 13_000;
    const SPAN: u16 = 19_000;
    let start = u16::try_from(std::process::id() * 61 % u32::from(SPAN)).unwrap();
    for _ in 0..SPAN {
        let offset = (u32::from(start) + u32::from(NEXT.fetch_add(1, Ordering::Relaxed))) % u32::from(SPAN);
        let address = SocketAddr::from(([127, 0, 0, 1], FIRST + u16::try_from(offset).unwrap()));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no free port from {FIRST} on")
}

/// Lays `over` onto `base`: objects are merged, anything else is replaced.
pub fn merge(base: &mut serde_json::Value, over: serde_json::Value) {
    match (base, over) {
        (serde_json::Value::Object(base), serde_json::Value::Object(over)) => {
            for (key, value) in over {
                merge(base.entry(key).or_insert(serde_json::Value::Null), value);
            }
        }
        (base, over) => *base = over,
    }
}

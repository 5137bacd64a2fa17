//! What systemd is told (`sd_notify`): a real datagram socket stands in for it.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use serde_json::json;

use crate::support::{Gateway, eventually_some};

/// The service manager's end.
struct Manager {
    socket: UnixDatagram,
    heard: std::sync::Mutex<Vec<String>>,
}

impl Manager {
    /// A gateway that is told of the manager, with its watchdog when asked for.
    async fn of(watchdog: Option<Duration>) -> (Self, Gateway) {
        let mut gateway = Gateway::prepare(json!({}));
        let path = gateway.dir().join("notify.sock");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        gateway = gateway.env("NOTIFY_SOCKET", path.to_str().unwrap());
        if let Some(interval) = watchdog {
            gateway = gateway.env("WATCHDOG_USEC", &interval.as_micros().to_string());
        }
        gateway.boot().await;
        (Self { socket, heard: std::sync::Mutex::default() }, gateway)
    }

    /// All that was said so far.
    fn said(&self) -> Vec<String> {
        let mut heard = self.heard.lock().unwrap();
        let mut bytes = [0; 4096];
        while let Ok(n) = self.socket.recv(&mut bytes) {
            heard.push(String::from_utf8_lossy(&bytes[..n]).into_owned());
        }
        heard.clone()
    }

    /// Waits for a message with these lines that comes after so many; returns how many there are with it.
    async fn hears(&self, after: usize, lines: &[&str]) -> usize {
        eventually_some(&format!("it says {lines:?}"), || async {
            let said = self.said();
            let has = |message: &String| lines.iter().all(|line| message.lines().any(|l| l.starts_with(line)));
            said.iter().skip(after).position(has).map(|at| after + at + 1)
        })
        .await
    }
}

#[tokio::test]
async fn start_reload_and_end_are_told() {
    let (manager, mut gateway) = Manager::of(None).await;
    let ready = manager.hears(0, &["READY=1", "STATUS=serving"]).await;
    gateway.signal("HUP");
    let reloading = manager.hears(ready, &["RELOADING=1", "MONOTONIC_USEC="]).await;
    let reloaded = manager.hears(reloading, &["READY=1", "STATUS=serving"]).await;
    std::fs::write(gateway.config(), "nonsense: 1").unwrap();
    gateway.signal("HUP");
    let failed = manager.hears(reloaded, &["READY=1", "STATUS=serving; the last reload failed"]).await;
    gateway.signal("TERM");
    manager.hears(failed, &["STOPPING=1"]).await;
    assert_eq!(gateway.process().ended().await.code(), Some(0));
    assert!(!manager.said().iter().any(|said| said.contains("WATCHDOG")), "nobody asked for it");
}

#[tokio::test]
async fn the_watchdog_is_fed_while_the_data_plane_runs_and_not_when_it_hangs() {
    let (manager, gateway) = Manager::of(Some(Duration::from_millis(800))).await;
    let first = manager.hears(0, &["WATCHDOG=1"]).await;
    let second = manager.hears(first, &["WATCHDOG=1"]).await;
    gateway.signal("STOP");
    tokio::time::sleep(Duration::from_millis(100)).await;
    let silent = manager.said().len();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(manager.said().len(), silent, "a process that hangs says nothing");
    gateway.signal("CONT");
    assert!(manager.hears(silent.max(second), &["WATCHDOG=1"]).await > silent);
}

#[tokio::test]
async fn an_upgrade_names_the_new_main_process_which_feeds_the_watchdog_then() {
    let (manager, gateway) = Manager::of(Some(Duration::from_secs(2))).await;
    let before = manager.said().len();
    assert!(gateway.command("upgrade").await.status.success());
    let successor = gateway.pid_in_charge();
    let named = manager.hears(before, &[&format!("MAINPID={successor}"), "READY=1"]).await;
    eventually_some("the old process ends", || async { (gateway.pids() == [successor]).then_some(()) }).await;
    let count = manager.said().len();
    manager.hears(count, &["WATCHDOG=1"]).await;
    assert!(!manager.said()[named..].iter().any(|said| said.contains("STOPPING")), "the service does not stop");
}

//! The gateway's own binary is replaced while it serves (R8), by one that works and by ones that do
//! not.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::{Row, Scale, load};
use crate::support::gateway::binary;
use crate::support::{Client, Gateway, Request, Upstream, eventually, h2c};

/// Puts a binary in place as a package manager does: whole, and under its name at once.
pub fn install(from: &Path, at: &Path) {
    let new = at.with_extension("new");
    std::fs::copy(from, &new).unwrap();
    std::fs::rename(&new, at).unwrap();
}

/// A binary in place of the gateway's that is a shell script.
pub fn install_script(script: &str, at: &Path) {
    let new = at.with_extension("new");
    std::fs::write(&new, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::rename(&new, at).unwrap();
}

/// Requests on a new connection each, and over HTTP/2, until it is stopped. Yields the failures.
fn beside(gateway: &Gateway, stop: tokio::sync::watch::Receiver<bool>) -> Vec<JoinHandle<Vec<String>>> {
    let (http, port) = (gateway.http, gateway.h2c);
    let stopped = stop.clone();
    let fresh = tokio::spawn(async move {
        let mut failures = Vec::new();
        while !*stopped.borrow() {
            match Request::get("/s/fresh").try_send(http).await {
                Ok(response) if response.status == 200 => {}
                Ok(response) => failures.push(format!("new connection: {}", response.status)),
                Err(e) => failures.push(format!("new connection: {e}")),
            }
            sleep(Duration::from_millis(10)).await;
        }
        failures
    });
    let streams = tokio::spawn(async move {
        let mut failures = Vec::new();
        let mut client = h2c::connect(port).await;
        while !*stop.borrow() {
            // What GOAWAY asks for: the next request goes over a new connection.
            if client.clone().ready().await.is_err() {
                client = h2c::connect(port).await;
            }
            let request = http::Request::get("http://gateway.test/s/h2").body(()).unwrap();
            match client.send_request(request, true) {
                Ok((response, _)) => match response.await {
                    Ok(response) if response.status() == 200 => {}
                    Ok(response) => failures.push(format!("HTTP/2: {}", response.status())),
                    // It crossed the final GOAWAY, which says that it was not looked at: to be sent
                    // again over a new connection, as the next one is (RFC 9113 section 6.8).
                    Err(e) if e.is_go_away() && e.reason() == Some(h2::Reason::NO_ERROR) => {}
                    Err(e) => failures.push(format!("HTTP/2: {e}")),
                },
                // GOAWAY came since we looked; nothing was sent.
                Err(e) if e.is_go_away() => {}
                Err(e) => failures.push(format!("HTTP/2: {e}")),
            }
            sleep(Duration::from_millis(10)).await;
        }
        failures
    });
    vec![fresh, streams]
}

async fn prepared() -> (Gateway, Upstream, std::path::PathBuf) {
    let mut gateway = Gateway::prepare(json!({}));
    let at = gateway.dir().join("gateway-binary");
    install(&binary(), &at);
    gateway = gateway.running(at.clone());
    gateway.boot().await;
    let upstream = Upstream::saying("x").await;
    gateway.serve("/s/*", &[upstream.address]).await;
    (gateway, upstream, at)
}

/// Three upgrades, each as soon as the one before is done. Connections that were idle all the time
/// are used at the end of the drain, too.
pub async fn three_times(scale: Scale) -> Row {
    let (gateway, _upstream, at) = prepared().await;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let load = load(scale, &gateway, "/s/x");
    let beside = beside(&gateway, stopped);
    sleep(Duration::from_secs(1)).await;
    let mut pids = vec![gateway.pid_in_charge()];
    let (mut longest, mut problems) = (Duration::ZERO, Vec::new());
    for round in 0..3 {
        let mut idle = Client::connect(gateway.http).await;
        idle.get("/s/idle").await.unwrap().expect(200);
        install(&binary(), &at);
        let started = std::time::Instant::now();
        let output = gateway.command("upgrade").await;
        longest = longest.max(started.elapsed());
        if !output.status.success() {
            problems.push(format!("upgrade {round}: {}", String::from_utf8_lossy(&output.stderr)));
        }
        pids.push(gateway.pid_in_charge());
        sleep(scale.seconds(10.0, 1.0)).await;
        match idle.get("/s/idle").await {
            Ok(response) if response.status == 200 && response.header("connection") == Some("close") => {}
            other => problems.push(format!("the idle connection of round {round}: {other:?}")),
        }
    }
    sleep(scale.seconds(5.0, 1.0)).await;
    stop.send_replace(true);
    for task in beside {
        problems.extend(task.await.unwrap());
    }
    let outcome = load.stop().await;
    let successor = gateway.pid_in_charge();
    let drained = async { eventually("the old ones end", || async { gateway.pids() == [successor] }).await };
    let in_time = tokio::time::timeout(Duration::from_secs(45), drained).await.is_ok();
    pids.sort_unstable();
    pids.dedup();
    Row::of(outcome)
        .lossless()
        .bar(format!("no other client saw a failure {problems:?}"), problems.is_empty())
        .bar(format!("four processes, one after the other: {pids:?}"), pids.len() == 4)
        .bar("the old ones have ended", in_time)
        .note(format!("an upgrade takes at most {longest:.1?}"))
}

/// Successors that end at once, say nothing, or do not like their configuration.
pub async fn failing(scale: Scale) -> Row {
    let (gateway, _upstream, at) = prepared().await;
    let mut config = gateway.read_config();
    config["upgrade"] = json!({"timeout": "1s"});
    gateway.write_config(&config);
    assert!(gateway.command("reload").await.status.success());
    let load = load(scale, &gateway, "/s/x");
    let mut bars = Vec::new();
    for (script, reason) in [
        ("exit 7", "exit status: 7"),
        ("kill -SEGV $$", "signal: 11"),
        ("exec sleep 100", "not ready within 1s"),
        ("exec /nowhere", "ended before it was ready"),
    ] {
        // `upgrade` itself must be a binary that works.
        install_script(script, &at);
        let output = command(&gateway, &binary()).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let held = output.status.code() == Some(1) && said.contains(reason);
        bars.push((format!("`{script}`: exit 1 with \"{reason}\": {}", said.trim()), held));
        sleep(scale.seconds(5.0, 0.3)).await;
    }
    let mut row = Row::of(load.stop().await).lossless();
    row.bars.extend(bars);
    row
}

async fn command(gateway: &Gateway, binary: &Path) -> std::process::Output {
    let mut command = tokio::process::Command::new(binary);
    command.args(["upgrade", "-c"]).arg(gateway.config()).current_dir(gateway.dir()).output().await.unwrap()
}

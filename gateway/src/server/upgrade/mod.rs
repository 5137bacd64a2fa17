//! A newer binary takes over without a failed request.
//!
//! The running process starts the binary that is now at its place, gives it the listening sockets,
//! and goes on serving. When the new one accepts connections the old one stops accepting and drains.
//! When it fails, or takes too long, it is ended and nothing has happened.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use tokio::signal::unix::Signal;

use self::line::{Line, Message};
use super::{Parts, notify};

mod line;
mod successor;

pub use successor::Predecessor;

/// How long the copy of the configuration on disk may take to catch up, with the embedded store.
const COPY_SETTLES: Duration = Duration::from_secs(8);

/// The program to start for an upgrade: what was started, by the name it was started by, since that
/// may be a link which points to a newer version later.
#[derive(Debug, Clone)]
pub(super) struct Program {
    path: PathBuf,
}

impl Program {
    /// Must be called before anything changes the working directory.
    pub(super) fn of_this_process() -> std::io::Result<Self> {
        let named = std::env::args_os().next().map(PathBuf::from).filter(|name| name.components().count() > 1);
        let named = named.and_then(|name| std::path::absolute(name).ok()).filter(|path| path.is_file());
        // After a replacement the kernel's own name for it says "(deleted)"; now it does not yet.
        let path = named.map_or_else(std::env::current_exe, Ok)?;
        Ok(Self { path })
    }

    fn command(&self) -> Command {
        let mut arguments = std::env::args_os();
        let mut command = Command::new(&self.path);
        if let Some(name) = arguments.next() {
            command.arg0(name);
        }
        command.args(arguments);
        // It is about the process that is watched, which this will be.
        command.env_remove("WATCHDOG_PID");
        command
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// Upgrades at each SIGUSR2, as nginx does.
pub(super) async fn on_signal(parts: Arc<Parts>, mut usr2: Signal) {
    while usr2.recv().await.is_some() {
        if upgrade(&parts).await.is_ok() {
            hand_over(&parts);
        }
    }
}

/// Starts the successor and waits until it is ready. Then [`hand_over`] is to be called.
///
/// # Errors
/// When there is no successor, in words for the operator; this process goes on then.
pub(super) async fn upgrade(parts: &Arc<Parts>) -> Result<String, String> {
    let upgraded = {
        let parts = Arc::clone(parts);
        tokio::task::spawn_blocking(move || {
            let Ok(_only) = parts.upgrading.try_lock() else { bail!("an upgrade is running already") };
            start_successor(&parts)
        })
        .await
    };
    match upgraded.map_err(anyhow::Error::from).flatten() {
        Ok(pid) => Ok(format!("process {} hands over to process {pid}", std::process::id())),
        Err(e) => {
            log::error!("not upgraded, this process goes on: {e:#}");
            Err(format!("{e:#}"))
        }
    }
}

/// This process goes, the successor is there.
pub(super) fn hand_over(parts: &Parts) {
    parts.ending.handed_over.send_replace(true);
}

fn start_successor(parts: &Parts) -> anyhow::Result<u32> {
    check(parts)?;
    let (line, end) = Line::pair().context("cannot make a socket pair")?;
    let program = &parts.program;
    log::info!("upgrade: starting {}", program.path().display());
    let mut command = program.command();
    command.stdin(Stdio::from(end)).env(successor::SUCCEEDS, std::process::id().to_string());
    let started = Instant::now();
    let mut child = command.spawn().with_context(|| format!("cannot start {}", program.path().display()))?;
    // It holds our copy of the other end: without it we are told when the successor ends.
    drop(command);
    let timeout = parts.reloads.borrow().upgrade.timeout;
    if let Err(e) = until_ready(parts, &line, &mut child, timeout) {
        // It may have ended by itself.
        drop(child.kill());
        drop(child.wait());
        return Err(e);
    }
    let pid = child.id();
    log::info!("upgrade: process {pid} took over after {:.1} s", started.elapsed().as_secs_f64());
    notify::main_process_is(pid);
    Ok(pid)
}

/// Whether this process can be succeeded at all.
fn check(parts: &Parts) -> anyhow::Result<()> {
    if parts.draining.load(Ordering::Relaxed) {
        bail!("this process is ending");
    }
    if !parts.listening.load(Ordering::Relaxed) {
        bail!("this process is only starting; try again when it is ready");
    }
    if std::process::id() == 1 {
        bail!("this is process 1 of a container, which ends with it; replace the container instead");
    }
    if parts.demo {
        bail!("a gateway with --demo cannot be upgraded: its demo upstreams would end; restart it");
    }
    if parts.embedded.is_none() {
        return Ok(());
    }
    // The successor serves the copy on disk until this process lets go of the store's file.
    if !parts.config.snapshot.enabled {
        bail!("with the embedded store an upgrade needs `snapshot.enabled: true`, or a restart");
    }
    let deadline = Instant::now() + COPY_SETTLES;
    while parts.status.unsaved() {
        if Instant::now() > deadline {
            let why = parts.status.disk_error().unwrap_or_else(|| "it changes too fast".into());
            bail!("the copy of the configuration on disk (snapshot.dir) is not up to date: {why}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn until_ready(parts: &Parts, line: &Line, child: &mut Child, timeout: Duration) -> anyhow::Result<()> {
    let sockets = parts.sockets.share_all().context("cannot share the sockets")?;
    if line.send_sockets(&sockets).is_err() {
        // It has ended already; how is more telling.
        return Err(ended(child));
    }
    line.set_timeout(timeout)?;
    match line.receive() {
        Ok(Some(Message::Ready)) => Ok(()),
        Ok(Some(Message::Failed(reason))) => Err(anyhow!("the new process failed: {reason}")),
        Ok(Some(other)) => Err(anyhow!("the new process said something unexpected: {other:?}")),
        Ok(None) => Err(ended(child)),
        Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
            Err(anyhow!("the new process was not ready within {timeout:?} (upgrade.timeout)"))
        }
        // It left the sockets unread.
        Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => Err(ended(child)),
        Err(e) => Err(e).context("the new process could not be heard"),
    }
}

fn ended(child: &mut Child) -> anyhow::Error {
    match child.wait() {
        Ok(status) => anyhow!("the new process ended before it was ready ({status})"),
        Err(e) => anyhow!("the new process ended before it was ready: {e}"),
    }
}

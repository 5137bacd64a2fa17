//! The new process's side: it inherits the sockets of the old one, and tells what became of it.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;

use super::line::{Line, Message};

/// Set for a successor to the process id of the one it succeeds. Stdin is the line between them.
pub(super) const SUCCEEDS: &str = "WS_CLOUD_GATEWAY_SUCCEEDS";

/// How long the old process may take to send what it promised when it started this one.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most bytes of a reason.
const LONGEST: usize = 8 << 10;

/// The process this one takes over from. It goes on until it is told that this one is ready.
pub struct Predecessor {
    line: Line,
    sockets: Mutex<BTreeMap<SocketAddr, OwnedFd>>,
}

impl Predecessor {
    /// The process that has started this one to succeed it, if that is how it was started.
    ///
    /// # Errors
    /// When it does not say what it should.
    pub fn find() -> anyhow::Result<Option<Self>> {
        let Ok(pid) = std::env::var(SUCCEEDS) else { return Ok(None) };
        let parent = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().to_string());
        if parent.as_deref() != Some(pid.as_str()) {
            // Handed on from a process further up.
            return Ok(None);
        }
        Self::receive().map(Some).context("cannot take over from the running gateway")
    }

    fn receive() -> anyhow::Result<Self> {
        let line = Line::over(rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?);
        rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
        line.set_timeout(PATIENCE)?;
        let sockets = Mutex::new(line.receive_sockets()?);
        Ok(Self { line, sockets })
    }

    pub(in super::super) fn take_sockets(&self) -> BTreeMap<SocketAddr, OwnedFd> {
        std::mem::take(&mut self.sockets.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// This process accepts connections; the old one may go.
    pub(in super::super) fn tell_ready(&self) {
        if let Err(e) = self.line.send(&Message::Ready) {
            log::warn!("the gateway before this one has gone already: {e}");
        }
    }

    /// This process gives up; the old one goes on.
    pub fn tell_failed(&self, reason: &str) {
        let end = reason.floor_char_boundary(LONGEST);
        if let Err(e) = self.line.send(&Message::Failed(reason[..end].into())) {
            log::debug!("nobody is there to be told: {e}");
        }
    }
}

//! The command that `register` runs, and the signals that are for it.

use std::io::IsTerminal as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitCode, ExitStatus};
use std::task::Poll;

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;
use tokio::signal::unix::{self, SignalKind};

/// What ends a command whose node cannot be registered.
pub(super) const TERMINATE: Signal = Signal::TERM;

/// Signals that end this process, or are the command's alone.
pub(super) struct Signals(Vec<(Signal, unix::Signal)>);

impl Signals {
    pub(super) fn new() -> std::io::Result<Self> {
        let caught = [
            (Signal::TERM, SignalKind::terminate()),
            (Signal::INT, SignalKind::interrupt()),
            (Signal::QUIT, SignalKind::quit()),
            (Signal::HUP, SignalKind::hangup()),
            (Signal::USR1, SignalKind::user_defined1()),
            (Signal::USR2, SignalKind::user_defined2()),
        ];
        caught.into_iter().map(|(signal, kind)| Ok((signal, unix::signal(kind)?))).collect::<Result<_, _>>().map(Self)
    }

    async fn next(&mut self) -> Signal {
        std::future::poll_fn(|cx| {
            let came =
                self.0.iter_mut().find_map(|(signal, stream)| stream.poll_recv(cx).is_ready().then_some(*signal));
            came.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

/// What ends a registration.
pub(super) enum End {
    /// The command ended, with this exit code.
    Ended(ExitCode),
    /// Someone asks for the end.
    Asked(Signal),
}

/// The command, if there is one.
pub(super) struct Child(Option<tokio::process::Child>);

impl Child {
    pub(super) fn spawn(command: &[String]) -> anyhow::Result<Self> {
        let Some((program, arguments)) = command.split_first() else { return Ok(Self(None)) };
        let child = Command::new(program).args(arguments).spawn();
        Ok(Self(Some(child.with_context(|| format!("cannot start the command {program}"))?)))
    }

    /// Waits for its end, or for a signal that ends a process. Other signals are handed on.
    pub(super) async fn end(&mut self, signals: &mut Signals) -> anyhow::Result<End> {
        loop {
            let signal = tokio::select! {
                code = self.ended() => return code.map(End::Ended),
                signal = signals.next() => signal,
            };
            // Without a command the others would end this process, too.
            if self.0.is_none() || [Signal::TERM, Signal::INT, Signal::QUIT].contains(&signal) {
                return Ok(End::Asked(signal));
            }
            self.send(signal);
        }
    }

    /// Waits for its end, and returns its exit code. Never ends without a command.
    async fn ended(&mut self) -> anyhow::Result<ExitCode> {
        match &mut self.0 {
            Some(child) => Ok(code(child.wait().await?)),
            None => std::future::pending().await,
        }
    }

    /// Hands on a signal that ends it, and waits for its end. Success without a command.
    pub(super) async fn stop(&mut self, signal: Signal, signals: &mut Signals) -> anyhow::Result<ExitCode> {
        if self.0.is_none() {
            return Ok(ExitCode::SUCCESS);
        }
        self.send(signal);
        loop {
            let again = tokio::select! {
                code = self.ended() => return code,
                signal = signals.next() => signal,
            };
            self.send(again);
        }
    }

    fn send(&self, signal: Signal) {
        // A terminal sends these to the whole group: the command has it already.
        if [Signal::INT, Signal::QUIT].contains(&signal) && std::io::stdin().is_terminal() {
            return;
        }
        let id = self.0.as_ref().and_then(tokio::process::Child::id).and_then(|id| i32::try_from(id).ok());
        if let Some(pid) = id.and_then(Pid::from_raw)
            && let Err(e) = kill_process(pid, signal)
        {
            log::debug!("the command did not get {signal:?}: {e}");
        }
    }
}

/// As a shell tells it: 128 and the signal, if one has ended it.
fn code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| Some(128 + status.signal()?)).and_then(|code| u8::try_from(code).ok());
    code.map_or(ExitCode::FAILURE, ExitCode::from)
}

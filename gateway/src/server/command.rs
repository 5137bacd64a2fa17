//! The socket in `runtime_dir` by which `ws-cloud-gateway reload` and `upgrade` reach the running
//! process, and `gateway.pid` beside it.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

use super::shutdown::reached;
use super::{Parts, reload, upgrade};

const SOCKET: &str = "control.sock";
const PID: &str = "gateway.pid";

/// How long a caller may take to say what it wants.
const ASKS: Duration = Duration::from_secs(5);
/// What a caller waits for an answer, beyond the time the work is given.
const ANSWERS: Duration = Duration::from_secs(60);

/// What a running gateway can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Read the configuration file again.
    Reload,
    /// Hand over to the binary on disk.
    Upgrade,
}

impl Command {
    fn name(self) -> &'static str {
        match self {
            Self::Reload => "reload",
            Self::Upgrade => "upgrade",
        }
    }
}

/// Tells the gateway that runs with this folder, and returns what it says.
///
/// # Errors
/// When there is none, or it could not do it, with its reason.
pub fn tell(runtime_dir: Option<&Path>, command: Command, takes: Duration) -> anyhow::Result<String> {
    let dir = runtime_dir.context("`runtime_dir` is null, so a running gateway cannot be told anything")?;
    let path = dir.join(SOCKET);
    let mut stream = BlockingStream::connect(&path).with_context(|| {
        format!("no gateway runs here: cannot connect to {} (runtime_dir of the configuration)", path.display())
    })?;
    stream.set_read_timeout(Some(takes + ANSWERS))?;
    stream.write_all(format!("{}\n", command.name()).as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("the gateway does not answer")?;
    match answer.trim_end().split_once('\n') {
        Some(("ok", text)) => Ok(text.to_owned()),
        Some(("error", reason)) => bail!("{reason}"),
        _ => bail!("the gateway gave no answer it should: \"{}\"", answer.trim_end()),
    }
}

/// The folder with what belongs to this process.
pub(super) struct RuntimeDir {
    dir: PathBuf,
}

impl RuntimeDir {
    /// Takes the folder for this process and begins to listen. What is wrong with the folder is said
    /// in the log: the gateway serves all the same.
    pub(super) async fn open(parts: &Arc<Parts>, takes_over: bool) -> Option<Self> {
        let dir = parts.config.runtime_dir.clone()?;
        let this = Self { dir };
        match this.listen(takes_over).await {
            Ok(listener) => {
                tokio::spawn(serve(listener, Arc::clone(parts)));
                Some(this)
            }
            Err(e) => {
                log::warn!("`reload` and `upgrade` will not reach this process: {e:#}");
                None
            }
        }
    }

    async fn listen(&self, takes_over: bool) -> anyhow::Result<UnixListener> {
        let dir = self.dir.display();
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.dir)
            .with_context(|| format!("cannot make {dir}"))?;
        fs::set_permissions(&self.dir, Permissions::from_mode(0o700)).with_context(|| format!("runtime_dir {dir}"))?;
        let socket = self.dir.join(SOCKET);
        if !takes_over && UnixStream::connect(&socket).await.is_ok() {
            bail!("another gateway runs with runtime_dir {dir}; give this one its own");
        }
        // Under another name first, so that there is never none.
        let new = self.dir.join(format!("{SOCKET}.{}", std::process::id()));
        remove(&new);
        let listener = UnixListener::bind(&new).with_context(|| format!("cannot listen on {}", new.display()))?;
        fs::rename(&new, &socket)?;
        self.write_pid().with_context(|| format!("cannot write {dir}/{PID}"))?;
        Ok(listener)
    }

    fn write_pid(&self) -> io::Result<()> {
        let new = self.dir.join(format!("{PID}.{}", std::process::id()));
        fs::write(&new, format!("{}\n", std::process::id()))?;
        fs::rename(new, self.dir.join(PID))
    }

    /// Leaves the folder as no process's; not when another has taken over, whose it is then.
    pub(super) fn close(&self) {
        let ours = fs::read_to_string(self.dir.join(PID)).is_ok_and(|pid| pid.trim() == std::process::id().to_string());
        if ours {
            remove(&self.dir.join(SOCKET));
            remove(&self.dir.join(PID));
        }
    }
}

fn remove(path: &Path) {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => log::debug!("{} stays: {e}", path.display()),
        _ => {}
    }
}

async fn serve(listener: UnixListener, parts: Arc<Parts>) {
    let mut retired = parts.ending.retired.subscribe();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(tokio::spawn(converse(stream, Arc::clone(&parts)))),
                Err(e) => {
                    log::warn!("the socket in runtime_dir: {e}");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            },
            () = reached(&mut retired) => return,
        }
    }
}

async fn converse(mut stream: UnixStream, parts: Arc<Parts>) {
    let asked = match tokio::time::timeout(ASKS, read_line(&mut stream)).await {
        Ok(Ok(asked)) => asked,
        // Someone looked whether we are there.
        _ => return,
    };
    let mut handing_over = false;
    let answer = match asked.as_str() {
        "reload" => reload::reload(&parts).await,
        "upgrade" => {
            let upgraded = upgrade::upgrade(&parts).await;
            handing_over = upgraded.is_ok();
            upgraded
        }
        other => Err(format!("this version knows no command \"{other}\"")),
    };
    let answer = match answer {
        Ok(text) => format!("ok\n{text}\n"),
        Err(reason) => format!("error\n{reason}\n"),
    };
    if let Err(e) = stream.write_all(answer.as_bytes()).await {
        log::debug!("who asked for {asked} has gone: {e}");
    }
    if handing_over {
        upgrade::hand_over(&parts);
    }
}

async fn read_line(stream: &mut UnixStream) -> io::Result<String> {
    let mut line = Vec::new();
    while line.len() < 64 {
        match stream.read_u8().await? {
            b'\n' => break,
            byte => line.push(byte),
        }
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}

//! Python programs of `t/`, run by the virtual environment that `make deps` makes.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::in_time;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

fn interpreter() -> Command {
    let python = repository().join(".venv/bin/python3");
    assert!(python.exists(), "{} is missing: run `make deps`", python.display());
    let mut command = Command::new(python);
    command.arg("-u").stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// A command that runs `t/<script>`.
pub fn python(script: &str) -> Command {
    let mut command = interpreter();
    command.arg(repository().join("t").join(script));
    command
}

/// A command that runs a program of a package.
pub fn module(name: &str) -> Command {
    let mut command = interpreter();
    command.args(["-m", name]);
    command
}

/// Runs a script to its end and returns what it printed; a failure of the script fails the test.
#[track_caller]
pub fn run(script: &'static str, arguments: Vec<String>) -> impl Future<Output = String> {
    let output = python(script).args(&arguments).output();
    async move {
        let output = in_time(script, output).await.unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{script} {arguments:?}:\n{out}\n{err}");
        out.into_owned()
    }
}

/// A script that serves: the first line it prints is its port, later ones are events.
pub struct Server {
    pub address: std::net::SocketAddr,
    lines: Lines<BufReader<ChildStdout>>,
    _child: Child,
}

impl Server {
    pub async fn start(script: &str) -> Self {
        Self::start_with(script, &[]).await
    }

    pub async fn start_with(script: &str, arguments: &[&str]) -> Self {
        let mut child = python(script).args(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = in_time("the server's port", lines.next_line()).await.unwrap().expect("a port");
        let address = format!("127.0.0.1:{port}").parse().unwrap();
        Self { address, lines, _child: child }
    }

    /// The next line.
    pub async fn line(&mut self) -> String {
        in_time("the server says something", self.lines.next_line()).await.unwrap().expect("the server runs")
    }

    /// Waits for a line.
    pub async fn says(&mut self, expected: &str) {
        in_time(&format!("the server says {expected:?}"), async {
            while let Some(line) = self.lines.next_line().await.unwrap() {
                if line == expected {
                    return;
                }
            }
            panic!("the server has ended without {expected:?}")
        })
        .await;
    }
}

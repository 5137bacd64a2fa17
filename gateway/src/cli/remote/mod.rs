//! The commands that speak to a running gateway: what is declared, exported and applied, what
//! differs, what was changed by whom, and how to go back.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use http::Method;
use serde_json::{Value, json};

use super::{say, say_error};
use client::{Gateway, Query};

mod client;
mod show;

/// What `diff` ends with when it could not compare.
const TROUBLE: u8 = 2;

#[derive(Debug, Subcommand)]
pub(super) enum RemoteCommand {
    /// Print all that operators declare as one document, which `apply` takes.
    Export(Export),
    /// Make what a document declares so, in one change. What it does not name stays.
    Apply(Apply),
    /// Show what `apply` would change. Ends with 0 when that is nothing, 1 when it is something,
    /// 2 when it could not be found out.
    Diff(Declared),
    /// Print an object, or the names of all of a kind.
    Get(Get),
    /// Tell what would become of a request, and why, without sending it.
    Explain(Explain),
    /// List the revisions of what is declared, the newest first.
    History(History),
    /// Make all that is declared what it was after a revision.
    Rollback(Rollback),
    /// Keep a change that was made with --confirm-within.
    Confirm(Revision),
    /// Take back a change that was made with --confirm-within.
    Undo(Revision),
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Yaml,
    Json,
}

#[derive(Debug, Args)]
pub(super) struct Export {
    #[command(flatten)]
    gateway: Gateway,
    /// Only objects of this kind: routes, services, nodes, ... Can be given more than once.
    #[arg(long)]
    kind: Vec<String>,
    /// Only objects with this label, such as team=shop. Can be given more than once.
    #[arg(long)]
    label: Vec<String>,
    #[arg(short, long, value_enum, default_value = "yaml")]
    output: Format,
}

#[derive(Debug, Args)]
pub(super) struct Declared {
    #[command(flatten)]
    gateway: Gateway,
    /// The document, YAML or JSON; `-` is the standard input.
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// Delete what has this label and is not in the document, such as team=shop. Can be given more
    /// than once; then all of them must fit.
    #[arg(long, value_name = "LABEL")]
    prune: Vec<String>,
}

#[derive(Debug, Args)]
struct Why {
    /// Why, for the history.
    #[arg(long)]
    reason: Option<String>,
    /// Take the change back by itself unless it is confirmed in this time, such as 5m.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    confirm_within: Option<Duration>,
    /// Only show what would change.
    #[arg(long)]
    dry_run: bool,
}

impl Why {
    fn query(&self) -> Query {
        Query::default()
            .with("reason", self.reason.clone())
            .with("confirm_within", self.confirm_within.map(|within| humantime::format_duration(within).to_string()))
            .with("dry_run", self.dry_run.then(|| "true".to_owned()))
    }
}

#[derive(Debug, Args)]
pub(super) struct Apply {
    #[command(flatten)]
    declared: Declared,
    #[command(flatten)]
    why: Why,
}

#[derive(Debug, Args)]
pub(super) struct Get {
    #[command(flatten)]
    gateway: Gateway,
    /// routes, services, nodes, node-overlays, global-plugins or certificates.
    kind: String,
    /// Its name.
    name: Option<String>,
    #[arg(short, long, value_enum, default_value = "yaml")]
    output: Format,
}

#[derive(Debug, Args)]
pub(super) struct Explain {
    #[command(flatten)]
    gateway: Gateway,
    /// What is asked for: https://shop.example.com/cart?id=7, or a path.
    #[arg(value_name = "REQUEST")]
    request: String,
    #[arg(short = 'X', long, default_value = "GET")]
    method: String,
    /// A header, as curl takes it: "X-User: ann". Can be given more than once.
    #[arg(short = 'H', long = "header", value_name = "HEADER")]
    headers: Vec<String>,
    /// From where it comes.
    #[arg(long, value_name = "IP")]
    client_ip: Option<std::net::IpAddr>,
    /// Print the whole answer.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct History {
    #[command(flatten)]
    gateway: Gateway,
    /// Show this one in full.
    revision: Option<u64>,
    /// How many.
    #[arg(long, default_value_t = 20)]
    limit: u32,
}

#[derive(Debug, Args)]
pub(super) struct Rollback {
    #[command(flatten)]
    revision: Revision,
    #[command(flatten)]
    why: Why,
}

#[derive(Debug, Args)]
pub(super) struct Revision {
    #[command(flatten)]
    gateway: Gateway,
    /// The revision, as `history` shows it.
    revision: u64,
}

pub(super) fn run(command: &RemoteCommand) -> anyhow::Result<ExitCode> {
    match command {
        RemoteCommand::Export(args) => args.run(),
        RemoteCommand::Apply(args) => args.run(),
        RemoteCommand::Diff(args) => Ok(args.diff()),
        RemoteCommand::Get(args) => args.run(),
        RemoteCommand::Explain(args) => args.run(),
        RemoteCommand::History(args) => args.run(),
        RemoteCommand::Rollback(Rollback { revision, why }) => revision.post("restore", &why.query()),
        RemoteCommand::Confirm(revision) => revision.post("confirm", &Query::default()),
        RemoteCommand::Undo(revision) => revision.post("undo", &Query::default()),
    }
}

impl Export {
    fn run(&self) -> anyhow::Result<ExitCode> {
        let format = match self.output {
            Format::Yaml => "yaml",
            Format::Json => "json",
        };
        let query = Query::default()
            .with("kind", self.kind.clone())
            .with("label", self.label.clone())
            .with("format", [format.to_owned()]);
        say(self.gateway.call(Method::GET, "export", &query, Vec::new())?.trim_end())?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Declared {
    fn apply(&self, query: Query) -> anyhow::Result<Value> {
        let query = query.with("prune", self.prune.clone());
        self.gateway.json(Method::POST, "apply", &query, read(&self.file)?)
    }

    fn diff(&self) -> ExitCode {
        let compared = self.apply(Query::default().with("dry_run", ["true".to_owned()])).and_then(|outcome| {
            show::changes(&outcome)?;
            Ok(outcome["changes"].as_array().is_none_or(Vec::is_empty))
        });
        match compared {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(e) => {
                say_error(&format!("error: {e:#}"));
                ExitCode::from(TROUBLE)
            }
        }
    }
}

impl Apply {
    fn run(&self) -> anyhow::Result<ExitCode> {
        show::outcome(&self.declared.apply(self.why.query())?)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    let mut document = Vec::new();
    if file == Path::new("-") {
        std::io::stdin().read_to_end(&mut document).context("the standard input cannot be read")?;
        return Ok(document);
    }
    std::fs::read(file).with_context(|| format!("{} cannot be read", file.display()))
}

impl Get {
    fn run(&self) -> anyhow::Result<ExitCode> {
        match &self.name {
            Some(name) => {
                let name = percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC);
                let path = format!("{}/{name}", self.kind);
                let object = self.gateway.json(Method::GET, &path, &Query::default(), Vec::new())?;
                say(&match self.output {
                    Format::Json => serde_json::to_string_pretty(&object)?,
                    Format::Yaml => serde_saphyr::to_string(&object)?.trim_end().to_owned(),
                })?;
            }
            None => {
                let query = Query::default().with("limit", ["10000".to_owned()]);
                let list = self.gateway.json(Method::GET, &self.kind, &query, Vec::new())?;
                show::names(&list)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Explain {
    fn run(&self) -> anyhow::Result<ExitCode> {
        let mut headers = BTreeMap::<&str, Vec<&str>>::new();
        for header in &self.headers {
            let (name, value) = header.split_once(':').with_context(|| {
                format!("-H {header:?} is no header; expected a name and a value, such as \"X-User: ann\"")
            })?;
            headers.entry(name.trim()).or_default().push(value.trim());
        }
        let mut question = json!({"url": self.request, "method": self.method, "headers": headers});
        if let Some(ip) = self.client_ip {
            question["client_ip"] = ip.to_string().into();
        }
        let question = question.to_string().into_bytes();
        let answer = self.gateway.json(Method::POST, "explain", &Query::default(), question)?;
        if self.json {
            say(&serde_json::to_string_pretty(&answer)?)?;
        } else {
            show::explanation(&answer)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl History {
    fn run(&self) -> anyhow::Result<ExitCode> {
        let get = |path: &str, query: Query| self.gateway.json(Method::GET, path, &query, Vec::new());
        match self.revision {
            Some(revision) => {
                let record = get(&format!("history/{revision}"), Query::default())?;
                say(&show::revision(&record))?;
                show::changes(&record)?;
            }
            None => {
                let list = get("history", Query::default().with("limit", [self.limit.to_string()]))?;
                for record in list["items"].as_array().into_iter().flatten() {
                    say(&show::revision(record))?;
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Revision {
    fn post(&self, what: &str, query: &Query) -> anyhow::Result<ExitCode> {
        let path = format!("history/{}/{what}", self.revision);
        show::outcome(&self.gateway.json(Method::POST, &path, query, Vec::new())?)?;
        Ok(ExitCode::SUCCESS)
    }
}

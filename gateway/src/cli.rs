//! The command line.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{CommandFactory, Parser, Subcommand};
use ws_cloud_plugin_sdk::Factory;

use crate::config::{self, Config};
use crate::server::{self, Predecessor, RunOptions};

mod check;
mod register;
mod remote;
mod secrets;
mod store;

/// A light, programmable HTTP and gRPC gateway.
#[derive(Debug, Parser)]
#[command(name = "ws-cloud-gateway", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway (also without a command).
    Run(RunArgs),
    /// Tell the running gateway to read its configuration file again, as SIGHUP does. Says what
    /// changed, and what needs a restart.
    Reload(FileArg),
    /// Let the binary that is on disk now take over from the running gateway, without a failed
    /// request. Its arguments are those of the running one. When it fails the old one goes on.
    Upgrade(FileArg),
    /// Check the configuration file and the content of its store, without starting.
    Check(FileArg),
    /// Keep a node of a service registered, as long as this process or a command runs.
    Register(Box<register::RegisterArgs>),
    #[command(flatten)]
    Remote(remote::RemoteCommand),
    /// Move what a store holds.
    #[command(subcommand)]
    Store(store::StoreCommand),
    /// Accounts of the Admin API.
    #[command(subcommand)]
    Admin(AdminCommand),
    /// The key that secrets in the store are encrypted with.
    #[command(subcommand)]
    Secrets(SecretsCommand),
    /// Print the version.
    Version,
    /// Print shell completions.
    Completions {
        /// bash, elvish, fish, powershell or zsh.
        shell: clap_complete::Shell,
    },
    /// Print the manual page.
    Man,
}

#[derive(Debug, Subcommand)]
enum AdminCommand {
    /// Give an account a new, generated password and print it. With the embedded store the gateway
    /// must not be running.
    ResetPassword {
        #[command(flatten)]
        file: FileArg,
        /// The account.
        #[arg(default_value = "admin")]
        user: String,
    },
}

#[derive(Debug, Subcommand)]
enum SecretsCommand {
    /// Encrypt all secrets of the store with the first of the configured keys. With the embedded
    /// store the gateway must not be running.
    Rotate {
        #[command(flatten)]
        file: FileArg,
        /// Make a new key in the key file first, and take the old ones out of it in the end.
        #[arg(long)]
        generate: bool,
    },
}

#[derive(Debug, clap::Args)]
struct FileArg {
    /// The configuration file: YAML, or the app.json of the first gateway.
    #[arg(short, long, value_name = "FILE", env = "GATEWAY_CONFIG_FILE", default_value = "etc/gateway.yaml")]
    config: PathBuf,
}

#[derive(Debug, clap::Args)]
struct RunArgs {
    #[command(flatten)]
    file: FileArg,
    /// Run with demo upstreams inside, and demo routes in the store.
    #[arg(long)]
    demo: bool,
}

/// Runs the command of the process's arguments. 0: done; 1: it failed; 2: wrong usage.
pub(crate) fn main(factories: Vec<Factory>) -> ExitCode {
    let cli = Cli::parse();
    match execute(cli.command.unwrap_or(Command::Run(cli.run)), factories) {
        Ok(code) => code,
        Err(e) => {
            say_error(&format!("error: {e:#}"));
            ExitCode::FAILURE
        }
    }
}

fn execute(command: Command, factories: Vec<Factory>) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run(args) => run(args, factories)?,
        Command::Reload(file) => tell(&file, server::Command::Reload)?,
        Command::Upgrade(file) => tell(&file, server::Command::Upgrade)?,
        Command::Check(file) => return check::run(&load(&file)?, factories),
        Command::Register(args) => return register::run(&args),
        Command::Remote(command) => return remote::run(&command),
        Command::Store(command) => store::run(&command)?,
        Command::Admin(AdminCommand::ResetPassword { file, user }) => reset_password(&load(&file)?, &user)?,
        Command::Secrets(SecretsCommand::Rotate { file, generate }) => secrets::rotate(&load(&file)?, generate)?,
        Command::Version => say(&format!("ws-cloud-gateway {}", env!("CARGO_PKG_VERSION")))?,
        Command::Completions { shell } => {
            let mut command = Cli::command();
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut command, "ws-cloud-gateway", &mut text);
            std::io::stdout().write_all(&text)?;
        }
        Command::Man => clap_mangen::Man::new(Cli::command()).render(&mut std::io::stdout())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn run(args: RunArgs, factories: Vec<Factory>) -> anyhow::Result<()> {
    let predecessor = Predecessor::find()?.map(Arc::new);
    let result = load(&args.file).and_then(|config| {
        let predecessor = predecessor.clone();
        server::run(config, factories, &RunOptions { config_file: args.file.config, predecessor, demo: args.demo })
    });
    if let (Some(predecessor), Err(e)) = (predecessor, &result) {
        predecessor.tell_failed(&format!("{e:#}"));
    }
    result
}

/// Has the running gateway do something, and prints what it says.
fn tell(file: &FileArg, command: server::Command) -> anyhow::Result<()> {
    let config = load(file)?;
    say(&server::tell(config.runtime_dir.as_deref(), command, config.upgrade.timeout)?)
}

fn load(file: &FileArg) -> anyhow::Result<Config> {
    Ok(config::load(&file.config)?)
}

fn reset_password(config: &Config, user: &str) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let password = runtime.block_on(async {
        let store = server::store::open(&config.store)?;
        anyhow::Ok(crate::admin::reset_password(&store, &config.store.data_prefix, user).await?)
    })?;
    say(&format!("{user} password: {password}"))
}

/// Prints a line. A reader that has gone away (`check | head`) has seen enough.
fn say(line: &str) -> anyhow::Result<()> {
    match writeln!(std::io::stdout(), "{line}") {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(e.into()),
        _ => Ok(()),
    }
}

#[allow(clippy::print_stderr)]
fn say_error(line: &str) {
    eprintln!("{line}");
}

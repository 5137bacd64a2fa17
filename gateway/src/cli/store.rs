//! `store copy`: moves all keys from one store to another, or to a file and back.

use std::collections::BTreeMap;

use super::say;
use crate::resource::key::SECRETS_KEY;
use content::Content;
use copy::{Copied, Mode};
use place::Place;

mod content;
mod copy;
mod file;
mod place;

#[derive(Debug, clap::Subcommand)]
pub(super) enum StoreCommand {
    /// Copy all keys below the data prefix to another store, or to a file and back.
    ///
    /// A place is one of: embedded:PATH, etcd:URL[,URL...], config:FILE (the store that a gateway's
    /// configuration names), file:PATH (JSON lines). An embedded store must not be in use by a
    /// gateway. ETCD_USER and ETCD_PASSWORD are the login for etcd:; config: has its own, and TLS.
    ///
    /// Nodes that services registered under a lease are left out: their services register again.
    /// A copy that was interrupted goes on when it is run again.
    Copy(CopyArgs),
}

#[derive(Debug, clap::Args)]
pub(super) struct CopyArgs {
    /// Where to copy from.
    #[arg(long, value_name = "PLACE")]
    from: String,
    /// Where to copy to.
    #[arg(long, value_name = "PLACE")]
    to: String,
    /// What the keys begin with, where no configuration file says so.
    #[arg(long, value_name = "PREFIX", default_value = "/my/cloud/")]
    data_prefix: String,
    /// Make a target that is not empty an exact copy: what else is in it is deleted.
    #[arg(long)]
    replace: bool,
    /// Write over a target that is not empty, and keep what else is in it.
    #[arg(long, conflicts_with = "replace")]
    merge: bool,
    /// Only tell what would be done.
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(StoreCommand::Copy(args): &StoreCommand) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let from = Place::parse("--from", &args.from, &args.data_prefix)?;
        let to = Place::parse("--to", &args.to, &args.data_prefix)?;
        anyhow::ensure!(from.name() != to.name(), "--from and --to are the same place, {}", from.name());
        let mode = match (args.replace, args.merge) {
            (true, _) => Mode::Replace,
            (_, true) => Mode::Merge,
            _ => Mode::OnlyEmpty,
        };
        let source = from.read().await?;
        let copied = if args.dry_run {
            copy::plan(&source, &to, mode, from.name()).await?
        } else {
            copy::copy(&source, &to, mode, from.name()).await?
        };
        report(&source, &copied, args.dry_run)
    })
}

fn report(source: &Content, copied: &Copied, dry_run: bool) -> anyhow::Result<()> {
    let mut families: BTreeMap<&str, [usize; 4]> = BTreeMap::new();
    for (column, keys) in [&copied.written, &copied.unchanged, &copied.deleted, &source.registered].iter().enumerate() {
        for key in *keys {
            families.entry(content::family(key)).or_default()[column] += 1;
        }
    }
    for (family, counts) in families {
        let names =
            ["written", "already there", "deleted", "left out (registered under a lease; services register again)"];
        let parts: Vec<_> =
            counts.iter().zip(names).filter(|(n, _)| **n > 0).map(|(n, name)| format!("{n} {name}")).collect();
        say(&format!("{family}: {}", parts.join(", ")))?;
    }
    let (count, digest) = (source.entries.len(), source.digest());
    if dry_run {
        say(&format!("would be a copy of {count} keys, sha256 {digest}; nothing was written"))
    } else {
        say(&format!("verified: {count} keys, sha256 {digest}"))?;
        if source.entries.contains_key(SECRETS_KEY) {
            say("secrets are copied encrypted: the gateway on the copy needs the same secrets.key")?;
        }
        Ok(())
    }
}

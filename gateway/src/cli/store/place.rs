//! Where a copy comes from or goes to, as named on the command line.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};

use super::content::Content;
use super::file;
use crate::config::{self, EtcdConfig, StoreConfig, StoreKind};
use crate::server;
use crate::store::SharedStore;

/// A place, not yet opened.
pub(super) struct Place {
    name: String,
    kind: Kind,
}

enum Kind {
    Store(Box<StoreConfig>),
    File(PathBuf),
}

/// A store, opened.
pub(super) struct Opened {
    pub(super) store: SharedStore,
    pub(super) prefix: String,
}

impl Place {
    /// Reads `embedded:PATH`, `etcd:URL[,URL]`, `config:FILE` or `file:PATH`.
    pub(super) fn parse(option: &str, text: &str, prefix: &str) -> anyhow::Result<Self> {
        ensure!(config::is_data_prefix(prefix), "--data-prefix {prefix} must begin and end with `/`, without `//`");
        let expected = "expected embedded:PATH, etcd:URL[,URL], config:FILE or file:PATH";
        let Some((kind, place)) = text.split_once(':').filter(|(_, place)| !place.is_empty()) else {
            bail!("{option} \"{text}\" is no place; {expected}");
        };
        let mut store = StoreConfig { data_prefix: prefix.to_owned(), ..StoreConfig::default() };
        match kind {
            "embedded" => store.embedded.path = place.into(),
            "etcd" => {
                store.kind = StoreKind::Etcd;
                store.etcd = etcd(place);
            }
            "config" => store = config::load(Path::new(place))?.store,
            "file" => return Ok(Self { name: text.to_owned(), kind: Kind::File(place.into()) }),
            _ => bail!("{option} \"{text}\" is no place; {expected}"),
        }
        Ok(Self { name: name(&store), kind: Kind::Store(Box::new(store)) })
    }

    /// What it is, for people; the same for two ways to say the same.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The file, if it is one.
    pub(super) fn file(&self) -> Option<&Path> {
        match &self.kind {
            Kind::File(path) => Some(path),
            Kind::Store(_) => None,
        }
    }

    /// Whether nothing is there, and opening it would make it.
    pub(super) fn is_absent(&self) -> bool {
        match &self.kind {
            Kind::File(path) => !path.exists(),
            Kind::Store(store) => store.kind == StoreKind::Embedded && !store.embedded.path.exists(),
        }
    }

    /// Opens a store; an embedded one is made if it is not there.
    pub(super) fn open(&self) -> anyhow::Result<Opened> {
        let Kind::Store(config) = &self.kind else { bail!("{} is no store", self.name) };
        let store = match server::store::open(config) {
            Ok(store) => store,
            Err(e) => return Err(e.context(self.name.clone())),
        };
        Ok(Opened { store: Arc::clone(&store), prefix: config.data_prefix.clone() })
    }

    /// Reads all of it. One that is not there is an error.
    pub(super) async fn read(&self) -> anyhow::Result<Content> {
        ensure!(!self.is_absent(), "{} does not exist", self.name);
        match &self.kind {
            Kind::File(path) => file::read(path),
            Kind::Store(_) => {
                let Opened { store, prefix } = self.open()?;
                Content::of(&store, &prefix).await.with_context(|| format!("{} cannot be read", self.name))
            }
        }
    }
}

fn etcd(urls: &str) -> EtcdConfig {
    let (user, password) = (std::env::var("ETCD_USER").ok(), std::env::var("ETCD_PASSWORD").ok());
    EtcdConfig { endpoints: urls.split(',').map(str::to_owned).collect(), user, password, ..EtcdConfig::default() }
}

fn name(store: &StoreConfig) -> String {
    match store.kind {
        StoreKind::Embedded => {
            let path = &store.embedded.path;
            let path = path.canonicalize().or_else(|_| std::path::absolute(path)).unwrap_or_else(|_| path.clone());
            format!("embedded:{}{}", path.display(), suffix(store))
        }
        StoreKind::Etcd => format!("etcd:{}{}", store.etcd.endpoints.join(","), suffix(store)),
    }
}

/// Two prefixes of one store are two places.
fn suffix(store: &StoreConfig) -> String {
    format!(" ({})", store.data_prefix)
}

//! Opens the store the configuration names, and fills it for the demo.

use std::sync::Arc;

use anyhow::Context as _;
use serde_json::Value;

use crate::config::{StoreConfig, StoreKind};
use crate::store::embedded::EmbeddedStore;
use crate::store::etcd::{EtcdOptions, EtcdStore, EtcdTls};
use crate::store::{Guard, Op, SharedStore, StoreError};

/// Opens the store. An etcd that is away is no error: the store connects when it can.
///
/// # Errors
/// When the settings are wrong, or the database file cannot be used.
pub fn open(config: &StoreConfig) -> anyhow::Result<SharedStore> {
    Ok(open_or_await(config, false)?.0)
}

/// As [`open`]; an embedded store also as such. When this process takes over from another its file
/// is opened as soon as that one lets go.
pub(super) fn open_or_await(
    config: &StoreConfig,
    takes_over: bool,
) -> anyhow::Result<(SharedStore, Option<Arc<EmbeddedStore>>)> {
    Ok(match config.kind {
        StoreKind::Embedded => {
            let path = &config.embedded.path;
            let opened = if takes_over { EmbeddedStore::take_over(path) } else { EmbeddedStore::open(path) };
            let store = Arc::new(opened.context("store.embedded")?);
            (Arc::<EmbeddedStore>::clone(&store), Some(store))
        }
        StoreKind::Etcd => {
            let etcd = &config.etcd;
            let options = EtcdOptions {
                endpoints: etcd.endpoints.clone(),
                user: etcd.user.clone(),
                password: etcd.password.clone(),
                tls: etcd.tls.as_ref().map(|tls| EtcdTls {
                    ca_file: tls.ca_file.clone(),
                    cert_file: tls.cert_file.clone(),
                    key_file: tls.key_file.clone(),
                    server_name: tls.server_name.clone(),
                }),
                connect_timeout: etcd.connect_timeout,
                request_timeout: etcd.request_timeout,
                ..EtcdOptions::default()
            };
            (Arc::new(EtcdStore::connect(options).context("store.etcd")?), None)
        }
    })
}

/// Writes objects whose keys do not exist yet.
///
/// # Errors
/// When the store fails.
pub async fn seed(store: &SharedStore, prefix: &str, objects: Vec<(String, Value)>) -> Result<(), StoreError> {
    for (key, object) in objects {
        let key = format!("{prefix}{key}");
        let written = store.txn(vec![Guard::Absent(key.clone())], vec![Op::put(key, object.to_string())]).await;
        if !matches!(written, Err(StoreError::Conflict)) {
            written?;
        }
    }
    Ok(())
}

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
    Ok(match config.kind {
        StoreKind::Embedded => Arc::new(EmbeddedStore::open(&config.embedded.path).context("store.embedded")?),
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
            Arc::new(EtcdStore::connect(options).context("store.etcd")?)
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

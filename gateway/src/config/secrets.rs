//! The key that secrets in the store are encrypted with.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The key of secrets: certificates' private keys in the store are encrypted with it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct SecretsConfig {
    /// The key, 32 bytes in base64. More keys after it only decrypt.
    #[serde(skip_serializing)]
    pub key: Option<String>,
    /// The file it is in instead. With the embedded store one is made when neither is given.
    pub key_file: Option<PathBuf>,
}

impl std::fmt::Debug for SecretsConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecretsConfig").field("key_file", &self.key_file).finish_non_exhaustive()
    }
}

//! What is demanded of clients: whether they show a certificate, and who signed it.

use std::sync::Arc;

use openssl::sha::Sha256;
use openssl::x509::X509;

use super::Settings;
use crate::resource::{ClientAuth, Invalid, client_cas};

/// What a server name demands of clients.
#[derive(Clone)]
pub struct Policy {
    /// Whether they are asked for a certificate.
    pub auth: ClientAuth,
    /// Who signs those.
    pub cas: Vec<X509>,
    /// The same for policies that demand the same.
    id: [u8; 32],
}

impl Policy {
    /// A policy. `cas` are needed by all but [`ClientAuth::None`].
    pub fn new(auth: ClientAuth, cas: Vec<X509>) -> Result<Self, Invalid> {
        if auth != ClientAuth::None && cas.is_empty() {
            return Err(Invalid::at(
                "client_ca",
                "is missing; client_auth needs the CA that signs client certificates",
            ));
        }
        let mut hash = Sha256::new();
        hash.update(&[auth as u8]);
        for ca in cas.iter().filter(|_| auth != ClientAuth::None) {
            let der = ca.to_der().map_err(|_| Invalid::at("client_ca", "cannot be read"))?;
            hash.update(&(der.len() as u64).to_be_bytes());
            hash.update(&der);
        }
        Ok(Self { auth, cas, id: hash.finish() })
    }

    /// What tells policies apart.
    pub fn id(&self) -> &[u8; 32] {
        &self.id
    }

    /// Whether clients are asked for nothing.
    pub fn is_open(&self) -> bool {
        self.auth == ClientAuth::None
    }
}

/// What one certificate says of client certificates.
#[derive(Debug, Clone)]
pub enum OwnPolicy {
    /// Nothing: the listeners' policy holds.
    Listeners,
    /// Whether they are asked for; the listeners' CAs sign them.
    ListenersCas(ClientAuth),
    /// All of it.
    Whole(Arc<Policy>),
}

impl OwnPolicy {
    /// Reads it. A CA alone means that its certificates are required.
    pub fn new(auth: Option<ClientAuth>, ca: Option<&[u8]>) -> Result<Self, Invalid> {
        Ok(match (auth, ca) {
            (None, None) => Self::Listeners,
            (Some(auth), None) => Self::ListenersCas(auth),
            (auth, Some(ca)) => {
                Self::Whole(Arc::new(Policy::new(auth.unwrap_or(ClientAuth::Require), client_cas(ca)?)?))
            }
        })
    }

    /// What holds with these settings.
    pub(super) fn effective(&self, settings: &Settings) -> Result<Arc<Policy>, Invalid> {
        Ok(match self {
            Self::Listeners => settings.policy.load_full(),
            Self::ListenersCas(auth) => Arc::new(Policy::new(*auth, settings.policy.load().cas.clone())?),
            Self::Whole(policy) => Arc::clone(policy),
        })
    }
}

impl Default for Policy {
    /// Clients are asked for nothing.
    fn default() -> Self {
        Self::new(ClientAuth::None, Vec::new()).expect("a policy without CAs is valid")
    }
}

impl PartialEq for Policy {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl std::fmt::Debug for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Policy").field("auth", &self.auth).field("cas", &self.cas.len()).finish()
    }
}

//! Reads the certificates and keys of a service's `tls`, and checks that they fit.

use std::borrow::Cow;
use std::sync::Arc;

use openssl::asn1::Asn1Time;
use openssl::pkey::{PKey, Private};
use openssl::x509::{X509, X509Ref};
use pingora::utils::tls::CertKey;
use sha2::{Digest as _, Sha256};

use crate::resource::{self, Invalid, Service};
use crate::upstream::NodeTls;

/// A service with what its certificates say.
#[derive(Debug, Default)]
pub(super) struct ParsedService {
    pub(super) service: Service,
    pub(super) tls: Option<Arc<NodeTls>>,
    /// What is allowed and still should be looked at.
    pub(super) warnings: Vec<String>,
}

impl ParsedService {
    pub(super) fn new(service: Service) -> Result<Self, Invalid> {
        let mut warnings = Vec::new();
        let tls = service.tls.as_ref().map(|tls| read(tls, &mut warnings)).transpose()?;
        Ok(Self { service, tls: tls.map(Arc::new), warnings })
    }
}

/// Largest file that is read.
const MAX_FILE: u64 = 1 << 20;
/// A value that names a file instead of being the PEM text.
const FILE: &str = "file:";

fn read(declared: &resource::NodeTls, warnings: &mut Vec<String>) -> Result<NodeTls, Invalid> {
    let mut digest = Sha256::new();
    let mut text = |field: &'static str, value: Option<&String>| -> Result<Option<String>, Invalid> {
        let value = value.map(|value| pem(field, value)).transpose()?;
        // What is absent differs from what is empty.
        digest.update((value.as_ref().map_or(u64::MAX, |v| v.len() as u64)).to_be_bytes());
        digest.update(value.as_deref().unwrap_or_default().as_bytes());
        Ok(value.map(Cow::into_owned))
    };
    let ca = text("tls.ca", declared.ca.as_ref())?;
    let cert = text("tls.cert", declared.cert.as_ref())?;
    let key = text("tls.key", declared.key.as_ref())?;
    let names = [&declared.sni, &declared.verify_name];
    for name in names {
        digest.update([u8::from(name.is_some())]);
        digest.update(Sha256::digest(name.as_deref().unwrap_or_default()));
    }
    let verify = declared.verify.unwrap_or(true);
    digest.update([u8::from(verify)]);

    let ca = ca.map(|pem| certificates("tls.ca", &pem)).transpose()?;
    if let Some(ca) = &ca {
        warn_of_age("tls.ca", ca, warnings);
    }
    let client = match (cert, key) {
        (Some(cert), Some(key)) => Some(Arc::new(client(&cert, &key, warnings)?)),
        _ => None,
    };
    if !verify {
        warnings.push("tls.verify is false: any certificate will do".into());
    }
    Ok(NodeTls {
        ca: ca.map(|ca| Arc::new(ca.into_boxed_slice())),
        client,
        sni: declared.sni.clone(),
        verify_name: declared.verify_name.clone(),
        verify,
        digest: digest.finalize().into(),
    })
}

/// The PEM text itself, or what is in the file that it names.
fn pem<'a>(field: &str, value: &'a str) -> Result<Cow<'a, str>, Invalid> {
    let Some(path) = value.strip_prefix(FILE) else { return Ok(Cow::Borrowed(value)) };
    let unreadable = |reason: String| Invalid::at(field, format!("the file {path} cannot be read: {reason}"));
    let size = std::fs::metadata(path).map_err(|e| unreadable(e.to_string()))?;
    if !size.is_file() || size.len() > MAX_FILE {
        return Err(unreadable("it is no file of at most 1 MiB".into()));
    }
    std::fs::read_to_string(path).map(Cow::Owned).map_err(|e| unreadable(e.to_string()))
}

fn certificates(field: &str, pem: &str) -> Result<Vec<X509>, Invalid> {
    match X509::stack_from_pem(pem.as_bytes()) {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(Invalid::at(
            field,
            "holds no certificate; expected PEM text (-----BEGIN CERTIFICATE-----) or file:/path.pem",
        )),
    }
}

fn client(cert: &str, key: &str, warnings: &mut Vec<String>) -> Result<CertKey, Invalid> {
    let chain = certificates("tls.cert", cert)?;
    // With a passphrase given, if an empty one, OpenSSL does not ask the terminal.
    let key: PKey<Private> = PKey::private_key_from_pem_passphrase(key.as_bytes(), b"").map_err(|_| {
        Invalid::at("tls.key", "holds no key that can be read; expected unencrypted PEM text or file:/path.pem")
    })?;
    let fits = chain[0].public_key().is_ok_and(|public| public.public_eq(&key));
    if !fits {
        return Err(Invalid::at("tls.key", "is not the key of the first certificate in tls.cert"));
    }
    warn_of_age("tls.cert", &chain, warnings);
    Ok(CertKey::new(chain, key))
}

fn warn_of_age(field: &str, certificates: &[X509], warnings: &mut Vec<String>) {
    let Ok(now) = Asn1Time::days_from_now(0) else { return };
    for certificate in certificates {
        if certificate.not_after() < now {
            warnings.push(format!("{field}: {} has expired on {}", name(certificate), certificate.not_after()));
        } else if certificate.not_before() > now {
            warnings.push(format!("{field}: {} is not valid before {}", name(certificate), certificate.not_before()));
        }
    }
}

fn name(certificate: &X509Ref) -> String {
    let entries = certificate.subject_name().entries();
    let values: Vec<String> = entries.filter_map(|e| e.data().to_string().ok()).collect();
    format!("\"{}\"", values.join(", "))
}

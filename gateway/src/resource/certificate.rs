//! A certificate with its key, as stored, and what a pair of PEM texts is found to be.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use openssl::asn1::{Asn1Time, Asn1TimeRef};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Private};
use openssl::x509::{X509, X509NameRef, X509Ref, X509VerifyResult};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Invalid, from_json};

/// Largest PEM text of a chain, a key or CAs.
const MAX_PEM: usize = 256 << 10;
/// Most certificates in a chain.
const MAX_CHAIN: usize = 10;
/// Most CAs that may sign client certificates.
const MAX_CAS: usize = 200;
const MIN_RSA_BITS: u32 = 2048;

/// Whether clients are asked for a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuth {
    /// They are not asked.
    #[default]
    None,
    /// They are asked, and may have none; one they send must be good.
    Request,
    /// They must have one.
    Require,
}

/// A certificate as declared. The key is a ciphertext, see the `secret` module.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, ToSchema)]
#[serde(default)]
pub struct Certificate {
    /// The chain as PEM, the host's certificate first.
    #[schema(required = true)]
    pub cert: String,
    /// Its key as PEM; stored encrypted, and shown as `unchanged`.
    #[schema(required = true)]
    pub key: String,
    /// The hosts it is for; those it names itself when absent.
    pub hosts: Vec<String>,
    /// Whether clients get it that ask for a host no certificate is for, or for none.
    pub default: bool,
    /// CAs that sign client certificates, as PEM.
    pub client_ca: Option<String>,
    /// Whether clients are asked for a certificate.
    pub client_auth: Option<ClientAuth>,
}

impl Certificate {
    /// Reads a stored certificate. Chain and key are looked at by [`Pair::parse`].
    pub fn parse(value: &[u8]) -> Result<Self, Invalid> {
        let mut certificate: Self = from_json(value)?;
        certificate.hosts = host_patterns(&certificate.hosts)?;
        if certificate.cert.trim().is_empty() {
            return Err(Invalid::at("cert", "is missing; give the chain as PEM, the host's certificate first"));
        }
        if certificate.key.trim().is_empty() {
            return Err(Invalid::at("key", "is missing"));
        }
        Ok(certificate)
    }
}

/// The hosts a broken certificate is for, as far as that can be told, and whether it may have
/// demanded something of clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokenHosts {
    /// The hosts.
    pub hosts: Vec<String>,
    /// Whether it may have asked for client certificates.
    pub asks_clients: bool,
}

impl BrokenHosts {
    /// Reads what can be read.
    pub fn read(value: &[u8]) -> Self {
        let value: serde_json::Value = serde_json::from_slice(value).unwrap_or_default();
        let said = value["hosts"].as_array().into_iter().flatten().filter_map(|host| host_pattern(host.as_str()?).ok());
        let mut hosts: Vec<String> = said.collect();
        if hosts.is_empty() {
            let chain = pem_certificates("cert", value["cert"].as_str().unwrap_or_default().as_bytes(), MAX_CHAIN);
            hosts = chain.map(|chain| names(&chain[0])).unwrap_or_default();
        }
        let auth = &value["client_auth"];
        let asks_clients = !value["client_ca"].is_null() || !(auth.is_null() || auth == "none");
        Self { hosts, asks_clients }
    }
}

/// Checks host patterns and brings them into their usual form.
pub fn host_patterns(hosts: &[String]) -> Result<Vec<String>, Invalid> {
    let parse =
        |(i, host): (usize, &String)| host_pattern(host).map_err(|reason| Invalid::at(format!("hosts[{i}]"), reason));
    hosts.iter().enumerate().map(parse).collect()
}

/// A host name in lower case, or one with `*` for its first label.
fn host_pattern(host: &str) -> Result<String, String> {
    let name = host.trim().trim_end_matches('.').to_ascii_lowercase();
    let labels = name.strip_prefix("*.").unwrap_or(&name);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.len() > 253 || !labels.split('.').all(is_label) {
        return Err(format!(
            "\"{host}\" is no host name; expected one such as api.example.com or *.example.com, international names as xn--…"
        ));
    }
    Ok(name)
}

/// A chain and its key, found to belong together.
#[derive(Clone)]
pub struct Pair {
    /// The host's certificate, and those that lead to its CA.
    pub chain: Vec<X509>,
    /// The key of the first.
    pub key: PKey<Private>,
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pair").field("subject", &name_text(self.leaf().subject_name())).finish_non_exhaustive()
    }
}

impl Pair {
    /// Reads PEM texts. Errors name the field `cert` or `key`, and never show a key.
    pub fn parse(cert: &[u8], key: &[u8]) -> Result<Self, Invalid> {
        let chain = pem_certificates("cert", cert, MAX_CHAIN)?;
        for (i, pair) in chain.windows(2).enumerate() {
            if pair[1].issued(&pair[0]) != X509VerifyResult::OK {
                return Err(Invalid::at(
                    "cert",
                    format!(
                        "certificate {} of the chain did not issue certificate {}; the host's own comes first, then the one that issued it, and so on",
                        i + 2,
                        i + 1
                    ),
                ));
            }
        }
        let pair = Self { key: private_key(key)?, chain };
        let public = pair.leaf().public_key().map_err(|_| Invalid::at("cert", "its public key cannot be read"))?;
        if !public.public_eq(&pair.key) {
            return Err(Invalid::at("key", "is not the key of the certificate"));
        }
        if public.id() == Id::RSA && public.bits() < MIN_RSA_BITS {
            return Err(Invalid::at(
                "key",
                format!("an RSA key has at least {MIN_RSA_BITS} bits, this one {}", public.bits()),
            ));
        }
        Ok(pair)
    }

    /// The host's certificate.
    pub fn leaf(&self) -> &X509 {
        &self.chain[0]
    }

    /// The hosts the certificate names, as patterns. Names that are none are left out.
    pub fn names(&self) -> Vec<String> {
        names(self.leaf())
    }

    /// What may be shown of it.
    pub fn summary(&self) -> Summary {
        Summary::of(self.leaf())
    }
}

fn names(certificate: &X509Ref) -> Vec<String> {
    let mut names: Vec<String> = alt_names(certificate).iter().filter_map(|name| host_pattern(name).ok()).collect();
    names.dedup();
    names
}

/// What may be shown of a chain: of the host's certificate in it.
pub fn chain_summary(pem: &[u8]) -> Result<Summary, Invalid> {
    pem_certificates("cert", pem, MAX_CHAIN).map(|chain| Summary::of(&chain[0]))
}

/// Reads PEM certificates, at least one.
fn pem_certificates(field: &str, pem: &[u8], most: usize) -> Result<Vec<X509>, Invalid> {
    if pem.len() > MAX_PEM {
        return Err(Invalid::at(field, format!("is larger than {MAX_PEM} bytes")));
    }
    let certificates = X509::stack_from_pem(pem).map_err(|_| Invalid::at(field, "is not valid PEM of certificates"))?;
    if certificates.is_empty() {
        return Err(Invalid::at(
            field,
            "has no certificate; expected PEM that begins with -----BEGIN CERTIFICATE-----",
        ));
    }
    if certificates.len() > most {
        return Err(Invalid::at(field, format!("has {} certificates, at most {most} are taken", certificates.len())));
    }
    Ok(certificates)
}

/// Reads the CAs that sign client certificates.
pub fn client_cas(pem: &[u8]) -> Result<Vec<X509>, Invalid> {
    pem_certificates("client_ca", pem, MAX_CAS)
}

fn private_key(pem: &[u8]) -> Result<PKey<Private>, Invalid> {
    if pem.len() > MAX_PEM {
        return Err(Invalid::at("key", format!("is larger than {MAX_PEM} bytes")));
    }
    if pem.windows(9).any(|w| w == b"ENCRYPTED") {
        return Err(Invalid::at("key", "is protected by a passphrase; give it without, `openssl pkey` takes it off"));
    }
    // An empty passphrase, or OpenSSL would ask the terminal for one.
    PKey::private_key_from_pem_passphrase(pem, b"").map_err(|_| {
        Invalid::at("key", "is not a private key in PEM; expected it to begin with -----BEGIN PRIVATE KEY-----")
    })
}

/// What may be shown of a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Summary {
    /// Whom it is for.
    pub subject: String,
    /// The host names in it.
    pub names: Vec<String>,
    /// Who issued it.
    pub issuer: String,
    /// Its number, in hexadecimal.
    pub serial: String,
    /// When it begins to be valid, in seconds since 1970.
    pub not_before: i64,
    /// When it ends, in seconds since 1970.
    pub not_after: i64,
    /// SHA-256 of it, in hexadecimal.
    pub fingerprint: String,
}

impl Summary {
    /// Reads it from a certificate.
    pub fn of(certificate: &X509Ref) -> Self {
        let serial = certificate.serial_number().to_bn().and_then(|n| n.to_hex_str().map(|s| s.to_ascii_lowercase()));
        Self {
            subject: name_text(certificate.subject_name()),
            names: alt_names(certificate),
            issuer: name_text(certificate.issuer_name()),
            serial: serial.unwrap_or_default(),
            not_before: unix_seconds(certificate.not_before()),
            not_after: unix_seconds(certificate.not_after()),
            fingerprint: fingerprint(certificate),
        }
    }

    /// Seconds until it ends; negative when it has.
    pub fn remaining(&self, now: SystemTime) -> i64 {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
        self.not_after.saturating_sub(i64::try_from(now).unwrap_or(i64::MAX))
    }
}

/// SHA-256 of a certificate, in hexadecimal.
pub fn fingerprint(certificate: &X509Ref) -> String {
    certificate.digest(MessageDigest::sha256()).map(hex::encode).unwrap_or_default()
}

/// The DNS names a certificate is for.
pub fn alt_names(certificate: &X509Ref) -> Vec<String> {
    let names = certificate.subject_alt_names();
    names.iter().flatten().filter_map(|name| name.dnsname().map(str::to_owned)).collect()
}

/// A distinguished name as `CN=example,O=Example`.
pub fn name_text(name: &X509NameRef) -> String {
    let part = |entry: &openssl::x509::X509NameEntryRef| {
        let nid: Nid = entry.object().nid();
        let value = entry.data().to_string().unwrap_or_default();
        let escaped: String = value
            .chars()
            .flat_map(|c| if matches!(c, ',' | '=' | '\\' | '+') { vec!['\\', c] } else { vec![c] })
            .filter(|c| !c.is_control())
            .collect();
        format!("{}={escaped}", nid.short_name().unwrap_or("?"))
    };
    name.entries().map(part).collect::<Vec<_>>().join(",")
}

fn unix_seconds(time: &Asn1TimeRef) -> i64 {
    let since = Asn1Time::from_unix(0).and_then(|epoch| epoch.diff(time));
    since.map_or(0, |diff| i64::from(diff.days) * 86_400 + i64::from(diff.secs))
}

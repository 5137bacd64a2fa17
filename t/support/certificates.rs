//! Certificates for tests: a CA, intermediates, hosts and clients, made with OpenSSL.

use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName};
use openssl::x509::{X509, X509Builder, X509Name};

/// A certificate with its key.
#[derive(Clone)]
pub struct Issued {
    pub certificate: X509,
    pub key: PKey<Private>,
}

/// What a certificate is to say.
#[derive(Clone)]
pub struct Wanted<'a> {
    pub common_name: &'a str,
    pub names: &'a [&'a str],
    pub is_ca: bool,
    /// When it ends, in seconds from now; negative when it has.
    pub ends_in: i64,
    pub rsa_bits: Option<u32>,
}

impl Default for Wanted<'_> {
    fn default() -> Self {
        Self { common_name: "test", names: &[], is_ca: false, ends_in: 90 * 86_400, rsa_bits: None }
    }
}

impl Issued {
    /// A CA that signed itself.
    pub fn ca(name: &str) -> Self {
        issue(&Wanted { common_name: name, is_ca: true, ..Wanted::default() }, None)
    }

    /// A CA signed by this one.
    pub fn intermediate(&self, name: &str) -> Self {
        issue(&Wanted { common_name: name, is_ca: true, ..Wanted::default() }, Some(self))
    }

    /// A certificate for these hosts.
    pub fn host(&self, names: &[&str]) -> Self {
        let common_name = names.first().copied().unwrap_or("nobody");
        self.issue(&Wanted { common_name, names, ..Wanted::default() })
    }

    pub fn issue(&self, wanted: &Wanted<'_>) -> Self {
        issue(wanted, Some(self))
    }

    pub fn cert_pem(&self) -> String {
        String::from_utf8(self.certificate.to_pem().unwrap()).unwrap()
    }

    pub fn key_pem(&self) -> String {
        String::from_utf8(self.key.private_key_to_pem_pkcs8().unwrap()).unwrap()
    }

    /// It, and those given after it.
    pub fn chain_pem(&self, issuers: &[&Self]) -> String {
        issuers.iter().fold(self.cert_pem(), |pem, issuer| pem + &issuer.cert_pem())
    }

    /// SHA-256 of it, in hexadecimal.
    pub fn fingerprint(&self) -> String {
        hex::encode(self.certificate.digest(MessageDigest::sha256()).unwrap())
    }
}

fn issue(wanted: &Wanted<'_>, by: Option<&Issued>) -> Issued {
    let key = match wanted.rsa_bits {
        Some(bits) => PKey::from_rsa(openssl::rsa::Rsa::generate(bits).unwrap()).unwrap(),
        None => {
            let curve = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
            PKey::from_ec_key(EcKey::generate(&curve).unwrap()).unwrap()
        }
    };
    let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap();
    let mut subject = X509Name::builder().unwrap();
    subject.append_entry_by_text("CN", wanted.common_name).unwrap();
    let subject = subject.build();

    let mut builder = X509Builder::new().unwrap();
    builder.set_version(2).unwrap();
    let mut serial = [0; 8];
    openssl::rand::rand_bytes(&mut serial).unwrap();
    serial[0] &= 0x7f;
    builder.set_serial_number(&BigNum::from_slice(&serial).unwrap().to_asn1_integer().unwrap()).unwrap();
    builder.set_subject_name(&subject).unwrap();
    builder.set_issuer_name(by.map_or(&subject, |ca| ca.certificate.subject_name())).unwrap();
    builder.set_pubkey(&key).unwrap();
    builder.set_not_before(&Asn1Time::from_unix(now.min(now + wanted.ends_in) - 86_400).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::from_unix(now + wanted.ends_in).unwrap()).unwrap();
    if wanted.is_ca {
        builder.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
        builder.append_extension(KeyUsage::new().critical().key_cert_sign().crl_sign().build().unwrap()).unwrap();
    } else {
        builder.append_extension(BasicConstraints::new().build().unwrap()).unwrap();
        let usage = ExtendedKeyUsage::new().server_auth().client_auth().build().unwrap();
        builder.append_extension(usage).unwrap();
    }
    if !wanted.names.is_empty() {
        let mut names = SubjectAlternativeName::new();
        for name in wanted.names {
            match name.split_once("://") {
                Some(_) => names.uri(name),
                None if name.contains('@') => names.email(name),
                None => names.dns(name),
            };
        }
        let names = names.build(&builder.x509v3_context(by.map(|ca| &*ca.certificate), None)).unwrap();
        builder.append_extension(names).unwrap();
    }
    builder.sign(by.map_or(&key, |ca| &ca.key), MessageDigest::sha256()).unwrap();
    Issued { certificate: builder.build(), key }
}

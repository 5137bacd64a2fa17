//! Secrets at rest: what the store and the copy on disk hold of them is ciphertext (AES-256-GCM).
//!
//! A ciphertext says which key made it, and is bound to the key of the store it lies under, so that
//! it means nothing in another object. The first key encrypts; all decrypt, so that keys can change.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use openssl::sha::Sha256;
use openssl::symm::{Cipher, decrypt_aead, encrypt_aead};

/// What ciphertexts begin with.
const MARK: &str = "sealed:v1:";
const KEY: usize = 32;
const NONCE: usize = 12;
const TAG: usize = 16;

/// Why a secret cannot be sealed or opened, or keys cannot be used. Never shows any of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Keys are not what they should be.
    #[error("{0} is not 32 bytes in base64; `openssl rand -base64 32` makes a key")]
    Key(String),
    /// There is no key at all.
    #[error("there is no key to encrypt secrets with; set secrets.key or secrets.key_file")]
    NoKey,
    /// The text is no ciphertext.
    #[error("is not encrypted; secrets are put by the Admin API, which encrypts them")]
    Plain,
    /// The ciphertext is of a key that is not here.
    #[error("is encrypted with the key {0}, which this gateway does not have; see secrets.key")]
    OtherKey(String),
    /// The ciphertext was changed, or belongs elsewhere.
    #[error("cannot be decrypted: it was changed, or belongs to another object")]
    Broken,
}

struct Key {
    id: String,
    fingerprint: String,
    bytes: [u8; KEY],
}

impl Key {
    fn new(bytes: [u8; KEY]) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"ws-cloud-gateway secrets key\0");
        hash.update(&bytes);
        let fingerprint = hex::encode(hash.finish());
        Self { id: fingerprint[..8].to_owned(), fingerprint, bytes }
    }
}

/// The keys of secrets.
#[derive(Default)]
pub struct Secrets {
    keys: Vec<Key>,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|key| &key.id)).finish()
    }
}

impl Secrets {
    /// Reads keys in base64, with spaces, line ends or commas between them. The first encrypts.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let words = text.split(|c: char| c.is_whitespace() || c == ',').filter(|word| !word.is_empty());
        let key = |(i, word): (usize, &str)| {
            let bytes = STANDARD.decode(word).ok().and_then(|bytes| bytes.try_into().ok());
            bytes.map(Key::new).ok_or_else(|| SecretError::Key(format!("key {}", i + 1)))
        };
        let keys = words.enumerate().map(key).collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() { Err(SecretError::Key("an empty text".into())) } else { Ok(Self { keys }) }
    }

    /// A new key, in the form [`Secrets::parse`] reads.
    pub fn generate() -> String {
        STANDARD.encode(rand::random::<[u8; KEY]>())
    }

    /// What tells the key that encrypts from others, and gives nothing of it away.
    pub fn fingerprint(&self) -> Option<&str> {
        self.keys.first().map(|key| key.fingerprint.as_str())
    }

    /// Whether one of the keys has this fingerprint.
    pub fn knows(&self, fingerprint: &str) -> bool {
        self.keys.iter().any(|key| key.fingerprint == fingerprint)
    }

    /// Whether a text is a ciphertext.
    pub fn is_sealed(text: &str) -> bool {
        text.starts_with(MARK)
    }

    /// Whether a ciphertext was made with the key that encrypts now.
    pub fn is_current(&self, sealed: &str) -> bool {
        let id = sealed.strip_prefix(MARK).and_then(|rest| rest.split(':').next());
        id.is_some() && id == self.keys.first().map(|key| key.id.as_str())
    }

    /// Encrypts a secret that will lie under `place`, a key of the store without the data prefix.
    pub fn seal(&self, place: &str, plain: &[u8]) -> Result<String, SecretError> {
        let key = self.keys.first().ok_or(SecretError::NoKey)?;
        let nonce: [u8; NONCE] = rand::random();
        let mut tag = [0; TAG];
        let cipher = Cipher::aes_256_gcm();
        let text = encrypt_aead(cipher, &key.bytes, Some(&nonce), place.as_bytes(), plain, &mut tag);
        let text = text.map_err(|_| SecretError::Broken)?;
        Ok(format!("{MARK}{}:{}", key.id, STANDARD.encode([&nonce[..], &text, &tag].concat())))
    }

    /// Decrypts what lies under `place`.
    pub fn open(&self, place: &str, sealed: &str) -> Result<Vec<u8>, SecretError> {
        let (id, data) = sealed.trim().strip_prefix(MARK).and_then(|s| s.split_once(':')).ok_or(SecretError::Plain)?;
        if self.keys.is_empty() {
            return Err(SecretError::NoKey);
        }
        let key = self.keys.iter().find(|key| key.id == id).ok_or_else(|| SecretError::OtherKey(id.to_owned()))?;
        let data = STANDARD.decode(data).map_err(|_| SecretError::Broken)?;
        let (nonce, rest) = data.split_at_checked(NONCE).ok_or(SecretError::Broken)?;
        let (text, tag) = rest.split_at_checked(rest.len().wrapping_sub(TAG)).ok_or(SecretError::Broken)?;
        decrypt_aead(Cipher::aes_256_gcm(), &key.bytes, Some(nonce), place.as_bytes(), text, tag)
            .map_err(|_| SecretError::Broken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(n: usize) -> Vec<String> {
        std::iter::repeat_with(Secrets::generate).take(n).collect()
    }

    #[test]
    fn what_is_sealed_opens_in_its_place_only() {
        let secrets = Secrets::parse(&Secrets::generate()).unwrap();
        let sealed = secrets.seal("gw/certificates/a", b"hidden").unwrap();
        assert!(Secrets::is_sealed(&sealed) && !sealed.contains("hidden"));
        assert_eq!(secrets.open("gw/certificates/a", &sealed).unwrap(), b"hidden");
        assert_eq!(secrets.open("gw/certificates/b", &sealed), Err(SecretError::Broken));
        assert_ne!(secrets.seal("gw/certificates/a", b"hidden").unwrap(), sealed, "a nonce is used once");
    }

    #[test]
    fn any_change_is_noticed() {
        let secrets = Secrets::parse(&Secrets::generate()).unwrap();
        let sealed = secrets.seal("p", b"hidden").unwrap();
        let at = MARK.len() + 9;
        let data = STANDARD.decode(&sealed[at..]).unwrap();
        for i in 0..data.len() {
            let mut changed = data.clone();
            changed[i] ^= 1;
            let changed = format!("{}{}", &sealed[..at], STANDARD.encode(changed));
            assert_eq!(secrets.open("p", &changed), Err(SecretError::Broken), "{i}");
        }
        for cut in 0..data.len() {
            let cut = format!("{}{}", &sealed[..at], STANDARD.encode(&data[..cut]));
            assert_eq!(secrets.open("p", &cut), Err(SecretError::Broken));
        }
        assert_eq!(secrets.open("p", "hidden"), Err(SecretError::Plain));
    }

    #[test]
    fn the_first_key_encrypts_and_every_key_decrypts() {
        let names = keys(2);
        let old = Secrets::parse(&names[0]).unwrap();
        let both = Secrets::parse(&format!("{},\n {}", names[1], names[0])).unwrap();
        let new = Secrets::parse(&names[1]).unwrap();
        let sealed = old.seal("p", b"x").unwrap();
        assert_eq!(both.open("p", &sealed).unwrap(), b"x");
        assert!(old.is_current(&sealed) && !both.is_current(&sealed));
        assert!(matches!(new.open("p", &sealed), Err(SecretError::OtherKey(_))));
        assert_eq!(new.open("p", &both.seal("p", b"y").unwrap()).unwrap(), b"y");
        assert!(both.knows(old.fingerprint().unwrap()) && !new.knows(old.fingerprint().unwrap()));
        assert_eq!(Secrets::default().open("p", &sealed), Err(SecretError::NoKey));
    }

    #[test]
    fn keys_that_are_none_are_refused_without_showing_them() {
        for bad in ["", " , ", "password", "c2hvcnQ="] {
            let error = Secrets::parse(bad).unwrap_err().to_string();
            assert!(error.contains("32 bytes in base64"), "{error}");
            assert!(!error.contains("password") && !error.contains("c2hvcnQ"), "{error}");
        }
        assert!(!format!("{:?}", Secrets::parse(&keys(1)[0]).unwrap()).contains(&keys(1)[0]));
    }
}

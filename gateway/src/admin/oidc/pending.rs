//! Logins under way at the provider: what was sent there, until it comes back. In memory: a login
//! ends on the gateway that it began on.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokio::time::Instant;

/// How long a user has at the provider.
pub(super) const PATIENCE: Duration = Duration::from_secs(600);
/// Most at a time; one more ends the oldest.
const MAX: usize = 1_000;

/// A login under way.
#[derive(Clone)]
pub(super) struct Login {
    /// What the ID token must have.
    pub(super) nonce: String,
    /// What only we can show with the code (RFC 7636).
    pub(super) verifier: String,
    /// What the browser must bring back beside the state: who was sent a link by someone else has
    /// not got it.
    pub(super) binding: String,
    begun: Instant,
}

impl Login {
    /// What the provider is told of the verifier.
    pub(super) fn challenge(&self) -> String {
        URL_SAFE_NO_PAD.encode(Sha256::digest(&self.verifier))
    }
}

/// The logins under way, by their state.
#[derive(Default)]
pub(super) struct Pending {
    logins: Mutex<HashMap<String, Login>>,
}

impl Pending {
    /// Begins a login; the text is its state.
    pub(super) fn begin(&self) -> (Login, String) {
        let text = || hex::encode(rand::random::<[u8; 32]>());
        let login = Login { nonce: text(), verifier: text(), binding: text(), begun: Instant::now() };
        let state = text();
        let mut logins = self.logins.lock().unwrap_or_else(PoisonError::into_inner);
        if logins.len() >= MAX {
            logins.retain(|_, login| login.begun.elapsed() < PATIENCE);
        }
        if logins.len() >= MAX
            && let Some(oldest) = logins.iter().min_by_key(|(_, login)| login.begun).map(|(state, _)| state.clone())
        {
            logins.remove(&oldest);
        }
        logins.insert(state.clone(), login.clone());
        (login, state)
    }

    /// Takes a login out, if it is of this browser: it is good once. Another browser does not end it.
    pub(super) fn take(&self, state: &str, binding: &str) -> Option<Login> {
        let mut logins = self.logins.lock().unwrap_or_else(PoisonError::into_inner);
        let is_own: bool = logins.get(state)?.binding.as_bytes().ct_eq(binding.as_bytes()).into();
        let login = is_own.then(|| logins.remove(state)).flatten()?;
        (login.begun.elapsed() < PATIENCE).then_some(login)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_login_is_taken_once_by_its_own_browser_in_time() {
        let pending = Pending::default();
        let (login, state) = pending.begin();
        assert!(pending.take(&state, "other").is_none());
        assert!(pending.take(&state, "").is_none());
        assert!(pending.take("other", &login.binding).is_none());
        assert_eq!(pending.take(&state, &login.binding).unwrap().nonce, login.nonce);
        assert!(pending.take(&state, &login.binding).is_none());
        let (login, state) = pending.begin();
        tokio::time::advance(PATIENCE).await;
        assert!(pending.take(&state, &login.binding).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn many_logins_take_no_more_room_and_the_latest_stay() {
        let pending = Pending::default();
        let mut last = None;
        for _ in 0..3 * MAX {
            tokio::time::advance(Duration::from_millis(1)).await;
            last = Some(pending.begin());
        }
        assert_eq!(pending.logins.lock().unwrap().len(), MAX);
        let (login, state) = last.unwrap();
        assert!(pending.take(&state, &login.binding).is_some());
    }

    #[test]
    fn the_challenge_is_the_rfcs() {
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".to_owned();
        let login = Login {
            nonce: String::new(),
            verifier,
            binding: String::new(),
            begun: Instant::from_std(std::time::Instant::now()),
        };
        assert_eq!(login.challenge(), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }
}

//! Failed logins, counted in memory and told of together: in the log once a minute, in the record
//! once in ten minutes, for each account and address. Who guesses can make neither of them grow.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::audit::Entry;
use super::lockout::network;

/// How often failures are told of in the log.
pub(super) const TICK: Duration = Duration::from_secs(60);
/// How often an account and address come into the record.
const RECORD_EVERY: Duration = Duration::from_secs(600);
/// Most pairs of account and address; others are counted together.
const MAX_ENTRIES: usize = 1_000;

/// An account, by its name if there is one of that name: what was typed may be a password. And the
/// network of the client; neither for those that are counted together.
type Key = (Option<String>, Option<IpAddr>);

#[derive(Default)]
struct Count {
    wrong: u32,
    /// Refused unread, because too many were wrong.
    locked: u32,
}

#[derive(Default)]
struct Failed {
    unlogged: Count,
    unrecorded: Count,
    recorded: Option<Instant>,
}

/// The failures not told of yet.
#[derive(Default)]
pub(super) struct Failures {
    entries: Mutex<HashMap<Key, Failed>>,
}

impl Failures {
    /// Counts a failed login; `account` only if there is such an account.
    pub(super) fn count(&self, account: Option<&str>, from: IpAddr, is_locked: bool) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let mut key = (account.map(str::to_owned), Some(network(from)));
        if entries.len() >= MAX_ENTRIES && !entries.contains_key(&key) {
            key = (None, None);
        }
        let failed = entries.entry(key).or_default();
        for count in [&mut failed.unlogged, &mut failed.unrecorded] {
            let which = if is_locked { &mut count.locked } else { &mut count.wrong };
            *which = which.saturating_add(1);
        }
    }

    /// Logs what came since the last time, and returns what is to be recorded now.
    pub(super) fn tell(&self) -> Vec<Entry> {
        let now = Instant::now();
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let mut told = Vec::new();
        for (key, failed) in entries.iter_mut() {
            if !failed.unlogged.is_none() {
                let (account, from) = names(key);
                log::warn!("admin: failed logins of {account} from {from}: {}", failed.unlogged.text());
                failed.unlogged = Count::default();
            }
            let is_due = failed.recorded.is_none_or(|at| now.duration_since(at) >= RECORD_EVERY);
            if is_due && !failed.unrecorded.is_none() {
                told.push(entry(key, &failed.unrecorded));
                failed.unrecorded = Count::default();
                failed.recorded = Some(now);
            }
        }
        entries.retain(|_, failed| {
            !failed.unrecorded.is_none() || failed.recorded.is_some_and(|at| now.duration_since(at) < RECORD_EVERY)
        });
        told
    }
}

impl Count {
    fn is_none(&self) -> bool {
        self.wrong == 0 && self.locked == 0
    }

    fn text(&self) -> String {
        match self.locked {
            0 => format!("{} wrong", self.wrong),
            locked => format!("{} wrong, {locked} refused while locked out", self.wrong),
        }
    }
}

fn names((account, from): &Key) -> (String, String) {
    let account = account.as_ref().map_or_else(|| "unknown accounts".to_owned(), |name| format!("{name:?}"));
    (account, from.map_or_else(|| "other addresses".to_owned(), |ip| ip.to_string()))
}

fn entry(key: &Key, count: &Count) -> Entry {
    let action = if count.locked > 0 { "login.locked_out" } else { "login.failed" };
    let account = key.0.as_deref().unwrap_or_default();
    let unspecified = IpAddr::from([0, 0, 0, 0]);
    let mut entry = Entry::of("", "password", key.1.unwrap_or(unspecified), action).to(account).saying(count.text());
    entry.address = key.1;
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_account_and_address_are_recorded_once_in_ten_minutes() {
        let failures = Failures::default();
        let from = IpAddr::from([10, 0, 0, 1]);
        let mut recorded = Vec::new();
        for minute in 0..25 {
            for i in 0..100 {
                failures.count(Some("admin"), from, i > 4);
            }
            recorded.extend(failures.tell().into_iter().map(|entry| (minute, entry.action, entry.detail)));
            tokio::time::advance(TICK).await;
        }
        let texts = |n: u32| format!("{} wrong, {} refused while locked out", n * 5, n * 95);
        assert_eq!(
            recorded,
            [(0, texts(1)), (10, texts(10)), (20, texts(10))].map(|(m, text)| (m, "login.locked_out".to_owned(), text))
        );
    }

    #[test]
    fn many_accounts_and_addresses_take_no_more_room() {
        let failures = Failures::default();
        for i in 0..100_000u32 {
            failures.count(None, IpAddr::from(i.to_be_bytes()), false);
        }
        let told = failures.tell();
        assert_eq!(told.len(), MAX_ENTRIES + 1);
        assert!(told.iter().any(|entry| entry.address.is_none() && entry.detail == "99000 wrong"));
    }
}

//! Slows down guessing: after a few failures an account is closed to the address they came from,
//! for a time that doubles. Kept in memory, so nobody can lock the owner out from elsewhere, and
//! nobody makes the store write.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

/// Failures that cost nothing yet.
const FREE: u32 = 5;
/// What the first one after them costs; each further one costs twice as much.
const FIRST_DELAY: Duration = Duration::from_secs(1);
const LONGEST_DELAY: Duration = Duration::from_secs(15 * 60);
/// How long failures are remembered.
const MEMORY: Duration = Duration::from_secs(60 * 60);
/// Most pairs of account and address remembered.
const MAX_ENTRIES: usize = 10_000;

/// An account as tried, and the network it was tried from. The digest bounds the size.
type Key = ([u8; 32], IpAddr);

struct Entry {
    failures: u32,
    last: Instant,
}

impl Entry {
    fn closed_until(&self) -> Instant {
        match self.failures.checked_sub(FREE) {
            None => self.last,
            Some(over) => self.last + FIRST_DELAY.saturating_mul(1 << over.min(20)).min(LONGEST_DELAY),
        }
    }
}

/// The failures of late.
#[derive(Default)]
pub(super) struct Lockout {
    entries: Mutex<HashMap<Key, Entry>>,
}

impl Lockout {
    /// Counts an attempt as failed until `succeeded` says otherwise, so that attempts side by side
    /// count too. `false` when the account is closed to the address now.
    pub(super) fn attempt(&self, account: &str, from: IpAddr) -> bool {
        let now = Instant::now();
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let key = key(account, from);
        if !entries.contains_key(&key) && entries.len() >= MAX_ENTRIES {
            make_room(&mut entries, now);
        }
        let entry = entries.entry(key).or_insert(Entry { failures: 0, last: now });
        if now.duration_since(entry.last) > MEMORY {
            entry.failures = 0;
        }
        if entry.failures >= FREE && now < entry.closed_until() {
            return false;
        }
        entry.failures += 1;
        entry.last = now;
        true
    }

    /// Forgets the failures of an account from an address.
    pub(super) fn succeeded(&self, account: &str, from: IpAddr) {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).remove(&key(account, from));
    }
}

/// Drops what is out of date; if nothing is, a tenth.
fn make_room(entries: &mut HashMap<Key, Entry>, now: Instant) {
    entries.retain(|_, entry| now.duration_since(entry.last) <= MEMORY);
    if entries.len() >= MAX_ENTRIES {
        // Those with the fewest failures go first: who tries many names must not make room for more
        // tries of the one.
        let rank = |entry: &Entry| (entry.failures, entry.last);
        let mut ranks: Vec<(u32, Instant)> = entries.values().map(rank).collect();
        let (_, nth, _) = ranks.select_nth_unstable(MAX_ENTRIES / 10);
        let last_dropped = *nth;
        entries.retain(|_, entry| rank(entry) > last_dropped);
    }
}

fn key(account: &str, from: IpAddr) -> Key {
    (Sha256::digest(account).into(), network(from))
}

/// Who has an IPv6 address has its whole /64.
pub(super) fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_memory_is_bounded_and_the_latest_stay() {
        let lockout = Lockout::default();
        for i in 0..25_000u32 {
            tokio::time::advance(Duration::from_millis(1)).await;
            assert!(lockout.attempt(&format!("user{i}"), IpAddr::from([10, 0, 0, 1])));
        }
        assert!(lockout.entries.lock().unwrap().len() <= MAX_ENTRIES);
        for i in 0..5 {
            assert_eq!(lockout.attempt("user24999", IpAddr::from([10, 0, 0, 1])), i < 4);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn tries_of_other_names_do_not_open_a_closed_account() {
        let lockout = Lockout::default();
        let from = IpAddr::from([10, 0, 0, 1]);
        while lockout.attempt("admin", from) {}
        for _ in 0..8 {
            tokio::time::advance(Duration::from_secs(300)).await;
            while lockout.attempt("admin", from) {}
        }
        for i in 0..2 * MAX_ENTRIES {
            lockout.attempt(&format!("user{i}"), from);
        }
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!lockout.attempt("admin", from));
    }

    #[tokio::test(start_paused = true)]
    async fn an_ipv6_client_does_not_get_out_by_another_address_of_its_network() {
        let lockout = Lockout::default();
        let tries = (0..20u16).filter(|i| lockout.attempt("a", Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 9, 9, 9, *i).into()));
        assert_eq!(tries.count(), 5);
        assert!(lockout.attempt("a", Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 1).into()));
    }

    #[tokio::test(start_paused = true)]
    async fn the_delay_grows_to_a_quarter_of_an_hour_and_is_forgotten_after_an_hour() {
        let lockout = Lockout::default();
        let from = IpAddr::from([10, 0, 0, 1]);
        let mut delays = Vec::new();
        for _ in 0..20 {
            let begun = Instant::now();
            while !lockout.attempt("a", from) {
                tokio::time::advance(Duration::from_secs(1)).await;
            }
            delays.push(begun.elapsed().as_secs());
        }
        assert_eq!(delays[..10], [0, 0, 0, 0, 0, 1, 2, 4, 8, 16]);
        assert_eq!(delays[19], 900);
        tokio::time::advance(MEMORY + Duration::from_secs(1)).await;
        assert_eq!((0..10).filter(|_| lockout.attempt("a", from)).count(), 5);
    }
}

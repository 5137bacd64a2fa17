//! How many connections there may be: in all, on a listener, from an address.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::telemetry::Refused;

/// So many clients can come and go without waiting for each other.
const SHARDS: usize = 64;

/// Counts connections, and says when there is no room for one more.
#[derive(Debug)]
pub(super) struct ConnectionLimits {
    total: Arc<AtomicUsize>,
    max_total: usize,
    listeners: HashMap<u16, Arc<AtomicUsize>>,
    /// 0 = no limit.
    max_per_listener: usize,
    addresses: Option<Arc<Addresses>>,
}

/// Room for a connection; given back when dropped.
#[derive(Debug)]
pub(super) struct Room {
    _total: Slot,
    _listener: Option<Slot>,
}

#[derive(Debug)]
struct Slot(Arc<AtomicUsize>);

impl Slot {
    fn take(counter: &Arc<AtomicUsize>, max: usize) -> Option<Self> {
        let slot = Self(Arc::clone(counter));
        // Given back at once when it was one too many.
        (counter.fetch_add(1, Ordering::Relaxed) < max).then_some(slot)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl ConnectionLimits {
    /// At most `max_total` connections on all listeners, `max_per_listener` on each of these ports, and `max_per_ip`
    /// from one address; of the last two, 0 = no limit.
    pub(super) fn new(
        max_total: usize,
        max_per_listener: usize,
        max_per_ip: u32,
        ports: impl IntoIterator<Item = u16>,
    ) -> Self {
        Self {
            total: Arc::default(),
            max_total,
            listeners: ports.into_iter().map(|port| (port, Arc::default())).collect(),
            max_per_listener,
            addresses: (max_per_ip > 0).then(|| Arc::new(Addresses::new(max_per_ip))),
        }
    }

    /// Room for a connection that was just accepted.
    pub(super) fn enter(&self, port: u16) -> Result<Room, Refused> {
        let total = Slot::take(&self.total, self.max_total).ok_or(Refused::Files)?;
        let listener = match self.listeners.get(&port) {
            Some(counter) if self.max_per_listener > 0 => {
                Some(Slot::take(counter, self.max_per_listener).ok_or(Refused::Listener)?)
            }
            _ => None,
        };
        Ok(Room { _total: total, _listener: listener })
    }

    /// Room for one more connection of a client.
    pub(super) fn enter_address(&self, client: IpAddr) -> Result<Option<AddressSlot>, Refused> {
        let Some(addresses) = &self.addresses else { return Ok(None) };
        Addresses::take(addresses, client).map(Some).ok_or(Refused::Address)
    }
}

/// Connections by client. It has an entry only for who has one, so it is as bounded as they are.
#[derive(Debug)]
struct Addresses {
    shards: [Mutex<HashMap<IpAddr, u32>>; SHARDS],
    /// Seeded: nobody can aim at one shard.
    hasher: RandomState,
    max: u32,
}

impl Addresses {
    fn new(max: u32) -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()), hasher: RandomState::new(), max }
    }

    fn shard(&self, key: IpAddr) -> &Mutex<HashMap<IpAddr, u32>> {
        let hash = usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or(0);
        &self.shards[hash]
    }

    fn take(self: &Arc<Self>, client: IpAddr) -> Option<AddressSlot> {
        let key = network_of(client);
        let mut shard = self.shard(key).lock().unwrap_or_else(PoisonError::into_inner);
        let count = shard.entry(key).or_insert(0);
        if *count >= self.max {
            return None;
        }
        *count += 1;
        Some(AddressSlot { addresses: Arc::clone(self), key })
    }
}

/// A client's place among the connections of its address.
#[derive(Debug)]
pub(super) struct AddressSlot {
    addresses: Arc<Addresses>,
    key: IpAddr,
}

impl Drop for AddressSlot {
    fn drop(&mut self) {
        let mut shard = self.addresses.shard(self.key).lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = shard.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                shard.remove(&self.key);
            }
        }
    }
}

/// IPv6 hosts are given a /64 each and may use all of it.
fn network_of(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn each_limit_refuses_for_its_own_reason_and_recovers() {
        let limits = ConnectionLimits::new(3, 2, 1, [1, 2]);
        let (a, b) = (limits.enter(1).unwrap(), limits.enter(1).unwrap());
        assert_eq!(limits.enter(1).unwrap_err(), Refused::Listener);
        let c = limits.enter(2).unwrap();
        assert_eq!(limits.enter(2).unwrap_err(), Refused::Files);
        drop(c);
        assert_eq!(limits.enter(1).unwrap_err(), Refused::Listener, "a refusal takes no room");
        let c = limits.enter(2).unwrap();
        drop((a, b, c));
        assert_eq!(limits.total.load(Ordering::Relaxed), 0);
        let _again = limits.enter(1).unwrap();
    }

    #[test]
    fn an_address_has_its_own_count() {
        let limits = ConnectionLimits::new(100, 0, 2, [1]);
        let first = limits.enter_address(ip("10.0.0.1")).unwrap();
        let _mapped = limits.enter_address(ip("::ffff:10.0.0.1")).unwrap();
        assert_eq!(limits.enter_address(ip("10.0.0.1")).unwrap_err(), Refused::Address);
        let _other = limits.enter_address(ip("10.0.0.2")).unwrap();
        let _v6 = [limits.enter_address(ip("2001:db8::1")).unwrap(), limits.enter_address(ip("2001:db8::2")).unwrap()];
        assert_eq!(limits.enter_address(ip("2001:db8::3")).unwrap_err(), Refused::Address, "of the same network");
        let _next = limits.enter_address(ip("2001:db8:0:1::3")).unwrap();
        drop(first);
        let _again = limits.enter_address(ip("10.0.0.1")).unwrap();
    }

    #[test]
    fn who_has_left_takes_no_memory() {
        let limits = ConnectionLimits::new(100, 0, 5, [1]);
        for i in 0..10_000_u32 {
            drop(limits.enter_address(std::net::Ipv4Addr::from_bits(i).into()).unwrap());
        }
        let addresses = limits.addresses.unwrap();
        assert!(addresses.shards.iter().all(|shard| shard.lock().unwrap().is_empty()));
    }

    #[test]
    fn without_a_limit_nothing_is_counted() {
        let limits = ConnectionLimits::new(100, 0, 0, [1]);
        assert!(limits.enter_address(ip("10.0.0.1")).unwrap().is_none());
        assert!(limits.enter(1).unwrap()._listener.is_none());
    }
}

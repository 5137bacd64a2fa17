//! Who the client is: the socket's address, unless a proxy we were told to trust says otherwise.

use std::net::IpAddr;

use ipnet::IpNet;

/// The networks whose `X-Forwarded-For` is believed.
#[derive(Debug, Clone, Default)]
pub struct TrustedProxies {
    /// First and last address of disjoint networks, ascending.
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

impl TrustedProxies {
    /// An IPv4-mapped network (`::ffff:10.0.0.0/104`) means the IPv4 network; one that merely contains the mapped
    /// range, such as `::/0`, means IPv6 addresses only.
    #[must_use]
    pub fn new(networks: Vec<IpNet>) -> Self {
        let networks = networks.into_iter().map(unmapped).collect();
        let mut trusted = Self::default();
        for network in IpNet::aggregate(&networks) {
            match network {
                IpNet::V4(net) => trusted.v4.push((net.network().to_bits(), net.broadcast().to_bits())),
                IpNet::V6(net) => trusted.v6.push((net.network().to_bits(), net.broadcast().to_bits())),
            }
        }
        trusted.v4.sort_unstable();
        trusted.v6.sort_unstable();
        trusted
    }

    /// Whether nobody is trusted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// Whether the address, IPv4-mapped or not, is a trusted proxy's.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => covers(&self.v4, address.to_bits()),
            IpAddr::V6(address) => covers(&self.v6, address.to_bits()),
        }
    }
}

/// More proxies than any request passes on its way.
const MOST_PROXIES: usize = 32;

/// Whether a request goes in circles: each proxy on its way has added an address to `X-Forwarded-For`, and we are one.
/// What else could tell, a header of our own, would cost every request one.
#[must_use]
pub fn goes_in_circles<'a>(xff: impl IntoIterator<Item = &'a [u8]>) -> bool {
    let addresses = |value: &[u8]| 1 + value.iter().filter(|byte| **byte == b',').count();
    xff.into_iter().map(addresses).sum::<usize>() > MOST_PROXIES
}

/// The client's address: the peer's or, behind trusted proxies, the rightmost untrusted one of `X-Forwarded-For`.
///
/// The walk goes from right to left because only what trusted proxies appended is true. It stops at anything that is
/// not an address, an empty element included, and then answers with the last proxy it could believe. IPv4-mapped
/// addresses come back as IPv4.
#[must_use]
pub fn client_ip<'a>(
    peer: IpAddr,
    xff: impl IntoIterator<Item = &'a [u8], IntoIter: DoubleEndedIterator>,
    trusted: &TrustedProxies,
) -> IpAddr {
    let mut client = peer.to_canonical();
    if trusted.is_empty() || !trusted.contains(client) {
        return client;
    }
    for element in xff.into_iter().rev().flat_map(|value| value.rsplit(|&b| b == b',')) {
        let Some(address) = parse(element) else { break };
        client = address;
        if !trusted.contains(client) {
            break;
        }
    }
    client
}

/// `1.2.3.4`, `1.2.3.4:5`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:5`.
fn parse(element: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(element.trim_ascii()).ok()?;
    let is_port = |port: &str| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok();
    let address = if let Some(rest) = text.strip_prefix('[') {
        let (address, rest) = rest.split_once(']')?;
        if !rest.is_empty() && !rest.strip_prefix(':').is_some_and(is_port) {
            return None;
        }
        IpAddr::V6(address.parse().ok()?)
    } else {
        match text.split_once(':') {
            Some((address, port)) if !port.contains(':') => {
                let address = address.parse().ok()?;
                is_port(port).then_some(IpAddr::V4(address))?
            }
            _ => text.parse().ok()?,
        }
    };
    Some(address.to_canonical())
}

fn unmapped(network: IpNet) -> IpNet {
    if let IpNet::V6(net) = network
        && net.prefix_len() >= 96
        && let Some(address) = net.addr().to_ipv4_mapped()
        && let Ok(net) = IpNet::new(address.into(), net.prefix_len() - 96)
    {
        return net.trunc();
    }
    network.trunc()
}

fn covers<A: Ord + Copy>(ranges: &[(A, A)], address: A) -> bool {
    let after = ranges.partition_point(|&(first, _)| first <= address);
    after.checked_sub(1).is_some_and(|i| address <= ranges[i].1)
}

#[cfg(test)]
#[path = "forwarded_tests.rs"]
mod tests;

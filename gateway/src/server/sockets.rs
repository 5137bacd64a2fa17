//! The sockets the gateway listens on: bound before anything else starts, handed to their users,
//! and to the process that succeeds this one.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{IntoRawFd as _, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use pingora::server::{Fds, ListenFds};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use tokio::net::TcpListener;

use crate::config::Config;

/// Connections that may wait to be accepted; Pingora's figure for the data plane, which the kernel
/// cuts to `net.core.somaxconn`.
const BACKLOG: i32 = 65_535;

/// Every address of the configuration, with the field that names it.
pub(super) fn addresses(config: &Config) -> Vec<(&'static str, SocketAddr)> {
    let admin = config.admin.listen.map(|a| ("admin.listen", a));
    let status = config.status.listen.map(|a| ("status.listen", a));
    config.data_addresses().chain(admin).chain(status).collect()
}

/// The sockets by their addresses.
///
/// Bound, they keep a port from others; they accept nothing until they are asked for. Ours are kept
/// beside those given away, until [`Sockets::close`]: a port is free only when both are closed.
pub(super) struct Sockets {
    open: Mutex<BTreeMap<SocketAddr, Socket>>,
}

struct Socket {
    field: &'static str,
    fd: OwnedFd,
}

impl Sockets {
    /// Takes the inherited socket of each address, or binds one. What was inherited and is not
    /// wanted any more is closed.
    ///
    /// # Errors
    /// When a port is in use, or may not be used; names the field.
    pub(super) fn bind(
        addresses: &[(&'static str, SocketAddr)],
        mut inherited: BTreeMap<SocketAddr, OwnedFd>,
    ) -> anyhow::Result<Self> {
        let mut open = BTreeMap::new();
        for (field, address) in addresses {
            let fd = match inherited.remove(address) {
                Some(fd) => fd,
                None => bind(*address).with_context(|| format!("cannot listen on {address} ({field})"))?,
            };
            rustix::io::ioctl_fionbio(&fd, true)?;
            open.insert(*address, Socket { field, fd });
        }
        Ok(Self { open: Mutex::new(open) })
    }

    /// A listener for a part of ours. It accepts from now on.
    pub(super) fn listener(&self, address: SocketAddr) -> anyhow::Result<TcpListener> {
        Ok(TcpListener::from_std(self.share(address)?.into())?)
    }

    /// Listeners for Pingora, which looks for them under the text of their addresses. They accept
    /// from now on.
    pub(super) fn for_pingora(&self, addresses: impl Iterator<Item = SocketAddr>) -> anyhow::Result<ListenFds> {
        let mut fds = Fds::new();
        for address in addresses {
            fds.add(address.to_string(), self.share(address)?.into_raw_fd());
        }
        Ok(Arc::new(parking_lot::Mutex::new(fds)))
    }

    fn share(&self, address: SocketAddr) -> anyhow::Result<OwnedFd> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let socket = open.get(&address).with_context(|| format!("no socket is open for {address}"))?;
        rustix::net::listen(&socket.fd, BACKLOG)
            .with_context(|| format!("cannot listen on {address} ({})", socket.field))?;
        Ok(socket.fd.try_clone()?)
    }

    /// All of them, for a successor.
    pub(super) fn share_all(&self) -> io::Result<BTreeMap<SocketAddr, OwnedFd>> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.iter().map(|(address, socket)| Ok((*address, socket.fd.try_clone()?))).collect()
    }

    /// Lets go of all. Those given away are their users' to close.
    pub(super) fn close(&self) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Without `listen`, so that nobody connects to a gateway that does not serve yet.
fn bind(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // Connections of a process before this one may still linger on the port.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    rustix::net::bind(&socket, &address)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free() -> SocketAddr {
        std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
    }

    fn one(address: SocketAddr) -> anyhow::Result<Sockets> {
        Sockets::bind(&[("status.listen", address)], BTreeMap::new())
    }

    #[test]
    fn a_port_in_use_is_an_error_that_names_the_field() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let error = format!("{:#}", one(address).err().unwrap());
        assert!(error.contains("status.listen") && error.contains(&address.to_string()), "{error}");
        assert!(error.contains("in use"), "{error}");
    }

    #[tokio::test]
    async fn a_port_taken_between_bind_and_listen_is_an_error_that_names_the_field() {
        let address = free();
        let sockets = one(address).unwrap();
        // The standard library sets SO_REUSEADDR too, so this works until one of the two listens.
        let _taken = std::net::TcpListener::bind(address).unwrap();
        let error = format!("{:#}", sockets.listener(address).err().unwrap());
        assert!(error.contains("status.listen") && error.contains("in use"), "{error}");
    }

    #[tokio::test]
    async fn nothing_is_accepted_before_it_is_asked_for_nor_after_the_end() {
        let address = free();
        let sockets = one(address).unwrap();
        std::net::TcpStream::connect(address).unwrap_err();
        let listener = sockets.listener(address).unwrap();
        std::net::TcpStream::connect(address).unwrap();
        sockets.close();
        drop(listener);
        std::net::TcpStream::connect(address).unwrap_err();
    }

    #[tokio::test]
    async fn an_inherited_socket_is_used_and_a_superfluous_one_closed() {
        let (kept, superfluous) = (free(), free());
        let listen = |address: SocketAddr| std::net::TcpListener::bind(address).unwrap();
        let inherited = BTreeMap::from([(kept, listen(kept).into()), (superfluous, listen(superfluous).into())]);
        let sockets = Sockets::bind(&[("listeners.http", kept)], inherited).unwrap();
        let waiting = std::net::TcpStream::connect(kept).unwrap();
        let (_, peer) = sockets.listener(kept).unwrap().accept().await.unwrap();
        assert_eq!(waiting.local_addr().unwrap(), peer, "what waited in the queue is served");
        std::net::TcpStream::connect(superfluous).unwrap_err();
    }
}

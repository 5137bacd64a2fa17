//! The line between a process and its successor: messages, and the listening sockets with them.
//!
//! Both ends may be different versions of the gateway, so what is here may grow, and not change.

use std::collections::BTreeMap;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};

/// Sockets in one message; the kernel takes up to 253.
const SOCKETS: usize = 64;
/// Bytes of one message.
const LONGEST: usize = 32 << 10;

/// What is said over the line.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Message {
    /// From the old process: its sockets, by the addresses they are bound to.
    Sockets {
        addresses: Vec<SocketAddr>,
        /// Whether another such message follows.
        more: bool,
    },
    /// From the new one: it accepts connections.
    Ready,
    /// From the new one: why it gives up.
    Failed(String),
}

pub(super) struct Line(OwnedFd);

impl Line {
    /// Our end, and the other for the process that is to be started.
    pub(super) fn pair() -> io::Result<(Self, OwnedFd)> {
        let kind = SocketType::SEQPACKET;
        let (ours, theirs) = rustix::net::socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
        Ok((Self(ours), theirs))
    }

    pub(super) fn over(end: OwnedFd) -> Self {
        Self(end)
    }

    /// How long [`Line::receive`] waits.
    pub(super) fn set_timeout(&self, timeout: Duration) -> io::Result<()> {
        Ok(set_socket_timeout(&self.0, Timeout::Recv, Some(timeout))?)
    }

    pub(super) fn send(&self, message: &Message) -> io::Result<()> {
        self.send_with(message, &[])
    }

    pub(super) fn send_sockets(&self, sockets: &BTreeMap<SocketAddr, OwnedFd>) -> io::Result<()> {
        let all: Vec<_> = sockets.iter().collect();
        let mut left = all.len();
        // One message at least: a gateway always listens somewhere.
        for part in all.chunks(SOCKETS) {
            left -= part.len();
            let addresses = part.iter().map(|(address, _)| **address).collect();
            let fds: Vec<_> = part.iter().map(|(_, fd)| fd.as_fd()).collect();
            self.send_with(&Message::Sockets { addresses, more: left > 0 }, &fds)?;
        }
        Ok(())
    }

    pub(super) fn receive_sockets(&self) -> io::Result<BTreeMap<SocketAddr, OwnedFd>> {
        let mut sockets = BTreeMap::new();
        loop {
            let Some((Message::Sockets { addresses, more }, fds)) = self.receive_with()? else {
                return Err(io::Error::other("the old process did not send its sockets"));
            };
            if addresses.len() != fds.len() {
                return Err(io::Error::other(format!("{} sockets came for {} addresses", fds.len(), addresses.len())));
            }
            sockets.extend(addresses.into_iter().zip(fds));
            if !more {
                return Ok(sockets);
            }
        }
    }

    /// The next message; `None` when the other process has ended.
    pub(super) fn receive(&self) -> io::Result<Option<Message>> {
        Ok(self.receive_with()?.map(|(message, _)| message))
    }

    fn send_with(&self, message: &Message, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let bytes = serde_json::to_vec(message)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(io::Error::other("too many sockets for one message"));
        }
        sendmsg(&self.0, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    fn receive_with(&self) -> io::Result<Option<(Message, Vec<OwnedFd>)>> {
        let mut bytes = vec![0; LONGEST];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = rustix::io::retry_on_intr(|| {
            recvmsg(&self.0, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)
        })?;
        if received.bytes == 0 {
            return Ok(None);
        }
        let fds = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        });
        let fds = fds.flatten().collect();
        Ok(Some((serde_json::from_slice(&bytes[..received.bytes])?, fds)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_and_words_pass() {
        let (old, end) = Line::pair().unwrap();
        let new = Line::over(end);
        let listeners: Vec<_> = (0..70).map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let sockets: BTreeMap<_, OwnedFd> =
            listeners.into_iter().map(|l| (l.local_addr().unwrap(), l.into())).collect();
        old.send_sockets(&sockets).unwrap();
        for (address, fd) in new.receive_sockets().unwrap() {
            assert_eq!(std::net::TcpListener::from(fd).local_addr().unwrap(), address);
        }
        new.send(&Message::Failed("no \"reason\"".into())).unwrap();
        assert_eq!(old.receive().unwrap(), Some(Message::Failed("no \"reason\"".into())));
        drop(new);
        assert_eq!(old.receive().unwrap(), None);
    }

    #[test]
    fn silence_is_not_waited_for_longer_than_told() {
        let (old, _end) = Line::pair().unwrap();
        old.set_timeout(Duration::from_millis(10)).unwrap();
        assert_eq!(old.receive().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
}

//! What the service manager is told, by the protocol of systemd's `sd_notify(3)`: a datagram to the
//! socket that `NOTIFY_SOCKET` names. Without that variable nothing happens.

use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

pub(super) fn ready(status: &str) {
    send(&format!("READY=1\nSTATUS={status}"));
}

pub(super) fn stopping(status: &str) {
    send(&format!("STOPPING=1\nSTATUS={status}"));
}

/// To be followed by [`ready`].
pub(super) fn reloading() {
    let now = clock_gettime(ClockId::Monotonic);
    let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000;
    send(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
}

/// Another process is the service from now on.
pub(super) fn main_process_is(pid: u32) {
    send(&format!("MAINPID={pid}\nREADY=1\nSTATUS=serving (process {pid}, upgraded)"));
}

pub(super) fn watchdog() {
    send("WATCHDOG=1");
}

/// How often the service manager must hear of us, when it asked for that.
pub(super) fn watchdog_interval() -> Option<Duration> {
    let of = |name| std::env::var(name).ok();
    watchdog_from(&of("WATCHDOG_USEC")?, of("WATCHDOG_PID").as_deref(), std::process::id())
}

fn watchdog_from(micros: &str, pid: Option<&str>, own: u32) -> Option<Duration> {
    if pid.is_some_and(|pid| pid != own.to_string()) {
        return None;
    }
    let micros: u64 = micros.parse().ok().filter(|micros| *micros > 0)?;
    Some(Duration::from_micros(micros))
}

fn send(state: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty()) else { return };
    if let Err(e) = send_to(&path, state) {
        log::warn!("the service manager could not be told \"{}\": {e}", state.replace('\n', " "));
    }
}

fn send_to(path: &OsString, state: &str) -> io::Result<()> {
    let address = match path.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(path)?,
    };
    let socket = UnixDatagram::unbound()?;
    // A manager that does not read must not hold up the gateway.
    socket.set_write_timeout(Some(Duration::from_millis(200)))?;
    socket.send_to_addr(state.as_bytes(), &address)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_reaches_a_socket_in_the_file_system_and_an_abstract_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let name = format!("ws-cloud-gateway-test-{}", std::process::id());
        let in_files = UnixDatagram::bind(&path).unwrap();
        let by_name = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        for (socket, name) in [(in_files, path.into_os_string()), (by_name, format!("@{name}").into())] {
            send_to(&name, "READY=1").unwrap();
            let mut bytes = [0; 64];
            let n = socket.recv(&mut bytes).unwrap();
            assert_eq!(&bytes[..n], b"READY=1");
        }
    }

    #[test]
    fn a_watchdog_of_another_process_is_not_ours() {
        let of = |pid| watchdog_from("2000000", pid, 7);
        assert_eq!(of(None), Some(Duration::from_secs(2)));
        assert_eq!(of(Some("7")), Some(Duration::from_secs(2)));
        assert_eq!(of(Some("8")), None);
        assert_eq!(watchdog_from("0", None, 7), None);
        assert_eq!(watchdog_from("soon", None, 7), None);
    }
}

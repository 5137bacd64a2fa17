//! A name server within the test, which says what it is told to.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// What is said of a name.
#[derive(Debug, Clone)]
pub enum Says {
    /// These addresses, for so many seconds.
    At(Vec<IpAddr>, u32),
    /// There is no such name.
    NoSuchName,
    /// The server cannot say.
    Failure,
    /// Nothing at all.
    Nothing,
}

type Zone = Arc<Mutex<HashMap<String, Says>>>;

/// A name server; it ends with the value.
pub struct Dns {
    pub address: SocketAddr,
    zone: Zone,
    questions: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Dns {
    /// One that knows no name.
    pub async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let (zone, questions) = (Zone::default(), Arc::<Mutex<Vec<String>>>::default());
        let (answers, asked) = (zone.clone(), questions.clone());
        let task = tokio::spawn(async move {
            let mut buffer = [0; 1500];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let Some((name, kind, end)) = question(&buffer[..length]) else { continue };
                asked.lock().unwrap().push(name.clone());
                let says = answers.lock().unwrap().get(&name).cloned().unwrap_or(Says::NoSuchName);
                if let Some(reply) = reply(&buffer[..end], kind, &says) {
                    drop(socket.send_to(&reply, from).await);
                }
            }
        });
        Self { address, zone, questions, task }
    }

    /// What is said of a name from now on.
    pub fn say(&self, name: &str, says: Says) {
        self.zone.lock().unwrap().insert(name.into(), says);
    }

    /// The name is at these addresses.
    pub fn at(&self, name: &str, addresses: &[&str], ttl: u32) {
        self.say(name, Says::At(addresses.iter().map(|a| a.parse().unwrap()).collect(), ttl));
    }

    /// How often a name was asked for.
    pub fn asked(&self, name: &str) -> usize {
        self.questions.lock().unwrap().iter().filter(|asked| *asked == name).count()
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The name asked for, the type of record, and where the question ends.
fn question(message: &[u8]) -> Option<(String, u16, usize)> {
    let (mut labels, mut at) = (Vec::new(), 12);
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(message.get(at..at + length)?).to_ascii_lowercase());
        at += length;
    }
    let kind = message.get(at..at + 2)?;
    Some((labels.join("."), u16::from_be_bytes([kind[0], kind[1]]), at + 4))
}

fn reply(question: &[u8], kind: u16, says: &Says) -> Option<Vec<u8>> {
    const A: u16 = 1;
    const AAAA: u16 = 28;
    let (code, addresses, ttl) = match says {
        Says::At(addresses, ttl) => (0, addresses.clone(), *ttl),
        Says::NoSuchName => (3, vec![], 0),
        Says::Failure => (2, vec![], 0),
        Says::Nothing => return None,
    };
    let of_kind = |ip: &IpAddr| (kind == A && ip.is_ipv4()) || (kind == AAAA && ip.is_ipv6());
    let addresses: Vec<IpAddr> = addresses.into_iter().filter(of_kind).collect();
    let mut reply = question.to_vec();
    // A response, recursion wanted and to be had.
    (reply[2], reply[3]) = (0x81, 0x80 | code);
    let count = u16::try_from(addresses.len()).unwrap();
    reply[4..12].copy_from_slice(&[0, 1, (count >> 8) as u8, (count & 255) as u8, 0, 0, 0, 0]);
    for address in addresses {
        // The name is the one at byte 12; class IN.
        reply.extend([0xc0, 12, 0, kind as u8, 0, 1]);
        reply.extend(ttl.to_be_bytes());
        match address {
            IpAddr::V4(ip) => {
                reply.extend([0, 4]);
                reply.extend(ip.octets());
            }
            IpAddr::V6(ip) => {
                reply.extend([0, 16]);
                reply.extend(ip.octets());
            }
        }
    }
    Some(reply)
}

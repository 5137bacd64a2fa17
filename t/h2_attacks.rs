//! What hostile HTTP/2 clients do: each attack is carried out, frame by frame. Its connection is ended or costs
//! little, memory stays, and another client is served meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::support::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PADDED, PING, PREFACE, PRIORITY, RST_STREAM,
    SETTINGS, WINDOW_UPDATE, frame, literal,
};
use crate::support::{Client, Gateway, Upstream, eventually, in_time};

/// The number of the n-th stream of a client.
fn stream(n: usize) -> u32 {
    u32::try_from(n).unwrap() * 2 + 1
}

/// `GET /x` or `POST /x`, in HPACK without its tables.
fn request(method: &str) -> Vec<u8> {
    let method = if method == "GET" { 0x82 } else { 0x83 };
    [&[method, 0x86, 0x04, 2][..], b"/x", &[0x01, 1], b"a"].concat()
}

/// A header block that opens a stream.
fn open(n: usize, method: &str, flags: u8) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | flags, stream(n), &request(method))
}

/// How a flood ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The gateway ended the connection, after it was sent at most so many units.
    Ended(usize),
    /// The gateway reads no more.
    Stalled,
    /// It took everything.
    Taken,
}

/// A client that keeps no rule.
struct Attacker {
    writer: OwnedWriteHalf,
    /// Reads what the gateway says; the code of its GOAWAY, when it says one.
    reader: Option<JoinHandle<Option<u32>>>,
    resets: Arc<AtomicUsize>,
}

impl Attacker {
    async fn connect(gateway: &Gateway) -> Self {
        Self::with(gateway, &[], true).await
    }

    /// With these settings, reading what comes or not.
    async fn with(gateway: &Gateway, settings: &[u8], reads: bool) -> Self {
        let (mut reader, mut writer) = TcpStream::connect(gateway.h2c).await.unwrap().into_split();
        writer.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, settings)].concat()).await.unwrap();
        let resets = Arc::new(AtomicUsize::new(0));
        let count = resets.clone();
        let reader = tokio::spawn(async move {
            if !reads {
                std::future::pending::<()>().await;
            }
            let (mut head, mut goaway) = ([0; 9], None);
            while reader.read_exact(&mut head).await.is_ok() {
                let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
                let mut payload = vec![0; length as usize];
                if reader.read_exact(&mut payload).await.is_err() {
                    break;
                }
                match head[3] {
                    GOAWAY => goaway = Some(u32::from_be_bytes(payload[4..8].try_into().unwrap())),
                    RST_STREAM => drop(count.fetch_add(1, Ordering::Relaxed)),
                    _ => {}
                }
            }
            goaway
        });
        Self { writer, reader: Some(reader), resets }
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.writer.write_all(bytes).await.unwrap();
    }

    /// Sends so many units, as fast as the gateway takes them.
    async fn flood(&mut self, count: usize, unit: impl Fn(usize) -> Vec<u8>) -> End {
        const AT_ONCE: usize = 50;
        for first in (0..count).step_by(AT_ONCE) {
            let bytes: Vec<u8> = (first..(first + AT_ONCE).min(count)).flat_map(&unit).collect();
            match timeout(Duration::from_secs(5), self.writer.write_all(&bytes)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return End::Ended(first + AT_ONCE),
                Err(_) => return End::Stalled,
            }
            if self.reader.as_ref().is_some_and(JoinHandle::is_finished) {
                return End::Ended(first + AT_ONCE);
            }
        }
        End::Taken
    }

    /// The code of the GOAWAY with which the connection ends.
    async fn ended(&mut self) -> Option<u32> {
        in_time("the gateway ends the connection", self.reader.take().unwrap()).await.unwrap()
    }
}

/// A gateway under attack, which has served before.
struct Victim {
    gateway: Gateway,
    upstream: Upstream,
    before: u64,
}

impl Victim {
    async fn start() -> Self {
        Self::with(json!({}), Upstream::echo().await).await
    }

    async fn with(client: serde_json::Value, upstream: Upstream) -> Self {
        let gateway = Gateway::with(json!({"client": client})).await;
        gateway.serve("/*", &[upstream.address]).await;
        for _ in 0..50 {
            gateway.get("/probe").await.expect(200);
        }
        let before = gateway.rss_kib();
        Self { gateway, upstream, before }
    }

    /// It serves others, has not grown by more than so many MiB, and lives.
    async fn is_well(&mut self, mib: u64) {
        let mut client = Client::connect(self.gateway.http).await;
        for _ in 0..5 {
            in_time("another client", client.get("/probe")).await.unwrap().expect(200);
        }
        let grown = self.gateway.rss_kib().saturating_sub(self.before);
        assert!(grown < mib * 1024, "grown by {grown} KiB");
        assert!(!self.gateway.process().has_crashed());
        assert!(!self.gateway.output().contains("panicked"), "{}", self.gateway.output());
    }
}

/// CVE-2023-44487.
#[tokio::test(flavor = "multi_thread")]
async fn rapid_reset_ends_the_connection() {
    let mut victim = Victim::start().await;
    let mut attacker = Attacker::connect(&victim.gateway).await;
    let cancel = 8_u32.to_be_bytes();
    attacker.flood(20_000, |n| [open(n, "GET", END_STREAM), frame(RST_STREAM, 0, stream(n), &cancel)].concat()).await;
    assert!(matches!(attacker.ended().await, Some(11) | None), "ENHANCE_YOUR_CALM, or what a reset leaves of it");
    assert!(victim.upstream.count() <= 50 + 2_000, "{} requests went through", victim.upstream.count());
    victim.is_well(32).await;
}

/// CVE-2025-8671: the client makes the gateway reset its streams.
#[tokio::test(flavor = "multi_thread")]
async fn made_you_reset_ends_the_connection() {
    let mut victim = Victim::start().await;
    for wrong in [
        // An empty increment, and one beyond the largest window.
        |n| frame(WINDOW_UPDATE, 0, stream(n), &0_u32.to_be_bytes()),
        |n| frame(WINDOW_UPDATE, 0, stream(n), &0x7fff_ffff_u32.to_be_bytes()),
        // Data after the end.
        |n| frame(DATA, 0, stream(n), b"more"),
    ] {
        let mut attacker = Attacker::connect(&victim.gateway).await;
        // The kernel may take all of it before the gateway has read that far.
        attacker.flood(20_000, |n| [open(n, "GET", END_STREAM), wrong(n)].concat()).await;
        attacker.ended().await;
    }
    // What the kernel had taken meanwhile is not work done.
    assert!(victim.upstream.count() <= 50 + 3 * 2_500, "{} requests went through", victim.upstream.count());
    victim.is_well(32).await;
}

/// The family of CVE-2024-27316.
#[tokio::test(flavor = "multi_thread")]
async fn a_header_block_without_an_end_ends_the_connection() {
    let mut victim = Victim::start().await;
    for payload in [vec![], vec![0; 1], literal(b"x-aaa", &[b'x'; 16_000])] {
        let mut attacker = Attacker::connect(&victim.gateway).await;
        attacker.send(&frame(HEADERS, 0, 1, &request("GET"))).await;
        attacker.flood(20_000, |_| frame(CONTINUATION, 0, 1, &payload)).await;
        attacker.ended().await;
    }
    victim.is_well(16).await;
}

/// One large entry of HPACK's table, named again and again.
#[tokio::test(flavor = "multi_thread")]
async fn an_hpack_bomb_is_not_unpacked() {
    let mut victim = Victim::start().await;
    let mut attacker = Attacker::connect(&victim.gateway).await;
    // Kept in the table: as its first entry, 62 with those that are always there.
    let mut planted = literal(b"x-bomb", &[b'x'; 3_900]);
    planted[0] = 0x40;
    let plant = [request("GET"), planted].concat();
    let boom = [&request("GET")[..], &[0xbe; 16_000]].concat();
    attacker.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &plant)).await;
    eventually("the table is filled", || async { victim.upstream.count() >= 51 }).await;
    assert!(victim.upstream.seen().iter().any(|seen| seen.header("x-bomb").is_some_and(|v| v.len() == 3_900)));
    let end = attacker.flood(2_000, |n| frame(HEADERS, END_HEADERS | END_STREAM, stream(n + 1), &boom)).await;
    victim.is_well(32).await;
    assert!(victim.upstream.seen().iter().all(|seen| seen.head.all("x-bomb").len() <= 1), "{end:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_of_pings_and_settings_cost_little_even_when_nobody_reads_the_answers() {
    let mut victim = Victim::start().await;
    for reads in [true, false] {
        for unit in [frame(PING, 0, 0, b"8 octets"), frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100].repeat(50))] {
            let mut attacker = Attacker::with(&victim.gateway, &[], reads).await;
            attacker.flood(100_000, |_| unit.clone()).await;
            victim.is_well(16).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_of_empty_and_tiny_frames_are_cut_off_or_cost_little() {
    let mut victim = Victim::start().await;
    let padded = [&[255][..], &[0; 255]].concat();
    for (what, flags, payload) in [("empty", 0, &b""[..]), ("one byte", 0, b"x"), ("padding only", PADDED, &padded)] {
        let mut attacker = Attacker::connect(&victim.gateway).await;
        attacker.send(&open(0, "POST", 0)).await;
        attacker.flood(200_000, |_| frame(DATA, flags, 1, payload)).await;
        if what == "empty" {
            attacker.ended().await;
        }
        victim.is_well(24).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn window_updates_without_end_are_an_error_or_cost_little() {
    let mut victim = Victim::start().await;
    let mut attacker = Attacker::connect(&victim.gateway).await;
    let end = attacker.flood(10, |_| frame(WINDOW_UPDATE, 0, 0, &0x7fff_ffff_u32.to_be_bytes())).await;
    assert!(matches!(end, End::Ended(_) | End::Taken), "{end:?}");
    assert!(matches!(attacker.ended().await, Some(3) | None), "FLOW_CONTROL_ERROR");
    let mut attacker = Attacker::connect(&victim.gateway).await;
    attacker.flood(200_000, |_| frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes())).await;
    victim.is_well(16).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_mean_nothing_cost_little() {
    let mut victim = Victim::start().await;
    for unit in [
        frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1]),
        // Of a kind that does not exist, to be ignored.
        frame(0xbe, 0xff, 0, &[0; 100]),
        frame(WINDOW_UPDATE, 0, 0x7fff_fff1, &1_u32.to_be_bytes()),
        frame(RST_STREAM, 0, 0x7fff_fff1, &8_u32.to_be_bytes()),
    ] {
        let mut attacker = Attacker::connect(&victim.gateway).await;
        attacker.flood(100_000, |_| unit.clone()).await;
        victim.is_well(16).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_streams_than_allowed_are_refused() {
    let held = Upstream::scripted(|stream, n| async move {
        let mut client = Client::over(stream);
        while let Ok(seen) = crate::support::upstream::read_request(&mut client).await {
            if seen.target == "/x" {
                std::future::pending::<()>().await;
            }
            drop(client.send(&crate::support::upstream::ok(&n.to_string())).await);
        }
    })
    .await;
    let mut victim = Victim::with(json!({"h2_max_streams": 20}), held).await;
    let before = victim.upstream.connections();
    let mut attacker = Attacker::connect(&victim.gateway).await;
    let end = attacker.flood(5_000, |n| open(n, "GET", END_STREAM)).await;
    victim.is_well(16).await;
    assert!(victim.upstream.connections() - before <= 20 + 5, "{}", victim.upstream.connections());
    assert!(attacker.resets.load(Ordering::Relaxed) > 0 || matches!(end, End::Ended(_)), "{end:?}");
}

/// A hundred large responses are asked for, and none is read: neither the window opens nor the socket drains.
#[tokio::test(flavor = "multi_thread")]
async fn who_asks_and_does_not_read_is_not_waited_for() {
    const SIZE: usize = 4 << 20;
    let body: &'static str = "x".repeat(SIZE).leak();
    let large =
        Upstream::answering(move |seen| crate::support::upstream::ok(if seen.target == "/x" { body } else { "small" }))
            .await;
    let mut victim = Victim::with(json!({"send_timeout": "2s"}), large).await;
    let no_window = [&[0, 4][..], &0_u32.to_be_bytes()].concat();
    let huge_window = [&[0, 4][..], &0x7fff_ffff_u32.to_be_bytes()].concat();
    for (settings, reads) in [(no_window, true), (huge_window, false)] {
        let mut attacker = Attacker::with(&victim.gateway, &settings, reads).await;
        attacker.send(&frame(WINDOW_UPDATE, 0, 0, &0x7fff_0000_u32.to_be_bytes())).await;
        let end = attacker.flood(100, |n| open(n, "GET", END_STREAM)).await;
        assert_eq!(end, End::Taken);
        victim.is_well(96).await;
        eventually("the gateway gives up", || async {
            victim.gateway.metric("gateway_requests_in_flight", "").await == 0.0
        })
        .await;
    }
    victim.is_well(96).await;
}

/// Headers of a MiB, by the limit of the header list.
#[tokio::test(flavor = "multi_thread")]
async fn a_header_list_beyond_the_limit_is_refused() {
    let mut victim = Victim::start().await;
    let asked = victim.upstream.count();
    let mut attacker = Attacker::connect(&victim.gateway).await;
    let piece = literal(b"x-", &[b'x'; 8_192]);
    attacker.send(&frame(HEADERS, 0, 1, &request("GET"))).await;
    let end = attacker.flood(126, |n| frame(CONTINUATION, if n == 125 { END_HEADERS } else { 0 }, 1, &piece));
    end.await;
    victim.is_well(16).await;
    assert_eq!(victim.upstream.count(), asked + 5, "only the other client's requests");
}

/// Slowloris in frames: a header block is begun, and no more is said.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_begin_and_say_no_more_are_closed() {
    let mut victim =
        Victim::with(json!({"h2_idle_timeout": "2s", "header_timeout": "2s"}), Upstream::echo().await).await;
    let mut attackers = Vec::new();
    for i in 0..200 {
        let mut attacker = Attacker::connect(&victim.gateway).await;
        match i % 3 {
            0 => attacker.send(&frame(HEADERS, 0, 1, &request("GET"))).await,
            1 => attacker.send(&frame(HEADERS, END_HEADERS, 1, &request("GET"))[..5]).await,
            _ => {}
        }
        attackers.push(attacker);
    }
    victim.is_well(32).await;
    for mut attacker in attackers {
        attacker.ended().await;
    }
    victim.is_well(32).await;
}

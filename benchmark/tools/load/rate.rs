//! An open loop: requests are due at evenly spaced times, whether or not the earlier ones are answered. A
//! latency counts from when the request was due, so that a slow server cannot hide its queue by
//! slowing down the load (coordinated omission); waiting for a free connection counts too.
//!
//! The clock is a timerfd in the event loop. It wakes within some ten microseconds of the due time, and
//! several times at once when the loop was busy: both add to the latency and never take from it.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use clap::Args;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use serde_json::json;
use tokio::io::unix::AsyncFd;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::try_join;

use crate::client::{Target, ask};
use crate::http1::Connection;
use crate::latency::Latencies;
use crate::{on_each, per_second, report};

#[derive(Args)]
pub(crate) struct Options {
    #[arg(long)]
    url: Target,
    /// Requests per second
    #[arg(long)]
    rate: u32,
    /// How long it is measured; requests that are late by as much are not sent any more
    #[arg(long)]
    seconds: u32,
    #[arg(long)]
    connections: usize,
    /// Seconds of the same load before that
    #[arg(long, default_value_t = 1)]
    warmup: u32,
}

/// What all connections share.
struct Schedule {
    start: Instant,
    interval: Duration,
    /// Requests that are sent but not measured, and all of them.
    warmup: u64,
    total: u64,
    /// When the requests that are still waiting are given up.
    deadline: Instant,
    /// A permit for each request that is due and not yet taken by a connection.
    due: Semaphore,
    taken: AtomicU64,
}

/// What one connection has seen.
#[derive(Default)]
struct Seen {
    sent: u64,
    latencies: Vec<Duration>,
    failed: u64,
    first_failure: Option<anyhow::Error>,
}

pub(crate) async fn run(options: Options) -> Result<()> {
    ensure!(options.rate > 0 && options.seconds > 0, "--rate and --seconds: at least one is needed");
    ensure!(options.connections > 0, "--connections: at least one is needed");
    let connect = options.url.clone();
    let opened = on_each(options.connections, |_| {
        let target = connect.clone();
        async move { target.connect().await }
    });
    let mut opened = opened.await?.into_iter();
    let schedule = Arc::new(Schedule::of(&options));
    let work = on_each(options.connections, |_| {
        let connection = opened.next().expect("one was opened for each");
        work(Arc::clone(&schedule), options.url.clone(), connection)
    });
    let (seen, ()) = try_join!(work, schedule.tick(options.connections))?;
    result(&options, &schedule, seen)
}

impl Schedule {
    fn of(options: &Options) -> Self {
        let interval = Duration::from_secs(1) / options.rate;
        let (start, measured) = (Instant::now(), u64::from(options.seconds));
        let seconds = u64::from(options.warmup) + measured;
        Self {
            start,
            interval,
            warmup: u64::from(options.rate) * u64::from(options.warmup),
            total: u64::from(options.rate) * seconds,
            deadline: start + Duration::from_secs(seconds + measured),
            due: Semaphore::new(0),
            taken: AtomicU64::new(0),
        }
    }

    /// Lets the requests go when they are due, and the connections when there is none left.
    async fn tick(&self, connections: usize) -> Result<()> {
        #[expect(
            deprecated,
            reason = "what replaces it is unsafe, for descriptors that may be closed; this one is owned"
        )]
        let timer = AsyncFd::new(timer(self.interval)?)?;
        let mut left = self.total;
        while left > 0 {
            let mut ready = timer.readable().await?;
            let mut expired = [0; 8];
            if ready.try_io(|timer| Ok(rustix::io::read(timer, &mut expired)?)).is_ok_and(|read| read.is_ok()) {
                let due = u64::from_ne_bytes(expired).min(left);
                left -= due;
                self.due.add_permits(usize::try_from(due)?);
            }
        }
        self.due.add_permits(connections);
        Ok(())
    }

    /// The next request that is due.
    async fn take(&self) -> Option<u64> {
        self.due.acquire().await.expect("the semaphore is never closed").forget();
        let index = self.taken.fetch_add(1, Ordering::Relaxed);
        (index < self.total && Instant::now() < self.deadline).then_some(index)
    }

    fn due_at(&self, index: u64) -> Instant {
        let nanos = u64::try_from(self.interval.as_nanos()).expect("an interval is at most a second");
        self.start + Duration::from_nanos(nanos * (index + 1))
    }
}

fn timer(interval: Duration) -> Result<OwnedFd> {
    let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
    let interval = Timespec::try_from(interval)?;
    let spec = Itimerspec { it_interval: interval, it_value: interval };
    timerfd_settime(&timer, TimerfdTimerFlags::empty(), &spec)?;
    Ok(timer)
}

async fn work(schedule: Arc<Schedule>, target: Target, connection: Connection<TcpStream>) -> Result<Seen> {
    let request = target.get();
    let (mut seen, mut connection) = (Seen::default(), Some(connection));
    while let Some(index) = schedule.take().await {
        let answer = exchange(&target, &mut connection, request.as_bytes()).await;
        let latency = schedule.due_at(index).elapsed();
        seen.note(answer, (index >= schedule.warmup).then_some(latency));
    }
    Ok(seen)
}

/// Leaves no connection behind that cannot be used again.
async fn exchange(target: &Target, slot: &mut Option<Connection<TcpStream>>, request: &[u8]) -> Result<()> {
    let mut connection = match slot.take() {
        Some(connection) => connection,
        None => target.connect().await?,
    };
    if ask(&mut connection, request, |_| ()).await? {
        *slot = Some(connection);
    }
    Ok(())
}

impl Seen {
    /// A failure counts even while warming up.
    fn note(&mut self, answer: Result<()>, measured: Option<Duration>) {
        self.sent += u64::from(measured.is_some());
        match answer {
            Ok(()) => self.latencies.extend(measured),
            Err(failure) => {
                self.failed += 1;
                self.first_failure.get_or_insert(failure);
            }
        }
    }
}

fn result(options: &Options, schedule: &Schedule, seen: Vec<Seen>) -> Result<()> {
    let elapsed = schedule.due_at(schedule.warmup).elapsed();
    let sent: u64 = seen.iter().map(|seen| seen.sent).sum();
    let failed: u64 = seen.iter().map(|seen| seen.failed).sum();
    let (latencies, failures): (Vec<_>, Vec<_>) =
        seen.into_iter().map(|seen| (seen.latencies, seen.first_failure)).unzip();
    let ok = latencies.iter().map(|latencies| latencies.len() as u64).sum();
    let unsent = schedule.total - schedule.warmup - sent;
    report(&json!({
        "rate": options.rate,
        "sent": sent,
        "ok": ok,
        "failed": failed,
        "unsent": unsent,
        "achieved": per_second(ok, elapsed).1,
        "latency_us": Latencies::of(latencies).microseconds(),
    }));
    if let Some(failure) = failures.into_iter().flatten().next() {
        bail!("{failed} requests failed; one of them: {failure:#}");
    }
    ensure!(unsent == 0, "the rate is too high: {unsent} requests were too late to be sent");
    Ok(())
}

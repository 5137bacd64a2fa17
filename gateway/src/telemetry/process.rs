//! What the process itself takes, read from `/proc` for a scrape. Names as Prometheus' own clients have them.

use std::fmt;
use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

/// Tells of the process. Its names begin with `process`.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) started: SystemTime,
}

/// What `/proc` says. What cannot be read is left out.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
struct Figures {
    cpu: Option<Duration>,
    threads: Option<u64>,
    resident: Option<u64>,
    virtual_size: Option<u64>,
    open_files: Option<u64>,
    max_files: Option<u64>,
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let figures = read();
        if let Some(cpu) = figures.cpu {
            let help = "User and system time of the process.";
            let mut counter = encoder.encode_descriptor("cpu", help, Some(&Unit::Seconds), MetricType::Counter)?;
            counter.encode_counter::<NoLabelSet, f64, u64>(&cpu.as_secs_f64(), None)?;
        }
        let started = self.started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let help = "When the process started, since 1970.";
        encoder
            .encode_descriptor("start_time", help, Some(&Unit::Seconds), MetricType::Gauge)?
            .encode_gauge(&started)?;
        let bytes = Some(&Unit::Bytes);
        for (name, help, unit, value) in [
            ("resident_memory", "Memory of the process that is in RAM.", bytes, figures.resident),
            ("virtual_memory", "Address space of the process.", bytes, figures.virtual_size),
            ("open_fds", "Open files of the process, connections included.", None, figures.open_files),
            ("max_fds", "How many files the process may have open.", None, figures.max_files),
            ("threads", "Threads of the process.", None, figures.threads),
        ] {
            if let Some(value) = value {
                encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?.encode_gauge(&value)?;
            }
        }
        Ok(())
    }
}

fn read() -> Figures {
    let mut figures = Figures::default();
    if let Ok(stat) = fs::read_to_string("/proc/self/stat") {
        (figures.cpu, figures.threads) = of_stat(&stat, rustix::param::clock_ticks_per_second());
    }
    if let Ok(statm) = fs::read_to_string("/proc/self/statm") {
        let page = rustix::param::page_size() as u64;
        let mut pages = statm.split(' ').map(|field| field.trim().parse::<u64>().ok());
        figures.virtual_size = pages.next().flatten().map(|pages| pages * page);
        figures.resident = pages.next().flatten().map(|pages| pages * page);
    }
    // The one that reads the folder is not counted.
    figures.open_files = fs::read_dir("/proc/self/fd").ok().map(|open| (open.count() as u64).saturating_sub(1));
    figures.max_files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    figures
}

/// CPU time and threads. The name in the second field may have spaces and parentheses.
fn of_stat(stat: &str, ticks: u64) -> (Option<Duration>, Option<u64>) {
    let Some((_, fields)) = stat.rsplit_once(") ") else { return (None, None) };
    let fields: Vec<_> = fields.split(' ').collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let cpu = field(14).zip(field(15)).map(|(user, system)| {
        let millis = (user + system).saturating_mul(1000) / ticks.max(1);
        Duration::from_millis(millis)
    });
    (cpu, field(20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_whatever_the_name_is() {
        let stat = "7 (a) b) (c) S 1 7 7 0 -1 4194560 9 0 0 0 250 50 0 0 20 0 12 0 100 200 300";
        assert_eq!(of_stat(stat, 100), (Some(Duration::from_secs(3)), Some(12)));
        assert_eq!(of_stat("nonsense", 100), (None, None));
        assert_eq!(of_stat("7 (a) S 1", 100), (None, None));
    }

    #[test]
    fn the_process_has_all_of_it() {
        let figures = read();
        assert!(figures.cpu.is_some());
        assert!(figures.threads >= Some(1) && figures.open_files >= Some(3));
        assert!(figures.resident > Some(1 << 20) && figures.virtual_size > figures.resident);
        assert!(figures.max_files > figures.open_files);
    }
}

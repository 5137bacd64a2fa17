//! How much memory the process uses, measured now and then, so that load is refused before the kernel ends us.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;

use super::Parts;

/// Memory grows no faster than connections deliver; a limit of some hundred MiB is not crossed within this time.
const INTERVAL: Duration = Duration::from_millis(100);

/// Begins to measure, if there is a limit.
pub(super) fn watch(parts: &Arc<Parts>, runtime: &Runtime) {
    let configured = parts.config.overload.max_memory.map(|size| size.0);
    let Some(limit) = configured.or_else(cgroup_limit) else { return };
    log::info!("load is refused when {} MiB of memory are nearly used", limit >> 20);
    let parts = Arc::clone(parts);
    let page_size = rustix::param::page_size() as u64;
    runtime.spawn(async move {
        let mut interval = tokio::time::interval(INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            let Some(used) = resident(page_size) else {
                log::warn!("/proc/self/statm cannot be read, so overload.max_memory is not watched");
                return;
            };
            if let Some(change) = parts.overload.measured(used, limit) {
                log::warn!("{change}");
            }
        }
    });
}

/// Bytes of memory that are the process's own: what is mapped from files can be dropped at any time.
fn resident(page_size: u64) -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let mut fields = statm.split(' ').skip(1);
    let mut next = || fields.next()?.parse::<u64>().ok();
    let (resident, shared) = (next()?, next()?);
    Some(resident.saturating_sub(shared) * page_size)
}

/// The limit of the cgroup the process is in, as containers have one.
fn cgroup_limit() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    limit_of(&groups, |path| std::fs::read_to_string(path).ok())
}

/// Of version 2 (`0::/path`) the lowest on the way up, of version 1 the memory controller's.
fn limit_of(groups: &str, read: impl Fn(&Path) -> Option<String>) -> Option<u64> {
    let limit = |path: &Path| read(path)?.trim().parse::<u64>().ok();
    groups
        .lines()
        .filter_map(|line| {
            let mut fields = line.splitn(3, ':');
            let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
            let (root, file) = match controllers {
                "" => ("/sys/fs/cgroup", "memory.max"),
                list if list.split(',').any(|name| name == "memory") => {
                    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
                }
                _ => return None,
            };
            // Within a container the path may be the host's; the limit is then in the root.
            let own = Path::new(path.trim_start_matches('/'));
            own.ancestors().filter_map(|group| limit(&Path::new(root).join(group).join(file))).min()
        })
        .min()
        // Version 1 says "none" by a number that no machine has.
        .filter(|limit| *limit < 1 << 50)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_uses_memory() {
        assert!((1 << 20..1 << 36).contains(&resident(4096).unwrap()));
    }

    #[test]
    fn the_limit_is_the_lowest_that_holds_for_the_process() {
        let files = |path: &Path| -> Option<String> {
            let text = match path.to_str()? {
                "/sys/fs/cgroup/memory.max" => "max",
                "/sys/fs/cgroup/pod/memory.max" => "1000000",
                "/sys/fs/cgroup/pod/one/memory.max" => "2000000",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes" => "3000000",
                "/sys/fs/cgroup/memory/none/memory.limit_in_bytes" => "9223372036854771712",
                _ => return None,
            };
            Some(format!("{text}\n"))
        };
        for (groups, limit) in [
            ("0::/pod/one\n", Some(1_000_000)),
            ("0::/\n", None),
            ("0::/elsewhere\n", None),
            ("5:cpu:/x\n4:memory:/docker/abc\n", Some(3_000_000)),
            ("4:blkio,memory:/none\n", Some(3_000_000)),
            ("nonsense", None),
            ("", None),
        ] {
            assert_eq!(limit_of(groups, files), limit, "{groups}");
        }
    }
}

//! Resources of the process, read from Linux' `/proc`. Other systems have no such series.

use std::fs;
use std::sync::OnceLock;
use std::time::SystemTime;

use rustix::time::{ClockId, clock_gettime};

use super::page::{Family, Value, gauge};
use crate::telemetry::names;

/// Ticks per second in `/proc`: Linux shows user space 100 at any timer frequency (`USER_HZ`).
const TICKS: f64 = 100.0;

pub(super) fn families() -> Vec<Family> {
    let stat = fs::read_to_string("/proc/self/stat").ok().and_then(|text| Stat::of(&text));
    let resident = fs::read_to_string("/proc/self/status").ok().and_then(|text| resident(&text));
    let max = rlimit::getrlimit(rlimit::Resource::NOFILE).ok().map(|(soft, _)| soft);
    let all = [
        (names::PROCESS_CPU, stat.as_ref().map(|stat| Value::Sum(stat.cpu_ticks / TICKS))),
        (names::PROCESS_MEMORY, resident.map(gauge)),
        (names::PROCESS_OPEN_FDS, open_fds().map(gauge)),
        (names::PROCESS_MAX_FDS, max.map(gauge)),
        (
            names::PROCESS_START,
            stat.as_ref().zip(boot_time()).map(|(stat, boot)| Value::Gauge(boot + stat.start_ticks / TICKS)),
        ),
    ];
    all.into_iter().filter_map(|(metric, value)| Some(Family::one(metric, value?))).collect()
}

/// Returns the folder's size, which is the count since Linux 6.2; before, counts its entries without this reading's
/// own.
fn open_fds() -> Option<u64> {
    const FOLDER: &str = "/proc/self/fd";
    match fs::metadata(FOLDER).ok()?.len() {
        0 => Some((fs::read_dir(FOLDER).ok()?.count() as u64).saturating_sub(1)),
        count => Some(count),
    }
}

/// Fields of `/proc/self/stat`, in ticks.
#[derive(Debug, PartialEq)]
struct Stat {
    cpu_ticks: f64,
    /// Ticks since the machine's boot.
    start_ticks: f64,
}

impl Stat {
    /// Parses the line. Its second field is a name in parentheses that may contain any character.
    fn of(text: &str) -> Option<Self> {
        let (_, rest) = text.rsplit_once(')')?;
        let field = |number: usize| rest.split_ascii_whitespace().nth(number - 3)?.parse::<f64>().ok();
        Some(Self { cpu_ticks: field(14)? + field(15)?, start_ticks: field(22)? })
    }
}

/// Returns the time of the machine's boot, in seconds since 1970. It is computed once, so that the series is constant,
/// and from clocks: `/proc/stat` is hidden from a process that may only see processes (`ProcSubset=pid`).
fn boot_time() -> Option<f64> {
    static BOOT: OnceLock<Option<f64>> = OnceLock::new();
    *BOOT.get_or_init(|| {
        let since = clock_gettime(ClockId::Boottime);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?;
        // Seconds since boot fit a float for longer than machines run.
        Some(now.as_secs_f64() - (since.tv_sec as f64 + since.tv_nsec as f64 / 1e9))
    })
}

fn resident(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_linux_says_is_read() {
        let stat = "7 (a ) b) R 1 2 3 0 -1 4194304 102 0 0 0 150 50 0 0 20 0 1 0 4940294 2998272 416 1844";
        assert_eq!(Stat::of(stat), Some(Stat { cpu_ticks: 200.0, start_ticks: 4_940_294.0 }));
        assert_eq!((Stat::of(""), Stat::of("7 (x) R 1")), (None, None));
        assert_eq!(resident("Name:\tx\nVmRSS:\t   2048 kB\n"), Some(2 * 1024 * 1024));
        assert_eq!(resident("VmRSS:\t99999999999999999999 kB\n"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_is_known() {
        let families = families();
        let value = |metric| {
            let family: &Family = families.iter().find(|family| family.metric == metric).unwrap();
            match family.samples[0].1 {
                Value::Gauge(value) | Value::Sum(value) => value,
                ref other => panic!("{other:?}"),
            }
        };
        assert!(value(names::PROCESS_MEMORY) > 1e6);
        assert!(
            value(names::PROCESS_OPEN_FDS) >= 3.0 && value(names::PROCESS_MAX_FDS) >= value(names::PROCESS_OPEN_FDS)
        );
        assert!(value(names::PROCESS_CPU) >= 0.0);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
        let age = now - value(names::PROCESS_START);
        assert!((-2.0..86_400.0).contains(&age), "{age}");
    }
}

//! What processes have used: CPU time and memory, from Linux's /proc (proc_pid_stat(5), proc_pid_status(5)).

use std::fs;
use std::time::Duration;

use crate::failure::Failure;

/// What some processes have used since they started, or between two looks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// User and system time of all of them.
    pub cpu: Duration,
    /// Memory that is resident now, summed, bytes.
    pub rss_bytes: u64,
    /// The most that was resident at once since each started, summed, bytes.
    pub rss_peak_bytes: u64,
    /// How many processes.
    pub count: usize,
}

impl Usage {
    /// Of these processes, now.
    ///
    /// # Errors
    /// One of them does not exist, or this is not Linux.
    pub fn of(pids: &[u32]) -> Result<Usage, Failure> {
        let ticks_per_second = rustix::param::clock_ticks_per_second();
        let mut usage = Usage { count: pids.len(), ..Usage::default() };
        for pid in pids {
            let read = |file: &str| {
                fs::read_to_string(format!("/proc/{pid}/{file}")).map_err(|error| {
                    Failure::new(format_args!("cannot measure process {pid}: {error}"))
                        .next("--pids with the servers' process ids, as `pgrep -d, etcd` prints them")
                })
            };
            let ticks = cpu_ticks(&read("stat")?).unwrap_or_default();
            usage.cpu += Duration::from_secs_f64(ticks as f64 / ticks_per_second as f64);
            let status = read("status")?;
            usage.rss_bytes += status_bytes(&status, "VmRSS:").unwrap_or_default();
            usage.rss_peak_bytes += status_bytes(&status, "VmHWM:").unwrap_or_default();
        }
        Ok(usage)
    }

    /// The CPU time used since an earlier look, and the memory as it is now.
    #[must_use]
    pub fn since(mut self, before: &Usage) -> Usage {
        self.cpu = self.cpu.saturating_sub(before.cpu);
        self
    }
}

/// utime + stime: the 14th and 15th field. The second, the program's name, may hold spaces and parentheses.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let after_name = &stat[stat.rfind(')')? + 1..];
    let mut fields = after_name.split_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(user + system)
}

fn status_bytes(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find(|line| line.starts_with(field))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_name_does_not_shift_the_fields() {
        let stat = "7 (a ) b (c) S 1 7 7 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 1 0 1 1 1 1";
        assert_eq!(cpu_ticks(stat), Some(300));
    }

    #[test]
    fn memory_is_read_in_bytes() {
        let status = "Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        assert_eq!(status_bytes(status, "VmRSS:"), Some(1 << 20));
        assert_eq!(status_bytes(status, "VmHWM:"), Some(2 << 20));
    }

    #[test]
    fn this_process_uses_something() {
        let usage = Usage::of(&[std::process::id()]).unwrap();
        assert!(usage.rss_bytes > 0 && usage.rss_peak_bytes >= usage.rss_bytes);
    }
}

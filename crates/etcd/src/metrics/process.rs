//! What the operating system says about this process (Linux' `/proc`, elsewhere nothing).

use std::fs;

/// Bytes of memory and processor time that the process has taken, and its file descriptors.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Process {
    pub(super) resident_bytes: u64,
    pub(super) virtual_bytes: u64,
    pub(super) cpu_seconds: f64,
    pub(super) open_fds: u64,
    pub(super) max_fds: u64,
}

/// The unit of `/proc/self/stat`'s times on every Linux that this runs on.
const TICKS_PER_SECOND: f64 = 100.0;

pub(super) fn read() -> Option<Process> {
    let mut process = parse_status(&fs::read_to_string("/proc/self/status").ok()?);
    process.cpu_seconds = parse_cpu_seconds(&fs::read_to_string("/proc/self/stat").ok()?)?;
    process.open_fds = fs::read_dir("/proc/self/fd").ok()?.count() as u64;
    process.max_fds = parse_max_fds(&fs::read_to_string("/proc/self/limits").ok()?).unwrap_or(0);
    Some(process)
}

/// Reads any text as any of the files.
#[cfg(feature = "fuzzing")]
pub(crate) fn fuzzing(text: &str) {
    parse_status(text);
    parse_cpu_seconds(text);
    parse_max_fds(text);
}

fn parse_status(status: &str) -> Process {
    let kibibytes = |field: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(field))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    Process {
        resident_bytes: kibibytes("VmRSS:").unwrap_or(0).saturating_mul(1024),
        virtual_bytes: kibibytes("VmSize:").unwrap_or(0).saturating_mul(1024),
        ..Process::default()
    }
}

/// User and system time are the 14th and 15th fields; the second, the program's name, may hold anything.
fn parse_cpu_seconds(stat: &str) -> Option<f64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

fn parse_max_fds(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_name_with_spaces_and_brackets_does_not_shift_the_fields() {
        let stat = "7 (a) b (c) S 1 1 1 0 -1 4194304 1 0 0 0 250 50 0 0 20 0 1 0 1 1 1";
        assert_eq!(parse_cpu_seconds(stat), Some(3.0));
    }

    #[test]
    fn memory_is_counted_in_bytes() {
        let process = parse_status("Name:\tx\nVmSize:\t    2048 kB\nVmRSS:\t     512 kB\n");
        assert_eq!((process.resident_bytes, process.virtual_bytes), (512 * 1024, 2048 * 1024));
        assert_eq!(
            parse_max_fds("Max open files            1024                 4096      files"),
            Some(1024)
        );
    }
}

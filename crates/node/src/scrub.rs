//! Reads the log again, piece by piece and seldom, to find what the disk has lost before it is needed.

use std::time::{Duration, Instant};

use storage::{Disk, Log, ScrubCursor, ScrubDamage};

use crate::metrics::Metrics;

/// Bytes read at a time: the disk thread does nothing else meanwhile.
const PIECE_BYTES: u64 = 256 << 10;
/// From the end of one round to the begin of the next.
const REST: Duration = Duration::from_secs(600);

/// Where the scrub of a log is, and when it goes on.
#[derive(Debug)]
pub(crate) struct Scrubber {
    cursor: ScrubCursor,
    /// `None`: never.
    due: Option<Instant>,
    /// Between two pieces.
    gap: Duration,
}

impl Scrubber {
    /// A scrub at this rate in bytes a second; 0: none.
    pub(crate) fn new(now: Instant, bytes_per_second: u64) -> Scrubber {
        let gap = Duration::from_micros(PIECE_BYTES.saturating_mul(1_000_000) / bytes_per_second.max(1));
        let due = (bytes_per_second > 0).then(|| now.checked_add(gap)).flatten();
        Scrubber { cursor: ScrubCursor::default(), due, gap }
    }

    /// When the next piece is to be read.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Reads a piece if it is due. Returns the first damage that it finds.
    pub(crate) fn go_on<D: Disk>(
        &mut self,
        now: Instant,
        log: &Log<D>,
        metrics: &Metrics,
    ) -> Option<ScrubDamage> {
        self.due.filter(|due| *due <= now)?;
        let scrubbed = log.scrub(self.cursor, PIECE_BYTES);
        self.cursor = if scrubbed.finished { ScrubCursor::default() } else { scrubbed.next };
        self.due = now.checked_add(if scrubbed.finished { REST } else { self.gap });
        metrics.scrub_bytes.add(scrubbed.bytes);
        metrics.scrub_damage.add(scrubbed.damage.len() as u64);
        for damage in &scrubbed.damage {
            tracing::error!("the scrub of the log found damage: {damage}");
        }
        scrubbed.damage.into_iter().next()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use storage::{Identity, LogOp, LogOptions, SimDisk};
    use types::{NodeId, Slot};

    use super::*;

    #[test]
    fn a_round_reads_everything_at_its_pace_and_finds_the_damage() {
        let disk = SimDisk::default();
        let identity = Identity { cluster: 1, node: NodeId(1) };
        let (mut log, _) = Log::open(disk.clone(), identity, LogOptions::default()).unwrap();
        for slot in 1..=20 {
            log.append(&[LogOp::Put(Slot(slot), Bytes::from(vec![1; 50_000]))]).unwrap();
            log.sync().unwrap();
        }
        let (metrics, start) = (Metrics::default(), Instant::now());
        let mut scrubber = Scrubber::new(start, PIECE_BYTES);
        assert_eq!(scrubber.go_on(start, &log, &metrics), None);
        assert_eq!(metrics.scrub_bytes.get(), 0, "not due yet");

        disk.flip_bit("log-0000000000000001", 700_000, 1);
        let found =
            (1..60).find_map(|second| scrubber.go_on(start + Duration::from_secs(second), &log, &metrics));
        assert_eq!(found.unwrap().slots.len(), 1);
        assert_eq!(metrics.scrub_damage.get(), 1);
        assert!(metrics.scrub_bytes.get() > 700_000);

        let off = Scrubber::new(start, 0);
        assert_eq!(off.due(), None);
    }
}

//! The node's disk: one FIFO of writes, merged while an earlier sync is under way.

use std::time::Duration;

use consensus::{Input, StoreOp, WriteSeq};
use storage::{LogOp, ReadLogError};
use trace::{Details, Kind};
use types::{Slot, Wire, buggify};

use super::{DiskJob, Held, Incoming, Life};
use crate::schedule::CrashPoint;
use crate::shared::{Shared, Stop, Work};
use crate::subject::Subject;

/// A piece is scrubbed after so many syncs.
const SCRUB_EVERY: u64 = 8;
/// Bytes of one piece.
const SCRUB_BYTES: u64 = 2 << 10;

impl<P: Subject> Life<P> {
    /// Writes everything that waits, and begins to sync it, unless a sync is under way.
    pub(super) fn start_disk(&mut self, shared: &mut Shared) -> Result<(), Stop> {
        if !self.disk_busy.is_empty() || self.disk_queue.is_empty() {
            return Ok(());
        }
        let takes_one = buggify!(self.buggify, "driver.disk.one_job");
        let count = if takes_one { 1 } else { self.disk_queue.len() };
        self.disk_busy = self.disk_queue.drain(..count).collect();
        let writes = self.disk_busy.iter().any(|job| matches!(job, DiskJob::Write { .. }));
        if writes {
            self.crash_point(CrashPoint::Write)?;
            self.write(shared)?;
            self.crash_point(CrashPoint::Sync)?;
        }
        let pace = shared.setup.pace.sync;
        let mut after = if writes { self.latency(pace, 1, shared) + self.extra_sync } else { pace.0 };
        if buggify!(self.buggify, "driver.disk.slow") {
            after *= 10;
        }
        if buggify!(self.buggify, "driver.disk.at_once") {
            after = Duration::ZERO;
        }
        self.later(after, Work::Disk, shared);
        Ok(())
    }

    fn write(&mut self, shared: &mut Shared) -> Result<(), Stop> {
        if self.armed == Some(CrashPoint::Disk) {
            self.disk.crash_at(self.disk.effects() + 1 + shared.now().0 % 4);
        }
        for job in &self.disk_busy {
            let DiskJob::Write { ops, .. } = job else { continue };
            // The shadow first: a write that fails half-way may still be found after the crash.
            shared.oracle.appended(self.id, ops.clone());
            self.log.append(ops).map_err(|_| Stop::Crash("failed write"))?;
            if buggify!(self.buggify, "driver.disk.syncs_each") {
                self.log.sync().map_err(|_| Stop::Crash("failed sync"))?;
                shared.oracle.synced(self.id)?;
            }
            shared.record(self.id, self.cause, Kind::DiskWrite, || {
                Details::none().field("ops", ops.len() as u64)
            });
        }
        Ok(())
    }

    /// The sync is over: everything written is durable, and what waited for it goes its way.
    pub(super) fn disk_done(&mut self, shared: &mut Shared) -> Result<(), Stop> {
        let jobs = std::mem::take(&mut self.disk_busy);
        let written = jobs.iter().filter_map(|job| match job {
            DiskJob::Write { seq, .. } => Some(*seq),
            DiskJob::Read { .. } => None,
        });
        if let Some(upto) = written.max() {
            if self.armed == Some(CrashPoint::SyncFails) {
                self.armed = None;
                self.disk.fail_next(storage::Act::Sync, storage::DiskFault::Error);
            }
            self.log.sync().map_err(|_| Stop::Crash("failed sync"))?;
            shared.oracle.synced(self.id)?;
            shared.counters.syncs += 1;
            self.crash_point(CrashPoint::Synced)?;
            if buggify!(self.buggify, "driver.durable.one_by_one") {
                for job in &jobs {
                    if let DiskJob::Write { seq, .. } = job {
                        self.durable(*seq, shared)?;
                    }
                }
            } else {
                self.durable(upto, shared)?;
            }
            let is_time = upto.0.is_multiple_of(SCRUB_EVERY) || buggify!(self.buggify, "driver.scrub.now");
            if is_time && !buggify!(self.buggify, "driver.scrub.not_now") {
                self.scrub()?;
            }
            let is_promise = |op: &LogOp| matches!(op, LogOp::SetMeta(_));
            if jobs.iter().any(|job| matches!(job, DiskJob::Write { ops, .. } if ops.iter().any(is_promise)))
            {
                self.crash_point(CrashPoint::Promised)?;
            }
        }
        for job in jobs {
            if let DiskJob::Read { first, last, bytes_max } = job {
                self.read_log(first, last, bytes_max, shared)?;
            }
        }
        self.start_disk(shared)
    }

    fn durable(&mut self, upto: WriteSeq, shared: &mut Shared) -> Result<(), Stop> {
        shared.note(2, self.id, upto.0);
        self.cause =
            shared.record(self.id, self.cause, Kind::DiskDone, || Details::none().field("write", upto.0));
        let free: Vec<Held<P>> = self.gates.open(upto).collect();
        for held in free {
            self.release(held, shared)?;
        }
        self.take(Incoming::Input(Input::Durable { upto }), shared);
        Ok(())
    }

    /// Reads a piece of what nobody has asked for (`Log::scrub`). Damage ends this life: recovery has it repaired.
    fn scrub(&mut self) -> Result<(), Stop> {
        let scrubbed = self.log.scrub(self.scrub_next, SCRUB_BYTES);
        self.scrub_next = scrubbed.next;
        if scrubbed.damage.is_empty() { Ok(()) } else { Err(Stop::Crash("scrub found damage")) }
    }

    fn read_log(&mut self, first: Slot, last: Slot, bytes_max: u64, shared: &mut Shared) -> Result<(), Stop> {
        let records = match self.log.read(first, last, bytes_max) {
            Ok(records) => records,
            // Compacted or truncated meanwhile.
            Err(ReadLogError::Missing { .. }) => Vec::new(),
            // Only recovery knows how to go on without it.
            Err(ReadLogError::Damaged { .. }) => return Err(Stop::Crash("damaged record")),
        };
        let mut records = records;
        if buggify!(self.buggify, "driver.log_read.one") {
            records.truncate(1);
        }
        if buggify!(self.buggify, "driver.log_read.nothing") {
            records.clear();
        }
        let records = records.into_iter().map(P::Record::from_bytes).collect::<Result<_, _>>();
        let records = records.map_err(|error| Stop::broken("records can be decoded", error.to_string()))?;
        self.take(Incoming::Input(Input::LogRead { first, records }), shared);
        Ok(())
    }
}

/// A change to the durable store, with its values encoded.
pub(super) fn encode<P: Subject>(op: &StoreOp<P>) -> LogOp {
    match op {
        StoreOp::SetMeta(meta) => LogOp::SetMeta(meta.to_bytes()),
        StoreOp::Put(slot, record) => LogOp::Put(*slot, record.to_bytes()),
        StoreOp::TruncateFrom(slot) => LogOp::TruncateFrom(*slot),
        StoreOp::CompactTo(slot) => LogOp::CompactTo(*slot),
        StoreOp::ResetTo { at } => LogOp::ResetTo { at: *at },
    }
}

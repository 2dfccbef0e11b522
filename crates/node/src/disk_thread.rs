//! The thread that owns the log: merges writes, syncs once, and lets go of what waited for it.
//!
//! ```text
//!   [Write 5, Hold 5, Write 6, Hold 6] ──▶ append both ──▶ one sync ──▶ frames ──▶ peers
//!        everything that queued up                              │ ├──▶ entries ──▶ apply thread
//!        during the last sync                                    └──▶ Durable 6 ──▶ core thread
//! ```
//!
//! - D1  Nothing that names write `n` is released before a sync that covers `n` has returned (contract C1).
//! - D2  `Durable` is posted after what it reports was released, so that what the core then sends or posts itself
//!   comes after that.
//! - D3  A failed write or sync ends the node (C3): nothing is released any more.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use consensus::{GateQueue, StoreOp, WriteSeq};
use storage::{Disk, Log, LogOp, ReadLogError, WriteLogError};
use types::{Slot, Wire};

use crate::config::NodeError;
use crate::inputs::{CoreInput, DiskInput, Gated, Mailboxes};
use crate::node::Driven;
use crate::peers::Outbox;
use crate::scrub::Scrubber;
use crate::shared::Shared;

/// The disk thread's state.
pub(crate) struct DiskThread<P: Driven, D: Disk> {
    log: Log<D>,
    gates: GateQueue<Gated>,
    outbox: Outbox,
    mailboxes: Mailboxes<P>,
    shared: Arc<Shared>,
    scrubber: Scrubber,
    /// Where the log is, for messages.
    path: String,
}

impl<P: Driven, D: Disk> DiskThread<P, D> {
    pub(crate) fn new(
        log: Log<D>,
        outbox: Outbox,
        mailboxes: Mailboxes<P>,
        shared: Arc<Shared>,
        scrub_bytes_per_second: u64,
        path: String,
    ) -> DiskThread<P, D> {
        let scrubber = Scrubber::new(Instant::now(), scrub_bytes_per_second);
        DiskThread { log, gates: GateQueue::default(), outbox, mailboxes, shared, scrubber, path }
    }

    /// Works until the inbox is closed and empty, or the disk fails.
    pub(crate) fn run(mut self) {
        let mut inputs = Vec::new();
        while self.mailboxes.disk.take(&mut inputs, self.scrubber.due()) {
            let done = if inputs.is_empty() { Ok(()) } else { self.batch(&mut inputs) };
            if let Err(error) = done.and_then(|()| self.scrub()) {
                self.shared.fail(error);
                return;
            }
        }
    }

    /// Reads a piece of what nobody has asked for, if it is time. Damage ends the node: recovery has it repaired.
    fn scrub(&mut self) -> Result<(), NodeError> {
        match self.scrubber.go_on(Instant::now(), &self.log, &self.shared.metrics) {
            Some(damage) => Err(NodeError::Damaged { path: self.path.clone(), reason: damage.to_string() }),
            None => Ok(()),
        }
    }

    fn batch(&mut self, inputs: &mut Vec<DiskInput<P>>) -> Result<(), NodeError> {
        let mut ops = Vec::new();
        let mut written = None;
        let mut held = Vec::new();
        let mut reads = Vec::new();
        for input in inputs.drain(..) {
            match input {
                DiskInput::Write { seq, ops: more } => {
                    written = Some(seq);
                    ops.extend(more.into_iter().map(log_op::<P>));
                }
                DiskInput::Hold { after, item } => held.push((after, item)),
                DiskInput::Read { first, last, bytes_max } => reads.push((first, last, bytes_max)),
            }
        }
        if written.is_some() {
            self.write(&ops)?;
        }
        let passed = self.release(written.unwrap_or(WriteSeq::NONE), held);
        if written.is_some() || passed > 0 {
            self.mailboxes.core.post(CoreInput::Durable { upto: self.gates.durable(), passed });
        }
        reads.into_iter().try_for_each(|(first, last, bytes_max)| self.read(first, last, bytes_max))
    }

    fn write(&mut self, ops: &[LogOp]) -> Result<(), NodeError> {
        let started = Instant::now();
        self.log.append(ops).and_then(|()| self.log.sync()).map_err(|error| self.failed(&error))?;
        self.shared.metrics.log_sync.record(started.elapsed());
        self.shared.metrics.log_bytes.add(ops.iter().map(op_bytes).sum());
        Ok(())
    }

    /// D1. Returns how many things were posted to the apply thread.
    fn release(&mut self, upto: WriteSeq, held: Vec<(WriteSeq, Gated)>) -> u64 {
        let mut apply = Vec::new();
        let outbox = &mut self.outbox;
        let mut let_go = |item| match item {
            Gated::Frame { to, lane, frame } => outbox.push(&to, lane, &frame),
            Gated::Apply(input) => apply.push(input),
        };
        for (after, item) in held {
            self.gates.admit(after, item).into_iter().for_each(&mut let_go);
        }
        self.gates.open(upto).for_each(&mut let_go);
        self.outbox.flush();
        let passed = apply.len() as u64;
        if passed > 0 {
            self.mailboxes.apply.post_all(apply);
        }
        passed
    }

    fn read(&mut self, first: Slot, last: Slot, bytes_max: u64) -> Result<(), NodeError> {
        let records = match self.log.read(first, last, bytes_max) {
            Ok(records) => records,
            // Compacted meanwhile: the core falls back to a checkpoint.
            Err(ReadLogError::Missing { .. }) => Vec::new(),
            // Only recovery knows how to go on without a record that was acknowledged: it has it repaired by peers.
            Err(error @ ReadLogError::Damaged { .. }) => {
                return Err(NodeError::Damaged { path: self.path.clone(), reason: with_sources(&error) });
            }
        };
        let decoded: Result<Vec<P::Record>, _> = records.into_iter().map(P::Record::from_bytes).collect();
        let records = decoded.unwrap_or_else(|error| {
            tracing::error!(path = self.path, %first, "a record of the log cannot be decoded: {error}");
            Vec::new()
        });
        self.mailboxes.core.post(CoreInput::LogRead { first, records });
        Ok(())
    }

    fn failed(&self, error: &WriteLogError) -> NodeError {
        let (path, reason) = (self.path.clone(), with_sources(error));
        match error {
            WriteLogError::Disk(disk) if disk.is_full() => NodeError::DiskFull { path, reason },
            _ => NodeError::Log { path, reason },
        }
    }
}

/// An error and its causes in one line.
pub(crate) fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

fn log_op<P: Driven>(op: StoreOp<P>) -> LogOp {
    match op {
        StoreOp::SetMeta(meta) => LogOp::SetMeta(meta.to_bytes()),
        StoreOp::Put(slot, record) => LogOp::Put(slot, record.to_bytes()),
        StoreOp::TruncateFrom(slot) => LogOp::TruncateFrom(slot),
        StoreOp::CompactTo(slot) => LogOp::CompactTo(slot),
        StoreOp::ResetTo { at } => LogOp::ResetTo { at },
    }
}

fn op_bytes(op: &LogOp) -> u64 {
    match op {
        LogOp::SetMeta(bytes) | LogOp::Put(_, bytes) => Bytes::len(bytes) as u64,
        _ => 0,
    }
}

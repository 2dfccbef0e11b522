//! Disks that refuse: full, failing to write, failing to sync.

use bytes::Bytes;
use types::{Rng, Slot};

use super::{Model, open_with};
use crate::{Act, DiskFault, LogOp, SimDisk, WriteLogError};

const SEGMENT_BYTES: u64 = 16 << 10;

fn put(slot: u64) -> LogOp {
    LogOp::Put(Slot(slot), Bytes::from(vec![slot as u8; 1000]))
}

#[test]
fn a_full_disk_is_an_error_and_leaves_what_was_synced() {
    let disk = SimDisk::default();
    let (mut log, _) = open_with(&disk, SEGMENT_BYTES).unwrap();
    disk.set_capacity(Some(40 << 10));
    let mut model = Model::default();
    let refused = (1..).find_map(|slot| {
        log.append(&[put(slot)]).unwrap();
        log.sync().inspect(|()| model.apply(&[put(slot)])).err()
    });
    let Some(WriteLogError::Disk(error)) = refused else { panic!("{refused:?}") };
    assert!(error.is_full(), "{error:?}");
    assert!(model.last > 10);

    disk.crash(&mut Rng::new(1));
    disk.set_capacity(Some(40 << 10));
    let (_, recovery) = open_with(&disk, SEGMENT_BYTES).unwrap();
    assert_eq!(Model::of(&recovery), Some(model), "opening needs no space");
}

/// Promise L1. What a failed sync left in memory may look fine and never reach the disk.
#[test]
fn after_a_failed_sync_the_log_refuses_everything() {
    let disk = SimDisk::default();
    let (mut log, _) = open_with(&disk, SEGMENT_BYTES).unwrap();
    log.append(&[put(1)]).unwrap();
    log.sync().unwrap();
    log.append(&[put(2)]).unwrap();
    disk.fail_next(Act::Sync, DiskFault::Error);
    assert!(matches!(log.sync(), Err(WriteLogError::Disk(_))));
    assert!(matches!(log.sync(), Err(WriteLogError::Failed)));
    assert!(matches!(log.append(&[put(3)]), Err(WriteLogError::Failed)));

    disk.crash(&mut Rng::new(1));
    let (_, recovery) = open_with(&disk, SEGMENT_BYTES).unwrap();
    assert_eq!(recovery.records.len(), 1);
}

#[test]
fn after_a_failed_write_the_log_refuses_everything() {
    let disk = SimDisk::default();
    let (mut log, _) = open_with(&disk, SEGMENT_BYTES).unwrap();
    log.append(&[put(1)]).unwrap();
    disk.fail_next(Act::Write, DiskFault::Error);
    assert!(matches!(log.sync(), Err(WriteLogError::Disk(_))));
    assert!(matches!(log.sync(), Err(WriteLogError::Failed)));
}

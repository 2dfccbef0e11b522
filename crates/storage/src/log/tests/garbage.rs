//! L7: `open` ends, with an answer or an error, whatever the files hold.

use bytes::Bytes;
use types::{Rng, Slot, SlotState};

use super::{IDENTITY, Model, open_with, random_ops};
use crate::log::description::{BatchOp, Description};
use crate::log::sector::SECTOR_LEN;
use crate::log::{HEADER_SECTORS, batch, segment};
use crate::{Disk, DiskFile, SimDisk};

fn file(disk: &SimDisk, number: u64, bytes: &[u8]) {
    let mut file = disk.create(&segment::name(number)).unwrap();
    file.write_at(0, bytes).unwrap();
    file.sync().unwrap();
    disk.sync_dir().unwrap();
}

fn noise(rng: &mut Rng, len: u64) -> Vec<u8> {
    (0..len).map(|_| rng.next_u64() as u8).collect()
}

#[test]
fn random_files_are_refused() {
    for seed in 0..500 {
        let mut rng = Rng::keyed(seed, &[3]);
        let disk = SimDisk::default();
        for number in 0..rng.between(1, 3) {
            let len = rng.between(1, 5000);
            file(&disk, number, &noise(&mut rng, len));
        }
        assert!(open_with(&disk, 8 << 10).is_err(), "seed {seed}");
    }
}

#[test]
fn logs_with_any_number_of_mutations_never_panic() {
    for seed in 0..500 {
        let mut rng = Rng::keyed(seed, &[4]);
        let disk = SimDisk::default();
        let (mut log, _) = open_with(&disk, 8 << 10).unwrap();
        let mut model = Model::default();
        for _ in 0..10 {
            let ops = random_ops(&mut rng, &model);
            model.apply(&ops);
            log.append(&ops).unwrap();
            log.sync().unwrap();
        }
        for name in disk.list().unwrap() {
            for _ in 0..rng.below(20) {
                let offset = rng.below(20 << 10);
                let len = *rng.pick(&[1, 100, 512, 4096]).unwrap();
                let bytes = if rng.below(3) == 0 { vec![0; len as usize] } else { noise(&mut rng, len) };
                disk.overwrite(&name, offset, &bytes);
            }
        }
        if let Ok((mut log, recovery)) = open_with(&disk, 8 << 10) {
            assert!(recovery.records.len() < 1000);
            let next = log.last().next();
            log.append(&[crate::LogOp::Put(next, Bytes::new())]).unwrap();
            log.sync().unwrap();
        }
    }
}

/// Checksums do not protect against someone who computes them.
#[test]
fn absurd_numbers_under_valid_checksums_never_panic() {
    let extremes = [0, 1, 2, 1 << 40, u64::MAX - 1, u64::MAX];
    for seed in 0..1000 {
        let mut rng = Rng::keyed(seed, &[5]);
        let number = |rng: &mut Rng| *rng.pick(&extremes).unwrap();
        let disk = SimDisk::default();
        let mut bytes = segment::header_sector(IDENTITY, 1, number(&mut rng), 0);
        bytes.resize(HEADER_SECTORS as usize * SECTOR_LEN, 0);
        for at in 1..=rng.between(1, 3) {
            let ops = (0..rng.below(4)).map(|_| {
                let slot = Slot(number(&mut rng));
                let len = *rng.pick(&[0, 3, u32::MAX]).unwrap();
                let put = BatchOp::Put { slot, len, crc: crc32c::crc32c(b"abc") };
                *rng.pick(&[
                    put,
                    BatchOp::TruncateFrom(slot),
                    BatchOp::CompactTo(slot),
                    BatchOp::ResetTo(slot),
                ])
                .unwrap()
            });
            let ops = ops.collect();
            let description = Description {
                data_len: *rng.pick(&[0, 3, 1 << 20, u32::MAX]).unwrap(),
                prev_stamp: 0,
                tail_damaged: false,
                first: Slot(number(&mut rng)),
                last: Slot(number(&mut rng)),
                lows: [number(&mut rng); 16],
                meta: SlotState::Missing,
                ops,
            };
            let start = (bytes.len() / SECTOR_LEN) as u64;
            bytes.extend(batch::encode(1, start, number(&mut rng).max(at), &description, b"abc").2);
        }
        file(&disk, 1, &bytes);
        if let Ok((_, recovery)) = open_with(&disk, 8 << 10) {
            assert!(recovery.records.len() < 1 << 21, "seed {seed}");
        }
    }
}

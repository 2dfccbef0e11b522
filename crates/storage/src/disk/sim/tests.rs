//! Claims about the simulated disk: it loses only what a real one may lose.

use super::*;
use crate::DiskError;
use crate::DiskFile;

const SECTOR_LEN: u64 = SECTOR as u64;

fn synced_file(disk: &SimDisk, name: &str, bytes: &[u8]) -> SimFile {
    let mut file = disk.create(name).unwrap();
    file.write_at(0, bytes).unwrap();
    file.sync().unwrap();
    disk.sync_dir().unwrap();
    file
}

#[test]
fn what_was_synced_survives_and_the_rest_survives_by_whole_sectors() {
    let (mut kept, mut lost) = (0, 0);
    for seed in 0..200 {
        let disk = SimDisk::default();
        let mut file = synced_file(&disk, "a", &[1; 2 * SECTOR]);
        file.write_at(SECTOR_LEN, &[2; 3 * SECTOR]).unwrap();
        disk.crash(&mut Rng::new(seed));

        let bytes = disk.content("a").unwrap();
        assert_eq!(bytes[..SECTOR], [1; SECTOR]);
        for sector in bytes[SECTOR..].chunks(SECTOR) {
            assert!(sector.iter().all(|byte| *byte == sector[0]), "a sector is torn under seed {seed}");
            match sector[0] {
                2 => kept += 1,
                _ => lost += 1,
            }
        }
        assert!(file.sync().is_err(), "a crash closes files");
    }
    assert!(kept > 100 && lost > 100, "{kept} kept, {lost} lost");
}

#[test]
fn any_version_of_a_sector_may_be_the_one_that_survives() {
    let survivors: BTreeSet<u8> = (0..100)
        .map(|seed| {
            let disk = SimDisk::default();
            let mut file = synced_file(&disk, "a", &[1; SECTOR]);
            file.write_at(0, &[2; SECTOR]).unwrap();
            file.write_at(0, &[3; SECTOR]).unwrap();
            disk.crash(&mut Rng::new(seed));
            disk.content("a").unwrap()[0]
        })
        .collect();
    assert_eq!(survivors, BTreeSet::from([1, 2, 3]));
}

#[test]
fn an_unsynced_name_may_vanish_and_an_unsynced_removal_may_be_undone() {
    let outcomes: BTreeSet<Vec<String>> = (0..50)
        .map(|seed| {
            let disk = SimDisk::default();
            synced_file(&disk, "old", b"x");
            disk.create("new").unwrap();
            disk.remove("old").unwrap();
            disk.crash(&mut Rng::new(seed));
            disk.list().unwrap()
        })
        .collect();
    assert_eq!(outcomes.len(), 4, "{outcomes:?}");
}

#[test]
fn a_kill_keeps_what_was_written_but_not_synced() {
    let disk = SimDisk::default();
    let mut file = synced_file(&disk, "a", &[1; SECTOR]);
    file.write_at(0, &[2; SECTOR]).unwrap();
    disk.kill();
    assert!(file.size().is_err());
    assert_eq!(disk.content("a").unwrap(), [2; SECTOR]);
}

/// "Can Applications Recover from fsync Failures?" (USENIX ATC 2020): the pages are marked clean.
#[test]
fn after_a_failed_sync_a_second_one_succeeds_and_saves_nothing() {
    let disk = SimDisk::default();
    let mut file = synced_file(&disk, "a", &[1; SECTOR]);
    file.write_at(0, &[2; SECTOR]).unwrap();
    disk.fail_next(Act::Sync, DiskFault::Error);
    assert!(file.sync().is_err());
    file.sync().unwrap();
    assert_eq!(disk.content("a").unwrap(), [2; SECTOR]);
    disk.crash(&mut Rng::new(1));
    assert_eq!(disk.content("a").unwrap(), [1; SECTOR]);
}

#[test]
fn the_operation_chosen_for_a_crash_is_the_last() {
    let disk = SimDisk::default();
    let mut file = synced_file(&disk, "a", &[1; SECTOR]);
    disk.crash_at(disk.effects() + 2);
    file.write_at(0, &[2; SECTOR]).unwrap();
    assert!(file.sync().is_err() && disk.is_off());
    assert!(file.write_at(0, &[3; SECTOR]).is_err());
    assert!(disk.list().is_err());
    disk.crash(&mut Rng::new(3));
    assert!(disk.content("a").unwrap()[0] < 3);
}

#[test]
fn a_full_disk_refuses_to_grow_and_still_overwrites() {
    let disk = SimDisk::default();
    let mut file = synced_file(&disk, "a", &[1; SECTOR]);
    disk.set_capacity(Some(disk.used_bytes()));
    assert!(file.allocate(SECTOR_LEN + 1).unwrap_err().is_full());
    assert!(file.write_at(1, &[2; SECTOR]).unwrap_err().is_full());
    file.write_at(0, &[2; SECTOR]).unwrap();
}

#[test]
fn damage_stays_until_it_is_written_over() {
    let disk = SimDisk::default();
    let mut file = synced_file(&disk, "a", &[1; 2 * SECTOR]);
    disk.flip_bit("a", 600, 1);
    disk.make_unreadable("a", 0);
    let mut buf = [0; 1];
    assert!(file.read_at(511, &mut buf).is_err());
    file.read_at(600, &mut buf).unwrap();
    assert_eq!(buf, [3]);
    file.write_at(0, &[1; SECTOR]).unwrap();
    file.read_at(511, &mut buf).unwrap();

    let before = disk.content("a");
    disk.flip_bit("a", 1 << 40, 0);
    disk.overwrite("a", 2 * SECTOR_LEN, &[9]);
    assert_eq!(disk.content("a"), before, "there is nothing to damage beyond the end");
}

/// A disk with one synced file `a` of four sectors of ones, and a fault that hits its next write.
fn hit_write(fault: DiskFault, bytes: &[u8]) -> (SimDisk, SimFile, Result<(), DiskError>) {
    let disk = SimDisk::default();
    let mut file = synced_file(&disk, "a", &[1; 4 * SECTOR]);
    disk.set_plan(Plan::once(5, disk.effects() + 1, fault));
    let written = file.write_at(0, bytes);
    assert_eq!(disk.faults(), BTreeMap::from([(fault, 1)]));
    (disk, file, written)
}

/// Which bytes the first byte of each sector of `a` has, after a power cut.
fn after_power_cut(disk: &SimDisk) -> Vec<u8> {
    disk.crash(&mut Rng::new(1));
    let content = disk.content("a").unwrap();
    content.chunks(SECTOR).map(|sector| sector[0]).collect()
}

#[test]
fn the_power_fails_before_an_effect_or_after_it() {
    for (fault, expected) in [(DiskFault::CrashBefore, 1), (DiskFault::CrashAfter, 2)] {
        let disk = SimDisk::default();
        let mut file = synced_file(&disk, "a", &[1; SECTOR]);
        file.write_at(0, &[2; SECTOR]).unwrap();
        disk.set_plan(Plan::once(0, disk.effects() + 1, fault));
        assert!(file.sync().is_err() && disk.is_off());
        let survivors: BTreeSet<u8> = after_power_cut(&disk).into_iter().collect();
        assert!(survivors.contains(&expected) || fault == DiskFault::CrashBefore, "{fault}: {survivors:?}");
    }
}

#[test]
fn a_torn_write_is_on_the_medium_in_part() {
    let (disk, _, written) = hit_write(DiskFault::Torn, &[2; 4 * SECTOR]);
    assert!(written.is_err() && disk.is_off());
    let found = after_power_cut(&disk);
    assert!(found.contains(&1) && found.contains(&2), "{found:?}");
}

#[test]
fn a_failed_write_may_have_written_its_beginning_and_nothing_else() {
    let mut written_sectors = BTreeSet::new();
    for (seed, fault) in (0..20).flat_map(|seed| [(seed, DiskFault::Error), (seed, DiskFault::Full)]) {
        let disk = SimDisk::default();
        let mut file = synced_file(&disk, "a", &[1; 4 * SECTOR]);
        disk.set_plan(Plan::once(seed, disk.effects() + 1, fault));
        let error = file.write_at(0, &[2; 4 * SECTOR]).unwrap_err();
        assert_eq!(error.is_full(), fault == DiskFault::Full);
        let content = disk.content("a").unwrap();
        let written = content.iter().take_while(|byte| **byte == 2).count();
        assert_eq!(content[written..], vec![1; 4 * SECTOR - written]);
        written_sectors.insert(written / SECTOR);
    }
    assert_eq!(written_sectors, BTreeSet::from([0, 1, 2, 3]));
}

#[test]
fn a_read_only_disk_refuses_changes_and_answers_reads_until_it_is_mounted_again() {
    let (disk, mut file, written) = hit_write(DiskFault::ReadOnly, b"x");
    assert!(written.is_err());
    assert!(file.sync().is_err() && disk.create("b").is_err() && disk.remove("a").is_err());
    file.read_at(0, &mut [0; 9]).unwrap();
    disk.kill();
    disk.create("b").unwrap();
}

/// The device said that it was done. The system's cache agrees until it forgets.
#[test]
fn a_lost_write_is_seen_until_the_cache_is_gone() {
    let (disk, mut file, written) = hit_write(DiskFault::Lost, &[2; 4 * SECTOR]);
    written.unwrap();
    file.sync().unwrap();
    let mut seen = [0; 1];
    file.read_at(0, &mut seen).unwrap();
    assert_eq!(seen, [2]);
    file.read_medium_at(0, &mut seen).unwrap();
    assert_eq!(seen, [1], "the medium never had it");
    assert_eq!(after_power_cut(&disk), [1, 1, 1, 1]);
}

/// Until more is synced behind it nothing could tell that it was lost; afterwards there is a hole.
#[test]
fn a_disk_that_keeps_its_last_write_loses_only_what_can_be_missed() {
    let lose_one_and_sync = |more: u64| {
        let disk = SimDisk::default();
        disk.keep_last_write(true);
        let mut file = synced_file(&disk, "a", &[1; 4 * SECTOR]);
        disk.arm(7, Armed { act: Act::Write, fault: DiskFault::Lost, skip: 0, times: 1 });
        for number in 0..=more {
            file.write_at(number * SECTOR_LEN, &[2; SECTOR]).unwrap();
            file.sync().unwrap();
        }
        after_power_cut(&disk)
    };
    assert_eq!(lose_one_and_sync(0), [2, 1, 1, 1]);
    assert_eq!(lose_one_and_sync(3), [1, 2, 2, 2]);
}

/// Found by `althing sim --buggify --seed 200057942`: the system drops its cached page of it, and the process dies before
/// it has read it again.
#[test]
fn a_disk_that_keeps_its_last_write_has_it_for_the_next_process() {
    for (keeps, found) in [(true, 2), (false, 1)] {
        let disk = SimDisk::default();
        disk.keep_last_write(keeps);
        let mut file = synced_file(&disk, "a", &[1; SECTOR]);
        disk.arm(7, Armed { act: Act::Write, fault: DiskFault::Lost, skip: 0, times: 1 });
        file.write_at(0, &[2; SECTOR]).unwrap();
        file.sync().unwrap();
        file.read_medium_at(0, &mut [0; 1]).unwrap();
        disk.kill();
        assert_eq!(disk.content("a").unwrap()[0], found, "keeps its last write: {keeps}");
    }
}

/// Found by `althing sim --buggify --seed 200212728`: recovery erases what is behind the last batch, the zeros land on
/// that batch, and the power fails.
#[test]
fn zeros_that_went_astray_hide_nothing_that_could_not_be_missed() {
    let hide = |keeps: bool| {
        let disk = SimDisk::default();
        disk.keep_last_write(keeps);
        let mut file = synced_file(&disk, "a", &[1; 2 * SECTOR]);
        disk.arm(7, Armed { act: Act::Write, fault: DiskFault::Misdirected, skip: 0, times: 1 });
        file.write_at(2 * SECTOR_LEN, &[0; 2 * SECTOR]).unwrap();
        file.sync().unwrap();
        after_power_cut(&disk)
    };
    assert_eq!(hide(true), [1, 1, 0, 0]);
    assert_eq!(hide(false), [0, 0, 0, 0]);
}

#[test]
fn what_was_lost_does_not_come_back_over_what_was_written_there_since() {
    let disk = SimDisk::default();
    disk.keep_last_write(true);
    let mut file = synced_file(&disk, "a", &[1; 4 * SECTOR]);
    disk.arm(7, Armed { act: Act::Write, fault: DiskFault::Lost, skip: 0, times: 1 });
    file.write_at(0, &[2; 2 * SECTOR]).unwrap();
    file.write_at(SECTOR_LEN, &[3; SECTOR]).unwrap();
    file.sync().unwrap();
    assert_eq!(after_power_cut(&disk), [2, 3, 1, 1]);
}

/// Found by `althing sim --buggify --seed 2003210`: recovery writes the end of the log again, and dies before it is there.
#[test]
fn what_was_lost_is_not_forgotten_for_a_later_write_that_does_not_arrive() {
    for fault in [None, Some((Act::Write, DiskFault::Torn)), Some((Act::Sync, DiskFault::Error))] {
        let disk = SimDisk::default();
        disk.keep_last_write(true);
        let mut file = synced_file(&disk, "a", &[1; SECTOR]);
        disk.arm(7, Armed { act: Act::Write, fault: DiskFault::Lost, skip: 0, times: 1 });
        file.write_at(0, &[2; SECTOR]).unwrap();
        file.sync().unwrap();
        if let Some((act, fault)) = fault {
            disk.fail_next(act, fault);
        }
        let written = file.write_at(0, &[3; SECTOR]);
        if fault.is_some_and(|(act, _)| act == Act::Sync) {
            assert!(file.sync().is_err() && written.is_ok());
        }
        assert!([2, 3].contains(&after_power_cut(&disk)[0]), "{fault:?}");
    }
}

#[test]
fn an_armed_fault_waits_for_its_occasion_through_restarts() {
    let disk = SimDisk::default();
    let mut file = synced_file(&disk, "a", &[1; SECTOR]);
    disk.arm(1, Armed { act: Act::Write, fault: DiskFault::Full, skip: 1, times: 2 });
    file.write_at(0, b"x").unwrap();
    disk.kill();
    let mut file = disk.open("a").unwrap();
    assert!(file.write_at(0, b"x").is_err() && file.write_at(0, b"x").is_err());
    file.write_at(0, b"x").unwrap();
    disk.arm(2, Armed { act: Act::Write, fault: DiskFault::Full, skip: 0, times: 1 });
    disk.disarm(1);
    assert!(file.write_at(0, b"x").is_err(), "somebody else's");
    disk.arm(2, Armed { act: Act::Write, fault: DiskFault::Full, skip: 0, times: 1 });
    disk.disarm(2);
    file.write_at(0, b"x").unwrap();
}

#[test]
fn a_stale_sector_is_one_that_a_write_left_out() {
    let (disk, mut file, _) = hit_write(DiskFault::Stale, &[2; 4 * SECTOR]);
    file.sync().unwrap();
    let found = after_power_cut(&disk);
    assert_eq!(found.iter().filter(|byte| **byte == 1).count(), 1, "{found:?}");
}

#[test]
fn a_misdirected_write_leaves_its_place_as_it_was_and_harms_another() {
    let disk = SimDisk::default();
    let mut file = synced_file(&disk, "a", &[1; 64 * SECTOR]);
    disk.set_plan(Plan::once(3, disk.effects() + 1, DiskFault::Misdirected));
    file.write_at(0, &[2; 2 * SECTOR]).unwrap();
    file.sync().unwrap();
    let found = after_power_cut(&disk);
    assert_eq!(found[..2], [1, 1]);
    assert_eq!(found.iter().filter(|byte| **byte == 2).count(), 2, "{found:?}");
}

#[test]
fn a_flipped_bit_is_one_bit_of_what_was_written() {
    let (disk, mut file, _) = hit_write(DiskFault::Flip, &[2; 4 * SECTOR]);
    file.sync().unwrap();
    disk.crash(&mut Rng::new(1));
    let content = disk.content("a").unwrap();
    let flipped: u32 = content.iter().map(|byte| (byte ^ 2).count_ones()).sum();
    assert_eq!(flipped, 1);
}

#[test]
fn reads_fail_for_good_or_lie_for_once() {
    let read = |fault: DiskFault| {
        let disk = SimDisk::default();
        let mut file = synced_file(&disk, "a", &[1; 8 * SECTOR]);
        file.write_at(SECTOR_LEN, &[2; SECTOR]).unwrap();
        file.sync().unwrap();
        disk.set_plan(Plan::once(7, disk.effects() + 1, fault));
        let mut once = [0; SECTOR];
        let first = file.read_at(SECTOR_LEN, &mut once);
        let again = file.read_at(SECTOR_LEN, &mut [0; SECTOR]);
        let changed: u32 = once.iter().map(|byte| (byte ^ 2).count_ones()).sum();
        (first.is_ok(), again.is_ok(), changed)
    };
    assert_eq!(read(DiskFault::Error), (false, false, 512));
    assert_eq!(read(DiskFault::Flip), (true, true, 1));
    assert_eq!(read(DiskFault::Stale), (true, true, 2 * 512), "ones, as before");
    assert_eq!(read(DiskFault::Misdirected), (true, true, 2 * 512), "ones, as elsewhere");
}

#[test]
fn every_request_is_numbered_and_hit_by_number() {
    let disk = SimDisk::default();
    disk.record_effects();
    let mut file = synced_file(&disk, "a", &[1; SECTOR]);
    file.allocate(2 * SECTOR_LEN).unwrap();
    file.read_at(SECTOR_LEN, &mut [0; 9]).unwrap();
    drop((disk.open("a").unwrap(), disk.list().unwrap()));
    disk.remove("a").unwrap();
    let effects = disk.recorded_effects();
    let acts: Vec<Act> = effects.iter().map(|effect| effect.act).collect();
    let (first, last) = (Act::Create, Act::Remove);
    let middle = [Act::Write, Act::Sync, Act::SyncDir, Act::Allocate, Act::Read, Act::Open, Act::List];
    assert_eq!(acts, [&[first][..], &middle[..], &[last][..]].concat());
    assert!((1..).zip(&effects).all(|(number, effect)| effect.number == number));
    let read = Effect { number: 6, act: Act::Read, file: "a".into(), offset: SECTOR_LEN, len: 9 };
    assert_eq!(effects[5], read);
}

/// Promise S4.
#[test]
fn a_plan_hits_the_same_effects_whatever_else_it_does() {
    let hits = |rates: &[(DiskFault, u32)]| {
        let disk = SimDisk::default();
        disk.set_plan(Plan::random(9, rates.iter().copied()));
        let mut file = disk.create("a").unwrap();
        let mut hits = Vec::new();
        for number in 0..200u64 {
            let before = disk.faults().get(&DiskFault::Lost).copied();
            file.write_at(number * SECTOR_LEN, &[1; SECTOR]).unwrap();
            hits.extend((disk.faults().get(&DiskFault::Lost).copied() != before).then_some(number));
        }
        hits
    };
    let alone = hits(&[(DiskFault::Lost, 100_000)]);
    assert!(alone.len() > 5 && alone.len() < 50, "{alone:?}");
    assert_eq!(alone, hits(&[(DiskFault::Lost, 100_000), (DiskFault::Flip, 0), (DiskFault::Torn, 0)]));
}

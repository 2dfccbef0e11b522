//! Claims about the simulated disk: it loses only what a real one may lose.

use super::*;

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
    disk.fail_next_sync();
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
    disk.crash_at(disk.operations() + 2);
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

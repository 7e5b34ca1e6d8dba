use super::*;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// A folder of its own, removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("cloudsync-pace-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("pace")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const NOW: u64 = 1 << 60;

/// Adds to the count in a slot and gives what it was.
fn add(table: &Table, key: u64, now_ns: u64) -> Result<u64, Trouble> {
    let at = table.find(key, now_ns)?;
    let count = |state: &mut State, _: &mut dyn Starts, _| {
        state.count += 1;
        state.count - 1
    };
    table.update((key, at), 0, || now_ns, count)
}

#[test]
fn what_one_writes_all_see() {
    let folder = Folder::new("shared");
    let tables = [Table::open(&folder.file()).unwrap(), Table::open(&folder.file()).unwrap()];
    for round in 0..3 {
        for (number, table) in tables.iter().enumerate() {
            for name in ["a", "b"] {
                assert_eq!(add(table, table.key(name), NOW).unwrap(), round * 2 + number as u64);
            }
        }
    }
    let known = std::fs::metadata(folder.file()).unwrap();
    assert_eq!((known.permissions().mode() & 0o777, known.len()), (0o600, FILE_BYTES));
    assert!(known.blocks() * 512 < 64 << 10, "what nobody uses takes no room on the disk");
}

#[test]
fn starts_are_kept_for_each_slot() {
    let folder = Folder::new("starts");
    let table = Table::open(&folder.file()).unwrap();
    for (key, last) in [(1, STARTS - 1), (2, STARTS - 1)] {
        let at = table.find(key, NOW).unwrap();
        let note = |_: &mut State, starts: &mut dyn Starts, _| {
            for place in 0..=last {
                starts.note(place, key * 1_000 + place as u64);
            }
        };
        table.update((key, at), 0, || NOW, note).unwrap();
    }
    for key in [1, 2] {
        let at = table.find(key, NOW).unwrap();
        let read = |_: &mut State, starts: &mut dyn Starts, _| (starts.start(0), starts.start(STARTS - 1));
        let seen = table.update((key, at), 0, || NOW, read).unwrap();
        assert_eq!(seen, (key * 1_000, key * 1_000 + STARTS as u64 - 1));
    }
}

#[test]
fn only_a_file_of_our_own_is_used() {
    let folder = Folder::new("own");
    let target = folder.0.join("target");
    std::fs::write(&target, "precious").unwrap();
    std::os::unix::fs::symlink(&target, folder.0.join("link")).unwrap();
    std::fs::hard_link(&target, folder.0.join("hard")).unwrap();
    std::fs::create_dir(folder.0.join("folder")).unwrap();
    for name in ["link", "hard", "folder", "missing/pace"] {
        assert!(Table::open(&folder.0.join(name)).is_err(), "{name}");
    }
    assert_eq!(std::fs::read(&target).unwrap(), b"precious");
    assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 4, "nothing was made");
}

#[test]
fn a_file_of_another_version_is_left_alone() {
    let folder = Folder::new("version");
    let mut other = vec![0; FILE_BYTES as usize];
    other[..WORD].copy_from_slice(&(MAGIC + 1).to_ne_bytes());
    for garbage in [b"garbage".to_vec(), vec![0xa5; FILE_BYTES as usize], other] {
        std::fs::write(folder.file(), &garbage).unwrap();
        let tables = [Table::open(&folder.file()).unwrap(), Table::open(&folder.file()).unwrap()];
        assert_eq!(add(&tables[0], 7, NOW).unwrap(), 0);
        assert_eq!(add(&tables[1], 7, NOW).unwrap(), 1, "both have moved to the same file");
        assert_eq!(std::fs::read(folder.file()).unwrap(), garbage);
        std::fs::remove_file(folder.0.join("pace.1")).unwrap();
    }
    std::fs::write(folder.0.join("pace.1"), "garbage").unwrap();
    assert!(Table::open(&folder.file()).is_err());
}

#[test]
fn slots_full_of_garbage_do_not_last() {
    let folder = Folder::new("garbage");
    let mut garbage = vec![0xa5; FILE_BYTES as usize];
    garbage[..WORD].copy_from_slice(&MAGIC.to_ne_bytes());
    std::fs::write(folder.file(), &garbage).unwrap();
    let table = Table::open(&folder.file()).unwrap();
    assert_eq!(add(&table, 7, NOW).unwrap(), 0);
    assert_eq!(add(&table, 7, NOW).unwrap(), 1);
}

#[test]
fn a_full_table_says_so_until_something_is_over() {
    let folder = Folder::new("full");
    let table = Table::open(&folder.file()).unwrap();
    for key in 1..=SLOTS as u64 {
        assert_eq!(add(&table, key, NOW).unwrap(), 0);
    }
    assert!(matches!(add(&table, 1_000, NOW), Err(Trouble::Full)));
    assert_eq!(add(&table, 1, NOW).unwrap(), 1, "who has a slot keeps it");
    // An hour later one is still in use, and the rest may go.
    let later = NOW + KEPT_NS + 2;
    let first = table.find(1, NOW).unwrap();
    table.update((1, first), 2 * KEPT_NS, || NOW, |state, _, _| state.count += 1).unwrap();
    for key in 1_001..1_000 + SLOTS as u64 {
        assert_eq!(add(&table, key, later).unwrap(), 0, "a slot begins anew");
    }
    assert!(matches!(add(&table, 5_000, later), Err(Trouble::Full)));
    assert_eq!(add(&table, 1, later).unwrap(), 3);
    // Who had the slot before notices.
    let lost = table.update((2, 1), 0, || later, |state, _, _| state.count);
    assert!(matches!(lost, Err(Trouble::Lost)));
}

#[test]
fn times_of_another_boot_are_not_found() {
    let folder = Folder::new("boot");
    let table = Table::open(&folder.file()).unwrap();
    let mut after = Table::open(&folder.file()).unwrap();
    Arc::get_mut(&mut after).unwrap().boot = "another".into();
    assert_ne!(table.key("a"), after.key("a"));
    // The clock began anew: what was written before seems to be of the future, and goes.
    for key in 1..=SLOTS as u64 {
        add(&table, key, NOW + 30 * KEPT_MOST_NS).unwrap();
    }
    assert_eq!(add(&after, after.key("a"), NOW).unwrap(), 0);
}

#[test]
fn a_lock_of_another_is_not_waited_for() {
    let folder = Folder::new("busy");
    let tables = [Table::open(&folder.file()).unwrap(), Table::open(&folder.file()).unwrap()];
    let at = tables[0].find(7, NOW).unwrap();
    let holding = tables[1].lock(LOCK_OF_SLOT + at as u64).unwrap();
    assert!(matches!(add(&tables[0], 7, NOW), Err(Trouble::Busy)));
    assert!(add(&tables[0], 8, NOW).is_ok(), "other slots are free");
    drop(holding);
    assert!(add(&tables[0], 7, NOW).is_ok());
}

#[test]
fn requests_in_flight_are_counted_over_all() {
    let folder = Folder::new("requests");
    let tables = [Table::open(&folder.file()).unwrap(), Table::open(&folder.file()).unwrap()];
    let request = |number: usize, at| tables[number].request(at, 3).unwrap();
    let ours = [request(0, 5), request(0, 5)];
    let theirs = request(1, 5);
    assert!(ours.iter().chain([&theirs]).all(Option::is_some));
    assert!(request(0, 5).is_none() && request(1, 5).is_none());
    assert!(request(0, 6).is_some(), "another slot has its own");
    drop(theirs);
    let again = request(0, 5);
    assert!(again.is_some() && request(1, 5).is_none());
    drop(ours);
    assert!(request(1, 5).is_some());
}

#[test]
fn a_file_that_is_cut_short_is_an_error_and_mends() {
    let folder = Folder::new("cut");
    let table = Table::open(&folder.file()).unwrap();
    let at = table.find(7, NOW).unwrap();
    let count = || table.update((7, at), 0, || NOW, |state, _, _| state.count);
    File::options().write(true).open(folder.file()).unwrap().set_len(0).unwrap();
    assert!(matches!(count(), Err(Trouble::Broken)));
    let next = Table::open(&folder.file()).unwrap();
    assert_eq!(add(&next, 9, NOW).unwrap(), 0);
    assert!(matches!(count(), Err(Trouble::Lost)));
    assert_eq!(add(&table, 7, NOW).unwrap(), 0);
}

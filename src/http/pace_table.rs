//! Decides where the paces of all processes are kept: in the slots of one small file, each under a lock of the kernel.
//!
//! Not mapped into memory: a write into a mapped page that the file system cannot hold (disk full, copy on write, the
//! file cut short) is a SIGBUS, which would take the whole server down; here it is an error, and who gets it
//! paces alone. The locks are byte ranges of the open file description (`F_OFD_SETLK`): the kernel ends them with the
//! process, whatever ended it, so nothing has to be found out about holders that died. Nobody waits for
//! one: a lock that is taken is tried again by the caller, between other work. What a slot holds is written in one
//! piece. The same kind of lock stands for a request in flight.
//!
//! Layer: http. Knows nothing of Postgres.

use super::pace::{Starts, State, STARTS};
use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

/// Begins the file; ends in the version of what follows.
const MAGIC: u64 = u64::from_be_bytes(*b"cldpace\x01");
/// Where a file of another version lies, ours is beside it.
const OTHER_NAME: &str = ".1";

const SLOTS: usize = 256;
const WORD: usize = size_of::<u64>();
/// Words of a slot: key, expiry and the state; the rest is spare.
const SLOT_WORDS: usize = 16;
const SLOT_BYTES: usize = SLOT_WORDS * WORD;
const SLOTS_AT: u64 = 4096;
const STARTS_AT: u64 = SLOTS_AT + (SLOTS * SLOT_BYTES) as u64;
const STARTS_BYTES: u64 = (STARTS * WORD) as u64;
const FILE_BYTES: u64 = STARTS_AT + SLOTS as u64 * STARTS_BYTES;

/// Places of the locks; they need not lie within the file.
const LOCK_OF_ALL: u64 = 0;
const LOCK_OF_SLOT: u64 = 1;
const LOCK_OF_REQUEST: u64 = 1 << 32;
/// Most requests in flight that one slot can count.
pub const MOST_REQUESTS: usize = 1024;

/// A slot that nobody has used for so long, and for as long as its state counts, may go to another.
const KEPT_NS: u64 = 3_600_000_000_000;
/// An expiry further ahead is of another boot's clock, or garbage.
const KEPT_MOST_NS: u64 = 72 * KEPT_NS;

/// Why a slot cannot be used now.
#[derive(Debug)]
pub enum Trouble {
    /// Somebody else has the lock, for some microseconds.
    Busy,
    /// The slot went to another key.
    Lost,
    /// No slot is free.
    Full,
    /// The file cannot be read, written or locked.
    Broken,
}

impl From<io::Error> for Trouble {
    fn from(_: io::Error) -> Self {
        Trouble::Broken
    }
}

/// The file, open in this process.
pub struct Table {
    file: File,
    /// The kernel keeps other processes out, this one keeps our own threads out. Holds the places of our requests.
    held: Mutex<HashSet<u64>>,
    boot: String,
}

impl Table {
    /// Opens the file or makes it. An error means: pace alone.
    pub fn open(path: &Path) -> io::Result<Arc<Self>> {
        match Table::open_one(path) {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                let mut other = path.as_os_str().to_owned();
                other.push(OTHER_NAME);
                Table::open_one(Path::new(&other))
            }
            result => result,
        }
    }

    fn open_one(path: &Path) -> io::Result<Arc<Self>> {
        let mut options = OpenOptions::new();
        // Close-on-exec is the standard library's own choice.
        options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW);
        let file = options.open(path)?;
        let known = file.metadata()?;
        // SAFETY: has no preconditions.
        let us = unsafe { libc::geteuid() };
        if !known.is_file() || known.uid() != us || known.nlink() != 1 {
            return Err(io::Error::other("not a file of our own"));
        }
        match known.len() {
            // Two that make it at once do the same: cut to size, which fills with zeros.
            0 => file.set_len(FILE_BYTES)?,
            FILE_BYTES => {}
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
        // Of this boot: the clock that times are told by began with it.
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let table = Table { file, held: Mutex::default(), boot };
        table.check_magic()?;
        Ok(Arc::new(table))
    }

    fn check_magic(&self) -> io::Result<()> {
        // Writing the same eight bytes twice harms nobody, so no lock is needed.
        match self.word(0)? {
            MAGIC => Ok(()),
            0 => self.file.write_all_at(&MAGIC.to_ne_bytes(), 0),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    fn word(&self, at: u64) -> io::Result<u64> {
        let mut bytes = [0; WORD];
        self.file.read_exact_at(&mut bytes, at)?;
        Ok(u64::from_ne_bytes(bytes))
    }

    /// What a pace is found by. `name` must tell all that makes one pace differ from another.
    pub fn key(&self, name: &str) -> u64 {
        // Never 0, which is a free slot.
        xxhash_rust::xxh3::xxh3_64(format!("{}\n{name}", self.boot.trim()).as_bytes()).max(1)
    }

    fn held(&self) -> MutexGuard<'_, HashSet<u64>> {
        // Only whole entries are added or removed under the lock.
        self.held.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The slot of that key: the one there is, else a free one or one whose time is over.
    pub fn find(&self, key: u64, now_ns: u64) -> Result<usize, Trouble> {
        let _ours = self.held();
        let _all = self.lock(LOCK_OF_ALL)?;
        let mut bytes = vec![0; SLOTS * SLOT_BYTES];
        self.file.read_exact_at(&mut bytes, SLOTS_AT)?;
        let slots: Vec<Slot> = bytes.chunks_exact(SLOT_BYTES).map(Slot::read).collect();
        if let Some(known) = slots.iter().position(|slot| slot.key == key) {
            return Ok(known);
        }
        let is_free = |slot: &&Slot| slot.key == 0;
        let is_over = |slot: &&Slot| slot.expires_ns < now_ns || slot.expires_ns > now_ns.saturating_add(KEPT_MOST_NS);
        let at = slots.iter().position(|slot| is_free(&slot)).or_else(|| slots.iter().position(|slot| is_over(&slot)));
        let at = at.ok_or(Trouble::Full)?;
        let _slot = self.lock(LOCK_OF_SLOT + at as u64)?;
        let expires_ns = now_ns.saturating_add(KEPT_NS);
        self.write(at, &Slot { key, expires_ns, state: State::default() })?;
        Ok(at)
    }

    /// Works on the state in slot `at`, alone. `memory_ns` is how long the state counts.
    pub fn update<R>(
        &self,
        (key, at): (u64, usize),
        memory_ns: u64,
        clock: impl Fn() -> u64,
        work: impl FnOnce(&mut State, &mut dyn Starts, u64) -> R,
    ) -> Result<R, Trouble> {
        let _ours = self.held();
        let _slot = self.lock(LOCK_OF_SLOT + at as u64)?;
        let mut bytes = [0; SLOT_BYTES];
        self.file.read_exact_at(&mut bytes, SLOTS_AT + (at * SLOT_BYTES) as u64)?;
        let mut slot = Slot::read(&bytes);
        if slot.key != key {
            return Err(Trouble::Lost);
        }
        // Not before the lock is there: times are promised in order.
        let now_ns = clock();
        let before = slot.state;
        let mut starts = StartsInFile { file: &self.file, at: STARTS_AT + at as u64 * STARTS_BYTES, failed: None };
        let result = work(&mut slot.state, &mut starts, now_ns);
        if let Some(error) = starts.failed {
            return Err(error.into());
        }
        let memory_ns = memory_ns.max(KEPT_NS);
        if slot.state != before || slot.expires_ns < now_ns.saturating_add(memory_ns / 2) {
            slot.expires_ns = now_ns.saturating_add(memory_ns);
            self.write(at, &slot)?;
        }
        Ok(result)
    }

    fn write(&self, at: usize, slot: &Slot) -> io::Result<()> {
        self.file.write_all_at(&slot.bytes(), SLOTS_AT + (at * SLOT_BYTES) as u64)
    }

    /// One of `most` requests in flight of slot `at`; `None` while there are as many.
    pub fn request(self: &Arc<Self>, at: usize, most: usize) -> Result<Option<InFlight>, Trouble> {
        let mut held = self.held();
        for number in 0..most.min(MOST_REQUESTS) {
            let place = LOCK_OF_REQUEST + (at * MOST_REQUESTS + number) as u64;
            // Our own lock would be given to us again.
            if held.contains(&place) || !self.set_lock(place, libc::F_WRLCK)? {
                continue;
            }
            held.insert(place);
            return Ok(Some(InFlight { table: Arc::clone(self), place }));
        }
        Ok(None)
    }

    fn lock(&self, place: u64) -> Result<Locked<'_>, Trouble> {
        if self.set_lock(place, libc::F_WRLCK)? {
            Ok(Locked { table: self, place })
        } else {
            Err(Trouble::Busy)
        }
    }

    /// Sets or ends the lock of one byte; false when another process has it.
    fn set_lock(&self, place: u64, kind: libc::c_int) -> io::Result<bool> {
        // SAFETY: the struct is plain numbers, all of which may be zero.
        let mut lock: libc::flock = unsafe { std::mem::zeroed() };
        lock.l_type = kind as _;
        lock.l_whence = libc::SEEK_SET as _;
        lock.l_start = place as _;
        lock.l_len = 1;
        // SAFETY: the descriptor is open, and the struct lives as long as the call.
        if unsafe { libc::fcntl(self.file.as_raw_fd(), libc::F_OFD_SETLK, &lock) } == 0 {
            return Ok(true);
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EAGAIN | libc::EACCES | libc::EINTR) => Ok(false),
            _ => Err(error),
        }
    }
}

/// A lock of one byte, ended when dropped.
struct Locked<'a> {
    table: &'a Table,
    place: u64,
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        // To end a lock that we hold cannot fail.
        let _ = self.table.set_lock(self.place, libc::F_UNLCK);
    }
}

/// A request in flight, counted by all processes.
pub struct InFlight {
    table: Arc<Table>,
    place: u64,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut held = self.table.held();
        let _ = self.table.set_lock(self.place, libc::F_UNLCK);
        held.remove(&self.place);
    }
}

#[derive(Clone, Copy)]
struct Slot {
    key: u64,
    expires_ns: u64,
    state: State,
}

impl Slot {
    fn read(bytes: &[u8]) -> Self {
        let mut words = bytes.chunks_exact(WORD).map(|chunk| chunk.try_into().map_or(0, u64::from_ne_bytes));
        let mut next = || words.next().unwrap_or_default();
        let (key, expires_ns) = (next(), next());
        let state = State {
            count: next(),
            last_ns: next(),
            due_ns: next(),
            owed_ns: next(),
            quiet_until_ns: next(),
            spread_until_ns: next(),
            spread_step_ns: next(),
            careful_until_ns: next(),
        };
        Slot { key, expires_ns, state }
    }

    fn bytes(&self) -> [u8; SLOT_BYTES] {
        let state = &self.state;
        let words = [
            self.key,
            self.expires_ns,
            state.count,
            state.last_ns,
            state.due_ns,
            state.owed_ns,
            state.quiet_until_ns,
            state.spread_until_ns,
            state.spread_step_ns,
            state.careful_until_ns,
        ];
        let mut bytes = [0; SLOT_BYTES];
        for (place, word) in bytes.chunks_exact_mut(WORD).zip(words) {
            place.copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }
}

/// The noted starts of one slot. After an error nothing that was worked out from them is kept.
struct StartsInFile<'a> {
    file: &'a File,
    at: u64,
    failed: Option<io::Error>,
}

impl StartsInFile<'_> {
    fn place(&self, place: usize) -> u64 {
        self.at + (place.min(STARTS - 1) * WORD) as u64
    }
}

impl Starts for StartsInFile<'_> {
    fn start(&mut self, place: usize) -> u64 {
        let mut bytes = [0; WORD];
        if let Err(error) = self.file.read_exact_at(&mut bytes, self.place(place)) {
            self.failed = Some(error);
        }
        u64::from_ne_bytes(bytes)
    }

    fn note(&mut self, place: usize, at_ns: u64) {
        if let Err(error) = self.file.write_all_at(&at_ns.to_ne_bytes(), self.place(place)) {
            self.failed = Some(error);
        }
    }
}

#[cfg(test)]
#[path = "pace_table_tests.rs"]
mod tests;

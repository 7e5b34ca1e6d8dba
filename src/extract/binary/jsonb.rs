//! Decides how a JSON value becomes Postgres's `jsonb`: what `jsonb_in` makes of it, byte for byte.
//!
//! A container is a count with a mark, one entry of 32 bits for each element or for each key and then each value, and the
//! values. An entry has a type and a length, every 32nd the offset of its end instead. Keys are ordered by length,
//! then bytes; of equal ones the last is kept. Numbers and containers begin at multiples of four bytes.
//!
//! Layer: extract. Calls nothing of Postgres.

use super::numeric;
use super::{align, close, HEADER};
use crate::extract::json::{Kind, Value};
use crate::extract::text;

const ARRAY: u32 = 0x4000_0000;
const OBJECT: u32 = 0x2000_0000;
const SCALAR: u32 = 0x1000_0000;

const NUMBER: u32 = 0x1000_0000;
const FALSE: u32 = 0x2000_0000;
const TRUE: u32 = 0x3000_0000;
const NULL: u32 = 0x4000_0000;
const CONTAINER: u32 = 0x5000_0000;
const HAS_OFFSET: u32 = 0x8000_0000;
const TYPE: u32 = 0x7000_0000;
/// Every so many entries one holds an offset, so that a lookup need not add up all lengths.
const STRIDE: usize = 32;

/// What became of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    Faithful,
    /// Something had to be replaced: a NUL, half a surrogate pair, a number beyond numeric.
    Changed,
    /// It cannot be made here: nested too deeply, or with a number that only Postgres can tell.
    Not,
}

/// Members of the objects being made. Kept and used again, it allocates nothing.
#[derive(Debug, Default)]
pub struct Scratch {
    members: Vec<Member>,
    /// Keys without their escapes.
    keys: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Member {
    key: Key,
    /// Place of the member among its siblings.
    order: u32,
    value: u32,
}

#[derive(Clone, Copy, Debug)]
struct Key {
    start: u32,
    len: u32,
    /// In [`Scratch::keys`], else in the text.
    is_copy: bool,
}

/// Appends `value` with its header to `out`, which must be a multiple of four bytes long (values are aligned within it).
/// On [`Made::Not`] `out` is as before.
pub fn encode(value: &Value<'_>, scratch: &mut Scratch, out: &mut Vec<u8>) -> Made {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER]);
    scratch.members.clear();
    scratch.keys.clear();
    let mut maker = Maker { out, scratch, changed: false };
    let made = match value.kind() {
        Kind::Array | Kind::Object => maker.value(value, 0),
        // A scalar is the one element of an array that says so.
        _ => {
            maker.word(ARRAY | SCALAR | 1);
            let entry = maker.out.len();
            maker.word(0);
            let made = maker.value(value, 0);
            maker.set(entry, made.unwrap_or_default() | HAS_OFFSET);
            made
        }
    };
    if made.is_none() {
        out.truncate(start);
        return Made::Not;
    }
    let changed = maker.changed;
    close(out, start);
    if changed {
        Made::Changed
    } else {
        Made::Faithful
    }
}

struct Maker<'m> {
    out: &'m mut Vec<u8>,
    scratch: &'m mut Scratch,
    changed: bool,
}

impl Maker<'_> {
    fn word(&mut self, word: u32) {
        self.out.extend_from_slice(&word.to_le_bytes());
    }

    fn set(&mut self, at: usize, word: u32) {
        if let Some(place) = self.out.get_mut(at..at + 4) {
            place.copy_from_slice(&word.to_le_bytes());
        }
    }

    /// Appends a value; gives its entry.
    fn value(&mut self, value: &Value<'_>, depth: usize) -> Option<u32> {
        let start = self.out.len();
        let kind = match value.kind() {
            Kind::Null => return Some(NULL),
            Kind::True => return Some(TRUE),
            Kind::False => return Some(FALSE),
            Kind::String { escaped: false } => {
                self.out.extend_from_slice(value.inner().as_bytes());
                0
            }
            Kind::String { escaped: true } => {
                self.changed |= !text::unescape(value.raw(), self.out);
                0
            }
            Kind::Number => {
                align(self.out);
                if numeric::encode(value.raw(), self.out) {
                    NUMBER
                } else if text::fits_numeric(value.raw()) {
                    return None;
                } else {
                    // What numeric cannot hold is kept as text.
                    self.out.truncate(start);
                    self.out.extend_from_slice(value.raw().as_bytes());
                    self.changed = true;
                    0
                }
            }
            Kind::Array if depth < text::MAX_DEPTH => {
                self.array(value, depth)?;
                CONTAINER
            }
            Kind::Object if depth < text::MAX_DEPTH => {
                self.object(value, depth)?;
                CONTAINER
            }
            Kind::Array | Kind::Object => return None,
        };
        Some(kind | (self.out.len() - start) as u32)
    }

    fn array(&mut self, value: &Value<'_>, depth: usize) -> Option<()> {
        align(self.out);
        self.word(ARRAY | value.len());
        let entries = self.out.len();
        self.out.resize(entries + value.len() as usize * 4, 0);
        let mut total = 0;
        for (at, element) in value.inside().enumerate() {
            let entry = self.value(&element, depth + 1)?;
            self.entry(entries, at, entry, &mut total);
        }
        Some(())
    }

    /// Notes entry number `at` of a container: its length, or every so often where it ends.
    fn entry(&mut self, entries: usize, at: usize, entry: u32, total: &mut u32) {
        *total += entry & !(TYPE | HAS_OFFSET);
        let shown = if at.is_multiple_of(STRIDE) { entry & TYPE | *total | HAS_OFFSET } else { entry };
        self.set(entries + at * 4, shown);
    }

    fn object(&mut self, value: &Value<'_>, depth: usize) -> Option<()> {
        align(self.out);
        let (first, copies) = (self.scratch.members.len(), self.scratch.keys.len());
        for (order, (key, member)) in value.members().enumerate() {
            let key = match key.kind() {
                Kind::String { escaped: true } => {
                    let start = self.scratch.keys.len();
                    self.changed |= !text::unescape(key.raw(), &mut self.scratch.keys);
                    Key { start: start as u32, len: (self.scratch.keys.len() - start) as u32, is_copy: true }
                }
                _ => {
                    let (start, len) = key.inner_span();
                    Key { start, len, is_copy: false }
                }
            };
            self.scratch.members.push(Member { key, order: order as u32, value: member.index() });
        }
        self.sort(value, first);
        let count = self.scratch.members.len() - first;
        self.word(OBJECT | count as u32);
        let entries = self.out.len();
        self.out.resize(entries + count * 8, 0);
        let mut total = 0;
        for at in 0..count {
            let Some(member) = self.scratch.members.get(first + at).copied() else { break };
            self.out.extend_from_slice(member.key.bytes(value, &self.scratch.keys));
            self.entry(entries, at, member.key.len, &mut total);
        }
        for at in 0..count {
            let member = self.scratch.members.get(first + at).and_then(|member| value.at(member.value));
            let entry = self.value(&member?, depth + 1)?;
            self.entry(entries, count + at, entry, &mut total);
        }
        self.scratch.members.truncate(first);
        self.scratch.keys.truncate(copies);
        Some(())
    }

    /// Orders the members from `first` on, and keeps the last of those with one key.
    fn sort(&mut self, value: &Value<'_>, first: usize) {
        let Scratch { members, keys } = &mut *self.scratch;
        let bytes = |member: &Member| member.key.bytes(value, keys);
        let these = members.get_mut(first..).unwrap_or_default();
        these.sort_unstable_by(|a, b| {
            let by_length = a.key.len.cmp(&b.key.len);
            by_length.then_with(|| bytes(a).cmp(bytes(b))).then_with(|| b.order.cmp(&a.order))
        });
        let mut kept = first;
        for at in first..members.len() {
            let (Some(member), last) = (members.get(at).copied(), members.get(kept.wrapping_sub(1)).copied()) else {
                break;
            };
            let repeats = kept > first && last.is_some_and(|last| bytes(&last) == bytes(&member));
            if !repeats {
                if let Some(place) = members.get_mut(kept) {
                    *place = member;
                }
                kept += 1;
            }
        }
        members.truncate(kept);
    }
}

impl Key {
    fn bytes<'k>(&self, value: &Value<'k>, copies: &'k [u8]) -> &'k [u8] {
        let whole = if self.is_copy { copies } else { value.text().as_bytes() };
        whole.get(self.start as usize..(self.start + self.len) as usize).unwrap_or_default()
    }
}

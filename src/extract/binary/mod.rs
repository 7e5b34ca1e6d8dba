//! Knows how Postgres lays values of variable length out in memory and on disk, and makes them so on the I/O thread.
//!
//! The backend then only points at them: making `jsonb` and `numeric` from text was most of its work in a load. The
//! layouts are those of Postgres 9.4 to 18 on little-endian machines; where they do not hold (another database encoding,
//! another byte order, sizes beyond [`MAX_VALUE_BYTES`]) values travel as text and Postgres's own input functions read
//! them. Tests compare with what those functions make, byte for byte.
//!
//! Layer: extract. Calls nothing of Postgres.

pub mod jsonb;
pub mod numeric;

/// Whether this machine's byte order is the one that the layouts here are written for.
pub const IS_POSSIBLE: bool = cfg!(target_endian = "little");

/// Bytes of the header of a value of variable length: its length, times four, in 32 bits.
pub const HEADER: usize = 4;

/// Longer JSON goes as text: offsets in `jsonb` have 28 bits.
pub const MAX_VALUE_BYTES: usize = 64 << 20;

/// Rows longer than this are shortened by Postgres (TOAST_TUPLE_THRESHOLD, less the row's own header).
pub const WIDE_ROW_BYTES: usize = 1990;

/// Values shorter than this are not worth compressing.
const MIN_COMPRESSED_BYTES: usize = 64;

/// The header of a plain value of `len` bytes, header included.
pub fn header(len: usize) -> [u8; HEADER] {
    ((len as u32) << 2).to_le_bytes()
}

/// Appends zeros until `out` is a multiple of four bytes long.
pub fn align(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

/// Writes the length of the value that begins at `start`, header included.
pub fn close(out: &mut [u8], start: usize) {
    let length = out.len().saturating_sub(start);
    if let Some(place) = out.get_mut(start..start + HEADER) {
        place.copy_from_slice(&header(length));
    }
}

/// Appends a plain value compressed with lz4, as a column with `COMPRESSION lz4` stores it. Gives false, and leaves `out`
/// as it was, when that would not be shorter.
///
/// `value` has no header. Layout: length with the mark of compression, the length before with the method, the block.
pub fn compress(value: &[u8], out: &mut Vec<u8>) -> bool {
    if value.len() < MIN_COMPRESSED_BYTES || value.len() >= 1 << 30 {
        return false;
    }
    let start = out.len();
    let most = lz4_flex::block::get_maximum_output_size(value.len());
    out.resize(start + 2 * HEADER + most, 0);
    let block = out.get_mut(start + 2 * HEADER..).unwrap_or_default();
    let packed = lz4_flex::block::compress_into(value, block).unwrap_or(usize::MAX);
    if packed >= value.len().saturating_sub(HEADER + 2) {
        out.truncate(start);
        return false;
    }
    out.truncate(start + 2 * HEADER + packed);
    let (length, method) = ((2 * HEADER + packed) as u32, 1u32 << 30);
    if let Some(place) = out.get_mut(start..start + HEADER) {
        place.copy_from_slice(&(length << 2 | 2).to_le_bytes());
    }
    if let Some(place) = out.get_mut(start + HEADER..start + 2 * HEADER) {
        place.copy_from_slice(&(value.len() as u32 | method).to_le_bytes());
    }
    true
}

//! Turns cells into datums: one short match a value, nothing looked up per row, most of them where they lie in the batch.

use crate::extract::batch::{Batch, Cell, Span};
use crate::extract::{binary, Binary};
use pgrx::pg_sys;

/// Microseconds and days from 1970 to 2000, where Postgres's clocks begin.
const EPOCH_US: i64 = 946_684_800_000_000;
const EPOCH_DAYS: i32 = 10_957;

/// Whether text must be converted to the database's encoding.
pub fn needs_conversion() -> bool {
    // SAFETY: reads a session constant.
    unsafe { pg_sys::GetDatabaseEncoding() != pg_sys::pg_enc::PG_UTF8 as i32 }
}

/// How values are made ready for this database: as Postgres lays them out, unless text must be converted on the way.
///
/// `lz4` are the columns that their table compresses so.
pub fn binary(lz4: Vec<usize>) -> Option<Binary> {
    (binary::IS_POSSIBLE && !needs_conversion()).then_some(Binary { lz4 })
}

/// The datum of a cell for a column of type `type_oid`, allocated in the current memory context or in place in the
/// batch, which must outlive it; `None` is null.
///
/// # Safety
/// Must run on the backend's thread. May raise (a text that the database's encoding lacks).
pub unsafe fn datum(cell: &Cell, batch: &Batch, type_oid: pg_sys::Oid, convert: bool) -> Option<pg_sys::Datum> {
    Some(match cell {
        Cell::Null => return None,
        Cell::Bool(b) => pg_sys::Datum::from(usize::from(*b)),
        Cell::Int(n) => pg_sys::Datum::from(*n),
        Cell::Float(x) if type_oid == pg_sys::FLOAT4OID => pg_sys::Datum::from((*x as f32).to_bits() as usize),
        Cell::Float(x) => pg_sys::Datum::from(x.to_bits()),
        Cell::Timestamp(us) => timestamp(*us),
        Cell::Date(days) => pg_sys::Datum::from((days - EPOCH_DAYS) as i64),
        Cell::Text(span) if convert => text(batch, *span),
        Cell::Text(span) | Cell::Binary(span) => in_place(batch, *span),
        Cell::Number(span) => input(
            pg_sys::numeric_in,
            batch,
            *span,
            &[pg_sys::Datum::from(0), pg_sys::Datum::from(-1i32 as i64)],
            convert,
        ),
        Cell::Json(span) if type_oid == pg_sys::JSONOID => input(pg_sys::json_in, batch, *span, &[], convert),
        Cell::Json(span) => input(pg_sys::jsonb_in, batch, *span, &[], convert),
    })
}

/// An instant, microseconds since 1970, as a timestamptz.
pub fn timestamp(us: i64) -> pg_sys::Datum {
    pg_sys::Datum::from(us.saturating_sub(EPOCH_US))
}

/// A timestamptz as microseconds since 1970.
pub fn unix_us(datum: pg_sys::Datum) -> i64 {
    (datum.value() as i64).saturating_add(EPOCH_US)
}

/// A date as days since 1970.
pub fn unix_days(datum: pg_sys::Datum) -> i32 {
    (datum.value() as i32).saturating_add(EPOCH_DAYS)
}

/// A value that lies in the batch as Postgres wants it, header and all.
unsafe fn in_place(batch: &Batch, span: Span) -> pg_sys::Datum {
    let value = batch.with_header(span);
    if value.as_ptr().cast::<u32>().is_aligned() {
        return pg_sys::Datum::from(value.as_ptr());
    }
    // Only where the allocator gives less than four bytes of alignment: none of those we know does.
    let copy = pg_sys::palloc(value.len()).cast::<u8>();
    std::ptr::copy_nonoverlapping(value.as_ptr(), copy, value.len());
    pg_sys::Datum::from(copy)
}

/// Text in the database's encoding.
unsafe fn text(batch: &Batch, span: Span) -> pg_sys::Datum {
    let bytes = batch.bytes(span);
    let server = pg_sys::pg_any_to_server(bytes.as_ptr().cast(), bytes.len() as i32, pg_sys::pg_enc::PG_UTF8 as i32);
    if std::ptr::eq(server, bytes.as_ptr().cast()) {
        return pg_sys::Datum::from(pg_sys::cstring_to_text_with_len(bytes.as_ptr().cast(), bytes.len() as i32));
    }
    pg_sys::Datum::from(pg_sys::cstring_to_text(server))
}

type Input = unsafe fn(pg_sys::FunctionCallInfo) -> pg_sys::Datum;

/// Calls a type's input function, which wants a zero-terminated string.
unsafe fn input(function: Input, batch: &Batch, span: Span, more: &[pg_sys::Datum], convert: bool) -> pg_sys::Datum {
    let bytes = batch.bytes(span);
    let copy = pg_sys::palloc(bytes.len() + 1).cast::<u8>();
    std::ptr::copy_nonoverlapping(bytes.as_ptr(), copy, bytes.len());
    *copy.add(bytes.len()) = 0;
    let mut text = copy.cast::<std::ffi::c_char>();
    if convert {
        text = pg_sys::pg_any_to_server(text, bytes.len() as i32, pg_sys::pg_enc::PG_UTF8 as i32);
    }
    let mut args = vec![Some(pg_sys::Datum::from(text))];
    args.extend(more.iter().map(|d| Some(*d)));
    let result = pgrx::direct_function_call_as_datum(function, &args).unwrap_or(pg_sys::Datum::from(0));
    pg_sys::pfree(copy.cast());
    result
}

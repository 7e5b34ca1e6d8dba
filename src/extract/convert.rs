//! Turns one value as the app sent it into one cell.
//!
//! Says whether the cell holds all that the value says; if not, the caller keeps the value itself.
//!
//! Layer: extract. Knows nothing of Postgres.

use super::batch::{Batch, Cell};
use super::binary::{jsonb, numeric, MAX_VALUE_BYTES};
use super::json::{Kind, Tape, Value};
use super::{text, time, OutColumn, Target};
use crate::manifest::Format;
use std::borrow::Cow;

/// A value as it was given.
#[derive(Clone, Copy)]
pub enum Given<'v> {
    /// Of JSON that was read.
    Json(Value<'v>),
    /// A field of text (CSV); never empty.
    Plain(&'v str),
}

impl<'v> Given<'v> {
    /// The text of a string, or the JSON text of anything else.
    fn text(&self) -> Cow<'v, str> {
        match self {
            Given::Json(value) => match value.kind() {
                Kind::String { escaped: false } => Cow::Borrowed(value.inner()),
                Kind::String { escaped: true } => string_of(value.raw()),
                _ => Cow::Borrowed(value.raw()),
            },
            Given::Plain(text) => Cow::Borrowed(text),
        }
    }

    fn is_null(&self) -> bool {
        matches!(self, Given::Json(value) if value.kind() == Kind::Null)
    }

    fn is_string(&self) -> bool {
        match self {
            Given::Json(value) => matches!(value.kind(), Kind::String { .. }),
            Given::Plain(_) => true,
        }
    }

    /// The value as JSON text.
    pub fn json(&self) -> Cow<'v, str> {
        match self {
            Given::Json(value) => Cow::Borrowed(value.raw()),
            Given::Plain(text) => {
                let mut quoted = Vec::with_capacity(text.len() + 2);
                text::quote(text, &mut quoted);
                Cow::Owned(String::from_utf8_lossy(&quoted).into_owned())
            }
        }
    }
}

/// Memory used again for each value.
#[derive(Default)]
pub struct Scratch {
    tape: Tape,
    pub jsonb: jsonb::Scratch,
}

/// How numbers and JSON are stored.
#[derive(Clone, Copy)]
pub struct Form {
    /// As Postgres lays them out.
    pub binary: bool,
    /// Numbers stay text: the column is part of the key, which is compared as text.
    pub is_key: bool,
}

/// The cell of a value, and whether it says all that the value says.
pub fn convert(
    batch: &mut Batch,
    scratch: &mut Scratch,
    column: &OutColumn,
    form: Form,
    value: Given<'_>,
) -> (Cell, bool) {
    if value.is_null() {
        return (Cell::Null, true);
    }
    let cell = match column.target {
        Target::Text => {
            let start = batch.open_value();
            let faithful = match value {
                Given::Json(json) if json.kind() == (Kind::String { escaped: true }) => {
                    text::unescape(json.raw(), &mut batch.arena)
                }
                _ => {
                    batch.arena.extend_from_slice(value.text().as_bytes());
                    !matches!(value, Given::Plain(text) if replace_nul(batch, start, text))
                }
            };
            return (Cell::Text(batch.close_value(start)), faithful);
        }
        Target::Json | Target::Jsonb => {
            let binary = form.binary && column.target == Target::Jsonb && !form.is_key;
            return match value {
                Given::Json(json) => convert_json(batch, &mut scratch.jsonb, &json, binary),
                Given::Plain(plain) => {
                    let Scratch { tape, jsonb } = scratch;
                    let quoted;
                    let json = match tape.read(plain) {
                        Ok(json) => json,
                        // Words that are no JSON are a string.
                        Err(_) => {
                            quoted = value.json();
                            match tape.read(&quoted) {
                                Ok(json) => json,
                                Err(_) => return (Cell::Null, false),
                            }
                        }
                    };
                    convert_json(batch, jsonb, &json, binary)
                }
            };
        }
        Target::Bool => match value.text().as_ref() {
            "true" => Some(Cell::Bool(true)),
            "false" => Some(Cell::Bool(false)),
            _ => None,
        },
        Target::Int2 => integer(&value.text()).filter(|n| i16::try_from(*n).is_ok()).map(Cell::Int),
        Target::Int4 => integer(&value.text()).filter(|n| i32::try_from(*n).is_ok()).map(Cell::Int),
        Target::Int8 => integer(&value.text()).map(Cell::Int),
        Target::Float8 => {
            let value = value.text();
            value.parse::<f64>().ok().filter(|x| x.is_finite() && text::is_decimal(&value)).map(Cell::Float)
        }
        Target::Numeric => decimal(batch, form, &value.text()),
        Target::Timestamptz => instant(&value.text(), value.is_string(), column.format).map(Cell::Timestamp),
        Target::Date => date(&value.text(), value.is_string(), column.format).map(Cell::Date),
    };
    match cell {
        Some(cell) => (cell, true),
        None => (Cell::Null, false),
    }
}

/// Replaces what Postgres's text cannot hold in the value begun at `start`; tells whether it had to.
fn replace_nul(batch: &mut Batch, start: usize, text: &str) -> bool {
    if !text.as_bytes().contains(&0) {
        return false;
    }
    batch.arena.truncate(start + super::binary::HEADER);
    batch.arena.extend_from_slice(text.replace('\0', "\u{fffd}").as_bytes());
    true
}

fn decimal(batch: &mut Batch, form: Form, text: &str) -> Option<Cell> {
    if form.binary && !form.is_key {
        super::binary::align(&mut batch.arena);
        let start = batch.arena.len();
        if numeric::encode(text, &mut batch.arena) {
            return Some(Cell::Binary(batch.close_value(start)));
        }
    }
    text::is_decimal(text).then(|| Cell::Number(batch.store(text.as_bytes())))
}

/// JSON as a cell: as Postgres lays it out, else as text that it takes.
pub fn convert_json(batch: &mut Batch, scratch: &mut jsonb::Scratch, json: &Value<'_>, binary: bool) -> (Cell, bool) {
    let raw = json.raw();
    if binary && raw.len() <= MAX_VALUE_BYTES {
        super::binary::align(&mut batch.arena);
        let start = batch.arena.len();
        match jsonb::encode(json, scratch, &mut batch.arena) {
            jsonb::Made::Not => {}
            made => return (Cell::Binary(batch.close_value(start)), made == jsonb::Made::Faithful),
        }
    }
    let start = batch.open_value();
    match text::clean_json(raw, &mut batch.arena) {
        Some(faithful) => (Cell::Json(batch.close_value(start)), faithful),
        None => {
            batch.arena.truncate(start);
            (Cell::Null, false)
        }
    }
}

/// The text of a JSON string, or the JSON text of anything else.
pub fn string_of(raw: &str) -> Cow<'_, str> {
    match raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        None => Cow::Borrowed(raw),
        Some(inner) if !inner.contains('\\') => Cow::Borrowed(inner),
        Some(_) => {
            let mut out = Vec::with_capacity(raw.len());
            text::unescape(raw, &mut out);
            Cow::Owned(String::from_utf8_lossy(&out).into_owned())
        }
    }
}

/// A JSON value as an instant, microseconds since 1970.
pub fn instant_of(raw: &str, format: Format) -> Option<i64> {
    instant(&string_of(raw), raw.starts_with('"'), format)
}

fn instant(value: &str, is_string: bool, format: Format) -> Option<i64> {
    match format {
        Format::Auto if is_string => time::parse_iso(value),
        Format::At(east) if is_string => time::parse_iso_at(value, i64::from(east)),
        Format::Auto | Format::At(_) => None,
        Format::Unix => time::from_unix(value),
        Format::UnixMs => time::from_unix_ms(value),
        Format::Rfc2822 => time::parse_rfc2822(value),
    }
}

/// A whole number, also when it is written as a string or with a fraction of zeros.
fn integer(value: &str) -> Option<i64> {
    if let Ok(number) = value.parse::<i64>() {
        return Some(number);
    }
    let (whole, fraction) = value.split_once('.')?;
    (!fraction.is_empty() && fraction.bytes().all(|c| c == b'0')).then(|| whole.parse().ok()).flatten()
}

fn date(value: &str, is_string: bool, format: Format) -> Option<i32> {
    if matches!(format, Format::Auto | Format::At(_)) {
        if let Some(day) = time::parse_date(value) {
            return Some(day);
        }
    }
    let micros = instant(value, is_string, format)?;
    i32::try_from(micros.div_euclid(86_400_000_000)).ok()
}

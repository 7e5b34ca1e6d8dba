//! Decides how a record is written as JSON: the few forms that customers and charges share.

use crate::chance::Chance;
use crate::ids::push_base62;
use crate::words::{FIRST, LAST, PLACES, STREETS};
use std::fmt::Write;

/// Writes into a `String`, which cannot fail.
pub fn put_formatted(to: &mut String, what: std::fmt::Arguments<'_>) {
    let written = to.write_fmt(what);
    debug_assert!(written.is_ok());
}

macro_rules! put {
    ($to:expr, $($form:tt)+) => { $crate::render::put_formatted($to, format_args!($($form)+)) };
}
pub(crate) use put;

/// `prefix` and as many letters and digits.
pub fn token(chance: &mut Chance, prefix: &str, length: usize) -> String {
    let mut token = String::with_capacity(prefix.len() + length);
    token.push_str(prefix);
    let mut left = length;
    while left > 0 {
        let part = left.min(8);
        push_base62(&mut token, chance.next(), part);
        left -= part;
    }
    token
}

/// A person with an address; none of the words needs escaping in JSON.
pub struct Person {
    pub name: String,
    pub email: String,
    pub phone: String,
    pub place: &'static [&'static str; 5],
    line1: String,
    line2: Option<u64>,
    postal_code: u64,
}

impl Person {
    pub fn draw(chance: &mut Chance) -> Person {
        let (first, last) = (chance.pick(FIRST), chance.pick(LAST));
        let plain = |name: &str| name.to_ascii_lowercase().replace(|c: char| !c.is_ascii_alphabetic(), "");
        let number = chance.below(1_000_000);
        Person {
            name: format!("{first} {last}"),
            email: format!("{}.{}.{number}@example.com", plain(first), plain(last)),
            phone: format!("+1{}", chance.between(2_000_000_000, 9_999_999_999)),
            place: &PLACES[chance.below(PLACES.len() as u64) as usize],
            line1: format!("{} {}", chance.between(1, 2400), chance.pick(STREETS)),
            line2: chance.percent(30).then(|| chance.between(1, 60)),
            postal_code: chance.between(10_000, 99_999),
        }
    }

    pub fn put_address(&self, to: &mut String) {
        let [city, state, country, ..] = self.place;
        put!(to, r#"{{"city":"{city}","country":"{country}","line1":"{}","line2":"#, self.line1);
        match self.line2 {
            Some(flat) => put!(to, r#""Apt {flat}""#),
            None => to.push_str("null"),
        }
        put!(to, r#","postal_code":"{}","state":"{state}"}}"#, self.postal_code);
    }
}

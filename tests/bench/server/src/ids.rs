//! Decides the id and the time of creation of the record at a place, and finds the place of an id again.
//!
//! Place 0 is the newest record. Ids look and sort like Stripe's: a part that grows with time, then a part without
//! any order. The second part is the place itself, shuffled by a multiplication that can be undone, so that
//! `starting_after` needs no table of a million ids.

/// Creation of the newest record, in Unix seconds. Fixed, so that two runs serve the same bytes.
pub const NEWEST: u64 = 1_750_000_000;

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const SHUFFLE: u64 = 0x9e37_79b9_7f4a_7c15;

/// Unix seconds. One record a second, except that every seventh second has two and the next one none: a bound
/// that falls between two records of one second is a case that real accounts have.
pub fn created(place: usize) -> u64 {
    NEWEST - (place as u64 - u64::from(place % 7 == 3))
}

/// How the ids of a kind of record are made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct IdStyle {
    pub prefix: &'static str,
    /// Seconds for each step of the part that grows, and its length.
    step_seconds: u64,
    time_digits: usize,
    /// The part between: the account's own letters.
    middle: &'static str,
    /// Length of the shuffled part, and how many bits of it are used.
    place_digits: usize,
    place_bits: u32,
}

pub const CUSTOMER: IdStyle =
    IdStyle { prefix: "cus_", step_seconds: 50, time_digits: 4, middle: "", place_digits: 10, place_bits: 59 };
pub const CHARGE: IdStyle =
    IdStyle { prefix: "ch_3", step_seconds: 1, time_digits: 5, middle: "LkdIwHu7ix0", place_digits: 7, place_bits: 41 };
pub const EVENT: IdStyle =
    IdStyle { prefix: "evt_1", step_seconds: 1, time_digits: 5, middle: "LkdIwHu7ix", place_digits: 8, place_bits: 47 };

impl IdStyle {
    pub fn id(&self, place: usize, created: u64) -> String {
        let mut id = String::with_capacity(40);
        id.push_str(self.prefix);
        push_base62(&mut id, created / self.step_seconds, self.time_digits);
        id.push_str(self.middle);
        push_base62(&mut id, (place as u64).wrapping_mul(SHUFFLE) & self.mask(), self.place_digits);
        id
    }

    /// The place that an id would be at. Whether a record is there, and has this very id, is for the caller to see.
    pub fn place(&self, id: &str) -> Option<usize> {
        let digits = id.get(id.len().checked_sub(self.place_digits)?..)?;
        let shuffled = parse_base62(digits)?;
        if shuffled > self.mask() {
            return None;
        }
        usize::try_from(shuffled.wrapping_mul(inverse(SHUFFLE)) & self.mask()).ok()
    }

    fn mask(&self) -> u64 {
        (1 << self.place_bits) - 1
    }
}

/// The factor that undoes a multiplication by an odd `factor`, modulo 2^64 and so modulo any smaller power of two.
fn inverse(factor: u64) -> u64 {
    // Newton's iteration doubles the number of right bits each time; an odd number is its own inverse modulo 8.
    (0..5).fold(factor, |inverse, _| inverse.wrapping_mul(2u64.wrapping_sub(factor.wrapping_mul(inverse))))
}

/// The last `length` digits of a number.
pub fn push_base62(to: &mut String, mut number: u64, length: usize) {
    let mut digits = [b'0'; 16];
    for digit in digits[..length].iter_mut().rev() {
        *digit = DIGITS[(number % 62) as usize];
        number /= 62;
    }
    to.extend(digits[..length].iter().map(|digit| *digit as char));
}

fn parse_base62(text: &str) -> Option<u64> {
    text.bytes().try_fold(0u64, |number, byte| {
        let digit = DIGITS.iter().position(|digit| *digit == byte)? as u64;
        number.checked_mul(62)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn an_id_leads_back_to_its_place_and_no_two_are_alike() {
        for style in [CUSTOMER, CHARGE, EVENT] {
            let mut seen = HashSet::new();
            for place in (0..20_000).chain([999_999, 5_000_000]) {
                let id = style.id(place, created(place));
                assert_eq!(style.place(&id), Some(place), "{id}");
                assert!(seen.insert(id));
            }
        }
        assert_eq!(CUSTOMER.id(0, NEWEST).len(), "cus_NffrFeUfNV2Hib".len());
        assert_eq!(CHARGE.id(0, NEWEST).len(), "ch_3MmlLrLkdIwHu7ix0snN0B15".len());
    }

    #[test]
    fn creation_never_rises_with_the_place() {
        let times: Vec<u64> = (0..1000).map(created).collect();
        assert!(times.is_sorted_by(|newer, older| newer >= older));
        assert!(times.windows(2).any(|pair| pair[0] == pair[1]), "no two share a second");
        assert_eq!(times[0] - times[999], 999);
    }
}

//! Decides when a group of requests has used up what it may do in a stretch of time.

use std::collections::HashMap;

/// Calls per group in stretches of fixed length. A stretch begins with its first call; the apps' clock ends it.
#[derive(Default)]
pub struct Windows {
    begun: HashMap<String, (i64, u64)>,
}

/// How a group stands after a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spent {
    /// The call was one too many; it is not counted.
    pub is_over: bool,
    pub limit: u64,
    pub remaining: u64,
    pub resets_at_ms: i64,
}

impl Spent {
    /// Whole seconds until the group may call again, at least 1: what `Retry-After` says.
    pub fn seconds_left(&self, now_ms: i64) -> i64 {
        ((self.resets_at_ms - now_ms + 999) / 1000).max(1)
    }
}

impl Windows {
    /// Takes one call out of the group's stretch of `length_ms`. A limit of 0 is none.
    pub fn take(&mut self, group: &str, limit: u64, length_ms: i64, now_ms: i64) -> Spent {
        let (begun, calls) = self.begun.entry(group.to_string()).or_insert((now_ms, 0));
        // Also when a test has put the clock back.
        if now_ms >= *begun + length_ms || now_ms < *begun {
            (*begun, *calls) = (now_ms, 0);
        }
        let is_over = limit > 0 && *calls >= limit;
        if !is_over {
            *calls += 1;
        }
        Spent { is_over, limit, remaining: limit.saturating_sub(*calls), resets_at_ms: *begun + length_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_ends_by_the_clock() {
        let mut windows = Windows::default();
        let over = |w: &mut Windows, at| w.take("export", 2, 60_000, at).is_over;
        assert_eq!([0, 1, 2, 59_999, 60_000].map(|at| over(&mut windows, at)), [false, false, true, true, false]);
        assert!(!windows.take("other", 2, 60_000, 2).is_over);
        let spent = windows.take("other", 2, 60_000, 10_002);
        assert_eq!((spent.remaining, spent.seconds_left(10_002)), (0, 50));
        assert!(!windows.take("free", 0, 60_000, 2).is_over);
    }
}

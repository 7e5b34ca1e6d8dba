//! Decides which requests are one too many: more than allowed within any one second, judged exactly.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

const WINDOW: Duration = Duration::from_secs(1);

/// A sliding window. A refused request does not count against the ones that follow.
#[derive(Default)]
pub struct Window {
    pub allowed: usize,
    times: VecDeque<Instant>,
}

impl Window {
    pub fn set(&mut self, allowed: usize) {
        *self = Window { allowed, times: VecDeque::new() };
    }

    /// Whether a request that arrives now is within the allowance; 0 allows all.
    pub fn admits(&mut self, now: Instant) -> bool {
        if self.allowed == 0 {
            return true;
        }
        while self.times.front().is_some_and(|time| now.duration_since(*time) >= WINDOW) {
            self.times.pop_front();
        }
        let is_within = self.times.len() < self.allowed;
        if is_within {
            self.times.push_back(now);
        }
        is_within
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_window_of_a_second_holds_more_than_allowed() {
        let start = Instant::now();
        let mut window = Window::default();
        window.set(25);
        let admitted: Vec<u64> = (0..3_000).filter(|ms| window.admits(start + Duration::from_millis(*ms))).collect();
        assert_eq!(admitted[24], 24);
        assert_eq!(admitted[25], 1_000);
        assert!(admitted.windows(26).all(|times| times[25] - times[0] >= 1_000));
        window.set(0);
        assert!((0..100).all(|_| window.admits(start)));
    }
}

//! Decides which request is one too many: so many in any ten seconds, so many searches in a second, so many a day. And what
//! the rate headers say.
//!
//! Searches have a limit of their own and carry no rate headers; answers to OAuth tokens do not tell of the day.

use std::collections::VecDeque;

use crate::http::Reply;

/// What the headers show where a knob sets no limit: a private app of an enterprise portal.
const SHOWN_TEN_SECONDLY: i64 = 190;
const SHOWN_DAILY: i64 = 625_000;
const INTERVAL_MS: i64 = 10_000;

/// The limits in force; 0 is none.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    pub ten_secondly: i64,
    pub searches_per_second: i64,
    pub daily: i64,
}

#[derive(Default)]
pub struct Meter {
    calls: VecDeque<i64>,
    searches: VecDeque<i64>,
}

/// Takes one call out of a rolling window, or says that it is full. A refused call takes nothing.
fn take(window: &mut VecDeque<i64>, now_ms: i64, length_ms: i64, most: i64) -> bool {
    while window.front().is_some_and(|at| *at <= now_ms - length_ms || *at > now_ms) {
        window.pop_front();
    }
    if most > 0 && window.len() as i64 >= most {
        return false;
    }
    window.push_back(now_ms);
    true
}

impl Meter {
    /// Counts a call; the name of the policy it breaks, if it does. `today` is how many calls there were, this one included.
    pub fn count(&mut self, limits: Limits, is_search: bool, today: u64, now_ms: i64) -> Option<&'static str> {
        if limits.daily > 0 && today as i64 > limits.daily {
            return Some("DAILY");
        }
        if is_search && !take(&mut self.searches, now_ms, 1000, limits.searches_per_second) {
            return Some("SECONDLY");
        }
        if !take(&mut self.calls, now_ms, INTERVAL_MS, limits.ten_secondly) {
            return Some("TEN_SECONDLY_ROLLING");
        }
        None
    }

    /// The reply with its rate headers.
    pub fn mark(&self, reply: Reply, limits: Limits, today: u64, is_oauth: bool) -> Reply {
        let most = if limits.ten_secondly > 0 { limits.ten_secondly } else { SHOWN_TEN_SECONDLY };
        let left = (most - self.calls.len() as i64).max(0);
        let reply = reply
            .with("X-HubSpot-RateLimit-Max", most.to_string())
            .with("X-HubSpot-RateLimit-Remaining", left.to_string())
            .with("X-HubSpot-RateLimit-Interval-Milliseconds", INTERVAL_MS.to_string())
            .with("X-HubSpot-RateLimit-Secondly", (most / 10).to_string())
            .with("X-HubSpot-RateLimit-Secondly-Remaining", (most / 10 - 1).max(0).to_string());
        if is_oauth {
            return reply;
        }
        let daily = if limits.daily > 0 { limits.daily } else { SHOWN_DAILY };
        reply
            .with("X-HubSpot-RateLimit-Daily", daily.to_string())
            .with("X-HubSpot-RateLimit-Daily-Remaining", (daily - today as i64).max(0).to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_rolls_and_refused_calls_do_not_count() {
        let limits = Limits { ten_secondly: 2, ..Limits::default() };
        let mut meter = Meter::default();
        let mut at = |now| meter.count(limits, false, 1, now);
        assert_eq!(
            [at(0), at(4000), at(5000), at(9999)],
            [None, None, Some("TEN_SECONDLY_ROLLING"), Some("TEN_SECONDLY_ROLLING")]
        );
        assert_eq!([at(10_000), at(10_001), at(14_000)], [None, Some("TEN_SECONDLY_ROLLING"), None]);
    }

    #[test]
    fn searches_and_days_have_policies_of_their_own() {
        let limits = Limits { searches_per_second: 1, daily: 5, ..Limits::default() };
        let mut meter = Meter::default();
        assert_eq!(meter.count(limits, true, 1, 0), None);
        assert_eq!(meter.count(limits, true, 2, 500), Some("SECONDLY"));
        assert_eq!(meter.count(limits, false, 3, 500), None);
        assert_eq!(meter.count(limits, true, 5, 1000), None);
        assert_eq!(meter.count(limits, false, 6, 1000), Some("DAILY"));
        let headers = |oauth| meter.mark(Reply::json(200, ""), limits, 6, oauth).headers;
        assert!(headers(false).contains(&("X-HubSpot-RateLimit-Daily-Remaining".into(), "0".into())));
        assert!(!headers(true).iter().any(|(name, _)| name.contains("Daily")));
        assert!(headers(true).contains(&("X-HubSpot-RateLimit-Interval-Milliseconds".into(), "10000".into())));
    }
}

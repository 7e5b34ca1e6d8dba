//! Decides whether a failed call deserves another try, and how long to wait first.
//!
//! The wait is the larger of what the API asked for and our own backoff (full jitter over `base * 2^attempt`,
//! capped). Time and chance are arguments, so each schedule can be tested exactly.
//!
//! Layer: http. Knows nothing of Postgres.

use super::Policy;
use crate::manifest::ResetFormat;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// No demand of an app counts for longer: a garbled header must not stop a source for years.
pub const LONGEST_ASKED: Duration = Duration::from_secs(24 * 3600);

/// How a call is tried again.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPolicy {
    /// Retries, the first try apart.
    pub tries: u32,
    pub base: Duration,
    pub cap: Duration,
    /// Longest wait.
    pub patience: Duration,
}

impl RetryPolicy {
    /// What is left of an owner's policy after `waited` in this call: the waits of one call share one patience.
    pub fn after(policy: &Policy, waited: Duration) -> Self {
        RetryPolicy {
            tries: policy.tries.saturating_sub(1),
            base: policy.backoff_base,
            cap: policy.backoff_cap,
            patience: policy.patience.saturating_sub(waited),
        }
    }
}

/// The wait before retry number `attempt` (0 is the first retry), or `None` to give up.
///
/// `asked` is the API's own demand (`Retry-After`, or a reset header made relative); `roll` is a uniform draw in
/// `0.0..1.0`. Gives up when `policy.tries` is spent or the wait would pass `policy.patience`: sleeping for an
/// hour would hold a backend for an hour. Example: base 500 ms, attempt 3, roll 0.5 gives 2 s.
pub fn wait_before(policy: &RetryPolicy, attempt: u32, asked: Option<Duration>, roll: f64) -> Option<Duration> {
    if attempt >= policy.tries {
        return None;
    }
    let backoff = policy.base.saturating_mul(2u32.saturating_pow(attempt)).min(policy.cap).mul_f64(roll);
    Some(asked.unwrap_or_default().max(backoff)).filter(|wait| *wait <= policy.patience)
}

/// Reads `Retry-After`: seconds, or a date, which counts from the app's own clock when the reply shows it.
///
/// A moment in the past asks for nothing; what is neither a count nor a date (negative, garbage) is as good as absent.
/// Never more than [`LONGEST_ASKED`].
pub fn parse_retry_after(text: &str, app_now: Option<SystemTime>, our_now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        // More digits than u64 holds is still a (very long) wait.
        return Some(text.parse().map_or(LONGEST_ASKED, Duration::from_secs).min(LONGEST_ASKED));
    }
    if let Ok(seconds) = text.parse::<f64>() {
        let usable = seconds.is_finite() && seconds >= 0.0;
        return usable.then(|| Duration::from_secs_f64(seconds.min(LONGEST_ASKED.as_secs_f64())));
    }
    let date = SystemTime::from(chrono::DateTime::parse_from_rfc2822(text).ok()?);
    let wait = date.duration_since(app_now.unwrap_or(our_now)).unwrap_or_default();
    Some(wait.min(LONGEST_ASKED))
}

/// Reads a header that says when an allowance is renewed, as a wait. `now` is the app's own clock where it is known.
///
/// A moment in the past asks for nothing; what is no number, or no time within [`LONGEST_ASKED`], is as good as absent:
/// some apps send the instant where others send the seconds.
pub fn parse_reset(text: &str, format: ResetFormat, now: SystemTime) -> Option<Duration> {
    let number: f64 = text.trim().parse().ok().filter(|n: &f64| n.is_finite() && *n >= 0.0)?;
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let seconds = match format {
        ResetFormat::Seconds => number,
        ResetFormat::Unix => number - now,
        ResetFormat::UnixMs => number / 1000.0 - now,
    };
    (seconds <= LONGEST_ASKED.as_secs_f64()).then(|| Duration::from_secs_f64(seconds.max(0.0)))
}

/// A uniform draw in `0.0..1.0`, so that clients that failed together do not come back together.
pub fn roll() -> f64 {
    use ring::rand::SecureRandom;
    let mut bytes = [0u8; 4];
    match ring::rand::SystemRandom::new().fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_ne_bytes(bytes)) / (f64::from(u32::MAX) + 1.0),
        Err(_) => 0.5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    const POLICY: RetryPolicy = RetryPolicy {
        tries: 4,
        base: Duration::from_millis(500),
        cap: Duration::from_secs(30),
        patience: Duration::from_secs(60),
    };

    #[test]
    fn an_api_may_ask_for_more_patience_but_not_for_all_of_it() {
        for (name, attempt, asked, want) in [
            ("our own backoff: half of 0.5 s", 0, None, Some(Duration::from_millis(250))),
            ("our own backoff: half of 4 s", 3, None, Some(secs(2))),
            ("the API asks for longer", 3, Some(secs(30)), Some(secs(30))),
            ("the API asks for less than we would wait", 3, Some(secs(1)), Some(secs(2))),
            ("exactly our patience", 0, Some(secs(60)), Some(secs(60))),
            ("beyond our patience", 3, Some(secs(900)), None),
            ("tries are spent", 4, None, None),
        ] {
            assert_eq!(wait_before(&POLICY, attempt, asked, 0.5), want, "{name}");
        }
    }

    #[test]
    fn waits_grow_to_the_cap_and_never_overflow() {
        let policy = RetryPolicy { tries: u32::MAX, ..POLICY };
        let mut last = Duration::ZERO;
        for attempt in 0..200 {
            let wait = wait_before(&policy, attempt, None, 1.0).unwrap();
            assert!(wait >= last && wait <= policy.cap, "attempt {attempt}: {wait:?}");
            last = wait;
        }
        assert_eq!(last, policy.cap);
        assert_eq!(wait_before(&POLICY, 2, None, 0.0), Some(Duration::ZERO), "full jitter reaches down to nothing");
    }

    #[test]
    fn the_waits_of_one_call_share_one_patience() {
        let policy = Policy { patience: secs(60), ..Policy::default() };
        assert_eq!(RetryPolicy::after(&policy, secs(45)).patience, secs(15));
        assert_eq!(RetryPolicy::after(&policy, secs(90)).patience, Duration::ZERO);
        assert_eq!(RetryPolicy::after(&Policy { tries: 0, ..policy }, secs(0)).tries, 0);
    }

    #[test]
    fn retry_after_in_every_spelling() {
        let now = SystemTime::UNIX_EPOCH + secs(1_700_000_000); // Tue, 14 Nov 2023 22:13:20 GMT
        let ahead = Some(now + secs(3600));
        for (name, text, app_now, want) in [
            ("seconds", "7", None, Some(secs(7))),
            ("with spaces", " 7 ", None, Some(secs(7))),
            ("none at all", "0", None, Some(secs(0))),
            ("a fraction", "1.5", None, Some(Duration::from_millis(1500))),
            ("a date", "Tue, 14 Nov 2023 22:13:50 GMT", None, Some(secs(30))),
            ("a date by a clock that is an hour ahead", "Tue, 14 Nov 2023 23:13:50 GMT", ahead, Some(secs(30))),
            ("a date in the past", "Tue, 14 Nov 2023 22:13:10 GMT", None, Some(secs(0))),
            ("absurd", "999999999", None, Some(LONGEST_ASKED)),
            ("more digits than any number", "99999999999999999999999999", None, Some(LONGEST_ASKED)),
            ("an absurd date", "Fri, 31 Dec 9999 23:59:59 GMT", None, Some(LONGEST_ASKED)),
            ("infinite", "inf", None, None),
            ("negative", "-5", None, None),
            ("garbage", "soon", None, None),
            ("empty", "", None, None),
        ] {
            assert_eq!(parse_retry_after(text, app_now, now), want, "{name}");
        }
    }

    #[test]
    fn the_time_of_a_renewal_is_read() {
        let now = UNIX_EPOCH + secs(1_700_000_000);
        for (text, format, want) in [
            ("30", ResetFormat::Seconds, Some(secs(30))),
            (" 1.5 ", ResetFormat::Seconds, Some(Duration::from_millis(1_500))),
            ("1700000030", ResetFormat::Unix, Some(secs(30))),
            ("1699999999", ResetFormat::Unix, Some(Duration::ZERO)),
            ("1700000030000", ResetFormat::UnixMs, Some(secs(30))),
            ("1700000030", ResetFormat::Seconds, None),
            ("1700000030000", ResetFormat::Unix, None),
            ("-3", ResetFormat::Seconds, None),
            ("soon", ResetFormat::Seconds, None),
            ("NaN", ResetFormat::Unix, None),
            ("inf", ResetFormat::Seconds, None),
        ] {
            assert_eq!(parse_reset(text, format, now), want, "{text} as {format:?}");
        }
    }

    #[test]
    fn rolls_are_fractions() {
        for _ in 0..100 {
            assert!((0.0..1.0).contains(&roll()));
        }
    }
}

//! Decides when the next call may start, so that an app's allowance is used up and never passed.
//!
//! Two rules, and the later of their times counts. *Never passed*: a call starts a whole window after the one that lies
//! as many calls back as the window allows; so no window, wherever it begins, holds more. *Spread*: calls come
//! evenly, and where the window is long, some may come at once after a pause. Those are a loan, paid back over the
//! next window by a slightly longer step; a token bucket with the same burst would be slower for ever.
//!
//! Time is an argument: nanoseconds of a clock that everyone who shares the state goes by. The state is plain numbers, so
//! that it can be kept where several processes see it.
//!
//! Layer: http. Knows nothing of Postgres.

use std::time::Duration;

/// Starts that are remembered one by one. A larger allowance notes every second (third, ..) of them.
pub const STARTS: usize = 512;

/// A time further ahead than this is no reservation but garbage, or of a clock that began anew.
const NONSENSE_NS: u64 = 24 * 3600 * NS;
const NS: u64 = 1_000_000_000;

/// Windows from this length on let some calls come at once; shorter ones are over before that could help anyone.
const LONG_WINDOW_SECONDS: u32 = 10;
/// The part of a long window's allowance that may come at once after a pause, and the most calls of it.
const BURST_PART: u64 = 5;
const BURST_MOST: u64 = 50;

/// Windows are held longer than the app counts, by this part and at most by so much: calls that left evenly arrive
/// less evenly.
const MARGIN_PART: u64 = 64;
const MARGIN_MOST_NS: u64 = NS / 2;

/// After a refusal (429) they are held longer by this part, for so long: the way to this app is less even than most.
const CAREFUL_PART: u64 = 20;
const CAREFUL_NS: u64 = 600 * NS;

/// A start that was missed by more than this part of a window is given up for another. What is missed by less only
/// moves the start a window later.
const LATE_PART: u64 = 8;

/// Without a documented allowance nobody knows whether 1,000 calls left are many; so few are not.
const FEW_LEFT: u64 = 20;
/// Without a time of renewal, an allowance that is spent rests for so many even steps.
const REST_STEPS: u64 = 10;

/// How long a percentage counts that the app told, unless a later reply tells another.
const USED_COUNTS_NS: u64 = 300 * NS;
/// The distance of calls when all of an allowance is used.
const SLOWEST_NS: u64 = 60 * NS;

/// What an app allows in a window; without `calls` there is no pace but that which its headers ask for.
#[derive(Clone, Debug, PartialEq)]
pub struct Allowance {
    calls: u64,
    /// The app's window and the margin.
    window_ns: u64,
    margin_ns: u64,
    /// What it is longer after a refusal.
    careful_ns: u64,
    /// The even step between two calls.
    step_ns: u64,
    /// How far behind the even pace the next call may be: what may come at once, in time.
    credit_ns: u64,
    /// What each step is longer while a burst is paid back: all of it takes the rest of a window.
    instalment_ns: u64,
    /// Every so many starts one is noted.
    noted_every: u64,
    /// Places that the notes go round in.
    places: u64,
}

/// What has been promised so far. All zero: nothing. Times are nanoseconds of the clock, 0 for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Starts promised since the state was made.
    pub count: u64,
    /// The last start promised.
    pub last_ns: u64,
    /// When the next call is due by the even pace; behind the present after a pause.
    pub due_ns: u64,
    /// What is still to be paid back of bursts.
    pub owed_ns: u64,
    /// No call before this: the app asked for quiet.
    pub quiet_until_ns: u64,
    /// Until then calls come `spread_step_ns` apart, because the app told how few are left.
    pub spread_until_ns: u64,
    pub spread_step_ns: u64,
    /// Until then we keep more distance, because the app refused a call.
    pub careful_until_ns: u64,
}

/// Where the times of past starts are kept.
pub trait Starts {
    fn start(&mut self, place: usize) -> u64;
    fn note(&mut self, place: usize, at_ns: u64);
}

impl Starts for Vec<u64> {
    fn start(&mut self, place: usize) -> u64 {
        self.get(place).copied().unwrap_or_default()
    }

    fn note(&mut self, place: usize, at_ns: u64) {
        if let Some(known) = self.get_mut(place) {
            *known = at_ns;
        }
    }
}

/// A promised start, and what is needed to give it back.
#[derive(Clone, Copy, Debug)]
pub struct Reserved {
    pub start_ns: u64,
    before: State,
    after: State,
}

impl Reserved {
    /// Whether anything was taken of the allowance: nothing is, where there is no pace.
    pub fn has_taken(&self) -> bool {
        self.before != self.after
    }
}

impl Allowance {
    /// `calls` in `per_seconds`; `None` for no pace.
    pub fn new(calls_per_seconds: Option<(u32, u32)>) -> Self {
        let (calls, per_seconds) = calls_per_seconds.filter(|(calls, _)| *calls > 0).unwrap_or_default();
        let calls = u64::from(calls);
        let app_window_ns = u64::from(per_seconds) * NS;
        let margin_ns = (app_window_ns / MARGIN_PART).min(MARGIN_MOST_NS);
        let window_ns = app_window_ns + margin_ns;
        let step_ns = window_ns.div_ceil(calls.max(1));
        let burst = if per_seconds < LONG_WINDOW_SECONDS { 0 } else { (calls / BURST_PART).min(BURST_MOST) };
        let noted_every = calls.div_ceil(STARTS as u64 - 2).max(1);
        Allowance {
            calls,
            window_ns,
            margin_ns,
            careful_ns: (app_window_ns / CAREFUL_PART).min(4 * MARGIN_MOST_NS).saturating_sub(margin_ns),
            step_ns,
            credit_ns: burst * step_ns,
            instalment_ns: step_ns * burst / calls.saturating_sub(burst).max(1),
            noted_every,
            places: calls / noted_every + 2,
        }
    }

    /// How late a call may start at all.
    pub fn tolerance(&self) -> Duration {
        Duration::from_nanos(if self.calls == 0 { u64::MAX } else { self.window_ns / LATE_PART })
    }

    /// How long a state counts after its last use.
    pub fn memory_ns(&self) -> u64 {
        self.window_ns.saturating_mul(2)
    }

    /// Promises the next start, not before `now_ns`. Starts are promised in order.
    pub fn reserve(&self, state: &mut State, starts: &mut dyn Starts, now_ns: u64) -> Reserved {
        forget_nonsense(state, now_ns);
        let before = *state;
        let ready_ns = now_ns.max(state.quiet_until_ns);
        let spread_ns = if state.spread_until_ns > ready_ns { state.spread_step_ns } else { 0 };
        let step_ns = self.step_ns.max(spread_ns);
        if self.calls == 0 && spread_ns == 0 {
            return Reserved { start_ns: ready_ns, before, after: before };
        }
        // Who is told that little is left has no credit.
        let credit_ns = if spread_ns > self.step_ns { 0 } else { self.credit_ns };
        let due_ns = state.due_ns.max(ready_ns.saturating_sub(credit_ns));
        let start_ns = due_ns.max(ready_ns).max(self.a_window_after(state, starts, now_ns));
        let gap_ns = start_ns.saturating_sub(state.last_ns);
        let owed_ns = (state.owed_ns + step_ns.saturating_sub(gap_ns)).min(self.credit_ns);
        state.owed_ns = owed_ns.saturating_sub(gap_ns.saturating_sub(step_ns));
        // Only a pause of our own earns credit; to be made to wait earns nothing.
        let base_ns = if start_ns > now_ns { due_ns.max(start_ns) } else { due_ns };
        state.due_ns = base_ns + step_ns + self.instalment_ns.min(state.owed_ns);
        if state.count.is_multiple_of(self.noted_every) {
            starts.note(self.place(state.count), start_ns);
        }
        state.last_ns = start_ns;
        state.count = state.count.wrapping_add(1);
        Reserved { start_ns, before, after: *state }
    }

    /// The earliest start that leaves every window within the allowance.
    fn a_window_after(&self, state: &State, starts: &mut dyn Starts, now_ns: u64) -> u64 {
        if self.calls == 0 || state.count < self.calls {
            return 0;
        }
        // Of those that were noted, the first that is at most `calls` back.
        let noted = (state.count - self.calls).next_multiple_of(self.noted_every);
        let start_ns = starts.start(self.place(noted));
        if start_ns > now_ns.saturating_add(NONSENSE_NS) {
            return 0;
        }
        let careful_ns = if state.careful_until_ns > now_ns { self.careful_ns } else { 0 };
        start_ns.saturating_add(self.window_ns + careful_ns)
    }

    /// The promised call would start only now. The one an allowance later will keep its distance from that. Where that
    /// one is promised already, no more than the margin can be made up for: false, and the call needs another start.
    pub fn may_come_late(&self, state: &State, starts: &mut dyn Starts, reserved: &Reserved, now_ns: u64) -> bool {
        if !reserved.has_taken() || self.calls == 0 {
            return true;
        }
        if state.count.wrapping_sub(reserved.before.count) > self.calls {
            return now_ns.saturating_sub(reserved.start_ns) <= self.margin_ns;
        }
        if reserved.before.count.is_multiple_of(self.noted_every) {
            starts.note(self.place(reserved.before.count), now_ns);
        }
        true
    }

    fn place(&self, count: u64) -> usize {
        usize::try_from(count / self.noted_every % self.places).unwrap_or_default()
    }

    /// Takes a promise back that nobody will use. Only the last one can be: what came later is promised already.
    pub fn give_back(&self, state: &mut State, reserved: &Reserved) {
        let (before, after) = (&reserved.before, &reserved.after);
        if (state.count, state.due_ns, state.last_ns) == (after.count, after.due_ns, after.last_ns) {
            (state.count, state.due_ns) = (before.count, before.due_ns);
            (state.last_ns, state.owed_ns) = (before.last_ns, before.owed_ns);
        }
    }

    /// How long the app still wants quiet.
    pub fn quiet_ns(&self, state: &mut State, now_ns: u64) -> u64 {
        forget_nonsense(state, now_ns);
        state.quiet_until_ns.saturating_sub(now_ns)
    }

    /// The app asked for quiet: nothing starts before `wait` is over.
    pub fn hush(&self, state: &mut State, now_ns: u64, wait: Duration) {
        forget_nonsense(state, now_ns);
        let wait_ns = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX).min(NONSENSE_NS);
        state.quiet_until_ns = state.quiet_until_ns.max(now_ns.saturating_add(wait_ns));
    }

    /// The app refused a call: quiet, and more distance for a while.
    pub fn refused(&self, state: &mut State, now_ns: u64, wait: Duration) {
        self.hush(state, now_ns, wait);
        state.careful_until_ns = now_ns.saturating_add(CAREFUL_NS);
    }

    /// The app says how many calls are left, and perhaps in what time there are more. They are spread over that time, if
    /// our own pace would not do. With none left, or less than one within `patience`, nothing starts before.
    pub fn left(
        &self,
        state: &mut State,
        now_ns: u64,
        remaining: u64,
        renewed_in: Option<Duration>,
        patience: Duration,
    ) {
        forget_nonsense(state, now_ns);
        let step = Duration::from_nanos(self.step_ns);
        let Some(renewed_in) = renewed_in.filter(|wait| wait.as_nanos() <= u128::from(NONSENSE_NS)) else {
            if remaining == 0 && self.calls > 0 {
                let rest = u32::try_from(REST_STEPS).unwrap_or(1);
                self.hush(state, now_ns, step.saturating_mul(rest));
            }
            return;
        };
        let share = renewed_in / u32::try_from(remaining).unwrap_or(u32::MAX).max(1);
        if remaining == 0 || share > patience {
            return self.hush(state, now_ns, renewed_in.max(step));
        }
        // A burst of ours makes the share a little shorter than the step; others who use the same account, a lot.
        let is_short = if self.calls > 0 { share > step + step / 4 } else { remaining <= FEW_LEFT };
        let ns = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(NONSENSE_NS);
        (state.spread_until_ns, state.spread_step_ns) =
            if is_short { (now_ns.saturating_add(ns(renewed_in)), ns(share)) } else { (0, 0) };
    }

    /// The app says how many percent of an allowance are used, and nothing of how many calls that is. From `from` percent
    /// on, calls keep a distance that grows with the square of what is above: of 75, 85 make it 10 s, 95 make it 38.
    pub fn used(&self, state: &mut State, now_ns: u64, percent: f64, from: f64) {
        forget_nonsense(state, now_ns);
        let above = ((percent - from) / (100.0 - from).max(1.0)).clamp(0.0, 1.0);
        let step = Duration::from_nanos(SLOWEST_NS).mul_f64(above * above);
        let step_ns = u64::try_from(step.as_nanos()).unwrap_or(SLOWEST_NS);
        (state.spread_until_ns, state.spread_step_ns) =
            if step_ns > 0 { (now_ns.saturating_add(USED_COUNTS_NS), step_ns) } else { (0, 0) };
    }
}

/// Starts anew where the state cannot be of this clock.
fn forget_nonsense(state: &mut State, now_ns: u64) {
    let most = now_ns.saturating_add(NONSENSE_NS);
    let times = [state.last_ns, state.due_ns, state.quiet_until_ns, state.spread_until_ns, state.careful_until_ns];
    if times.iter().any(|time| *time > most) || state.owed_ns > NONSENSE_NS || state.spread_step_ns > NONSENSE_NS {
        *state = State::default();
    }
}

#[cfg(test)]
#[path = "pace_tests.rs"]
mod tests;

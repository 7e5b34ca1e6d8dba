use super::*;

const START: u64 = 1_000 * NS;

/// An allowance in use.
struct Used {
    allowance: Allowance,
    calls: usize,
    app_window_ns: u64,
    state: State,
    noted: Vec<u64>,
    starts: Vec<u64>,
}

impl Used {
    fn new(calls: u32, per_seconds: u32) -> Self {
        Used {
            allowance: Allowance::new(Some((calls, per_seconds))),
            calls: calls as usize,
            app_window_ns: u64::from(per_seconds) * NS,
            state: State::default(),
            noted: vec![0; STARTS],
            starts: Vec::new(),
        }
    }

    fn reserve(&mut self, now_ns: u64) -> Reserved {
        let reserved = self.allowance.reserve(&mut self.state, &mut self.noted, now_ns);
        assert!(reserved.start_ns >= now_ns);
        assert!(self.starts.last().is_none_or(|last| *last <= reserved.start_ns), "starts are promised in order");
        self.starts.push(reserved.start_ns);
        reserved
    }

    /// As many calls as there can be, from `now_ns` on for `seconds`.
    fn saturate(&mut self, now_ns: u64, seconds: u64) -> usize {
        let before = self.starts.len();
        let mut at = now_ns;
        while at < now_ns + seconds * NS {
            at = self.reserve(at).start_ns;
        }
        self.starts.len() - before
    }

    fn assert_every_window_is_within_the_allowance(&self) {
        for window in self.starts.windows(self.calls + 1) {
            let length = window[self.calls] - window[0];
            assert!(length > self.app_window_ns, "{} calls within {length} ns", self.calls + 1);
        }
    }
}

const DOCUMENTED: [(u32, u32); 11] = [
    (25, 1),
    (1, 1),
    (5, 1),
    (1_000, 1),
    (100, 10),
    (100, 20),
    (10, 60),
    (200, 60),
    (400, 60),
    (5_000, 3_600),
    (100_000, 86_400),
];

#[test]
fn what_is_allowed_is_used_and_never_passed() {
    for (calls, per_seconds) in DOCUMENTED {
        let mut used = Used::new(calls, per_seconds);
        let windows = 6;
        let seconds = windows * u64::from(per_seconds);
        used.saturate(START, seconds);
        used.assert_every_window_is_within_the_allowance();
        // The first window and all later ones.
        for (from, to) in [(0, u64::from(per_seconds)), (u64::from(per_seconds), seconds)] {
            let inside = |at: &&u64| (START + from * NS..START + to * NS).contains(at);
            let count = used.starts.iter().filter(inside).count() as f64;
            let allowed = f64::from(calls) * (to - from) as f64 / f64::from(per_seconds);
            assert!(count >= (0.98 * allowed).floor(), "{calls} in {per_seconds} s: {count} of {allowed} used");
        }
    }
}

#[test]
fn chance_in_demand_passes_no_allowance() {
    let mut seed = 7u64;
    let mut chance = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    for (calls, per_seconds) in DOCUMENTED {
        let mut used = Used::new(calls, per_seconds);
        let step = used.allowance.step_ns;
        let mut now = START;
        for _ in 0..calls.clamp(400, 6_000) * 3 {
            // Pauses from none to half a window, quiet now and then, some reservations given back.
            now += match chance(50) {
                0 => chance(used.app_window_ns / 2 + 1),
                1..=10 => chance(3 * step),
                _ => chance(step / 2 + 1),
            };
            let reserved = used.reserve(now);
            match chance(30) {
                0 => {
                    used.allowance.give_back(&mut used.state, &reserved);
                    used.starts.pop();
                }
                1 => used.allowance.hush(&mut used.state, now, Duration::from_nanos(chance(step) + 1)),
                _ => now = now.max(reserved.start_ns.saturating_sub(3 * step)),
            }
        }
        used.assert_every_window_is_within_the_allowance();
    }
}

#[test]
fn a_pause_lets_a_short_run_go_at_once_where_the_window_is_long() {
    for ((calls, per_seconds), at_once) in
        [((400, 60), 43), ((200, 60), 31), ((100, 20), 16), ((10, 60), 2), ((25, 1), 1), ((5, 1), 1)]
    {
        let mut used = Used::new(calls, per_seconds);
        for pause in [START, START * 2] {
            used.starts.clear();
            while used.reserve(pause).start_ns == pause {}
            assert!(used.starts.len() > at_once, "{calls} in {per_seconds} s: {} at once", used.starts.len() - 1);
            assert!(used.starts.len() <= calls as usize / 4 + 2);
        }
    }
}

#[test]
fn a_burst_is_paid_back_evenly() {
    let mut used = Used::new(400, 60);
    used.saturate(START, 180);
    let gaps: Vec<u64> = used.starts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let longest = gaps.iter().max().unwrap();
    assert!(*longest < used.allowance.step_ns * 5 / 4, "no call waits for {longest} ns");
    assert!(gaps[450..].iter().all(|gap| *gap == used.allowance.step_ns), "then the pace is even");
}

#[test]
fn what_is_given_back_is_there_for_the_next() {
    let mut used = Used::new(10, 60);
    used.saturate(START, 60);
    let now = *used.starts.last().unwrap();
    let (state, first, second) = (used.state, used.reserve(now), used.reserve(now));
    used.allowance.give_back(&mut used.state, &first);
    assert_ne!(used.state, state, "a later promise stands");
    used.allowance.give_back(&mut used.state, &second);
    assert_eq!(used.allowance.reserve(&mut used.state, &mut used.noted, now).start_ns, second.start_ns);
    used.allowance.give_back(&mut used.state, &second);
    used.allowance.give_back(&mut used.state, &first);
    assert_eq!(used.state, state, "newest first, all of it comes back");
}

#[test]
fn nothing_starts_while_the_app_wants_quiet() {
    for allowance in [Allowance::new(None), Allowance::new(Some((400, 60)))] {
        let (mut state, mut noted) = (State::default(), vec![0; STARTS]);
        for wait in [30, 5] {
            allowance.hush(&mut state, START, Duration::from_secs(wait));
        }
        let first = allowance.reserve(&mut state, &mut noted, START).start_ns;
        let second = allowance.reserve(&mut state, &mut noted, START).start_ns;
        assert_eq!((first, second - first), (START + 30 * NS, allowance.step_ns), "and no burst follows");
        assert!(allowance.reserve(&mut state, &mut noted, START + 40 * NS).start_ns < START + 41 * NS);
    }
}

#[test]
fn a_late_start_and_a_refusal_are_kept_away_from() {
    for (calls, per_seconds) in DOCUMENTED.into_iter().filter(|(calls, _)| *calls <= 500) {
        let mut used = Used::new(calls, per_seconds);
        let after_burst = START + 3 * used.app_window_ns;
        used.saturate(START, 3 * u64::from(per_seconds));
        // Every call comes late, by up to a tolerance.
        let tolerance = u64::try_from(used.allowance.tolerance().as_nanos()).unwrap();
        let (mut now, mut actual) = (after_burst, Vec::new());
        for number in 0..u64::from(calls) * 4 {
            let reserved = used.reserve(now);
            let late = reserved.start_ns + number * 7_919 % (tolerance / 2);
            assert!(used.allowance.may_come_late(&used.state, &mut used.noted, &reserved, late));
            actual.push(late);
            now = reserved.start_ns;
        }
        actual.sort_unstable();
        used.starts = actual;
        used.assert_every_window_is_within_the_allowance();
        used.starts.clear();
        // Once the start that depends on it is promised, only the margin is left.
        let (early, later) = (used.reserve(now), used.allowance.margin_ns + 1);
        (0..calls).for_each(|_| _ = used.reserve(now));
        for (late, want) in [(later - 1, true), (later, false)] {
            let now = early.start_ns + late;
            assert_eq!(used.allowance.may_come_late(&used.state, &mut used.noted, &early, now), want);
        }
        // After a refusal the distance is longer for a while.
        used.starts.clear();
        let begin = used.reserve(now + 4 * used.app_window_ns).start_ns;
        used.allowance.refused(&mut used.state, begin, Duration::ZERO);
        let careful = used.saturate(begin, 6 * u64::from(per_seconds)) as f64;
        let allowed = f64::from(calls) * 6.0;
        assert!(careful <= 0.98 * allowed + 1.0 || per_seconds > 60, "{calls} in {per_seconds} s: {careful}");
        assert!(careful >= (0.94 * allowed).floor(), "{calls} in {per_seconds} s: {careful}");
    }
}

#[test]
fn what_is_left_is_spread_until_there_is_more() {
    let secs = Duration::from_secs;
    let patience = secs(60);
    // (allowance, left, renewed in, step between calls then, wait before the next)
    let cases = [
        ("enough for our pace", Some((400, 60)), 390, Some(secs(59)), None, 0),
        ("others use it too", Some((400, 60)), 50, Some(secs(30)), Some(600), 0),
        ("none left, renewal known", Some((400, 60)), 0, Some(secs(30)), None, 30_000),
        ("none left, renewal unknown", Some((100, 10)), 0, None, None, 1_015),
        ("some left, renewal unknown", Some((100, 10)), 3, None, None, 0),
        ("one left, and the hour is long", Some((5_000, 3_600)), 1, Some(secs(1_800)), None, 1_800_000),
        ("nothing documented, many left", None, 1_000, Some(secs(3_000)), None, 0),
        ("nothing documented, few left", None, 10, Some(secs(5)), Some(500), 0),
        ("nothing documented, none left", None, 0, Some(secs(5)), None, 5_000),
        ("a time that cannot be", Some((25, 1)), 0, Some(secs(1_700_000_000)), None, 406),
    ];
    for (name, calls, remaining, renewed_in, step_ms, wait_ms) in cases {
        let allowance = Allowance::new(calls);
        let (mut state, mut noted) = (State::default(), vec![0; STARTS]);
        allowance.left(&mut state, START, remaining, renewed_in, patience);
        let mut starts = (0..4).map(|_| allowance.reserve(&mut state, &mut noted, START).start_ns);
        let (first, second) = (starts.next().unwrap(), starts.next().unwrap());
        assert_eq!((first - START) / 1_000_000, wait_ms, "{name}");
        if let Some(step_ms) = step_ms {
            assert_eq!((second - first) / 1_000_000, step_ms, "{name}");
        } else {
            assert!(second - first <= allowance.step_ns, "{name}");
        }
    }
}

#[test]
fn what_is_left_counts_until_the_next_word_or_the_renewal() {
    let allowance = Allowance::new(Some((400, 60)));
    let (mut state, mut noted) = (State::default(), vec![0; STARTS]);
    let mut next = |state: &mut State, now| allowance.reserve(state, &mut noted, now).start_ns;
    let tell = |state: &mut State, remaining| {
        allowance.left(state, START, remaining, Some(Duration::from_secs(30)), Duration::from_secs(60))
    };
    tell(&mut state, 30);
    assert_eq!(next(&mut state, START), START);
    assert_eq!(next(&mut state, START), START + NS);
    tell(&mut state, 300);
    let third = next(&mut state, START);
    assert!(next(&mut state, START) - third < NS / 5, "our own pace again");
    tell(&mut state, 30);
    let late = START + 31 * NS;
    assert_eq!((next(&mut state, late), next(&mut state, late)), (late, late), "renewed");
}

#[test]
fn a_state_that_cannot_be_is_forgotten() {
    for (calls, per_seconds) in DOCUMENTED {
        let mut used = Used::new(calls, per_seconds);
        used.noted = vec![u64::MAX; STARTS];
        let far = START + NONSENSE_NS + 1;
        for state in [
            State { count: u64::MAX, last_ns: far, ..State::default() },
            State { due_ns: u64::MAX, ..State::default() },
            State { quiet_until_ns: far, ..State::default() },
            State { spread_until_ns: far, spread_step_ns: 5, ..State::default() },
            State { owed_ns: u64::MAX, ..State::default() },
            State { careful_until_ns: far, ..State::default() },
            State { count: u64::MAX - 1, ..State::default() },
        ] {
            used.state = state;
            used.starts.clear();
            assert_eq!(used.reserve(START).start_ns, START, "{state:?}");
        }
    }
}

#[test]
fn what_is_used_up_slows_down_and_what_recovers_does_not() {
    let allowance = Allowance::new(None);
    let mut state = State::default();
    let mut noted = vec![0; STARTS];
    for (percent, want_s) in [(74.0, 0.0), (85.0, 9.6), (95.0, 38.4), (100.0, 60.0), (250.0, 60.0), (10.0, 0.0)] {
        allowance.used(&mut state, START, percent, 75.0);
        let mut at = START;
        let mut starts = Vec::new();
        for _ in 0..3 {
            at = allowance.reserve(&mut state, &mut noted, at).start_ns;
            starts.push(at);
        }
        let gap_s = (starts[2] - starts[1]) as f64 / NS as f64;
        assert!((gap_s - want_s).abs() < 0.01, "{percent} percent: {gap_s} s");
        state = State::default();
    }
    // Nothing new is told for long: the app has forgotten, too.
    allowance.used(&mut state, START, 99.0, 75.0);
    let later = START + 301 * NS;
    let first = allowance.reserve(&mut state, &mut noted, later).start_ns;
    assert_eq!(allowance.reserve(&mut state, &mut noted, first).start_ns, later);
}

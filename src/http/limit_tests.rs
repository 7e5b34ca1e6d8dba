use super::super::pace_table::Trouble;
use super::*;
use serde_json::{json, Value};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tokio::time::timeout;

fn rate(rate: Value) -> Rate {
    serde_json::from_value(rate).unwrap()
}

fn policy() -> Policy {
    Policy { max_concurrency: 64, ..Policy::default() }
}

fn alone(of: Value) -> Limiter {
    Limiter::new(&policy(), Some(&rate(of)), None)
}

/// A file of its own, removed in the end.
struct PaceFile(PathBuf);

impl PaceFile {
    fn new(name: &str) -> Self {
        PaceFile(std::env::temp_dir().join(format!("cloudsync-limit-{}-{name}", std::process::id())))
    }

    /// A limiter as another process would have it: with its own opening of the file.
    fn limiter(&self, of: Value, clock: &Clock) -> Limiter {
        let table = Table::open(&self.0).unwrap();
        Limiter::with_clock(&policy(), Some(&rate(of)), Some((table, "5/17")), clock.clone())
    }
}

impl Drop for PaceFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Seconds from one call to the next, `count` times.
async fn gaps(limiter: &Limiter, path: &str, count: usize) -> Vec<f64> {
    let mut gaps = Vec::new();
    for _ in 0..count {
        let before = Instant::now();
        drop(limiter.turn(path).await.unwrap());
        gaps.push(before.elapsed().as_secs_f64());
    }
    gaps
}

/// Any window as long as the app's holds no more than it allows; `slack` for what a busy machine adds.
fn assert_within(starts_ns: &[u64], calls: usize, window: Duration, slack: Duration) {
    for part in starts_ns.windows(calls + 1) {
        let length = Duration::from_nanos(part[calls] - part[0]);
        assert!(length + slack >= window, "{} calls within {length:?}", calls + 1);
    }
}

#[tokio::test(start_paused = true)]
async fn the_allowance_is_shared_used_and_not_passed() {
    let file = PaceFile::new("paused");
    for (calls, per_seconds) in [(25u32, 1u32), (100, 10)] {
        let clock = Clock::Runtime(Instant::now());
        let begin = clock.now_ns();
        let sessions = (0..3).map(|_| {
            let limiter = file.limiter(json!({ "calls": calls, "per_seconds": per_seconds }), &clock);
            let clock = clock.clone();
            async move {
                let work = || async {
                    let mut starts = Vec::new();
                    while clock.now_ns() < begin + u64::from(per_seconds) * 6_000_000_000 {
                        drop(limiter.turn("/v1/charges").await.unwrap());
                        starts.push(clock.now_ns());
                    }
                    starts
                };
                futures_util::future::join_all([work(), work()]).await.concat()
            }
        });
        let mut starts = futures_util::future::join_all(sessions).await.concat();
        starts.sort_unstable();
        assert_within(&starts, calls as usize, Duration::from_secs(per_seconds.into()), Duration::ZERO);
        assert!(starts.len() as f64 >= 0.98 * f64::from(calls) * 6.0, "{} of {}", starts.len(), calls * 6);
    }
}

#[tokio::test(start_paused = true)]
async fn a_few_calls_are_not_held_up() {
    let limiter = alone(json!({ "calls": 400, "per_seconds": 60 }));
    assert!(gaps(&limiter, "/x", 20).await.iter().all(|gap| *gap < 0.001));
}

#[tokio::test(start_paused = true)]
async fn quiet_holds_every_call_of_the_server_in_every_session() {
    let file = PaceFile::new("quiet");
    let clock = Clock::Runtime(Instant::now());
    for of in [json!({}), json!({ "calls": 25, "per_seconds": 1 })] {
        let (one, two) = (file.limiter(of.clone(), &clock), file.limiter(of, &clock));
        one.be_quiet("/x", Duration::from_secs(30)).await;
        two.be_quiet("/y", Duration::from_secs(5)).await;
        let waited = gaps(&two, "/x", 2).await;
        assert!((30.0..30.1).contains(&waited[0]) && waited[1] < 0.1, "{waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn quiet_also_holds_who_waits_already() {
    let limiter = Arc::new(alone(json!({ "calls": 10, "per_seconds": 1 })));
    gaps(&limiter, "/x", 1).await;
    let (waiting, begin) = (Arc::clone(&limiter), Instant::now());
    let waiting = tokio::spawn(async move { waiting.turn("/x").await.map(|_| begin.elapsed()).unwrap() });
    tokio::task::yield_now().await;
    limiter.be_quiet("/x", Duration::from_secs(20)).await;
    assert!(waiting.await.unwrap() >= Duration::from_secs(20));
}

#[tokio::test(start_paused = true)]
async fn quiet_beyond_all_patience_is_told_at_once() {
    let limiter = alone(json!({ "calls": 10, "per_seconds": 1 }));
    limiter.be_quiet("/x", Duration::from_secs(3_600)).await;
    let begin = Instant::now();
    let wait = limiter.turn("/x").await.err().unwrap();
    assert!(wait > Duration::from_secs(3_590) && begin.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn no_more_calls_at_once_than_both_sides_allow() {
    let file = PaceFile::new("connections");
    let clock = Clock::Runtime(Instant::now());
    let of = json!({ "connections": 3 });
    let (one, two) = (file.limiter(of.clone(), &clock), file.limiter(of.clone(), &clock));
    let soon = Duration::from_secs(5);
    let first = one.turn("/x").await.unwrap();
    let _others = (one.turn("/x").await.unwrap(), two.turn("/x").await.unwrap());
    assert!(timeout(soon, two.turn("/x")).await.is_err() && timeout(soon, one.turn("/x")).await.is_err());
    drop(first);
    assert!(timeout(soon, two.turn("/x")).await.is_ok());

    let narrow = Limiter::new(&Policy { max_concurrency: 2, ..Policy::default() }, Some(&rate(of)), None);
    let _both = (narrow.turn("/x").await.unwrap(), narrow.turn("/x").await.unwrap());
    assert!(timeout(soon, narrow.turn("/x")).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_group_has_its_own_allowance() {
    let of = json!({ "calls": 200, "per_seconds": 60, "connections": 2, "groups": [
        { "name": "export", "match": "/incremental", "calls": 10, "per_seconds": 60 },
        { "name": "search", "match": "/{type}/search", "calls": 5, "per_seconds": 1, "also_general": true },
        { "name": "bulk", "match": "/bulk", "connections": 1 } ] });
    let limiter = Arc::new(alone(of));
    // Three exports spend what may come at once, a fourth waits, and nobody else does.
    gaps(&limiter, "/incremental/tickets.json", 3).await;
    let slow = Arc::clone(&limiter);
    let slow = tokio::spawn(async move { gaps(&slow, "/incremental/users.json", 1).await });
    tokio::task::yield_now().await;
    assert!(gaps(&limiter, "/users.json", 30).await.iter().sum::<f64>() < 0.01);
    assert!((5.0..8.0).contains(&slow.await.unwrap()[0]));
    // A search takes from both: 5 a second while the general allowance lasts, then as that one comes.
    let search = gaps(&limiter, "/tickets/search", 100).await;
    assert!(search[1..10].iter().all(|gap| (0.15..0.25).contains(gap)), "{search:?}");
    assert!(search[90..].iter().all(|gap| (0.25..0.45).contains(gap)), "{search:?}");
    // Requests in flight: bulk has one of its own, exports count among those of the source.
    let soon = Duration::from_millis(100);
    let _bulk = limiter.turn("/bulk/1").await.unwrap();
    assert!(timeout(soon, limiter.turn("/bulk/2")).await.is_err());
    let _first = limiter.turn("/users.json").await.unwrap();
    let _second = limiter.turn("/incremental/tickets.json").await.unwrap();
    assert!(timeout(soon, limiter.turn("/users.json")).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn quiet_for_a_group_leaves_the_others_alone() {
    let limiter = alone(json!({ "groups": [
        { "name": "export", "match": "/export", "connections": 2 },
        { "name": "search", "match": "/search", "connections": 2, "also_general": true } ] }));
    limiter.be_quiet("/export/1", Duration::from_secs(30)).await;
    assert!(gaps(&limiter, "/users", 1).await[0] < 0.01);
    assert!(gaps(&limiter, "/export/2", 1).await[0] > 29.0);
    limiter.be_quiet("/search/1", Duration::from_secs(30)).await;
    assert!(gaps(&limiter, "/users", 1).await[0] > 29.0, "it counts there too");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_not_made_costs_nothing() {
    let limiter = alone(json!({ "calls": 10, "per_seconds": 60 }));
    gaps(&limiter, "/x", 3).await;
    for _ in 0..20 {
        assert!(timeout(Duration::from_millis(10), limiter.turn("/x")).await.is_err());
    }
    // One step and the instalment of what came at once.
    assert!(gaps(&limiter, "/x", 1).await[0] < 8.0);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_comes_late_waits_for_another_start() {
    // One request at a time, and the one before lasts two seconds.
    let limiter = Arc::new(alone(json!({ "calls": 5, "per_seconds": 1, "connections": 1 })));
    let mut starts = Vec::new();
    let clock = Clock::Runtime(Instant::now());
    for _ in 0..12 {
        let turn = limiter.turn("/x").await.unwrap();
        starts.push(clock.now_ns());
        let long = if starts.len() == 3 { 2_000 } else { 1 };
        sleep(Duration::from_millis(long)).await;
        drop(turn);
    }
    assert_within(&starts, 5, Duration::from_secs(1), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_full_or_broken_table_means_to_pace_alone() {
    let file = PaceFile::new("full");
    let table = Table::open(&file.0).unwrap();
    let now = Clock::Boot.now_ns();
    let full = (1..).map(|key| table.find(key, now)).find(Result::is_err).unwrap();
    assert!(matches!(full, Err(Trouble::Full)));
    let of = json!({ "calls": 25, "per_seconds": 1, "connections": 1 });
    let base = Instant::now();
    let limiter = file.limiter(of, &Clock::Runtime(base));
    let turn = limiter.turn("/x").await.unwrap();
    assert!(timeout(Duration::from_secs(1), limiter.turn("/x")).await.is_err(), "one at a time here");
    drop(turn);
    let waited: f64 = gaps(&limiter, "/x", 51).await.iter().sum();
    assert!((1.9..2.3).contains(&waited), "{waited}");
    std::fs::File::options().write(true).open(&file.0).unwrap().set_len(0).unwrap();
    let waited: f64 = gaps(&limiter, "/x", 50).await.iter().sum();
    assert!((1.9..2.3).contains(&waited), "{waited}");
}

/// What a process that the tests start does; the variable says what.
#[test]
#[ignore = "is a part of other tests, in a process of its own"]
fn child() {
    let Ok(role) = std::env::var("CLOUDSYNC_TEST_ROLE") else { return };
    let file = PathBuf::from(std::env::var_os("CLOUDSYNC_TEST_FILE").unwrap());
    let table = Table::open(&file).unwrap();
    let limiter = Limiter::new(&policy(), Some(&rate(serde_json::from_str(&role).unwrap())), Some((table, "5/17")));
    let until: u64 = std::env::var("CLOUDSYNC_TEST_UNTIL").unwrap().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let work = || async {
            while Clock::Boot.now_ns() < until {
                let turn = limiter.turn("/v1/charges").await.unwrap();
                println!("start {}", Clock::Boot.now_ns());
                if until == u64::MAX {
                    std::future::pending::<()>().await;
                }
                drop(turn);
            }
        };
        tokio::join!(work(), work());
    });
}

/// A start may be seen so much later than it was, when other work has the processors.
const BUSY: Duration = Duration::from_millis(50);

/// Starts a process that calls as fast as it may until that instant, or makes one call that never ends.
fn process(file: &Path, of: &Value, until: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "http::limit::tests::child", "--ignored", "--nocapture"])
        .envs([("CLOUDSYNC_TEST_ROLE", of.to_string()), ("CLOUDSYNC_TEST_UNTIL", until.to_string())])
        .env("CLOUDSYNC_TEST_FILE", file)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn start_in(line: &str) -> Option<u64> {
    line.split_once("start ")?.1.trim().parse().ok()
}

/// Real time, real processes: on a machine that is busy with other work a run may be disturbed, so the best of a few
/// counts for what is used; what is allowed has to hold in all of them.
#[test]
fn processes_share_the_allowance() {
    let of = json!({ "calls": 50, "per_seconds": 1 });
    let mut best = 0.0f64;
    for run in 0..4 {
        let file = PaceFile::new(&format!("processes-{run}"));
        let until = Clock::Boot.now_ns() + 3_500_000_000;
        let processes: Vec<Child> = (0..3).map(|_| process(&file.0, &of, until)).collect();
        let mut each: Vec<Vec<u64>> = Vec::new();
        for process in processes {
            let done = process.wait_with_output().unwrap();
            assert!(done.status.success());
            each.push(String::from_utf8(done.stdout).unwrap().lines().filter_map(start_in).collect());
        }
        let mut starts = each.concat();
        starts.sort_unstable();
        assert!(each.iter().all(|own| own.len() >= 10), "each gets its share: {:?}", each.iter().map(Vec::len));
        assert_within(&starts, 50, Duration::from_secs(1), BUSY);
        let span = (starts[starts.len() - 1] - starts[0]) as f64 / 1e9;
        best = best.max((starts.len() - 1) as f64 / (span * 50.0));
        if best >= 0.98 {
            return;
        }
    }
    assert!(best >= 0.95, "at best {best:.4} of the allowance was used");
}

/// The same for threads, each with its own opening of the file.
#[test]
fn threads_share_the_allowance() {
    let mut best = 0.0f64;
    for run in 0..4 {
        let file = PaceFile::new(&format!("threads-{run}"));
        let until = Clock::Boot.now_ns() + 3_000_000_000;
        let mut starts: Vec<u64> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    let limiter = file.limiter(json!({ "calls": 25, "per_seconds": 1 }), &Clock::Boot);
                    scope.spawn(move || {
                        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                        runtime.block_on(async {
                            let mut starts = Vec::new();
                            while Clock::Boot.now_ns() < until {
                                drop(limiter.turn("/x").await.unwrap());
                                starts.push(Clock::Boot.now_ns());
                            }
                            starts
                        })
                    })
                })
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        starts.sort_unstable();
        assert_within(&starts, 25, Duration::from_secs(1), BUSY);
        let span = (starts[starts.len() - 1] - starts[0]) as f64 / 1e9;
        best = best.max((starts.len() - 1) as f64 / (span * 25.0));
        if best >= 0.98 {
            return;
        }
    }
    assert!(best >= 0.95, "at best {best:.4} of the allowance was used");
}

#[tokio::test]
async fn a_process_that_is_killed_holds_no_request_in_flight() {
    let file = PaceFile::new("killed");
    let of = json!({ "connections": 2 });
    let mut process = process(&file.0, &of, u64::MAX);
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert_eq!(lines.by_ref().filter_map(|line| start_in(&line)).take(2).count(), 2);
    let limiter = file.limiter(of, &Clock::Boot);
    assert!(timeout(Duration::from_millis(300), limiter.turn("/x")).await.is_err(), "both are taken");
    process.kill().unwrap();
    process.wait().unwrap();
    assert!(timeout(Duration::from_secs(5), limiter.turn("/x")).await.is_ok());
}

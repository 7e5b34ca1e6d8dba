//! Decides how bulk extract jobs live: created, queued, two at a time in the works, done; and what the day's quota allows.
//!
//! One queue for leads and activities (docs: /bulk-extract, Queue). Everything follows from the moments a job was created
//! and enqueued, so that the state shown needs no timer.

use serde_json::{json, Map, Value};

use crate::rest::time::Form;

/// Jobs in the queue, those in the works included.
const MOST_QUEUED: usize = 10;
const MOST_RUNNING: usize = 2;
const LISTED_MS: i64 = 7 * 86_400_000;
/// The quota starts again at midnight Central Time, which the vendor calls CST all year.
const CENTRAL_MS: i64 = 6 * 3_600_000;

/// How fast and how much, as tests set it.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// From being enqueued to the works, when a place is free.
    pub queue_ms: i64,
    /// From the works to the end.
    pub run_ms: i64,
    /// What is shown moves on in such steps; 0 shows the truth.
    pub refresh_ms: i64,
    pub daily_bytes: u64,
}

/// What is exported, as the request said it.
#[derive(Debug, Clone)]
pub struct Order {
    /// `leads` or `activities`.
    pub what: &'static str,
    pub fields: Vec<String>,
    pub headers: Map<String, Value>,
    pub format: String,
    pub filter: Value,
}

#[derive(Debug)]
pub struct Job {
    pub id: String,
    pub order: Order,
    pub created_ms: i64,
    pub queued_ms: Option<i64>,
    pub started_ms: Option<i64>,
    pub finished_ms: Option<i64>,
    pub cancelled_ms: Option<i64>,
    /// The message it ends with, when it fails.
    pub failure: Option<String>,
    /// The file as it was when the works began.
    pub file: Option<Vec<u8>>,
    pub records: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Created,
    Queued,
    Processing,
    Cancelled,
    Completed,
    Failed,
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            State::Created => "Created",
            State::Queued => "Queued",
            State::Processing => "Processing",
            State::Cancelled => "Cancelled",
            State::Completed => "Completed",
            State::Failed => "Failed",
        }
    }
}

impl Job {
    pub fn state(&self, at_ms: i64) -> State {
        let has = |moment: Option<i64>| moment.is_some_and(|m| m <= at_ms);
        if self.cancelled_ms.is_some() {
            State::Cancelled
        } else if has(self.finished_ms) {
            match self.failure {
                Some(_) => State::Failed,
                None => State::Completed,
            }
        } else if has(self.started_ms) {
            State::Processing
        } else if self.queued_ms.is_some() {
            State::Queued
        } else {
            State::Created
        }
    }

    /// The state the status endpoint shows, which it looks up only once a minute.
    pub fn shown(&self, now_ms: i64, pace: &Pace) -> State {
        match self.queued_ms {
            Some(queued) if pace.refresh_ms > 0 => {
                self.state(queued + (now_ms - queued) / pace.refresh_ms * pace.refresh_ms)
            }
            _ => self.state(now_ms),
        }
    }

    /// The item of `result` that tells of the job.
    pub fn told(&self, state: State) -> Value {
        let stamp = |moment: Option<i64>| moment.map_or(Value::Null, |m| json!(Form::Iso.text(m)));
        let mut told = json!({"exportId": self.id, "format": self.order.format, "status": state.name(),
            "createdAt": stamp(Some(self.created_ms))});
        if !matches!(state, State::Created | State::Cancelled) {
            told["queuedAt"] = stamp(self.queued_ms);
        }
        if matches!(state, State::Processing | State::Completed | State::Failed) {
            told["startedAt"] = stamp(self.started_ms);
        }
        if matches!(state, State::Completed | State::Failed) {
            told["finishedAt"] = stamp(self.finished_ms);
        }
        if let (State::Completed, Some(file)) = (state, &self.file) {
            told["numberOfRecords"] = json!(self.records);
            told["fileSize"] = json!(file.len());
            told["fileChecksum"] = json!(format!("sha256:{}", sha256(file)));
        }
        if let (State::Failed, Some(message)) = (state, &self.failure) {
            told["errorMsg"] = json!(message);
        }
        told
    }
}

pub fn sha256(bytes: &[u8]) -> String {
    ring::digest::digest(&ring::digest::SHA256, bytes).as_ref().iter().map(|b| format!("{b:02x}")).collect()
}

/// Why a job cannot be created or enqueued: the message of a 1029.
pub type Refusal = &'static str;

#[derive(Default)]
pub struct Exports {
    jobs: Vec<Job>,
}

impl Exports {
    pub fn create(&mut self, id: String, order: Order, now_ms: i64, pace: &Pace) -> Result<&Job, Refusal> {
        self.check_quota(now_ms, pace)?;
        self.jobs.push(Job {
            id,
            order,
            created_ms: now_ms,
            queued_ms: None,
            started_ms: None,
            finished_ms: None,
            cancelled_ms: None,
            failure: None,
            file: None,
            records: 0,
        });
        Ok(&self.jobs[self.jobs.len() - 1])
    }

    fn check_quota(&self, now_ms: i64, pace: &Pace) -> Result<(), Refusal> {
        if pace.daily_bytes > 0 && self.bytes_today(now_ms) >= pace.daily_bytes {
            return Err("Export daily quota exceeded");
        }
        Ok(())
    }

    /// What the jobs completed since midnight in Central Time count for.
    pub fn bytes_today(&self, now_ms: i64) -> u64 {
        let day = |ms: i64| (ms - CENTRAL_MS).div_euclid(86_400_000);
        self.jobs
            .iter()
            .filter(|j| j.state(now_ms) == State::Completed && j.finished_ms.is_some_and(|f| day(f) == day(now_ms)))
            .map(|j| j.file.as_ref().map_or(0, |f| f.len() as u64))
            .sum()
    }

    pub fn enqueue(&mut self, at: usize, now_ms: i64, pace: &Pace, failure: Option<String>) -> Result<(), Refusal> {
        self.check_quota(now_ms, pace)?;
        if self.jobs[at].queued_ms.is_some() || self.jobs[at].cancelled_ms.is_some() {
            return Err("Job already queued");
        }
        let queued = self.jobs.iter().filter(|j| matches!(j.state(now_ms), State::Queued | State::Processing)).count();
        if queued >= MOST_QUEUED {
            return Err("Too many jobs in queue");
        }
        self.jobs[at].failure = failure;
        self.jobs[at].queued_ms = Some(now_ms);
        self.schedule(pace);
        Ok(())
    }

    pub fn cancel(&mut self, at: usize, now_ms: i64, pace: &Pace) {
        if !matches!(self.jobs[at].state(now_ms), State::Completed | State::Failed) {
            self.jobs[at].cancelled_ms = Some(now_ms);
            self.schedule(pace);
        }
    }

    /// Gives the jobs that have not begun their places in the works, in the order of the queue.
    fn schedule(&mut self, pace: &Pace) {
        let mut queue: Vec<usize> = (0..self.jobs.len()).filter(|at| self.jobs[*at].queued_ms.is_some()).collect();
        queue.sort_by_key(|at| self.jobs[*at].queued_ms);
        let mut free = [i64::MIN; MOST_RUNNING];
        for at in queue {
            let job = &mut self.jobs[at];
            let place = if free[0] <= free[1] { 0 } else { 1 };
            // What has begun (its file is there) keeps its moments; a job cancelled before frees its place.
            if job.file.is_none() && job.cancelled_ms.is_none() {
                let start = (job.queued_ms.unwrap_or(0) + pace.queue_ms).max(free[place]);
                job.started_ms = Some(start);
                job.finished_ms = Some(start + pace.run_ms);
            }
            let end = match (job.cancelled_ms, job.file.is_some()) {
                (Some(_), false) => continue,
                (Some(cancelled), true) => Some(cancelled),
                (None, _) => job.finished_ms,
            };
            free[place] = free[place].max(end.unwrap_or(i64::MIN));
        }
    }

    /// The jobs that begin by now and have no file yet.
    pub fn to_write(&self, now_ms: i64) -> Vec<usize> {
        let begins = |j: &Job| j.file.is_none() && matches!(j.state(now_ms), State::Processing | State::Completed);
        (0..self.jobs.len()).filter(|at| begins(&self.jobs[*at])).collect()
    }

    pub fn write(&mut self, at: usize, file: Vec<u8>, records: usize) {
        (self.jobs[at].file, self.jobs[at].records) = (Some(file), records);
    }

    pub fn job(&self, at: usize) -> &Job {
        &self.jobs[at]
    }

    pub fn find(&self, what: &str, id: &str) -> Option<usize> {
        self.jobs.iter().position(|j| j.order.what == what && j.id == id)
    }

    /// The jobs of the past seven days, oldest first.
    pub fn listed<'a>(&'a self, what: &'a str, now_ms: i64) -> impl Iterator<Item = &'a Job> {
        self.jobs.iter().filter(move |j| j.order.what == what && j.created_ms > now_ms - LISTED_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { queue_ms: 10, run_ms: 100, refresh_ms: 0, daily_bytes: 0 };

    fn order() -> Order {
        Order { what: "leads", fields: vec!["id".into()], headers: Map::new(), format: "CSV".into(), filter: json!({}) }
    }

    fn with_jobs(count: usize, pace: &Pace) -> Exports {
        let mut exports = Exports::default();
        for n in 0..count {
            exports.create(format!("job-{n}"), order(), 0, pace).unwrap();
        }
        exports
    }

    #[test]
    fn two_jobs_run_and_the_third_waits_for_a_place() {
        let mut exports = with_jobs(3, &PACE);
        assert_eq!(exports.job(0).state(0), State::Created);
        (0..3).for_each(|at| exports.enqueue(at, at as i64, &PACE, None).unwrap());
        let states = |exports: &Exports, at_ms: i64| [0, 1, 2].map(|at| exports.job(at).state(at_ms));
        assert_eq!(states(&exports, 5), [State::Queued; 3]);
        assert_eq!(states(&exports, 50), [State::Processing, State::Processing, State::Queued]);
        assert_eq!(states(&exports, 110), [State::Completed, State::Processing, State::Processing]);
        assert_eq!(states(&exports, 210), [State::Completed; 3]);
        assert_eq!(exports.enqueue(0, 300, &PACE, None), Err("Job already queued"));
    }

    #[test]
    fn a_cancelled_job_frees_its_place() {
        let mut exports = with_jobs(3, &PACE);
        (0..3).for_each(|at| exports.enqueue(at, 0, &PACE, None).unwrap());
        exports.cancel(0, 5, &PACE);
        assert_eq!(exports.job(0).state(500), State::Cancelled);
        assert_eq!(exports.job(2).state(50), State::Processing);
    }

    #[test]
    fn the_queue_holds_ten() {
        let mut exports = with_jobs(11, &PACE);
        (0..10).for_each(|at| exports.enqueue(at, 0, &PACE, None).unwrap());
        assert_eq!(exports.enqueue(10, 0, &PACE, None), Err("Too many jobs in queue"));
        assert_eq!(exports.enqueue(10, 120, &PACE, None), Ok(()));
    }

    #[test]
    fn the_quota_of_the_day_starts_again_at_midnight_in_central_time() {
        let pace = Pace { daily_bytes: 4, ..PACE };
        // 2026-01-01T05:00:00Z is an hour before midnight there.
        let evening = 1_767_243_600_000;
        let mut exports = Exports::default();
        exports.create("job".into(), order(), evening, &pace).unwrap();
        exports.enqueue(0, evening, &pace, None).unwrap();
        assert_eq!(exports.to_write(evening + 50), [0]);
        exports.write(0, b"id\n1\n".to_vec(), 1);
        let refused = exports.create("next".into(), order(), evening + 200, &pace).map(|j| j.id.clone());
        assert_eq!(refused, Err("Export daily quota exceeded"));
        assert!(exports.create("next".into(), order(), evening + 3_600_000, &pace).is_ok());
    }

    #[test]
    fn the_status_shown_moves_once_a_minute() {
        let pace = Pace { refresh_ms: 60_000, ..PACE };
        let mut exports = with_jobs(1, &pace);
        exports.enqueue(0, 1000, &pace, None).unwrap();
        assert_eq!(exports.job(0).shown(59_000, &pace), State::Queued);
        assert_eq!(exports.job(0).shown(61_000, &pace), State::Completed);
        exports.write(0, b"id\n".to_vec(), 0);
        let told = exports.job(0).told(State::Completed);
        assert_eq!(told["fileSize"], 3);
        assert_eq!(told["createdAt"], "1970-01-01T00:00:00Z");
    }

    #[test]
    fn a_failed_job_says_why() {
        let mut exports = with_jobs(1, &PACE);
        exports.enqueue(0, 0, &PACE, Some("Internal error".into())).unwrap();
        assert_eq!(exports.to_write(500), Vec::<usize>::new());
        assert_eq!(exports.job(0).told(exports.job(0).state(500))["errorMsg"], "Internal error");
    }
}

//! Jobs: one runner at a time, leases and fences, retries, dead letters, moved clocks, stopping.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chrono::TimeDelta;
use platform::job::{
    Job, JobError, JobHandler, NewJob, Outcome, Runner, RunnerSettings, cancel, dead_jobs, redrive, redrive_all,
    schedule, schedule_all,
};
use platform::retry::Patience;
use serde_json::json;
use sqlx::PgPool;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::stage::{LIMIT, Process, RECEIVER, Stage, until};

const KIND: &str = "test.work";

/// Jobs need no Redis; this address has none.
async fn stage() -> Stage {
    Stage::new("redis://127.0.0.1:1/".to_owned()).await
}

fn runner(stage: &Stage, instance: &str, handler: impl JobHandler, settings: RunnerSettings) -> Process {
    let context = stage.context(RECEIVER, instance);
    let task = Runner::new(&context, RECEIVER).on(KIND, handler).settings(settings).into_task();
    Process::start(context, task)
}

async fn schedule_at(stage: &Stage, key: &str, delay: TimeDelta) -> bool {
    let pool = stage.database.pool(RECEIVER);
    let now = stage.clock.now();
    let mut connection = pool.acquire().await.expect("a connection");
    schedule(&mut connection, RECEIVER, now, NewJob::new(KIND, key, now + delay)).await.expect("scheduled")
}

async fn states(pool: &PgPool) -> HashMap<String, i64> {
    let rows: Vec<(String, i64)> = sqlx::query_as("SELECT state, count(*) FROM receiver.job GROUP BY state")
        .fetch_all(pool)
        .await
        .expect("a query");
    rows.into_iter().collect()
}

async fn until_all(stage: &Stage, state: &str, count: i64) {
    let pool = stage.database.admin_pool();
    until("the jobs have their state", async || states(&pool).await == HashMap::from([(state.to_owned(), count)]))
        .await;
}

/// A handler made of a function.
struct Doing<F>(F);

#[async_trait]
impl<F: Fn(&Job) -> Outcome + Send + Sync + 'static> JobHandler for Doing<F> {
    async fn run(&self, job: &Job) -> Outcome {
        (self.0)(job)
    }
}

/// Writes down who runs and whether the same job runs twice at once; fails each job's first attempt.
#[derive(Clone, Default)]
struct Watched {
    running: Arc<Mutex<HashMap<Uuid, u32>>>,
    runs: Arc<AtomicU32>,
    overlaps: Arc<AtomicU32>,
}

#[async_trait]
impl JobHandler for Watched {
    async fn run(&self, job: &Job) -> Outcome {
        let before = std::mem::replace(&mut *self.entry(job.id), 1);
        self.overlaps.fetch_add(before, Ordering::SeqCst);
        self.runs.fetch_add(1, Ordering::SeqCst);
        tokio::task::yield_now().await;
        *self.entry(job.id) = 0;
        if job.attempts == 1 { Outcome::RetryAt(job.due_at, "again".to_owned()) } else { Outcome::Done }
    }
}

impl Watched {
    fn entry(&self, id: Uuid) -> impl std::ops::DerefMut<Target = u32> + '_ {
        struct Entry<'a>(std::sync::MutexGuard<'a, HashMap<Uuid, u32>>, Uuid);
        impl std::ops::Deref for Entry<'_> {
            type Target = u32;
            fn deref(&self) -> &u32 {
                self.0.get(&self.1).expect("inserted")
            }
        }
        impl std::ops::DerefMut for Entry<'_> {
            fn deref_mut(&mut self) -> &mut u32 {
                self.0.get_mut(&self.1).expect("inserted")
            }
        }
        let mut running = self.running.lock().expect("not poisoned");
        running.entry(id).or_insert(0);
        Entry(running, id)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_runners_never_run_one_job_at_once() {
    let stage = stage().await;
    let watched = Watched::default();
    let _runners = [
        runner(&stage, "a", watched.clone(), RunnerSettings::default()),
        runner(&stage, "b", watched.clone(), RunnerSettings::default()),
    ];
    let pool = stage.database.pool(RECEIVER);
    for key in 0..300 {
        let now = stage.clock.now();
        let mut connection = pool.acquire().await.expect("a connection");
        let job = NewJob::new(KIND, key.to_string(), now);
        assert!(schedule(&mut connection, RECEIVER, now, job).await.expect("scheduled"));
    }
    until_all(&stage, "done", 300).await;
    assert_eq!(watched.runs.load(Ordering::SeqCst), 600);
    assert_eq!(watched.overlaps.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_names_one_job() {
    let stage = stage().await;
    assert!(schedule_at(&stage, "one", TimeDelta::days(1)).await);
    assert!(!schedule_at(&stage, "one", TimeDelta::days(2)).await);
    let pool = stage.database.pool(RECEIVER);
    let mut connection = pool.acquire().await.expect("a connection");
    assert!(cancel(&mut connection, RECEIVER, KIND, "one").await.expect("cancelled"));
    assert!(!cancel(&mut connection, RECEIVER, KIND, "one").await.expect("asked"));
    assert!(schedule_at(&stage, "one", TimeDelta::zero()).await);
    let _runner = runner(&stage, "a", Doing(|_: &Job| Outcome::Done), RunnerSettings::default());
    until_all(&stage, "done", 1).await;
    assert!(!schedule_at(&stage, "one", TimeDelta::zero()).await, "what was done is remembered");
    assert!(!cancel(&mut connection, RECEIVER, KIND, "one").await.expect("asked"));
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_scheduled_together_and_each_once() {
    let stage = stage().await;
    assert!(schedule_at(&stage, "known", TimeDelta::days(1)).await);
    let now = stage.clock.now();
    let job = |key: &str| NewJob::new(KIND, key, now).payload(json!({ "key": key }));
    let jobs = [job("first"), job("known"), job("second"), job("second")];
    let pool = stage.database.pool(RECEIVER);
    let mut connection = pool.acquire().await.expect("a connection");
    assert_eq!(schedule_all(&mut connection, RECEIVER, now, &jobs).await.expect("scheduled"), 2);
    assert_eq!(schedule_all(&mut connection, RECEIVER, now, &jobs).await.expect("scheduled"), 0);
    assert_eq!(schedule_all(&mut connection, RECEIVER, now, &[]).await.expect("scheduled"), 0);
    let own = Doing(|job: &Job| {
        let own = job.payload["key"] == job.key.as_str();
        if own { Outcome::Done } else { Outcome::Dead("another's payload".to_owned()) }
    });
    let _runner = runner(&stage, "a", own, RunnerSettings::default());
    let pool = stage.database.admin_pool();
    let ended = HashMap::from([("done".to_owned(), 2), ("due".to_owned(), 1)]);
    until("those that are due are done", async || states(&pool).await == ended).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_waits_until_the_clock_says_so() {
    let stage = stage().await;
    let runs = Arc::new(AtomicU32::new(0));
    let counted = runs.clone();
    let handler = Doing(move |_: &Job| {
        counted.fetch_add(1, Ordering::SeqCst);
        Outcome::Done
    });
    let _runner = runner(&stage, "a", handler, RunnerSettings::default());
    schedule_at(&stage, "now", TimeDelta::zero()).await;
    schedule_at(&stage, "in a month", TimeDelta::days(30)).await;
    let pool = stage.database.admin_pool();
    until("one is done", async || states(&pool).await.get("done") == Some(&1)).await;
    stage.clock.advance(TimeDelta::days(29));
    schedule_at(&stage, "soon", TimeDelta::milliseconds(50)).await;
    until("two are done", async || states(&pool).await.get("done") == Some(&2)).await;
    assert_eq!(runs.load(Ordering::SeqCst), 2);
    let moved = std::time::Instant::now();
    stage.clock.advance(TimeDelta::days(2));
    until("it ran", async || runs.load(Ordering::SeqCst) == 3).await;
    assert!(moved.elapsed() < Duration::from_secs(10), "the move was noticed after {:?}", moved.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_could_not_begin_is_as_if_it_had_not_been_tried() {
    let stage = stage().await;
    let seen: Arc<Mutex<Vec<(u32, u32)>>> = Arc::default();
    let (heard, clock) = (seen.clone(), stage.clock.clone());
    let handler = Doing(move |job: &Job| {
        let mut seen = heard.lock().expect("not poisoned");
        seen.push((job.attempts, job.failures));
        match seen.len() {
            1 => Outcome::Retry("it failed".to_owned()),
            2..=5 => Outcome::Postpone(clock.now() + TimeDelta::minutes(1), "no place is free".to_owned()),
            _ => Outcome::Done,
        }
    });
    let patience = Patience { attempts: 2, first: Duration::from_millis(1), most: Duration::from_millis(1) };
    let _runner = runner(&stage, "a", handler, RunnerSettings { patience, ..RunnerSettings::default() });
    schedule_at(&stage, "one", TimeDelta::zero()).await;
    let pool = stage.database.admin_pool();
    for tries in 2..=5 {
        until("it was given back", async || {
            let waits = states(&pool).await.get("due") == Some(&1);
            waits && seen.lock().expect("not poisoned").len() == tries
        })
        .await;
        stage.clock.advance(TimeDelta::seconds(61));
    }
    until_all(&stage, "done", 1).await;
    assert_eq!(*seen.lock().expect("not poisoned"), [(1, 0), (2, 1), (2, 1), (2, 1), (2, 1), (2, 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_wait_longer_each_time_then_die_and_come_back() {
    let stage = stage().await;
    let (runs, well) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let (counted, cured) = (runs.clone(), well.clone());
    let handler = Doing(move |_: &Job| {
        counted.fetch_add(1, Ordering::SeqCst);
        if cured.load(Ordering::SeqCst) == 1 {
            Outcome::Done
        } else {
            Outcome::Retry("the other side is away".to_owned())
        }
    });
    let mut settings = RunnerSettings::default();
    settings.patience.attempts = 3;
    settings.patience.first = Duration::from_secs(60);
    let _runner = runner(&stage, "a", handler, settings);
    schedule_at(&stage, "one", TimeDelta::zero()).await;
    let pool = stage.database.admin_pool();
    for (failures, longest) in [(1, 60), (2, 120)] {
        until("it failed", async || {
            let failed = "SELECT count(*) FROM receiver.job WHERE state = 'due' AND failures = $1";
            sqlx::query_scalar::<_, i64>(failed).bind(failures).fetch_one(&pool).await.expect("a query") == 1
        })
        .await;
        let due: chrono::DateTime<chrono::Utc> =
            sqlx::query_scalar("SELECT due_at FROM receiver.job").fetch_one(&pool).await.expect("a query");
        let pause = due - stage.clock.now();
        assert!(pause > TimeDelta::seconds(longest / 2 - 10) && pause <= TimeDelta::seconds(longest), "{pause}");
        assert_eq!(runs.load(Ordering::SeqCst), u32::try_from(failures).expect("small"));
        stage.clock.advance(TimeDelta::seconds(longest));
    }
    until_all(&stage, "dead", 1).await;
    let dead = dead_jobs(&pool, RECEIVER, None).await.expect("listed");
    assert_eq!((dead.len(), dead[0].reason.as_str(), dead[0].attempts), (1, "the other side is away", 3));
    assert!(dead_jobs(&pool, RECEIVER, dead.last()).await.expect("listed").is_empty());

    well.store(1, Ordering::SeqCst);
    let runtime = stage.database.pool(RECEIVER);
    let mut connection = runtime.acquire().await.expect("a connection");
    assert!(redrive(&mut connection, RECEIVER, dead[0].id, stage.clock.now()).await.expect("redriven"));
    until_all(&stage, "done", 1).await;
    assert!(!redrive(&mut connection, RECEIVER, dead[0].id, stage.clock.now()).await.expect("asked"));
}

#[tokio::test(flavor = "multi_thread")]
async fn hopeless_jobs_die_at_once_and_are_redriven_by_kind() {
    let stage = stage().await;
    let attempts = Arc::new(AtomicU32::new(0));
    let counted = attempts.clone();
    let handler = Doing(move |job: &Job| {
        counted.fetch_add(1, Ordering::SeqCst);
        match (job.key.as_str(), job.attempts) {
            ("panics", 1) => std::panic::resume_unwind(Box::new("a fault in a handler")),
            (_, 1 | 2) => Outcome::Dead("malformed".to_owned()),
            _ => Outcome::Done,
        }
    });
    let mut settings = RunnerSettings::default();
    settings.patience.first = Duration::from_millis(10);
    let _runner = runner(&stage, "a", handler, settings);
    schedule_at(&stage, "hopeless", TimeDelta::zero()).await;
    schedule_at(&stage, "panics", TimeDelta::zero()).await;
    until_all(&stage, "dead", 2).await;
    let pool = stage.database.pool(RECEIVER);
    let mut connection = pool.acquire().await.expect("a connection");
    for expected in [2, 1] {
        let redriven = redrive_all(&mut connection, RECEIVER, KIND, stage.clock.now()).await.expect("redriven");
        assert_eq!(redriven, expected);
        until("all are settled", async || {
            !states(&pool).await.keys().any(|state| state == "due" || state == "running")
        })
        .await;
    }
    until_all(&stage, "done", 2).await;
    assert_eq!(attempts.load(Ordering::SeqCst), 3 + 3);
}

/// Waits for its turn, then finishes in a transaction of its own.
struct Finishing {
    pool: PgPool,
    entered: Arc<Notify>,
    go_on: Arc<Notify>,
    ended: Arc<Mutex<Vec<Result<(), String>>>>,
}

#[async_trait]
impl JobHandler for Finishing {
    async fn run(&self, job: &Job) -> Outcome {
        self.entered.notify_one();
        self.go_on.notified().await;
        let mut transaction = self.pool.begin().await.expect("the database answers");
        sqlx::query("INSERT INTO receiver.effect (event_id, subject, sequence) VALUES ($1, $1, 1)")
            .bind(job.id)
            .execute(&mut *transaction)
            .await
            .expect("written");
        let finished = job.finish(&mut transaction).await;
        let ended = match finished {
            Ok(()) => transaction.commit().await.map_err(|error| error.to_string()),
            Err(JobError::LeaseLost) => Err("lease lost".to_owned()),
            Err(JobError::Database(error)) => Err(error.to_string()),
        };
        self.ended.lock().expect("not poisoned").push(ended);
        Outcome::Done
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_that_lost_its_lease_finishes_nothing() {
    let stage = stage().await;
    let (entered, first_go, second_go) = (Arc::new(Notify::new()), Arc::new(Notify::new()), Arc::new(Notify::new()));
    let ended = Arc::new(Mutex::new(Vec::new()));
    let handler = |go_on: &Arc<Notify>| Finishing {
        pool: stage.database.pool(RECEIVER),
        entered: entered.clone(),
        go_on: go_on.clone(),
        ended: ended.clone(),
    };
    let settings = RunnerSettings { lease: Duration::from_secs(60), ..RunnerSettings::default() };
    let _stale = runner(&stage, "stale", handler(&first_go), RunnerSettings { concurrency: 1, ..settings.clone() });
    schedule_at(&stage, "one", TimeDelta::zero()).await;
    tokio::time::timeout(LIMIT, entered.notified()).await.expect("the first one runs");
    stage.execute("UPDATE receiver.job SET lease_until = clock_timestamp() - interval '1 s'").await;
    let _other = runner(&stage, "other", handler(&second_go), settings);
    tokio::time::timeout(LIMIT, entered.notified()).await.expect("the second one runs");
    first_go.notify_one();
    until("the first one ended", async || ended.lock().expect("not poisoned").len() == 1).await;
    assert_eq!(stage.effects().await.len(), 0);
    second_go.notify_one();
    until("the second one ended", async || ended.lock().expect("not poisoned").len() == 2).await;
    assert_eq!(*ended.lock().expect("not poisoned"), [Err("lease lost".to_owned()), Ok(())]);
    until_all(&stage, "done", 1).await;
    assert_eq!(stage.effects().await.len(), 1);
    assert_eq!(stage.count("SELECT fence FROM receiver.job").await, 2);
}

/// Never ends, but says when it has begun.
struct Hanging(Arc<Notify>);

#[async_trait]
impl JobHandler for Hanging {
    async fn run(&self, _: &Job) -> Outcome {
        self.0.notify_one();
        std::future::pending().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_a_killed_process_is_run_by_another() {
    let stage = stage().await;
    let entered = Arc::new(Notify::new());
    let settings = RunnerSettings { lease: Duration::from_secs(2), ..RunnerSettings::default() };
    let killed = runner(&stage, "killed", Hanging(entered.clone()), settings.clone());
    schedule_at(&stage, "one", TimeDelta::zero()).await;
    tokio::time::timeout(LIMIT, entered.notified()).await.expect("it runs");
    // While the process lives its lease is renewed, however long the job takes and wherever the city's clock is.
    stage.clock.advance(TimeDelta::days(1));
    let other = runner(&stage, "other", Doing(|_: &Job| Outcome::Done), settings);
    let renewed = async || {
        let pool = stage.database.admin_pool();
        sqlx::query_scalar::<_, chrono::DateTime<chrono::Utc>>("SELECT lease_until FROM receiver.job")
            .fetch_one(&pool)
            .await
            .expect("a query")
    };
    let before = renewed().await;
    until("the lease was renewed beyond its first length", async || {
        renewed().await > before + TimeDelta::milliseconds(2_100)
    })
    .await;
    assert_eq!(stage.count("SELECT attempts::bigint FROM receiver.job").await, 1);
    killed.kill().await;
    until_all(&stage, "done", 1).await;
    assert_eq!(stage.count("SELECT attempts::bigint FROM receiver.job").await, 2);
    assert_eq!(stage.count("SELECT failures::bigint FROM receiver.job").await, 1, "its runner vanished");
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_kills_its_runners_dies() {
    let stage = stage().await;
    let entered = Arc::new(Notify::new());
    let mut settings = RunnerSettings { lease: Duration::from_millis(300), ..RunnerSettings::default() };
    settings.patience.attempts = 2;
    schedule_at(&stage, "one", TimeDelta::zero()).await;
    for instance in ["a", "b"] {
        let killed = runner(&stage, instance, Hanging(entered.clone()), settings.clone());
        tokio::time::timeout(LIMIT, entered.notified()).await.expect("it runs");
        killed.kill().await;
    }
    let _last = runner(&stage, "c", Hanging(entered.clone()), settings);
    until_all(&stage, "dead", 1).await;
    let dead = dead_jobs(&stage.database.pool(RECEIVER), RECEIVER, None).await.expect("listed");
    assert_eq!(dead[0].reason, "its runners vanished while they ran it");
}

/// Never ends its first attempt.
struct Stuck;

#[async_trait]
impl JobHandler for Stuck {
    async fn run(&self, job: &Job) -> Outcome {
        if job.attempts == 1 { std::future::pending().await } else { Outcome::Done }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_never_ends_is_broken_off_and_made_again() {
    let stage = stage().await;
    let mut settings = RunnerSettings { longest: Duration::from_millis(50), ..RunnerSettings::default() };
    // The second attempt waits until the clock is moved, so that what became of the first can be read.
    settings.patience.first = Duration::from_secs(3_600);
    settings.patience.most = Duration::from_secs(3_600);
    schedule_at(&stage, "one", TimeDelta::zero()).await;
    let _runner = runner(&stage, "a", Stuck, settings);
    let pool = stage.database.admin_pool();
    until("it failed once", async || {
        let failed: Option<String> = sqlx::query_scalar("SELECT reason FROM receiver.job WHERE failures = 1")
            .fetch_optional(&pool)
            .await
            .expect("a query");
        failed.is_some_and(|reason| reason.contains("took longer"))
    })
    .await;
    stage.clock.advance(TimeDelta::hours(2));
    until_all(&stage, "done", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_lets_jobs_end_and_gives_back_the_rest() {
    let stage = stage().await;
    let (entered, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let ended = Arc::new(Mutex::new(Vec::new()));
    let finishing = Finishing {
        pool: stage.database.pool(RECEIVER),
        entered: entered.clone(),
        go_on: go_on.clone(),
        ended: ended.clone(),
    };
    let hung = Arc::new(Notify::new());
    let settings = RunnerSettings { drain: Duration::from_millis(700), ..RunnerSettings::default() };
    let context = stage.context(RECEIVER, "a");
    let task = Runner::new(&context, RECEIVER)
        .on("finishing", finishing)
        .on("hanging", Hanging(hung.clone()))
        .settings(settings)
        .into_task();
    let process = Process::start(context, task);
    let pool = stage.database.pool(RECEIVER);
    let mut connection = pool.acquire().await.expect("a connection");
    let now = stage.clock.now();
    for kind in ["finishing", "hanging"] {
        let job = NewJob::new(kind, "one", now).payload(json!({"n": 1}));
        schedule(&mut connection, RECEIVER, now, job).await.expect("scheduled");
    }
    tokio::time::timeout(LIMIT, async { tokio::join!(entered.notified(), hung.notified()) }).await.expect("both run");
    go_on.notify_one();
    process.stop().await;
    let rows: Vec<(String, String)> =
        sqlx::query_as("SELECT kind, state FROM receiver.job ORDER BY kind").fetch_all(&pool).await.expect("a query");
    assert_eq!(rows, [("finishing".to_owned(), "done".to_owned()), ("hanging".to_owned(), "due".to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn done_jobs_are_forgotten_after_a_while() {
    let stage = stage().await;
    let settings = RunnerSettings { keep_done: TimeDelta::days(7), ..RunnerSettings::default() };
    let first = runner(&stage, "a", Doing(|_: &Job| Outcome::Done), settings.clone());
    schedule_at(&stage, "one", TimeDelta::zero()).await;
    until_all(&stage, "done", 1).await;
    first.stop().await;
    stage.clock.advance(TimeDelta::days(8));
    let _again = runner(&stage, "a", Doing(|_: &Job| Outcome::Done), settings);
    let pool = stage.database.admin_pool();
    until("it is forgotten", async || states(&pool).await.is_empty()).await;
}

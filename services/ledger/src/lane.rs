//! The loop that turns what waits in the queue into batches.
//!
//! There is no timer: an idle engine posts a lone request at once, a busy one posts thousands together.
//! While one batch is written, the next is decided, request by request as they arrive, on the books as the one under way will leave them,
//! and sealed as soon as it is full, so that the server gets it the moment it is done with the one before;
//! when that one fails, what was decided on it is decided anew.
//!
//! The usual way is without a lock across round trips (see [`session`](crate::session)). After anything unusual a batch goes under the lock:
//! - the books have moved on (another replica posts as well): the next batches go under the lock too, since they would most likely be late again;
//! - a key has been answered before: the next batches read the past of their keys first;
//! - a passing failure: put again until its time is over. When the answer to COMMIT is lost, its keys tell what happened;
//! - a fault (a CHECK that fires, a rider that fails): isolated by halving the batch, so that the others are posted.

mod settle;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;
use std::time::Instant;

use platform::task::Shutdown;
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use crate::batch::{Making, Sealed};
use crate::engine::{Config, Job};
use crate::fold::{Effects, Entry, Verdict};
use crate::memory::{Memory, Past};
use crate::request::Outcome;
use crate::rider::Riders;
use crate::session::{Failure, Session, Wrote, write};

/// How often the engine lets callers run while they are still adding to the queue.
const MAX_YIELDS: u32 = 8;
/// How many batches go under the lock after the books have moved on.
const CONTENDED: u32 = 16;
/// How many batches read the past of their keys after a key was known.
const REPEATED: u32 = 16;
/// How many requests are decided before the batch under way is looked after.
const AT_ONCE: usize = 32;
/// The fewest requests that are worth a batch of their own while more wait.
const WORTHWHILE: usize = 64;

/// The one who posts to a shard in this process.
pub(crate) struct Lane<R, S> {
    jobs: mpsc::Receiver<Job<R>>,
    session: Session<S>,
    memory: Memory,
    next: Next<R>,
    config: Config,
    /// How many of the next batches go under the lock.
    contended: u32,
    /// How many of the next batches read the past of their keys.
    repeated: u32,
    /// How many requests the batch has that is being written.
    writing: usize,
    /// A batch that was written, whose callers are not answered yet.
    written: Option<(Vec<Job<R>>, Vec<Verdict>)>,
}

/// The batch in the making.
struct Next<R> {
    /// What was decided so far.
    making: Option<Making>,
    /// What was decided, once it takes no more.
    sealed: Option<Box<Sealed>>,
    /// The requests that were decided.
    decided: Vec<Job<R>>,
    /// Requests that name what the memory has not.
    waiting: Vec<Job<R>>,
    weight: usize,
}

impl<R> Next<R> {
    fn empty() -> Self {
        Self { making: None, sealed: None, decided: Vec::new(), waiting: Vec::new(), weight: 0 }
    }

    fn len(&self) -> usize {
        self.decided.len() + self.waiting.len()
    }

    /// Whether there is something to write at once.
    fn is_on_its_way(&self) -> bool {
        self.waiting.is_empty() && (self.making.is_some() || self.sealed.is_some())
    }

    /// The requests, whatever was decided of them.
    fn take(&mut self) -> Vec<Job<R>> {
        let Self { mut decided, waiting, .. } = std::mem::replace(self, Self::empty());
        decided.extend(waiting);
        decided
    }
}

impl<R: Send + Sync + 'static, S: Riders<R>> Lane<R, S> {
    pub(crate) fn new(jobs: mpsc::Receiver<Job<R>>, session: Session<S>, config: Config) -> Self {
        let (memory, next) = (Memory::default(), Next::empty());
        Self { jobs, session, memory, next, config, contended: 0, repeated: 0, writing: 0, written: None }
    }

    /// Posts until shutdown begins, then what is still queued, then ends.
    pub(crate) async fn run(mut self, shutdown: Shutdown) {
        loop {
            // Half of all requests are decided by now, and on their way before the others are answered.
            if !self.next.is_on_its_way() {
                self.answer_written();
            }
            if self.next.len() == 0 {
                let first = tokio::select! {
                    biased;
                    job = self.jobs.recv() => job,
                    () = shutdown.cancelled(), if !self.jobs.is_closed() => {
                        self.jobs.close();
                        continue;
                    }
                };
                let Some(first) = first else { break };
                self.admit(first);
            }
            self.gather().await;
            self.session.shared.meter.batch(self.next.len(), self.jobs.len());
            self.batch().await;
            if self.memory.is_over(self.config.remembered) {
                // What was decided of the next batch stands on what is forgotten now.
                self.memory.forget();
                self.begin_anew();
            }
        }
        self.session.close().await;
        info!("ledger engine stopped");
    }

    /// Takes what waits, and lets callers that were just answered add to it as long as they do.
    async fn gather(&mut self) {
        for turn in 0..MAX_YIELDS {
            let before = self.next.len();
            self.take_waiting(usize::MAX);
            if self.is_full() || (turn > 0 && self.next.len() == before) {
                break;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Takes up to `most` requests off the queue.
    fn take_waiting(&mut self, most: usize) {
        for _ in 0..most {
            if self.is_full() {
                break;
            }
            let Ok(job) = self.jobs.try_recv() else { break };
            self.admit(job);
        }
    }

    /// Whether the next batch takes no more: it is as large as may be, or has half of all requests under way,
    /// so that deciding one half and writing the other take turns.
    fn is_full(&self) -> bool {
        if self.next.sealed.is_some() {
            return true;
        }
        let under_way = self.writing + self.next.len() + self.jobs.len();
        let half = WORTHWHILE.max(under_way.div_ceil(2)).min(self.config.queue.max(1));
        self.next.weight >= self.config.batch || self.next.len() >= half
    }

    fn past(&self) -> Past {
        if self.repeated > 0 { Past::Read } else { Past::LeftToIndex }
    }

    /// Takes a request into the next batch: decides it at once if everything that it names is known.
    fn admit(&mut self, job: Job<R>) {
        self.next.weight += job.weight();
        if self.contended == 0 && self.memory.head.is_some() && self.memory.has(&job.entry(), self.past()) {
            self.decide(job);
        } else {
            self.next.waiting.push(job);
        }
    }

    /// Decides a request on the memory.
    fn decide(&mut self, job: Job<R>) {
        let Some(head) = self.memory.head else { return self.next.waiting.push(job) };
        let shared = &self.session.shared;
        let making = self.next.making.get_or_insert_with(|| shared.begin(head));
        let state = &mut self.memory.state;
        // A panic is a fault of this request alone; but what it left half done is not trusted.
        if catch_unwind(AssertUnwindSafe(|| making.decide(state, &job.entry()))).is_ok() {
            self.memory.decided(job.entry().key);
            self.next.decided.push(job);
        } else {
            // Under the lock it is told apart from the others, and from what its key was answered before.
            error!("deciding a request panicked");
            self.memory.forget();
            self.begin_anew();
            self.next.waiting.push(job);
            self.contended = self.contended.max(1);
        }
    }

    /// Forgets what was decided of the next batch; its requests wait to be decided again.
    fn begin_anew(&mut self) {
        let weight = self.next.weight;
        let waiting = self.next.take();
        self.next = Next { waiting, weight, ..Next::empty() };
    }

    /// Puts the next batch, deciding the one after it meanwhile.
    async fn batch(&mut self) {
        let (began, count) = (Instant::now(), self.next.len());
        let deadline = began + self.config.deadline();
        if self.contended > 0 {
            self.contended -= 1;
            let jobs = self.next.take();
            self.settle(jobs, Vec::new()).await;
        } else if let Err(failure) = self.complete(deadline).await {
            self.recover(failure, Vec::new()).await;
        } else {
            self.repeated = self.repeated.saturating_sub(1);
            let Next { making, sealed, decided, .. } = std::mem::replace(&mut self.next, Next::empty());
            match (sealed, making) {
                (Some(sealed), _) => self.write(decided, *sealed, deadline).await,
                (None, Some(making)) => self.seal_and_write(decided, making, deadline).await,
                (None, None) => {}
            }
        }
        self.session.shared.meter.settled(count, began.elapsed());
    }

    /// Reads what requests wait for, and decides them.
    async fn complete(&mut self, deadline: Instant) -> Result<(), Failure> {
        if self.next.waiting.is_empty() {
            return Ok(());
        }
        let past = self.past();
        let entries: Vec<Entry<'_>> = self.next.waiting.iter().map(Job::entry).collect();
        self.session.load(&mut self.memory, &entries, past, deadline).await?;
        for job in std::mem::take(&mut self.next.waiting) {
            self.decide(job);
        }
        // A panic has thrown everything away.
        if self.next.waiting.is_empty() { Ok(()) } else { Err(Failure::Moved) }
    }

    /// Seals the next batch if it takes no more and is one that is simply written.
    fn seal_full(&mut self) {
        if !self.is_full() || !self.next.waiting.is_empty() {
            return;
        }
        let plain = |making: &mut Making| {
            let effects = making.effects();
            !effects.is_empty() && !refuses_without_trace(&self.next.decided, effects)
        };
        let Some(making) = self.next.making.take_if(plain) else { return };
        match Sealed::new(&mut self.memory, &self.session.shared.kinds, making) {
            Ok(sealed) => self.next.sealed = Some(Box::new(sealed)),
            Err(bug) => {
                error!(error = %bug, "sealing a batch failed and it is decided anew");
                self.memory.forget();
                self.begin_anew();
                self.contended = self.contended.max(1);
            }
        }
    }

    /// Writes what was decided, unless there is nothing to write.
    async fn seal_and_write(&mut self, jobs: Vec<Job<R>>, making: Making, deadline: Instant) {
        if refuses_without_trace(&jobs, making.effects()) {
            // Nothing in the database would contradict such a refusal, were the memory old: it is decided under the lock.
            self.memory.forget();
            self.begin_anew();
            return self.settle(jobs, Vec::new()).await;
        }
        if making.effects().is_empty() {
            return self.reply(jobs, making.into_effects().verdicts);
        }
        match Sealed::new(&mut self.memory, &self.session.shared.kinds, making) {
            Ok(sealed) => self.write(jobs, sealed, deadline).await,
            Err(bug) => self.recover(bug.into(), jobs).await,
        }
    }

    /// Writes a batch, deciding further requests meanwhile.
    async fn write(&mut self, jobs: Vec<Job<R>>, sealed: Sealed, deadline: Instant) {
        let connection = match self.session.connection(deadline).await {
            Ok(connection) => connection,
            Err(failure) => return self.recover(failure, jobs).await,
        };
        self.writing = jobs.len();
        let mut writing = pin!(write(self.session.shared.clone(), connection, sealed, jobs, deadline));
        // On its way first; who waits for the batch before it is answered meanwhile.
        let mut wrote = futures::poll!(&mut writing);
        self.answer_written();
        self.memory.trim_keys();
        let Wrote { jobs, sealed, connection, result } = loop {
            if let Poll::Ready(wrote) = wrote {
                break wrote;
            }
            wrote = Poll::Pending;
            tokio::select! {
                biased;
                done = &mut writing => wrote = Poll::Ready(done),
                job = self.jobs.recv(), if !self.is_full() && !self.jobs.is_closed() => {
                    if let Some(job) = job {
                        self.admit(job);
                        self.take_waiting(AT_ONCE);
                        self.seal_full();
                    }
                }
            }
        };
        self.writing = 0;
        match result {
            Ok(()) => {
                connection.into_iter().for_each(|connection| self.session.keep(connection));
                self.memory.recorded(&sealed.kinds);
                self.session.shared.was_committed(&jobs, &sealed.effects);
                self.written = Some((jobs, sealed.effects.verdicts));
            }
            Err(Failure::Unknown(source)) => {
                warn!(error = %source, "the answer to a commit was lost");
                self.memory.forget();
                self.begin_anew();
                self.settle(jobs, vec![sealed.effects]).await;
            }
            Err(failure) => self.recover(failure, jobs).await,
        }
    }

    /// Goes on after a batch that was decided without the lock was certainly not written: `jobs`, or what waits if there are none.
    async fn recover(&mut self, failure: Failure, jobs: Vec<Job<R>>) {
        match failure {
            Failure::Moved => self.contended = CONTENDED,
            Failure::Known => self.repeated = REPEATED,
            Failure::Fault(source) => warn!(error = %source, "batch failed and is put under the lock"),
            Failure::Ahead(source) | Failure::Passing(source) | Failure::Unknown(source) => {
                warn!(error = %source, "batch is put again")
            }
        }
        self.memory.forget();
        let jobs = if jobs.is_empty() {
            self.next.take()
        } else {
            self.begin_anew();
            jobs
        };
        self.settle(jobs, Vec::new()).await;
    }
}

/// Whether a request is refused now of which no trace is left.
fn refuses_without_trace<R>(jobs: &[Job<R>], effects: &Effects) -> bool {
    let forgotten = |(job, verdict): (&Job<R>, &Verdict)| matches!(verdict, Verdict::Fresh(Outcome::Rejected(reject)) if !job.remembers(*reject));
    jobs.iter().zip(&effects.verdicts).any(forgotten)
}

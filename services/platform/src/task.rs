//! Background tasks of a role, and how a process stops.
//!
//! Shutdown has one order: readiness off → listeners drain → tasks finish → exit.
//! Invariant: a task that ends or panics before shutdown makes its role unready and is logged as an error.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{error, info};

/// Tells tasks and listeners that the process is stopping. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Shutdown(CancellationToken);

impl Shutdown {
    /// A shutdown that nobody has asked for yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks everything to stop.
    pub fn begin(&self) {
        self.0.cancel();
    }

    /// Whether stopping was asked for.
    pub fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Waits until stopping is asked for.
    pub async fn cancelled(&self) {
        self.0.cancelled().await;
    }

    /// The underlying token, for libraries that take one.
    pub fn token(&self) -> &CancellationToken {
        &self.0
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Run = Box<dyn FnOnce(Shutdown) -> Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>> + Send>;

/// A long-running part of a role: a relay, a consumer, a job runner.
pub struct Task {
    name: &'static str,
    run: Run,
}

impl std::fmt::Debug for Task {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Task").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Task {
    /// A task that runs until the given [`Shutdown`] begins and then ends by itself, within seconds.
    pub fn new<F, Fut>(name: &'static str, run: F) -> Self
    where
        F: FnOnce(Shutdown) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        Self { name, run: Box::new(move |shutdown| Box::pin(run(shutdown))) }
    }

    /// The task's name in logs.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Runs the task in the caller's own task, for tests and tools.
    ///
    /// # Errors
    /// What the task ended with.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), BoxError> {
        (self.run)(shutdown).await
    }
}

/// The running tasks of one role.
#[derive(Debug)]
pub struct Tasks {
    set: JoinSet<()>,
    healthy: Arc<AtomicBool>,
}

impl Tasks {
    /// Starts `tasks`.
    pub fn start(tasks: Vec<Task>, shutdown: &Shutdown) -> Self {
        let healthy = Arc::new(AtomicBool::new(true));
        let mut set = JoinSet::new();
        for task in tasks {
            let (shutdown, healthy) = (shutdown.clone(), healthy.clone());
            set.spawn(async move {
                let name = task.name;
                // In a task of its own, so that a panic is seen; it ends with the one that watches it.
                let ended = AbortOnDropHandle::new(tokio::spawn((task.run)(shutdown.clone()))).await;
                if shutdown.is_cancelled() {
                    return;
                }
                healthy.store(false, Ordering::SeqCst);
                match ended {
                    Ok(Ok(())) => error!(task = name, "task ended before shutdown"),
                    Ok(Err(source)) => error!(task = name, error = %source, "task failed"),
                    Err(source) => error!(task = name, error = %source, "task panicked"),
                }
            });
        }
        Self { set, healthy }
    }

    /// Whether every task is still running; readable after [`Tasks::finish`] took the tasks.
    pub fn health(&self) -> Arc<AtomicBool> {
        self.healthy.clone()
    }

    /// Waits at most `within` for every task to end, and ends those that have not; call after [`Shutdown::begin`].
    pub async fn finish(mut self, within: std::time::Duration) {
        let all = async { while self.set.join_next().await.is_some() {} };
        if tokio::time::timeout(within, all).await.is_err() {
            info!("tasks did not end in time and are dropped");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn a_task_that_ends_early_makes_the_role_unhealthy() {
        let shutdown = Shutdown::new();
        let tasks = Tasks::start(vec![Task::new("short", |_| async { Ok(()) })], &shutdown);
        let health = tasks.health();
        tokio::time::timeout(Duration::from_secs(10), async {
            while health.load(Ordering::SeqCst) {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("noticed");
    }

    #[tokio::test]
    async fn a_task_that_does_not_finish_in_time_is_ended() {
        let (held, mut freed) = tokio::sync::oneshot::channel::<()>();
        let (running, runs) = tokio::sync::oneshot::channel();
        let task = Task::new("deaf", |_| async move {
            running.send(()).ok();
            std::future::pending::<()>().await;
            drop(held);
            Ok(())
        });
        let shutdown = Shutdown::new();
        let tasks = Tasks::start(vec![task], &shutdown);
        runs.await.expect("it runs");
        shutdown.begin();
        tasks.finish(Duration::from_millis(1)).await;
        let ended = tokio::time::timeout(Duration::from_secs(10), &mut freed).await;
        assert!(ended.expect("what it held is freed").is_err(), "nothing was sent");
    }

    #[tokio::test]
    async fn tasks_finish_after_shutdown() {
        let shutdown = Shutdown::new();
        let task = Task::new("long", |shutdown| async move {
            shutdown.cancelled().await;
            Ok(())
        });
        let tasks = Tasks::start(vec![task], &shutdown);
        let health = tasks.health();
        shutdown.begin();
        tasks.finish(Duration::from_secs(10)).await;
        assert!(health.load(Ordering::SeqCst));
    }
}

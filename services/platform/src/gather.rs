//! Questions that come at the same moment are answered by one statement; what is to be written can be asked for so, too.
//!
//! One reader: while it reads, questions gather, and the next statement answers all of them. Somebody who asks alone waits for nobody.
//! What is answered was read after it was asked for; nothing is remembered.

use std::future::Future;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::db;
use crate::task::Task;

/// Questions that wait, at most; who comes then waits for a place.
const QUEUE: usize = 4_096;
/// Questions of one statement, at most, where nothing speaks against so many.
pub const BATCH: usize = 512;
/// The longest wait for an answer: a statement that takes longer is ended by the server, if the server is still there.
const PATIENCE: Duration = Duration::from_secs(20);

/// The way to the reader. Cheap to clone.
#[derive(Debug)]
pub struct Gather<Q, A>(mpsc::Sender<Asked<Q, A>>);

impl<Q, A> Clone for Gather<Q, A> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// A question, and where its answer goes.
#[derive(Debug)]
struct Asked<Q, A> {
    question: Q,
    answer: oneshot::Sender<Result<A, sqlx::Error>>,
}

impl<Q: Send + 'static, A: Send + 'static> Gather<Q, A> {
    /// The reader as a task, and the way to it. `read` gives one answer for each of at most `batch` questions, in their order.
    pub fn start<F, Read>(name: &'static str, batch: usize, read: F) -> (Self, Task)
    where
        F: Fn(Vec<Q>) -> Read + Send + Sync + 'static,
        Read: Future<Output = Result<Vec<A>, sqlx::Error>> + Send,
    {
        let (sender, mut questions) = mpsc::channel(QUEUE);
        let task = Task::new(name, move |shutdown| async move {
            let mut asked = Vec::new();
            loop {
                tokio::select! {
                    count = questions.recv_many(&mut asked, batch) => if count == 0 { break },
                    () = shutdown.cancelled() => break,
                }
                answer(&read, &mut asked).await;
            }
            Ok(())
        });
        (Self(sender), task)
    }

    /// The answer to a question.
    ///
    /// # Errors
    /// What the database answered; that the pool is closed while the process ends.
    pub async fn ask(&self, question: Q) -> Result<A, sqlx::Error> {
        let (answer, answered) = oneshot::channel();
        self.0.send(Asked { question, answer }).await.map_err(|_| sqlx::Error::PoolClosed)?;
        answered.await.unwrap_or(Err(sqlx::Error::PoolClosed))
    }
}

/// Answers all of `asked` and leaves it empty.
async fn answer<Q, A, F, Read>(read: &F, asked: &mut Vec<Asked<Q, A>>)
where
    F: Fn(Vec<Q>) -> Read,
    Read: Future<Output = Result<Vec<A>, sqlx::Error>>,
{
    // Whoever went away in the meantime is not read for.
    let waiting = asked.drain(..).filter(|asked| !asked.answer.is_closed());
    let (questions, askers): (Vec<_>, Vec<_>) = waiting.map(|asked| (asked.question, asked.answer)).unzip();
    if askers.is_empty() {
        return;
    }
    match timeout(PATIENCE, read(questions)).await.unwrap_or(Err(sqlx::Error::PoolTimedOut)) {
        Ok(answers) if answers.len() == askers.len() => {
            for (asker, answer) in askers.into_iter().zip(answers) {
                asker.send(Ok(answer)).ok();
            }
        }
        Ok(_) => refuse(askers, &sqlx::Error::RowNotFound),
        Err(error) => refuse(askers, &error),
    }
}

fn refuse<A>(askers: Vec<oneshot::Sender<Result<A, sqlx::Error>>>, error: &sqlx::Error) {
    for asker in askers {
        asker.send(Err(same_for_another(error))).ok();
    }
}

/// An error for each who waited for one statement: it passes for them if it passes at all.
fn same_for_another(error: &sqlx::Error) -> sqlx::Error {
    match error {
        passing if db::is_passing(passing) => sqlx::Error::Io(std::io::Error::other(passing.to_string())),
        other => sqlx::Error::Protocol(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};

    use futures::future::join_all;

    use super::*;
    use crate::task::Shutdown;

    type Sizes = Arc<Mutex<Vec<usize>>>;

    /// Doubles numbers, slowly, and writes down how many came together.
    fn doubling(sizes: &Sizes) -> (Gather<u32, u32>, Task) {
        let sizes = sizes.clone();
        Gather::start("doubling", BATCH, move |numbers: Vec<u32>| {
            sizes.lock().expect("no panic").push(numbers.len());
            async move {
                tokio::time::sleep(Duration::from_millis(10)).await;
                match numbers.contains(&13) {
                    true => Err(sqlx::Error::PoolTimedOut),
                    false => Ok(numbers.into_iter().map(|number| number * 2).collect()),
                }
            }
        })
    }

    #[tokio::test]
    async fn questions_that_come_while_the_reader_reads_are_answered_together() {
        let sizes = Sizes::default();
        let (gather, task) = doubling(&sizes);
        let shutdown = Shutdown::new();
        let running = tokio::spawn(task.run(shutdown.clone()));
        let answers = join_all((100..1_000).map(|number| gather.ask(number))).await;
        let doubled: Vec<u32> = answers.into_iter().map(|answer| answer.expect("an answer")).collect();
        assert_eq!(doubled, (100..1_000).map(|number| number * 2).collect::<Vec<_>>(), "everybody gets their own");
        let sizes = sizes.lock().expect("no panic").clone();
        assert_eq!(sizes.iter().sum::<usize>(), 900);
        assert!(sizes.len() <= 4 && sizes.iter().all(|size| *size <= BATCH), "{sizes:?}");

        shutdown.begin();
        running.await.expect("no panic").expect("a clean end");
        let late = gather.ask(1).await.expect_err("nobody reads any more");
        assert!(db::is_passing(&late));
    }

    #[tokio::test]
    async fn what_fails_fails_for_all_who_waited_for_it_and_for_nobody_else() {
        let (gather, task) = doubling(&Sizes::default());
        let running = tokio::spawn(task.run(Shutdown::new()));
        let refused = join_all([12, 13].map(|number| gather.ask(number))).await;
        for answer in refused {
            assert!(db::is_passing(&answer.expect_err("the database is away")), "whoever asks may come again");
        }
        assert_eq!(gather.ask(14).await.expect("an answer"), 28);
        running.abort();
    }

    #[tokio::test]
    async fn whoever_went_away_is_not_read_for() {
        let read = Arc::new(AtomicUsize::new(0));
        let counted = read.clone();
        let (gather, task) = Gather::start("counting", BATCH, move |questions: Vec<()>| {
            counted.fetch_add(questions.len(), Ordering::SeqCst);
            async move { Ok(questions) }
        });
        let gone = timeout(Duration::ZERO, gather.ask(())).await;
        assert!(gone.is_err(), "nobody reads yet");
        let running = tokio::spawn(task.run(Shutdown::new()));
        gather.ask(()).await.expect("an answer");
        assert_eq!(read.load(Ordering::SeqCst), 1);
        running.abort();
    }
}

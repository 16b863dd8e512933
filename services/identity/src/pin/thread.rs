//! Threads of their own for hashes, which give way to every other thread of the process.
//!
//! A hash keeps a core busy for tens of milliseconds. With the rights of all others a rush of PINs takes its time from token checks,
//! so these threads lower their own scheduling priority; what they lose is time, and only while others want the cores. The lowest there is
//! (19) starves them on a busy machine: with two other threads to each core, a hash that takes 25 ms alone took 3 s.
//! Each keeps the memory of its hashes and uses it again: given back to the allocator, each thread's share of it would keep some,
//! and a rush of PINs would leave the process with many times what it may hold.
//!
//! Lock: the queue's, held while a thread waits for work and never while it computes.
//! Invariants: work that panics ends neither its thread nor anybody else's work; the threads end when nobody can give them work any
//! more, each after what it was given. Nobody waits for that: they hold nothing that must be written or closed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::{io, thread};

use argon2::Block;
use tokio::sync::oneshot;
use tracing::error;

/// The lowest priority that a thread can have, as a niceness.
pub(crate) const NICEST: u8 = 19;

/// The memory of hashes; empty until the first.
pub(super) type Memory = Vec<Block>;
type Work = Box<dyn FnOnce(&mut Memory) + Send>;

/// Some threads, and the way to give them work. Cheap to clone.
#[derive(Clone)]
pub(super) struct Threads(mpsc::Sender<Work>);

impl Threads {
    /// Starts as many, each of a niceness of at most [`NICEST`].
    ///
    /// # Errors
    /// When the system gives no more threads.
    pub(super) fn start(count: usize, niceness: u8) -> io::Result<Self> {
        let (give, queue) = mpsc::channel();
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..count {
            let queue = queue.clone();
            thread::Builder::new().name("pin-hash".to_owned()).spawn(move || {
                give_way(niceness);
                work_off(&queue);
            })?;
        }
        Ok(Self(give))
    }

    /// Has work done, also when nobody waits for it any more; `None` when it panicked.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Memory) -> T + Send + 'static,
    ) -> Option<T> {
        let (tell, told) = oneshot::channel();
        let work: Work = Box::new(move |memory| {
            // Whoever asked may have gone.
            let _ = tell.send(work(memory));
        });
        self.0.send(work).ok()?;
        told.await.ok()
    }
}

/// Does what comes until nothing can come any more.
fn work_off(queue: &Mutex<mpsc::Receiver<Work>>) {
    let mut memory = Memory::new();
    loop {
        // The lock is given back with the statement's end.
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(work) = next else { return };
        // Its words are on the panic hook's record; the memory is written anew by the next hash.
        if catch_unwind(AssertUnwindSafe(|| work(&mut memory))).is_err() {
            error!("a hash panicked");
        }
    }
}

/// Lowers the priority of this thread.
#[cfg(target_os = "linux")]
fn give_way(niceness: u8) {
    // Of this thread alone: so Linux reads "this process" (setpriority(2)).
    if let Err(error) = rustix::process::setpriority_process(None, niceness.into()) {
        tracing::warn!(%error, "the threads of hashes keep the priority of all others");
    }
}

/// Other systems lower the priority of whole processes only: all threads stay equal.
#[cfg(not(target_os = "linux"))]
fn give_way(_: u8) {}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::time::Duration;

    use super::*;

    /// Longer than any machine takes.
    const PATIENCE: Duration = Duration::from_secs(40);

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn they_alone_give_way() {
        let own = || rustix::process::getpriority_process(None).expect("a thread has a priority");
        let before = own();
        let threads = Threads::start(2, NICEST).expect("threads");
        assert_eq!(threads.run(move |_| own()).await, Some(i32::from(NICEST)));
        assert_eq!(own(), before);
        let beside = thread::spawn(own).join().expect("no panic");
        assert_eq!(beside, before, "nor does a thread that is started later");
    }

    #[tokio::test]
    async fn work_that_panics_takes_no_thread_with_it() {
        let threads = Threads::start(1, 0).expect("threads");
        for _ in 0..3 {
            assert_eq!(threads.run(|_| -> u8 { std::panic::resume_unwind(Box::new("on purpose")) }).await, None);
        }
        assert_eq!(threads.run(|_| 7).await, Some(7));
    }

    #[tokio::test]
    async fn memory_stays_with_its_thread() {
        let threads = Threads::start(1, 0).expect("threads");
        threads.run(|memory| memory.resize(3, Block::default())).await.expect("done");
        assert_eq!(threads.run(|memory| memory.len()).await, Some(3));
    }

    #[tokio::test]
    async fn they_end_with_the_last_who_could_give_them_work_and_finish_what_they_have() {
        thread_local! {
            /// Dropped when its thread ends.
            static ALIVE: RefCell<Option<mpsc::Sender<&'static str>>> = const { RefCell::new(None) };
        }
        let threads = Threads::start(1, 0).expect("threads");
        let (alive, ends) = mpsc::channel();
        let (release, held) = mpsc::channel::<()>();
        threads.run(move |_| ALIVE.with(|slot| *slot.borrow_mut() = Some(alive))).await.expect("done");
        let last: Work = Box::new(move |_| {
            held.recv_timeout(PATIENCE).expect("released");
            ALIVE.with(|slot| slot.borrow().as_ref().map(|alive| alive.send("finished")));
        });
        threads.0.send(last).expect("the thread lives");
        drop(threads);
        release.send(()).expect("the work waits for it");
        assert_eq!(ends.recv_timeout(PATIENCE), Ok("finished"));
        assert_eq!(ends.recv_timeout(PATIENCE), Err(mpsc::RecvTimeoutError::Disconnected), "its thread is over");
    }
}

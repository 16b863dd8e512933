//! More than the database can take: some are told to come again, what was accepted is answered, and nobody waits for more batches than the queue is deep.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use ledger::{Config, NoRiders, Outcome, PostError, Request};
use platform::db::Schema;

use crate::proxy::{Fault, Proxy};
use crate::support::*;

/// Places in the queue, and requests in a batch: the queue is one batch deep.
const QUEUE: usize = 16;
/// Callers at once; were they all let in, the last would wait for 40 batches.
const CALLERS: usize = 640;
/// Attempts of each.
const ATTEMPTS: usize = 6;
/// Batches that an accepted request may take: the one being written, the one being decided, those in the queue, its own,
/// and as many again because those who were answered tell it a little later.
const MOST_BATCHES: i64 = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_tells_callers_when_to_come_again_and_keeps_the_rest_fast() {
    let world = World::new().await;
    let url = world.database.url(Schema::new("wallet"));
    let proxy = Proxy::start(&url).await;
    let config = Config { queue: QUEUE, batch: QUEUE, ..Config::default() };
    let replica: Replica<()> = Replica::start(proxy.pool(&url), &world.clock, config, NoRiders);
    let (_, customers) = open(&replica.ledger, &[1_000_000, 0]).await;
    proxy.set(Fault::Slow);
    let one = |name: String| Request::new(key(&name)).transfer(posting(customers[0], customers[1], 1));
    let mut alone = Vec::new();
    for number in 0..9 {
        let began = Instant::now();
        posted(replica.ledger.post(one(format!("alone/{number}"))).await);
        alone.push(began.elapsed());
    }
    alone.sort();
    let batch = alone[alone.len() / 2];
    assert!(batch > Duration::from_millis(8), "the database is slow: {batch:?}");

    let answered = Arc::new(AtomicI64::new(0));
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..CALLERS {
        let (ledger, requests) =
            (replica.ledger.clone(), (0..ATTEMPTS).map(|n| one(format!("{caller}/{n}"))).collect::<Vec<_>>());
        let answered = answered.clone();
        callers.spawn(async move {
            let (mut accepted, mut made, mut refused) = (Vec::new(), 0_usize, 0_usize);
            for request in requests {
                let before = answered.load(Ordering::SeqCst);
                match ledger.post(request).await {
                    Ok(Outcome::Posted(posted)) => {
                        answered.fetch_max(posted[0].block, Ordering::SeqCst);
                        // The first to be answered have nobody before them.
                        accepted.extend((before > 0).then(|| posted[0].block - before));
                        made += 1;
                    }
                    Err(PostError::QueueFull { retry_after }) => {
                        assert!(retry_after >= Duration::from_secs(1), "{retry_after:?}");
                        refused += 1;
                        // Sooner than it was told to.
                        tokio::time::sleep(batch).await;
                    }
                    other => panic!("{other:?}"),
                }
            }
            (accepted, made, refused)
        });
    }
    let (mut batches, mut made, mut refused) = (Vec::new(), 0, 0);
    for (accepted, posted, full) in callers.join_all().await {
        batches.extend(accepted);
        made += posted;
        refused += full;
    }
    batches.sort_unstable();
    assert!(refused > CALLERS, "{refused} of {} were refused", CALLERS * ATTEMPTS);
    assert!(made >= 2 * QUEUE, "{made} were accepted");
    assert_eq!(made + refused, CALLERS * ATTEMPTS, "each got an answer");
    let p99 = batches[batches.len() * 99 / 100];
    assert!(p99 <= MOST_BATCHES, "one in a hundred waited for {p99} batches");
    assert_eq!(sample(&replica.metrics, "posting_queue_full_total", &[]), refused as u64);
    proxy.set(Fault::None);
    let accepted = i64::try_from(made).expect("few");
    assert_eq!(balance(&replica.ledger, customers[1]).await, accepted + 9, "what was refused did not happen");
    assert_eq!(assert_sound(&world.pool()).await, accepted + 10);
    // A refusal is not remembered: the same key is posted now.
    posted(replica.ledger.post(one(format!("{}/0", CALLERS - 1))).await);
    replica.stop().await;
}

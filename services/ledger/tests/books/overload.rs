//! More than the database can take: some are told to come again, what was accepted is answered, and nobody waits longer than the queue is deep.

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
/// Batches that an accepted request may take: the one under way, those in the queue, its own, and as many again for a machine with other things to do.
const MOST_BATCHES: u32 = 8;

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

    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..CALLERS {
        let (ledger, requests) =
            (replica.ledger.clone(), (0..ATTEMPTS).map(|n| one(format!("{caller}/{n}"))).collect::<Vec<_>>());
        callers.spawn(async move {
            let (mut accepted, mut refused) = (Vec::new(), 0_usize);
            for request in requests {
                let began = Instant::now();
                match ledger.post(request).await {
                    Ok(Outcome::Posted(_)) => accepted.push(began.elapsed()),
                    Err(PostError::QueueFull { retry_after }) => {
                        assert!(retry_after >= Duration::from_secs(1), "{retry_after:?}");
                        assert!(began.elapsed() < batch, "a refusal does not wait");
                        refused += 1;
                        // Sooner than it was told to.
                        tokio::time::sleep(batch).await;
                    }
                    other => panic!("{other:?}"),
                }
            }
            (accepted, refused)
        });
    }
    let (mut waits, mut refused) = (Vec::new(), 0);
    for (accepted, full) in callers.join_all().await {
        waits.extend(accepted);
        refused += full;
    }
    waits.sort();
    assert!(refused > CALLERS, "{refused} of {} were refused", CALLERS * ATTEMPTS);
    assert!(waits.len() >= 2 * QUEUE, "{} were accepted", waits.len());
    assert_eq!(waits.len() + refused, CALLERS * ATTEMPTS, "each got an answer");
    let p99 = waits[waits.len() * 99 / 100];
    assert!(p99 <= batch * MOST_BATCHES, "p99 of accepted requests {p99:?}, a batch alone {batch:?}");
    assert_eq!(sample(&replica.metrics, "posting_queue_full_total", &[]), refused as u64);
    proxy.set(Fault::None);
    let accepted = i64::try_from(waits.len()).expect("few");
    assert_eq!(balance(&replica.ledger, customers[1]).await, accepted + 9, "what was refused did not happen");
    assert_eq!(assert_sound(&world.pool()).await, accepted + 10);
    // A refusal is not remembered: the same key is posted now.
    posted(replica.ledger.post(one(format!("{}/0", CALLERS - 1))).await);
    replica.stop().await;
}

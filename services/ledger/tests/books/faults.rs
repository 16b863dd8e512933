//! Faults of the program: a CHECK that fires, a rider that fails. The request at fault stands alone; its neighbours are posted.

use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use ledger::{Config, Money, PostError, Refusal, Request, Ride, RiderError, Riders};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::support::*;

/// Writes a row for each granted and each refused request; fails for one reference.
struct Notes;

static HANDED_OVER: AtomicU64 = AtomicU64::new(0);

#[derive(Clone, Debug)]
struct Note {
    text: &'static str,
}

#[async_trait]
impl Riders<Note> for Notes {
    async fn apply(&self, tx: &mut PgConnection, riders: &[Ride<'_, Note>]) -> Result<(), RiderError> {
        let ids: Vec<Uuid> = riders.iter().map(|ride| ride.posted[0].transfer.uuid()).collect();
        let texts: Vec<String> = riders.iter().map(|ride| ride.rider.text.to_owned()).collect();
        write(tx, &ids, &texts).await?;
        HANDED_OVER.fetch_add(riders.len() as u64, Ordering::SeqCst);
        Ok(())
    }

    async fn refused(&self, tx: &mut PgConnection, riders: &[Refusal<'_, Note>]) -> Result<(), RiderError> {
        let ids: Vec<Uuid> = riders.iter().map(|refusal| refusal.reject.subject()).collect();
        let texts: Vec<String> = riders.iter().map(|refusal| refusal.reject.code().to_owned()).collect();
        Ok(write(tx, &ids, &texts).await?)
    }
}

async fn write(tx: &mut PgConnection, ids: &[Uuid], texts: &[String]) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO public.note (id, text) SELECT * FROM UNNEST($1::uuid[], $2::text[])")
        .bind(ids)
        .bind(texts)
        .execute(tx)
        .await
        .map(|_| ())
}

#[tokio::test]
async fn riders_are_written_with_their_transfers_and_a_failing_one_stands_alone() {
    let world = World::new().await;
    let admin = world.database.admin_pool();
    let table =
        "CREATE TABLE public.note (id uuid NOT NULL, text text NOT NULL CONSTRAINT note_not_bad CHECK (text <> 'bad'));
                 GRANT INSERT ON public.note TO trangtien_wallet";
    sqlx::raw_sql(table).execute(&admin).await.expect("made");
    let replica = Replica::start(world.pool(), &world.clock, Config::default(), Notes);
    let (_, customers) = open(&replica.ledger, &[1_000, 0]).await;
    let asks = (0..40).map(|number| {
        let text = if number == 17 { "bad" } else { "good" };
        let dong = if number == 5 { 5_000 } else { 1 };
        let request =
            Request::new(fresh_key()).transfer(posting(customers[0], customers[1], dong)).rider(Note { text });
        let ledger = replica.ledger.clone();
        async move { ledger.post(request).await }
    });
    let answers = futures::future::join_all(asks).await;
    for (number, answer) in answers.into_iter().enumerate() {
        match (number, answer) {
            (17, Err(PostError::Fault(_))) => {}
            (5, answer) => assert_eq!(rejected(answer).code(), "insufficient-funds"),
            (_, answer) => assert_eq!(posted(answer).len(), 1),
        }
    }
    let notes: Vec<(String, i64)> =
        sqlx::query_as("SELECT text, COUNT(*) FROM public.note GROUP BY text ORDER BY text")
            .fetch_all(&admin)
            .await
            .expect("read");
    assert_eq!(notes, [("good".to_owned(), 38), ("insufficient-funds".to_owned(), 1)]);
    let unsealed: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM public.note AS n LEFT JOIN ledger.transfer AS t ON t.id = n.id WHERE n.text = 'good' AND t.id IS NULL",
    )
    .fetch_one(&admin)
    .await
    .expect("read");
    assert_eq!(unsealed, 0, "no note without its transfer");
    assert!(HANDED_OVER.load(Ordering::SeqCst) >= 38);
    assert_eq!(balance(&replica.ledger, customers[1]).await, 38);
    assert_eq!(sample(&replica.metrics, "posting_faults_total", &[]), 1);
    assert_sound(&world.pool()).await;
    replica.stop().await;
}

#[tokio::test]
async fn a_replay_hands_over_no_rider() {
    let world = World::new().await;
    let admin = world.database.admin_pool();
    let table = "CREATE TABLE public.note (id uuid NOT NULL, text text NOT NULL); GRANT INSERT ON public.note TO trangtien_wallet";
    sqlx::raw_sql(table).execute(&admin).await.expect("made");
    let replica = Replica::start(world.pool(), &world.clock, Config::default(), Notes);
    let (_, customers) = open(&replica.ledger, &[1_000, 0]).await;
    let request =
        Request::new(key("one")).transfer(posting(customers[0], customers[1], 5)).rider(Note { text: "once" });
    let asks = (0..10).map(|_| replica.ledger.post(request.clone()));
    futures::future::join_all(asks).await.into_iter().for_each(|answer| drop(posted(answer)));
    posted(replica.ledger.post(request).await);
    assert_eq!(crate::posting::scalar(&admin, "SELECT COUNT(*) FROM public.note").await, 1);
    replica.stop().await;
}

#[tokio::test]
async fn a_check_that_fires_is_isolated() {
    let world = World::new().await;
    let admin = world.database.admin_pool();
    // A bug that the fold does not see: the database refuses one amount.
    let check = "ALTER TABLE ledger.transfer ADD CONSTRAINT transfer_not_13 CHECK (amount <> 13)";
    sqlx::raw_sql(check).execute(&admin).await.expect("added");
    let replica = world.engine();
    let (_, customers) = open(&replica.ledger, &[1_000, 0]).await;
    let asks = (0..30).map(|number| {
        let dong = if number == 11 { 13 } else { 2 };
        replica.ledger.post(Request::new(key(&number.to_string())).transfer(posting(customers[0], customers[1], dong)))
    });
    let answers = futures::future::join_all(asks).await;
    for (number, answer) in answers.into_iter().enumerate() {
        match answer {
            Err(PostError::Fault(source)) if number == 11 => assert!(source.to_string().contains("transfer_not_13")),
            answer => assert_eq!(posted(answer).len(), 1),
        }
    }
    assert_eq!(balance(&replica.ledger, customers[1]).await, 58);
    // A fault is not remembered: once it is mended the same request is posted.
    sqlx::raw_sql("ALTER TABLE ledger.transfer DROP CONSTRAINT transfer_not_13").execute(&admin).await.expect("mended");
    posted(replica.ledger.post(Request::new(key("11")).transfer(posting(customers[0], customers[1], 13))).await);
    assert_sound(&world.pool()).await;
    replica.stop().await;
}

#[tokio::test]
async fn the_database_checks_floors_by_itself() {
    let world = World::new().await;
    let replica = world.engine();
    let (_, customers) = open(&replica.ledger, &[100]).await;
    let below = sqlx::query("UPDATE ledger.account SET posted = -1 WHERE id = $1")
        .bind(customers[0].uuid())
        .execute(&world.pool())
        .await
        .expect_err("refused");
    assert_eq!(platform::db::violated(&below), Some("account_floor"));
    assert_eq!(replica.ledger.balance(customers[0]).await.expect("read").expect("there").posted, Money::vnd(100));
    replica.stop().await;
}

//! How far citizens are trusted in the sessions that they ask from: read in one statement for all who ask at the same moment.
//!
//! One reader: while it reads, questions gather, and the next statement answers all of them. Somebody who asks alone waits for nobody.
//! What is answered was read after it was asked for; nothing is remembered.

use platform::db;
use platform::task::Task;
use sqlx::{PgConnection, PgPool};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::citizen;
use crate::limit::Standing;

/// Questions that wait, at most; who comes then waits for a place.
const QUEUE: usize = 4_096;
/// Questions of one statement, at most.
const BATCH: usize = 512;

/// The way to the reader. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Standings(mpsc::Sender<Question>);

/// Who asks, and where the answer goes.
#[derive(Debug)]
struct Question {
    user: Uuid,
    session: Uuid,
    answer: oneshot::Sender<Result<Standing, sqlx::Error>>,
}

impl Standings {
    /// The reader as a task, and the way to it.
    pub(crate) fn start(pool: PgPool) -> (Self, Task) {
        let (sender, mut questions) = mpsc::channel(QUEUE);
        let task = Task::new("standings", |shutdown| async move {
            let mut asked = Vec::with_capacity(BATCH);
            loop {
                tokio::select! {
                    count = questions.recv_many(&mut asked, BATCH) => if count == 0 { break },
                    () = shutdown.cancelled() => break,
                }
                answer(&pool, &mut asked).await;
            }
            Ok(())
        });
        (Self(sender), task)
    }

    /// How far a citizen is trusted in a session.
    ///
    /// # Errors
    /// What the database answered; that the pool is closed while the process ends.
    pub(crate) async fn of(&self, user: Uuid, session: Uuid) -> Result<Standing, sqlx::Error> {
        let (answer, answered) = oneshot::channel();
        self.0.send(Question { user, session, answer }).await.map_err(|_| sqlx::Error::PoolClosed)?;
        answered.await.unwrap_or(Err(sqlx::Error::PoolClosed))
    }
}

/// Answers all of `asked` and leaves it empty.
async fn answer(pool: &PgPool, asked: &mut Vec<Question>) {
    // Whoever went away in the meantime is not read for.
    asked.retain(|question| !question.answer.is_closed());
    match read(pool, asked).await {
        Ok(standings) => {
            for (question, standing) in asked.drain(..).zip(standings) {
                question.answer.send(Ok(standing)).ok();
            }
        }
        Err(error) => {
            for question in asked.drain(..) {
                question.answer.send(Err(same_for_another(&error))).ok();
            }
        }
    }
}

async fn read(pool: &PgPool, asked: &[Question]) -> Result<Vec<Standing>, sqlx::Error> {
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    let (users, sessions): (Vec<_>, Vec<_>) = asked.iter().map(|question| (question.user, question.session)).unzip();
    let mut connection: sqlx::pool::PoolConnection<_> = pool.acquire().await?;
    let connection: &mut PgConnection = &mut connection;
    let standings = citizen::standings(connection, &users, &sessions).await?;
    if standings.len() != asked.len() {
        return Err(sqlx::Error::RowNotFound);
    }
    Ok(standings)
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
    use chrono::{DateTime, TimeDelta, Utc};
    use futures::future::join_all;
    use platform::db::PlatformTables;
    use platform::embedded::scratch;
    use platform::task::Shutdown;

    use super::*;
    use crate::{MIGRATOR, SCHEMA};

    struct Person {
        user: Uuid,
        session: Uuid,
        tier: Option<u8>,
        bound_at: Option<DateTime<Utc>>,
    }

    #[tokio::test]
    async fn everybody_gets_their_own_however_many_ask_at_once() {
        let parts = [
            (ledger::SCHEMA, &ledger::MIGRATOR, PlatformTables::NotWanted),
            (SCHEMA, &MIGRATOR, PlatformTables::Wanted),
        ];
        let database = scratch::database(&parts).await.expect("PostgreSQL is installed");
        let pool = database.pool(SCHEMA);
        let bound: DateTime<Utc> = "2026-01-10T05:00:00Z".parse().expect("a time");
        let people: Vec<Person> = (0_i64..900)
            .map(|number| {
                let tier = (number % 4 != 3).then(|| u8::try_from(number % 3).expect("a tier"));
                let bound_at = (number % 5 != 0).then(|| bound + TimeDelta::seconds(number));
                Person { user: Uuid::now_v7(), session: Uuid::now_v7(), tier, bound_at }
            })
            .collect();
        for Person { user, session, tier, bound_at } in people.iter().filter(|person| person.bound_at.is_some()) {
            sqlx::query("INSERT INTO wallet.device VALUES ($1, $2, $3, $4, $4)")
                .bind(user)
                .bind(Uuid::now_v7())
                .bind(session)
                .bind(bound_at)
                .execute(&pool)
                .await
                .expect("stored");
            if let Some(tier) = tier {
                sqlx::query("INSERT INTO wallet.citizen VALUES ($1, $2, $3)")
                    .bind(user)
                    .bind(i16::from(*tier))
                    .bind(bound)
                    .execute(&pool)
                    .await
                    .expect("stored");
            }
        }
        let (standings, task) = Standings::start(pool.clone());
        let shutdown = Shutdown::new();
        let running = tokio::spawn(task.run(shutdown.clone()));
        let asking = people.iter().map(|person| standings.of(person.user, person.session));
        let answers = join_all(asking).await;
        for (Person { user, tier, bound_at, .. }, answer) in people.iter().zip(answers) {
            let known = if bound_at.is_some() { tier.unwrap_or(0) } else { 0 };
            let expected = Standing { tier: known, bound_at: *bound_at, proved: None };
            assert_eq!(answer.expect("an answer"), expected, "{user}");
        }
        let user = people[1].user;
        let other_session = standings.of(user, Uuid::now_v7()).await.expect("an answer");
        assert_eq!(other_session.bound_at, None, "a session that is not known is one on a new device");

        pool.close().await;
        let refused = join_all((0..3).map(|_| standings.of(user, Uuid::nil()))).await;
        for answer in refused {
            assert!(db::is_passing(&answer.expect_err("the database is away")), "whoever asks may come again");
        }
        shutdown.begin();
        running.await.expect("no panic").expect("a clean end");
        let late = standings.of(user, Uuid::nil()).await.expect_err("nobody reads any more");
        assert!(db::is_passing(&late));
    }
}

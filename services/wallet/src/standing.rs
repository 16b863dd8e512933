//! How far citizens are trusted in the sessions that they ask from: read in one statement for all who ask at the same moment.

use platform::db;
use platform::gather::{BATCH, Gather};
use platform::task::Task;
use sqlx::PgPool;
use uuid::Uuid;

use crate::citizen;
use crate::limit::Standing;

/// The way to the reader: asked for a citizen in a session.
pub(crate) type Standings = Gather<(Uuid, Uuid), Standing>;

/// The reader as a task, and the way to it.
pub(crate) fn start(pool: &PgPool) -> (Standings, Task) {
    let pool = db::shared_readers(pool, 1);
    Gather::start("standings", BATCH, move |asked: Vec<(Uuid, Uuid)>| {
        let pool = pool.clone();
        async move {
            let (users, sessions): (Vec<_>, Vec<_>) = asked.into_iter().unzip();
            citizen::standings(&mut *pool.acquire().await?, &users, &sessions).await
        }
    })
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
        let (standings, task) = start(&pool);
        let shutdown = Shutdown::new();
        let running = tokio::spawn(task.run(shutdown.clone()));
        let asking = people.iter().map(|person| standings.ask((person.user, person.session)));
        let answers = join_all(asking).await;
        for (Person { user, tier, bound_at, .. }, answer) in people.iter().zip(answers) {
            let known = if bound_at.is_some() { tier.unwrap_or(0) } else { 0 };
            let expected = Standing { tier: known, bound_at: *bound_at, proved: None };
            assert_eq!(answer.expect("an answer"), expected, "{user}");
        }
        let user = people[1].user;
        let other_session = standings.ask((user, Uuid::now_v7())).await.expect("an answer");
        assert_eq!(other_session.bound_at, None, "a session that is not known is one on a new device");

        shutdown.begin();
        running.await.expect("no panic").expect("a clean end");
    }
}

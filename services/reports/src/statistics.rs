//! Public figures: how many reports stand where, how many results kept which deadline, how satisfied reporters are.
//!
//! Counted at most once in [`FRESH`] by one process, however many ask.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;
use sqlx::PgPool;
use tokio::sync::Mutex;
use utoipa::ToSchema;

/// How long counted figures are good.
const FRESH: Duration = Duration::from_secs(5);

/// Public figures over all reports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Statistics {
    /// Reports by state.
    pub(crate) states: BTreeMap<String, i64>,
    /// Published results.
    pub(crate) results: i64,
    /// Of them, those within the first deadline.
    pub(crate) within_first_deadline: i64,
    /// Of them, those within the deadline in force, extensions included.
    pub(crate) within_extended_deadline: i64,
    /// Ratings by kind; their share of `results` is the response rate.
    pub(crate) ratings: BTreeMap<String, i64>,
    /// How many results were rated.
    pub(crate) rated: i64,
}

/// The figures last counted.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    last: Mutex<Option<(Instant, Statistics)>>,
}

impl Counter {
    /// The figures, at most [`FRESH`] old.
    pub(crate) async fn get(&self, pool: &PgPool) -> Result<Statistics, sqlx::Error> {
        let mut last = self.last.lock().await;
        if let Some((at, statistics)) = &*last
            && at.elapsed() < FRESH
        {
            return Ok(statistics.clone());
        }
        let statistics = count(pool).await?;
        *last = Some((Instant::now(), statistics.clone()));
        Ok(statistics)
    }
}

async fn count(pool: &PgPool) -> Result<Statistics, sqlx::Error> {
    let mut tx = platform::db::begin_read_only(pool).await?;
    let states = sqlx::query!(r#"SELECT state, count(*) AS "count!" FROM reports.report GROUP BY state"#)
        .fetch_all(&mut *tx)
        .await?;
    let ratings = sqlx::query!(r#"SELECT rating, count(*) AS "count!" FROM reports.rating GROUP BY rating"#)
        .fetch_all(&mut *tx)
        .await?;
    let kept = sqlx::query!(
        r#"SELECT count(*) AS "results!", count(*) FILTER (WHERE kept_first) AS "first!",
               count(*) FILTER (WHERE kept_extended) AS "extended!"
           FROM reports.outcome"#
    )
    .fetch_one(&mut *tx)
    .await?;
    let ratings: BTreeMap<_, _> = ratings.into_iter().map(|row| (row.rating, row.count)).collect();
    Ok(Statistics {
        states: states.into_iter().map(|row| (row.state, row.count)).collect(),
        results: kept.results,
        within_first_deadline: kept.first,
        within_extended_deadline: kept.extended,
        rated: ratings.values().sum(),
        ratings,
    })
}

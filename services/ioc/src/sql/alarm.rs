//! Every statement of alarms. Whoever changes one holds the locks of its station's datastreams and, for the wall's sake, that of the board.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::sensor::AlarmId;
use crate::sensor::alarm::{Life, State, Step};

/// An alarm as it is stored.
#[derive(Clone, Debug)]
pub(crate) struct Alarm {
    pub(crate) id: AlarmId,
    pub(crate) datastream: i64,
    pub(crate) station: String,
    pub(crate) exercise: bool,
    pub(crate) life: Life,
    pub(crate) value: f64,
    pub(crate) measured_at: DateTime<Utc>,
    pub(crate) raised_at: DateTime<Utc>,
    pub(crate) acknowledged_at: Option<DateTime<Utc>>,
    pub(crate) acknowledged_by: Option<Uuid>,
    pub(crate) closed_at: Option<DateTime<Utc>>,
    pub(crate) closed_by: Option<Uuid>,
}

/// A step of an alarm.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    pub(crate) kind: Step,
    pub(crate) from_level: u8,
    pub(crate) to_level: u8,
    pub(crate) value: f64,
    pub(crate) taken_at: DateTime<Utc>,
    pub(crate) officer: Option<Uuid>,
    pub(crate) note: Option<String>,
}

struct Row {
    id: AlarmId,
    datastream_id: i64,
    station: String,
    exercise: bool,
    state: String,
    level: i16,
    highest: i16,
    crossings: i32,
    value: f64,
    measured_at: DateTime<Utc>,
    raised_at: DateTime<Utc>,
    acknowledged_at: Option<DateTime<Utc>>,
    acknowledged_by: Option<Uuid>,
    closed_at: Option<DateTime<Utc>>,
    closed_by: Option<Uuid>,
}

impl From<Row> for Alarm {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            datastream: row.datastream_id,
            station: row.station,
            exercise: row.exercise,
            life: Life {
                state: State::from_name(&row.state).expect("a constraint knows the states"),
                level: small(row.level),
                highest: small(row.highest),
                crossings: u32::try_from(row.crossings).expect("a constraint keeps it from being negative"),
            },
            value: row.value,
            measured_at: row.measured_at,
            raised_at: row.raised_at,
            acknowledged_at: row.acknowledged_at,
            acknowledged_by: row.acknowledged_by,
            closed_at: row.closed_at,
            closed_by: row.closed_by,
        }
    }
}

fn small(level: i16) -> u8 {
    u8::try_from(level).expect("a constraint bounds levels")
}

/// The open alarm of a station, that of an exercise or the one that is meant.
pub(crate) async fn open(
    tx: &mut PgConnection,
    (station, exercise): (&str, bool),
) -> Result<Option<Alarm>, sqlx::Error> {
    let row = sqlx::query_as!(
        Row,
        "SELECT id AS \"id: AlarmId\", datastream_id, station, exercise, state, level, highest, crossings, value, measured_at, raised_at, \
                acknowledged_at, acknowledged_by, closed_at, closed_by \
         FROM ioc.alarm WHERE station = $1 AND exercise = $2 AND state <> 'closed'",
        station,
        exercise
    );
    Ok(row.fetch_optional(tx).await?.map(Alarm::from))
}

/// An alarm.
pub(crate) async fn read(tx: &mut PgConnection, id: AlarmId) -> Result<Option<Alarm>, sqlx::Error> {
    let row = sqlx::query_as!(
        Row,
        "SELECT id AS \"id: AlarmId\", datastream_id, station, exercise, state, level, highest, crossings, value, measured_at, raised_at, \
                acknowledged_at, acknowledged_by, closed_at, closed_by \
         FROM ioc.alarm WHERE id = $1",
        id.uuid()
    );
    Ok(row.fetch_optional(tx).await?.map(Alarm::from))
}

/// Alarms before an id (`None`: the newest), newest first, at most `limit`; with `open_only` those that are not closed.
pub(crate) async fn list(
    pool: &PgPool,
    before: Option<AlarmId>,
    open_only: bool,
    limit: i64,
) -> Result<Vec<Alarm>, sqlx::Error> {
    let before = before.map(AlarmId::uuid);
    // Two statements: only what is said in so many words can use the index of open alarms.
    let rows = if open_only {
        let rows = sqlx::query_as!(
            Row,
            "SELECT id AS \"id: AlarmId\", datastream_id, station, exercise, state, level, highest, crossings, value, measured_at, raised_at, \
                    acknowledged_at, acknowledged_by, closed_at, closed_by \
             FROM ioc.alarm WHERE state <> 'closed' AND ($1::uuid IS NULL OR id < $1) ORDER BY id DESC LIMIT $2",
            before,
            limit
        );
        rows.fetch_all(pool).await?
    } else {
        let rows = sqlx::query_as!(
            Row,
            "SELECT id AS \"id: AlarmId\", datastream_id, station, exercise, state, level, highest, crossings, value, measured_at, raised_at, \
                    acknowledged_at, acknowledged_by, closed_at, closed_by \
             FROM ioc.alarm WHERE $1::uuid IS NULL OR id < $1 ORDER BY id DESC LIMIT $2",
            before,
            limit
        );
        rows.fetch_all(pool).await?
    };
    Ok(rows.into_iter().map(Alarm::from).collect())
}

/// Alarms that changed after a revision, oldest first; from the beginning (-1) those that are open.
pub(crate) async fn changed(tx: &mut PgConnection, after: i64, limit: i64) -> Result<Vec<Alarm>, sqlx::Error> {
    let rows = if after < 0 {
        let rows = sqlx::query_as!(
            Row,
            "SELECT id AS \"id: AlarmId\", datastream_id, station, exercise, state, level, highest, crossings, value, measured_at, raised_at, \
                    acknowledged_at, acknowledged_by, closed_at, closed_by \
             FROM ioc.alarm WHERE state <> 'closed' ORDER BY id DESC LIMIT $1",
            limit
        );
        rows.fetch_all(tx).await?
    } else {
        let rows = sqlx::query_as!(
            Row,
            "SELECT id AS \"id: AlarmId\", datastream_id, station, exercise, state, level, highest, crossings, value, measured_at, raised_at, \
                    acknowledged_at, acknowledged_by, closed_at, closed_by \
             FROM ioc.alarm WHERE revision > $1 ORDER BY id DESC LIMIT $2",
            after,
            limit
        );
        rows.fetch_all(tx).await?
    };
    Ok(rows.into_iter().rev().map(Alarm::from).collect())
}

/// Writes an alarm as it stands now, new or known, and the step that it took. The caller holds the locks.
pub(crate) async fn write(
    tx: &mut PgConnection,
    alarm: &Alarm,
    step: Option<&Taken>,
    revision: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO ioc.alarm (id, datastream_id, station, exercise, state, level, highest, crossings, value, measured_at, raised_at, \
                                acknowledged_at, acknowledged_by, closed_at, closed_by, revision) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16) \
         ON CONFLICT ON CONSTRAINT alarm_pk DO UPDATE \
         SET state = EXCLUDED.state, level = EXCLUDED.level, highest = EXCLUDED.highest, crossings = EXCLUDED.crossings, \
             value = EXCLUDED.value, measured_at = EXCLUDED.measured_at, acknowledged_at = EXCLUDED.acknowledged_at, \
             acknowledged_by = EXCLUDED.acknowledged_by, closed_at = EXCLUDED.closed_at, closed_by = EXCLUDED.closed_by, \
             revision = EXCLUDED.revision",
        alarm.id.uuid(),
        alarm.datastream,
        alarm.station,
        alarm.exercise,
        alarm.life.state.name(),
        i16::from(alarm.life.level),
        i16::from(alarm.life.highest),
        i32::try_from(alarm.life.crossings).unwrap_or(i32::MAX),
        alarm.value,
        alarm.measured_at,
        alarm.raised_at,
        alarm.acknowledged_at,
        alarm.acknowledged_by,
        alarm.closed_at,
        alarm.closed_by,
        revision
    )
    .execute(&mut *tx)
    .await?;
    if let Some(step) = step {
        insert_step(&mut *tx, alarm.id, step).await?;
    }
    super::announce(tx).await
}

async fn insert_step(tx: &mut PgConnection, alarm: AlarmId, step: &Taken) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO ioc.alarm_step (alarm_id, number, kind, from_level, to_level, value, taken_at, officer, note) \
         SELECT $1, coalesce(max(number), 0) + 1, $2, $3, $4, $5, $6, $7, $8 FROM ioc.alarm_step WHERE alarm_id = $1",
        alarm.uuid(),
        step.kind.name(),
        i16::from(step.from_level),
        i16::from(step.to_level),
        step.value,
        step.taken_at,
        step.officer,
        step.note
    )
    .execute(tx)
    .await
    .map(|_| ())
}

/// The steps of an alarm, the last `limit`, in order.
pub(crate) async fn steps(tx: &mut PgConnection, alarm: AlarmId, limit: i64) -> Result<Vec<Taken>, sqlx::Error> {
    let rows = sqlx::query!(
        "SELECT kind, from_level, to_level, value, taken_at, officer, note FROM ioc.alarm_step WHERE alarm_id = $1 \
         ORDER BY number DESC LIMIT $2",
        alarm.uuid(),
        limit
    );
    let taken = rows.fetch_all(tx).await?.into_iter().rev().map(|row| Taken {
        kind: Step::from_name(&row.kind).expect("a constraint knows the kinds"),
        from_level: small(row.from_level),
        to_level: small(row.to_level),
        value: row.value,
        taken_at: row.taken_at,
        officer: row.officer,
        note: row.note,
    });
    Ok(taken.collect())
}

/// How many alarms that are meant are open, by state and level.
pub(crate) async fn count(pool: &PgPool) -> Result<Vec<(String, i16, i64)>, sqlx::Error> {
    let rows = sqlx::query!(
        "SELECT state, level, count(*) AS \"count!\" FROM ioc.alarm WHERE state <> 'closed' AND NOT exercise GROUP BY state, level"
    );
    Ok(rows.fetch_all(pool).await?.into_iter().map(|row| (row.state, row.level, row.count)).collect())
}

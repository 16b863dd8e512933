//! Readings in: each is kept once, judged, and the good ones decide about the alarm of their station.
//!
//! | [`Watch::take`] of n readings | round trips |
//! | --- | --- |
//! | lock and read the datastream, read its open alarm | 3 |
//! | per reading: is it known, keep it | 2 |
//! | the alarm's change, if it has one: lock the board, write, announce, tell | 4 to 5 |
//! | the newest reading | 1 |
//!
//! Locks, in this order: the datastreams of the station by id, `ioc.board`, `outbox_head`.
//! Invariants:
//! - All of a call happens in one transaction, and a reading that comes again changes nothing. One that is refused takes no other with it.
//! - The highest level begins with a second reading that agrees: one wrong reading warns nobody.
//! - A station has one open alarm, and one of an exercise, however many datastreams tell of it; the newest reading of any of them decides.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use platform::clock::Clock;
use platform::outbox::NewEvent;
use proto::ioc::v1::{Alarm as AlarmMessage, AlarmClosed, AlarmLevelChanged, AlarmRaised};
use sqlx::{PgConnection, PgPool};
use tracing::info;

use super::AlarmId;
use super::alarm::{self, EXTREME_ABOVE_M, HIGHEST, Life, State, Step};
use super::client::SensorClients;
use super::entity::NewObservation;
use super::keep::SensorMeter;
use super::level::{Station, Stations};
use super::plausible::{self, Jumped, MOST_AHEAD, Quality};
use crate::SCHEMA;
use crate::error::Error;
use crate::sql::alarm::{self as table, Alarm, Taken};
use crate::sql::sensor::{self, Stream};

/// Takes readings. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    pub(crate) pool: PgPool,
    pub(crate) clock: Clock,
    pub(crate) stations: Arc<Stations>,
    pub(crate) clients: Arc<SensorClients>,
    pub(crate) meter: SensorMeter,
}

/// How old a reading may be that a later one agrees with.
const AGREEING: TimeDelta = TimeDelta::hours(6);

/// When, and how high.
type Measured = (DateTime<Utc>, f64);

/// What a call has changed so far.
struct Changes {
    open: Option<Alarm>,
    newest: Option<Measured>,
    jumped: Option<Jumped>,
    steps: Vec<(Step, u8)>,
    qualities: Vec<Quality>,
}

impl Watch {
    /// Takes readings of one datastream of the client's, in the order given; gives the id of each, or why that one is refused:
    /// [`Error::EntityInvalid`]; [`Error::AheadOfTime`]; [`Error::ObservationConflicts`] when another result is known for that time.
    ///
    /// # Errors
    /// [`Error::NotFound`] for another's datastream, and those of [`SensorClients::require`]. Then none of them is kept.
    pub(crate) async fn take(
        &self,
        client: &str,
        datastream: i64,
        readings: &[NewObservation],
    ) -> Result<Vec<Result<i64, Error>>, Error> {
        let mut tx = platform::db::begin(&self.pool).await?;
        let stream = sensor::lock(&mut tx, datastream).await?.filter(|stream| stream.registered_by == client);
        let stream = stream.ok_or(Error::NotFound)?;
        self.clients.require(client, stream.station.as_deref(), stream.exercise)?;
        let before = stream.newest_at.zip(stream.newest_result);
        let open = match &stream.station {
            Some(station) => table::open(&mut tx, (station, stream.exercise)).await?,
            None => None,
        };
        let (steps, qualities) = (Vec::new(), Vec::new());
        let mut changes = Changes { open, newest: before, jumped: stream.jumped(), steps, qualities };
        let mut ids = Vec::with_capacity(readings.len());
        for reading in readings {
            match self.take_one(&mut tx, &stream, reading, &mut changes).await {
                Err(Error::Database(error)) => return Err(Error::Database(error)),
                // Refused before anything was written.
                taken => ids.push(taken),
            }
        }
        if (changes.newest, changes.jumped) != (before, stream.jumped()) {
            sensor::set_newest(&mut tx, datastream, (changes.newest, changes.jumped)).await?;
        }
        tx.commit().await?;
        changes.qualities.iter().for_each(|quality| self.meter.observed(*quality));
        changes.steps.iter().for_each(|(step, level)| self.meter.step(*step, *level));
        Ok(ids)
    }

    async fn take_one(
        &self,
        tx: &mut PgConnection,
        stream: &Stream,
        reading: &NewObservation,
        changes: &mut Changes,
    ) -> Result<i64, Error> {
        let now = self.clock.now();
        let at = reading.phenomenon_time.unwrap_or(now);
        if !reading.result.is_finite() {
            return Err(Error::EntityInvalid { field: "result", reason: "it is not a number" });
        }
        if [Some(at), reading.result_time].into_iter().flatten().any(|time| !plausible::is_of_an_era(time)) {
            return Err(Error::EntityInvalid { field: "phenomenonTime", reason: "its year is out of bounds" });
        }
        if at > now + MOST_AHEAD {
            return Err(Error::AheadOfTime);
        }
        if let Some((id, result)) = sensor::reading_at(&mut *tx, stream.id, at).await? {
            let same = result.to_bits() == reading.result.to_bits();
            return if same { Ok(id) } else { Err(Error::ObservationConflicts) };
        }
        let station = stream.station.as_ref().and_then(|code| self.stations.0.get(code));
        let judged = plausible::Reading {
            at,
            value: reading.result,
            newest: changes.newest,
            exercise: stream.exercise,
            record_m: station.map(|station| station.record_m),
        };
        let mut quality = plausible::judge(&judged, now);
        let jumped = (quality == Quality::Jump).then(|| plausible::jumped(changes.jumped, at, reading.result));
        if jumped.is_some_and(Jumped::is_believed) {
            quality = Quality::Good;
        }
        let kept = sensor::Reading {
            datastream: stream.id,
            phenomenon_at: at,
            result_at: reading.result_time,
            received_at: now,
            result: reading.result,
            quality: quality.name(),
        };
        let id = sensor::insert_reading(&mut *tx, &kept).await?;
        changes.qualities.push(quality);
        if quality == Quality::Jump {
            changes.jumped = jumped;
        }
        if quality == Quality::Good {
            let before = changes.newest.replace((at, reading.result));
            changes.jumped = None;
            if let (Some(code), Some(station)) = (&stream.station, station) {
                self.decide(tx, (stream, code, station), ((at, reading.result), before), changes).await?;
            }
        }
        Ok(id)
    }

    /// The highest of the readings shortly before a time: this gauge's own, and the one that the open alarm stands on.
    fn agreeing(&self, at: DateTime<Utc>, newest: Option<Measured>, open: Option<&Alarm>) -> Option<f64> {
        let others = open.map(|alarm| (alarm.measured_at, alarm.value));
        let recent = [newest, others].into_iter().flatten().filter(|(before, _)| *before >= at - AGREEING);
        recent.map(|(_, value)| value).reduce(f64::max)
    }

    /// What a good reading makes of the station's alarm.
    async fn decide(
        &self,
        tx: &mut PgConnection,
        (stream, code, station): (&Stream, &str, &Station),
        ((at, value), newest): (Measured, Option<Measured>),
        changes: &mut Changes,
    ) -> Result<(), Error> {
        // Another datastream of the station knows better.
        if !stream.exercise && changes.open.as_ref().is_some_and(|open| at < open.measured_at) {
            return Ok(());
        }
        let before = changes.open.as_ref().map(|alarm| alarm.life);
        let extreme_m = station.alarms_m[2] + EXTREME_ABOVE_M;
        let was_extreme = changes.open.as_ref().is_none_or(|alarm| alarm.value >= extreme_m);
        // Readings of an exercise are made up: one of them is enough.
        let agrees = if stream.exercise { Some(value) } else { self.agreeing(at, newest, changes.open.as_ref()) };
        let read = alarm::Reading { value_m: value, agrees_m: agrees };
        let Some((life, step)) = alarm::read(before, station.alarms_m, read) else { return Ok(()) };
        let now = self.clock.now();
        let known = changes.open.take();
        let mut alarm = known.unwrap_or_else(|| raised((stream, code), life, now));
        let is_over = life.state == State::Closed;
        alarm = Alarm { life, value, measured_at: at, closed_at: is_over.then_some(now), ..alarm };
        let from_level = before.map_or(0, |before| before.level);
        let taken = step.map(|kind| Taken {
            kind,
            from_level,
            to_level: if is_over { 0 } else { life.level },
            value,
            taken_at: now,
            officer: None,
            note: None,
        });
        let revision = crate::sql::lock(&mut *tx).await?;
        table::write(&mut *tx, &alarm, taken.as_ref(), revision).await?;
        if let Some(step) = step {
            info!(alarm.id = %alarm.id, step = step.name(), level = life.level, exercise = alarm.exercise, "alarm took a step");
            changes.steps.push((step, life.level));
            let event = event(&alarm, station, (step, from_level));
            platform::outbox::append(&mut *tx, SCHEMA, now, &event).await?;
        } else if life.level == HIGHEST && value >= extreme_m && !was_extreme {
            let event = event(&alarm, station, (Step::Rose, from_level));
            platform::outbox::append(&mut *tx, SCHEMA, now, &event).await?;
        }
        changes.open = Some(alarm).filter(|_| !is_over);
        Ok(())
    }
}

fn raised((stream, code): (&Stream, &str), life: Life, now: DateTime<Utc>) -> Alarm {
    Alarm {
        id: AlarmId::generate(),
        datastream: stream.id,
        station: code.to_owned(),
        exercise: stream.exercise,
        life,
        value: 0.0,
        measured_at: now,
        raised_at: now,
        acknowledged_at: None,
        acknowledged_by: None,
        closed_at: None,
        closed_by: None,
    }
}

/// The event of a step that the river made.
fn event(alarm: &Alarm, station: &Station, (step, from_level): (Step, u8)) -> Vec<NewEvent> {
    let (subject, told) = (alarm.id.uuid(), Some(message(alarm, station)));
    match step {
        Step::Raised => vec![NewEvent::new(subject, &AlarmRaised { alarm: told })],
        Step::Rose | Step::Fell => {
            vec![NewEvent::new(subject, &AlarmLevelChanged { alarm: told, from_level: u32::from(from_level) })]
        }
        Step::Closed => vec![NewEvent::new(subject, &AlarmClosed { alarm: told, officer: String::new() })],
        // Not a step of the river's.
        Step::Acknowledged => Vec::new(),
    }
}

/// An alarm as other services hear of it.
pub(crate) fn message(alarm: &Alarm, station: &Station) -> AlarmMessage {
    AlarmMessage {
        alarm_id: alarm.id.to_string(),
        station: alarm.station.clone(),
        station_name: station.name.clone(),
        river_vi: station.river.vi.clone(),
        river_en: station.river.en.clone(),
        level: u32::from(alarm.life.level),
        alarm3_mm: millimetres(station.alarms_m[2]),
        value_mm: millimetres(alarm.value),
        measured_at: alarm.measured_at.timestamp(),
        crossings: alarm.life.crossings,
        ward_codes: station.wards.clone(),
        exercise: alarm.exercise,
    }
}

#[expect(clippy::cast_possible_truncation, reason = "plausible levels are some metres")]
fn millimetres(metres: f64) -> i64 {
    (metres * 1_000.0).round() as i64
}

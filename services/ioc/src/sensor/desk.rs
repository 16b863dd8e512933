//! What officers do with alarms: list, look, acknowledge, close.
//!
//! A step is one transaction: whoever dies half way has done nothing, and who asks again is told what is.
//! Locks, in this order: the datastreams of the station by id, `ioc.board`, `outbox_head`.

use std::sync::Arc;

use platform::clock::Clock;
use platform::outbox::NewEvent;
use proto::ioc::v1::{AlarmAcknowledged, AlarmClosed};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::AlarmId;
use super::alarm::{self, Step};
use super::keep::SensorMeter;
use super::level::Stations;
use super::watch::message;
use crate::SCHEMA;
use crate::city::Name;
use crate::error::Error;
use crate::overview::AlarmRow;
use crate::sql::alarm::{self as table, Alarm, Taken};
use crate::sql::sensor;

/// Steps that are shown at most, the last ones.
const MAX_STEPS: i64 = 200;
/// Characters of a note at most.
const MAX_NOTE: usize = 500;

/// Where officers work on alarms. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct AlarmDesk {
    pub(crate) pool: PgPool,
    pub(crate) clock: Clock,
    pub(crate) stations: Arc<Stations>,
    pub(crate) meter: SensorMeter,
}

impl AlarmDesk {
    /// Alarms before an id, newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn list(&self, before: Option<AlarmId>, open_only: bool, limit: i64) -> Result<Vec<Alarm>, Error> {
        Ok(table::list(&self.pool, before, open_only, limit).await?)
    }

    /// An alarm and its steps.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub(crate) async fn show(&self, id: AlarmId) -> Result<(Alarm, Vec<Taken>), Error> {
        let mut tx = platform::db::begin_read_only(&self.pool).await?;
        let alarm = table::read(&mut tx, id).await?.ok_or(Error::NotFound)?;
        let steps = table::steps(&mut tx, id, MAX_STEPS).await?;
        Ok((alarm, steps))
    }

    /// Says that an officer has seen an alarm; saying it again changes nothing. Call it in a transaction.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::AlarmClosed`], [`Error::NoteInvalid`].
    pub(crate) async fn acknowledge(
        &self,
        tx: &mut PgConnection,
        id: AlarmId,
        (officer, note): (Uuid, Option<String>),
    ) -> Result<Alarm, Error> {
        let mut alarm = self.locked(&mut *tx, id).await?;
        let Some(life) = alarm::acknowledge(alarm.life).map_err(|_| Error::AlarmClosed)? else { return Ok(alarm) };
        let now = self.clock.now();
        alarm = Alarm { life, acknowledged_at: Some(now), acknowledged_by: Some(officer), ..alarm };
        let told = AlarmAcknowledged { alarm: self.told(&alarm), officer: officer.to_string() };
        let event = NewEvent::new(id.uuid(), &told);
        self.write(tx, &alarm, (Step::Acknowledged, alarm.life.level), (officer, note), event).await?;
        Ok(alarm)
    }

    /// Closes an alarm whose sensor is broken, or that was an exercise. Call it in a transaction.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::AlarmClosed`], [`Error::NoteInvalid`].
    pub(crate) async fn close(
        &self,
        tx: &mut PgConnection,
        id: AlarmId,
        (officer, note): (Uuid, String),
    ) -> Result<Alarm, Error> {
        let mut alarm = self.locked(&mut *tx, id).await?;
        let life = alarm::close(alarm.life).map_err(|_| Error::AlarmClosed)?;
        alarm = Alarm { life, closed_at: Some(self.clock.now()), closed_by: Some(officer), ..alarm };
        let told = AlarmClosed { alarm: self.told(&alarm), officer: officer.to_string() };
        let event = NewEvent::new(id.uuid(), &told);
        self.write(tx, &alarm, (Step::Closed, 0), (officer, Some(note)), event).await?;
        Ok(alarm)
    }

    /// Locks an alarm, that is the datastreams of its station, and reads it.
    async fn locked(&self, tx: &mut PgConnection, id: AlarmId) -> Result<Alarm, Error> {
        let datastream = table::read(&mut *tx, id).await?.ok_or(Error::NotFound)?.datastream;
        sensor::lock(&mut *tx, datastream).await?;
        table::read(tx, id).await?.ok_or(Error::NotFound)
    }

    fn told(&self, alarm: &Alarm) -> Option<proto::ioc::v1::Alarm> {
        self.stations.0.get(&alarm.station).map(|station| message(alarm, station))
    }

    async fn write(
        &self,
        tx: &mut PgConnection,
        alarm: &Alarm,
        (kind, to_level): (Step, u8),
        (officer, note): (Uuid, Option<String>),
        event: NewEvent,
    ) -> Result<(), Error> {
        let note = note.map(|note| note.trim().to_owned());
        let good = |note: &String| (1..=MAX_NOTE).contains(&note.chars().count()) && !note.contains('\0');
        if !note.as_ref().is_none_or(good) {
            return Err(Error::NoteInvalid);
        }
        let now = self.clock.now();
        let (from_level, value) = (alarm.life.level, alarm.value);
        let taken = Taken { kind, from_level, to_level, value, taken_at: now, officer: Some(officer), note };
        let revision = crate::sql::lock(&mut *tx).await?;
        table::write(&mut *tx, alarm, Some(&taken), revision).await?;
        platform::outbox::append(tx, SCHEMA, now, &[event]).await?;
        Ok(())
    }
}

impl AlarmRow {
    /// An alarm as the wall shows it.
    pub(crate) fn of(alarm: &Alarm, stations: &Stations) -> Self {
        let station = stations.0.get(&alarm.station);
        let unnamed = || Name { vi: alarm.station.clone(), en: alarm.station.clone() };
        Self {
            id: alarm.id,
            station: alarm.station.clone(),
            station_name: station.map_or_else(|| alarm.station.clone(), |station| station.name.clone()),
            river: station.map_or_else(unnamed, |station| station.river.clone()),
            wards: station.map(|station| station.wards.clone()).unwrap_or_default(),
            state: alarm.life.state,
            level: alarm.life.level,
            highest: alarm.life.highest,
            value_m: alarm.value,
            measured_at: alarm.measured_at,
            raised_at: alarm.raised_at,
            acknowledged_at: alarm.acknowledged_at,
            closed_at: alarm.closed_at,
            exercise: alarm.exercise,
        }
    }
}

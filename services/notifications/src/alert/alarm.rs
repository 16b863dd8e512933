//! From an alarm of a river at its highest level to drafts that officers adopt and release.
//!
//! - Each time that an alarm reaches level 3 from below makes one draft, however often it is told, and so does one that gets worse there: an
//!   update while a warning before it is in force. A draft before it that nobody has adopted is given up for it.
//! - While the alarm stands there, its warning is renewed before it lapses (`renew`).
//! - An alarm that falls below level 3, or closes, takes back the draft that nobody has adopted; one that closes drafts the end of its warning.
//!
//! Locks: those of `family`, then the keys of `alert_alarm` and `high_alarm`; events of one alarm come in order, one consumer at a time.

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use platform::events::{Event, HandleError, Handler};
use prost::Message as _;
use proto::ioc::v1::{Alarm, AlarmClosed, AlarmLevelChanged, AlarmRaised};
use sqlx::PgConnection;
use tracing::warn;
use uuid::Uuid;

use super::desk::{Author, Desk, Wanted};
use super::family::Family;
use super::store::Alert;
use super::{
    AlertId, Bilingual, Category, Certainty, Content, Kind, Origin, Response, Severity, Status, Urgency, renew,
};
use crate::SCHEMA;
use crate::city::City;
use crate::error::Error;

/// The stream of alarms.
pub(crate) const STREAM: &str = "ioc";
/// The level that citizens are warned of.
const HIGHEST: u32 = 3;
/// How long a warning of an alarm is in force; an officer may say otherwise.
const LIFE: TimeDelta = TimeDelta::hours(12);
/// So far above alarm 3, in millimetres, life is in danger everywhere along the river.
const EXTREME_MM: i64 = 1_000;

/// Drafts warnings, in the consumer's transaction.
#[derive(Clone, Debug)]
pub(crate) struct Drafter(pub(crate) Desk);

/// What an event says of an alarm.
enum Told {
    /// It has reached its highest level, or it got worse there.
    High(Alarm),
    /// It has left its highest level.
    Lower(Alarm),
    /// It is over; why.
    Over(Alarm, Bilingual),
}

/// One of the times that an alarm stood at its highest level.
#[derive(Clone, Debug)]
pub(crate) struct Crossing {
    pub(crate) alarm: Uuid,
    pub(crate) number: i32,
    pub(crate) station: String,
    pub(crate) exercise: bool,
}

#[async_trait]
impl Handler for Drafter {
    async fn handle(&self, transaction: &mut PgConnection, events: &[Event]) -> Result<(), HandleError> {
        for event in events {
            let done = match told(event)? {
                Some(Told::High(alarm)) => self.warn(transaction, &crossing(&alarm)?, &alarm).await,
                Some(Told::Lower(alarm)) => self.calm(transaction, &crossing(&alarm)?, None).await,
                Some(Told::Over(alarm, reason)) => self.calm(transaction, &crossing(&alarm)?, Some(reason)).await,
                None => Ok(()),
            };
            done.map_err(|error| match error {
                Error::Database(error) => HandleError::from(error),
                // It stood otherwise a moment ago.
                Error::Refused(_) => HandleError::retry(error),
                error => {
                    warn!(alarm.id = %event.subject, %error, "no warning could be drafted");
                    HandleError::poison(error.to_string())
                }
            })?;
        }
        Ok(())
    }
}

fn told(event: &Event) -> Result<Option<Told>, HandleError> {
    if let Some(raised) = event.decode::<AlarmRaised>() {
        return Ok(raised?.alarm.filter(|alarm| alarm.level >= HIGHEST).map(Told::High));
    }
    if let Some(changed) = event.decode::<AlarmLevelChanged>() {
        let AlarmLevelChanged { alarm, from_level } = changed?;
        return Ok(alarm.and_then(|alarm| match (from_level, alarm.level) {
            (_, HIGHEST..) => Some(Told::High(alarm)),
            (HIGHEST.., _) => Some(Told::Lower(alarm)),
            _ => None,
        }));
    }
    let Some(closed) = event.decode::<AlarmClosed>() else { return Ok(None) };
    let AlarmClosed { alarm, officer } = closed?;
    let (vi, en) = if officer.is_empty() {
        ("Mực nước đã xuống dưới các mức báo động.", "The river has fallen below the alarm levels.")
    } else {
        ("Báo động đã được kết thúc.", "The alarm has been closed.")
    };
    Ok(alarm.map(|alarm| Told::Over(alarm, Bilingual { vi: vi.to_owned(), en: en.to_owned() })))
}

fn crossing(alarm: &Alarm) -> Result<Crossing, HandleError> {
    Ok(Crossing {
        alarm: alarm.alarm_id.parse().map_err(|_| HandleError::poison("an id is not a UUID"))?,
        number: i32::try_from(alarm.crossings).map_err(|_| HandleError::poison("a number is out of bounds"))?,
        station: alarm.station.clone(),
        exercise: alarm.exercise,
    })
}

impl Drafter {
    async fn warn(&self, transaction: &mut PgConnection, crossing: &Crossing, alarm: &Alarm) -> Result<(), Error> {
        let (now, latest) = (self.0.clock.now(), latest(transaction, crossing).await?);
        let family = match latest {
            Some(latest) => Family::of(transaction, latest).await?,
            None => Family::default(),
        };
        let said = content(alarm, &self.0.city);
        let is_said = |severity| {
            let mut alive = family.waiting(now).chain(family.in_force(now));
            let speaks = |alert: &Alert| alert.life.kind != Kind::Cancel && alert.content.severity == severity;
            severity != Severity::Extreme || alive.any(speaks)
        };
        if known(transaction, crossing).await? && is_said(said.severity) {
            return Ok(());
        }
        stands(transaction, crossing.alarm, alarm).await?;
        let waiting =
            family.waiting(now).find(|draft| draft.life.kind != Kind::Cancel && family.is_in_hand(draft, now));
        match waiting {
            Some(waiting) if is_said(said.severity) => Ok(remember(transaction, crossing, waiting.id).await?),
            _ => self.fresh(transaction, crossing, (said, &family)).await,
        }
    }

    /// Writes a draft in the place of those that nobody has adopted.
    pub(crate) async fn fresh(
        &self,
        transaction: &mut PgConnection,
        crossing: &Crossing,
        (content, family): (Content, &Family),
    ) -> Result<(), Error> {
        let now = self.0.clock.now();
        self.take_back(transaction, family, &Kind::ALL).await?;
        // A warning that is meant does not replace an exercise, nor the other way round.
        let earlier = family.in_force(now).filter(|earlier| earlier.content.status == content.status);
        let updates = earlier.map(|earlier| earlier.id);
        let wanted = Wanted { content, expires_at: now + LIFE, updates };
        let draft = self.0.draft(transaction, Author::Alarm(crossing.alarm), wanted).await?;
        remember(transaction, crossing, draft.id).await?;
        platform::job::schedule_all(transaction, SCHEMA, now, &[renew::job(&draft)]).await?;
        Ok(())
    }

    /// The alarm has left its highest level, or is over for a reason.
    async fn calm(
        &self,
        transaction: &mut PgConnection,
        crossing: &Crossing,
        over: Option<Bilingual>,
    ) -> Result<(), Error> {
        stands_no_longer(transaction, crossing.alarm).await?;
        let Some(latest) = latest(transaction, crossing).await? else { return Ok(()) };
        let (now, family) = (self.0.clock.now(), Family::of(transaction, latest).await?);
        self.take_back(transaction, &family, &[Kind::Alert, Kind::Update]).await?;
        let ends = family.waiting(now).any(|draft| draft.life.kind == Kind::Cancel);
        if let (Some(reason), Some(earlier), false) = (over, family.in_force(now), ends) {
            self.0.draft_end(transaction, Author::Alarm(crossing.alarm), (earlier, reason)).await?;
        }
        Ok(())
    }

    /// Gives up the drafts of these kinds that alarms made and nobody has adopted.
    async fn take_back(&self, transaction: &mut PgConnection, family: &Family, kinds: &[Kind]) -> Result<(), Error> {
        let is_nobodys = |draft: &&Alert| {
            draft.origin == Origin::Alarm && draft.life.drafted_by.is_none() && kinds.contains(&draft.life.kind)
        };
        for draft in family.waiting(self.0.clock.now()).filter(is_nobodys) {
            self.0.withdraw(transaction, draft.clone(), None).await?;
        }
        Ok(())
    }
}

async fn known(connection: &mut PgConnection, crossing: &Crossing) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM notifications.alert_alarm WHERE alarm_id = $1 AND crossing >= $2) AS "known!""#,
        crossing.alarm,
        crossing.number
    )
    .fetch_one(connection)
    .await
}

/// The newest alert that alarms of the station made, of exercises apart.
pub(crate) async fn latest(connection: &mut PgConnection, crossing: &Crossing) -> Result<Option<AlertId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT alert_id AS "alert_id: AlertId" FROM notifications.alert_alarm
           WHERE station = $1 AND exercise = $2 ORDER BY alert_id DESC LIMIT 1"#,
        crossing.station,
        crossing.exercise
    )
    .fetch_optional(connection)
    .await
}

async fn remember(connection: &mut PgConnection, crossing: &Crossing, alert: AlertId) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO notifications.alert_alarm (alarm_id, crossing, alert_id, station, exercise) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT ON CONSTRAINT alert_alarm_pk DO NOTHING",
        crossing.alarm,
        crossing.number,
        alert.uuid(),
        crossing.station,
        crossing.exercise
    )
    .execute(connection)
    .await
    .map(|_| ())
}

/// Keeps that an alarm stands at its highest level, as it was told.
async fn stands(connection: &mut PgConnection, id: Uuid, alarm: &Alarm) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO notifications.high_alarm (alarm_id, told) VALUES ($1, $2)
         ON CONFLICT ON CONSTRAINT high_alarm_pk DO UPDATE SET told = EXCLUDED.told",
        id,
        alarm.encode_to_vec()
    )
    .execute(connection)
    .await
    .map(|_| ())
}

async fn stands_no_longer(connection: &mut PgConnection, id: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query!("DELETE FROM notifications.high_alarm WHERE alarm_id = $1", id).execute(connection).await.map(|_| ())
}

/// What a warning of an alarm says until an officer amends it. Pure.
pub(crate) fn content(alarm: &Alarm, city: &City) -> Content {
    let above = alarm.value_mm - alarm.alarm3_mm;
    let measured = DateTime::from_timestamp(alarm.measured_at, 0).unwrap_or(DateTime::<Utc>::UNIX_EPOCH);
    let (day, hour) = (city.local(measured).format("%d/%m/%Y"), city.local(measured).format("%H:%M"));
    let (vi, en, station) = (&alarm.river_vi, &alarm.river_en, &alarm.station_name);
    let (level, over) = (metres(alarm.value_mm), metres(above));
    let comma = |text: &str| text.replace('.', ",");
    Content {
        status: if alarm.exercise { Status::Exercise } else { Status::Actual },
        category: Category::Met,
        severity: if above >= EXTREME_MM { Severity::Extreme } else { Severity::Severe },
        urgency: Urgency::Immediate,
        certainty: Certainty::Observed,
        response: Response::Prepare,
        event: Bilingual { vi: "Lũ".to_owned(), en: "Flood".to_owned() },
        headline: Bilingual {
            vi: format!("Lũ {vi} tại {station} trên báo động 3"),
            en: format!("{en} at {station} above flood alarm 3"),
        },
        description: Bilingual {
            vi: format!("Lúc {hour} ngày {day}, mực nước {vi} tại {station} là {} m, trên báo động 3 {} m.", comma(&level), comma(&over)),
            en: format!("At {hour} on {day} the {en} stood at {level} m at {station}, {over} m above alarm 3."),
        },
        instruction: Bilingual {
            vi: "Không đi qua chỗ ngập, ngầm tràn. Đưa người già, trẻ em và đồ đạc lên cao, làm theo hướng dẫn của phường, xã.".to_owned(),
            en: "Keep out of flooded roads and fords. Bring the old, children and belongings to high ground and follow your ward's instructions.".to_owned(),
        },
        wards: alarm.ward_codes.iter().filter(|code| city.wards.contains_key(*code)).cloned().collect(),
        outline: None,
    }
}

fn metres(millimetres: i64) -> String {
    let centimetres = (millimetres + millimetres.signum() * 5) / 10;
    format!("{}{}.{:02}", if centimetres < 0 { "-" } else { "" }, centimetres.abs() / 100, centimetres.abs() % 100)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Kim Long above alarm 3 for the `crossings`th time.
    pub(crate) fn kim_long(crossings: u32) -> Alarm {
        Alarm {
            alarm_id: Uuid::from_u128(7).to_string(),
            station: "kim-long".to_owned(),
            station_name: "Kim Long".to_owned(),
            river_vi: "sông Hương".to_owned(),
            river_en: "Huong (Perfume) River".to_owned(),
            level: 3,
            alarm3_mm: 3_500,
            value_mm: 3_580,
            measured_at: 1_761_523_200,
            crossings,
            ward_codes: vec!["19774".to_owned(), "19753".to_owned(), "00000".to_owned()],
            exercise: false,
        }
    }

    #[test]
    fn what_an_alarm_says_is_what_an_alert_may_say() {
        let city = crate::city::tests::hue();
        let said = content(&kim_long(1), &city);
        said.check(&city).expect("within the bounds of an alert");
        assert_eq!(said.headline.vi, "Lũ sông Hương tại Kim Long trên báo động 3");
        assert_eq!(
            said.description.en,
            "At 07:00 on 27/10/2025 the Huong (Perfume) River stood at 3.58 m at Kim Long, 0.08 m above alarm 3."
        );
        assert!(said.description.vi.contains("3,58 m"), "{}", said.description.vi);
        assert_eq!((said.severity, said.wards.len()), (Severity::Severe, 2));
        let worse = content(&Alarm { value_mm: 5_050, exercise: true, ..kim_long(1) }, &city);
        assert_eq!((worse.severity, worse.status), (Severity::Extreme, Status::Exercise));
        assert_eq!((metres(-40), metres(5), metres(994)), ("-0.04".to_owned(), "0.01".to_owned(), "0.99".to_owned()));
    }
}

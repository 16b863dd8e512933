//! From an alarm of a river at its highest level to a draft that officers adopt and release.
//!
//! Each time that an alarm reaches level 3 from below makes one draft, however often it is told: an update while the warning before it is
//! in force, none while the draft before it waits.
//! Locks: none but the unique key of `alert_alarm`; events of one alarm come in order, through one consumer at a time.

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use platform::events::{Event, HandleError, Handler};
use proto::ioc::v1::{Alarm, AlarmLevelChanged, AlarmRaised};
use sqlx::PgConnection;
use tracing::warn;
use uuid::Uuid;

use super::desk::{Author, Desk, Wanted};
use super::store;
use super::{AlertId, Bilingual, Category, Certainty, Content, Response, Severity, State, Status, Urgency};
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

#[async_trait]
impl Handler for Drafter {
    async fn handle(&self, transaction: &mut PgConnection, events: &[Event]) -> Result<(), HandleError> {
        for event in events {
            if let Some(alarm) = crossed(event)? {
                self.draft(transaction, &alarm).await?;
            }
        }
        Ok(())
    }
}

/// The alarm that an event tells to have reached its highest level from below.
fn crossed(event: &Event) -> Result<Option<Alarm>, HandleError> {
    let alarm = if let Some(raised) = event.decode::<AlarmRaised>() {
        raised?.alarm
    } else if let Some(changed) = event.decode::<AlarmLevelChanged>() {
        let changed = changed?;
        changed.alarm.filter(|alarm| changed.from_level < alarm.level)
    } else {
        return Ok(None);
    };
    Ok(alarm.filter(|alarm| alarm.level >= HIGHEST))
}

impl Drafter {
    async fn draft(&self, transaction: &mut PgConnection, alarm: &Alarm) -> Result<(), HandleError> {
        let id: Uuid = alarm.alarm_id.parse().map_err(|_| HandleError::poison("an id is not a UUID"))?;
        let crossing = i32::try_from(alarm.crossings).map_err(|_| HandleError::poison("a number is out of bounds"))?;
        if known(transaction, id, crossing).await? {
            return Ok(());
        }
        let now = self.0.clock.now();
        let earlier = match latest(transaction, id).await? {
            Some(earlier) => Some(store::read(transaction, earlier).await.map_err(HandleError::retry)?),
            None => None,
        };
        let state = earlier.as_ref().map(|earlier| earlier.life.state_at(now));
        let alert = match (earlier, state) {
            (Some(earlier), Some(State::Drafted)) => earlier.id,
            (earlier, state) => {
                let updates = earlier.filter(|_| state == Some(State::Released)).map(|earlier| earlier.id);
                let wanted = Wanted { content: content(alarm, &self.0.city), expires_at: now + LIFE, updates };
                match self.0.draft(transaction, Author::Alarm(id), wanted).await {
                    Ok(alert) => alert.id,
                    Err(Error::Database(error)) => return Err(error.into()),
                    Err(error) => {
                        warn!(alarm.id = %id, %error, "no warning could be drafted");
                        return Err(HandleError::poison(error.to_string()));
                    }
                }
            }
        };
        remember(transaction, (id, crossing), alert).await?;
        Ok(())
    }
}

async fn known(connection: &mut PgConnection, alarm: Uuid, crossing: i32) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM notifications.alert_alarm WHERE alarm_id = $1 AND crossing >= $2) AS "known!""#,
        alarm,
        crossing
    )
    .fetch_one(connection)
    .await
}

/// The newest alert of an alarm.
async fn latest(connection: &mut PgConnection, alarm: Uuid) -> Result<Option<AlertId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT alert_id AS "alert_id: AlertId" FROM notifications.alert_alarm WHERE alarm_id = $1
           ORDER BY crossing DESC LIMIT 1"#,
        alarm
    )
    .fetch_optional(connection)
    .await
}

async fn remember(
    connection: &mut PgConnection,
    (alarm, crossing): (Uuid, i32),
    alert: AlertId,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO notifications.alert_alarm (alarm_id, crossing, alert_id) VALUES ($1, $2, $3)",
        alarm,
        crossing,
        alert.uuid()
    )
    .execute(connection)
    .await
    .map(|_| ())
}

/// What a warning of an alarm says until an officer amends it. Pure.
fn content(alarm: &Alarm, city: &City) -> Content {
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

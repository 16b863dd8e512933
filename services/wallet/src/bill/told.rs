//! What citizens hear of their bills before they pay them: that there is a new one, and, once, that one falls due.
//!
//! A bill is new when a biller asks for it for the first time: everybody who has linked its customer is told, but for a citizen who links
//! it at that moment and sees it in the answer. A reminder is a job of its bill, planned when the bill is stored or its day has moved;
//! it says nothing when the bill is paid, being paid, closed, or falls due on another day.
//!
//! Lock order: bill, job, outbox head.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};
use ledger::money::Money;
use platform::job::{Job, JobHandler, NewJob, Outcome};
use platform::outbox::{self, NewEvent};
use proto::wallet::v1::{BillDue, BillFound};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{BillId, CustomerId, customer};
use crate::account::CURRENCY;
use crate::city::BillerKind;
use crate::place::Place;
use crate::{SCHEMA, Wallet, event};

/// The kind of the job that reminds; its key is the bill and its day.
pub(crate) const REMINDER: &str = "bill-reminder";
/// How many days before its day a bill is spoken of.
const DAYS_BEFORE: u64 = 3;
/// The hour of the city's day at which that is.
const HOUR: TimeDelta = TimeDelta::hours(9);
/// Citizens that are told of one bill, at most: those who linked its customer first.
const MAX_TOLD: i64 = 50;
/// Open bills of one customer for which reminders are planned at a time, at most.
const MAX_PLANNED: i64 = 240;

/// What is said of a bill.
struct Spoken {
    id: Uuid,
    biller_code: String,
    customer_id: Option<CustomerId>,
    /// In rows from before there were customers.
    customer_code: Option<String>,
    kind: BillerKind,
    period: String,
    amount: i64,
    due_on: NaiveDate,
    /// To whom a fee is addressed.
    addressee: Option<Uuid>,
}

/// The reminder of a bill that falls due on a day; none when it is too late for one.
pub(crate) fn reminder(place: &Place, (bill, due_on): (Uuid, NaiveDate), now: DateTime<Utc>) -> Option<NewJob> {
    let day = due_on.checked_sub_days(Days::new(DAYS_BEFORE))?;
    let at = place.start_of(day) + HOUR;
    (at > now).then(|| NewJob::new(REMINDER, format!("{bill} {due_on}"), at))
}

/// The reminders of a customer's open bills. Those that are planned already may be planned again.
pub(super) async fn reminders(
    wallet: &Wallet,
    connection: &mut PgConnection,
    customer: CustomerId,
) -> Result<Vec<NewJob>, sqlx::Error> {
    let open = sqlx::query!(
        "SELECT id, due_on FROM wallet.bill
         WHERE customer_id = $1 AND status = 'open' AND reminded_at IS NULL
         ORDER BY due_on DESC, id DESC LIMIT $2",
        customer.uuid(),
        MAX_PLANNED,
    )
    .fetch_all(connection)
    .await?;
    let now = wallet.clock.now();
    Ok(open.into_iter().filter_map(|bill| reminder(&wallet.place, (bill.id, bill.due_on), now)).collect())
}

/// Tells of new bills. The last statements of a transaction: nothing is locked afterwards.
pub(super) async fn tell_found(
    wallet: &Wallet,
    connection: &mut PgConnection,
    bills: &[Uuid],
    linking: Option<Uuid>,
) -> Result<(), sqlx::Error> {
    if bills.is_empty() {
        return Ok(());
    }
    let new = sqlx::query_as!(
        Spoken,
        r#"SELECT id, biller_code, customer_id AS "customer_id: CustomerId", customer_code, kind AS "kind: BillerKind", period, amount, due_on, user_id AS addressee
           FROM wallet.bill WHERE id = ANY($1) ORDER BY id"#,
        bills,
    )
    .fetch_all(&mut *connection)
    .await?;
    let Some(first) = new.first() else { return Ok(()) };
    let mut users = concerned(connection, first).await?;
    users.retain(|user| Some(*user) != linking);
    let pairs = new.iter().flat_map(|bill| users.iter().map(move |user| (bill, *user)));
    let events: Vec<NewEvent> = pairs.map(|(bill, user)| NewEvent::new(user, &bill.found(user))).collect();
    append(wallet, connection, &events).await
}

/// Runs [`REMINDER`].
pub(crate) struct ReminderJob {
    pub(crate) wallet: Arc<Wallet>,
}

#[async_trait]
impl JobHandler for ReminderJob {
    async fn run(&self, job: &Job) -> Outcome {
        let named = job.key.split_once(' ').and_then(|(bill, due_on)| Some((bill.parse().ok()?, due_on.parse().ok()?)));
        let Some((bill, due_on)) = named else { return Outcome::Dead("the key is no bill and its day".to_owned()) };
        match self.remind(bill, due_on).await {
            Ok(()) => Outcome::Done,
            Err(error) => Outcome::Retry(error.to_string()),
        }
    }
}

impl ReminderJob {
    /// Tells of a bill once, if there is still something to tell. Safe to repeat.
    async fn remind(&self, bill: BillId, due_on: NaiveDate) -> Result<(), sqlx::Error> {
        let wallet = &self.wallet;
        let now = wallet.clock.now();
        let mut tx = platform::db::begin(&wallet.pool).await?;
        let spoken = sqlx::query_as!(
            Spoken,
            r#"UPDATE wallet.bill SET reminded_at = $3
               WHERE id = $1 AND due_on = $2 AND due_on >= $4 AND status = 'open' AND reminded_at IS NULL
                 AND NOT EXISTS (SELECT FROM wallet.bill_payment AS payment WHERE payment.bill_id = bill.id AND payment.state <> 'failed')
               RETURNING id, biller_code, customer_id AS "customer_id: CustomerId", customer_code, kind AS "kind: BillerKind", period, amount, due_on, user_id AS addressee"#,
            bill.uuid(),
            due_on,
            now,
            wallet.place.day(now),
        )
        .fetch_optional(&mut *tx)
        .await?;
        let Some(spoken) = spoken else { return Ok(()) };
        let users = concerned(&mut tx, &spoken).await?;
        let events: Vec<NewEvent> = users.iter().map(|user| NewEvent::new(*user, &spoken.due(*user))).collect();
        append(wallet, &mut tx, &events).await?;
        tx.commit().await
    }
}

/// Whom a bill concerns.
async fn concerned(connection: &mut PgConnection, bill: &Spoken) -> Result<Vec<Uuid>, sqlx::Error> {
    if let Some(addressee) = bill.addressee {
        return Ok(vec![addressee]);
    }
    if let Some(customer) = bill.customer_id {
        return customer::linked_by(connection, customer, MAX_TOLD).await;
    }
    sqlx::query_scalar!(
        "SELECT user_id FROM wallet.bill_subscription WHERE biller_code = $1 AND customer_code = $2 ORDER BY id LIMIT $3",
        bill.biller_code,
        bill.customer_code,
        MAX_TOLD,
    )
    .fetch_all(connection)
    .await
}

async fn append(wallet: &Wallet, connection: &mut PgConnection, events: &[NewEvent]) -> Result<(), sqlx::Error> {
    if events.is_empty() {
        return Ok(());
    }
    outbox::append(connection, SCHEMA, wallet.clock.now(), events).await
}

impl Spoken {
    fn found(&self, user: Uuid) -> BillFound {
        BillFound {
            bill_id: self.id.to_string(),
            user_id: user.to_string(),
            biller_code: self.biller_code.clone(),
            kind: self.kind.name().to_owned(),
            period: self.period.clone(),
            amount: Some(event::money(Money::from_minor(self.amount, CURRENCY))),
            due_on: self.due_on.to_string(),
        }
    }

    fn due(&self, user: Uuid) -> BillDue {
        BillDue {
            bill_id: self.id.to_string(),
            user_id: user.to_string(),
            biller_code: self.biller_code.clone(),
            kind: self.kind.name().to_owned(),
            period: self.period.clone(),
            amount: Some(event::money(Money::from_minor(self.amount, CURRENCY))),
            due_on: self.due_on.to_string(),
        }
    }
}

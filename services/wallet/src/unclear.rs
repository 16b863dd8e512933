//! Tells a citizen, once, that a bank or a biller has said nothing definite of their money for a while, so that nobody pays twice.
//!
//! The jobs that ask the partner again and again call this each time they have to wait. What has ended is told by its own event.
//!
//! Lock order: top-up or bill payment, outbox head.

use chrono::{DateTime, TimeDelta, Utc};
use ledger::money::Money;
use platform::outbox::{self, NewEvent};
use proto::wallet::v1::{BillPaymentUnclear, TopUpUnclear};
use sqlx::PgConnection;
use tracing::warn;
use uuid::Uuid;

use crate::account::CURRENCY;
use crate::bill_payment::BillPaymentId;
use crate::city::BillerKind;
use crate::top_up::TopUpId;
use crate::{SCHEMA, Wallet, event};

/// How long a citizen waits without a word. Most partners have answered by then.
const AFTER: TimeDelta = TimeDelta::minutes(2);

/// What may be unclear.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pending {
    /// A payment of a bill or a fee.
    Bill(BillPaymentId),
    /// A top-up.
    TopUp(TopUpId),
}

/// Tells the citizen, if it is time and they have not been told. What fails here is tried again when the partner is asked again.
pub(crate) async fn tell(wallet: &Wallet, pending: Pending) {
    if let Err(error) = try_tell(wallet, pending).await {
        warn!(?pending, %error, "citizen was not told that it is being confirmed");
    }
}

async fn try_tell(wallet: &Wallet, pending: Pending) -> Result<(), sqlx::Error> {
    let now = wallet.clock.now();
    let mut tx = platform::db::begin(&wallet.pool).await?;
    let told = match pending {
        Pending::Bill(id) => bill(&mut tx, id, now).await?,
        Pending::TopUp(id) => top_up(&mut tx, id, now).await?,
    };
    let Some(told) = told else { return Ok(()) };
    outbox::append(&mut tx, SCHEMA, now, &[told]).await?;
    tx.commit().await
}

async fn bill(
    connection: &mut PgConnection,
    id: BillPaymentId,
    now: DateTime<Utc>,
) -> Result<Option<NewEvent>, sqlx::Error> {
    let row = sqlx::query!(
        r#"UPDATE wallet.bill_payment SET unclear_told_at = $2
           WHERE id = $1 AND state IN ('confirming', 'unknown') AND requested_at <= $3 AND unclear_told_at IS NULL
           RETURNING user_id, bill_id, biller_code, kind AS "kind: BillerKind", period, amount"#,
        id.uuid(),
        now,
        now - AFTER,
    );
    let Some(row) = row.fetch_optional(connection).await? else { return Ok(None) };
    let unclear = BillPaymentUnclear {
        bill_payment_id: id.to_string(),
        user_id: row.user_id.to_string(),
        bill_id: row.bill_id.to_string(),
        biller_code: row.biller_code,
        kind: row.kind.name().to_owned(),
        period: row.period,
        amount: Some(event::money(Money::from_minor(row.amount, CURRENCY))),
    };
    Ok(Some(NewEvent::new(row.user_id, &unclear)))
}

async fn top_up(
    connection: &mut PgConnection,
    id: TopUpId,
    now: DateTime<Utc>,
) -> Result<Option<NewEvent>, sqlx::Error> {
    let row = sqlx::query!(
        "UPDATE wallet.top_up SET unclear_told_at = $2
         WHERE id = $1 AND state IN ('unknown', 'submitted') AND requested_at <= $3 AND unclear_told_at IS NULL
         RETURNING user_id, bank_code, amount",
        id.uuid(),
        now,
        now - AFTER,
    );
    let Some(row) = row.fetch_optional(connection).await? else { return Ok(None) };
    let user: Uuid = row.user_id;
    let unclear = TopUpUnclear {
        top_up_id: id.to_string(),
        user_id: user.to_string(),
        amount: Some(event::money(Money::from_minor(row.amount, CURRENCY))),
        bank_code: row.bank_code,
    };
    Ok(Some(NewEvent::new(user, &unclear)))
}

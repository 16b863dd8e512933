//! Links a customer code: the biller is asked for its bills first, so that a code that is none is refused at once.
//!
//! Lock: the citizen's turn, so that a citizen has no more than [`MAX_SUBSCRIPTIONS`] however many ask at once.

use platform::id;
use platform::job::{self, NewJob};
use serde::Deserialize;
use sqlx::PgConnection;
use utoipa::ToSchema;
use uuid::Uuid;

use super::biller::Fetched;
use super::refresh::JOB;
use super::{Subscription, SubscriptionId, sql};
use crate::error::{BillFault, Error};
use crate::text::Label;
use crate::turn::turn;
use crate::{SCHEMA, Wallet};

/// Customer codes that one citizen may link.
pub(crate) const MAX_SUBSCRIPTIONS: i64 = 20;

/// A customer code to be linked.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewSubscription {
    /// Code of a biller, from `GET /wallet/v1/billers`.
    #[schema(max_length = 16, example = "PCHUE")]
    pub(crate) biller_code: String,
    /// The customer's code at that biller.
    #[schema(min_length = 4, max_length = 20, example = "PC12345678901")]
    pub(crate) customer_code: String,
    /// What the citizen calls it.
    #[schema(value_type = Option<String>, max_length = 60)]
    pub(crate) label: Option<Label<60>>,
}

/// Asks the biller for the bills of a customer that is to be linked; nothing for one that the citizen has linked already.
///
/// No transaction is open meanwhile, and only so many ask at once: a slow biller keeps nobody else from the database.
///
/// # Errors
/// When the biller is not connected, the code has not its form, it knows no such customer, or it does not answer now.
pub(crate) async fn read(wallet: &Wallet, user: Uuid, new: &NewSubscription) -> Result<Fetched, Error> {
    let biller = wallet.biller(&new.biller_code)?;
    if !biller.profile.takes(&new.customer_code) {
        return Err(BillFault::CustomerCodeInvalid.into());
    }
    if sql::find_by_customer(&mut *wallet.pool.acquire().await?, user, new).await?.is_some() {
        return Ok(Fetched::Lost);
    }
    let _place = wallet.biller_reads.try_acquire().map_err(|_| BillFault::BillerUnavailable)?;
    match biller.connector.fetch(&new.customer_code).await {
        Fetched::CustomerUnknown => Err(BillFault::CustomerUnknown.into()),
        Fetched::Lost => Err(BillFault::BillerUnavailable.into()),
        fetched @ Fetched::Bills(_) => Ok(fetched),
    }
}

/// Saves the link with the bills that were read for it.
///
/// # Errors
/// When it is linked already, or there are as many as there may be.
pub(crate) async fn known(
    wallet: &Wallet,
    connection: &mut PgConnection,
    user: Uuid,
    new: &NewSubscription,
    fetched: &Fetched,
) -> Result<Subscription, Error> {
    turn(connection, user).await?;
    if sql::find_by_customer(connection, user, new).await?.is_some() {
        return Err(BillFault::AlreadyLinked.into());
    }
    if sql::count_of(connection, user).await? >= MAX_SUBSCRIPTIONS {
        return Err(Error::TooMany(MAX_SUBSCRIPTIONS));
    }
    let now = wallet.clock.now();
    let subscription = Subscription {
        id: SubscriptionId::from(id::new()),
        biller_code: new.biller_code.clone(),
        customer_code: new.customer_code.clone(),
        label: new.label.as_ref().map(|label| label.as_str().to_owned()),
        created_at: now,
    };
    sql::insert(connection, user, &subscription).await?;
    let due_at = match fetched {
        Fetched::Bills(bills) => {
            let profile = &wallet.biller(&new.biller_code)?.profile;
            sql::store(connection, (profile, &new.customer_code), bills, now).await?;
            now + wallet.bill_refresh
        }
        // It was linked until a moment ago: nobody was asked.
        Fetched::CustomerUnknown | Fetched::Lost => now,
    };
    job::schedule(connection, SCHEMA, now, NewJob::new(JOB, subscription.id.to_string(), due_at)).await?;
    Ok(subscription)
}

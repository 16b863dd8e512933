//! Links a customer code: the biller is asked for its bills first, so that a code that is none is refused at once.
//!
//! Locks: the citizen's turn, so that a citizen has no more than [`MAX_SUBSCRIPTIONS`] however many ask at once; then the customer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use platform::id;
use platform::job::{self, NewJob};
use platform::problem::{Problem, TOO_MANY_REQUESTS};
use serde::Deserialize;
use sqlx::PgConnection;
use utoipa::ToSchema;
use uuid::Uuid;

use super::biller::{Fetched, FetchedBill};
use super::refresh::JOB;
use super::{Subscription, SubscriptionId, customer, sql, subscription, told};
use crate::error::{BillFault, Error};
use crate::person::refuse_closing;
use crate::text::Label;
use crate::turn::turn;
use crate::{SCHEMA, Wallet};

/// How many answers about customers one citizen may get in [`WINDOW`], but for those that are under way.
const MAX_LOOKUPS: u32 = 60;
/// In which time that is counted.
const WINDOW: Duration = Duration::from_secs(3_600);
/// Citizens for whom it is counted, at most.
const MAX_COUNTED: u64 = 100_000;
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

/// What the biller said of a customer that is to be linked.
pub(crate) struct FirstLook {
    /// Its bills; `None` when nobody was asked, because the citizen has linked it already.
    bills: Option<Vec<FetchedBill>>,
    asked_at: DateTime<Utc>,
}

/// How many answers citizens got lately; of one process, and forgotten with it.
#[derive(Clone, Debug)]
pub(crate) struct Lookups(moka::sync::Cache<Uuid, Arc<AtomicU32>>);

impl Lookups {
    /// Nobody has asked.
    pub(crate) fn new() -> Self {
        Self(moka::sync::Cache::builder().max_capacity(MAX_COUNTED).time_to_live(WINDOW).build())
    }

    /// Whether the citizen may ask once more: nobody tries customer codes in a row.
    fn check(&self, user: Uuid) -> Result<(), Error> {
        if self.0.get(&user).is_none_or(|answers| answers.load(Ordering::Relaxed) < MAX_LOOKUPS) {
            return Ok(());
        }
        Err(Problem::new(TOO_MANY_REQUESTS).retry_after(WINDOW.as_secs()).into())
    }

    /// Counts an answer; a biller that gave none tells nothing.
    fn count(&self, user: Uuid) {
        self.0.get_with(user, Arc::default).fetch_add(1, Ordering::Relaxed);
    }
}

/// Asks the biller for the bills of a customer that is to be linked, unless the citizen has linked it already.
///
/// No transaction is open meanwhile, and only so many ask a biller at once: a slow one keeps nobody else from the database, nor from
/// another biller.
///
/// # Errors
/// When the biller is not connected, the code has not its form, it knows no such customer, it does not answer now, or the citizen asked too often.
pub(crate) async fn look(wallet: &Wallet, user: Uuid, new: &NewSubscription) -> Result<FirstLook, Error> {
    let biller = wallet.biller(&new.biller_code)?;
    if !biller.profile.takes(&new.customer_code) {
        return Err(BillFault::CustomerCodeInvalid.into());
    }
    if subscription::is_linked(&wallet.persons, &mut *wallet.pool.acquire().await?, user, new).await? {
        return Ok(FirstLook { bills: None, asked_at: wallet.clock.now() });
    }
    wallet.lookups.check(user)?;
    let asked_at = wallet.clock.now();
    let _place = wallet.look_places.enter(&new.biller_code, asked_at).map_err(|_| BillFault::BillerUnavailable)?;
    let bills = match biller.connector.fetch(&new.customer_code).await {
        Fetched::Lost => return Err(BillFault::BillerUnavailable.into()),
        Fetched::CustomerUnknown => None,
        Fetched::Bills(bills) => Some(bills),
    };
    wallet.lookups.count(user);
    if bills.is_none() {
        return Err(BillFault::CustomerUnknown.into());
    }
    Ok(FirstLook { bills, asked_at })
}

/// Saves the link with the bills that were seen.
///
/// # Errors
/// When it is linked already, or there are as many as there may be.
pub(crate) async fn link(
    wallet: &Wallet,
    connection: &mut PgConnection,
    user: Uuid,
    new: &NewSubscription,
    look: &FirstLook,
) -> Result<Subscription, Error> {
    turn(connection, user).await?;
    refuse_closing(connection, user).await?;
    if subscription::is_linked(&wallet.persons, connection, user, new).await? {
        return Err(BillFault::AlreadyLinked.into());
    }
    if subscription::count_of(connection, user).await? >= MAX_SUBSCRIPTIONS {
        return Err(Error::TooMany(MAX_SUBSCRIPTIONS));
    }
    let now = wallet.clock.now();
    let customer = customer::known(&wallet.persons, connection, (&new.biller_code, &new.customer_code), now).await?;
    let key = wallet.persons.for_sealing(connection, user, now).await?;
    let subscription = Subscription {
        id: SubscriptionId::from(id::new()),
        biller_code: new.biller_code.clone(),
        customer_code: new.customer_code.clone(),
        label: new.label.as_ref().map(|label| label.as_str().to_owned()),
        created_at: now,
    };
    subscription::insert(connection, (user, &key), customer.id, &subscription).await?;
    let (found, due_at) = if let Some(bills) = &look.bills {
        let profile = &wallet.biller(&new.biller_code)?.profile;
        let found = sql::store(connection, (profile, customer), bills, look.asked_at).await?;
        (found, now + wallet.bill_refresh)
    } else {
        // It was linked until a moment ago: nobody was asked.
        (Vec::new(), now)
    };
    let mut jobs = told::reminders(wallet, connection, customer.id).await?;
    jobs.push(NewJob::new(JOB, subscription.id.to_string(), due_at));
    job::schedule_all(connection, SCHEMA, now, &jobs).await?;
    told::tell_found(wallet, connection, &found, Some(user)).await?;
    Ok(subscription)
}

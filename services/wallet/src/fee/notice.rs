//! Issuing a notice, and taking it back.
//!
//! Locks: the citizen's turn, so that no agency piles up more than [`MAX_OPEN`] open notices on a citizen; then the bill's row, which a
//! payment locks too, so that a notice is never both paid and taken back.

use chrono::{DateTime, Days, NaiveDate, Utc};
use ledger::money::{Money, PositiveMoney};
use platform::job;
use platform::outbox::{self, NewEvent};
use platform::problem::{NOT_FOUND, Problem};
use proto::identity::v1::FindCitizenRequest;
use proto::identity::v1::identity_service_client::IdentityServiceClient;
use proto::wallet::v1::FeeNoticeIssued;
use serde::Deserialize;
use sqlx::PgConnection;
use utoipa::ToSchema;
use uuid::Uuid;

use super::sql::{self, Notice};
use crate::account::CURRENCY;
use crate::bill::{self, BillId};
use crate::bill_payment::{self, State};
use crate::city::Channel;
use crate::error::{BillFault, Error, FeeFault};
use crate::text::Label;
use crate::turn::turn;
use crate::{SCHEMA, Wallet, event};

/// Open notices of one agency to one citizen, at most.
const MAX_OPEN: i64 = 50;
/// The latest day to pay lies at most so many days ahead.
const MAX_DUE_DAYS: u64 = 366;

/// A notice to be issued.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewNotice {
    /// The agency's own name for it, such as the number of the file: one notice each.
    #[schema(value_type = String, min_length = 1, max_length = 64, example = "H57.11-251122-0001")]
    pub(crate) reference: Label<64>,
    /// Code of the procedure on the national portal.
    #[schema(value_type = String, max_length = 32, example = "1.000005")]
    pub(crate) procedure: Label<32>,
    /// How it was filed.
    pub(crate) channel: Channel,
    /// One of the fees that the portal lists for that.
    #[schema(value_type = Money)]
    pub(crate) amount: PositiveMoney,
    /// The last day to pay; today or later, at most a year ahead.
    pub(crate) due_on: NaiveDate,
    /// Whom it is addressed to.
    pub(crate) payer: Payer,
}

/// Whom a notice is addressed to.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Payer {
    /// The telephone number that the citizen signs in with.
    #[schema(value_type = String, max_length = 32, example = "+84912345678")]
    pub(crate) phone: Label<32>,
}

/// Who issues.
#[derive(Clone, Debug)]
pub(crate) struct Issuer {
    pub(crate) client: Uuid,
    pub(crate) agency: String,
}

/// The citizen with a number.
pub(crate) async fn addressee(wallet: &Wallet, payer: &Payer) -> Result<Uuid, Error> {
    let request = FindCitizenRequest { phone: payer.phone.as_str().to_owned() };
    let found = IdentityServiceClient::new(wallet.identity.clone()).find_citizen(request).await;
    let found = found.map_err(|status| {
        let problem = Problem::from_status(&status);
        if problem.code() == NOT_FOUND.code() { FeeFault::PayerUnknown.into() } else { Error::Problem(problem) }
    })?;
    found.into_inner().user_id.parse().map_err(|_| Error::Broken("identity names a citizen by no UUID".to_owned()))
}

/// Issues a notice, or gives the one that its reference names when it says the same.
pub(crate) async fn issue(
    wallet: &Wallet,
    tx: &mut PgConnection,
    (issuer, user): (&Issuer, Uuid),
    new: &NewNotice,
) -> Result<Notice, Error> {
    let now = wallet.clock.now();
    let amount = check(wallet, new, now)?;
    turn(tx, user).await?;
    if let Some(known) = sql::find_by_reference(tx, &issuer.agency, new.reference.as_str()).await? {
        let same = known.user_id == user
            && known.procedure == new.procedure.as_str()
            && known.channel == new.channel.name()
            && known.amount == amount.minor()
            && known.due_on == new.due_on;
        return if same { Ok(known) } else { Err(FeeFault::ReferenceUsed.into()) };
    }
    if sql::count_open(tx, &issuer.agency, user).await? >= MAX_OPEN {
        return Err(Error::TooMany(MAX_OPEN));
    }
    let procedure = wallet.directory.procedures.get(new.procedure.as_str()).ok_or(FeeFault::ProcedureUnknown)?;
    let notice = Notice {
        id: BillId::from(platform::id::new()),
        user_id: user,
        agency: issuer.agency.clone(),
        reference: new.reference.as_str().to_owned(),
        procedure: new.procedure.as_str().to_owned(),
        channel: new.channel.name().to_owned(),
        amount: amount.minor(),
        due_on: new.due_on,
        issued_at: now,
        cancelled_at: None,
        payment_state: None,
        transfer_id: None,
    };
    if !sql::insert(tx, issuer.client, &notice, (&procedure.name, wallet.place.day(now))).await? {
        // Somebody issued another notice under this reference a moment ago.
        return Err(FeeFault::ReferenceUsed.into());
    }
    let reminder = bill::reminder(&wallet.place, (notice.id.uuid(), notice.due_on), now);
    job::schedule_all(tx, SCHEMA, now, reminder.as_slice()).await?;
    let agency = wallet.directory.agencies.get(&issuer.agency);
    let issued = FeeNoticeIssued {
        bill_id: notice.id.to_string(),
        user_id: user.to_string(),
        agency: issuer.agency.clone(),
        agency_name_vi: agency.map(|agency| agency.name_vi.clone()).unwrap_or_default(),
        agency_name_en: agency.map(|agency| agency.name_en.clone()).unwrap_or_default(),
        procedure: notice.procedure.clone(),
        amount: Some(event::money(amount)),
        due_on: notice.due_on.to_string(),
    };
    outbox::append(tx, SCHEMA, now, &[NewEvent::new(user, &issued)]).await?;
    sql::find(tx, &issuer.agency, notice.id).await?.ok_or(Error::NotFound)
}

/// Whether the notice is one that may be issued; gives its amount.
fn check(wallet: &Wallet, new: &NewNotice, now: DateTime<Utc>) -> Result<Money, Error> {
    let amount = new.amount.money();
    let procedure = wallet.directory.procedures.get(new.procedure.as_str()).ok_or(FeeFault::ProcedureUnknown)?;
    let listed: Vec<Money> =
        procedure.fees(new.channel).into_iter().map(|fee| Money::from_minor(fee, CURRENCY)).collect();
    if !listed.contains(&amount) {
        return Err(FeeFault::AmountNotListed(listed).into());
    }
    let today = wallet.place.day(now);
    let latest = today.checked_add_days(Days::new(MAX_DUE_DAYS)).unwrap_or(NaiveDate::MAX);
    if !(today..=latest).contains(&new.due_on) {
        return Err(FeeFault::DueDay.into());
    }
    Ok(amount)
}

/// Takes a notice back that nobody has paid or is paying. Nothing changes when it was taken back before.
pub(crate) async fn cancel(wallet: &Wallet, issuer: &Issuer, id: BillId) -> Result<(), Error> {
    let now = wallet.clock.now();
    let mut tx = platform::db::begin(&wallet.pool).await?;
    if !sql::lock(&mut tx, &issuer.agency, id).await? {
        return Err(Error::NotFound);
    }
    match bill_payment::sql::live_state(&mut tx, id).await? {
        Some(State::Paid) => return Err(BillFault::Paid.into()),
        Some(_) => return Err(BillFault::BeingPaid.into()),
        None => {}
    }
    sql::cancel(&mut tx, id, now).await?;
    tx.commit().await?;
    Ok(())
}

//! The first step: the intent and its job are saved in one transaction, before anybody outside is asked.
//!
//! Lock: the citizen's turn, so that a citizen has no more than [`MAX_OPEN`] under way, and no more in a day than goes without a proof, however many ask at once.

use ledger::money::{Money, PositiveMoney};
use platform::id;
use platform::job::{self, NewJob};
use serde::Deserialize;
use utoipa::ToSchema;

use super::job::JOB;
use super::{TopUpId, sql};
use crate::allowance::{self, Asked, Incoming};
use crate::delegate;
use crate::error::{Error, ProofFault};
use crate::person::{TOP_UP_ACCOUNT, refuse_closing};
use crate::step_up::sql::Used;
use crate::step_up::{self, Transaction};
use crate::text::BankAccount;
use crate::turn::turn;
use crate::{SCHEMA, Wallet};

/// Top-ups of one citizen that may wait for a bank at a time.
pub(crate) const MAX_OPEN: i64 = 10;

/// What it is called where a citizen proves it.
const KIND: &str = "top-up";

/// A top-up that a citizen asks for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewTopUp {
    /// Code of a connected bank, from the city's list.
    #[schema(max_length = 16, example = "VCB")]
    pub(crate) bank_code: String,
    /// The account number at that bank of whoever asks.
    #[schema(value_type = String, min_length = 6, max_length = 19, example = "1000000001")]
    pub(crate) account: BankAccount,
    /// How much.
    #[schema(value_type = Money)]
    pub(crate) amount: PositiveMoney,
}

/// Saves the intent, or finds the one that this key saved before.
///
/// # Errors
/// When the bank is not connected, a rule refuses the amount, too many others have not ended, or the key belongs to another request.
pub(crate) async fn begin(wallet: &Wallet, asked: Asked<'_>, new: &NewTopUp) -> Result<sql::TopUp, Error> {
    let source = format!("{}:{}", new.bank_code, new.account.as_str());
    let transaction = Transaction::new(KIND, source, new.amount.money(), asked);
    saved(wallet, asked, &transaction, new).await.map_err(|error| transaction.tell(error))
}

async fn saved(
    wallet: &Wallet,
    asked: Asked<'_>,
    transaction: &Transaction,
    new: &NewTopUp,
) -> Result<sql::TopUp, Error> {
    let (user, key, fingerprint) = (asked.asker.user, asked.key, asked.fingerprint);
    let saved = sql::find_by_key(&mut *wallet.pool.acquire().await?, user, key).await?;
    if let Some(saved) = saved {
        return same(saved, fingerprint);
    }
    // A guardian brings money of any amount that the citizen might; what they may pay is another matter.
    delegate::terms(wallet, user, asked.asker.acting).await?;
    let (bank_code, _) = wallet.banks.get_key_value(&new.bank_code).ok_or(Error::BankUnknown)?;
    let amount = new.amount.money();
    let proven = transaction.proven(wallet, asked).await?;
    let proved = proven.map(|proven| proven.level);
    allowance::check(wallet, user, Incoming { amount, proved }).await?;
    let now = wallet.clock.now();
    let day = wallet.place.day(now);
    let id = TopUpId::from(id::new());
    let mut tx = platform::db::begin(&wallet.pool).await?;
    turn(&mut tx, user).await?;
    if let Some(saved) = sql::find_by_key(&mut tx, user, key).await? {
        return same(saved, fingerprint);
    }
    refuse_closing(&mut tx, user).await?;
    if sql::count_open_of(&mut tx, user).await? >= MAX_OPEN {
        return Err(Error::TooManyTopUps(MAX_OPEN));
    }
    let earlier = sql::asked_since(&mut tx, user, wallet.place.start_of(day)).await?;
    allowance::check_day(wallet, day, proved, earlier.saturating_add(amount.minor()))?;
    let key_of_citizen = wallet.persons.for_sealing(&mut tx, user, now).await?;
    let account_sealed = key_of_citizen.seal(TOP_UP_ACCOUNT, id, new.account.as_str());
    let intent = sql::Intent {
        id,
        user_id: user,
        idempotency_key: key,
        fingerprint,
        bank_code,
        account_sealed: &account_sealed,
        amount: amount.minor(),
        acting: asked.asker.acting,
        requested_at: now,
    };
    sql::insert(&mut tx, &intent).await?;
    if let Some(proven) = proven {
        let used = Used { proven, user, kind: KIND, reference: id.uuid() };
        if step_up::sql::record(&mut tx, &[used], now).await? == 0 {
            return Err(ProofFault::Used.into());
        }
    }
    job::schedule(&mut tx, SCHEMA, now, NewJob::new(JOB, id.to_string(), now)).await?;
    let saved = sql::find_by_key(&mut tx, user, key).await?;
    tx.commit().await?;
    wallet.metrics.top_up(super::State::Requested);
    saved.ok_or_else(|| Error::Broken("a top-up just saved is not there".to_owned()))
}

fn same(saved: sql::TopUp, fingerprint: &[u8; 32]) -> Result<sql::TopUp, Error> {
    if saved.fingerprint == fingerprint { Ok(saved) } else { Err(Error::KeyReused) }
}

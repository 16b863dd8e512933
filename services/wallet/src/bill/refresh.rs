//! The job that fetches a linked customer's bills again and again, until the link is taken away. It takes a place at the biller first.

use std::sync::Arc;

use async_trait::async_trait;
use platform::job::{self, Job, JobHandler, Outcome};
use tracing::warn;

use super::biller::Fetched;
use super::{CustomerId, Subscription, SubscriptionId, customer, sql, subscription, told, unite};
use crate::bulkhead::Full;
use crate::error::Error;
use crate::partner::Answer;
use crate::{SCHEMA, Wallet};

/// The kind of the job; its key is the subscription's id.
pub(crate) const JOB: &str = "bill-refresh";

/// What became of a run.
enum Refreshed {
    /// The biller was asked.
    Asked(Fetched),
    /// Every place at the biller was taken.
    Full(Full),
    /// Its customer was known under another secret, and is now known under the newest.
    United,
    /// The link was taken away.
    Gone,
}

/// Runs [`JOB`].
pub(crate) struct RefreshJob {
    pub(crate) wallet: Arc<Wallet>,
}

#[async_trait]
impl JobHandler for RefreshJob {
    async fn run(&self, job: &Job) -> Outcome {
        let Ok(id) = job.key.parse::<SubscriptionId>() else {
            return Outcome::Dead("the key is no subscription".to_owned());
        };
        let now = self.wallet.clock.now();
        match self.refresh(id).await {
            Ok(Refreshed::Gone) => Outcome::Done,
            Ok(Refreshed::United) => {
                Outcome::RetryAt(now, "its customer is known under the newest secret now".to_owned())
            }
            Ok(Refreshed::Full(Full(again_at))) => {
                Outcome::Postpone(again_at, "all places at the biller are taken".to_owned())
            }
            Ok(Refreshed::Asked(Fetched::Bills(_))) => {
                Outcome::RetryAt(now + self.wallet.bill_refresh, "bills are fetched regularly".to_owned())
            }
            Ok(Refreshed::Asked(Fetched::CustomerUnknown)) => {
                Outcome::RetryAt(now + self.wallet.bill_refresh, "the biller has no such customer any more".to_owned())
            }
            Ok(Refreshed::Asked(Fetched::Lost)) => self.soon(job, "the biller gave no bills".to_owned()),
            Err(error) => self.soon(job, error.to_string()),
        }
    }
}

impl RefreshJob {
    /// Fetches and stores.
    async fn refresh(&self, id: SubscriptionId) -> Result<Refreshed, Error> {
        let wallet = &self.wallet;
        let Some(link) = self.read(id).await? else { return Ok(Refreshed::Gone) };
        let asked_at = wallet.clock.now();
        let _place = match wallet.refresh_places.enter(&link.biller_code, asked_at) {
            Ok(place) => place,
            Err(full) => return Ok(Refreshed::Full(full)),
        };
        let biller = wallet.biller(&link.biller_code)?;
        let fetched = biller.connector.fetch(&link.customer_code).await;
        if let Fetched::Bills(bills) = &fetched {
            let mut tx = platform::db::begin(&wallet.pool).await?;
            let named = (link.biller_code.as_str(), link.customer_code.as_str());
            let customer = customer::known(&wallet.persons, &mut tx, named, asked_at).await?;
            match subscription::customer_of(&mut tx, id).await? {
                Some(linked) if linked == customer.id => {}
                Some(linked) => {
                    tx.rollback().await?;
                    return self.unite(linked, named).await;
                }
                None => return Ok(Refreshed::Gone),
            }
            let found = sql::store(&mut tx, (&biller.profile, customer), bills, asked_at).await?;
            let jobs = told::reminders(wallet, &mut tx, customer.id).await?;
            job::schedule_all(&mut tx, SCHEMA, wallet.clock.now(), &jobs).await?;
            told::tell_found(wallet, &mut tx, &found, None).await?;
            tx.commit().await?;
        }
        Ok(Refreshed::Asked(fetched))
    }

    /// A secret was changed in one step: the link is another's who is the same.
    async fn unite(&self, linked: CustomerId, named: (&str, &str)) -> Result<Refreshed, Error> {
        let mut tx = platform::db::begin(&self.wallet.pool).await?;
        unite::unite(&self.wallet.persons, &mut tx, linked, named).await?;
        tx.commit().await?;
        warn!(customer.id = %linked, "a customer at a biller was known under an unknown secret; secrets are changed in two steps");
        Ok(Refreshed::United)
    }

    /// The link in plain words; none when it was taken away, or its citizen was erased.
    async fn read(&self, id: SubscriptionId) -> Result<Option<Subscription>, Error> {
        let wallet = &self.wallet;
        let mut connection = wallet.pool.acquire().await?;
        let Some(stored) = subscription::find(&mut connection, id).await? else { return Ok(None) };
        let user = stored.user_id;
        let key = wallet.persons.find(&mut connection, &[user]).await?.remove(&user);
        Ok(stored.opened(key.as_ref())?)
    }

    /// A biller that is away is asked again before the next regular time, the later the more often it ran.
    fn soon(&self, job: &Job, reason: String) -> Outcome {
        Outcome::RetryAt(self.wallet.timing.next(self.wallet.clock.now(), Answer::Lost, job.attempts), reason)
    }
}

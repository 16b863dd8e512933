//! Acts of officers that move money: one proposes, another approves, a job does it.
//!
//! | module | what lives there |
//! | --- | --- |
//! | `rule` | who may decide, and when (pure) |
//! | `sql` | every statement |
//!
//! The only such acts are decisions about what got stuck: a bill payment whose biller, or a top-up whose bank, gives no answer any
//! more. An officer says what the partner's own books say, with the papers as reason; it is booked by the very path on which the
//! partner's word would have come, so that late words and double ones end alike. Beyond the partner's own, their word also ends a top-up
//! whose money the bank had taken, if they looked since.
//!
//! A decision names the digest of the content that its officer saw. Every step is on record in identity's audit before it is
//! committed; where no record can be made, nothing is done.
//!
//! Lock order: idempotency key, proposal, job. Identity is asked for the record while the proposal's lock is held, as
//! `trangtien admin` does (ADR 0012).

mod rule;
pub(crate) mod sql;

use std::sync::Arc;

use async_trait::async_trait;
use chrono::TimeDelta;
use ledger::money::Money;
use platform::job::{self, Job, JobHandler, NewJob, Outcome};
use platform::problem::Problem;
use proto::identity::v1::RecordActRequest;
use proto::identity::v1::office_service_client::OfficeServiceClient;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use sqlx::PgConnection;
use utoipa::ToSchema;
use uuid::Uuid;

pub(crate) use self::rule::{Digest, State};
pub(crate) use self::sql::Proposal;
use crate::account::CURRENCY;
use crate::allowance::Asker;
use crate::bill_payment::{self, BillPaymentId};
use crate::error::{Error, ProposalFault};
use crate::partner::{Answer, Report};
use crate::text::Label;
use crate::top_up::{self, TopUpId, Word};
use crate::{SCHEMA, Wallet};

/// The kind of the job that does what was approved; its key is the proposal's id.
pub(crate) const JOB: &str = "proposal";
/// How long a proposal waits for its decision.
const LIFE: TimeDelta = TimeDelta::hours(72);
/// How long a partner has been silent before people decide.
const STUCK_AFTER: TimeDelta = TimeDelta::hours(1);
/// Why something failed that officers decided.
const DECIDED: &str = "decided-by-officers";

platform::typed_id! {
    /// One proposal.
    pub struct ProposalId;
}

/// What the partner's books say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = ProposalVerdict)]
pub(crate) enum Verdict {
    /// The partner did what was asked.
    Succeeded,
    /// It did not and never will.
    Failed,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
#[schema(as = ProposalAct)]
pub(crate) enum Act {
    /// Ends a payment of a bill whose biller gives no answer.
    BillPayment {
        /// The payment.
        id: BillPaymentId,
        /// What the biller's books say.
        verdict: Verdict,
        /// The biller's own reference, where it recorded the payment.
        #[schema(value_type = Option<String>, max_length = 64)]
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reference: Option<Label<64>>,
    },
    /// Ends a top-up whose bank gives no answer.
    TopUp {
        /// The top-up.
        id: TopUpId,
        /// What the bank's books say.
        verdict: Verdict,
        /// The bank's own reference, where it took the money.
        #[schema(value_type = Option<String>, max_length = 64)]
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reference: Option<Label<64>>,
    },
}

/// A proposal to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewProposal {
    /// What is to be done.
    #[schema(inline)]
    pub(crate) act: Act,
    /// Why, for the audit: 1 to 200 characters that name nobody; ids and numbers of papers are welcome.
    #[schema(value_type = String, min_length = 1, max_length = 200, example = "statement of the bank, 2026-11-22")]
    pub(crate) reason: Label<200>,
}

/// What a proposal says, all of it: its digest binds the approval.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Content {
    pub(crate) proposal: ProposalId,
    pub(crate) act: Act,
    /// How much money it is about.
    pub(crate) amount: Money,
    pub(crate) reason: Label<200>,
}

impl Act {
    fn kind(&self) -> &'static str {
        match self {
            Self::BillPayment { .. } => "bill-payment",
            Self::TopUp { .. } => "top-up",
        }
    }

    fn subject(&self) -> Uuid {
        match self {
            Self::BillPayment { id, .. } => id.uuid(),
            Self::TopUp { id, .. } => id.uuid(),
        }
    }

    /// As the partner would have said it.
    fn report(&self, amount: Money) -> Report {
        let (Self::BillPayment { verdict, reference, .. } | Self::TopUp { verdict, reference, .. }) = self;
        let answer = match verdict {
            Verdict::Succeeded => Answer::Succeeded,
            Verdict::Failed => Answer::Failed,
        };
        let reference = reference.as_ref().map(|reference| reference.as_str().to_owned());
        Report { answer, reference, reason: Some(DECIDED.to_owned()), amount: Some(amount) }
    }

    /// How much money it is about, if it is stuck.
    async fn stuck(&self, wallet: &Wallet, connection: &mut PgConnection) -> Result<Money, Error> {
        let (amount, since, waits) = match self {
            Self::BillPayment { id, .. } => {
                let payment = bill_payment::sql::find(connection, *id).await?.ok_or(Error::NotFound)?;
                use bill_payment::State::{Confirming, Unknown};
                (payment.amount, payment.requested_at, matches!(payment.state, Confirming | Unknown))
            }
            Self::TopUp { id, .. } => {
                let top_up = top_up::find(connection, *id).await?.ok_or(Error::NotFound)?;
                use top_up::State::{Submitted, Unknown};
                (top_up.amount, top_up.requested_at, matches!(top_up.state, Submitted | Unknown))
            }
        };
        if waits && wallet.clock.now() >= since + STUCK_AFTER {
            Ok(Money::from_minor(amount, CURRENCY))
        } else {
            Err(ProposalFault::NotStuck.into())
        }
    }
}

/// SHA-256 of a content.
fn digest(content: &str) -> Digest {
    Sha256::digest(content.as_bytes()).into()
}

/// Makes a proposal.
pub(crate) async fn propose(
    wallet: &Wallet,
    tx: &mut PgConnection,
    by: Asker,
    new: &NewProposal,
) -> Result<Proposal, Error> {
    let now = wallet.clock.now();
    let amount = new.act.stuck(wallet, tx).await?;
    let id = ProposalId::from(platform::id::new());
    let content = Content { proposal: id, act: new.act.clone(), amount, reason: new.reason.clone() };
    let content = serde_json::to_string(&content).expect("strings and numbers are JSON");
    let proposal = Proposal {
        id,
        digest: digest(&content).to_vec(),
        content,
        state: State::Open,
        proposed_by: by.user,
        proposed_at: now,
        expires_at: now + LIFE,
        decided_by: None,
        decided_at: None,
        result: None,
    };
    let subject = new.act.subject();
    sql::expire(tx, subject, now).await?;
    if !sql::insert(tx, (new.act.kind(), subject), &proposal).await? {
        return Err(ProposalFault::Open.into());
    }
    record(wallet, by, ("proposal.make", &proposal), new.reason.as_str()).await?;
    Ok(proposal)
}

/// Approves a proposal whose content has a digest, and has it done.
pub(crate) async fn approve(
    wallet: &Wallet,
    tx: &mut PgConnection,
    (by, id): (Asker, ProposalId),
    digest: &Digest,
) -> Result<Proposal, Error> {
    let now = wallet.clock.now();
    let proposal = locked(tx, id).await?;
    proposal.standing()?.approve(by.user, digest, now)?;
    record(wallet, by, ("proposal.approve", &proposal), "approved").await?;
    sql::decide(tx, (id, State::Approved), by.user, now).await?;
    job::schedule(tx, SCHEMA, now, NewJob::new(JOB, id.to_string(), now)).await?;
    locked(tx, id).await
}

/// Refuses a proposal, or takes one's own back.
pub(crate) async fn refuse(
    wallet: &Wallet,
    tx: &mut PgConnection,
    (by, id, approver): (Asker, ProposalId, bool),
    reason: &Label<200>,
) -> Result<Proposal, Error> {
    let now = wallet.clock.now();
    let proposal = locked(tx, id).await?;
    proposal.standing()?.refuse(by.user, approver, now)?;
    record(wallet, by, ("proposal.refuse", &proposal), reason.as_str()).await?;
    sql::decide(tx, (id, State::Refused), by.user, now).await?;
    locked(tx, id).await
}

/// The proposal, locked first and then read.
async fn locked(tx: &mut PgConnection, id: ProposalId) -> Result<Proposal, Error> {
    sql::lock(tx, id).await?;
    sql::find(tx, id).await?.ok_or(Error::NotFound)
}

/// Puts a step on record, in identity's audit: ids and the digest, no more.
async fn record(wallet: &Wallet, by: Asker, (action, proposal): (&str, &Proposal), reason: &str) -> Result<(), Error> {
    let request = RecordActRequest {
        actor_id: by.user.to_string(),
        session_id: by.session.to_string(),
        action: action.to_owned(),
        object: format!("{} sha256:{}", proposal.id, hex::encode(&proposal.digest)),
        reason: reason.to_owned(),
    };
    let answer = OfficeServiceClient::new(wallet.identity.clone()).record_act(request).await;
    answer.map(|_| ()).map_err(|status| Error::Problem(Problem::from_status(&status)))
}

/// Runs [`JOB`].
pub(crate) struct ProposalJob {
    pub(crate) wallet: Arc<Wallet>,
}

#[async_trait]
impl JobHandler for ProposalJob {
    async fn run(&self, job: &Job) -> Outcome {
        let Ok(id) = job.key.parse() else { return Outcome::Dead("the key is no proposal".to_owned()) };
        match self.act(id).await {
            Ok(()) => Outcome::Done,
            Err(error @ (Error::NotFound | Error::CallbackAmount | Error::Broken(_))) => {
                Outcome::Dead(error.to_string())
            }
            Err(error) => {
                let now = self.wallet.clock.now();
                Outcome::RetryAt(self.wallet.timing.next(now, Answer::Lost, job.attempts), error.to_string())
            }
        }
    }
}

impl ProposalJob {
    /// Does what was approved. May be done again at any point: what the partner's word books, it books once.
    async fn act(&self, id: ProposalId) -> Result<(), Error> {
        let wallet = &self.wallet;
        let proposal = sql::find(&mut *wallet.pool.acquire().await?, id).await?.ok_or(Error::NotFound)?;
        if proposal.state != State::Approved {
            return Ok(());
        }
        let Content { act, amount, .. } = proposal.content()?;
        let report = act.report(amount);
        let word = Word::Officers { proposed_at: proposal.proposed_at };
        let result = match &act {
            Act::BillPayment { id, .. } => bill_payment::settle(wallet, *id, &report).await?.name(),
            Act::TopUp { id, .. } => top_up::settle(wallet, *id, &report, word).await?.state.name(),
        };
        sql::finish(&mut *wallet.pool.acquire().await?, (id, result), wallet.clock.now()).await?;
        tracing::info!(proposal.id = %id, kind = act.kind(), result, "officers' decision booked");
        Ok(())
    }
}

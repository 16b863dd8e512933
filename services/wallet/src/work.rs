//! Who does the wallet's jobs: runners apart from each other, so that an outside party that hangs holds up nothing but what waits for it.
//!
//! | runner | jobs | waits for |
//! | --- | --- | --- |
//! | top-ups | `top-up` | banks |
//! | payments of bills | `bill-payment` | billers, with money set aside; for each only in its places (`bulkhead`) |
//! | bills | `bill-refresh` | billers, for what is new; the same |
//! | agencies | `fee-paid` | agencies |
//! | the rest | reminders, proposals, checkpoints | nobody outside |

use std::sync::Arc;
use std::time::Duration;

use chrono_tz::Tz;
use ledger::checkpoint::make::Maker;
use platform::job::{Runner, RunnerSettings};
use platform::retry::Patience;
use platform::service::Context;
use platform::task::Task;

use crate::bill::{RefreshJob, ReminderJob};
use crate::bill_payment::BillPaymentJob;
use crate::top_up::TopUpJob;
use crate::{SCHEMA, Wallet, bill, bill_payment, checkpoint, fee, proposal, top_up};

/// Jobs that wait for banks or for billers at a time: each waits for most of its time. Of these only so many may wait for one biller
/// (`Config::biller_places`).
pub(crate) const OUTSIDE_PLACES: usize = 32;
/// How long an agency is told of a fee: some three days, so that one which is closed over a weekend hears of it on Monday.
const AGENCY_PATIENCE: Patience =
    Patience { attempts: 110, first: Duration::from_secs(1), most: Duration::from_secs(3_600) };

/// The runners as tasks.
pub(crate) fn runners(context: &Context, wallet: &Arc<Wallet>, maker: Option<Maker<Tz>>) -> Vec<Task> {
    let runner = |settings| Runner::new(context, SCHEMA).settings(settings);
    let usual = RunnerSettings::default();
    let outside = RunnerSettings { concurrency: OUTSIDE_PLACES, ..usual.clone() };
    let agencies = RunnerSettings { patience: AGENCY_PATIENCE, ..usual.clone() };
    let mut rest = runner(usual)
        .on(bill::REMINDER, ReminderJob { wallet: wallet.clone() })
        .on(proposal::JOB, proposal::ProposalJob { wallet: wallet.clone() });
    if let Some(maker) = maker {
        rest = rest.on(checkpoint::JOB, checkpoint::CheckpointJob::new(context, maker));
    }
    let runners = [
        runner(outside.clone()).on(top_up::JOB, TopUpJob { wallet: wallet.clone() }),
        runner(outside.clone()).on(bill_payment::JOB, BillPaymentJob { wallet: wallet.clone() }),
        runner(outside).on(bill::JOB, RefreshJob { wallet: wallet.clone() }),
        runner(agencies).on(fee::JOB, fee::FeePaidJob { wallet: wallet.clone() }),
        rest,
    ];
    runners.into_iter().map(Runner::into_task).collect()
}

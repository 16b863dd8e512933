//! The e-wallet: top-ups, merchants, payments; the only user of the ledger.
//!
//! | module | what lives there |
//! | --- | --- |
//! | [`config`] | settings; secrets have no defaults |
//! | [`qr`] | payment QR codes, EMVCo and VietQR (pure) |
//! | [`city`], `place` | what the city's folder says: banks, billers, dated rules, name, zone |
//! | `connect` | the ways to connected banks and billers |
//! | [`partner`] | banks and billers: signed calls and callbacks, and what their answers mean |
//! | [`top_up`] | money from a bank: a saga with a pure state machine and a job |
//! | [`bill`] | linked customer codes and what billers ask them for |
//! | [`bill_payment`] | a bill paid: hold, biller's word, post or void; a saga with a pure state machine and a job |
//! | `fee` | notices of agencies to citizens, paid as bills are; the agency is told |
//! | `merchant` | merchants, stores, tills and their codes |
//! | `payment`, `refund` | a citizen pays a merchant, who may give it back: one request to the ledger each |
//! | `person` | what is sealed under a citizen's own key |
//! | `delegate` | guardians who pay for somebody: what they may, and how much of it is left; `delegate::rule` is pure |
//! | `proposal` | how stuck payments end: proposed by one officer, approved by another; `proposal::rule` is pure |
//! | `account`, `rider` | derived ids and kinds in the ledger; what is written in its batches |
//! | `bulkhead` | places at billers, so that one which hangs holds up nobody who waits for another |
//! | `unclear` | tells a citizen that a partner has said nothing definite for a while |
//! | `allowance`, `limit` | which rules bound an amount; the limits that go with a request |
//! | `step_up` | proofs that citizens bring along: checked against their transaction, recorded in its batch |
//! | `citizen`, `device`, `standing` | tiers and devices, from identity's events; read for all who ask at the same moment |
//! | `history`, `journal`, `feed`, `places` | the journal as a citizen sees it, as an event stream, as a wake-up for live streams; how many of those |
//! | `checkpoint`, `receipt` | signs the books at the end of each day; proofs for those whose transaction it was |
//! | `turn` | a citizen's turn: whoever counts what a citizen has, and adds to it, does so alone |
//! | `http`, `grpc` | transport: the only files that know axum and tonic, beside this one |
//! | `metrics`, [`error`], `event`, `text` | counts; stable codes; protobuf values; parsed texts |
//!
//! Round trips of a payment: one for the citizens' standing and those of the ledger's batch, shared with all payments of the moment, and none of its own.
//!
//! Lock order: the ledger's shard, a citizen's turn (`turn`), a customer at a biller, their links, bill, top-up or bill payment, a citizen's key, job,
//! outbox head. Nothing that holds a later one waits for an earlier one.
//!
//! Invariants:
//! - Money moves in the ledger's batches only; what else a movement changes rides in the same batch.
//! - An outside party is asked only after the intent is saved, and never again before its status is known.
//! - Another citizen's things do not exist: they answer `not-found`.
//! - No log, metric or event carries an account number at a bank, a customer code at a biller or a token.

mod account;
mod allowance;
pub mod bill;
pub mod bill_payment;
mod bulkhead;
mod checkpoint;
mod citizen;
pub mod city;
pub mod config;
mod connect;
mod delegate;
mod device;
pub mod error;
mod event;
mod fee;
mod feed;
mod grpc;
mod history;
mod http;
mod journal;
mod limit;
mod merchant;
mod metrics;
pub mod partner;
mod payment;
mod person;
mod place;
mod places;
mod proposal;
pub mod qr;
mod receipt;
mod refund;
mod rider;
mod standing;
mod step_up;
mod text;
pub mod top_up;
mod turn;
mod unclear;
mod work;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use ledger::note::{NoteError, PublicKey};
use ledger::{Engine, Ledger};
use platform::auth::Verifier;
use platform::clock::Clock;
use platform::config::Secret;
use platform::dataset::{Fault, Faults};
use platform::db::Schema;
use platform::http::Language;
use platform::idempotency;
use platform::outbox::Relay;
use platform::person::{self as persons, PersonConfigError, PersonKeys};
use platform::rpc::Channel;
use platform::service::{Context, DatabaseReady, KeysReady, Service};
use platform::task::Task;
use sqlx::PgPool;

pub use city::check_city;
pub use config::Config;
pub use journal::STREAM as JOURNAL_STREAM;

use bill::BillerConnector;
use bulkhead::Bulkhead;
use merchant::{Payee, TillId, VirtualAccounts};
use rider::{Rider, WalletRiders};
use top_up::BankConnector;

/// Where the wallet keeps its tables.
pub const SCHEMA: Schema = Schema::new("wallet");
/// The stream of what the wallet tells beside the journal.
pub const STREAM: &str = "wallet";
/// The wallet's own migrations.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!();

/// Tills whose payee is remembered.
const MAX_PAYEES: u64 = 100_000;
/// How long answers to idempotency keys are kept. Keys of payments and top-ups are kept as long as what they made.
const KEY_LIFE: TimeDelta = TimeDelta::days(7);
/// How often open top-ups and payments of bills are counted.
const COUNT_INTERVAL: Duration = Duration::from_secs(15);

/// The longest time between two fetches of bills: 30 days, in seconds.
const MAX_BILL_REFRESH_S: i64 = 30 * 24 * 3600;

/// What the wallet is given.
pub struct Deps {
    /// Database, Redis, clock, metrics, token checks.
    pub context: Context,
    /// The way to identity.
    pub identity: Channel,
}

impl std::fmt::Debug for Deps {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Deps").field("context", &self.context).finish_non_exhaustive()
    }
}

/// Why the wallet can't be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A setting is out of bounds.
    #[error("{0}")]
    Config(String),
    /// A file of the city's folder is wrong.
    #[error(transparent)]
    City(#[from] Faults),
    /// `city.toml` is wrong.
    #[error(transparent)]
    Place(#[from] Fault),
    /// The key of the ledger's checkpoints is none, or can't have the city's name.
    #[error("wallet: checkpoint: {0}")]
    Checkpoint(#[from] NoteError),
    /// The secrets of citizens' keys can't be used.
    #[error(transparent)]
    Persons(#[from] PersonConfigError),
    /// The HTTP client can't be set up.
    #[error("the client for banks and billers can't be set up")]
    Client(#[from] reqwest::Error),
}

/// A connected bank.
pub(crate) struct Bank {
    connector: Box<dyn BankConnector>,
    callback_secret: Secret,
}

/// A connected biller.
pub(crate) struct Biller {
    profile: city::Biller,
    connector: Box<dyn BillerConnector>,
    callback_secret: Secret,
}

/// The city's lists of outside parties, connected or not.
pub(crate) struct Directory {
    banks: city::Banks,
    billers: city::Billers,
    agencies: city::Agencies,
    procedures: city::Procedures,
}

impl Directory {
    /// The name of a biller or an agency, where payments of bills are shown.
    fn payee(&self, biller_code: &str, language: Language) -> String {
        let named = match fee::agency_of(biller_code) {
            Some(agency) => self.agencies.get(agency).map(|agency| agency.name(language)),
            None => self.billers.get(biller_code).map(|biller| biller.name(language)),
        };
        named.unwrap_or(biller_code).to_owned()
    }
}

/// The service: what every use case needs.
pub(crate) struct Wallet {
    pool: PgPool,
    clock: Clock,
    verifier: Verifier,
    metrics: metrics::WalletMetrics,
    ledger: Ledger<Rider>,
    shard: i16,
    rules: city::Rules,
    directory: Directory,
    place: place::Place,
    banks: HashMap<String, Bank>,
    billers: BTreeMap<String, Biller>,
    agency_endpoints: BTreeMap<String, fee::AgencyEndpoint>,
    identity: Channel,
    persons: Arc<PersonKeys>,
    /// Of the jobs that pay bills.
    payment_places: Bulkhead,
    /// Of the jobs that fetch bills.
    refresh_places: Bulkhead,
    /// Of citizens who link a customer.
    look_places: Bulkhead,
    lookups: bill::Lookups,
    bill_refresh: TimeDelta,
    virtual_accounts: Option<VirtualAccounts>,
    checkpoint_key: Option<PublicKey>,
    timing: partner::Timing,
    payees: moka::sync::Cache<TillId, Arc<Payee>>,
    standings: standing::Standings,
    feed: feed::Feed,
    places: places::Places,
}

impl Wallet {
    /// The connected bank of a code.
    fn bank(&self, code: &str) -> Result<&Bank, error::Error> {
        self.banks.get(code).ok_or(error::Error::BankUnknown)
    }

    /// The connected biller of a code.
    fn biller(&self, code: &str) -> Result<&Biller, error::BillFault> {
        self.billers.get(code).ok_or(error::BillFault::BillerUnknown)
    }

    /// Who records payments of bills under a code.
    fn connector(&self, code: &str) -> Result<&dyn BillerConnector, error::BillFault> {
        match fee::agency_of(code) {
            Some(_) => Ok(&fee::AgencyBooks),
            None => Ok(self.biller(code)?.connector.as_ref()),
        }
    }
}

/// Builds the role. Nothing is reached yet: database, Redis and banks may be away when the process starts.
///
/// # Errors
/// When a setting is out of bounds or a file of the city's folder is wrong.
pub async fn build(config: Config, deps: Deps) -> Result<Service, BuildError> {
    let Deps { context, identity } = deps;
    let directory = Directory {
        banks: city::load_banks(&context.city)?,
        billers: city::load_billers(&context.city)?,
        agencies: city::load_agencies(&context.city)?,
        procedures: city::load_procedures(&context.city)?,
    };
    let metrics = metrics::WalletMetrics::new(&context.metrics);
    let riders = WalletRiders { clock: context.clock.clone(), metrics: metrics.clone() };
    let place = place::Place::load(&context.city)?;
    let books = ledger::Config { calendar: place.calendar(), ..config.ledger.clone() };
    let (ledger, mut tasks) =
        Engine::start(context.pool.clone(), context.clock.clone(), &context.metrics, books, riders);
    let (feed, feed_task) = feed::Feed::start(&context.pool, config.ledger.shard);
    let (standings, standings_task) = standing::start(&context.pool);
    let maker = checkpoint::maker(&config.checkpoint, &context.public_url, config.ledger.shard, place.zone())?;
    let wallet = Arc::new(Wallet {
        pool: context.pool.clone(),
        clock: context.clock.clone(),
        verifier: context.verifier.clone(),
        metrics,
        ledger,
        shard: config.ledger.shard,
        rules: city::Rules::load(&context.city)?,
        place,
        banks: connect::banks(&config, &context, &directory.banks)?,
        billers: connect::billers(&config, &context, &directory.billers)?,
        agency_endpoints: fee::AgencyEndpoint::all(&config)?,
        identity,
        persons: Arc::new(PersonKeys::try_new(SCHEMA, &config.persons)?),
        payment_places: connect::job_places(&config)?,
        refresh_places: connect::job_places(&config)?,
        look_places: connect::look_places(&config),
        lookups: bill::Lookups::new(),
        bill_refresh: bill_refresh(&config)?,
        virtual_accounts: virtual_accounts(&config, &directory.banks)?,
        directory,
        checkpoint_key: maker.as_ref().map(|maker| maker.public_key()).transpose()?,
        timing: partner::Timing {
            first_status_query: Duration::from_millis(config.first_status_query_ms),
            last_status_query: Duration::from_millis(config.last_status_query_ms),
        },
        payees: moka::sync::Cache::new(MAX_PAYEES),
        standings,
        feed,
        places: places::Places::new(),
    });
    tasks.extend(persons::tasks(
        &context,
        (SCHEMA, wallet.persons.clone()),
        wallet.identity.clone(),
        Arc::new(person::WalletHolder(wallet.clone())),
        Some(Arc::new(citizen::CitizenKeeper)),
    ));
    let journal = journal::Journal { pool: context.pool.clone(), shard: wallet.shard };
    if maker.is_some() {
        tasks.push(checkpoint::schedule(&context, wallet.shard));
    } else {
        tracing::warn!("wallet.checkpoint.key is not set: the books are not signed");
    }
    tasks.extend(work::runners(&context, &wallet, maker));
    let (pool, clock) = (context.pool.clone(), context.clock.clone());
    tasks.push(ledger::expiry::task(wallet.ledger.clone(), pool, clock, wallet.shard, &context.metrics));
    tasks.extend([
        feed_task,
        standings_task,
        Relay::of_outbox(&context, SCHEMA, STREAM).into_task(),
        Relay::new(&context, SCHEMA, journal::STREAM, journal).into_task(),
        persons::upkeep(&context, wallet.persons.clone(), Arc::new(person::Plain(wallet.persons.clone()))),
        count_task(wallet.clone()),
        idempotency::retention(context.pool.clone(), SCHEMA, context.clock.clone(), KEY_LIFE),
    ]);
    Ok(Service {
        http: http::router(wallet.clone()),
        grpc: Some(grpc::routes(wallet)),
        tasks,
        ready: vec![Arc::new(DatabaseReady(context.pool.clone())), Arc::new(KeysReady(context.verifier.clone()))],
        metrics: context.metrics,
    })
}

/// How often bills are fetched.
fn bill_refresh(config: &Config) -> Result<TimeDelta, BuildError> {
    let seconds =
        i64::try_from(config.bill_refresh_s).ok().filter(|seconds| (1..=MAX_BILL_REFRESH_S).contains(seconds));
    let seconds = seconds
        .ok_or_else(|| BuildError::Config(format!("wallet: bill_refresh_s is not 1 to {MAX_BILL_REFRESH_S}")))?;
    Ok(TimeDelta::seconds(seconds))
}

/// The bank of the merchants' accounts; none when no bank is connected.
fn virtual_accounts(config: &Config, directory: &city::Banks) -> Result<Option<VirtualAccounts>, BuildError> {
    let Some(code) = config.virtual_account_bank.as_ref().or_else(|| config.banks.keys().next()) else {
        return Ok(None);
    };
    let prefix = config.virtual_account_prefix.clone();
    let plain = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
    if prefix.is_empty() || prefix.len() > 6 || !prefix.bytes().all(plain) {
        return Err(BuildError::Config(
            "wallet: virtual_account_prefix is not 1 to 6 upper-case letters and digits".to_owned(),
        ));
    }
    let bank = directory.by_code(code).filter(|bank| bank.receives);
    let Some(bin) = bank.and_then(|bank| bank.bin.clone()) else {
        return Err(BuildError::Config(format!("wallet: bank `{code}` can't be paid by VietQR")));
    };
    Ok(Some(VirtualAccounts { bank_code: code.clone(), bin, prefix }))
}

/// Counts open top-ups and payments of bills for the metrics.
fn count_task(wallet: Arc<Wallet>) -> Task {
    Task::new("open-saga-count", move |shutdown| async move {
        loop {
            let counted = async {
                let mut connection = wallet.pool.acquire().await?;
                wallet.metrics.open_top_ups(&top_up::count_open(&mut connection).await?);
                wallet.metrics.open_bill_payments(&bill_payment::sql::count_open(&mut connection).await?);
                Ok::<_, sqlx::Error>(())
            };
            if let Err(error) = counted.await {
                tracing::warn!(%error, "open top-ups and bill payments were not counted");
            }
            tokio::select! {
                () = tokio::time::sleep(COUNT_INTERVAL) => {}
                () = shutdown.cancelled() => return Ok(()),
            }
        }
    })
}

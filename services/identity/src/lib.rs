//! Who a citizen is: phone sign-in, sessions, PIN and tokens; and who acts for the city.
//!
//! | module | what lives there |
//! | --- | --- |
//! | [`config`] | settings; secrets have no defaults |
//! | [`audit`] | who did what, when, from where and why: a chain of records |
//! | `phone` | numbers as people write them, kept as E.164 (pure) |
//! | `challenge` | one-time codes: asked for, taken once by notifications, answered; `challenge::rule` is pure |
//! | `caps` | how many codes may be asked for: buckets in Redis, one script |
//! | `citizen`, `device` | people and what they sign in on |
//! | `name` | what citizens call their devices and passkeys, sealed |
//! | `session` | refresh rotation (`session::rule`, pure), access tokens, ends of sessions |
//! | `organisation` | the city's agencies in a tree; `organisation::tree` is pure |
//! | `officer` | roles given and taken; `officer::role`, `term` and `rule` are pure |
//! | `delegation` | who acts for whom; `delegation::rule` is pure |
//! | `openid` | the OpenID provider: clients, codes, consents, ID tokens |
//! | `revocation` | what is refused before it expires |
//! | `key` | signing keys, their rotation, the JWKS |
//! | `pin` | strength and delay (pure), argon2id |
//! | `passkey` | passkeys and what they are asked |
//! | `ekyc` | citizen numbers proved by an outside verifier; `ekyc::number` is pure |
//! | `vneid` | visits to VNeID, links to accounts there, and signing in by them |
//! | `step_up` | proofs for one transaction; `step_up::transaction` is pure |
//! | `vault` | everything that a configured key protects |
//! | `http`, `grpc` | transport: the only files that know axum and tonic, beside this one |
//! | `archive` | a copy of everything that all services keep of a citizen |
//! | `closing` | a citizen leaves: services agree, time to take it back, erasure; `closing::rule` is pure |
//! | `export` | everything that is held on a citizen, for themself |
//! | `prune`, `meter`, `error` | what is over goes; metrics; stable codes |
//!
//! Lock order: client, consent, authorisation, challenge, citizen, session, PIN, revocation head, audit head, outbox head.
//!
//! Invariants:
//! - A phone number, a name, a code, a PIN and a token never reach a log, a metric, an error or an event.
//! - A challenge is consumed once; a refresh token rotates once; a replay ends its own family only.
//! - Nothing in the database gives access without the keys of the configuration.
//! - When Redis is away no code is sent; everything else goes on.

mod archive;
pub mod audit;
mod caps;
mod challenge;
mod citizen;
pub mod city;
mod closing;
pub mod config;
mod delegation;
mod dependent;
mod device;
mod ekyc;
pub mod error;
mod export;
mod grpc;
mod http;
mod key;
mod meter;
mod name;
pub mod officer;
mod openid;
pub mod organisation;
mod passkey;
mod phone;
mod pin;
mod prune;
mod revocation;
mod session;
mod step_up;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod vault;
mod vneid;

use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, NaiveDate, SubsecRound as _, TimeDelta, Utc};
use platform::auth::Verifier;
use platform::clock::Clock;
use platform::dataset::Faults;
use platform::db::Schema;
use platform::idempotency;
use platform::job::Runner;
use platform::outbox::Relay;
use platform::redis::RedisLink;
use platform::service::{Context, DatabaseReady, KeysReady, Service};
use sqlx::PgPool;
use url::Url;

use crate::audit::{OperatorAct, Origin, Source};
pub use challenge::{ChallengeId, Purpose};
pub use citizen::CitizenId;
pub use city::check_city;
pub use config::Config;
pub use device::DeviceId;
pub use key::{Algorithm, DatabaseKeySource, KeyStatus, Urgency, list_keys};
pub use openid::{OwnPage, set_up_page_as_operator};
pub use session::SessionId;
pub use vault::KeyError;

/// Where identity keeps its tables.
pub const SCHEMA: Schema = Schema::new("identity");
/// The stream of identity's events.
pub const STREAM: &str = "identity";
/// Identity's own migrations.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!();

/// How long answers to idempotency keys are kept.
const KEY_LIFE: TimeDelta = TimeDelta::days(7);

/// What identity is given.
#[derive(Clone, Debug)]
pub struct Deps {
    /// Database, Redis, clock, metrics, token checks.
    pub context: Context,
}

/// Why identity can't be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A setting is out of bounds.
    #[error("{0}")]
    Config(String),
    /// A secret is missing or weak.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// A file of the city's folder is wrong.
    #[error(transparent)]
    City(#[from] Faults),
    /// No client for outside parties can be made.
    #[error("the ways to outside parties can't be set up")]
    Client(#[from] reqwest::Error),
}

/// The service: what every use case needs.
pub(crate) struct Identity {
    pub config: Config,
    pub issuer: String,
    pub numbering: phone::Numbering,
    pub vault: vault::Vault,
    pub pool: PgPool,
    pub redis: RedisLink,
    pub clock: Clock,
    pub verifier: Verifier,
    pub meter: meter::Meter,
    pub ring: key::Ring,
    pub clients: openid::Clients,
    pub organisations: organisation::Organisations,
    /// The zone in which the city counts days.
    pub zone: chrono_tz::Tz,
    /// The name of this process.
    pub instance: String,
    pub hasher: pin::Hasher,
    /// Tries of addresses that have had theirs, on their way to the audit.
    pub capped: audit::Capped,
    /// The outside verifier of citizen numbers, if there is one.
    pub verifies: Option<Box<dyn ekyc::verifier::Verifier>>,
    /// VNeID, if this city is connected to it.
    pub vneid: Option<Box<dyn vneid::provider::Provider>>,
    /// The relying party of passkeys; none where the public URL has no name.
    pub passkeys: Option<webauthn_rs::Webauthn>,
}

impl Identity {
    /// The time, as exactly as PostgreSQL keeps it.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.clock.now().trunc_subsecs(6)
    }

    /// The day in the city.
    pub(crate) fn today(&self) -> NaiveDate {
        self.now().with_timezone(&self.zone).date_naive()
    }

    /// Where a request came from, as the audit keeps it.
    pub(crate) fn source(&self, origin: Origin) -> Source {
        let place = origin.address.map(|address| self.vault.address_digest(address)).unwrap_or_default();
        Source::app(place, origin)
    }

    fn try_new(config: Config, context: &Context) -> Result<Self, BuildError> {
        config.check().map_err(BuildError::Config)?;
        let meter = meter::Meter::new(&context.metrics);
        meter.otp_budget(config.budget.daily_codes);
        Ok(Self {
            issuer: config.issuer_for(&context.public_url),
            numbering: numbering(&config, &context.city)?,
            vault: vault::Vault::try_new(&config.keys)?,
            pool: context.pool.clone(),
            redis: context.redis.clone(),
            clock: context.clock.clone(),
            verifier: context.verifier.clone(),
            meter,
            ring: key::Ring::default(),
            clients: openid::Clients::default(),
            organisations: organisation::Organisations::default(),
            zone: chrono_tz::UTC,
            instance: context.instance.clone(),
            hasher: pin::Hasher::new(config.pin_hashes_at_once),
            capped: audit::Capped::default(),
            verifies: verifier(&config)?,
            vneid: provider(&config)?,
            passkeys: passkey::relying_party(&context.public_url),
            config,
        })
    }
}

/// Builds the role. Nothing is reached yet: the database and Redis may be away when the process starts.
///
/// # Errors
/// When a setting is out of bounds or a secret is missing.
pub async fn build(config: Config, deps: Deps) -> Result<Service, BuildError> {
    let Deps { context } = deps;
    let identity = Identity::try_new(config, &context)?;
    let organisations = organisation::Organisations::load(&context.city)?;
    let zone = city::zone(&context.city).map_err(|fault| Faults(vec![fault]))?;
    let identity = Arc::new(Identity { organisations, zone, ..identity });
    let jobs = Runner::new(&context, SCHEMA)
        .on(ekyc::JOB, ekyc::EkycJob { identity: identity.clone() })
        .on(archive::JOB, archive::OwnJob { identity: identity.clone() })
        .on(closing::JOB, closing::ErasureJob { identity: identity.clone() })
        .on(closing::LAST_WORD_JOB, closing::LastWordJob { identity: identity.clone() });
    Ok(Service {
        http: http::router(identity.clone()),
        grpc: Some(
            grpc::routes(identity.clone())
                .add_service(grpc::office::service(identity.clone()))
                .add_service(grpc::officer::service(identity.clone()))
                .add_service(grpc::delegation::service(identity.clone())),
        ),
        tasks: vec![
            identity.key_task(),
            identity.prune_task(),
            identity.person_task(&context.metrics),
            Relay::of_outbox(&context, SCHEMA, STREAM).into_task(),
            jobs.into_task(),
            idempotency::retention(context.pool.clone(), SCHEMA, context.clock.clone(), KEY_LIFE),
        ],
        ready: vec![Arc::new(DatabaseReady(context.pool.clone())), Arc::new(KeysReady(context.verifier.clone()))],
        metrics: context.metrics,
    })
}

/// Lets the next signing keys take over, for operators.
///
/// # Errors
/// When a setting is wrong or the database does not answer; when clients may not know the next keys yet, and nobody forces it.
pub async fn rotate_keys(
    mut config: Config,
    deps: Deps,
    (act, urgency): (&OperatorAct, Urgency),
) -> Result<(), platform::problem::Problem> {
    // No number is read here, so that the city's folder need not be at hand: any region will do.
    config.region.get_or_insert_with(|| "VN".to_owned());
    let identity = Identity::try_new(config, &deps.context)
        .map_err(|error| platform::problem::Problem::new(platform::problem::INTERNAL).source(error))?;
    if identity.rotate_keys(urgency, &act.behest()).await? {
        Ok(())
    } else {
        Err(platform::problem::Problem::new(key::NEXT_KEYS_NEW))
    }
}

/// The way to the outside verifier of citizen numbers.
fn verifier(config: &Config) -> Result<Option<Box<dyn ekyc::verifier::Verifier>>, BuildError> {
    let Some(settings) = &config.ekyc else { return Ok(None) };
    let verifier = ekyc::verifier::HttpVerifier::try_new(settings.url.clone(), settings.token.clone())?;
    Ok(Some(Box::new(verifier)))
}

/// The way to VNeID.
fn provider(config: &Config) -> Result<Option<Box<dyn vneid::provider::Provider>>, BuildError> {
    let Some(settings) = &config.vneid else { return Ok(None) };
    Ok(Some(Box::new(vneid::provider::HttpProvider::try_new(settings.clone())?)))
}

/// Which numbers may sign in: the configured region, else the city's.
fn numbering(config: &Config, city: &Path) -> Result<phone::Numbering, BuildError> {
    let region = match &config.region {
        Some(region) => region.clone(),
        None => city::phone_region(city).map_err(|fault| BuildError::Config(fault.to_string()))?,
    };
    let served = config.served_regions.clone().unwrap_or_else(|| vec![region.clone()]);
    phone::Numbering::try_new(&region, &served)
        .map_err(|name| BuildError::Config(format!("identity: `{name}` is not a region (ISO 3166-1 alpha-2)")))
}

impl Config {
    /// The `iss` of tokens: the configured issuer, else the public URL, without a slash at the end.
    pub fn issuer_for(&self, public_url: &Url) -> String {
        self.issuer.as_ref().unwrap_or(public_url).as_str().trim_end_matches('/').to_owned()
    }
}

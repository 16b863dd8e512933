//! What the tests of this crate share: a private database, a private Redis, a clock that moves, and short ways to sign in.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use platform::auth::{Principal, Verifier};
use platform::clock::Clock;
use platform::config::Secret;
use platform::embedded::scratch::{self, TestDatabase, TestRedis};
use platform::http::{HttpSettings, Language};
use platform::metrics::Metrics;
use platform::redis::RedisLink;
use platform::service::Context;
use platform::task::Shutdown;
use prost::Name;
use sqlx::PgPool;

use crate::challenge::{Ask, Asked, ChallengeId, Code, Purpose};
use crate::config::{Cap, Config, Keys};
use crate::device::{DeviceId, DeviceName};
use crate::error::Error;
use crate::organisation::Organisations;
use crate::session::{Opened, Opening, Seat};
use crate::vault::Vault;
use crate::{DatabaseKeySource, Identity, MIGRATOR, SCHEMA, city, http};

/// The city's folder.
const CITY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/city/hue");
/// The longest wait for something to become true.
const PATIENCE: Duration = Duration::from_secs(40);

/// Waits until a condition holds.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    assert!(waited.await.is_ok(), "in time: {what}");
}

/// A configuration with secrets of its own.
pub(crate) fn config() -> Config {
    let secret = |name: &str| Secret::new(format!("{name}-0123456789abcdef0123456789abcdef"));
    let keys = Keys {
        otp_hmac: secret("otp"),
        phone_hmac: secret("phone"),
        encryption: secret("encryption"),
        retired_encryption: Vec::new(),
        pin_pepper: secret("pepper"),
    };
    let mut config = Config { keys, region: Some("VN".to_owned()), ..Config::default() };
    // Most tests ask for more codes than a citizen does; the tests of caps set their own.
    let wide = Cap { burst: 1_000, refill_seconds: 1 };
    config.caps.number = wide;
    config.caps.number_daily = wide;
    config.caps.device = wide;
    config.caps.prefix = wide;
    config.caps.unanswered = wide;
    config.caps.address = wide;
    config.caps.network = wide;
    config.caps.answers = wide;
    config.caps.pin = wide;
    config.lifetimes.otp_resend_seconds = 0;
    config
}

/// A vault of [`config`].
pub(crate) fn vault() -> Vault {
    Vault::try_new(&config().keys).expect("the keys are valid")
}

/// One city's identity service with servers of its own.
pub(crate) struct Stage {
    pub identity: Arc<Identity>,
    pub context: Context,
    pub clock: Clock,
    pub redis: TestRedis,
    pub router: Router,
    database: TestDatabase,
    shutdown: Shutdown,
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.shutdown.begin();
    }
}

impl Stage {
    pub(crate) async fn new() -> Self {
        Self::with(config()).await
    }

    pub(crate) async fn with(config: Config) -> Self {
        let database = scratch::database(&[(SCHEMA, &MIGRATOR)]).await.expect("PostgreSQL is installed");
        let redis = scratch::redis().await.expect("Redis is installed");
        let clock = Clock::test();
        let shutdown = Shutdown::new();
        let context = context(&database, &redis, &clock, &config, &shutdown);
        let identity = replica(config, &context);
        identity.signer().await.expect("keys are made");
        let (router, _) = http::router(identity.clone()).split_for_parts();
        let router =
            platform::http::finish(router, HttpSettings::default(), context.verifier.clone(), shutdown.clone());
        Self { identity, context, clock, redis, router, database, shutdown }
    }

    /// Another replica of the same city.
    pub(crate) fn replica(&self) -> Arc<Identity> {
        let config = self.identity.config.clone();
        let context = context(&self.database, &self.redis, &self.clock, &config, &self.shutdown);
        replica(config, &context)
    }

    /// Sees and may do everything.
    pub(crate) fn admin(&self) -> PgPool {
        self.database.admin_pool()
    }

    pub(crate) async fn ask(&self, phone: &str, device: DeviceId) -> Result<Asked, Error> {
        self.ask_for(phone, device, Purpose::SignIn).await
    }

    pub(crate) async fn ask_for(&self, phone: &str, device: DeviceId, purpose: Purpose) -> Result<Asked, Error> {
        self.identity.ask_code(self.ask_of(phone, device, purpose)).await
    }

    pub(crate) fn ask_of(&self, phone: &str, device: DeviceId, purpose: Purpose) -> Ask {
        let phone = self.identity.numbering.parse(phone).expect("a mobile number");
        Ask { phone, purpose, device, language: Language::Vi, address: None }
    }

    /// Asks for a code and takes it as notifications would.
    pub(crate) async fn code(&self, phone: &str, device: DeviceId, purpose: Purpose) -> (ChallengeId, Code) {
        let asked = self.ask_for(phone, device, purpose).await.expect("a code is sent");
        let taken = self.identity.take_code(asked.id).await.expect("the code waits");
        (asked.id, taken.code)
    }

    pub(crate) async fn sign_in(&self, phone: &str, device: DeviceId) -> Opened {
        let (challenge, code) = self.code(phone, device, Purpose::SignIn).await;
        self.identity.open_session(opening(challenge, code)).await.expect("a session")
    }

    /// Who an access token stands for; waits until the keys are known.
    pub(crate) async fn principal(&self, access_token: &str) -> Principal {
        self.context.verifier.verify(access_token).await.expect("a valid token")
    }

    /// The payloads of all events of a kind, in order.
    pub(crate) async fn events<M: Name + Default>(&self) -> Vec<M> {
        let rows: Vec<Vec<u8>> =
            sqlx::query_scalar("SELECT data FROM identity.outbox WHERE kind = $1 ORDER BY arrival")
                .bind(M::full_name())
                .fetch_all(&self.admin())
                .await
                .expect("the outbox is there");
        rows.iter().map(|data| M::decode(data.as_slice()).expect("a payload of its kind")).collect()
    }

    pub(crate) async fn count(&self, table_and_condition: &'static str) -> i64 {
        let sql = format!("SELECT count(*) FROM identity.{table_and_condition}");
        sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(&self.admin()).await.expect("a query")
    }
}

/// One more process of the city.
fn replica(config: Config, context: &Context) -> Arc<Identity> {
    let organisations = Organisations::load(&context.city).expect("the city's agencies are sound");
    let identity = Identity::try_new(config, context).expect("the configuration is valid");
    let zone = city::zone(&context.city).expect("the city has a zone");
    Arc::new(Identity { organisations, zone, ..identity })
}

fn context(database: &TestDatabase, redis: &TestRedis, clock: &Clock, config: &Config, shutdown: &Shutdown) -> Context {
    let pool = database.pool(SCHEMA);
    let public_url = "http://localhost:8080".parse().expect("a URL");
    let (verifier, task) = Verifier::new(
        DatabaseKeySource::new(pool.clone(), config.issuer_for(&public_url), clock.clone()),
        clock.clone(),
    );
    tokio::spawn(task.run(shutdown.clone()));
    Context {
        pool,
        redis: RedisLink::try_new(&Secret::new(redis.url())).expect("a URL"),
        clock: clock.clone(),
        metrics: Metrics::new("identity", "test"),
        verifier,
        city: Arc::new(CITY.into()),
        public_url,
        instance: "test".to_owned(),
    }
}

/// A sign-in on the device that asked.
pub(crate) fn opening(challenge: ChallengeId, code: Code) -> Opening {
    Opening {
        seat: Seat::App,
        challenge,
        code,
        device: None,
        device_name: DeviceName::parse("Điện thoại").expect("a name"),
        public_key: None,
        address: None,
    }
}

/// Another code than the right one.
pub(crate) fn wrong(code: &Code) -> Code {
    let last = if code.expose().ends_with('0') { "1" } else { "0" };
    Code::parse(&format!("{}{last}", &code.expose()[..5])).expect("six digits")
}

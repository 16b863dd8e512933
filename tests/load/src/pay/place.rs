//! The city that is paid in, in this process, over private servers with the durability of production; and who signs its payers' tokens.
//!
//! Signing in ten thousand citizens by SMS would measure the rate limits of codes. Instead a key of our own is published in the city's key ring,
//! where a retired key stands, so that tokens signed by it pass the same check as any other.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::Context as _;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use chrono::{TimeDelta, Utc};
use harness::Visitor;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use platform::auth::{Claims, TOKEN_AUDIENCE, TOKEN_TYPE};
use platform::clock::Clock;
use platform::embedded::scratch::TestFolder;
use platform::telemetry::{self, Telemetry};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use trangtien::config::Config;
use trangtien::embedded::Existing;
use trangtien::folder::Folder;
use trangtien::progress::Progress;
use trangtien::up::{City, Options, Shape};
use url::Url;
use uuid::Uuid;

/// How long tokens live; longer than any run.
const TOKEN_LIFE: TimeDelta = TimeDelta::hours(6);
/// Connections of the administrator, who looks at the books.
const ADMIN_CONNECTIONS: u32 = 4;

/// A running city.
pub(super) struct Place {
    /// Where it listens.
    pub(super) address: SocketAddr,
    /// Speaks to it, and to its outside world.
    pub(super) visitor: Visitor,
    /// Its database.
    pub(super) admin: PgPool,
    /// Signs tokens that it accepts.
    pub(super) issuer: Issuer,
    city: City,
    _folder: TestFolder,
    _telemetry: Telemetry,
}

impl Place {
    /// Starts the city and waits until it is ready.
    pub(super) async fn start() -> anyhow::Result<Self> {
        rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
        let telemetry = telemetry::init(&Config::load(None)?.telemetry_of_up(), "load")?;
        let folder = TestFolder::new("load")?;
        let options = Options {
            data_dir: folder.path().join("data"),
            city: Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/city/hue"),
            http: Some("localhost:0".to_owned()),
            shape: Shape::AllInOne,
            existing: Existing::default(),
            traffic: None,
        };
        let data = Folder::open(&options.data_dir)?;
        let city = City::start(data, &options, Clock::system(), &Progress::start()).await?;
        let url: Url = city.info().http.parse()?;
        let port = url.port().context("the city's URL has a port")?;
        let pool = PgPoolOptions::new().max_connections(ADMIN_CONNECTIONS);
        let admin = pool.connect(&city.info().database_url).await?;
        let issuer = Issuer::publish(&admin, url.as_str().trim_end_matches('/')).await?;
        let visitor = Visitor::new(url, city.info().sandbox.parse()?)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Ok(Self { address, visitor, admin, issuer, city, _folder: folder, _telemetry: telemetry })
    }

    /// Stops it.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        self.admin.close().await;
        self.city.stop().await
    }
}

/// Signs tokens with a key that the city publishes.
pub(super) struct Issuer {
    /// The `iss` of tokens.
    pub(super) name: String,
    kid: String,
    key: EncodingKey,
}

impl Issuer {
    /// Makes a key and puts its public half into the city's key ring.
    async fn publish(admin: &PgPool, name: &str) -> anyhow::Result<Self> {
        let pair = Ed25519KeyPair::generate()?;
        let kid = Uuid::new_v4().to_string();
        let now = Utc::now();
        sqlx::query(
            "INSERT INTO identity.signing_key (kid, algorithm, public_key, state, created_at, activated_at, retired_at, remove_at)
             VALUES ($1, 'EdDSA', $2, 'retired', $3, $3, $3, $4)",
        )
        .bind(&kid)
        .bind(pair.public_key().as_ref())
        .bind(now)
        .bind(now + TOKEN_LIFE)
        .execute(admin)
        .await?;
        let key = EncodingKey::from_ed_der(pair.to_pkcs8()?.as_ref());
        Ok(Self { name: name.to_owned(), kid, key })
    }

    /// A token of the shape that identity gives to citizens.
    pub(super) fn token(&self, citizen: Uuid) -> anyhow::Result<String> {
        let now = Utc::now();
        let claims = Claims {
            iss: self.name.clone(),
            sub: citizen,
            aud: TOKEN_AUDIENCE.to_owned(),
            client_id: "load".to_owned(),
            exp: (now + TOKEN_LIFE).timestamp(),
            iat: now.timestamp(),
            jti: Uuid::now_v7(),
            sid: Uuid::now_v7(),
            auth_time: now.timestamp(),
            acr: String::new(),
            amr: vec!["sms".to_owned(), "otp".to_owned()],
            scope: String::new(),
            roles: Vec::new(),
            role_epoch: 0,
            agency: None,
        };
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(TOKEN_TYPE.to_owned());
        header.kid = Some(self.kid.clone());
        Ok(jsonwebtoken::encode(&header, &claims, &self.key)?)
    }
}

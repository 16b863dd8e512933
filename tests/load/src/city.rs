//! The city that is measured, in this process, over private servers with the durability of production; and who signs its citizens' tokens.
//!
//! Signing in ten thousand citizens by SMS would measure the rate limits of codes. Instead a key of our own is published in the city's key ring,
//! where a retired key stands, so that tokens signed by it pass the same check as any other.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use chrono::{TimeDelta, Utc};
use harness::{Citizen, Visitor};
use http::HeaderValue;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use platform::auth::{APP_SCOPE, Claims, TOKEN_AUDIENCE, TOKEN_TYPE};
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

use crate::report::Report;

/// How long tokens live; longer than any run.
const TOKEN_LIFE: TimeDelta = TimeDelta::hours(6);
/// Connections of the administrator, who looks at the books.
const ADMIN_CONNECTIONS: u32 = 4;

/// A running city.
pub(crate) struct Place {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Speaks to it, and to its outside world.
    pub(crate) visitor: Visitor,
    /// Its database.
    pub(crate) admin: PgPool,
    /// Signs tokens that it accepts.
    pub(crate) issuer: Issuer,
    /// Where its data are.
    pub(crate) data_dir: PathBuf,
    city: City,
    _folder: TestFolder,
    _telemetry: Telemetry,
}

impl Place {
    /// Starts the whole city and waits until it is ready.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        Self::start_as(Shape::AllInOne).await
    }

    /// Starts a city of a shape and waits until it is ready.
    pub(crate) async fn start_as(shape: Shape) -> anyhow::Result<Self> {
        rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
        let telemetry = telemetry::init(&Config::load(None)?.telemetry_of_up(), "load")?;
        let folder = TestFolder::new("load")?;
        let options = Options {
            data_dir: folder.path().join("data"),
            city: Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/city/hue"),
            http: Some("localhost:0".to_owned()),
            shape,
            existing: Existing::default(),
            sandbox_port: None,
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
        let data_dir = options.data_dir;
        Ok(Self { address, visitor, admin, issuer, data_dir, city, _folder: folder, _telemetry: telemetry })
    }

    /// Citizens who hold tokens and have done nothing yet.
    pub(crate) fn citizens(&self, count: usize) -> anyhow::Result<Vec<Citizen>> {
        let citizen = |_| {
            let user = Uuid::now_v7();
            let (visitor, token) = (self.visitor.clone(), self.issuer.token(user)?);
            Ok(Citizen {
                visitor,
                phone: String::new(),
                user,
                token,
                refresh_token: String::new(),
                code: String::new(),
            })
        };
        (0..count).map(citizen).collect()
    }

    /// Stops it.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.admin.close().await;
        self.city.stop().await
    }
}

/// What a run measured, and whether the city was in order after it.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) report: Report,
    pub(crate) order: anyhow::Result<()>,
}

impl Measured {
    /// Writes the rows; fails when anything went wrong while measuring, or the city was not in order.
    pub(crate) fn finish(self, json: Option<&Path>) -> anyhow::Result<()> {
        self.report.finish(json)?;
        self.order
    }
}

/// What citizens send as `Authorization`.
pub(crate) fn authorizations(citizens: &[Citizen]) -> anyhow::Result<Vec<HeaderValue>> {
    citizens.iter().map(|citizen| Ok(HeaderValue::from_str(&format!("Bearer {}", citizen.token))?)).collect()
}

/// Signs tokens with a key that the city publishes.
pub(crate) struct Issuer {
    /// The `iss` of tokens.
    pub(crate) name: String,
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
    pub(crate) fn token(&self, citizen: Uuid) -> anyhow::Result<String> {
        self.token_of(citizen, Vec::new())
    }

    /// What somebody who holds a role sends as `Authorization`.
    pub(crate) fn officer(&self, role: &str) -> anyhow::Result<HeaderValue> {
        let token = self.token_of(Uuid::now_v7(), vec![role.to_owned()])?;
        Ok(HeaderValue::from_str(&format!("Bearer {token}"))?)
    }

    /// A token of somebody who holds roles.
    fn token_of(&self, citizen: Uuid, roles: Vec<String>) -> anyhow::Result<String> {
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
            scope: APP_SCOPE.to_owned(),
            roles,
            role_epoch: 0,
            agency: None,
        };
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(TOKEN_TYPE.to_owned());
        header.kid = Some(self.kid.clone());
        Ok(jsonwebtoken::encode(&header, &claims, &self.key)?)
    }
}

//! The servers under a city of `trangtien up`: private ones in its data folder, or ones that exist.

use anyhow::Context as _;
use platform::config::Secret;
use platform::db;
use platform::embedded::{Postgres, PostgresOptions, Redis, RedisOptions};
use sqlx::Connection as _;
use url::Url;

use crate::config::Databases;
use crate::folder::Folder;
use crate::migrate::{PARTS, Passwords};

/// The city's database on a private server.
const DATABASE: &str = "trangtien";
/// The most connections of one role's pool; all roles together stay far below the server's 200.
const POOL: u32 = 16;

/// PostgreSQL and Redis, private or not.
#[derive(Debug)]
pub struct Servers {
    postgres: Option<Postgres>,
    redis: Option<Redis>,
    database_url: Secret,
    redis_url: Secret,
}

/// Servers that exist, to be used instead of private ones.
#[derive(Clone, Debug, Default)]
pub struct Existing {
    /// A login that may create roles, and the city's database.
    pub database_url: Option<Secret>,
    /// Redis.
    pub redis_url: Option<Secret>,
}

impl Servers {
    /// Starts those that are not given, both at once.
    ///
    /// # Errors
    /// When one is not installed or does not start.
    pub async fn start(folder: &Folder, existing: Existing) -> anyhow::Result<Self> {
        let (postgres_dir, redis_dir) = (folder.postgres(), folder.redis());
        let postgres = async {
            match &existing.database_url {
                Some(_) => Ok(None),
                None => Postgres::start(&postgres_dir, PostgresOptions::durable()).await.map(Some),
            }
        };
        let redis = async {
            match &existing.redis_url {
                Some(_) => Ok(None),
                None => Redis::start(&redis_dir, RedisOptions::durable()).await.map(Some),
            }
        };
        let (postgres, redis) = tokio::join!(postgres, redis);
        let (postgres, redis) = (postgres?, redis?);
        let database_url = match (&postgres, existing.database_url) {
            (Some(postgres), _) => {
                create_database(postgres).await?;
                Secret::new(postgres.superuser_url(DATABASE))
            }
            (None, url) => url.context("a database URL was given")?,
        };
        let redis_url = match (&redis, existing.redis_url) {
            (Some(redis), _) => Secret::new(redis.url()),
            (None, url) => url.context("a Redis URL was given")?,
        };
        Ok(Self { postgres, redis, database_url, redis_url })
    }

    /// The database as its administrator.
    #[must_use]
    pub fn database_url(&self) -> &Secret {
        &self.database_url
    }

    /// Redis.
    #[must_use]
    pub fn redis_url(&self) -> &Secret {
        &self.redis_url
    }

    /// The private PostgreSQL, when there is one.
    #[must_use]
    pub fn postgres(&self) -> Option<&Postgres> {
        self.postgres.as_ref()
    }

    /// The private Redis, when there is one.
    #[must_use]
    pub fn redis(&self) -> Option<&Redis> {
        self.redis.as_ref()
    }

    /// One line that says where they are.
    #[must_use]
    pub fn place(&self) -> String {
        let postgres = self
            .postgres
            .as_ref()
            .map_or("PostgreSQL as given".to_owned(), |server| format!("PostgreSQL on 127.0.0.1:{}", server.port()));
        let redis = self
            .redis
            .as_ref()
            .map_or("Redis as given".to_owned(), |server| format!("Redis on 127.0.0.1:{}", server.port()));
        format!("{postgres}, {redis}")
    }

    /// Starts again what ended by itself, and says what that was.
    ///
    /// # Errors
    /// When it does not come back.
    pub async fn revive(&self) -> anyhow::Result<Vec<String>> {
        let mut said = Vec::new();
        if let Some(postgres) = &self.postgres
            && let Some(how) = postgres.ended().await
        {
            said.push(format!("PostgreSQL ended ({how}); starting it again. Its log: {}", postgres.log().display()));
            postgres.restart().await?;
        }
        if let Some(redis) = &self.redis
            && let Some(how) = redis.ended().await
        {
            said.push(format!("Redis ended ({how}); starting it again. Its log: {}", redis.log().display()));
            redis.restart().await?;
        }
        Ok(said)
    }

    /// Stops the private ones, Redis first: what it holds can be rebuilt from PostgreSQL.
    ///
    /// # Errors
    /// When one does not stop.
    pub async fn stop(&self) -> anyhow::Result<()> {
        if let Some(redis) = &self.redis {
            redis.stop().await?;
        }
        if let Some(postgres) = &self.postgres {
            postgres.stop().await?;
        }
        Ok(())
    }
}

async fn create_database(postgres: &Postgres) -> anyhow::Result<()> {
    let url = Secret::new(postgres.superuser_url("postgres"));
    let mut admin = db::connect(&url).await.context("cannot connect to the private PostgreSQL")?;
    let exists: bool = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_database WHERE datname = $1)")
        .bind(DATABASE)
        .fetch_one(&mut admin)
        .await
        .context("cannot look for the database")?;
    if !exists {
        sqlx::raw_sql("CREATE DATABASE trangtien TEMPLATE template0")
            .execute(&mut admin)
            .await
            .context("cannot create the database")?;
    }
    admin.close().await.context("closing a connection")
}

/// Every role's URLs: the administrator's, with the role's own login.
///
/// # Errors
/// When the administrator's URL is not one.
pub fn databases(admin_url: &Secret, passwords: &Passwords) -> anyhow::Result<Databases> {
    let admin: Url = admin_url.expose().parse().context("the database URL is not valid")?;
    let login = |role: String| -> anyhow::Result<Secret> {
        let mut url = admin.clone();
        let password = passwords.get(&role).map(Secret::expose);
        let set = url.set_username(&role).and_then(|()| url.set_password(password));
        set.map_err(|()| anyhow::anyhow!("the database URL has no host"))?;
        Ok(Secret::new(url.to_string()))
    };
    let mut databases = Databases::default();
    for part in PARTS {
        let settings = databases.of_schema_mut(part.schema.name());
        settings.url = login(part.schema.runtime_role())?;
        settings.owner_url = login(part.schema.owner_role())?;
        settings.max_connections = POOL;
    }
    Ok(databases)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::role::Role;

    #[test]
    fn every_role_logs_in_as_itself() {
        let passwords = Passwords::from([("trangtien_wallet".to_owned(), Secret::new("abc"))]);
        let admin = Secret::new("postgres://postgres:top@127.0.0.1:15000/trangtien");
        let databases = databases(&admin, &passwords).expect("a URL");
        assert_eq!(
            databases.of(Role::Wallet).url.expose(),
            "postgres://trangtien_wallet:abc@127.0.0.1:15000/trangtien"
        );
        assert!(!databases.of(Role::Identity).url.expose().contains("top"), "never the administrator's password");
    }
}

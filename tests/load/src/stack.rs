//! Private servers with the durability of production, in a folder that goes with them.

use platform::db::{self, PlatformTables};
use platform::embedded::scratch::TestFolder;
use platform::embedded::{Postgres, PostgresOptions, generate_secret};
use sqlx::migrate::Migrator;
use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection as _, PgConnection, PgPool};

/// The database that everything is measured in.
const DATABASE: &str = "postgres";

/// A private PostgreSQL with fsync on.
#[derive(Debug)]
pub(crate) struct Database {
    server: Postgres,
    secret: String,
    _folder: TestFolder,
}

/// A schema with its migrations, and whether platform's tables belong into it.
pub(crate) type Part = (db::Schema, &'static Migrator, PlatformTables);

impl Database {
    /// Starts a server with these schemas. Roles of `users` are made as well, because migrations grant them rights.
    pub(crate) async fn start(parts: &[Part], users: &[db::Schema]) -> anyhow::Result<Self> {
        let folder = TestFolder::new("load")?;
        let server = Postgres::start(&folder.path().join("postgres"), PostgresOptions::durable()).await?;
        let database = Self { server, secret: generate_secret(), _folder: folder };
        let mut admin = PgConnection::connect(&database.server.superuser_url(DATABASE)).await?;
        let schemas: Vec<db::Schema> = parts.iter().map(|(schema, ..)| *schema).chain(users.iter().copied()).collect();
        db::bootstrap(&mut admin, &schemas, |_| database.secret.clone()).await?;
        for (schema, migrator, platform_tables) in parts {
            let url = database.server.url(&schema.owner_role(), &database.secret, DATABASE);
            let mut owner = PgConnection::connect(&url).await?;
            db::migrate(&mut owner, *schema, migrator, *platform_tables).await?;
            owner.close().await?;
        }
        admin.close().await?;
        Ok(database)
    }

    /// A pool as a schema's runtime role.
    pub(crate) fn pool(&self, schema: db::Schema, connections: u32) -> anyhow::Result<PgPool> {
        let url = self.server.url(&schema.runtime_role(), &self.secret, DATABASE);
        Ok(PgPoolOptions::new().max_connections(connections).connect_lazy(&url)?)
    }

    /// A pool as the superuser.
    pub(crate) fn admin(&self, connections: u32) -> anyhow::Result<PgPool> {
        let url = self.server.superuser_url(DATABASE);
        Ok(PgPoolOptions::new().max_connections(connections).connect_lazy(&url)?)
    }

    /// Stops the server.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        Ok(self.server.stop().await?)
    }
}

//! Brings every schema up to date: roles and schemas by an administrator when one is given, then each schema by its owner.

use std::collections::BTreeMap;

use anyhow::Context as _;
use platform::config::Secret;
use platform::db::{self, PlatformTables, Schema};
use sqlx::Connection as _;
use sqlx::migrate::Migrator;

use crate::config::{Config, Databases};

/// One schema and what makes it.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// The schema.
    pub schema: Schema,
    /// The service's migrations.
    pub migrator: &'static Migrator,
    /// Whether platform's own tables belong into it.
    pub platform_tables: PlatformTables,
}

/// Every schema of the city, in the order in which they are migrated.
pub const PARTS: [Part; 6] = [
    service(identity::SCHEMA, &identity::MIGRATOR),
    Part { schema: ledger::SCHEMA, migrator: &ledger::MIGRATOR, platform_tables: PlatformTables::NotWanted },
    service(wallet::SCHEMA, &wallet::MIGRATOR),
    service(reports::SCHEMA, &reports::MIGRATOR),
    service(notifications::SCHEMA, &notifications::MIGRATOR),
    service(ioc::SCHEMA, &ioc::MIGRATOR),
];

const fn service(schema: Schema, migrator: &'static Migrator) -> Part {
    Part { schema, migrator, platform_tables: PlatformTables::Wanted }
}

/// The passwords of all roles of the database.
pub type Passwords = BTreeMap<String, Secret>;

/// Every login that the schemas need.
#[must_use]
pub fn logins() -> Vec<String> {
    PARTS.iter().flat_map(|part| [part.schema.owner_role(), part.schema.runtime_role()]).collect()
}

/// Makes roles and schemas that are missing in the database that `admin_url` names, and sets the roles' passwords,
/// or the verifiers of passwords.
///
/// # Errors
/// When the database does not answer or the login may not create roles.
pub async fn bootstrap(admin_url: &Secret, passwords: &Passwords) -> anyhow::Result<()> {
    let mut admin = db::connect(admin_url).await.context("cannot connect to the database as its administrator")?;
    let schemas = PARTS.map(|part| part.schema);
    let password = |role: &str| passwords.get(role).map(|secret| secret.expose().to_owned()).unwrap_or_default();
    db::bootstrap(&mut admin, &schemas, password).await.context("cannot make roles and schemas")?;
    admin.close().await.context("closing a connection")
}

/// Migrates every schema as its owner.
///
/// # Errors
/// Names the schema whose migration failed.
pub async fn migrate(databases: &Databases) -> anyhow::Result<()> {
    for part in PARTS {
        let settings = databases.of_schema(part.schema.name());
        if settings.owner_url.is_empty() {
            anyhow::bail!("`database.{}.owner_url` is not set", part.schema);
        }
        let mut owner = db::connect(&settings.owner_url)
            .await
            .with_context(|| format!("cannot connect as the owner of the schema {}", part.schema))?;
        db::migrate(&mut owner, part.schema, part.migrator, part.platform_tables)
            .await
            .with_context(|| format!("cannot migrate the schema {}", part.schema))?;
        owner.close().await.context("closing a connection")?;
    }
    Ok(())
}

/// The command `trangtien migrate`.
///
/// # Errors
/// As [`bootstrap`] and [`migrate`]; also when the administrator's URL is given and a role's URL has no password to set.
pub async fn run(config: &Config) -> anyhow::Result<()> {
    if !config.database.admin_url.is_empty() {
        bootstrap(&config.database.admin_url, &passwords_of(&config.database)?).await?;
        println!("roles and schemas are there");
    }
    migrate(&config.database).await?;
    for part in PARTS {
        println!("schema {} is up to date", part.schema);
    }
    Ok(())
}

/// Undoes the escaping of a URL's part.
fn percent_decoded(text: &str) -> String {
    let form = format!("password={}", text.replace('+', "%2B"));
    url::form_urlencoded::parse(form.as_bytes()).map(|(_, value)| value.into_owned()).next().unwrap_or_default()
}

/// The passwords that the configured URLs carry, by role.
fn passwords_of(databases: &Databases) -> anyhow::Result<Passwords> {
    let mut passwords = Passwords::new();
    for part in PARTS {
        let settings = databases.of_schema(part.schema.name());
        let runtime = match part.platform_tables {
            PlatformTables::Wanted => Some((part.schema.runtime_role(), &settings.url)),
            // Nobody logs in as the runtime role of a library's schema.
            PlatformTables::NotWanted => None,
        };
        for (role, url) in runtime.into_iter().chain([(part.schema.owner_role(), &settings.owner_url)]) {
            let parsed: url::Url = url.expose().parse().with_context(|| format!("the URL for {role} is not valid"))?;
            let password = parsed.password().with_context(|| format!("the URL for {role} has no password"))?;
            passwords.insert(role, Secret::new(percent_decoded(password)));
        }
    }
    for role in logins() {
        passwords.entry(role).or_insert_with(|| Secret::new(platform::embedded::generate_secret()));
    }
    Ok(passwords)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_read_as_they_were_meant() {
        assert_eq!(percent_decoded("a%40b+c%2F"), "a@b+c/");
    }

    #[test]
    fn every_login_has_a_role_and_an_owner() {
        assert_eq!(logins().len(), 2 * PARTS.len());
        assert!(logins().contains(&"trangtien_ledger_owner".to_owned()));
    }
}

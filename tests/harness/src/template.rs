//! A migrated PostgreSQL that the cities of tests are copied from: making and migrating one for each would take longer than most tests.
//!
//! It lies in the target folder and belongs to one build of the program and one installation of PostgreSQL; those of other builds are removed.
//! It is made by the program's own `trangtien migrate`, so that a city finds exactly what it would have made.
//!
//! Lock: `lock` beside the templates, exclusive while one is made or removed, shared while one is copied.

use std::fs::{File, OpenOptions};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use platform::config::Secret;
use platform::embedded::{Postgres, PostgresOptions, generate_secret, postgres_folder};
use sqlx::{Connection as _, PgConnection};
use tokio::process::Command;
use trangtien::config::Databases;

use crate::city::DATABASE;
use crate::launch::program;

/// Written last: where the template's data lies.
const FINISHED: &str = "finished";
/// What a private server keeps beside its data.
const SECRET: &str = "superuser.secret";
const MADE_FOR: &str = "data.made-for";

/// Lays a copy of the template into a new folder, for a private server to be started there.
pub(crate) async fn lay_into(dir: &Path) -> Result<()> {
    let place = place()?;
    folder(&place)?;
    let template = place.join(key()?);
    let shared = tokio::task::spawn_blocking({
        let place = place.clone();
        move || lock(&place, File::lock_shared)
    });
    let mut held = shared.await??;
    if !template.join(FINISHED).is_file() {
        drop(held);
        let alone = tokio::task::spawn_blocking({
            let place = place.clone();
            move || lock(&place, File::lock)
        });
        held = alone.await??;
        if !template.join(FINISHED).is_file() {
            remove_others(&place)?;
            make(&template).await.context("cannot make the template of a city's database")?;
        }
    }
    let copied = copy(&template, dir).await;
    drop(held);
    copied
}

async fn copy(template: &Path, dir: &Path) -> Result<()> {
    folder(dir)?;
    let data = std::fs::read_to_string(template.join(FINISHED))?;
    let copied =
        Command::new("cp").arg("-a").args([Path::new(&data), &template.join(SECRET)]).arg(dir).output().await?;
    ensure!(copied.status.success(), "cannot copy {data}: {}", String::from_utf8_lossy(&copied.stderr));
    std::fs::write(dir.join(MADE_FOR), dir.canonicalize()?.display().to_string())?;
    Ok(())
}

async fn make(template: &Path) -> Result<()> {
    let postgres = Postgres::start(template, PostgresOptions::scratch()).await?;
    let admin = postgres.superuser_url(DATABASE);
    migrate(template, &admin).await?;
    let mut connection = PgConnection::connect(&admin).await?;
    let data: String = sqlx::query_scalar("SHOW data_directory").fetch_one(&mut connection).await?;
    connection.close().await?;
    postgres.stop().await?;
    std::fs::write(template.join(FINISHED), data)?;
    Ok(())
}

/// Runs the program's migrations. The passwords are set anew by each city.
async fn migrate(template: &Path, admin: &str) -> Result<()> {
    let logins = trangtien::migrate::logins().into_iter();
    let passwords = logins.map(|login| (login, Secret::new(generate_secret()))).collect();
    let databases = trangtien::embedded::databases(&Secret::new(admin), &passwords)?;
    let configuration = template.join("migrate.toml");
    trangtien::folder::write_private(&configuration, &settings(admin, &databases))?;
    let migrated = Command::new(program()?).args(["migrate", "--config"]).arg(&configuration).output().await?;
    std::fs::remove_file(&configuration)?;
    ensure!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
    Ok(())
}

fn settings(admin: &str, databases: &Databases) -> String {
    let mut text = format!("[database]\nadmin_url = {admin:?}\n");
    for part in trangtien::migrate::PARTS {
        let (name, urls) = (part.schema.name(), databases.of_schema(part.schema.name()));
        let (url, owner) = (urls.url.expose(), urls.owner_url.expose());
        text.push_str(&format!("[database.{name}]\nurl = {url:?}\nowner_url = {owner:?}\n"));
    }
    text
}

/// The target folder's place for templates.
fn place() -> Result<PathBuf> {
    let program = program()?;
    let target = program.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file());
    Ok(target.or(program.parent()).context("the program lies in a folder")?.join("city-template"))
}

/// Which build of the program, which PostgreSQL.
fn key() -> Result<String> {
    let program = program()?;
    let built = program.metadata()?;
    let mut hasher = DefaultHasher::new();
    (program, built.len(), built.modified()?, postgres_folder()?).hash(&mut hasher);
    Ok(format!("{:016x}", hasher.finish()))
}

fn remove_others(place: &Path) -> Result<()> {
    for entry in std::fs::read_dir(place)?.flatten().filter(|entry| entry.path().is_dir()) {
        // Also what a server of another account keeps elsewhere.
        Postgres::remove(&entry.path())?;
    }
    Ok(())
}

fn lock(place: &Path, how: fn(&File) -> std::io::Result<()>) -> Result<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(place.join("lock"))?;
    how(&file).context("cannot lock the templates")?;
    Ok(file)
}

/// Makes a folder that a server of another account may pass through.
fn folder(dir: &Path) -> Result<()> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o711).create(dir);
    made.with_context(|| format!("cannot create {}", dir.display()))
}

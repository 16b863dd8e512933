//! Keys of persons on a database of their own.

use chrono::Utc;
use sqlx::PgPool;
use sqlx::migrate::Migrator;
use uuid::Uuid;

use super::{PersonConfig, PersonConfigError, PersonError, PersonKeys};
use crate::config::Secret;
use crate::db::Schema;
use crate::embedded::scratch::{self, TestDatabase};

const SCHEMA: Schema = Schema::new("people");
const COLUMN: &str = "thing.word";

fn secret(name: &str) -> Secret {
    Secret::new(format!("{name}-0123456789abcdef0123456789abcdef"))
}

fn config(name: &str) -> PersonConfig {
    PersonConfig { encryption: secret(name), retired_encryption: Vec::new() }
}

fn keys(name: &str) -> PersonKeys {
    PersonKeys::try_new(SCHEMA, &config(name)).expect("valid secrets")
}

async fn database() -> (TestDatabase, PgPool) {
    let mut migrator = Migrator::with_migrations(Vec::new());
    migrator.dangerous_set_table_name("people._sqlx_migrations");
    let database = scratch::database(&[(SCHEMA, &*Box::leak(Box::new(migrator)))]).await.expect("a server");
    let pool = database.pool(SCHEMA);
    (database, pool)
}

async fn seal(keys: &PersonKeys, pool: &PgPool, person: Uuid, row: Uuid, word: &str) -> Result<Vec<u8>, PersonError> {
    let mut tx = crate::db::begin(pool).await?;
    let sealed = keys.for_sealing(&mut tx, person, Utc::now()).await?.seal(COLUMN, row, word);
    tx.commit().await?;
    Ok(sealed)
}

async fn open(
    keys: &PersonKeys,
    pool: &PgPool,
    person: Uuid,
    (row, sealed): (Uuid, &[u8]),
) -> Result<String, PersonError> {
    let mut connection = pool.acquire().await?;
    Ok(keys.find_one(&mut connection, person).await?.open(COLUMN, row, sealed)?)
}

#[test]
fn secrets_that_are_missing_or_short_are_refused_by_name() {
    let missing = PersonKeys::try_new(SCHEMA, &PersonConfig::default()).expect_err("missing");
    assert!(missing.to_string().starts_with("people.persons.encryption is not set"), "{missing}");
    let short = PersonConfig { retired_encryption: vec![Secret::new("short")], ..config("a") };
    assert!(matches!(PersonKeys::try_new(SCHEMA, &short), Err(PersonConfigError::Short(_))));
}

#[tokio::test]
async fn a_value_opens_for_its_person_and_place_only() {
    let (_database, pool) = database().await;
    let keys = keys("a");
    let (hoa, minh, row) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
    let sealed = seal(&keys, &pool, hoa, row, "số nhà 12").await.expect("sealed");
    seal(&keys, &pool, minh, row, "khác").await.expect("sealed");
    assert_eq!(open(&keys, &pool, hoa, (row, &sealed)).await.expect("opened"), "số nhà 12");
    assert!(matches!(open(&keys, &pool, minh, (row, &sealed)).await, Err(PersonError::Unsealable(_))));
    assert!(matches!(open(&keys, &pool, hoa, (Uuid::now_v7(), &sealed)).await, Err(PersonError::Unsealable(_))));
    assert!(!sealed.windows(4).any(|bytes| bytes == "nhà".as_bytes()));
    let again = seal(&keys, &pool, hoa, row, "số nhà 12").await.expect("sealed");
    assert_ne!(sealed, again, "equal values are not seen to be equal");
}

#[tokio::test]
async fn one_person_has_one_key_however_many_seal_at_once() {
    let (_database, pool) = database().await;
    let (keys, person, row) = (keys("a"), Uuid::now_v7(), Uuid::now_v7());
    let words: Vec<String> = (0..8).map(|number| format!("lời {number}")).collect();
    let sealing = words.iter().map(|word| seal(&keys, &pool, person, row, word));
    let sealed = futures::future::join_all(sealing).await;
    for (word, sealed) in words.iter().zip(sealed) {
        let sealed = sealed.expect("sealed");
        assert_eq!(&open(&keys, &pool, person, (row, &sealed)).await.expect("opened"), word);
    }
}

#[tokio::test]
async fn a_destroyed_key_opens_nothing_and_is_never_made_again() {
    let (_database, pool) = database().await;
    let (keys, replica) = (keys("a"), keys("a"));
    let (person, row) = (Uuid::now_v7(), Uuid::now_v7());
    let sealed = seal(&keys, &pool, person, row, "bí mật").await.expect("sealed");
    assert_eq!(open(&replica, &pool, person, (row, &sealed)).await.expect("opened"), "bí mật");
    for _ in 0..2 {
        keys.destroy(&mut pool.acquire().await.expect("a connection"), person, Utc::now()).await.expect("destroyed");
    }
    for keys in [&keys, &replica] {
        assert!(matches!(open(keys, &pool, person, (row, &sealed)).await, Err(PersonError::Erased)));
        assert!(matches!(seal(keys, &pool, person, row, "lại").await, Err(PersonError::Erased)));
    }
    // Nor for somebody of whom nothing was kept so far.
    let nobody = Uuid::now_v7();
    keys.destroy(&mut pool.acquire().await.expect("a connection"), nobody, Utc::now()).await.expect("destroyed");
    assert!(matches!(seal(&keys, &pool, nobody, row, "lại").await, Err(PersonError::Erased)));
}

#[tokio::test]
async fn keys_outlive_a_change_of_the_configured_secret() {
    let (_database, pool) = database().await;
    let (person, row) = (Uuid::now_v7(), Uuid::now_v7());
    let sealed = seal(&keys("old"), &pool, person, row, "giữ").await.expect("sealed");
    let both = PersonConfig { retired_encryption: vec![secret("old")], ..config("new") };
    let both = PersonKeys::try_new(SCHEMA, &both).expect("valid secrets");
    assert_eq!(open(&both, &pool, person, (row, &sealed)).await.expect("opened"), "giữ");
    assert!(open(&keys("new"), &pool, person, (row, &sealed)).await.is_err(), "not before it was renewed");
    assert_eq!(both.renew(&pool, Uuid::nil()).await.expect("renewed"), Some(person));
    assert_eq!(both.renew(&pool, person).await.expect("renewed"), None);
    assert_eq!(open(&keys("new"), &pool, person, (row, &sealed)).await.expect("opened"), "giữ");
    let lookups = both.lookups(COLUMN, "x");
    assert_eq!(lookups, [keys("new").lookup(COLUMN, "x").to_vec(), keys("old").lookup(COLUMN, "x").to_vec()]);
    assert_ne!(keys("new").lookup(COLUMN, "x"), keys("new").lookup("thing.other", "x"));
}

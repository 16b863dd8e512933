//! Keys of persons on a database of their own.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::migrate::Migrator;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::renewal::{self, RENEWED_AT_ONCE, Renewal, Standing};
use super::upkeep::seal_all;
use super::{PersonConfig, PersonConfigError, PersonError, PersonKeys, Section, Unsealed, page_of};
use crate::clock::Clock;
use crate::config::Secret;
use crate::db::Schema;
use crate::embedded::scratch::{self, TestDatabase};
use crate::metrics::Metrics;
use crate::task::Shutdown;

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
    let renewed = renewal::renew(&both.table, &both.ring, (&pool, Uuid::nil())).await.expect("renewed");
    assert_eq!((renewed.last, renewed.unopened.len()), (Some(person), 0));
    let renewed = renewal::renew(&both.table, &both.ring, (&pool, Uuid::nil())).await.expect("renewed");
    assert_eq!(renewed.last, None, "what stands under the newest is left alone");
    assert_eq!(open(&keys("new"), &pool, person, (row, &sealed)).await.expect("opened"), "giữ");
    let lookups = both.lookups(COLUMN, "x");
    assert_eq!(lookups, [keys("new").lookup(COLUMN, "x").to_vec(), keys("old").lookup(COLUMN, "x").to_vec()]);
    assert_ne!(keys("new").lookup(COLUMN, "x"), keys("new").lookup("thing.other", "x"));
}

/// The keys after the change of the secret, as the process of the second step knows them.
fn changed() -> PersonKeys {
    let config = PersonConfig { retired_encryption: vec![secret("old")], ..config("new") };
    PersonKeys::try_new(SCHEMA, &config).expect("valid secrets")
}

async fn standing(keys: &PersonKeys, pool: &PgPool) -> Standing {
    renewal::standing(&keys.table, &keys.ring, pool).await.expect("counted")
}

/// What the gauge says of keys under one kind of configured key.
fn gauge(metrics: &Metrics, under: &str) -> Option<String> {
    let label = format!("under=\"{under}\"");
    let text = metrics.encode();
    let line = text.lines().find(|line| line.contains("_person_keys{") && line.contains(&label))?;
    line.rsplit(' ').next().map(str::to_owned)
}

#[tokio::test]
async fn after_a_change_all_keys_are_sealed_anew_though_a_process_dies_one_is_held_and_one_is_damaged() {
    let (database, pool) = database().await;
    let (old, both) = (keys("old"), changed());
    let mut people: Vec<(Uuid, Uuid, Vec<u8>)> = Vec::new();
    for _ in 0..RENEWED_AT_ONCE + 20 {
        let (person, row) = (Uuid::now_v7(), Uuid::now_v7());
        people.push((person, row, seal(&old, &pool, person, row, "giữ").await.expect("sealed")));
    }
    let (damaged, held, erased) = (people[0].0, people[1].0, people[2].0);
    let damage =
        "UPDATE people.person_key SET key = set_byte(key, 40, (get_byte(key, 40) + 1) % 256) WHERE person = $1";
    sqlx::query(damage).bind(damaged).execute(&pool).await.expect("damaged");
    old.destroy(&mut pool.acquire().await.expect("a connection"), erased, Utc::now()).await.expect("destroyed");
    let all = RENEWED_AT_ONCE + 19;
    assert_eq!(standing(&both, &pool).await, Standing { newest: 0, retired: all, unknown: 0 });
    assert_eq!(standing(&keys("new"), &pool).await, Standing { newest: 0, retired: 0, unknown: all }, "too early");

    // A process dies within its first transaction, another after it: the one leaves nothing, the other what it committed.
    let mut holder = database.admin_pool().begin().await.expect("a transaction");
    sqlx::query("LOCK TABLE people.person_key").execute(&mut *holder).await.expect("locked");
    let dying = renewal::renew(&both.table, &both.ring, (&pool, Uuid::nil()));
    let died = tokio::time::timeout(std::time::Duration::from_millis(200), dying).await;
    assert!(died.is_err(), "it waited when it died");
    holder.rollback().await.expect("let go");
    assert_eq!(standing(&both, &pool).await.newest, 0);
    let mut holder = pool.begin().await.expect("a transaction");
    old.for_sealing(&mut holder, held, Utc::now()).await.expect("a key that somebody seals by");
    let renewed = renewal::renew(&both.table, &both.ring, (&pool, Uuid::nil())).await.expect("renewed");
    assert_eq!(renewed.unopened, [damaged]);
    assert_eq!(standing(&both, &pool).await, Standing { newest: RENEWED_AT_ONCE - 1, retired: 20, unknown: 0 });

    // The next process goes on where that one was, and neither of the two stops it.
    let (process, shutdown) = (changed(), Shutdown::new());
    let metrics = Metrics::new("people", "test");
    let renewal = Renewal::new(process.table, &metrics);
    renewal.round(&process.ring, &pool, &shutdown).await;
    assert_eq!(standing(&process, &pool).await, Standing { newest: all - 2, retired: 2, unknown: 0 });
    holder.commit().await.expect("sealed");
    renewal.round(&process.ring, &pool, &shutdown).await;
    assert_eq!(gauge(&metrics, "retired").as_deref(), Some("1"));

    // Without the old value everybody's words open but those of the damaged key, and that one is counted.
    let after = keys("new");
    for (person, row, sealed) in &people {
        let opened = open(&after, &pool, *person, (*row, sealed)).await;
        match *person {
            person if person == damaged => {
                assert!(matches!(opened, Err(PersonError::KeyUnopened(who)) if who == person))
            }
            person if person == erased => assert!(matches!(opened, Err(PersonError::Erased))),
            _ => assert_eq!(opened.expect("opened"), "giữ"),
        }
    }
    assert_eq!(standing(&after, &pool).await, Standing { newest: all - 1, retired: 0, unknown: 1 });
}

/// Words of persons, one row each, read two at a time.
struct Words(PersonKeys);

#[async_trait]
impl Unsealed for Words {
    async fn seal_some(
        &self,
        tx: &mut PgConnection,
        now: DateTime<Utc>,
        passed_over: &[Uuid],
    ) -> Result<usize, PersonError> {
        let rows: Vec<(Uuid, Uuid, String)> = sqlx::query_as(
            "SELECT person, id, word FROM people.thing WHERE word IS NOT NULL AND person <> ALL ($1) ORDER BY person LIMIT 2",
        )
        .bind(passed_over)
        .fetch_all(&mut *tx)
        .await?;
        for (person, row, word) in &rows {
            let sealed = self.0.for_sealing(tx, *person, now).await?.seal(COLUMN, *row, word);
            let update = sqlx::query("UPDATE people.thing SET word = NULL, sealed = $2 WHERE id = $1");
            update.bind(row).bind(sealed).execute(&mut *tx).await?;
        }
        Ok(rows.len())
    }
}

#[tokio::test]
async fn one_whose_key_does_not_open_holds_up_nobody_else() {
    let (database, pool) = database().await;
    let admin = database.admin_pool();
    for sql in [
        "CREATE TABLE people.thing (id uuid PRIMARY KEY, person uuid NOT NULL, word text, sealed bytea)",
        "GRANT SELECT, UPDATE ON people.thing TO trangtien_people",
    ] {
        sqlx::query(sql).execute(&admin).await.expect("a table");
    }
    let keys = keys("a");
    let people: Vec<Uuid> = (0..9).map(|_| Uuid::now_v7()).collect();
    for person in &people {
        seal(&keys, &pool, *person, Uuid::now_v7(), "khóa").await.expect("a key");
        let insert = sqlx::query("INSERT INTO people.thing (id, person, word) VALUES ($1, $2, 'lời')");
        insert.bind(Uuid::now_v7()).bind(person).execute(&admin).await.expect("a word");
    }
    // The first two, which come first in each batch, and one in the middle: damaged, and sealed under a secret that nobody knows.
    sqlx::query("UPDATE people.person_key SET key = '\\x01' WHERE person = ANY ($1)")
        .bind(&people[..2])
        .execute(&admin)
        .await
        .expect("damaged");
    let unknown = self::keys("b").ring.new_personal_key(crate::seal::Place::new("person_key.key", people[5])).1;
    let update = sqlx::query("UPDATE people.person_key SET key = $2 WHERE person = $1");
    update.bind(people[5]).bind(unknown).execute(&admin).await.expect("sealed under another secret");
    seal_all(&pool, &Clock::system(), &Words(keys)).await;
    let plain: Vec<Uuid> = sqlx::query_scalar("SELECT person FROM people.thing WHERE word IS NOT NULL ORDER BY person")
        .fetch_all(&admin)
        .await
        .expect("what is left");
    assert_eq!(plain, [people[0], people[1], people[5]]);
}

#[tokio::test]
async fn a_copy_shows_a_value_under_one_name_whether_it_is_sealed_or_still_plain() {
    let (database, pool) = database().await;
    let admin = database.admin_pool();
    for sql in [
        "CREATE TABLE people.thing (id uuid PRIMARY KEY, person uuid NOT NULL, word text, sealed bytea)",
        "GRANT SELECT ON people.thing TO trangtien_people",
    ] {
        sqlx::query(sql).execute(&admin).await.expect("a table");
    }
    let section = Section {
        name: "things",
        sql: "SELECT id::text, jsonb_build_object('id', id, 'word', encode(sealed, 'hex'), 'word_unsealed', word)
            FROM people.thing WHERE person = $1 AND ($2::text IS NULL OR id::text > $2) ORDER BY 1 LIMIT $3",
        sealed: &[("word", COLUMN)],
    };
    let (keys, person) = (keys("a"), Uuid::now_v7());
    let ids: Vec<Uuid> = (0..4).map(|_| Uuid::now_v7()).collect();
    let rows = [(None, Some("niêm")), (Some("trần"), None), (Some("mới"), Some("cũ")), (None, None)];
    for (id, (plain, word)) in ids.iter().zip(rows) {
        let mut sealed = None;
        if let Some(word) = word {
            sealed = Some(seal(&keys, &pool, person, *id, word).await.expect("sealed"));
        }
        let insert = sqlx::query("INSERT INTO people.thing (id, person, word, sealed) VALUES ($1, $2, $3, $4)");
        insert.bind(id).bind(person).bind(plain).bind(sealed).execute(&admin).await.expect("a row");
    }
    let mut connection = pool.acquire().await.expect("a connection");
    let key = keys.find_one(&mut connection, person).await.expect("a key");
    let page = page_of(&mut connection, Some(&key), &section, (person, None)).await.expect("a page");
    let items: Vec<serde_json::Value> = page.into_iter().map(|(_, item)| item).collect();
    let words = [json!("niêm"), json!("trần"), json!("mới"), json!(null)];
    let expected: Vec<_> = ids.iter().zip(words).map(|(id, word)| json!({ "id": id, "word": word })).collect();
    assert_eq!(items, expected);
}

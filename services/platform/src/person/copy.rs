//! A copy of everything that a service keeps of a person, handed over piece by piece: never more than one page and one piece in memory.
//!
//! What is written is one JSON object, a list for each [`Section`]. Pieces carry the attempt's id, so that those of an attempt that
//! broke off are never mixed with another's.

use async_trait::async_trait;
use proto::identity::v1::person_service_client::PersonServiceClient;
use proto::identity::v1::{PutExportPartRequest, PutExportPartResponse};
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgConnection, PgPool};
use uuid::Uuid;

use super::{PersonError, PersonKey, PersonKeys};
use crate::rpc::Channel;

/// Bytes of one piece.
pub const PIECE_BYTES: usize = 256 * 1024;
/// Rows of one page.
const PAGE: i64 = 200;

/// One kind of things that a service keeps of a person.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// Its name in the copy.
    pub name: &'static str,
    /// `SELECT` of a text that orders the rows and a JSON object, for a person (`$1`), after such a text if it is not null (`$2`),
    /// at most so many (`$3`).
    pub sql: &'static str,
    /// Fields that hold a sealed value in hexadecimal, and the column for which it was sealed; the row is the object's `id`.
    /// A field of that name and `_unsealed` holds what a row from before has plain: the copy shows it under the field's own name.
    pub sealed: &'static [(&'static str, &'static str)],
}

/// Why a copy could not be handed over.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// What the database answered, or a value does not open.
    #[error(transparent)]
    Kept(#[from] PersonError),
    /// Whoever takes the copy did not.
    #[error("the copy was not taken: {0}")]
    Taker(String),
    /// A part of the service's own could not be read.
    #[error("something can't be read: {0}")]
    Other(String),
}

impl From<sqlx::Error> for CopyError {
    fn from(error: sqlx::Error) -> Self {
        Self::Kept(error.into())
    }
}

/// Who takes the pieces of a copy.
#[async_trait]
pub trait Taker: Send + Sync {
    /// Takes a piece; tells whether nothing more of this service is wanted.
    async fn take(&self, piece: PutExportPartRequest) -> Result<bool, CopyError>;
}

/// Identity, by call.
#[async_trait]
impl Taker for PersonServiceClient<Channel> {
    async fn take(&self, piece: PutExportPartRequest) -> Result<bool, CopyError> {
        let answer = self.clone().put_export_part(piece).await;
        let PutExportPartResponse { done } =
            answer.map_err(|status| CopyError::Taker(status.code().to_string()))?.into_inner();
        Ok(done)
    }
}

/// Where a copy goes.
pub struct PersonCopy {
    taker: Box<dyn Taker>,
    export: Uuid,
    service: &'static str,
    attempt: Uuid,
    ordinal: i32,
    buffer: Vec<u8>,
    lists: usize,
    items: usize,
    over: bool,
}

impl std::fmt::Debug for PersonCopy {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("PersonCopy")
            .field("export", &self.export)
            .field("ordinal", &self.ordinal)
            .finish_non_exhaustive()
    }
}

impl PersonCopy {
    /// An attempt of a service at an export.
    pub fn new(taker: Box<dyn Taker>, service: &'static str, export: Uuid) -> Self {
        Self {
            taker,
            export,
            service,
            attempt: crate::id::new(),
            ordinal: 0,
            buffer: vec![b'{'],
            lists: 0,
            items: 0,
            over: false,
        }
    }

    /// Begins a list of the object.
    pub fn list(&mut self, name: &str) {
        if self.lists > 0 {
            self.buffer.extend_from_slice(b"],");
        }
        self.buffer.extend_from_slice(Value::from(name).to_string().as_bytes());
        self.buffer.extend_from_slice(b":[");
        self.lists += 1;
        self.items = 0;
    }

    /// Adds a thing to the list that was begun last.
    ///
    /// # Errors
    /// When a piece is full and not taken.
    pub async fn item(&mut self, item: &Value) -> Result<(), CopyError> {
        if self.items > 0 {
            self.buffer.push(b',');
        }
        self.items += 1;
        self.buffer.extend_from_slice(item.to_string().as_bytes());
        while self.buffer.len() > PIECE_BYTES && !self.over {
            let rest = self.buffer.split_off(PIECE_BYTES);
            let piece = std::mem::replace(&mut self.buffer, rest);
            self.put(piece, false).await?;
        }
        Ok(())
    }

    /// Whether nothing more is wanted.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Hands over the last piece.
    ///
    /// # Errors
    /// When it is not taken.
    pub async fn finish(mut self) -> Result<(), CopyError> {
        if self.over {
            return Ok(());
        }
        if self.lists > 0 {
            self.buffer.push(b']');
        }
        self.buffer.push(b'}');
        let piece = std::mem::take(&mut self.buffer);
        self.put(piece, true).await
    }

    async fn put(&mut self, text: Vec<u8>, last: bool) -> Result<(), CopyError> {
        let request = PutExportPartRequest {
            export_id: self.export.to_string(),
            service: self.service.to_owned(),
            attempt_id: self.attempt.to_string(),
            ordinal: self.ordinal,
            text,
            last,
        };
        self.over = self.taker.take(request).await?;
        self.ordinal += 1;
        Ok(())
    }
}

/// A page of a section, after a row.
///
/// # Errors
/// What the database answered, or that a value does not open.
pub async fn page_of(
    connection: &mut PgConnection,
    key: Option<&PersonKey>,
    section: &Section,
    (person, after): (Uuid, Option<&str>),
) -> Result<Vec<(String, Value)>, PersonError> {
    let mut rows: Vec<(String, Value)> =
        sqlx::query_as(AssertSqlSafe(section.sql)).bind(person).bind(after).bind(PAGE).fetch_all(connection).await?;
    for (_, item) in &mut rows {
        for (field, column) in section.sealed {
            let plain = item.as_object_mut().and_then(|fields| fields.remove(&format!("{field}_unsealed")));
            item[*field] = match plain {
                Some(plain) if !plain.is_null() => plain,
                _ => opened(key, item, field, column)?,
            };
        }
    }
    Ok(rows)
}

/// The plain form of a sealed field; null when there is none, or its key is gone.
fn opened(key: Option<&PersonKey>, item: &Value, field: &str, column: &'static str) -> Result<Value, PersonError> {
    let sealed = item[field].as_str().and_then(|text| hex::decode(text).ok());
    let row = item["id"].as_str().and_then(|text| text.parse::<Uuid>().ok());
    let (Some(sealed), Some(row), Some(key)) = (sealed, row, key) else { return Ok(Value::Null) };
    Ok(key.open(column, row, &sealed)?.into())
}

/// Writes sections, each as a list.
pub(super) async fn write(
    pool: &PgPool,
    keys: &PersonKeys,
    (person, sections): (Uuid, &[Section]),
    copy: &mut PersonCopy,
) -> Result<(), CopyError> {
    for section in sections {
        copy.list(section.name);
        let mut after: Option<String> = None;
        loop {
            // No connection is held while a piece is handed over.
            let mut connection = pool.acquire().await?;
            let key = keys.find(&mut connection, &[person]).await?.remove(&person);
            let page = page_of(&mut connection, key.as_ref(), section, (person, after.as_deref())).await?;
            drop(connection);
            for (_, item) in &page {
                copy.item(item).await?;
            }
            match page.into_iter().next_back() {
                Some((last, _)) if !copy.is_over() => after = Some(last),
                _ => break,
            }
        }
    }
    Ok(())
}

/// Names of columns that say whose or by whom a row is, beside those that end in `user_id` or `_by`.
const PERSON_COLUMNS: &[&str] = &[
    "citizen_id",
    "recipient",
    "person",
    "caller",
    "subject",
    "owner",
    "officer",
    "officer_id",
    "by_officer",
    "guardian_id",
    "dependent_id",
    "actor_id",
];
/// Platform's own tables: keys and answers are no things that are kept of a person for a purpose, and events only pass through.
const PASSING: &[&str] = &["person_key", "idempotency_key", "outbox", "dead_event"];

/// The columns of a schema that name a person and whose table stands in none of the sections, nor among those that are said to be
/// `elsewhere` (`table.column` and the reason). For a test of each service, so that no new table is forgotten.
///
/// # Errors
/// What the database answered.
pub async fn unlisted(
    pool: &PgPool,
    schema: crate::db::Schema,
    sections: &[Section],
    elsewhere: &[(&str, &str)],
) -> Result<Vec<String>, sqlx::Error> {
    let columns: Vec<(String, String)> = sqlx::query_as(
        "SELECT table_name::text, column_name::text FROM information_schema.columns
         WHERE table_schema = $1 AND data_type = 'uuid' ORDER BY table_name, column_name",
    )
    .bind(schema.name())
    .fetch_all(pool)
    .await?;
    let names_a_person =
        |column: &str| PERSON_COLUMNS.contains(&column) || column.ends_with("user_id") || column.ends_with("_by");
    let listed = |table: &str| {
        let name = format!("{schema}.{table}");
        let words = |sql: &'static str| sql.split(|letter: char| letter.is_whitespace() || "(),".contains(letter));
        sections.iter().any(|section| words(section.sql).any(|word| word == name))
    };
    let missing = columns.into_iter().filter(|(table, column)| {
        let name = format!("{table}.{column}");
        names_a_person(column)
            && !PASSING.contains(&table.as_str())
            && !listed(table)
            && !elsewhere.iter().any(|(known, _)| *known == name)
    });
    Ok(missing.map(|(table, column)| format!("{schema}.{table}.{column}")).collect())
}

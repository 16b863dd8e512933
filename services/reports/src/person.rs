//! What field reports keep of their reporters, sealed under a key of that citizen (`platform::person`).
//!
//! | column | what | row |
//! | --- | --- | --- |
//! | `report.body_sealed` | the reporter's own words, for themself and the operations centre; everyone else reads `public_body` | report |
//! | `report.address_sealed`, `answers_sealed` | the place in words, and texts in the form: for whoever may see the report, masked as ever | report |
//! | `history.details_sealed` | what the reporter said in an answer, a rating or a reopening | report and version |
//! | `rating.comment_sealed` | the comment of a rating | report and round |
//!
//! Reading opens what it finds sealed and takes what is plain as it is: of a caller without account, or from before. Without the key a
//! value is absent, and a row of the history is one that was erased. Old rows are sealed by `upkeep`. What goes with the reporter, and
//! what stays of a report, is `erase`; what they get a copy of, `copy`.

mod copy;
mod erase;
#[cfg(test)]
mod tests;
mod upkeep;

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use platform::person::{CopyError, Holder, PersonCopy, PersonError, PersonKey, PersonKeys, Section};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use sqlx::PgConnection;
use uuid::Uuid;

pub(crate) use self::upkeep::Plain;
use crate::Reports;
use crate::city::{Attribute, is_words};
use crate::error::Error;
use crate::list::{Item, Row};
use crate::report::{NewReport, Standing};

/// Details of which nothing stands plain.
pub(crate) const NOTHING: &str = "{}";

const BODY: &str = "report.body_sealed";
const ADDRESS: &str = "report.address_sealed";
const ANSWERS: &str = "report.answers_sealed";
const DETAILS: &str = "history.details_sealed";
const COMMENT: &str = "rating.comment_sealed";

/// A text as it is stored: plain of a caller without account, sealed of a reporter.
#[derive(Debug, Default)]
pub(crate) struct Words {
    pub(crate) plain: Option<String>,
    pub(crate) sealed: Option<Vec<u8>>,
}

impl Words {
    fn sealed(sealed: Vec<u8>) -> Self {
        Self { plain: None, sealed: Some(sealed) }
    }
}

/// What somebody wrote in a new report, as it is stored.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) body: Words,
    pub(crate) address: Words,
    /// Answers to the form that stand plain.
    pub(crate) attributes: Map<String, Value>,
    /// The others.
    pub(crate) answers_sealed: Option<Vec<u8>>,
}

impl Written {
    /// What an operator wrote down for a caller.
    pub(crate) fn plain(new: &NewReport) -> Self {
        let plain = |text: Option<&String>| Words { plain: text.cloned(), sealed: None };
        let attributes = new.attributes.clone().into_iter().collect();
        Self { body: plain(Some(&new.text)), address: plain(new.address.as_ref()), attributes, answers_sealed: None }
    }

    /// What a reporter says, for a statement that holds their key.
    pub(crate) fn of_reporter(reports: &Reports, key: &PersonKey, report: Uuid, new: &NewReport) -> Self {
        let answers = new.attributes.clone().into_iter().collect();
        let (texts, attributes) = parted(form_of(reports, &new.category), answers);
        let address = new.address.as_ref().map(|address| Words::sealed(key.seal(ADDRESS, report, address)));
        Self {
            body: Words::sealed(key.seal(BODY, report, &new.text)),
            address: address.unwrap_or_default(),
            attributes,
            answers_sealed: sealed_answers(key, report, texts),
        }
    }
}

/// The form of a category, empty when there is no such category any more.
fn form_of<'a>(reports: &'a Reports, category: &str) -> &'a [Attribute] {
    reports.city.category(category).map(|category| category.form.as_slice()).unwrap_or_default()
}

/// The answers to a form in the reporter's own words, and the others: numbers, choices, flags.
fn parted(form: &[Attribute], answers: Map<String, Value>) -> (Map<String, Value>, Map<String, Value>) {
    answers.into_iter().partition(|(code, answer)| is_words(form, code, answer))
}

fn sealed_answers(key: &PersonKey, report: Uuid, texts: Map<String, Value>) -> Option<Vec<u8>> {
    (!texts.is_empty()).then(|| key.seal(ANSWERS, report, &Value::Object(texts).to_string()))
}

/// Where something is sealed of which a report has several: a version of its history, a round that was rated.
fn numbered(report: Uuid, number: i64) -> Uuid {
    let digest = Sha256::new().chain_update(report.as_bytes()).chain_update(number.to_be_bytes()).finalize();
    let (row, _) = digest.split_first_chunk::<16>().expect("a digest has 32 bytes");
    Uuid::from_bytes(*row)
}

/// What somebody says with a deed, as it is stored.
#[derive(Debug)]
pub(crate) struct Said {
    /// Plain, as it is hashed.
    pub(crate) details: String,
    pub(crate) details_sealed: Option<Vec<u8>>,
    pub(crate) comment_sealed: Option<Vec<u8>>,
    /// Whose key must stand until it is written.
    pub(crate) citizen: Option<Uuid>,
}

impl Said {
    /// The details of what an officer or the system does.
    pub(crate) fn plain(details: &Value) -> Self {
        Self { details: details.to_string(), details_sealed: None, comment_sealed: None, citizen: None }
    }

    /// The details as they stand plain.
    pub(crate) fn stored(&self) -> &str {
        if self.details_sealed.is_some() { NOTHING } else { &self.details }
    }

    /// What the reporter says in a version, and their comment on the round that ends, for a statement that holds their key. It was looked
    /// at with the report; asked for once more if they had none then.
    ///
    /// # Errors
    /// [`Error::NotFound`] when they are nobody to the report any more.
    pub(crate) async fn of_reporter(
        reports: &Reports,
        (standing, version): (&Standing, i64),
        (details, comment): (&Value, Option<&str>),
    ) -> Result<Self, Error> {
        let (report, user) = (standing.filed.id, standing.reporter.ok_or(Error::NotFound)?);
        let key = match &standing.reporter_key {
            Some(key) => reports.persons.of_column(user, key).map_err(PersonError::from)?,
            None => {
                let mut connection = reports.pool.acquire().await?;
                match reports.persons.make_for_holding(&mut connection, user, reports.now()).await {
                    Err(PersonError::Erased) => return Err(Error::NotFound),
                    key => key?,
                }
            }
        };
        let (details, round) = (details.to_string(), i64::from(standing.case.round));
        Ok(Self {
            details_sealed: Some(key.seal(DETAILS, numbered(report, version), &details)),
            comment_sealed: comment.map(|comment| key.seal(COMMENT, numbered(report, round), comment)),
            details,
            citizen: Some(user),
        })
    }
}

impl From<PersonError> for Error {
    fn from(error: PersonError) -> Self {
        match error {
            PersonError::Database(error) => error.into(),
            PersonError::Erased => Self::Forbidden,
            PersonError::Unsealable(_) | PersonError::KeyUnopened(_) => Self::Sealed(error),
        }
    }
}

/// The key of a report's reporter for opening; none when there is no reporter, or they were erased.
async fn key_of(
    persons: &PersonKeys,
    connection: &mut PgConnection,
    report: Uuid,
) -> Result<Option<PersonKey>, PersonError> {
    let row = sqlx::query!(
        r#"SELECT reporter.user_id, person_key.key AS "key!"
           FROM reports.reporter JOIN reports.report ON report.id = reporter.report_id
               JOIN reports.person_key ON person_key.person = reporter.user_id
           WHERE report.id = $1 AND report.erased_at IS NULL AND person_key.key IS NOT NULL"#,
        report
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| persons.of_column(row.user_id, &row.key)).transpose()?)
}

/// Opens what a reporter wrote in a row, as far as it is still there.
pub(crate) async fn open(persons: &PersonKeys, connection: &mut PgConnection, row: &mut Row) -> Result<(), Error> {
    if row.body_sealed.is_none() && row.address_sealed.is_none() && row.answers_sealed.is_none() {
        return Ok(());
    }
    match key_of(persons, connection, row.id).await? {
        Some(key) => Ok(open_with(&key, row)?),
        None => Ok(()),
    }
}

fn open_with(key: &PersonKey, row: &mut Row) -> Result<(), PersonError> {
    if let Some(sealed) = row.body_sealed.take() {
        row.body = Some(key.open(BODY, row.id, &sealed)?);
    }
    if let Some(sealed) = row.address_sealed.take() {
        row.address = Some(key.open(ADDRESS, row.id, &sealed)?);
    }
    if let (Some(sealed), Some(attributes)) = (row.answers_sealed.take(), row.attributes.as_object_mut()) {
        let texts = key.open(ANSWERS, row.id, &sealed)?;
        attributes.extend(serde_json::from_str::<Map<String, Value>>(&texts).unwrap_or_default());
    }
    Ok(())
}

/// Puts a reporter's own words into the list of their reports.
pub(crate) async fn open_all(
    persons: &PersonKeys,
    connection: &mut PgConnection,
    user: Uuid,
    items: &mut [Item],
) -> Result<(), Error> {
    let Some(key) = persons.find(connection, &[user]).await?.remove(&user) else { return Ok(()) };
    let ids: Vec<Uuid> = items.iter().map(|item| item.id).collect();
    let rows = sqlx::query!(
        r#"SELECT id, body_sealed AS "sealed!" FROM reports.report WHERE id = ANY ($1) AND body_sealed IS NOT NULL"#,
        &ids
    )
    .fetch_all(connection)
    .await?;
    for row in rows {
        if let Some(item) = items.iter_mut().find(|item| item.id == row.id) {
            item.text = key.open(BODY, row.id, &row.sealed).map_err(PersonError::from)?;
        }
    }
    Ok(())
}

/// What a citizen said in rows of a report's history: by whom it can still be opened.
pub(crate) struct Spoken {
    report: Uuid,
    key: Option<PersonKey>,
}

/// What became of something that was said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// It is known.
    Known(String),
    /// It went with whoever said it.
    Erased,
    /// It is not what was sealed.
    Forged,
}

impl Spoken {
    /// Of a report of which something is sealed.
    ///
    /// # Errors
    /// What the database answered, or that the reporter's key does not open.
    pub(crate) async fn of(persons: &PersonKeys, connection: &mut PgConnection, report: Uuid) -> Result<Self, Error> {
        Ok(Self { report, key: key_of(persons, connection, report).await? })
    }

    /// The details of a version.
    pub(crate) fn details(&self, version: i64, sealed: &[u8]) -> Heard {
        match self.key.as_ref().map(|key| key.open(DETAILS, numbered(self.report, version), sealed)) {
            Some(Ok(details)) => Heard::Known(details),
            Some(Err(_)) => Heard::Forged,
            None => Heard::Erased,
        }
    }
}

/// Field reports, where a citizen asks all services for something.
pub(crate) struct ReportHolder(pub(crate) Arc<Reports>);

#[async_trait]
impl Holder for ReportHolder {
    fn sections(&self) -> &'static [Section] {
        copy::SECTIONS
    }

    async fn copy_more(&self, person: Uuid, copy: &mut PersonCopy) -> Result<(), CopyError> {
        copy::lists(&self.0, person, copy).await
    }

    async fn end(&self, person: Uuid, _closing: Uuid) -> Result<(), CopyError> {
        erase::reports_of(&self.0, person, self.0.now()).await
    }

    /// What stays is the city's record; everything else went before.
    async fn erase(&self, _tx: &mut PgConnection, _person: Uuid, _now: DateTime<Utc>) -> Result<(), sqlx::Error> {
        Ok(())
    }
}

//! Who may know whom: answers to others, events and log lines carry nobody's personal data.

use anyhow::{Result, ensure};
use harness::{Answer, Citizen, City, Visitor};
use sqlx::AssertSqlSafe;

/// Schemas with an outbox.
const SERVICES: [&str; 5] = ["identity", "wallet", "reports", "notifications", "ioc"];
/// What anybody may read without being known.
const PUBLIC: [&str; 14] = [
    "/reports/v1/reports?limit=200",
    "/reports/v1/map.geojson?bbox=107.0,16.0,108.3,16.8",
    "/reports/v1/statistics",
    "/reports/v1/categories",
    "/cap/v1/feed.atom",
    "/wallet/v1/ledger/checkpoints",
    "/ioc/v1/overview",
    "/ioc/v1/metrics",
    "/ioc/v1/roles",
    "/reports/v1/duplicates?category=TT&lat=16.479631&lon=107.574292",
    "/notifications/v1/news",
    "/wallet/v1/billers",
    "/openapi.json",
    "/.well-known/openid-configuration",
];

/// Texts that must not be found, and where they were looked for.
#[derive(Debug)]
pub struct Secrets {
    texts: Vec<String>,
    codes: Vec<String>,
    looked: usize,
    photos: usize,
}

impl Secrets {
    /// Looks for these.
    pub fn new(texts: Vec<String>) -> Self {
        Self { texts, codes: Vec::new(), looked: 0, photos: 0 }
    }

    /// Looks for these too, one-time codes and PINs: few digits, which are found where they stand alone.
    #[must_use]
    pub fn with_codes(self, codes: Vec<String>) -> Self {
        Self { codes, ..self }
    }

    /// Adds what is secret only in what is looked at from now on.
    pub fn and(&mut self, text: impl Into<String>) {
        self.texts.push(text.into());
    }

    /// Nothing secret is in these bytes.
    ///
    /// # Errors
    /// Names what was found where.
    pub fn absent(&mut self, place: &str, bytes: &[u8]) -> Result<()> {
        self.looked += 1;
        let read = String::from_utf8_lossy(bytes);
        for text in &self.texts {
            ensure!(!read.contains(text), "{place} tells {text:?}: {read:.2000}");
        }
        for code in &self.codes {
            ensure!(!stands_alone(bytes, code.as_bytes()), "{place} tells the code {code}: {read:.2000}");
        }
        Ok(())
    }

    /// What is secret and not somebody's own.
    fn of_others(&self, reader: &Citizen) -> Vec<String> {
        let own = reader.private();
        self.texts.iter().filter(|text| !own.contains(text)).cloned().collect()
    }

    /// How many answers, events and logs were looked at.
    pub fn looked(&self) -> usize {
        self.looked
    }

    /// How many of them were photos.
    pub fn photos(&self) -> usize {
        self.photos
    }

    /// Everything that is public, with each of these reports.
    ///
    /// # Errors
    /// Names what was found where, or an answer that did not come.
    pub async fn absent_in_public(&mut self, visitor: &Visitor, reports: &[String]) -> Result<()> {
        for path in PUBLIC {
            self.absent_in(path, &visitor.get(path).await?)?;
        }
        for report in reports {
            for path in [format!("/reports/v1/reports/{report}"), format!("/reports/v1/reports/{report}/timeline")] {
                // One that is not published is not there for the public, which is an answer too.
                let answer = visitor.get(&path).await?;
                self.absent_in(&path, &answer)?;
                for photo in photos_of(&path, &answer) {
                    self.absent_in_photo(&photo, &visitor.get(&photo).await?)?;
                }
            }
        }
        Ok(())
    }

    /// What an officer of an agency reads: the queue, and each report that the agency may see.
    ///
    /// # Errors
    /// Names what was found where, or an answer that did not come.
    pub async fn absent_for_officer(&mut self, officer: &Citizen, reports: &[String]) -> Result<()> {
        let queue = "/reports/v1/queue?limit=200";
        self.absent("the queue", officer.get(queue).await?.expect(200)?.to_string().as_bytes())?;
        let inbox = "/notifications/v1/inbox?limit=200";
        let mut others = Self::new(self.of_others(officer));
        others.absent("what officers are told", officer.get(inbox).await?.expect(200)?.to_string().as_bytes())?;
        self.looked += others.looked;
        for report in reports {
            for path in [format!("/reports/v1/reports/{report}"), format!("/reports/v1/reports/{report}/timeline")] {
                let answer = officer.get(&path).await?;
                self.absent_in(&path, &answer)?;
                for photo in photos_of(&path, &answer) {
                    self.absent_in_photo(&photo, &officer.get(&photo).await?)?;
                }
            }
        }
        Ok(())
    }

    /// Every event that any service has told: in its outbox, and in Redis, where the ledger's journal is too.
    ///
    /// # Errors
    /// Names what was found where.
    pub async fn absent_in_events(&mut self, city: &City) -> Result<()> {
        for schema in SERVICES {
            let sql = format!("SELECT kind, data FROM {schema}.outbox");
            let events: Vec<(String, Vec<u8>)> = sqlx::query_as(AssertSqlSafe(sql)).fetch_all(&city.admin()).await?;
            for (kind, data) in events {
                self.absent(&format!("an event {kind} of {schema}"), &data)?;
            }
        }
        for (stream, fields) in city.streamed().await? {
            self.absent(&format!("an event in {stream}"), &fields)?;
        }
        Ok(())
    }

    /// Every log line.
    ///
    /// # Errors
    /// Names what was found.
    pub fn absent_in_logs(&mut self, city: &City) -> Result<()> {
        let log = city.log();
        ensure!(log.len() > 1_000, "there is hardly a log: {log}");
        log.lines().try_for_each(|line| self.absent("the log", line.as_bytes()))
    }

    fn absent_in_photo(&mut self, path: &str, photo: &Answer) -> Result<()> {
        ensure!(photo.status == 200, "{path}: {}", photo.status);
        self.photos += 1;
        self.absent_in(path, photo)
    }

    fn absent_in(&mut self, path: &str, answer: &Answer) -> Result<()> {
        ensure!(!answer.may_pass(), "{path}: {}", answer.status);
        let text = answer.body.as_str().map_or_else(|| answer.body.to_string(), str::to_owned);
        self.absent(path, text.as_bytes())
    }
}

/// The photos that a report shows.
fn photos_of(report: &str, answer: &Answer) -> Vec<String> {
    let photos = answer.body["photos"].as_array().into_iter().flatten();
    photos.filter_map(|photo| Some(format!("{report}/photos/{}", photo["id"].as_str()?))).collect()
}

/// Whether a code is there for itself, not as a part of a longer number, an id or a time; in an event its length goes before it.
fn stands_alone(bytes: &[u8], code: &[u8]) -> bool {
    let part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    bytes.windows(code.len()).enumerate().filter(|(_, window)| *window == code).any(|(start, _)| {
        let (before, after) = (start.checked_sub(1).and_then(|at| bytes.get(at)), bytes.get(start + code.len()));
        let measured = before.is_some_and(|byte| usize::from(*byte) == code.len());
        measured || !(before.is_some_and(part) || after.is_some_and(|byte| byte.is_ascii_alphanumeric()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_found_where_it_stands_alone() {
        let secrets = || Secrets::new(Vec::new()).with_codes(vec!["123456".to_owned()]);
        for told in ["123456", "code=123456, sent", "Ma: 123456.", "{\"code\":\"123456\"}", "\u{6}123456b"] {
            assert!(secrets().absent("a place", told.as_bytes()).is_err(), "{told}");
        }
        for other in ["1234567", "at 10:00:00.123456Z", "0a-123456", "id ab123456", "12345"] {
            secrets().absent("a place", other.as_bytes()).expect("something else");
        }
    }
}

//! Reads data files that people edit (CSV, TOML, JSON) and says file, line and reason of any fault.
//!
//! Touches nothing but the file it is given.
//! Lines are counted from 1; line 0 means the file as a whole.
//! Lines that begin with `#` are comments in CSV files, as they are in TOML.
//! Both say above their content where it comes from: `# Origin: …`; a file that doesn't is at fault.
//! Unknown columns and keys are refused by the types that callers read into (`deny_unknown_fields`).

pub mod dated;

use std::fmt;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use chrono::NaiveDate;
use serde::Deserialize;
use serde::de::DeserializeOwned;

pub use toml::Spanned;

/// The largest file that is read, in bytes.
pub const MAX_FILE_BYTES: u64 = 32 * 1024 * 1024;

/// How many faults of one CSV file are reported before the rest is left unread.
pub const MAX_FAULTS_PER_FILE: usize = 20;

/// What is wrong with a data file, and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{}", self.describe())]
pub struct Fault {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1; 0 for the file as a whole.
    pub line: u64,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
}

impl Fault {
    /// A fault at a line of a file.
    pub fn new(file: &Path, line: u64, message: impl fmt::Display) -> Self {
        Self { file: file.to_owned(), line, message: message.to_string() }
    }

    fn describe(&self) -> String {
        match self.line {
            0 => format!("{}: {}", self.file.display(), self.message),
            line => format!("{}:{line}: {}", self.file.display(), self.message),
        }
    }
}

/// Everything that is wrong with a folder, one fault a line; never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct Faults(pub Vec<Fault>);

impl From<Fault> for Faults {
    fn from(fault: Fault) -> Self {
        Self(vec![fault])
    }
}

/// A day as TOML writes it: `2025-05-10`, without quotes, time or zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "toml::value::Datetime")]
pub struct Day(pub NaiveDate);

impl TryFrom<toml::value::Datetime> for Day {
    type Error = String;

    fn try_from(value: toml::value::Datetime) -> Result<Self, String> {
        let (Some(date), None, None) = (value.date, value.time, value.offset) else {
            return Err(format!("{value} is not a plain date such as 2025-05-10"));
        };
        NaiveDate::from_ymd_opt(date.year.into(), date.month.into(), date.day.into())
            .map(Day)
            .ok_or_else(|| format!("{value} is not a day of the calendar"))
    }
}

/// A parsed file that still knows on which line each spanned value stands.
#[derive(Clone, Debug)]
pub struct Document<T> {
    /// What was read.
    pub value: T,
    file: PathBuf,
    line_starts: Vec<usize>,
}

impl<T> Document<T> {
    fn new(file: &Path, text: &str, value: T) -> Self {
        let line_starts = text.match_indices('\n').map(|(at, _)| at + 1).collect();
        Self { value, file: file.to_owned(), line_starts }
    }

    /// The file it was read from.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The line on which a span begins.
    pub fn line(&self, span: Range<usize>) -> u64 {
        line_of(&self.line_starts, span.start)
    }

    /// A fault at the line of a spanned value.
    pub fn fault<V>(&self, at: &Spanned<V>, message: impl fmt::Display) -> Fault {
        Fault::new(&self.file, self.line(at.span()), message)
    }
}

fn line_of(line_starts: &[usize], offset: usize) -> u64 {
    line_starts.partition_point(|start| *start <= offset) as u64 + 1
}

/// Reads a text file of at most [`MAX_FILE_BYTES`], which must be UTF-8.
pub fn read_text(path: &Path) -> Result<String, Fault> {
    let size = fs::metadata(path).map_err(|error| Fault::new(path, 0, error))?.len();
    if size > MAX_FILE_BYTES {
        return Err(Fault::new(path, 0, format_args!("is {size} bytes long; at most {MAX_FILE_BYTES} are read")));
    }
    let bytes = fs::read(path).map_err(|error| Fault::new(path, 0, error))?;
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..good].iter().filter(|byte| **byte == b'\n').count() as u64 + 1;
        Fault::new(path, line, "is not UTF-8 text")
    })
}

/// Every row of a CSV file with its line; the first fault ends the reading.
pub fn read_csv<T: DeserializeOwned>(path: &Path) -> Result<Vec<(u64, T)>, Fault> {
    let (rows, mut faults) = read_csv_faults(path);
    if faults.is_empty() { Ok(rows) } else { Err(faults.swap_remove(0)) }
}

/// Every good row of a CSV file with its line, and every fault up to [`MAX_FAULTS_PER_FILE`].
pub fn read_csv_faults<T: DeserializeOwned>(path: &Path) -> (Vec<(u64, T)>, Vec<Fault>) {
    let text = match read_text(path) {
        Ok(text) => text,
        Err(fault) => return (Vec::new(), vec![fault]),
    };
    let mut reader = csv::ReaderBuilder::new().comment(Some(b'#')).from_reader(text.as_bytes());
    let headers = match reader.headers() {
        Ok(headers) => headers.clone(),
        Err(error) => return (Vec::new(), vec![csv_fault(path, &text, &error)]),
    };
    let (mut rows, mut faults) = (Vec::new(), Vec::from_iter(origin_fault(path, &text)));
    for record in reader.records() {
        let parsed = record.and_then(|record| {
            let line = record_line(&text, record.position());
            record.deserialize(Some(&headers)).map(|row| (line, row))
        });
        match parsed {
            Ok(row) => rows.push(row),
            Err(error) => faults.push(csv_fault(path, &text, &error)),
        }
        if faults.len() == MAX_FAULTS_PER_FILE {
            break;
        }
    }
    (rows, faults)
}

fn origin_fault(path: &Path, text: &str) -> Option<Fault> {
    let mut comments = text.lines().take_while(|line| line.starts_with('#'));
    let named = comments.any(|line| line.strip_prefix("# Origin: ").is_some_and(|origin| !origin.trim().is_empty()));
    (!named).then(|| Fault::new(path, 1, "no comment above the content says `# Origin: …`"))
}

/// The line on which a record begins: the reader's position stands before the comments and empty lines above it.
fn record_line(text: &str, position: Option<&csv::Position>) -> u64 {
    let Some(position) = position else { return 0 };
    let start = usize::try_from(position.byte()).unwrap_or(usize::MAX);
    let above =
        text.get(start..).unwrap_or_default().lines().take_while(|line| line.is_empty() || line.starts_with('#'));
    position.line() + above.count() as u64
}

fn csv_fault(path: &Path, text: &str, error: &csv::Error) -> Fault {
    let line = record_line(text, error.position());
    let message = match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("has {len} fields, the header has {expected_len}")
        }
        csv::ErrorKind::Deserialize { err, .. } => err.kind().to_string(),
        _ => error.to_string(),
    };
    Fault::new(path, line, message)
}

/// A whole TOML file; wrap a field in [`Spanned`] to be able to name its line later.
pub fn read_toml<T: DeserializeOwned>(path: &Path) -> Result<Document<T>, Fault> {
    let text = read_text(path)?;
    let value = toml::from_str(&text).map_err(|error| {
        let line = error.span().map_or(0, |span| Document::new(path, &text, ()).line(span));
        Fault::new(path, line, error.message())
    })?;
    if let Some(fault) = origin_fault(path, &text) {
        return Err(fault);
    }
    Ok(Document::new(path, &text, value))
}

/// A whole JSON file (GeoJSON, TopoJSON).
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, Fault> {
    let text = read_text(path)?;
    serde_json::from_str(&text).map_err(|error| Fault::new(path, error.line() as u64, error))
}

/// The line on which a piece of text first stands in a file, or 0; for naming a place in JSON.
pub fn line_containing(path: &Path, needle: &str) -> u64 {
    read_text(path)
        .ok()
        .and_then(|text| text.lines().position(|line| line.contains(needle)))
        .map_or(0, |index| index as u64 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::scratch::TestFolder;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Row {
        code: String,
        count: u32,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Rules {
        rule: Vec<Rule>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Rule {
        begins: Spanned<Day>,
    }

    /// A file in a folder that is removed with the first value.
    fn file(name: &str, content: &[u8]) -> (TestFolder, PathBuf) {
        let folder = TestFolder::new("dataset").expect("a folder");
        let path = folder.path().join(name);
        fs::write(&path, content).expect("the folder is writable");
        (folder, path)
    }

    #[test]
    fn comments_are_skipped_and_lines_counted() {
        let (_folder, path) =
            file("good.csv", "# Origin: here\n# licence\ncode,count\na,1\n\n# note\nb,2\n".as_bytes());
        let rows = read_csv::<Row>(&path).expect("the file is good");
        let seen: Vec<_> = rows.iter().map(|(line, row)| (*line, row.code.as_str(), row.count)).collect();
        assert_eq!(seen, [(4, "a", 1), (7, "b", 2)]);
    }

    #[test]
    fn every_bad_row_is_named() {
        let (_folder, path) = file("bad.csv", b"# Origin: x\ncode,count\na,1\nb,many\n\n# y\nc,3,4\nd,5\n");
        let (rows, faults) = read_csv_faults::<Row>(&path);
        assert_eq!(rows.len(), 2);
        let lines: Vec<_> = faults.iter().map(|fault| fault.line).collect();
        assert_eq!(lines, [4, 7]);
        assert!(faults[0].to_string().ends_with("bad.csv:4: invalid digit found in string"), "{}", faults[0]);
        assert_eq!(faults[1].message, "has 3 fields, the header has 2");
    }

    #[test]
    fn unknown_columns_and_broken_text_are_refused() {
        let (_folder, extra) = file("extra.csv", b"# Origin: x\ncode,count,more\na,1,2\n");
        let fault = read_csv::<Row>(&extra).expect_err("a column is unknown");
        assert!(fault.message.contains("unknown field `more`"), "{fault}");
        let (_folder, broken) = file("broken.csv", b"code,count\na,1\n\xff,2\n");
        let fault = read_csv::<Row>(&broken).expect_err("the text is broken");
        assert_eq!((fault.line, fault.message.as_str()), (3, "is not UTF-8 text"));
        let fault = read_csv::<Row>(Path::new("/nowhere/file.csv")).expect_err("the file is absent");
        assert_eq!(fault.line, 0);
    }

    #[test]
    fn an_origin_is_named_above_the_content() {
        for content in ["code,count\na,1\n", "# Origin: \ncode,count\na,1\n", "code,count\n# Origin: late\na,1\n"] {
            let (_folder, path) = file("no-origin.csv", content.as_bytes());
            let (rows, faults) = read_csv_faults::<Row>(&path);
            assert_eq!((rows.len(), faults.len(), faults[0].line), (1, 1, 1), "{content}");
        }
        let (_folder, path) = file("no-origin.toml", b"[[rule]]\nbegins = 2025-01-01\n");
        assert_eq!(read_toml::<Rules>(&path).expect_err("no origin").line, 1);
    }

    #[test]
    fn toml_values_know_their_line() {
        let (_folder, path) =
            file("good.toml", b"# Origin: x\n[[rule]]\nbegins = 2025-01-01\n\n[[rule]]\nbegins = 2025-02-01\n");
        let rules = read_toml::<Rules>(&path).expect("the file is good");
        let fault = rules.fault(&rules.value.rule[1].begins, "is late");
        assert_eq!((fault.line, fault.message.as_str()), (6, "is late"));
        assert_eq!(rules.value.rule[0].begins.get_ref().0.to_string(), "2025-01-01");
    }

    #[test]
    fn bad_toml_is_named_by_line() {
        for (content, line) in [
            ("[[rule]]\nbegins = 2025-02-30\n", 2),
            ("[[rule]]\nbegins = 2025-02-03T10:00:00Z\n", 2),
            ("[[rule]]\nbegins = \"soon\"\n", 2),
            ("[[rule]]\nbegins = 2025-02-03\nend = 3\n", 3),
            ("[[rule]\n", 1),
        ] {
            let (_folder, path) = file("bad.toml", content.as_bytes());
            let fault = read_toml::<Rules>(&path).expect_err(content);
            assert_eq!(fault.line, line, "{content}: {fault}");
        }
    }
}

//! Days off and Saturdays worked, from `holidays.csv`.

use std::collections::BTreeMap;
use std::path::Path;

use chrono::{Datelike, NaiveDate, Weekday};
use platform::dataset::{Fault, read_csv_faults};
use serde::Deserialize;

const FILE: &str = "holidays.csv";

/// Why a day is not like others of its weekday.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DayKind {
    /// A public holiday.
    Holiday,
    /// A day off because a holiday fell on a day off.
    Substitute,
    /// A day off that is worked on a Saturday instead.
    Swap,
    /// A day off by its weekday that is worked.
    Workday,
}

/// Whether a day is decreed or follows from the rule only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Status {
    Announced,
    Expected,
}

/// Which days are worked.
#[derive(Clone, Debug, Default)]
pub struct Calendar {
    weekdays: Vec<Weekday>,
    days: BTreeMap<NaiveDate, DayKind>,
}

impl Calendar {
    /// Whether offices work on a day.
    ///
    /// Outside the years of the file only the weekday counts.
    pub fn is_working_day(&self, date: NaiveDate) -> bool {
        match self.days.get(&date) {
            Some(kind) => *kind == DayKind::Workday,
            None => self.weekdays.contains(&date.weekday()),
        }
    }

    /// What is special about a day, if anything is.
    pub fn day(&self, date: NaiveDate) -> Option<DayKind> {
        self.days.get(&date).copied()
    }

    pub(super) fn with_weekdays(mut self, weekdays: &[Weekday]) -> Self {
        self.weekdays = weekdays.to_vec();
        self
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    date: NaiveDate,
    name_vi: String,
    name_en: String,
    kind: DayKind,
    status: Status,
}

pub(super) fn read(dir: &Path, faults: &mut Vec<Fault>) -> Calendar {
    let path = dir.join(FILE);
    let (rows, mut found) = read_csv_faults::<Row>(&path);
    let mut lines = BTreeMap::new();
    let mut calendar = Calendar::default();
    let mut before = None;
    for (line, row) in &rows {
        let mut fault = |message: String| found.push(Fault::new(&path, *line, message));
        if row.name_vi.trim().is_empty() || row.name_en.trim().is_empty() {
            fault("a name is missing".to_owned());
        }
        if row.kind == DayKind::Workday && row.date.weekday().number_from_monday() < 6 {
            fault(format!("{} is worked anyway: it is a {}", row.date, row.date.weekday()));
        }
        if let Some(first) = lines.insert(row.date, *line) {
            fault(format!("{} stands on line {first} already", row.date));
        } else if before.is_some_and(|before| row.date < before) {
            fault(format!("{} comes after a later day", row.date));
        }
        if row.kind == DayKind::Swap && row.status == Status::Expected {
            fault("a swap is decreed; it can't be expected by rule".to_owned());
        }
        before = Some(row.date);
        calendar.days.insert(row.date, row.kind);
    }
    if rows.is_empty() && found.is_empty() {
        found.push(Fault::new(&path, 0, "holds no day"));
    }
    faults.append(&mut found);
    calendar
}

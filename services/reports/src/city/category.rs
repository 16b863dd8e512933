//! What a report can be about, from `report-categories.csv`.

use std::collections::HashMap;
use std::path::Path;

use platform::dataset::{Fault, read_csv_faults};
use serde::{Deserialize, Serialize};

use super::{Attribute, Name};

const FILE: &str = "report-categories.csv";
const MAX_TARGET_DAYS: u32 = 60;

/// How fast a report moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = ReportLane)]
pub enum Lane {
    /// Day and night, in minutes and hours.
    Instant,
    /// In working hours and working days.
    Timed,
}

impl Lane {
    /// Its name on the wire and in the database.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Instant => "instant",
            Self::Timed => "timed",
        }
    }
}

/// How urgent a category is to the operations centre.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Priority {
    Normal,
    High,
    Urgent,
}

/// One category of field reports.
#[derive(Clone, Debug)]
pub struct Category {
    /// Its stable code, such as `HT`.
    pub code: String,
    /// Its name.
    pub name: Name,
    /// How fast its reports move.
    pub lane: Lane,
    /// Who handles its reports unless a rule says otherwise, in Vietnamese.
    pub default_handler: String,
    /// Working days to a result; 0 for the instant lane.
    pub target_working_days: u32,
    /// What else it asks.
    pub form: Vec<Attribute>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    code: String,
    name_vi: String,
    name_en: String,
    lane: Lane,
    priority: Priority,
    default_handler: String,
    target_working_days: u32,
}

pub(super) fn read(dir: &Path, faults: &mut Vec<Fault>) -> Vec<Category> {
    let path = dir.join(FILE);
    let (rows, mut found) = read_csv_faults::<Row>(&path);
    let mut lines = HashMap::new();
    for (line, row) in &rows {
        found.extend(row.faults().into_iter().map(|message| Fault::new(&path, *line, message)));
        if let Some(first) = lines.insert(row.code.as_str(), *line) {
            let message = format!("category {} stands on line {first} already", row.code);
            found.push(Fault::new(&path, *line, message));
        }
    }
    if rows.is_empty() && found.is_empty() {
        found.push(Fault::new(&path, 0, "holds no category"));
    }
    faults.append(&mut found);
    rows.into_iter().map(|(_, row)| row.into_category()).collect()
}

impl Row {
    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.code.is_empty() || !self.code.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()) {
            faults.push(format!("code {:?} is not capital letters and digits", self.code));
        }
        if [&self.name_vi, &self.name_en, &self.default_handler].iter().any(|text| text.trim().is_empty()) {
            faults.push("a name or the handler is missing".to_owned());
        }
        if (self.lane == Lane::Instant) != (self.target_working_days == 0) {
            faults.push("only the instant lane has a target of 0 working days, and it has no other".to_owned());
        }
        if (self.lane == Lane::Instant) != (self.priority == Priority::Urgent) {
            faults.push("urgent categories, and no others, are in the instant lane".to_owned());
        }
        if self.target_working_days > MAX_TARGET_DAYS {
            faults.push(format!("the target is more than {MAX_TARGET_DAYS} working days"));
        }
        faults
    }

    fn into_category(self) -> Category {
        Category {
            code: self.code,
            name: Name { vi: self.name_vi, en: self.name_en },
            lane: self.lane,
            default_handler: self.default_handler,
            target_working_days: self.target_working_days,
            form: Vec::new(),
        }
    }
}

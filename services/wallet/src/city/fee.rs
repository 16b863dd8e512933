//! Public-service procedures with what they cost, and checks of them and of flat fees: `procedures.csv`, `procedure-channels.csv`, `sanitation-fees.csv`.
//!
//! Touches only those files. One procedure may have several rows for one channel: the citizen's choices.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use platform::dataset::{Fault, Faults, read_csv_faults};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

const PROCEDURES: &str = "procedures.csv";
const CHANNELS: &str = "procedure-channels.csv";
const SANITATION: &str = "sanitation-fees.csv";
const LEVELS: [&str; 4] = ["ministry", "city", "ward", "other"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Procedure {
    code: String,
    name: String,
    levels: String,
    field: String,
    ministry: String,
    authority: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChannelRow {
    procedure: String,
    channel: Channel,
    duration: Option<f64>,
    duration_unit: Option<DurationUnit>,
    fee_kind: FeeKind,
    fee: Option<i64>,
}

/// How a procedure is filed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = FilingChannel)]
pub enum Channel {
    /// At the counter.
    Counter,
    /// On the portal.
    Online,
    /// By post.
    Post,
}

impl Channel {
    /// As the database and JSON say it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Online => "online",
            Self::Post => "post",
        }
    }
}

/// A procedure with what it costs.
#[derive(Clone, Debug)]
pub struct PricedProcedure {
    /// Its name.
    pub name: String,
    fees: Vec<(Channel, i64)>,
}

impl PricedProcedure {
    /// The fees that are listed for a way to file it, in minor units.
    pub fn fees(&self, channel: Channel) -> Vec<i64> {
        self.fees.iter().filter(|(listed, _)| *listed == channel).map(|(_, fee)| *fee).collect()
    }
}

/// All procedures of the city's folder, by code.
#[derive(Clone, Debug, Default)]
pub struct Procedures(HashMap<String, PricedProcedure>);

impl Procedures {
    /// The procedure of a code.
    pub fn get(&self, code: &str) -> Option<&PricedProcedure> {
        self.0.get(code)
    }
}

/// Reads procedures and what they cost.
pub fn load_procedures(dir: &Path) -> Result<Procedures, Faults> {
    let mut faults = Vec::new();
    let path = dir.join(PROCEDURES);
    let codes = procedures(&path, &mut faults);
    channels(&dir.join(CHANNELS), &codes, &mut faults);
    if !faults.is_empty() {
        return Err(Faults(faults));
    }
    let rows = read_csv_faults::<Procedure>(&path).0.into_iter();
    let mut priced: HashMap<String, PricedProcedure> =
        rows.map(|(_, row)| (row.code, PricedProcedure { name: row.name, fees: Vec::new() })).collect();
    for (_, row) in read_csv_faults::<ChannelRow>(&dir.join(CHANNELS)).0 {
        if let (Some(fee), Some(procedure)) = (row.fee, priced.get_mut(&row.procedure)) {
            procedure.fees.push((row.channel, fee));
        }
    }
    Ok(Procedures(priced))
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum DurationUnit {
    Hour,
    Day,
    WorkingDay,
    Month,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum FeeKind {
    Free,
    Amount,
    Other,
    NotListed,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SanitationFee {
    customer: Customer,
    area: String,
    area_name_vi: String,
    position: Position,
    group: Option<u8>,
    fee_per_month: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Customer {
    Household,
    HouseholdBusiness,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Position {
    Street,
    Alley,
    Any,
}

pub(super) fn check(dir: &Path) -> Vec<Fault> {
    let mut faults = Vec::new();
    let codes = procedures(&dir.join(PROCEDURES), &mut faults);
    channels(&dir.join(CHANNELS), &codes, &mut faults);
    sanitation(&dir.join(SANITATION), &mut faults);
    faults
}

fn procedures(path: &Path, faults: &mut Vec<Fault>) -> HashSet<String> {
    let (rows, mut found) = read_csv_faults::<Procedure>(path);
    let mut lines = HashMap::new();
    for (line, row) in &rows {
        let mut fault = |message: String| found.push(Fault::new(path, *line, message));
        let texts = [&row.code, &row.name, &row.field, &row.ministry];
        if texts.iter().any(|text| text.trim().is_empty()) {
            fault("the code, the name, the field or the ministry is missing".to_owned());
        }
        if row.authority.as_ref().is_some_and(|authority| authority.trim().is_empty()) {
            fault("the authority is blank; leave it empty where it is not known".to_owned());
        }
        for level in row.levels.split(';').filter(|level| !LEVELS.contains(level)) {
            fault(format!("level {level:?} is unknown"));
        }
        if let Some(first) = lines.insert(row.code.as_str(), *line) {
            fault(format!("procedure {} stands on line {first} already", row.code));
        }
    }
    faults.append(&mut found);
    rows.into_iter().map(|(_, row)| row.code).collect()
}

fn channels(path: &Path, codes: &HashSet<String>, faults: &mut Vec<Fault>) {
    let (rows, mut found) = read_csv_faults::<ChannelRow>(path);
    let mut lines = HashMap::new();
    for (line, row) in &rows {
        let mut fault = |message: String| found.push(Fault::new(path, *line, message));
        if !codes.contains(&row.procedure) {
            fault(format!("procedure {} is not in {PROCEDURES}", row.procedure));
        }
        if row.duration.is_some() != row.duration_unit.is_some() || row.duration.is_some_and(|d| d < 0.0) {
            fault("the duration is negative, or stands without its unit".to_owned());
        }
        if (row.fee_kind == FeeKind::Amount) != row.fee.is_some() || row.fee.is_some_and(|fee| fee <= 0) {
            fault("a fee of kind amount, and no other, has a positive amount".to_owned());
        }
        let duration = row.duration.map(f64::to_bits);
        let key = (&row.procedure, row.channel, duration, row.duration_unit, row.fee_kind, row.fee);
        if let Some(first) = lines.insert(key, *line) {
            fault(format!("the row repeats line {first}"));
        }
    }
    faults.append(&mut found);
}

fn sanitation(path: &Path, faults: &mut Vec<Fault>) {
    let (rows, mut found) = read_csv_faults::<SanitationFee>(path);
    let mut lines = HashMap::new();
    for (line, row) in &rows {
        let mut fault = |message: String| found.push(Fault::new(path, *line, message));
        if row.area.trim().is_empty() || row.area_name_vi.trim().is_empty() {
            fault("the area or its name is missing".to_owned());
        }
        if row.fee_per_month <= 0 {
            fault(format!("fee {} is not positive", row.fee_per_month));
        }
        if (row.customer == Customer::HouseholdBusiness) != row.group.is_some() {
            fault("businesses, and no others, have a group".to_owned());
        }
        if let Some(first) = lines.insert((row.customer, &row.area, row.position, row.group), *line) {
            fault(format!("the same customer, area, position and group stand on line {first} already"));
        }
    }
    faults.append(&mut found);
}

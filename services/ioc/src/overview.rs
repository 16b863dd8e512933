//! What the wall is told: the whole picture, and what changed in it.
//!
//! Changes carry whole rows, never differences: applying one twice, or one that overlaps the picture, changes nothing.
//! Nothing here names a citizen.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::city::Name;
use crate::role::RoleHealth;
use crate::sensor::AlarmId;
use crate::sensor::alarm::State as AlarmState;

/// The books are compared every two seconds; a comparison that takes longer than this failed.
const LONGEST_COMPARISON: TimeDelta = TimeDelta::seconds(6);

/// An exact amount of money.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Amount {
    /// A decimal number.
    #[schema(example = "150000")]
    pub amount: String,
    /// ISO 4217 code.
    #[schema(example = "VND")]
    pub currency: String,
}

/// How often a kind of thing ended in a way, and for how much.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Tally {
    /// Of money `payment`, `bill`, `fee` (of a public service), `top-up`, `refund`, `payout` (to the owner of a shop that closed); `session`, `otp`, `citizen`, `message-push` and the like by channel, `lane-emergency` and the like by lane; `refusal`
    /// of a payment, by the code of its reason; by minute also `report`.
    pub kind: String,
    /// `completed`, `rejected`, `failed`, `started`, `delivered`, `suppressed`, …; of `report` `submitted`, `breach`, `result`, `rating`.
    pub outcome: String,
    /// How often.
    pub count: i64,
    /// The sum; 0 for what is not money.
    pub amount: Amount,
}

/// The tally of one minute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MinuteTally {
    /// The beginning of the minute.
    pub minute: DateTime<Utc>,
    /// What is counted.
    #[serde(flatten)]
    pub tally: Tally,
}

/// The newest position of a stream's partition that the numbers include.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SourcePosition {
    /// `journal`, `wallet`, `identity`, `notifications` or `reports`.
    pub stream: String,
    /// 0 to 15.
    pub partition: i16,
    /// The position in the source's order.
    pub position: i64,
}

/// A payment without its payer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LastPayment {
    /// Its place in the journal, which also tells it from others.
    pub position: i64,
    /// When it was made.
    pub at: DateTime<Utc>,
    /// The merchant's public name.
    pub merchant: String,
    /// What was paid.
    pub amount: Amount,
}

/// How the numbers compare with the wallet's own books.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BooksState {
    /// Not compared yet, or the wallet did not answer.
    #[default]
    Unknown,
    /// Equal to the last unit at `position`.
    Equal,
    /// Not equal at `position`: someone must act.
    Different,
}

/// The comparison with the wallet's own books.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Books {
    /// The result at `position`.
    pub state: BooksState,
    /// The journal position that was compared last.
    pub position: i64,
    /// The wallet's position that is compared next, or was last.
    pub newest: i64,
    /// For how many seconds something that the wallet had has been missing here, or the books could not be compared.
    pub behind_seconds: i64,
    /// When the last comparison was made.
    pub checked_at: Option<DateTime<Utc>>,
}

impl Books {
    /// The comparison as it stands now: one that does not come anew grows old.
    #[must_use]
    pub fn at(&self, now: DateTime<Utc>) -> Self {
        let silent = self.checked_at.map(|checked| now - checked).filter(|silent| *silent > LONGEST_COMPARISON);
        let behind_seconds = silent.map_or(0, |silent| silent.num_seconds()).max(self.behind_seconds);
        Self { behind_seconds, ..self.clone() }
    }
}

/// How far the figures trail a stream that they are counted from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StreamLag {
    /// `journal`, `wallet`, `identity`, `notifications` or `reports`.
    #[schema(example = "reports")]
    pub stream: String,
    /// For how many seconds something that the stream had has not been counted, or nobody could tell; 2 or less is usual.
    pub behind_seconds: i64,
}

/// One kind of transfer in the books.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BookTotal {
    /// The kind of transfer.
    pub kind: String,
    /// How many up to the books' position.
    pub count: i64,
    /// Their sum.
    pub amount: Amount,
}

/// How many field reports stand in a state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StateReports {
    /// `received`, `verifying`, `needs-info`, `distributed`, `in-progress`, `result-submitted`: open; `published`, `closed`, `rejected`,
    /// `duplicate`: ended.
    pub state: String,
    /// How many.
    pub reports: i64,
    /// Of them, those whose time limit has run out.
    pub overdue: i64,
}

/// How many open field reports an agency leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AgencyReports {
    /// Its code; empty for those that none leads.
    #[schema(example = "HEPCO")]
    pub agency: String,
    /// How many have not ended.
    pub open: i64,
    /// Of them, those whose time limit has run out.
    pub overdue: i64,
}

/// How many open field reports a ward has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WardReports {
    /// Its code; empty for those whose ward is not known.
    #[schema(example = "19753")]
    pub ward: String,
    /// How many have not ended.
    pub open: i64,
    /// Of them, those whose time limit has run out.
    pub overdue: i64,
}

/// How often something happened to field reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReportTally {
    /// `submitted` by category and ward; `breach`, a time limit that was missed, by agency; `result`, one published, by agency;
    /// `rating`, a round that ended rated or not, by agency.
    #[schema(example = "rating")]
    pub kind: String,
    /// Of a breach the state whose limit it was. Of a result `first` (it kept the first deadline and so any), `extended` (it kept only
    /// the one in force) or `late`. Of a rating `satisfied`, `acceptable`, `dissatisfied`, or `none` where nobody rated: all but `none`
    /// divided by all is the response rate. Empty of a submission.
    #[schema(example = "satisfied")]
    pub outcome: String,
    /// Code of the agency; empty where a kind is not counted by it, and for the centre's own limits.
    pub agency: String,
    /// Code of the category; empty where a kind is not counted by it.
    pub category: String,
    /// Code of the ward; empty where a kind is not counted by it, or it is not known.
    pub ward: String,
    /// How often.
    pub count: i64,
}

/// Field reports: how they stand, and what happened to them. In a change only rows that changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReportFigures {
    /// By state.
    pub states: Vec<StateReports>,
    /// Open ones by leading agency.
    pub agencies: Vec<AgencyReports>,
    /// Open ones by ward.
    pub wards: Vec<WardReports>,
    /// What happened on the day.
    pub today: Vec<ReportTally>,
    /// What happened since the beginning.
    pub totals: Vec<ReportTally>,
}

/// An alarm of a station at a river.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AlarmRow {
    /// Tells it from others.
    #[schema(value_type = uuid::Uuid)]
    pub id: AlarmId,
    /// The station's code.
    #[schema(example = "kim-long")]
    pub station: String,
    /// The station's name.
    pub station_name: String,
    /// The river's name.
    pub river: Name,
    /// Codes of the wards along the river.
    pub wards: Vec<String>,
    /// How it stands.
    pub state: AlarmState,
    /// The alarm level (báo động), 1 to 3; of a closed alarm its last.
    pub level: u8,
    /// The highest level that it has had.
    pub highest: u8,
    /// The newest plausible reading, in metres.
    pub value_m: f64,
    /// When that was measured.
    pub measured_at: DateTime<Utc>,
    /// When the alarm began.
    pub raised_at: DateTime<Utc>,
    /// When an operator acknowledged it last.
    pub acknowledged_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub closed_at: Option<DateTime<Utc>>,
    /// Not meant: an exercise.
    pub exercise: bool,
}

/// How many of a ward have a warning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = WarningWard)]
pub struct WardReach {
    /// The ward's code.
    #[schema(example = "19774")]
    pub ward: String,
    /// Citizens who were warned on its account.
    pub recipients: i64,
    /// Of them, those of whom it is known: it arrived on a phone, or was read in the app.
    pub reached: i64,
}

/// A warning to citizens, and how far it has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WarningRow {
    /// Tells it from others.
    pub alert_id: uuid::Uuid,
    /// Names its document: `/cap/v1/alerts/{identifier}.xml`.
    pub identifier: String,
    /// CAP's category, for instance `met`.
    pub category: String,
    /// `extreme`, `severe`, `moderate`, `minor`, `unknown`.
    pub severity: String,
    /// What is the matter.
    pub headline: Name,
    /// When it was released.
    pub released_at: DateTime<Utc>,
    /// Until when it is in force.
    pub expires_at: DateTime<Utc>,
    /// `updated` or `cancelled` when it ended before its time.
    pub ended: Option<String>,
    /// When that was.
    pub ended_at: Option<DateTime<Utc>>,
    /// Not meant: an exercise.
    pub exercise: bool,
    /// Citizens who were warned, each once.
    pub recipients: i64,
    /// Of them, those of whom it is known: it arrived on a phone, or was read in the app.
    pub reached: i64,
    /// Whether everybody whom it concerns has been counted in.
    pub complete: bool,
    /// By ward; a citizen of two wards counts in both.
    pub wards: Vec<WardReach>,
}

/// The city as the wall shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CitySummary {
    /// Its name.
    pub name: Name,
    /// The zone that days are counted in.
    #[schema(example = "Asia/Ho_Chi_Minh")]
    pub time_zone: String,
}

/// Everything that the wall shows, read at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Overview {
    /// Grows with each change.
    pub revision: i64,
    /// When it was read.
    pub as_of: DateTime<Utc>,
    /// Whose numbers these are.
    pub city: CitySummary,
    /// The city's day that `today` covers.
    pub day: NaiveDate,
    /// What the numbers include.
    pub sources: Vec<SourcePosition>,
    /// Sums since the beginning.
    pub totals: Vec<Tally>,
    /// Sums of the day.
    pub today: Vec<Tally>,
    /// The last 61 minutes, oldest first.
    pub minutes: Vec<MinuteTally>,
    /// The newest payments, newest first.
    pub last_payments: Vec<LastPayment>,
    /// Field reports.
    pub reports: ReportFigures,
    /// Open alarms, at most 100, oldest first.
    pub alarms: Vec<AlarmRow>,
    /// Warnings in force, at most 100, the newest first.
    pub warnings: Vec<WarningRow>,
    /// The journal position up to which nothing is missing here.
    pub book_position: i64,
    /// The totals of the journal up to `book_position`, exactly: to be compared with the wallet's at that position.
    pub book_totals: Vec<BookTotal>,
    /// The comparison with the wallet's books.
    pub books: Books,
    /// How fresh each stream's figures are.
    pub streams: Vec<StreamLag>,
    /// Every role of every process.
    pub roles: Vec<RoleHealth>,
}

/// Rows that changed: each replaces the one before it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Delta {
    /// The revision that the picture has with these rows.
    pub revision: i64,
    /// When they were read.
    pub as_of: DateTime<Utc>,
    /// The day that `today` covers; a new one begins empty.
    pub day: NaiveDate,
    /// Changed sums of the day.
    pub today: Vec<Tally>,
    /// Changed minutes.
    pub minutes: Vec<MinuteTally>,
    /// New payments, newest first.
    pub last_payments: Vec<LastPayment>,
    /// Field reports: rows that changed.
    pub reports: ReportFigures,
    /// Alarms that changed; closed ones too, so that they can be taken away.
    pub alarms: Vec<AlarmRow>,
    /// Warnings that changed; those that ended too.
    pub warnings: Vec<WarningRow>,
}

/// Says that the line is alive, and how everything is; sent every two seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Pulse {
    /// The server's time.
    pub as_of: DateTime<Utc>,
    /// The city's day.
    pub day: NaiveDate,
    /// The comparison with the wallet's books.
    pub books: Books,
    /// How fresh each stream's figures are.
    pub streams: Vec<StreamLag>,
    /// Every role of every process.
    pub roles: Vec<RoleHealth>,
}

/// The health of every role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Roles {
    /// The server's time.
    pub as_of: DateTime<Utc>,
    /// Every role of every process.
    pub roles: Vec<RoleHealth>,
}

/// One event of the wall's stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum WallEvent {
    /// `snapshot`: everything.
    Snapshot(Box<Overview>),
    /// `delta`: rows that changed.
    Delta(Delta),
    /// `pulse`: the line is alive.
    Pulse(Pulse),
}

impl WallEvent {
    /// The event's name.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Snapshot(_) => "snapshot",
            Self::Delta(_) => "delta",
            Self::Pulse(_) => "pulse",
        }
    }
}

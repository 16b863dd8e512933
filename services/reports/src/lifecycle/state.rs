//! Where a report can stand.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Where a report stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = ReportState)]
pub enum State {
    /// Sent by the citizen.
    Received,
    /// The operations centre looks at it.
    Verifying,
    /// The citizen was asked.
    NeedsInfo,
    /// Not a case for the city.
    Rejected,
    /// Told by another report already.
    Duplicate,
    /// Given to an agency.
    Distributed,
    /// The agency works on it.
    InProgress,
    /// The agency says that it is done.
    ResultSubmitted,
    /// The result is public.
    Published,
    /// Rated, or left unrated.
    Closed,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Received,
        Self::Verifying,
        Self::NeedsInfo,
        Self::Rejected,
        Self::Duplicate,
        Self::Distributed,
        Self::InProgress,
        Self::ResultSubmitted,
        Self::Published,
        Self::Closed,
    ];

    /// Its name on the wire and in the database.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Verifying => "verifying",
            Self::NeedsInfo => "needs-info",
            Self::Rejected => "rejected",
            Self::Duplicate => "duplicate",
            Self::Distributed => "distributed",
            Self::InProgress => "in-progress",
            Self::ResultSubmitted => "result-submitted",
            Self::Published => "published",
            Self::Closed => "closed",
        }
    }
}

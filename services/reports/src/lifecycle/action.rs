//! Who acts on a report, and what they do to it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// How the report came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Channel {
    /// The citizen sent it.
    App,
    /// An operator wrote it down for a caller; it has no reporter in the system.
    Call,
}

/// Who acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// The citizen who sent the report.
    Reporter,
    /// An operator of the operations centre.
    Ioc,
    /// A supervisor of the operations centre.
    Supervisor,
    /// An officer of the agency with this code.
    Agency(String),
    /// Nobody: a time ran out.
    System,
}

/// How satisfied the reporter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Rating {
    /// Satisfied.
    Satisfied,
    /// Acceptable.
    Acceptable,
    /// Dissatisfied: the report may be reopened.
    Dissatisfied,
}

impl Rating {
    /// Its name on the wire and in the database.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Satisfied => "satisfied",
            Self::Acceptable => "acceptable",
            Self::Dissatisfied => "dissatisfied",
        }
    }
}

/// Who shall do the work, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// Code of the agency that answers for it.
    pub lead: String,
    /// Codes of agencies that help.
    pub co: Vec<String>,
    /// The deadline; the category's default when absent.
    pub deadline: Option<DateTime<Utc>>,
}

/// What is done to a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// The operations centre takes it up.
    Claim,
    /// The citizen is asked.
    Ask,
    /// The citizen answers.
    Answer,
    /// It is no case for the city.
    Reject,
    /// Another report tells it already.
    Merge(Uuid),
    /// An agency shall do it.
    Distribute(Assignment),
    /// The agency takes it.
    Accept,
    /// The agency says that it is not theirs.
    Return,
    /// The agency asks for more time.
    RequestExtension(DateTime<Utc>),
    /// It gets it.
    GrantExtension,
    /// It does not.
    RefuseExtension,
    /// The agency says that it is done, with so many photos as evidence.
    SubmitResult(usize),
    /// The result is published.
    Approve,
    /// The result does not do.
    SendBack,
    /// The reporter rates.
    Rate(Rating),
    /// The reporter or a supervisor wants it looked at again.
    Reopen,
    /// A wait for the citizen ran out.
    Expire,
}

impl Action {
    /// Its name on the wire and in the history.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Claim => "claim",
            Self::Ask => "ask",
            Self::Answer => "answer",
            Self::Reject => "reject",
            Self::Merge(_) => "merge",
            Self::Distribute(_) => "distribute",
            Self::Accept => "accept",
            Self::Return => "return",
            Self::RequestExtension(_) => "request-extension",
            Self::GrantExtension => "grant-extension",
            Self::RefuseExtension => "refuse-extension",
            Self::SubmitResult(_) => "submit-result",
            Self::Approve => "approve",
            Self::SendBack => "send-back",
            Self::Rate(_) => "rate",
            Self::Reopen => "reopen",
            Self::Expire => "expire",
        }
    }
}

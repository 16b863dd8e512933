//! Why a batch was not put.

use std::sync::Arc;

use crate::rider::RiderError;
use crate::sql::write;

/// Why a batch was not put.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The program or its data is at fault; another attempt fails as well. Nothing was committed.
    Fault(Arc<dyn std::error::Error + Send + Sync>),
    /// The database can't be reached or is busy. Nothing was committed.
    Passing(Arc<sqlx::Error>),
    /// This machine's clock is too far ahead of the database's. Nothing was committed.
    Ahead(Arc<sqlx::Error>),
    /// The books have moved on since the batch was decided. Nothing was committed.
    Moved,
    /// A key of the batch has been answered before. Nothing was committed.
    Known,
    /// The answer to COMMIT was lost.
    Unknown(Arc<sqlx::Error>),
}

impl Failure {
    pub(crate) fn of(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed | sqlx::Error::BeginFailed => {
                Self::Passing(Arc::new(error))
            }
            _ if write::is_known_key(&error) => Self::Known,
            _ if write::is_clock_ahead(&error) => Self::Ahead(Arc::new(error)),
            _ if platform::db::is_passing(&error) => Self::Passing(Arc::new(error)),
            _ => Self::Fault(Arc::new(error)),
        }
    }

    /// Of a statement after which the server may have committed.
    pub(super) fn of_commit(error: sqlx::Error) -> Self {
        // The server says itself that it rolled back only with these classes; anything else leaves it open.
        // 40003 is "statement completion unknown".
        let refused = error.as_database_error().and_then(|error| error.code()).is_some_and(|code| {
            code != "40003" && ["22", "23", "40", "42", "55", "P0", "XX"].iter().any(|class| code.starts_with(class))
        });
        if refused { Self::of(error) } else { Self::Unknown(Arc::new(error)) }
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::of(error)
    }
}

impl From<RiderError> for Failure {
    fn from(error: RiderError) -> Self {
        match error {
            RiderError::Database(error) => Self::of(error),
            RiderError::Other(_) => Self::Fault(Arc::new(error)),
        }
    }
}

/// Something that the program itself did wrong.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Bug {
    #[error("{changed} rows were changed where {expected} should have been")]
    Changed { expected: usize, changed: usize },
    #[error("the fold panicked")]
    Panic,
    #[error("a rider panicked")]
    RiderPanic,
    #[error("the transfers of a batch don't follow one from the other")]
    Chain,
    #[error("a batch can't be encoded")]
    Encode(#[source] sqlx::error::BoxDynError),
    #[error("a batch was written before")]
    Written,
    #[error("a key that the lock guards was answered before")]
    KnownUnderLock,
    #[error("kind {code} has the name {stored} in the database and {name} in the program, or another class")]
    Kind { code: i16, name: String, stored: String },
}

impl From<Bug> for Failure {
    fn from(bug: Bug) -> Self {
        Self::Fault(Arc::new(bug))
    }
}

//! What can go wrong in the operations centre.

use platform::dataset::{Fault, Faults};
use platform::problem::{Code, Problem};

/// The caller is not inside the city's network.
pub(crate) const INTERNAL_ONLY: Code =
    Code::new("internal-only", 403, "Chỉ truy cập được từ mạng nội bộ", "Only reachable from inside the network");
/// As many walls as this process serves are open.
pub(crate) const TOO_MANY_WALLS: Code =
    Code::new("too-many-walls", 503, "Đã mở quá nhiều màn hình", "Too many walls are open");

/// Why a request of the centre failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    /// As many walls as allowed are open, or the process is stopping.
    #[error("no wall can be opened now")]
    NoWall,
    /// The caller is outside.
    #[error("the caller is not inside the network")]
    Outside,
}

impl Error {
    /// The stable code, where the error has one of its own.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Database(_) => None,
            Self::NoWall => Some(TOO_MANY_WALLS),
            Self::Outside => Some(INTERNAL_ONLY),
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Database(source) => Self::from(source),
            Error::NoWall => Self::new(TOO_MANY_WALLS).retry_after(5),
            Error::Outside => Self::new(INTERNAL_ONLY).detail(
                "Trang này chỉ trả lời máy trong mạng nội bộ của thành phố.",
                "This answers machines inside the city's own network only.",
            ),
        }
    }
}

/// Why the role can't start.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The city's folder has a fault.
    #[error(transparent)]
    City(#[from] Fault),
    /// So have files that name its places.
    #[error(transparent)]
    Places(#[from] Faults),
    /// A peer is not usable as it is configured.
    #[error("peer {url}: {reason}")]
    Peer {
        /// Its address.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// The HTTP client can't be made.
    #[error("the HTTP client can't be made")]
    Http(#[from] reqwest::Error),
}

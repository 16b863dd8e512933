//! Journeys through the whole city, in both shapes; each lives in `tests/`. Here is what several of them do.

pub mod agency;
pub mod crowd;
pub mod dice;
pub mod figures;
pub mod office;
pub mod picture;
pub mod privacy;

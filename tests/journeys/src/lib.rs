//! Journeys through the whole city, in both shapes; each lives in `tests/`.

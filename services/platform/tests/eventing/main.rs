//! Events and jobs on real servers: nothing is lost, nothing happens twice, order per subject holds, whatever dies.

mod delivery;
mod jobs;
mod outages;
mod stage;
mod waking;

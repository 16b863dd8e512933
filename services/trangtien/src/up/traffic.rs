//! `--traffic N`: people who pay in shops, pay bills and fees, and report, over public HTTP like everybody else, so that walls and books have
//! something to show.
//!
//! It lives a city's day: N journeys a second are the day's mean, and each hour has its share of them by the city's clock ([`day`]).
//! When the city refuses, it waits twice as long each time, up to a bound; at a restart the agency's program is the one of before.
//! Nothing here knows the services: it uses what the walkthrough's people use; only the first officer is made on the machine.

mod agency;
mod back_off;
mod day;
mod household;
mod payer;
mod reporter;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono_tz::Tz;
use platform::clock::Clock;
use platform::dataset::read_toml;
use platform::task::Shutdown;
use serde::Deserialize;
use tokio::sync::Semaphore;
use url::Url;

use self::agency::{Agency, Fees};
use self::back_off::BackOff;
use self::household::Utilities;
use self::payer::Market;
use self::reporter::{Desk, Lands};
use crate::walkthrough::World;

/// The most journeys a second, as the day's mean.
pub const MAX_RATE: u32 = 200;
/// Of a thousand journeys: bills, fees of agencies, field reports; the others pay in a shop. This project's estimate.
const BILLS: u32 = 60;
const FEES: u32 = 20;
const REPORTS: u32 = 40;
/// The most payments under way.
const MAX_UNDER_WAY: usize = 64;
/// The most reports under way: officers take their time.
const MAX_REPORTS: usize = 100;

/// Where the people live.
#[derive(Clone, Debug)]
pub(super) struct Town {
    /// The city's origin.
    pub(super) url: Url,
    /// The outside world's.
    pub(super) sandbox: Url,
    /// The city's folder.
    pub(super) city: PathBuf,
    /// Where its zone's day stands.
    pub(super) zone: Tz,
    /// The folder of `trangtien up`.
    pub(super) data_dir: PathBuf,
    /// The city's time.
    pub(super) clock: Clock,
}

/// The zone that a city's `city.toml` names.
///
/// # Errors
/// When it names none.
pub(super) fn zone(city: &Path) -> anyhow::Result<Tz> {
    #[derive(Deserialize)]
    struct File {
        time_zone: String,
    }
    let file = read_toml::<File>(&city.join("city.toml")).map_err(|fault| anyhow::anyhow!("{fault}"))?.value;
    file.time_zone.parse().map_err(|_| anyhow::anyhow!("{} is no time zone", file.time_zone))
}

/// Makes traffic until the shutdown begins. What goes wrong is logged and tried again.
pub(super) async fn run(town: Town, per_second: u32, shutdown: Shutdown) {
    let opening = BackOff::default();
    let work = async {
        loop {
            match Places::open(&town).await {
                Ok(places) => return crowd(Arc::new(places), (&town, per_second), &shutdown).await,
                Err(error) => {
                    tracing::warn!(error = format!("{error:#}"), "demo traffic was interrupted");
                    opening.failed();
                }
            }
            tokio::time::sleep(opening.pause()).await;
        }
    };
    tokio::select! {
        () = work => {}
        () = shutdown.cancelled() => {}
    }
}

/// What somebody sets out for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Journey {
    Shop,
    Bill,
    Fee,
    Report,
}

impl Journey {
    /// By luck, a number below 1,000.
    fn of(luck: u32) -> Self {
        const BEFORE_FEES: u32 = BILLS;
        const BEFORE_REPORTS: u32 = BEFORE_FEES + FEES;
        const BEFORE_SHOPS: u32 = BEFORE_REPORTS + REPORTS;
        match luck {
            ..BEFORE_FEES => Self::Bill,
            BEFORE_FEES..BEFORE_REPORTS => Self::Fee,
            BEFORE_REPORTS..BEFORE_SHOPS => Self::Report,
            _ => Self::Shop,
        }
    }
}

/// Where journeys lead.
struct Places {
    market: Arc<Market>,
    desk: Arc<Desk>,
    utilities: Utilities,
    agency: Agency,
    clock: Clock,
    back_off: BackOff,
}

impl Places {
    async fn open(town: &Town) -> anyhow::Result<Self> {
        let world = World::new(town.url.clone(), town.sandbox.clone())?;
        // All that can only be read comes first: where it is missing, nobody is signed up and no shop is opened, time and again.
        let (utilities, fees) = (Utilities::read(&town.city)?, Fees::read(&town.city)?);
        let lands = Lands::read(&world, &town.city).await?;
        let desk = Desk::open(&world, lands, &town.data_dir);
        let agency = Agency::open(&world, (fees, &town.data_dir), &desk).await?;
        let market = Market::open(&world).await?;
        Ok(Self { market, desk, utilities, agency, clock: town.clock.clone(), back_off: BackOff::default() })
    }

    async fn visit(&self, journey: Journey) -> anyhow::Result<()> {
        match journey {
            Journey::Shop => self.market.visit().await,
            Journey::Bill => self.utilities.settle(&self.market.anybody().await?, self.clock.now()).await,
            Journey::Fee => self.agency.charge(&self.market.anybody().await?, self.clock.now()).await,
            Journey::Report => self.desk.tell(&self.market.anybody().await?).await,
        }
    }
}

async fn crowd(places: Arc<Places>, (town, per_second): (&Town, u32), shutdown: &Shutdown) {
    let (payments, reports) = (Arc::new(Semaphore::new(MAX_UNDER_WAY)), Arc::new(Semaphore::new(MAX_REPORTS)));
    loop {
        let mean = f64::from(per_second.clamp(1, MAX_RATE));
        tokio::time::sleep(until_next(mean * day::pace(town.clock.now(), town.zone)) + places.back_off.pause()).await;
        let journey = Journey::of(rand::random_range(0..1_000));
        let room = if journey == Journey::Report { &reports } else { &payments };
        let Ok(place) = room.clone().try_acquire_owned() else { continue };
        let (places, shutdown) = (places.clone(), shutdown.clone());
        tokio::spawn(async move {
            // Whoever is on the way when the city closes stays there.
            let visited = tokio::select! {
                visited = places.visit(journey) => visited,
                () = shutdown.cancelled() => return,
            };
            match visited {
                Ok(()) => places.back_off.went_well(),
                Err(error) => {
                    tracing::warn!(?journey, error = format!("{error:#}"), "a demo journey went wrong");
                    places.back_off.failed();
                }
            }
            drop(place);
        });
    }
}

/// The pause before the next of people who come by themselves, so many a second on the mean (a Poisson process).
fn until_next(per_second: f64) -> Duration {
    let luck: f64 = 1.0 - rand::random::<f64>();
    Duration::from_secs_f64(-luck.ln() / per_second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_thousand_journeys_each_kind_has_its_share() {
        let count = |kind| (0..1_000).filter(|luck| Journey::of(*luck) == kind).count();
        let shares = [Journey::Bill, Journey::Fee, Journey::Report, Journey::Shop].map(count);
        assert_eq!(shares, [60, 20, 40, 880]);
    }
}

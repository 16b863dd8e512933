//! `--traffic N`: people who pay and report, over public HTTP like everybody else, so that walls and books have something to show.
//!
//! It lives a city's day: N journeys a second are the day's mean, and each hour has its share of them by the city's clock ([`day`]).
//! Nothing here knows the services: it uses what the walkthrough's people use; only the first officer is made on the machine.

mod day;
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

use self::payer::Market;
use self::reporter::Desk;
use crate::walkthrough::World;

/// The most journeys a second, as the day's mean.
pub const MAX_RATE: u32 = 200;
/// One journey in so many is a field report; the others pay.
const REPORT_EVERY: u32 = 25;
/// The most payments under way.
const MAX_UNDER_WAY: usize = 64;
/// The most reports under way: officers take their time.
const MAX_REPORTS: usize = 100;
/// How long the crowd pauses after something went wrong.
const PAUSE: Duration = Duration::from_secs(1);

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
    let work = async {
        loop {
            if let Err(error) = crowd(&town, per_second).await {
                tracing::warn!(error = format!("{error:#}"), "demo traffic was interrupted");
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::select! {
        () = work => {}
        () = shutdown.cancelled() => {}
    }
}

async fn crowd(town: &Town, per_second: u32) -> anyhow::Result<()> {
    let world = World::new(town.url.clone(), town.sandbox.clone())?;
    let market = Market::open(&world).await?;
    let desk = Desk::open(&world, &town.city, &town.data_dir).await?;
    let (payments, reports) = (Arc::new(Semaphore::new(MAX_UNDER_WAY)), Arc::new(Semaphore::new(MAX_REPORTS)));
    loop {
        let mean = f64::from(per_second.clamp(1, MAX_RATE));
        tokio::time::sleep(until_next(mean * day::pace(town.clock.now(), town.zone))).await;
        if rand::random_range(0..REPORT_EVERY) == 0 {
            let Ok(place) = reports.clone().try_acquire_owned() else { continue };
            let (desk, citizen) = (desk.clone(), market.anybody().await);
            tokio::spawn(async move {
                if let Err(error) = desk.tell(&citizen).await {
                    tracing::warn!(error = format!("{error:#}"), "a demo report went wrong");
                }
                drop(place);
            });
        } else {
            let Ok(place) = payments.clone().try_acquire_owned() else { continue };
            let market = market.clone();
            tokio::spawn(async move {
                if let Err(error) = market.visit().await {
                    tracing::warn!(error = format!("{error:#}"), "a demo payment went wrong");
                }
                drop(place);
            });
        }
    }
}

/// The pause before the next of people who come by themselves, so many a second on the mean (a Poisson process).
fn until_next(per_second: f64) -> Duration {
    let luck: f64 = 1.0 - rand::random::<f64>();
    Duration::from_secs_f64(-luck.ln() / per_second)
}

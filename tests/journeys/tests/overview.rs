//! What the operations centre says of field reports is what the reports' own tables say at the same position, after a random stretch of days.

use anyhow::Result;
use chrono::TimeDelta;
use harness::City;
use journeys::dice::Dice;
use journeys::figures::{overdue_agree, reports_agree};
use journeys::office::Office;

const REPORTS: usize = 24;
/// The most that is done to one report.
const MOST_STEPS: u64 = 9;

#[tokio::test]
async fn the_overview_of_reports_equals_their_tables_after_a_random_stretch_of_days() -> Result<()> {
    let mut dice = Dice::thrown();
    let city = City::all_in_one().await?;
    let office = Office::open(&city).await?;
    for number in 0..REPORTS {
        let report = office.submit(&mut dice).await?;
        for _ in 0..dice.below(MOST_STEPS + 1) {
            if !office.step(&report, &mut dice).await? {
                break;
            }
        }
        if number == REPORTS / 2 {
            city.wipe_redis().await?;
        }
    }
    reports_agree(&city).await?;
    // Limits run out, and results that nobody rated are closed.
    city.advance(TimeDelta::days(16)).await?;
    reports_agree(&city).await?;
    overdue_agree(&city).await?;
    city.finish().await
}

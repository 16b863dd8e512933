//! Figures that trail what happened say so: a consumer that is stuck, books that can't be compared.

use std::time::{Duration, Instant};

use ioc::overview::{BooksState, Overview, Pulse};
use proto::identity::v1::SessionStarted;
use proto::reports::v1::ReportSubmitted;

use crate::stage::{Stage, Wall, open};

/// More than any look at a stream takes while all is well, even on a busy machine.
const LATE_S: i64 = 6;

fn behind(overview: &Overview, stream: &str) -> i64 {
    let found = overview.streams.iter().find(|lag| lag.stream == stream);
    found.expect("every stream is told of").behind_seconds
}

#[tokio::test]
async fn a_stream_whose_events_are_not_taken_in_grows_old_and_is_fresh_again() {
    let stage = Stage::new().await;
    let centre = stage.centre("a", open()).await;
    stage.publish("identity", 1, platform::id::new(), &SessionStarted::default()).await;
    let all_fresh = |overview: &Overview| overview.streams.iter().all(|lag| lag.behind_seconds < LATE_S);
    let first =
        centre.overview_when("everything is in", |overview| !overview.today.is_empty() && all_fresh(overview)).await;
    let names: Vec<&str> = first.streams.iter().map(|lag| lag.stream.as_str()).collect();
    assert_eq!(names, ["identity", "journal", "notifications", "reports", "wallet"]);

    // Somebody holds what every consumer needs: nothing more is counted, and everything can still be read.
    let pool = stage.database.admin_pool();
    let mut holding = pool.begin().await.expect("begun");
    sqlx::query("SELECT FROM ioc.board FOR UPDATE").execute(&mut *holding).await.expect("held");
    stage.publish("reports", 1, platform::id::new(), &ReportSubmitted::default()).await;
    centre
        .overview_when("the figures of reports are old, and no others", |overview| {
            behind(overview, "reports") >= LATE_S && behind(overview, "identity") < LATE_S
        })
        .await;
    let mut wall = Wall::open(&centre.url, None).await;
    let pulse: Pulse = serde_json::from_value(wall.next_of("pulse").await.body).expect("a pulse");
    let told = pulse.streams.iter().find(|lag| lag.stream == "reports").expect("told");
    assert!(told.behind_seconds >= LATE_S, "a wall is told with every pulse: {pulse:?}");
    assert!(centre.metrics.encode().contains("trangtien_ioc_stream_behind_seconds"));

    holding.rollback().await.expect("released");
    centre
        .overview_when("the report is in", |overview| !overview.reports.today.is_empty() && all_fresh(overview))
        .await;
    centre.stop().await;
}

/// A centre that begins later than what is kept goes back has missed nothing that it could have.
#[tokio::test]
async fn a_stream_that_was_trimmed_before_the_centre_began_is_fresh() {
    let stage = Stage::new().await;
    stage.publish("identity", 1, platform::id::new(), &SessionStarted::default()).await;
    stage.trim("identity").await;
    let centre = stage.centre("a", open()).await;
    let begun = Instant::now();
    centre
        .overview_when("its figures don't age with the centre", |overview| {
            begun.elapsed() > Duration::from_secs(LATE_S.unsigned_abs()) && behind(overview, "identity") < LATE_S
        })
        .await;
    centre.stop().await;
}

#[tokio::test]
async fn books_that_can_not_be_compared_grow_old() {
    let stage = Stage::new().await;
    let centre = stage.centre("a", open()).await;
    stage.pay(platform::id::new(), 1_000).await;
    let equal = |overview: &Overview| overview.books.state == BooksState::Equal && overview.books.behind_seconds == 0;
    centre.overview_when("the books are equal", equal).await;
    stage.wallet.go_away(true);
    let late =
        |overview: &Overview| overview.books.state == BooksState::Unknown && overview.books.behind_seconds >= LATE_S;
    centre.overview_when("nothing is known of the books, and for how long", late).await;
    stage.wallet.go_away(false);
    centre.overview_when("the books are equal again", equal).await;
    centre.stop().await;
}

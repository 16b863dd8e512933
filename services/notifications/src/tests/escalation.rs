//! Time limits of reports: which officers are told at which level, once, also when identity was away.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use platform::embedded::scratch;
use platform::events::{Event, Handler as _};
use platform::outbox::{NewEvent, Relay, append};
use platform::task::Shutdown;
use proto::reports::v1::ReportEscalated;
use uuid::Uuid;

use super::{Town, until};
use crate::SCHEMA;
use crate::escalation::Planner;
use crate::event::tests::event;

fn escalated(level: u32, agency: &str) -> ReportEscalated {
    ReportEscalated {
        report_id: platform::id::new().to_string(),
        level,
        state: "in-progress".to_owned(),
        agency: agency.to_owned(),
        category: "CS".to_owned(),
        ward_code: "19774".to_owned(),
    }
}

/// Everybody who was told by a template on a channel.
async fn told(town: &Town, template: &str, channel: &str) -> BTreeSet<Uuid> {
    let who = "SELECT recipient FROM notifications.message WHERE template = $1 AND channel = $2 AND lane = 'service'";
    let who: Vec<Uuid> = sqlx::query_scalar(who).bind(template).bind(channel).fetch_all(&town.pool).await.unwrap();
    let all: BTreeSet<Uuid> = who.iter().copied().collect();
    assert_eq!(all.len(), who.len(), "nobody twice");
    all
}

async fn plan(town: &Town, events: &[Event]) {
    let mut transaction = town.pool.begin().await.unwrap();
    Planner(town.clock.clone()).handle(&mut transaction, events).await.unwrap();
    transaction.commit().await.unwrap();
}

async fn all_told(town: &Town, jobs: i64) {
    let done = "SELECT count(*) FROM notifications.job WHERE kind = 'tell-escalation' AND state = 'done'";
    until(async || (town.count(done).await == jobs).then_some(())).await;
}

/// Waits until identity was asked at least that often in vain, which counts as no failure.
async fn waits(town: &Town, asked: i64) {
    let often = "SELECT max(attempts) FROM notifications.job WHERE kind = 'tell-escalation' AND state = 'due'
                 AND failures = 0 AND reason = 'identity-unavailable'";
    let often = async || sqlx::query_scalar::<_, Option<i32>>(often).fetch_one(&town.pool).await.unwrap();
    until(async || often().await.filter(|times| i64::from(*times) >= asked)).await;
}

#[tokio::test]
async fn each_level_is_told_to_its_officers_once() {
    let redis = scratch::redis().await.unwrap();
    let town = Town::with_redis(&redis.url()).await;
    let somebody = |role| town.identity.officer("HEPCO", "19774", role);
    let [worker, head, operator, lead] = ["agency.officer", "agency.head", "ioc.operator", "ioc.lead"].map(somebody);
    let watch = town.identity.officer("", "19774", "ioc.operator");
    town.device(worker, "phone").await;
    let role = town.role().await;
    // Our own outbox stands in for that of reports; its relay is the same.
    let shutdown = Shutdown::new();
    let relay = tokio::spawn(Relay::of_outbox(&role.context, SCHEMA, "reports").into_task().run(shutdown.clone()));
    let tell = |level, agency| NewEvent::new(platform::id::new(), &escalated(level, agency)).stream("reports");
    let mut transaction = town.pool.begin().await.unwrap();
    let events = [tell(80, "HEPCO"), tell(100, "HEPCO"), tell(150, "HEPCO"), tell(80, "")];
    append(&mut transaction, SCHEMA, town.clock.now(), &events).await.unwrap();
    transaction.commit().await.unwrap();

    all_told(&town, 4).await;
    assert_eq!(told(&town, "report-limit-near.v1", "in-app").await, BTreeSet::from([worker, watch]));
    assert_eq!(
        told(&town, "report-limit-near.v1", "push").await,
        BTreeSet::from([worker]),
        "the others have no device"
    );
    assert_eq!(told(&town, "report-limit-missed.v1", "in-app").await, BTreeSet::from([head, operator]));
    assert_eq!(told(&town, "report-limit-exceeded.v1", "in-app").await, BTreeSet::from([lead]));
    let pushed = until(async || town.received("/push?token=phone").await.into_iter().next()).await;
    assert_eq!(
        pushed["data"]["body"],
        "Phản ánh về Chiếu sáng công cộng (Phường Kim Long) đã dùng 80% thời hạn xử lý của Công ty CP Môi trường và Công trình Đô thị Huế."
    );
    shutdown.begin();
    relay.await.unwrap().unwrap();
    role.stop().await;
}

#[tokio::test]
async fn an_escalation_waits_for_identity_comes_twice_and_is_not_told_after_a_day() {
    let town = Town::start().await;
    let lead = town.identity.officer("HEPCO", "19774", "ioc.lead");
    town.identity.outage(true);
    let role = town.role().await;
    let (missed, old) =
        (event(Uuid::now_v7(), &escalated(150, "HEPCO")), event(Uuid::now_v7(), &escalated(150, "HEPCO")));
    let (missed, old) =
        (Event { time: town.clock.now(), ..missed }, Event { time: town.clock.now() - TimeDelta::hours(25), ..old });
    plan(&town, &[missed.clone(), old]).await;
    assert_eq!(town.count("SELECT count(*) FROM notifications.job WHERE kind = 'tell-escalation'").await, 1);
    waits(&town, 1).await;
    town.later(TimeDelta::hours(23));
    waits(&town, 2).await;
    assert_eq!(town.count("SELECT count(*) FROM notifications.message").await, 0);
    town.identity.outage(false);
    town.later(TimeDelta::minutes(20));
    all_told(&town, 1).await;
    // The event comes again, and after it the job.
    plan(&town, std::slice::from_ref(&missed)).await;
    let again =
        "UPDATE notifications.job SET state = 'due', finished_at = NULL, due_at = $1 WHERE kind = 'tell-escalation'";
    sqlx::query(again).bind(town.clock.now()).execute(&town.database.admin_pool()).await.unwrap();
    all_told(&town, 1).await;
    assert_eq!(told(&town, "report-limit-exceeded.v1", "in-app").await, BTreeSet::from([lead]));
    role.stop().await;
}

#[tokio::test]
async fn an_identity_that_is_away_is_asked_for_a_day() {
    let town = Town::start().await;
    town.identity.outage(true);
    let role = town.role().await;
    let missed = Event { time: town.clock.now(), ..event(Uuid::now_v7(), &escalated(150, "HEPCO")) };
    plan(&town, &[missed]).await;
    waits(&town, 1).await;
    town.later(TimeDelta::hours(25));
    let dead = "SELECT count(*) FROM notifications.job WHERE kind = 'tell-escalation' AND state = 'dead'
                AND reason = 'identity-unavailable'";
    until(async || (town.count(dead).await == 1).then_some(())).await;
    role.stop().await;
}

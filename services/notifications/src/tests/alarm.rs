//! What an alarm of a river drafts from its first hour to its last.

use chrono::TimeDelta;
use http::StatusCode;
use proto::ioc::v1::{Alarm, AlarmClosed, AlarmLevelChanged};
use serde_json::{Value, json};

use super::alert::Officer;
use super::intake::{adopt, alerts, code, event, told};
use super::{Role, Town, until};
use crate::alert::alarm::tests::kim_long;

fn crossed(crossings: u32) -> AlarmLevelChanged {
    AlarmLevelChanged { alarm: Some(kim_long(crossings)), from_level: 2 }
}

fn officers<'a>(town: &'a Town, role: &'a Role) -> (Officer<'a>, Officer<'a>) {
    (Officer::with(town, role, &["ioc.operator"]), Officer::with(town, role, &["ioc.lead"]))
}

/// Id, kind and state of each, the newest first.
async fn standing(officer: &Officer<'_>) -> Vec<[String; 3]> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    alerts(officer).await.iter().map(|alert| ["id", "kind", "state"].map(|name| text(&alert[name]))).collect()
}

/// Adopts and releases the newest draft; gives its id.
async fn released(one: &Officer<'_>, two: &Officer<'_>) -> String {
    let id = standing(one).await[0][0].clone();
    assert_eq!(adopt(one, &id, json!({})).await.0, StatusCode::OK);
    assert_eq!(two.release(&id).await.0, StatusCode::OK);
    id
}

#[tokio::test]
async fn a_draft_that_nobody_adopted_goes_with_the_river() {
    let town = Town::start().await;
    let role = town.role().await;
    let (one, two) = officers(&town, &role);
    let fell = AlarmLevelChanged { alarm: Some(Alarm { level: 2, ..kim_long(1) }), from_level: 3 };
    told(&town, &[event(&town, 1, &crossed(1)), event(&town, 2, &fell), event(&town, 1, &crossed(1))]).await;
    let states = async || standing(&one).await.into_iter().map(|[_, _, state]| state).collect::<Vec<_>>();
    assert_eq!(states().await, ["withdrawn"], "the river fell before anybody had looked");
    told(&town, &[event(&town, 3, &crossed(2)), event(&town, 4, &crossed(3))]).await;
    assert_eq!(states().await, ["drafted", "withdrawn", "withdrawn"], "the newest draft says what is");
    let warning = released(&one, &two).await;
    told(&town, &[event(&town, 5, &crossed(4))]).await;
    let closed = AlarmClosed { alarm: Some(kim_long(4)), officer: String::new() };
    told(&town, &[event(&town, 6, &closed), event(&town, 6, &closed)]).await;
    assert_eq!(states().await, ["drafted", "withdrawn", "released", "withdrawn", "withdrawn"]);
    let [ending, kind, _] = standing(&one).await[0].clone();
    assert_eq!(kind, "cancel", "an officer decides that it is over");
    let again = Alarm { alarm_id: uuid::Uuid::from_u128(8).to_string(), ..kim_long(1) };
    let raised = proto::ioc::v1::AlarmRaised { alarm: Some(again) };
    told(&town, &[event(&town, 7, &raised)]).await;
    let drafts = alerts(&one).await;
    assert_eq!(drafts[0]["supersedes"], json!(warning), "the next alarm of the station updates its warning");
    assert_eq!((&drafts[1]["id"], &drafts[1]["state"]), (&json!(ending), &json!("withdrawn")), "it is not over");
    let closed = AlarmClosed { alarm: raised.alarm, officer: two.id.to_string() };
    told(&town, &[event(&town, 8, &closed)]).await;
    let ending = standing(&one).await[0][0].clone();
    assert_eq!(two.release(&ending).await.1["supersedes"], json!(warning));
    role.stop().await;
}

#[tokio::test]
async fn nobody_releases_words_that_they_have_not_read() {
    let town = Town::start().await;
    let role = town.role().await;
    let (one, two) = officers(&town, &role);
    told(&town, &[event(&town, 1, &crossed(1))]).await;
    let draft = alerts(&two).await[0].clone();
    let (id, read) = (draft["id"].as_str().unwrap(), draft["revision"].as_i64().unwrap());
    let amended = json!({ "expires_at": town.clock.now() + TimeDelta::hours(6) });
    assert_eq!(adopt(&one, id, amended.clone()).await.0, StatusCode::OK);
    assert_eq!(code(&adopt(&one, id, amended).await), (409, "alert-already-adopted"), "nothing is lost in silence");
    let refused = two.release_as(id, read).await;
    assert_eq!(code(&refused), (409, "alert-changed"));
    assert_eq!(two.release_as(id, refused.1["revision"].as_i64().unwrap()).await.0, StatusCode::OK);
    assert_eq!(two.release_as(id, read).await.0, StatusCode::OK, "it is released already");
    role.stop().await;
}

#[tokio::test]
async fn a_river_that_gets_worse_is_warned_of_anew_once() {
    let town = Town::start().await;
    let role = town.role().await;
    let (one, two) = officers(&town, &role);
    told(&town, &[event(&town, 1, &crossed(1))]).await;
    let first = released(&one, &two).await;
    let worse = AlarmLevelChanged { alarm: Some(Alarm { value_mm: 5_050, ..kim_long(1) }), from_level: 3 };
    told(&town, &[event(&town, 2, &worse), event(&town, 3, &worse)]).await;
    let drafts = alerts(&one).await;
    assert_eq!(drafts.len(), 2, "{drafts:?}");
    assert_eq!(
        (&drafts[0]["content"]["severity"], &drafts[0]["supersedes"]),
        (&json!("extreme"), &json!(first)),
        "life is in danger everywhere along the river"
    );
    role.stop().await;
}

#[tokio::test]
async fn a_warning_is_drafted_anew_before_it_lapses_and_may_be_released_after() {
    let town = Town::start().await;
    let role = town.role().await;
    let (one, two) = officers(&town, &role);
    told(&town, &[event(&town, 1, &crossed(1))]).await;
    let first = released(&one, &two).await;
    town.later(TimeDelta::minutes(11 * 60 + 5));
    let one = Officer::with(&town, &role, &["ioc.operator"]);
    let update = until(async || standing(&one).await.into_iter().next().filter(|[id, ..]| *id != first)).await;
    assert_eq!((update[1].as_str(), update[2].as_str()), ("update", "drafted"), "the river still stands there");
    town.later(TimeDelta::hours(1));
    let (one, two) = officers(&town, &role);
    let released = released(&one, &two).await;
    assert_eq!(released, update[0], "the warning before it has lapsed meanwhile");
    role.stop().await;
}

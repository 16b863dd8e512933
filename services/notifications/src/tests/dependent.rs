//! What is told to an account without a number is told to its guardian, until it has one.

use platform::person::Holder as _;
use proto::identity::v1::{
    CitizenRegistered, ClosingRequested, DelegationBegan, DependentBound, PhoneAttached, TierChanged,
};
use serde_json::Value;
use uuid::Uuid;

use super::Town;
use crate::event::tests::event;
use crate::person::NotificationHolder;

/// What is in somebody's inbox: the template, and whether it is about another account than theirs.
async fn inbox(town: &Town, user: Uuid) -> Vec<(String, bool)> {
    let rows: Vec<(String, Value)> = sqlx::query_as(
        "SELECT template, parameters FROM notifications.message WHERE recipient = $1 AND channel = 'in-app' ORDER BY template",
    )
    .bind(user)
    .fetch_all(&town.pool)
    .await
    .unwrap();
    rows.into_iter().map(|(name, parameters)| (name, parameters["about_dependent"] == true)).collect()
}

fn text(id: Uuid) -> String {
    id.to_string()
}

#[tokio::test]
async fn a_guardian_is_told_in_their_place_until_they_have_a_number() {
    let town = Town::start().await;
    let [child, mother, aunt] = [(); 3].map(|()| platform::id::new());
    for user in [mother, aunt, child] {
        let registered = CitizenRegistered { user_id: text(user), ..CitizenRegistered::default() };
        town.happen(&[event(user, &registered)]).await;
    }
    let bound = |guardian: Uuid| DependentBound {
        dependent_id: text(child),
        guardian_id: text(guardian),
        delegation_id: text(platform::id::new()),
    };
    let began = DelegationBegan {
        guardian_id: text(mother),
        dependent_id: text(child),
        delegation_id: text(platform::id::new()),
    };
    let asked = ClosingRequested { user_id: text(child), closing_id: text(platform::id::new()) };
    let events = [event(child, &bound(mother)), event(child, &began), event(child, &asked)];
    town.happen(&events).await;
    let told = [("closing-asked.v1".to_owned(), true), ("delegation-began.v1".to_owned(), false)];
    assert_eq!(inbox(&town, mother).await, told);
    // What comes again is no second message.
    town.happen(&events).await;
    assert_eq!(inbox(&town, mother).await, told);

    // Another guardian takes over.
    let again = ClosingRequested { user_id: text(child), closing_id: text(platform::id::new()) };
    town.happen(&[event(child, &bound(aunt)), event(child, &again)]).await;
    assert_eq!(inbox(&town, aunt).await, [("closing-asked.v1".to_owned(), true)]);
    assert_eq!(inbox(&town, mother).await, told);
    assert_eq!(inbox(&town, child).await, []);

    let attached = PhoneAttached { user_id: text(child), guardian_id: text(aunt) };
    let changed = TierChanged { user_id: text(child), tier: 2 };
    town.happen(&[event(child, &attached), event(child, &changed)]).await;
    let own = [("phone-attached.v1".to_owned(), false), ("tier-changed.v1".to_owned(), false)];
    assert_eq!(inbox(&town, child).await, own);
    assert_eq!(inbox(&town, aunt).await.len(), 2, "and the guardian once");
}

#[tokio::test]
async fn with_the_account_goes_who_acted_for_it() {
    let town = Town::start().await;
    let (child, mother) = (platform::id::new(), platform::id::new());
    let bound = DependentBound { dependent_id: text(child), guardian_id: text(mother), ..DependentBound::default() };
    town.happen(&[event(child, &bound)]).await;
    let mut transaction = town.pool.begin().await.unwrap();
    NotificationHolder.erase(&mut transaction, child, town.clock.now()).await.unwrap();
    transaction.commit().await.unwrap();
    let rows: i64 =
        sqlx::query_scalar("SELECT count(*) FROM notifications.dependent").fetch_one(&town.pool).await.unwrap();
    assert_eq!(rows, 0);
}

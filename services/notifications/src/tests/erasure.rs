//! Whoever is erased while messages are made has none afterwards, whichever comes first.

use std::sync::atomic::{AtomicBool, Ordering};

use platform::person::Holder as _;
use proto::identity::v1::{CitizenRegistered, SessionStarted};
use uuid::Uuid;

use super::{Town, fan_out, news, until};
use crate::event::tests::{event, payment_of};
use crate::fan_out::{FanOut as _, Progress};
use crate::person::NotificationHolder;

const WARD: &str = "19774";

/// What messages are made of in these tests.
#[derive(Clone, Copy, Debug)]
enum Cause {
    NewsForAll,
    NewsOfAWard,
    Warning,
    Payment,
}

const CAUSES: [Cause; 4] = [Cause::NewsForAll, Cause::NewsOfAWard, Cause::Warning, Cause::Payment];

/// Citizens of a ward.
async fn citizens<const N: usize>(town: &Town) -> [Uuid; N] {
    let users = [(); N].map(|()| platform::id::new());
    for user in users {
        let registered = CitizenRegistered { user_id: user.to_string(), ..CitizenRegistered::default() };
        town.happen(&[event(user, &registered)]).await;
        let mut transaction = town.pool.begin().await.unwrap();
        crate::ward::replace(&mut transaction, user, &[WARD.to_owned()], town.clock.now()).await.unwrap();
        transaction.commit().await.unwrap();
    }
    users
}

/// What the role does when identity says that somebody is erased.
async fn erase(town: &Town, user: Uuid) {
    let now = town.clock.now();
    town.persons().destroy(&mut town.pool.acquire().await.unwrap(), user, now).await.unwrap();
    let mut transaction = town.pool.begin().await.unwrap();
    NotificationHolder.erase(&mut transaction, user, now).await.unwrap();
    transaction.commit().await.unwrap();
}

/// Makes all messages of a cause.
async fn make(town: &Town, cause: Cause, users: &[Uuid]) {
    match cause {
        Cause::NewsForAll | Cause::NewsOfAWard => {
            let wards = matches!(cause, Cause::NewsOfAWard).then_some(&[WARD][..]);
            let (id, fan_out) = (news::stored(town, wards).await, news::fan_out(town, 10));
            while fan_out.next_batch(id).await.unwrap() == Progress::More {}
        }
        Cause::Warning => {
            let (id, fan_out) = (fan_out::released(town, &[WARD]).await, fan_out::fan_out(town, 10));
            while fan_out.next_batch(id).await.unwrap() == Progress::More {}
        }
        Cause::Payment => {
            town.happen(&users.iter().map(|user| event(*user, &payment_of(*user, *user))).collect::<Vec<_>>()).await;
        }
    }
}

/// Rows about somebody, in whatever an erasure removes.
async fn rows(town: &Town, user: Uuid) -> i64 {
    let sql = "SELECT (SELECT count(*) FROM notifications.message WHERE recipient = $1)
        + (SELECT count(*) FROM notifications.inbox_head WHERE user_id = $1)
        + (SELECT count(*) FROM notifications.alert_recipient WHERE user_id = $1)
        + (SELECT count(*) FROM notifications.ward_choice WHERE user_id = $1)
        + (SELECT count(*) FROM notifications.citizen WHERE user_id = $1)";
    sqlx::query_scalar(sql).bind(user).fetch_one(&town.pool).await.unwrap()
}

async fn waiting(town: &Town) -> i64 {
    town.count("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")
        .await
}

#[derive(Clone, Copy, Debug)]
enum First {
    Messages,
    Erasure,
}

/// One begins and is held up when it has done nearly all; the other begins, and waits for it or ends; then the first goes on.
async fn cross(town: &Town, cause: Cause, first: First) {
    let [stays, leaves] = citizens(town).await;
    let mut held = town.database.admin_pool().begin().await.unwrap();
    let lock = match first {
        First::Messages => "LOCK TABLE notifications.inbox_head IN SHARE MODE",
        First::Erasure => "LOCK TABLE notifications.preference IN SHARE MODE",
    };
    sqlx::query(lock).execute(&mut *held).await.unwrap();
    let ended = AtomicBool::new(false);
    let users = [stays, leaves];
    let messages = async {
        if matches!(first, First::Erasure) {
            until(async || (waiting(town).await == 1).then_some(())).await;
        }
        make(town, cause, &users).await;
        ended.store(true, Ordering::SeqCst);
    };
    let erasure = async {
        if matches!(first, First::Messages) {
            until(async || (waiting(town).await == 1).then_some(())).await;
        }
        erase(town, leaves).await;
        ended.store(true, Ordering::SeqCst);
    };
    let release = async {
        until(async || (waiting(town).await == 2 || ended.load(Ordering::SeqCst)).then_some(())).await;
        held.rollback().await.unwrap();
    };
    tokio::join!(messages, erasure, release);
    assert_eq!(rows(town, leaves).await, 0, "{cause:?}, {first:?} first: nothing is left of who was erased");
    let got = "SELECT count(*) FROM notifications.message WHERE channel = 'in-app' AND recipient = $1";
    let got: i64 = sqlx::query_scalar(got).bind(stays).fetch_one(&town.pool).await.unwrap();
    assert!(got > 0, "{cause:?}, {first:?} first: others have their message");
}

#[tokio::test]
async fn an_erasure_takes_along_the_messages_that_are_being_made() {
    let town = Town::start().await;
    for cause in CAUSES {
        cross(&town, cause, First::Messages).await;
    }
}

#[tokio::test]
async fn no_message_is_made_for_whom_an_erasure_is_removing() {
    let town = Town::start().await;
    for cause in CAUSES {
        cross(&town, cause, First::Erasure).await;
    }
}

#[tokio::test]
async fn what_is_heard_late_of_who_was_erased_leaves_nothing() {
    let town = Town::start().await;
    let [stays, leaves] = citizens(&town).await;
    erase(&town, leaves).await;
    let started = SessionStarted { user_id: leaves.to_string(), ..SessionStarted::default() };
    town.happen(&[event(leaves, &started)]).await;
    for cause in CAUSES {
        make(&town, cause, &[stays, leaves]).await;
    }
    assert_eq!(rows(&town, leaves).await, 0);
    assert!(rows(&town, stays).await > 4);
}

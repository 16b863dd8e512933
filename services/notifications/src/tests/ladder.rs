//! The ladder of messages about somebody's account: what reached no phone and was not opened goes by text message, once.

use chrono::TimeDelta;
use proto::identity::v1::TierChanged;

use super::{Town, until};
use crate::event::tests::{event, payment_of};
use crate::ladder::AFTER;

#[tokio::test]
async fn what_reaches_no_phone_and_is_not_opened_goes_by_text_message_once() {
    let town = Town::start().await;
    let (away, reached, reader) = (platform::id::new(), platform::id::new(), platform::id::new());
    for user in [away, reached, reader] {
        town.identity.speaks(user, "vi");
    }
    town.device(reached, "phone-1").await;
    let role = town.role().await;
    let told = [away, reached, reader].map(|user| event(user, &TierChanged { user_id: user.to_string(), tier: 1 }));
    town.happen(&told).await;
    // Money that moved does not climb.
    town.happen(&[event(away, &payment_of(away, away))]).await;
    assert_eq!(town.settled(reached, "push").await.0, "delivered");
    let read = "UPDATE notifications.inbox SET read_at = $2 FROM notifications.message
                WHERE message.id = inbox.message_id AND message.recipient = $1";
    sqlx::query(read).bind(reader).bind(town.clock.now()).execute(&town.database.admin_pool()).await.unwrap();
    assert_eq!(town.count("SELECT count(*) FROM notifications.job WHERE kind = 'climb-message'").await, 3);
    assert!(town.received("/sms").await.is_empty(), "in the app and by push first");

    town.later(AFTER + TimeDelta::seconds(1));
    until(async || {
        let sent = "SELECT count(*) FROM notifications.message WHERE channel = 'sms' AND state = 'delivered'";
        (town.count(sent).await == 1).then_some(())
    })
    .await;
    assert_eq!(town.message(away, "sms").await.0, "delivered");
    until(async || {
        let waiting = "SELECT count(*) FROM notifications.job WHERE kind = 'climb-message' AND state <> 'done'";
        (town.count(waiting).await == 0).then_some(())
    })
    .await;
    let sent = town.received("/sms").await;
    assert_eq!(sent.len(), 1, "{sent:?}");
    assert!(sent[0]["text"].as_str().is_some_and(|text| text.starts_with("Trang Tien: Danh tinh")), "{sent:?}");
    assert_eq!(town.count("SELECT count(*) FROM notifications.message WHERE channel = 'sms'").await, 1);
    // The event comes again.
    town.happen(&told[..1]).await;
    assert_eq!(town.count("SELECT count(*) FROM notifications.message WHERE channel = 'sms'").await, 1);
    role.stop().await;
}

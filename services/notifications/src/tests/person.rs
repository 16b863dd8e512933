//! Tokens and names of devices are sealed under a key of their citizen, and messages still arrive.

use super::{Town, until};
use crate::event::tests::{event, payment_of};

const TOKEN: &str = "phone-of-lan";

#[tokio::test]
async fn a_token_is_stored_sealed_and_found_by_its_digest_only() {
    let town = Town::start().await;
    let (lan, minh) = (platform::id::new(), platform::id::new());
    town.device(lan, TOKEN).await;
    town.device(lan, TOKEN).await;
    let plain = "SELECT count(*) FROM notifications.device WHERE token IS NOT NULL OR name IS NOT NULL";
    assert_eq!(town.count(plain).await, 0);
    assert_eq!(town.count("SELECT count(*) FROM notifications.device").await, 1, "the same token is the same device");
    town.device(minh, TOKEN).await;
    assert_eq!(town.count("SELECT count(*) FROM notifications.device").await, 1, "it changed hands");
    let stored: Vec<String> =
        sqlx::query_scalar("SELECT encode(token_sealed || name_sealed, 'escape') FROM notifications.device")
            .fetch_all(&town.pool)
            .await
            .unwrap();
    assert!(!stored[0].contains(TOKEN) && !stored[0].contains("Phone"), "{stored:?}");
}

#[tokio::test]
async fn a_device_from_before_tokens_were_sealed_gets_messages_and_is_sealed() {
    let town = Town::start().await;
    let user = platform::id::new();
    sqlx::query(
        "INSERT INTO notifications.device (id, user_id, platform, token, name, created_at) VALUES ($1, $2, 'fcm', $3, 'Phone', $4)",
    )
    .bind(platform::id::new())
    .bind(user)
    .bind(TOKEN)
    .bind(town.clock.now())
    .execute(&town.pool)
    .await
    .unwrap();
    town.happen(&[event(user, &payment_of(user, user))]).await;
    let _role = town.role().await;
    until(async || (town.received(&format!("/push?token={TOKEN}")).await.len() == 2).then_some(())).await;
    let plain = "SELECT count(*) FROM notifications.device WHERE token IS NOT NULL OR name IS NOT NULL";
    until(async || (town.count(plain).await == 0).then_some(())).await;
    town.device(user, TOKEN).await;
    assert_eq!(town.count("SELECT count(*) FROM notifications.device").await, 1, "it is known by its token still");
}

//! Events out of the wallet and into it, over a real Redis.

use std::collections::BTreeMap;

use chrono::SubsecRound as _;
use platform::outbox::{self, NewEvent, Relay};
use platform::task::Shutdown;
use prost::Message as _;
use proto::identity::v1::{CitizenRegistered, SessionStarted, TierChanged};
use proto::wallet::v1::{PaymentCompleted, TopUpCompleted};
use redis::AsyncCommands as _;
use serde_json::json;
use uuid::Uuid;

use crate::stage::{Replica, Stage, dong, eventually, text};

/// Every entry of a stream by position: kind, subject, payload.
pub(crate) async fn entries(wallet: &Replica, stream: &str) -> BTreeMap<i64, (String, String, Vec<u8>)> {
    let mut connection = wallet.context.redis.manager().expect("a URL");
    let mut all = BTreeMap::new();
    for partition in 0..16 {
        let key = format!("trangtien:{{{stream}}}:{partition}");
        let reply: redis::streams::StreamRangeReply = connection.xrange_all(key).await.expect("Redis answers");
        for entry in reply.ids {
            let position = entry.id.split('-').next().and_then(|text| text.parse().ok()).expect("a position");
            let field = |name: &str| entry.get::<String>(name).expect("a field");
            let previous = all
                .insert(position, (field("type"), field("subject"), entry.get::<Vec<u8>>("data").expect("a payload")));
            assert!(previous.is_none(), "one entry for each position");
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn every_transfer_is_one_event_of_the_journal() {
    let stage = Stage::with_redis().await;
    let wallet = stage.start().await;
    let citizen = wallet.funded(&stage, 100_000).await;
    let shop = wallet.shop(&stage).await;
    let mut paid = Vec::new();
    for amount in 1..=5 {
        let body = json!({"till_id": shop.till, "amount": dong(amount)});
        paid.push(wallet.post(&citizen, "/wallet/v1/payments", &body).await.expect(201));
    }
    eventually("the journal is relayed", async || entries(&wallet, "journal").await.len() == 6).await;
    let entries = entries(&wallet, "journal").await;
    assert_eq!(entries.keys().copied().collect::<Vec<_>>(), (1..=6).collect::<Vec<_>>());
    let (kind, subject, data) = &entries[&1];
    let top_up = TopUpCompleted::decode(data.as_slice()).expect("its kind");
    assert_eq!(
        (kind.as_str(), &top_up.user_id, top_up.bank_code.as_str()),
        ("trangtien.wallet.v1.TopUpCompleted", subject, "VCB")
    );
    assert_eq!(top_up.balance.map(|money| money.minor_units), Some(100_000));
    for (view, (kind, subject, data)) in paid.iter().zip(entries.values().skip(1)) {
        let payment = PaymentCompleted::decode(data.as_slice()).expect("its kind");
        assert_eq!((kind.as_str(), &payment.payer_user_id), ("trangtien.wallet.v1.PaymentCompleted", subject));
        assert_eq!(
            (&payment.payment_id, &payment.till_id, &payment.merchant_id),
            (&text(view, "id"), &shop.till, &shop.merchant)
        );
        assert_eq!(payment.merchant_name, "Bún bò Mệ Kéo");
        let money = |money: Option<proto::money::v1::Money>| money.map(|money| money.minor_units.to_string());
        assert_eq!(money(payment.amount), Some(text(&view["amount"], "amount")));
        assert_eq!(money(payment.payer_balance), Some(text(&view["balance"], "amount")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tiers_follow_identity() {
    let stage = Stage::with_redis().await;
    let wallet = stage.start().await;
    let user = Uuid::now_v7();
    let token = stage.token(user);
    // Stands for identity: its stream, filled from an outbox.
    let shutdown = Shutdown::new();
    tokio::spawn(Relay::of_outbox(&wallet.context, wallet::SCHEMA, "identity").into_task().run(shutdown.clone()));
    let tell_at = async |at: chrono::DateTime<chrono::Utc>, event: NewEvent| {
        let mut tx = wallet.context.pool.begin().await.expect("a transaction");
        outbox::append(&mut tx, wallet::SCHEMA, at, &[event.stream("identity")]).await.expect("an event");
        tx.commit().await.expect("committed");
    };
    let tell = async |event: NewEvent| tell_at(stage.clock.now(), event).await;
    let level = async || wallet.get(&token, "/wallet/v1/wallet").await.expect(200)["tier"]["level"].clone();
    assert_eq!(level().await, 0);
    tell(NewEvent::new(user, &CitizenRegistered { user_id: user.to_string(), tier: 0, language: "vi".to_owned() }))
        .await;
    eventually("the citizen is known", async || stage.count("wallet.citizen").await == 1).await;
    tell(NewEvent::new(user, &TierChanged { user_id: user.to_string(), tier: 2 })).await;
    eventually("the tier follows", async || level().await == 2).await;
    // Sent again from long ago: the later one stays.
    let long_ago = stage.clock.now() - chrono::TimeDelta::hours(1);
    tell_at(long_ago, NewEvent::new(user, &TierChanged { user_id: user.to_string(), tier: 1 })).await;
    tell(NewEvent::new(user, &TierChanged { user_id: user.to_string(), tier: 9 })).await;
    eventually("a tier that is not known is put aside", async || stage.count("wallet.dead_event").await == 1).await;
    assert_eq!(level().await, 2);
    shutdown.begin();
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_follow_identity() {
    let stage = Stage::with_redis().await;
    let wallet = stage.start().await;
    let shutdown = Shutdown::new();
    tokio::spawn(Relay::of_outbox(&wallet.context, wallet::SCHEMA, "identity").into_task().run(shutdown.clone()));
    let (user, device, begin) = (Uuid::now_v7(), Uuid::now_v7(), stage.clock.now().trunc_subsecs(6));
    let tell = async |hours: i64, session: u128, device_id: &str, new_device: bool| {
        let message = SessionStarted {
            user_id: user.to_string(),
            session_id: Uuid::from_u128(session).to_string(),
            device_id: device_id.to_owned(),
            new_device,
        };
        let event = NewEvent::new(user, &message).stream("identity");
        let mut tx = wallet.context.pool.begin().await.expect("a transaction");
        outbox::append(&mut tx, wallet::SCHEMA, begin + chrono::TimeDelta::hours(hours), &[event])
            .await
            .expect("an event");
        tx.commit().await.expect("committed");
    };
    let own = device.to_string();
    let kept = async |session: u128, bound_after_h: i64| {
        let row: Option<(Uuid, chrono::DateTime<chrono::Utc>)> =
            sqlx::query_as("SELECT session_id, bound_at FROM wallet.device WHERE device_id = $1")
                .bind(device)
                .fetch_optional(&stage.admin())
                .await
                .expect("a query");
        row == Some((Uuid::from_u128(session), begin + chrono::TimeDelta::hours(bound_after_h)))
    };
    tell(0, 1, &own, true).await;
    eventually("the device is bound", async || kept(1, 0).await).await;
    tell(30, 2, &own, false).await;
    eventually("a new session on it leaves it bound since then", async || kept(2, 0).await).await;
    // Sent again from before: the later one stays.
    tell(20, 3, &own, false).await;
    tell(40, 4, "a telephone", true).await;
    eventually("a device without an id is put aside", async || stage.count("wallet.dead_event").await == 1).await;
    assert!(kept(2, 0).await);
    tell(50, 5, &own, true).await;
    eventually("forgotten and bound again, it is new", async || kept(5, 50).await).await;
    shutdown.begin();
}

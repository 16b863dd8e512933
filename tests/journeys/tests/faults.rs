//! The journey while servers and roles die: nothing is lost, nothing is doubled.

use anyhow::{Context as _, Result, ensure};
use harness::{Citizen, City, eventually};
use uuid::Uuid;

const PAYMENTS: u64 = 40;
const PRICE: u64 = 1_000;

/// In-app messages of a citizen whose text holds `part`.
async fn messages(citizen: &Citizen, part: &str) -> Result<usize> {
    let inbox = citizen.get("/notifications/v1/inbox?limit=200").await?.expect(200)?;
    let items = inbox["items"].as_array().context("items")?;
    Ok(items.iter().filter(|item| item.to_string().contains(part)).count())
}

/// Pays, asking again with the same key until there is an answer that does not pass; that one must be a payment.
async fn pay_until_answered(buyer: &Citizen, qr: &str) -> Result<()> {
    let key = Uuid::new_v4().to_string();
    let answer = eventually("the payment's answer", || async {
        let answer = buyer.pay(qr, PRICE, &key).await?;
        Ok((!answer.may_pass()).then_some(answer))
    })
    .await?;
    answer.expect(201).map(|_| ())
}

/// After everything came back: each payment moved money once, and told the buyer once.
async fn all_paid_once(city: &City, buyer: &Citizen, funded: u64) -> Result<()> {
    ensure!(buyer.balance().await? == funded - PAYMENTS * PRICE, "balance {}", buyer.balance().await?);
    // A message that is doubled may come last: counted is what is there when nothing is on its way any more.
    city.drained().await?;
    let told = messages(buyer, "1.000").await?;
    ensure!(told == usize::try_from(PAYMENTS)?, "{told} messages about {PAYMENTS} payments");
    Ok(())
}

#[tokio::test]
async fn wiping_and_killing_redis_loses_and_doubles_nothing() -> Result<()> {
    let city = City::all_in_one().await?;
    let visitor = city.visitor()?;
    let (seller, buyer) = (visitor.sign_up().await?, visitor.sign_up().await?);
    let shop = seller.open_shop("Nem lụi").await?;
    buyer.top_up(city.bank(), 500_000).await?;
    for payment in 0..PAYMENTS {
        match payment {
            10 => city.wipe_redis().await?,
            20 => city.kill_redis().await,
            30 => city.restart_redis().await?,
            _ => {}
        }
        pay_until_answered(&buyer, &shop.qr).await?;
    }
    all_paid_once(&city, &buyer, 500_000).await?;
    city.finish().await
}

#[tokio::test]
async fn a_crash_of_postgresql_loses_and_doubles_nothing() -> Result<()> {
    let city = City::all_in_one().await?;
    let visitor = city.visitor()?;
    let (seller, buyer) = (visitor.sign_up().await?, visitor.sign_up().await?);
    let shop = seller.open_shop("Bánh khoái").await?;
    buyer.top_up(city.bank(), 500_000).await?;
    for payment in 0..PAYMENTS {
        if payment == 15 {
            city.crash_postgres().await?;
        }
        pay_until_answered(&buyer, &shop.qr).await?;
    }
    all_paid_once(&city, &buyer, 500_000).await?;
    city.finish().await
}

#[tokio::test]
async fn killing_each_role_in_turn_loses_and_doubles_nothing() -> Result<()> {
    let city = City::split().await?;
    let visitor = city.visitor()?;
    let (seller, buyer) = (visitor.sign_up().await?, visitor.sign_up().await?);
    let shop = seller.open_shop("Cơm hến").await?;
    buyer.top_up(city.bank(), 500_000).await?;
    for payment in 0..PAYMENTS {
        match payment {
            8 => city.kill_role("wallet").await?,
            16 => city.kill_role("notifications").await?,
            24 => city.kill_role("ioc").await?,
            32 => city.kill_role("identity").await?,
            _ => {}
        }
        pay_until_answered(&buyer, &shop.qr).await?;
    }
    all_paid_once(&city, &buyer, 500_000).await?;
    city.finish().await
}

#[tokio::test]
async fn a_lost_connection_to_the_database_never_means_declined() -> Result<()> {
    let city = City::all_in_one().await?;
    let visitor = city.visitor()?;
    let (seller, buyer) = (visitor.sign_up().await?, visitor.sign_up().await?);
    let shop = seller.open_shop("Bánh lọc").await?;
    buyer.top_up(city.bank(), 500_000).await?;
    for payment in 0..PAYMENTS {
        if payment % 5 == 2 {
            city.database_proxy().cut_once();
        }
        pay_until_answered(&buyer, &shop.qr).await?;
    }
    all_paid_once(&city, &buyer, 500_000).await?;
    city.finish().await
}

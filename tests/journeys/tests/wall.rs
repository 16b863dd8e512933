//! The wall's session at a whole city, by a browser of HTTP only: it outlives its tokens, and the centre and identity as they restart.

use anyhow::{Context as _, Result, ensure};
use chrono::TimeDelta;
use harness::{City, Shape, definite, eventually};
use serde_json::Value;
use trangtien::walkthrough::{Browser, World};
use uuid::Uuid;

/// Longer than an access token lives, shorter than a session.
const LATER: TimeDelta = TimeDelta::minutes(11);

#[tokio::test]
async fn a_session_of_the_wall_outlives_its_tokens() -> Result<()> {
    let city = City::start_with(Shape::AllInOne, &[("TRANGTIEN_IOC__PUBLIC_WALL", "false")]).await?;
    let mut browser = operator(&city).await?;
    city.advance(LATER).await?;
    watches(&mut browser).await?;
    leaves(&mut browser).await?;
    city.finish().await
}

#[tokio::test]
async fn a_session_of_the_wall_outlives_the_centre_and_identity() -> Result<()> {
    let city = City::start_with(Shape::Split, &[("TRANGTIEN_IOC__PUBLIC_WALL", "false")]).await?;
    let mut browser = operator(&city).await?;
    city.kill_role("ioc").await?;
    watches(&mut browser).await?;
    city.kill_role("identity").await?;
    watches(&mut browser).await?;
    city.advance(LATER).await?;
    watches(&mut browser).await?;
    leaves(&mut browser).await?;
    city.finish().await
}

/// Somebody who signed in at the hosted pages, and then was made an operator.
async fn operator(city: &City) -> Result<Browser> {
    let visitor = city.visitor()?;
    let mut browser = Browser::new(&World::new(visitor.city.clone(), visitor.sandbox.clone())?)?;
    ensure!(browser.fetch("/ioc/v1/overview").await?.status == 401, "the wall is guarded");
    let page = browser.sign_in("/ioc/v1/overview", &World::new_phone()).await?;
    ensure!(page.status == 403, "{} at {}", page.status, page.place);
    let account: Uuid = page.code()?.parse().context("an account")?;
    sqlx::query(
        "INSERT INTO identity.role_grant (id, user_id, role, granted_at) VALUES ($1, $2, 'ioc.operator', now())",
    )
    .bind(Uuid::now_v7())
    .bind(account)
    .execute(&city.admin())
    .await?;
    let page = browser.go("/ioc/sign-in?return_to=/ioc/v1/overview").await?;
    ensure!((page.status.as_u16(), page.place.path()) == (200, "/ioc/v1/overview"), "{} {}", page.status, page.place);
    let overview: Value = serde_json::from_str(&page.text)?;
    ensure!(overview["city"].is_object(), "{overview}");
    Ok(browser)
}

/// The cookie still opens the wall; while a role comes back the answer may be that it is away, never that nobody is signed in.
async fn watches(browser: &mut Browser) -> Result<()> {
    let browser = tokio::sync::Mutex::new(browser);
    eventually("the wall to open", || async {
        let answer = browser.lock().await.fetch("/ioc/v1/overview").await?;
        if [401, 403].contains(&answer.status.as_u16()) {
            return Err(definite(format!("thrown out: {} {}", answer.status, answer.body)));
        }
        Ok((answer.status == 200).then_some(()))
    })
    .await
}

async fn leaves(browser: &mut Browser) -> Result<()> {
    let page = browser.send("/ioc/sign-out", &[]).await?;
    ensure!((page.status.as_u16(), page.place.path()) == (200, "/ioc"), "{} at {}", page.status, page.place);
    ensure!(browser.fetch("/ioc/v1/overview").await?.status == 401, "signed out");
    let page = browser.go("/ioc/sign-in").await?;
    ensure!(page.place.path() == "/oauth2/authorize", "the provider asks again: {}", page.place);
    Ok(())
}

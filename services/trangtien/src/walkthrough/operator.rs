//! The operator: one metrics endpoint for everything, numbers that agree with the books, a wall.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use identity::officer::RoleKind;
use serde_json::Value;
use uuid::Uuid;

use super::person::{PATIENCE, POLL};
use super::script::Script;
use super::{Browser, World, dong, eventually};
use crate::admin;
use crate::database::Place;
use crate::role::Role;

/// What the shared endpoint counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counts {
    payments: f64,
    top_ups: f64,
    sessions: f64,
}

/// Reads the shared metrics endpoint.
pub(super) async fn counts(world: &World) -> anyhow::Result<Counts> {
    let text = exposition(world).await?;
    Ok(Counts {
        payments: sum(&text, "trangtien_wallet_payments_total", "outcome=\"completed\""),
        top_ups: sum(&text, "trangtien_wallet_top_ups_total", "state=\"completed\""),
        sessions: sum(&text, "trangtien_identity_sessions_issued_total", ""),
    })
}

/// The journey shows in metrics.
pub(super) async fn sees_it(script: &mut Script, world: &World, before: Counts) -> anyhow::Result<()> {
    script.chapter("The operations centre");
    script
        .step("every role is up in the shared metrics", async {
            let text = exposition(world).await?;
            for role in Role::ALL {
                let up = sum(&text, "trangtien_up", &format!("service=\"{role}\""));
                ensure!(up >= 1.0, "{role} is not up");
            }
            Ok(((), vec![format!("{} samples", text.lines().filter(|line| !line.starts_with('#')).count())]))
        })
        .await?;
    script
        .step("the journey is counted", async {
            let now = eventually("the counts", || async {
                let now = counts(world).await?;
                let seen = now.payments >= before.payments + 1.0
                    && now.top_ups >= before.top_ups + 4.0
                    && now.sessions >= before.sessions + 2.0;
                Ok(seen.then_some(now))
            })
            .await?;
            let line = format!(
                "payments {} → {}, top-ups {} → {}, sessions {} → {}",
                before.payments, now.payments, before.top_ups, now.top_ups, before.sessions, now.sessions
            );
            Ok(((), vec![line]))
        })
        .await?;
    Ok(())
}

/// An operator gets to the wall by browser, and what it shows agrees with the books. Roles are given on the city's own machine; from
/// elsewhere one sees that the wall is guarded.
pub(super) async fn at_the_wall(
    script: &mut Script,
    world: &World,
    (payment, data_dir): (i64, Option<&Path>),
) -> anyhow::Result<()> {
    let Some(data_dir) = data_dir else {
        return script
            .step("the wall is for operators, and roles are given on the city's own machine", async {
                let answer = world.get("/ioc/v1/overview").await?;
                ensure!([200, 401].contains(&answer.status.as_u16()), "{} {}", answer.status, answer.body);
                Ok(((), vec![format!("/ioc/v1/overview: {}", answer.status)]))
            })
            .await;
    };
    let mut browser = Browser::new(world)?;
    let account = script
        .step("somebody signs in at the wall by phone, and is told that they have no role", async {
            let page = browser.sign_in("/ioc/sign-in", &World::new_phone()).await?;
            ensure!(page.status == 403, "{} at {}", page.status, page.place);
            let account: Uuid = page.code()?.parse().context("an account")?;
            Ok((account, vec![format!("403 {}: account {account}", page.place.path())]))
        })
        .await?;
    script
        .step("the city's machine makes them an operator, and they are let in", async {
            let reason = "walkthrough".parse().map_err(|error| anyhow::anyhow!("a reason: {error}"))?;
            let place = Place::running_in(data_dir);
            admin::grant_role(&place, (account, RoleKind::IocOperator, None), reason).await?;
            let page = browser.go("/ioc/sign-in").await?;
            ensure!((page.status.as_u16(), page.place.path()) == (200, "/ioc"), "{} at {}", page.status, page.place);
            let viewer = browser.fetch("/ioc/v1/session").await?.expect(200)?;
            Ok(((), vec![format!("200 {}: roles {}", page.place.path(), viewer["roles"])]))
        })
        .await?;
    let overview = script
        .step("the wall's numbers equal the wallet's own books", async {
            let overview = compared(&mut browser, payment).await?;
            ensure!(overview["books"]["state"] == "equal", "they differ: {}", overview["books"]);
            let mut lines = vec![format!("equal at position {}", overview["books"]["position"])];
            lines.extend(overview["book_totals"].as_array().into_iter().flatten().map(total));
            Ok((overview, lines))
        })
        .await?;
    script
        .step("the wall shows the payment", async {
            let last = overview["last_payments"].as_array().context("last_payments")?;
            // Where others pay meanwhile, it may have made place for later ones.
            let shown = last.iter().filter_map(|one| one["position"].as_i64()).any(|position| position >= payment);
            ensure!(shown, "neither it nor a later one is shown: {}", overview["last_payments"]);
            Ok(((), vec![last.first().map(Value::to_string).unwrap_or_default()]))
        })
        .await?;
    script
        .step("the operator signs out, here and at the provider", async {
            let page = browser.send("/ioc/sign-out", &[]).await?;
            ensure!((page.status.as_u16(), page.place.path()) == (200, "/ioc"), "{} at {}", page.status, page.place);
            let viewer = browser.fetch("/ioc/v1/session").await?.expect(200)?;
            ensure!(viewer["user_id"].is_null(), "still signed in: {viewer}");
            let again = browser.go("/ioc/sign-in").await?;
            ensure!(again.place.path() == "/oauth2/authorize", "the provider lets them in: {}", again.place);
            Ok(((), vec!["the next one is asked for a number again".to_owned()]))
        })
        .await
}

/// The overview, once it was compared with the books at a position or later.
async fn compared(browser: &mut Browser, payment: i64) -> anyhow::Result<Value> {
    let end = Instant::now() + PATIENCE;
    loop {
        let overview = browser.fetch("/ioc/v1/overview").await?.expect(200)?;
        let books = &overview["books"];
        let reached = books["position"].as_i64().unwrap_or(0) >= payment;
        if books["state"] == "different" || (reached && books["state"] == "equal") {
            return Ok(overview);
        }
        ensure!(Instant::now() < end, "not compared within {} s: {books}", PATIENCE.as_secs());
        tokio::time::sleep(POLL).await;
    }
}

fn total(total: &Value) -> String {
    let amount = total["amount"]["amount"].as_str().and_then(|text| text.parse().ok()).unwrap_or(0);
    format!("{}: {} transfers, {}", total["kind"].as_str().unwrap_or_default(), total["count"], dong(amount))
}

async fn exposition(world: &World) -> anyhow::Result<String> {
    let answer = world.get("/ioc/v1/metrics").await?.expect(200)?;
    answer.as_str().map(str::to_owned).context("the metrics are text")
}

/// The sum of a family's samples whose labels hold `label`.
fn sum(text: &str, family: &str, label: &str) -> f64 {
    let samples =
        text.lines().filter(|line| line.strip_prefix(family).is_some_and(|rest| rest.starts_with(['{', ' '])));
    let values =
        samples.filter(|line| line.contains(label)).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    // Not `sum()`: of nothing it is minus zero.
    values.fold(0.0, |sum, value| sum + value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_samples_of_the_family_with_the_label_add_up() {
        let text = "# TYPE a_total counter\na_total{outcome=\"completed\"} 2\na_total{outcome=\"failed\"} 1\na_total_more{outcome=\"completed\"} 9\n";
        assert!((sum(text, "a_total", "outcome=\"completed\"") - 2.0).abs() < f64::EPSILON);
    }
}

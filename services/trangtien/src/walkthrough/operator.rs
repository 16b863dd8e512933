//! The operator: one metrics endpoint for everything, numbers that agree with the books, a wall.

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::script::Script;
use super::{World, dong, eventually};
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

/// The journey shows in metrics, on the wall, and both agree with the books.
pub(super) async fn sees_it(
    script: &mut Script,
    world: &World,
    (before, payment): (Counts, i64),
) -> anyhow::Result<()> {
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
    script
        .step("the wall's numbers equal the wallet's own books", async {
            let overview = eventually("the comparison with the books", || async {
                let overview = world.get("/ioc/v1/overview").await?.expect(200)?;
                let books = &overview["books"];
                let compared = books["position"].as_i64().unwrap_or(0) >= payment;
                let definite = books["state"] == "different" || (compared && books["state"] == "equal");
                Ok(definite.then_some(overview))
            })
            .await?;
            ensure!(overview["books"]["state"] == "equal", "they differ: {}", overview["books"]);
            let mut lines = vec![format!("equal at position {}", overview["books"]["position"])];
            lines.extend(overview["book_totals"].as_array().into_iter().flatten().map(total));
            Ok(((), lines))
        })
        .await?;
    script
        .step("the wall shows the payment", async {
            let overview = world.get("/ioc/v1/overview").await?.expect(200)?;
            let last = overview["last_payments"].as_array().context("last_payments")?;
            // Where others pay meanwhile, it may have made place for later ones.
            let shown = last.iter().filter_map(|one| one["position"].as_i64()).any(|position| position >= payment);
            ensure!(shown, "neither it nor a later one is shown: {}", overview["last_payments"]);
            Ok(((), vec![last.first().map(Value::to_string).unwrap_or_default()]))
        })
        .await
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

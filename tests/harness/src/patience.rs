//! Waiting for what happens by itself.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long a step that happens by itself (a message, a callback) may take: leases that a killed process left run out meanwhile, and attempts are
/// made further and further apart, on a machine that has other things to do.
pub const PATIENCE: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(40);

/// An error that no waiting mends.
#[derive(Debug)]
struct Definite(String);

impl std::fmt::Display for Definite {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Definite {}

/// An error at which [`eventually`] gives up at once: what it tells does not change by waiting.
pub fn definite(what: impl std::fmt::Display) -> anyhow::Error {
    Definite(what.to_string()).into()
}

/// Asks again until `probe` gives a value. A probe gives what it saw as a value and leaves the judgement to its caller:
/// an error means that it may be asked again.
///
/// # Errors
/// When there is no value within [`PATIENCE`], with the last error; at once when the error is [`definite`],
/// as an unexpected answer below 500 is.
pub async fn eventually<T, F, Fut>(what: &str, mut probe: F) -> Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<Option<T>>>,
{
    let deadline = Instant::now() + PATIENCE;
    loop {
        let last = match probe().await {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => None,
            Err(error) if error.is::<Definite>() => return Err(error.context(format!("while waiting for {what}"))),
            Err(error) => Some(error),
        };
        if Instant::now() >= deadline {
            match last {
                Some(error) => return Err(error.context(format!("waited in vain for {what}"))),
                None => bail!("waited in vain for {what}"),
            }
        }
        tokio::time::sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;
    use reqwest::StatusCode;
    use serde_json::Value;

    use super::*;
    use crate::client::Answer;

    #[tokio::test]
    async fn a_definite_answer_ends_the_waiting_and_a_passing_one_does_not() {
        let answer =
            |status: u16| Answer { status: StatusCode::from_u16(status).expect("a status"), body: Value::Null };
        let began = Instant::now();
        let declined = eventually("a payment", || async { answer(422).expect(201).context("paying").map(Some) }).await;
        let declined = format!("{:#}", declined.expect_err("declined"));
        assert!(declined.contains("while waiting for a payment") && declined.contains("422"), "{declined}");
        assert!(began.elapsed() < PATIENCE / 2, "it does not wait for what never comes");
        let statuses = std::cell::RefCell::new(vec![201, 429, 503]);
        let next = || statuses.borrow_mut().pop().expect("three are enough");
        eventually("a payment", || async { answer(next()).expect(201).map(Some) }).await.expect("in the end");
    }
}

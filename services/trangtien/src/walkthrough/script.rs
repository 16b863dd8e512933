//! Steps at a terminal: what is tried, how long it took, what came back.

use std::future::Future;
use std::time::Instant;

/// The most characters of one line of what came back.
const MAX_LINE: usize = 160;

/// Prints and counts steps.
#[derive(Debug)]
pub(super) struct Script {
    start: Instant,
    steps: u32,
}

impl Script {
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), steps: 0 }
    }

    /// Begins a part of the story.
    pub(super) fn chapter(&self, title: &str) {
        println!("\n{title}");
    }

    /// Says something beside the steps.
    pub(super) fn note(&self, what: &str) {
        println!("     · {what}");
    }

    /// Tries a step and prints how it went; the step gives a value and the lines to show.
    ///
    /// # Errors
    /// Which step it was; its own error is printed.
    pub(super) async fn step<T>(
        &mut self,
        what: &str,
        work: impl Future<Output = anyhow::Result<(T, Vec<String>)>>,
    ) -> anyhow::Result<T> {
        self.steps += 1;
        let start = Instant::now();
        let outcome = work.await;
        let took = start.elapsed().as_millis();
        match outcome {
            Ok((value, lines)) => {
                println!("  {:>2} ✓ {what} ({took} ms)", self.steps);
                for line in lines {
                    println!("       {}", shorten(&line));
                }
                Ok(value)
            }
            Err(error) => {
                // The reason is on the terminal; the exit says which step it was.
                println!("  {:>2} ✗ {what} ({took} ms)\n       {error:#}", self.steps);
                Err(anyhow::anyhow!("step {} does not hold: {what}", self.steps))
            }
        }
    }

    /// All steps held.
    pub(super) fn end(&self) {
        println!("\nAll {} steps hold ({:.1} s).", self.steps, self.start.elapsed().as_secs_f64());
    }
}

fn shorten(line: &str) -> String {
    let one_line = line.replace(['\r', '\n'], " ");
    match one_line.char_indices().nth(MAX_LINE) {
        Some((end, _)) => format!("{}…", &one_line[..end]),
        None => one_line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_step_that_fails_says_which() {
        let mut script = Script::new();
        script.step("one", async { Ok(((), vec!["fine".to_owned()])) }).await.expect("it holds");
        let error = script.step::<()>("two", async { anyhow::bail!("why") }).await.expect_err("it does not");
        assert_eq!(format!("{error:#}"), "step 2 does not hold: two");
        assert!(shorten(&"ế".repeat(300)).ends_with('…'));
    }
}

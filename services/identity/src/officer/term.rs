//! From when and until when a role counts. Pure.

use chrono::{DateTime, TimeDelta, Utc};

use crate::error::Error;

/// The longest time from now to the end of a term.
const LONGEST: TimeDelta = TimeDelta::days(10 * 366);

/// From when and until when a role counts; what is absent bounds nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Term {
    /// Since when, if not at once.
    pub from: Option<DateTime<Utc>>,
    /// Until when.
    pub until: Option<DateTime<Utc>>,
}

impl Term {
    /// Whether a role can be given for it.
    pub(crate) fn check(&self, now: DateTime<Utc>) -> Result<(), Error> {
        let latest = now + LONGEST;
        if self.from.is_some_and(|from| from > latest) {
            return Err(Error::Field {
                field: "from",
                vi: "Thời điểm bắt đầu ở trong vòng mười năm tới.",
                en: "It begins within the next ten years.",
            });
        }
        let begins = self.from.map_or(now, |from| from.max(now));
        if self.until.is_some_and(|until| until <= begins || until > latest) {
            return Err(Error::Field {
                field: "until",
                vi: "Thời điểm kết thúc ở sau thời điểm bắt đầu, sau lúc này và trong vòng mười năm.",
                en: "It ends after it begins, after now, and within ten years.",
            });
        }
        Ok(())
    }

    /// Whether it has ended.
    pub(crate) fn is_over(&self, now: DateTime<Utc>) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_ends_after_it_begins_and_after_now() {
        let now: DateTime<Utc> = "2026-11-23T03:00:00Z".parse().expect("a time");
        let at = |days: Option<i64>| days.map(|days| now + TimeDelta::days(days));
        for (from, until, fine) in [
            (None, None, true),
            (None, Some(1), true),
            (None, Some(0), false),
            (Some(-5), Some(-1), false),
            (Some(-5), Some(1), true),
            (Some(2), Some(1), false),
            (Some(2), Some(2), false),
            (Some(2), Some(3), true),
            (Some(4_000), None, false),
            (None, Some(4_000), false),
        ] {
            let term = Term { from: at(from), until: at(until) };
            assert_eq!(term.check(now).is_ok(), fine, "{from:?} {until:?}");
        }
        assert!(Term { from: None, until: Some(now) }.is_over(now));
        assert!(!Term::default().is_over(now));
    }
}

//! What accounts spent in their day and month, counted again from history.
//!
//! An account's usage is a function of its history (see [`limit`](crate::limit)), and moves on while postings do: it is compared with a recount in one snapshot.
//! Only accounts that ever spent are counted, along their own chain and back to the beginning of their month.

use sqlx::PgPool;

use crate::limit::{Calendar, Usage};
use crate::sql::audit::{self, Recount, StateRow};

/// Whether an account's usage is what its history adds up to. `spent` is whether any verified transfer counted for it.
pub(super) async fn holds(pool: &PgPool, calendar: Calendar, row: &StateRow, spent: bool) -> Result<bool, sqlx::Error> {
    if row.usage.is_empty() {
        return Ok(!spent && !row.spent_by_hold);
    }
    if Usage::decode(&row.usage).is_err() {
        return Ok(false);
    }
    let counted = audit::recount(pool, row.id, calendar.zone_name()).await?;
    Ok(agrees(&counted))
}

fn agrees(counted: &[Recount]) -> bool {
    let Some(Recount { usage, .. }) = counted.first() else { return false };
    let Some((_, stored)) = usage.split_first() else { return false };
    let spent_then = counted.iter().any(|class| class.on_last_day);
    let spent_later = counted.iter().any(|class| class.later);
    let mut again = Vec::new();
    for class in counted {
        let (Some(code), Ok(day), Ok(month)) = (class.class, class.day.parse(), class.month.parse()) else {
            return false;
        };
        if month != 0 {
            again.extend([i64::from(code), day, month]);
        }
    }
    spent_then && !spent_later && again == stored
}

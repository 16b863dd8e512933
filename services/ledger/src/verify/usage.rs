//! What accounts spent in their day and month, counted again from their own chains.
//!
//! An account's usage is a function of its history (see [`limit`](crate::limit)). The walk counts it for all accounts at once (see [`balance`](super::balance));
//! where it came to something else, because postings went on or because something is wrong, the account is counted alone, in one snapshot, back to the beginning of its month.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::limit::{Calendar, Usage};
use crate::sql::audit::{self, Recount};

/// Whether an account's usage, which is `stored`, is what its history adds up to.
pub(super) async fn holds(
    connection: &mut PgConnection,
    calendar: Calendar,
    account: Uuid,
    stored: &[u8],
) -> Result<bool, sqlx::Error> {
    // Whoever ever spent has a last day.
    if stored.is_empty() || Usage::decode(stored).is_err() {
        return Ok(false);
    }
    let counted = audit::recount(connection, account, calendar.zone_name()).await?;
    Ok(agrees(&counted))
}

fn agrees(counted: &[Recount]) -> bool {
    let Some(Recount { usage, .. }) = counted.first() else { return false };
    let Some(stored) = usage.get(size_of::<i64>()..) else { return false };
    let spent_then = counted.iter().any(|class| class.on_last_day);
    let spent_later = counted.iter().any(|class| class.later);
    let mut again = Vec::new();
    for class in counted {
        let (Some(code), Ok(day), Ok(month)) = (class.class, class.day.parse(), class.month.parse()) else {
            return false;
        };
        if month != 0 {
            [i64::from(code), day, month].iter().for_each(|number| again.extend(number.to_be_bytes()));
        }
    }
    spent_then && !spent_later && again == stored
}

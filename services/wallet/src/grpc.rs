//! What other roles may ask of the wallet: the books' totals, for the operations centre only.
//!
//! Totals up to a position never change, so they are kept at some positions and only what came since is added.
//! Callers add up side by side: none waits for another's reading.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use ledger::journal;
use ledger::money::Money;
use platform::problem::Problem;
use platform::rpc::require_peer;
use proto::wallet::v1::wallet_service_server::{WalletService, WalletServiceServer};
use proto::wallet::v1::{GetTotalsRequest, GetTotalsResponse, KindTotal};
use sqlx::PgConnection;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use crate::Wallet;
use crate::account::{CURRENCY, kind_name};
use crate::event::money;

/// Transfers added up by one statement, so that none runs long; totals are kept at every so many.
const RANGE: i64 = 200_000;
/// Positions at which totals are kept; of more than these every second one is forgotten.
const MAX_KEPT: usize = 4_096;

/// Sums by kind up to and including a position.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Totals {
    position: i64,
    kinds: BTreeMap<i16, (i64, i64)>,
}

/// Totals at some positions, which never change: where adding up begins again.
///
/// Lock: held for a few instructions, never across an await or a statement.
#[derive(Debug, Default)]
struct Kept(Mutex<BTreeMap<i64, Totals>>);

struct Calls {
    wallet: Arc<Wallet>,
    kept: Kept,
}

/// The wallet's gRPC services.
pub(crate) fn routes(wallet: Arc<Wallet>) -> Routes {
    Routes::new(WalletServiceServer::new(Calls { wallet, kept: Kept::default() }))
}

impl Kept {
    /// The totals at the last position that is kept, at or before this one.
    fn before(&self, position: i64) -> Totals {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.range(..=position).next_back().map(|(_, totals)| totals.clone()).unwrap_or_default()
    }

    /// Keeps totals: those at every so many transfers, and the newest of the others.
    fn keep(&self, totals: &Totals) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = kept.last_key_value().map_or(0, |(position, _)| *position);
        if totals.position % RANGE != 0 && totals.position <= newest {
            return;
        }
        if totals.position > newest && newest % RANGE != 0 {
            kept.remove(&newest);
        }
        kept.insert(totals.position, totals.clone());
        if kept.len() > MAX_KEPT {
            let mut odd = false;
            kept.retain(|position, _| {
                odd = !odd;
                odd || *position == totals.position
            });
        }
    }
}

#[tonic::async_trait]
impl WalletService for Calls {
    async fn get_totals(&self, request: Request<GetTotalsRequest>) -> Result<Response<GetTotalsResponse>, Status> {
        require_peer(&request, &["ioc"])?;
        let wanted = request.into_inner().position;
        if wanted < 0 {
            return Err(Status::invalid_argument("a position is not negative"));
        }
        let totals = self.totals(wanted).await.map_err(Problem::from)?;
        Ok(Response::new(answer(&totals)))
    }
}

impl Calls {
    /// Totals at a position, or at the newest for 0.
    async fn totals(&self, wanted: i64) -> Result<Totals, sqlx::Error> {
        let newest = journal::last_sequence(&self.wallet.pool, self.wallet.shard).await?;
        let until = if wanted == 0 { newest } else { wanted.min(newest) };
        let mut totals = self.kept.before(until);
        while totals.position < until {
            let to = until.min((totals.position / RANGE + 1) * RANGE);
            let mut connection = self.wallet.pool.acquire().await?;
            add(&mut connection, self.wallet.shard, &mut totals, to).await?;
            // After each step, so that a caller who gives up leaves the next one less to do.
            self.kept.keep(&totals);
        }
        Ok(totals)
    }
}

/// Adds the transfers after the totals' position up to another.
async fn add(connection: &mut PgConnection, shard: i16, totals: &mut Totals, to: i64) -> Result<(), sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT kind, count(*) AS "count!", sum(amount)::bigint AS "amount!"
           FROM ledger.transfer WHERE shard = $1 AND sequence > $2 AND sequence <= $3 GROUP BY kind"#,
        shard,
        totals.position,
        to,
    )
    .fetch_all(connection)
    .await?;
    for row in rows {
        let total = totals.kinds.entry(row.kind).or_default();
        *total = (total.0 + row.count, total.1.saturating_add(row.amount));
    }
    totals.position = to;
    Ok(())
}

fn answer(totals: &Totals) -> GetTotalsResponse {
    let total = |(kind, (count, amount)): (&i16, &(i64, i64))| KindTotal {
        kind: kind_name(*kind).unwrap_or("other").to_owned(),
        count: *count,
        amount: Some(money(Money::from_minor(*amount, CURRENCY))),
    };
    GetTotalsResponse { position: totals.position, totals: totals.kinds.iter().map(total).collect() }
}

#[cfg(test)]
mod tests {
    use super::{Kept, MAX_KEPT, RANGE, Totals};

    fn at(position: i64) -> Totals {
        Totals { position, ..Totals::default() }
    }

    #[test]
    fn an_earlier_position_begins_at_the_checkpoint_before_it() {
        let kept = Kept::default();
        for position in [RANGE, 2 * RANGE, 2 * RANGE + 7, 2 * RANGE + 9, RANGE + 5] {
            kept.keep(&at(position));
        }
        assert_eq!(kept.before(RANGE - 1), Totals::default());
        assert_eq!(kept.before(RANGE + 6).position, RANGE, "only the newest is kept between checkpoints");
        assert_eq!(kept.before(2 * RANGE + 8).position, 2 * RANGE);
        assert_eq!(kept.before(i64::MAX).position, 2 * RANGE + 9);
    }

    #[test]
    fn what_is_kept_is_bounded_and_holds_the_newest() {
        let kept = Kept::default();
        let last = i64::try_from(MAX_KEPT).expect("small") * 3;
        for step in 1..=last {
            kept.keep(&at(step * RANGE));
        }
        assert!(kept.0.lock().expect("nobody panicked").len() <= MAX_KEPT);
        assert_eq!(kept.before(i64::MAX).position, last * RANGE);
        assert!(kept.before(RANGE * 10).position > 0, "also early ones");
    }
}

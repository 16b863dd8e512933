//! What other roles may ask of the wallet: the books' totals, for the operations centre only.
//!
//! Totals up to a position never change, so they are kept and only what came since is added.

use std::collections::BTreeMap;
use std::sync::Arc;

use ledger::journal;
use ledger::money::Money;
use platform::problem::Problem;
use platform::rpc::require_peer;
use proto::wallet::v1::wallet_service_server::{WalletService, WalletServiceServer};
use proto::wallet::v1::{GetTotalsRequest, GetTotalsResponse, KindTotal};
use sqlx::PgConnection;
use tokio::sync::Mutex;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use crate::Wallet;
use crate::account::{CURRENCY, kind_name};
use crate::event::money;

/// Transfers added up by one statement, so that none runs long.
const RANGE: i64 = 200_000;

/// Sums by kind up to and including a position.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Totals {
    position: i64,
    kinds: BTreeMap<i16, (i64, i64)>,
}

struct Calls {
    wallet: Arc<Wallet>,
    kept: Mutex<Totals>,
}

/// The wallet's gRPC services.
pub(crate) fn routes(wallet: Arc<Wallet>) -> Routes {
    Routes::new(WalletServiceServer::new(Calls { wallet, kept: Mutex::default() }))
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
        let mut kept = self.kept.lock().await;
        let mut totals = if kept.position <= until { kept.clone() } else { Totals::default() };
        while totals.position < until {
            let to = until.min(totals.position.saturating_add(RANGE));
            let mut connection = self.wallet.pool.acquire().await?;
            add(&mut connection, self.wallet.shard, &mut totals, to).await?;
            // After each step, so that a caller who gives up leaves the next one less to do.
            if totals.position > kept.position {
                kept.clone_from(&totals);
            }
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

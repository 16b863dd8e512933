//! Payers, shops and their money, made by public HTTP: a top-up from the sandbox's bank each, a till each.
//!
//! Only tokens are made by ourselves (see `city`). Money is real: it stands in the books with a top-up behind it.

use std::time::{Duration, Instant};

use futures::{StreamExt as _, TryStreamExt as _};
use harness::{Citizen, money};
use http::HeaderValue;
use hyper::body::Bytes;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::city::{Place, authorizations};

/// What each payer begins with, in đồng: more than a run spends, and what the lowest tier may move at once.
const FUNDS: u64 = 2_000_000;
/// What each payment moves, in đồng.
const AMOUNT: u64 = 10;
/// There is one shop for so many payers.
const PAYERS_PER_SHOP: usize = 10;
/// There is one payer without money for so many with.
const PAYERS_PER_POOR: usize = 20;
/// Requests under way while all this is made.
const UNDER_WAY: usize = 32;
/// How long all top-ups together may take.
const TOP_UPS_LIMIT: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(100);
/// The account at the sandbox's bank that all money comes from.
const BANK_ACCOUNT: &str = "9000000001";

/// Everybody who takes part.
pub(super) struct People {
    /// `Authorization` of those who have money.
    pub(super) payers: Vec<HeaderValue>,
    /// `Authorization` of those who have none.
    pub(super) poor: Vec<HeaderValue>,
    /// What to send to pay each shop.
    pub(super) orders: Vec<Bytes>,
    first: Citizen,
    first_order: Value,
}

impl People {
    /// Makes them and waits until the money is there.
    pub(super) async fn settle(place: &Place, payers: usize) -> anyhow::Result<Self> {
        let began = Instant::now();
        let rich = place.citizens(payers)?;
        let poor = place.citizens(payers.div_ceil(PAYERS_PER_POOR))?;
        let owners = place.citizens(payers.div_ceil(PAYERS_PER_SHOP))?;
        let orders = shops(&owners).await?;
        fund(place, &rich).await?;
        println!("{payers} payers and {} shops after {:.1} s", orders.len(), began.elapsed().as_secs_f64());
        Ok(Self {
            payers: authorizations(&rich)?,
            poor: authorizations(&poor)?,
            first: rich[0].clone(),
            first_order: orders[0].clone(),
            orders: orders.iter().map(|order| Ok(serde_json::to_vec(order)?.into())).collect::<anyhow::Result<_>>()?,
        })
    }

    /// The answer to a payment.
    pub(super) async fn example(&self) -> anyhow::Result<Bytes> {
        let paid = self.first.post("/wallet/v1/payments", &self.first_order).await?.expect(201)?;
        Ok(serde_json::to_vec(&paid)?.into())
    }
}

async fn shops(owners: &[Citizen]) -> anyhow::Result<Vec<Value>> {
    let opening = owners.iter().map(|owner| async {
        let shop = owner.open_shop("Bún bò Huế").await?;
        anyhow::Ok(json!({"qr_payload": shop.qr, "amount": money(AMOUNT)}))
    });
    futures::stream::iter(opening).buffered(UNDER_WAY).try_collect().await
}

async fn fund(place: &Place, payers: &[Citizen]) -> anyhow::Result<()> {
    let all = FUNDS * payers.len() as u64;
    place.visitor.steer("/bank/v1/accounts", &json!({"account": BANK_ACCOUNT, "balance": money(all)})).await?;
    let bank = trangtien::up::settings::SANDBOX_BANK;
    let asking = payers.iter().map(|payer| payer.request_top_up(bank, BANK_ACCOUNT, FUNDS));
    futures::stream::iter(asking).buffer_unordered(UNDER_WAY).try_for_each(|_| async { Ok(()) }).await?;
    let deadline = Instant::now() + TOP_UPS_LIMIT;
    loop {
        let left = open_top_ups(&place.admin).await?;
        if left == 0 {
            return Ok(());
        }
        anyhow::ensure!(Instant::now() < deadline, "{left} top-ups did not complete in time");
        tokio::time::sleep(POLL).await;
    }
}

async fn open_top_ups(admin: &PgPool) -> anyhow::Result<i64> {
    Ok(sqlx::query_scalar("SELECT count(*) FROM wallet.top_up WHERE state <> 'completed'").fetch_one(admin).await?)
}

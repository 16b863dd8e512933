//! The books' totals for the operations centre, and for nobody else.

use platform::metrics::Metrics;
use platform::rpc::{CallMetrics, CallSettings, InboundLayer};
use proto::wallet::v1::GetTotalsRequest;
use proto::wallet::v1::wallet_service_client::WalletServiceClient;
use serde_json::json;

use crate::stage::{Replica, Stage, dong};

pub(crate) async fn totals(
    wallet: &Replica,
    caller: &'static str,
    position: i64,
) -> Result<(i64, Vec<(String, i64, i64)>), tonic::Code> {
    let metrics = Metrics::new("ioc", "test");
    let inbound = InboundLayer::new(&metrics);
    let channel = platform::rpc::in_process(
        caller,
        wallet.grpc.clone(),
        inbound,
        &CallMetrics::new(&metrics),
        CallSettings::default(),
    );
    let answer = WalletServiceClient::new(channel)
        .get_totals(GetTotalsRequest { position })
        .await
        .map_err(|status| status.code())?;
    let answer = answer.into_inner();
    let row =
        |total: proto::wallet::v1::KindTotal| (total.kind, total.count, total.amount.expect("an amount").minor_units);
    Ok((answer.position, answer.totals.into_iter().map(row).collect()))
}

#[tokio::test(flavor = "multi_thread")]
async fn totals_are_those_of_the_journal_at_a_position() {
    let stage = Stage::new().await;
    let wallet = stage.start().await;
    assert_eq!(totals(&wallet, "ioc", 0).await, Ok((0, vec![])));
    let citizen = wallet.funded(&stage, 100_000).await;
    let shop = wallet.shop(&stage).await;
    for amount in [1_000, 2_000, 4_000] {
        wallet
            .post(&citizen, "/wallet/v1/payments", &json!({"till_id": shop.till, "amount": dong(amount)}))
            .await
            .expect(201);
    }
    let row = |kind: &str, count: i64, amount: i64| (kind.to_owned(), count, amount);
    let all = (4, vec![row("top-up", 1, 100_000), row("payment", 3, 7_000)]);
    assert_eq!(totals(&wallet, "ioc", 0).await, Ok(all.clone()));
    assert_eq!(
        totals(&wallet, "ioc", 3).await,
        Ok((3, vec![row("top-up", 1, 100_000), row("payment", 2, 3_000)])),
        "an earlier place"
    );
    assert_eq!(totals(&wallet, "ioc", 99).await, Ok(all), "no further than the journal goes");
    assert_eq!(totals(&wallet, "ioc", -1).await, Err(tonic::Code::InvalidArgument));
    assert_eq!(totals(&wallet, "reports", 0).await, Err(tonic::Code::PermissionDenied));
}

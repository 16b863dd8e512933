//! The one call of the centre: the wallet's totals.

use std::collections::BTreeMap;
use std::time::Duration;

use platform::rpc::Channel;
use proto::money::v1::Money;
use proto::wallet::v1::GetTotalsRequest;
use proto::wallet::v1::wallet_service_client::WalletServiceClient;
use tonic::Status;

use crate::tally::Sum;

/// The longest time that a call to the wallet may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// The wallet's own books.
#[derive(Clone)]
pub(crate) struct WalletBooks(WalletServiceClient<Channel>);

/// Totals by kind of transfer, exactly up to a position of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) position: i64,
    pub(crate) sums: BTreeMap<String, Sum>,
}

/// Why the wallet told nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// It refused, or is away.
    #[error("the wallet did not answer: {0}")]
    Refused(#[from] Status),
    /// It took too long.
    #[error("the wallet did not answer in time")]
    Slow,
}

impl WalletBooks {
    pub(crate) fn new(channel: Channel) -> Self {
        Self(WalletServiceClient::new(channel))
    }

    /// The totals at a position; at the newest for 0.
    pub(crate) async fn totals(&self, position: i64) -> Result<Totals, AskError> {
        let mut client = self.0.clone();
        let call = client.get_totals(GetTotalsRequest { position });
        let answer = tokio::time::timeout(CALL_TIMEOUT, call).await.map_err(|_| AskError::Slow)??.into_inner();
        let sum = |count, amount: Option<Money>| Sum { count, amount: amount.map_or(0, |amount| amount.minor_units) };
        let sums = answer.totals.into_iter().map(|total| (total.kind, sum(total.count, total.amount))).collect();
        Ok(Totals { position: answer.position, sums })
    }
}

//! The bank's API, behind a trait because the bank is an outside party.

use async_trait::async_trait;
use ledger::money::Money;
use serde::Serialize;
use url::Url;

use super::TopUpId;
use crate::partner::{Partner, Report};

/// Where collections live at a bank.
const COLLECTIONS: &str = "/bank/v1/collections";

/// What the bank is asked to collect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collection {
    /// Ours; the bank does the same request once.
    pub id: TopUpId,
    /// The citizen's account at the bank.
    pub account: String,
    /// How much.
    pub amount: Money,
}

/// A bank that collects money from its customers for us.
#[async_trait]
pub trait BankConnector: Send + Sync {
    /// Asks for a collection. Safe to repeat: the bank does each id once.
    async fn collect(&self, collection: &Collection) -> Report;

    /// Asks what became of a collection.
    async fn status(&self, id: TopUpId) -> Report;
}

/// A bank reached over HTTP; it calls back at a URL of ours.
#[derive(Clone, Debug)]
pub(crate) struct HttpBank {
    pub(crate) partner: Partner,
    pub(crate) callback_url: Url,
}

#[derive(Serialize)]
struct Request<'a> {
    request_id: TopUpId,
    account: &'a str,
    amount: Money,
    callback_url: &'a Url,
}

#[async_trait]
impl BankConnector for HttpBank {
    async fn collect(&self, collection: &Collection) -> Report {
        let request = Request {
            request_id: collection.id,
            account: &collection.account,
            amount: collection.amount,
            callback_url: &self.callback_url,
        };
        self.partner.ask(COLLECTIONS, &request).await
    }

    async fn status(&self, id: TopUpId) -> Report {
        self.partner.status(&format!("{COLLECTIONS}/{id}")).await
    }
}

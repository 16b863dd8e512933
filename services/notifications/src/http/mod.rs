//! Public routes of notifications.
//!
//! | routes | who may call |
//! | --- | --- |
//! | inbox, stream, receipts of apps, preferences, devices, wards | a citizen, who sees their own things only; another's are not found |
//! | alerts, news | officers of the operations centre: roles `ioc.operator` and `ioc.lead` |
//! | receipts of text messages | the SMS gateway, by signature |
//! | `/cap/v1` | anybody; documents in: partners by HTTP Basic, and operators |

mod alert;
mod alert_query;
mod cap;
mod device;
mod inbox;
mod news;
mod preference;
mod receipt;
mod stream;
mod ward;

use std::collections::BTreeMap;
use std::sync::Arc;

use platform::auth::Verifier;
use platform::clock::Clock;
use platform::http::{ApiRouter, Machines};
use sqlx::PgPool;
use url::Url;
use utoipa_axum::routes;

use crate::alert::desk::Desk;
use crate::inbox::Hub;
use crate::receipt::Receipts;
use platform::person::PersonKeys;

/// What the handlers need.
#[derive(Clone, Debug)]
pub(crate) struct Routes {
    pub(crate) pool: PgPool,
    pub(crate) clock: Clock,
    pub(crate) verifier: Verifier,
    pub(crate) hub: Hub,
    pub(crate) desk: Desk,
    pub(crate) news: crate::news::Desk,
    /// Without, no receipt is believed.
    pub(crate) receipts: Option<Receipts>,
    pub(crate) persons: Arc<PersonKeys>,
    /// Who sends CAP documents, and for whom each speaks.
    pub(crate) cap_partners: Arc<Machines>,
    pub(crate) cap_senders: Arc<BTreeMap<String, Vec<String>>>,
    /// The city's address; ends with a slash.
    pub(crate) public_url: Url,
}

/// All routes of the role.
pub(crate) fn router(state: Routes) -> ApiRouter {
    ApiRouter::new()
        .routes(routes!(inbox::list))
        .routes(routes!(inbox::mark_read))
        .routes(routes!(stream::open))
        .routes(routes!(preference::show, preference::replace))
        .routes(routes!(device::register, device::list))
        .routes(routes!(device::remove))
        .routes(routes!(ward::show, ward::replace))
        .routes(routes!(alert::draft, alert::list))
        .routes(routes!(alert::show))
        .routes(routes!(alert::adopt))
        .routes(routes!(alert::release))
        .routes(routes!(alert::cancel))
        .routes(routes!(alert::reach))
        .routes(routes!(news::publish, news::list))
        .routes(routes!(receipt::take))
        .routes(routes!(receipt::received))
        .routes(routes!(cap::feed))
        .routes(routes!(cap::document))
        .routes(routes!(cap::submit))
        .with_state(state)
}

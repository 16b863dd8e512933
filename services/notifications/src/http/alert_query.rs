//! Which alerts a list is asked for.

use serde::Deserialize;
use utoipa::ToSchema;

/// Which alerts are wanted.
#[derive(Clone, Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AlertQuery {
    /// `drafted` for those that wait for an officer; all when absent.
    #[param(inline)]
    pub(super) state: Option<WaitingState>,
    /// Items wanted, 1 to 200; 50 when absent.
    #[param(minimum = 1, maximum = 200)]
    pub(super) limit: Option<u16>,
    /// `next_cursor` of the page before; absent for the first page.
    pub(super) cursor: Option<String>,
}

/// The one state that can be asked for.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum WaitingState {
    /// Neither released nor withdrawn.
    Drafted,
}
